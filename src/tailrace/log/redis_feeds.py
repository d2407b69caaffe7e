"""What one channel of a Redis store tells of: a log's events, or a workspace's new logs.

The law of this file: a watch moves only forward over what it was given; what does not follow is
read, and what cannot follow any more ends it.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from tailrace.clock import stopwatch
from tailrace.events import Record
from tailrace.log.base import Entry, Listener, NewListener

CATCH_UP_EVENTS = 1000  # read at once for a watch that is behind
CATCH_UP_LOGS = 200  # likewise, of new logs


@dataclass(frozen=True, slots=True)
class Page:
    """Events as they were read, with the head and the epoch of that moment."""

    head: int
    epoch: str
    records: Sequence[Record]


REMOVED = Page(0, "", ())  # read of a log that was removed


@dataclass(frozen=True, slots=True)
class Listed:
    """New logs as they were read, up to which number, and the newest number of the store."""

    newest: int
    upto: int
    entries: Sequence[Entry]


ReadPage = Callable[[str, int, int], Awaitable[Page | None]]
Renew = Callable[[str, int, str], Awaitable[None]]
Fed = Callable[[float], None]  # hears when what is given now was handed in, or heard of
Sent = Callable[[str, int], float | None]
ReadNew = Callable[[str, int, int], Awaitable[Listed]]


@dataclass(slots=True, eq=False)
class Watch:
    """A position in a log, and whom to tell."""

    position: int
    listener: Listener
    lost: Callable[[], None]


@dataclass(slots=True, eq=False)
class NewWatch:
    """A number of the index, and whom to tell."""

    position: int
    listener: NewListener


class Feed(Protocol):
    """What one channel tells of."""

    def hear(self, data: bytes) -> bool:
        """Take a message; returns whether something has to be read."""
        ...

    async def catch_up(self) -> bool:
        """Read what follows; returns whether there is more. Raises StoreError."""
        ...


@dataclass(slots=True, eq=False)
class LogFeed:
    """The watches of one log."""

    execution_id: str
    read: ReadPage
    renew: Renew
    sent: Sent
    fed: Fed
    watches: list[Watch] = field(default_factory=list)
    epoch: str | None = None

    def hear(self, data: bytes) -> bool:
        """Take a message; returns whether something has to be read."""
        head, _, body = data.partition(b"\n")
        epoch, *what = head.decode().split(" ")
        # Of another life, or removed, or nothing was read yet: a read finds out.
        if epoch != self.epoch or not what:
            return True
        first, last, handle, round_ = what
        self.fed(self.sent(handle, int(round_)) or stopwatch())
        return self._give(int(first) - 1, _records(int(first), int(last), body))

    async def catch_up(self) -> bool:
        """Read what follows; returns whether there is more. Raises StoreError."""
        if not self.watches:
            return False
        positions = [watch.position for watch in self.watches]
        after, furthest = min(positions), max(positions)  # before the read: messages move them on
        began = stopwatch()
        page = await self.read(self.execution_id, after, CATCH_UP_EVENTS)
        if page is None or page is REMOVED:
            # Not there: not yet, if nobody has had anything of it.
            if self.epoch is not None or furthest:
                self._leave(lost=page is None)
            return False
        if furthest > page.head:
            await self.renew(self.execution_id, furthest, page.epoch)
            self._leave(lost=True)
            return False
        if self.epoch not in (None, page.epoch):
            self._leave(lost=True)
        self.epoch = page.epoch
        self._skip(after, page.records)
        self.fed(began)
        self._give(after, page.records)
        return bool(page.records) and page.records[-1].seq < page.head

    def _give(self, after: int, records: Sequence[Record]) -> bool:
        """Hand each watch what it has not had; returns whether one is further behind."""
        behind = not records
        for watch in tuple(self.watches):
            if watch.position < after:
                behind = True
            elif records and watch.position < records[-1].seq:
                if watch.position == after:
                    new = records
                else:
                    new = [record for record in records if record.seq > watch.position]
                watch.position = records[-1].seq
                watch.listener(new)
        return behind

    def _skip(self, after: int, records: Sequence[Record]) -> None:
        """End the watches that a trim has overtaken: who asks again is told of the gap."""
        first = records[0].seq if records else 0
        for watch in tuple(self.watches):
            if after <= watch.position < first - 1:
                self.watches.remove(watch)
                watch.lost()

    def _leave(self, *, lost: bool) -> None:
        """End the watches: what they were given is not in the log any more, or was removed."""
        left, self.watches[:], self.epoch = tuple(self.watches), [], None
        for watch in left:
            if lost:
                watch.lost()
            else:
                watch.listener([])


def _records(first: int, last: int, body: bytes) -> list[Record]:
    """The events of a message; none if it does not bring them."""
    parts = body.split(b"\n")
    if len(parts) != 2 * (last - first + 1):
        return []
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [Record(seq, type_.decode(), tail) for seq, (type_, tail) in enumerate(pairs, first)]


@dataclass(slots=True, eq=False)
class NewFeed:
    """The watches for new logs of one workspace."""

    workspace: str
    read: ReadNew
    watches: list[NewWatch] = field(default_factory=list)

    def hear(self, data: bytes) -> bool:
        """Take a message; returns whether something has to be read."""
        # Never from the message: it has a number, and the watch wants the entry.
        return True

    async def catch_up(self) -> bool:
        """Read what follows; returns whether there is more. Raises StoreError."""
        if not self.watches:
            return False
        after = min(watch.position for watch in self.watches)
        listed = await self.read(self.workspace, after, CATCH_UP_LOGS)
        if listed.newest < after:
            # The store was emptied, and counts from the beginning.
            for watch in self.watches:
                watch.position = 0
            return listed.newest > 0
        for watch in tuple(self.watches):
            new = [entry for entry in listed.entries if entry.number > watch.position]
            # One that joined meanwhile, from further back, has a read of its own coming.
            if watch.position >= after:
                watch.position = max(watch.position, listed.upto)
                if new:
                    watch.listener(new)
        return listed.upto > after and listed.upto < listed.newest
