"""What a process reads from Redis: in shared round trips, on a connection of its own.

The law of this file: nothing here writes, and an entry is always the log's own.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from tailrace.events import Record
from tailrace.log.base import Entry
from tailrace.log.redis_feeds import REMOVED, Page
from tailrace.log.redis_lane import Job, Lane
from tailrace.log.redis_link import Command, Link
from tailrace.log.redis_scripts import READ
from tailrace.log.rules import PAGE_MAX_BYTES

ROUND_MAX_READS = 64  # pages in one answer: 16 MB at most, but for events larger than a page

_TEXTS = ("workspace", "kind", "flow", "epoch", "created_at", "updated_at", "event", "lease")
_NUMBERS = ("head", "floor", "bytes", "aside", "ephemeral", "attempt", "number")


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
        fields = (*_NUMBERS, *_TEXTS)
        row = await self.ask(Command("HMGET", (self._keys.meta(execution_id), *fields)))
        if row[0] is None:
            return None
        number = dict(zip(_NUMBERS, [int(v or 0) for v in row[: len(_NUMBERS)]], strict=True))
        texts = [(value or b"").decode() for value in row[len(_NUMBERS) :]]
        said = dict(zip(_TEXTS, texts, strict=True))
        entry = Entry(
            execution_id=execution_id,
            workspace=said["workspace"],
            kind=said["kind"],
            flow=said["flow"],
            epoch=said["epoch"],
            created_at=said["created_at"],
            head=number["head"],
            floor=number["floor"],
            updated_at=said["updated_at"],
            last_status_event=said["event"],
            bytes=number["bytes"],
            aside_bytes=number["aside"],
            ephemeral=bool(number["ephemeral"]),
            attempt=number["attempt"],
            number=number["number"],
        )
        return entry, said["lease"] or None

    async def page(self, execution_id: str, after: int, limit: int) -> Page | None:
        """Read events after a position, with the head and the epoch.

        None if there is no log, and REMOVED if there was one until it was removed.
        """
        meta, log, _, gone = self._keys.log(execution_id)
        found = await self.ask(Command(READ, (after, limit, PAGE_MAX_BYTES), (meta, log, gone)))
        if not found:
            return None if found is None else REMOVED
        head, epoch, _floor, *rest = found
        first = int(rest[0]) if rest else 0
        pairs = zip(rest[1::2], rest[2::2], strict=True)
        records = [
            Record(seq, type_.decode(), tail) for seq, (type_, tail) in enumerate(pairs, first)
        ]
        return Page(int(head), epoch.decode(), records)

    async def entries(self, ids: Sequence[str]) -> list[Entry | None]:
        """Look logs up together; those that are not there as None."""
        found = await asyncio.gather(*[self.meta(id_) for id_ in ids])
        return [meta and meta[0] for meta in found]
