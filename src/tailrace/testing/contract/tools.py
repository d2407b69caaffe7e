"""What checks are written with: drafts, the short ways to write and read, two watches.

The law of this file: nothing here knows a store, and whatever waits is woken by what it waits for.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

from tailrace.errors import TailraceError
from tailrace.events import Draft, Record
from tailrace.log.base import Entry, EventLog, Opening

TS = "2026-01-01T00:00:00.000000Z"


def at(second: int) -> str:
    """A time."""
    return TS.replace("00:00:00", f"00:00:{second:02}")


def line(text: object = "", type_: str = "log.line") -> Draft:
    """A draft that says something."""
    return Draft(type=type_, ts=TS, data={"line": str(text), "source": "stdout"})


def queued() -> Draft:
    """A log's first event."""
    return Draft(type="execution.queued", ts=TS, data={"kind": "task", "flow": "f"})


def started(attempt: int) -> Draft:
    """An attempt's first event."""
    return Draft(type="execution.started", ts=TS, data={"worker": "w"}, attempt=attempt)


def ended() -> Draft:
    """A log's last event."""
    return Draft(type="execution.completed", ts=TS, data={"total_duration_ms": 1})


async def begin(log: EventLog, execution_id: str = "X1", **options: Any) -> str:
    """Create a log; its head is 1 then."""
    opening = Opening(execution_id=execution_id, kind="task", flow="f", **options)
    await log.create(opening, [queued()])
    return execution_id


async def refuses(error: type[TailraceError], attempt: Awaitable[object]) -> None:
    """Await something that must raise exactly that error."""
    try:
        await attempt
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


async def read_all(log: EventLog, execution_id: str, after: int = 0) -> list[Record]:
    """Read page by page to the head."""
    found: list[Record] = []
    while page := await log.read(execution_id, found[-1].seq if found else after, 100):
        found += page
    return found


def seqs(records: Sequence[Record]) -> list[int]:
    """Their sequence numbers."""
    return [record.seq for record in records]


def lines(records: Sequence[Record]) -> list[str]:
    """What they say."""
    return [str(record.event().data.get("line")) for record in records]


class Listening:
    """A watch that keeps what it was given, and checks the order of it."""

    def __init__(self, log: EventLog, execution_id: str, after: int) -> None:
        self.records: list[Record] = []
        self._more = asyncio.Event()
        self._position = after
        self.stop = log.watch(execution_id, after, self._take)

    def _take(self, records: Sequence[Record]) -> None:
        assert records, "a watch was given an empty batch"
        for record in records:
            assert record.seq == self._position + 1, f"{record.seq} after {self._position}"
            self._position = record.seq
        self.records += records
        self._more.set()

    async def until(self, seq: int) -> list[Record]:
        """Wait until it has been given that sequence."""
        while self._position < seq:
            self._more.clear()
            await self._more.wait()
        return self.records


class Learning:
    """A watch for new logs that keeps their ids, and checks the order of their numbers."""

    def __init__(self, log: EventLog, workspace: str, after: int) -> None:
        self.ids: list[str] = []
        self._position, self._more = after, asyncio.Event()
        self.stop = log.watch_new(workspace, after, self._take)

    def _take(self, entries: Sequence[Entry]) -> None:
        assert entries, "a watch was given an empty list"
        for entry in entries:
            assert entry.number > self._position, f"{entry.number} after {self._position}"
            self._position = entry.number
            self.ids.append(entry.execution_id)
        self._more.set()

    async def until(self, count: int) -> list[str]:
        """Wait until it has been given so many."""
        while len(self.ids) < count:
            self._more.clear()
            await self._more.wait()
        return self.ids
