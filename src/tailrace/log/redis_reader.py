"""What a process reads from Redis: in shared round trips, on a connection of its own.

The law of this file: nothing here writes, and an entry is always the log's own; the index only
says which, and under which number.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tailrace.events import Record
from tailrace.log.base import PAGE_MAX_BYTES, Entry
from tailrace.log.redis_feeds import Listed, Page
from tailrace.log.redis_lane import Job, Lane
from tailrace.log.redis_link import Command, Link
from tailrace.log.redis_scripts import READ

ROUND_MAX_READS = 64  # pages in one answer: 16 MB at most, but for events larger than a page

_FIELDS = ("workspace", "kind", "flow", "epoch", "created_at", "head", "floor", "updated_at")
_META = (*_FIELDS, "event", "number", "lease")


class Reader:
    """The one who reads, for a process; `lane.run` does it."""

    def __init__(self, link: Link) -> None:
        self._link, self._keys = link, link.keys
        self.lane = Lane(self._work, ROUND_MAX_READS)

    async def ask(self, command: Command) -> Any:
        """Send a command that only reads. Raises StoreError."""
        return await self.lane.do(command)

    async def _work(self, jobs: Sequence[Job]) -> None:
        answers = await self._link.run([job.work for job in jobs])
        for job, answer in zip(jobs, answers, strict=True):
            job.settle(answer)

    async def meta(self, execution_id: str) -> tuple[Entry, str | None] | None:
        """Look up a log and the lease that it was created with; None if there is none."""
        row = await self.ask(Command("HMGET", (self._keys.meta(execution_id), *_META)))
        if row[_META.index("head")] is None:
            return None
        said = dict(zip(_META, [value and value.decode() for value in row], strict=True))
        entry = Entry(
            execution_id=execution_id,
            workspace=said["workspace"],
            kind=said["kind"],
            flow=said["flow"],
            epoch=said["epoch"],
            created_at=said["created_at"],
            head=int(said["head"]),
            floor=int(said["floor"]),
            updated_at=said["updated_at"],
            last_status_event=said["event"],
            number=int(said["number"] or 0),
        )
        return entry, said["lease"] or None

    async def page(self, execution_id: str, after: int, limit: int) -> Page | None:
        """Read events after a position, with the head and the epoch; None if there is no log."""
        keys = self._keys.log(execution_id)[:2]
        found = await self.ask(Command(READ, (after, limit, PAGE_MAX_BYTES), keys))
        if found is None:
            return None
        head, epoch, _floor, *rest = found
        first = int(rest[0]) if rest else 0
        pairs = zip(rest[1::2], rest[2::2], strict=True)
        records = [
            Record(seq, type_.decode(), tail) for seq, (type_, tail) in enumerate(pairs, first)
        ]
        return Page(int(head), epoch.decode(), records)

    async def listed(self, rows: Sequence[bytes]) -> list[Entry]:
        """Look up the logs that the index names, by their numbers there; those that are gone not."""
        ids = [row.decode() for row in rows[::2]]
        metas = await asyncio.gather(*[self.meta(id_) for id_ in ids])
        return [
            with_number(meta[0], int(number))
            for meta, number in zip(metas, rows[1::2], strict=True)
            if meta is not None
        ]

    async def created_after(self, workspace: str, number: int, limit: int) -> Listed:
        """A workspace's logs after a number, and up to which number they are."""
        span = (self._keys.index(workspace), f"({number}", "+inf", "WITHSCORES", "LIMIT", 0, limit)
        newest, rows = await asyncio.gather(
            self.ask(Command("GET", (self._keys.number(),))),
            self.ask(Command("ZRANGEBYSCORE", span)),
        )
        upto = int(rows[-1]) if rows else number
        return Listed(int(newest or 0), upto, await self.listed(rows))


def with_number(entry: Entry, number: int) -> Entry:
    """An entry with the number that the index has for it."""
    return entry if entry.number == number else replace(entry, number=number)
