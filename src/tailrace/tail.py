"""The newest events of one watched log, each encoded once, and who waits for more.

The law of this file: memory is a shortcut to the store, never a second truth. It is bounded, and
may be forgotten at any time: who then is behind reads the store.

Delivery: an append wakes every waiting watcher of its tail; each takes all that follows its
position as one Batch, and watchers at one position share that Batch and its joined bytes. So
the first event goes out at once, and under load, when wake-ups take longer than appends, more
events join each write: coalescing needs no timer.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import anyio

from tailrace.batch import Batch
from tailrace.clock import Clock, stopwatch
from tailrace.errors import ExecutionNotFound
from tailrace.events import Record, StreamGap
from tailrace.log.base import Entry, EventLog
from tailrace.log.rules import PAGE_MAX_BYTES, bytes_of, clip
from tailrace.metrics import Histogram
from tailrace.signals import Signal, Timed

HOT_BYTES = 67_108_864  # of events, for all tails of a hub
PAGES = 64  # of the store, kept for all who catch up: they are seldom alone; likewise of a tail


class Reader(Timed, Protocol):
    """What a tail sees of a watcher."""

    position: int
    sink: Callable[[Batch], None] | None


class Home(Protocol):
    """What a tail and its watchers use of their hub."""

    log: EventLog
    clock: Clock
    page: int
    ring: int
    heartbeat_s: float
    hot_bytes: int
    pages: dict[tuple["Tail", int], Batch]
    lag: Histogram | None

    def gave(self, watchers: int, events: int, size: int) -> None:
        """Count a batch that so many watchers were given."""
        ...

    def drop(self, tail: "Tail") -> None:
        """Forget a tail."""
        ...


class Tail:
    """The hot end of one watched log: what its slowest watchers have not taken yet.

    Where all are up to date it is empty. Bounds: `ring` events, and HOT_BYTES for all tails of a
    hub together; what does not fit is read from the store, a page for all who want it.
    """

    def __init__(self, hub: Home, entry: Entry) -> None:
        self.entry = entry
        self.head = entry.head
        self.pushed_at = 0.0
        self.stop: Callable[[], None] = lambda: None
        self.watchers: set[Reader] = set()
        self.removed = False
        self._hub = hub
        self._records: list[Record] = []
        self._bytes = 0
        self._batches: dict[int, Batch] = {}
        self._reading = anyio.Lock()

    def push(self, records: Sequence[Record]) -> None:
        """Take what was appended, and give it to everybody who waits."""
        if not records:
            self._removed()
            return
        before, self.head = self.head, records[-1].seq
        self.pushed_at = self._hub.clock.monotonic()
        size = self._keep(records, before)
        batch = self.hot(before) or Batch(clip(records))
        others = 0
        for watcher in self.watchers:
            # The fast path of delivery: who is up to date and writable gets the shared bytes.
            if watcher.position == before and watcher.sink is not None:
                watcher.position = batch.last
                watcher.sink(batch)
            else:
                others += 1  # counted here and not above: that would be one more for each write
                watcher.wake(Signal.DATA)
        whole = batch.last == self.head
        given = len(self.watchers) - others
        self._hub.gave(given, len(batch.records), size if whole else batch.size)
        if not whole:  # more than a page came at once
            for watcher in self.watchers:
                watcher.wake(Signal.DATA)
        if self._hub.lag is not None:
            self._hub.lag.observe(stopwatch() - self._hub.log.fed_at)

    def _removed(self) -> None:
        """The log is gone: who reads on is told, also if there is another of its name by then."""
        self._hub.drop(self)
        self.removed = True
        self.head += 1  # there is something to know for everybody
        for watcher in tuple(self.watchers):
            watcher.wake(Signal.DATA)

    def lost(self) -> None:
        """End the streams: their clients ask again, and are told what is missing."""
        self._hub.drop(self)
        self.head = 0  # what the log has now does not follow what they have
        for watcher in tuple(self.watchers):
            watcher.wake(Signal.LOST)

    def leave(self, watcher: Reader) -> None:
        """Forget a watcher; a tail that nobody watches any more is forgotten with it."""
        self.watchers.discard(watcher)
        if not self.watchers:
            self._hub.drop(self)

    def _keep(self, records: Sequence[Record], before: int) -> int:
        """Hold what was appended for those who are behind; returns its size."""
        self._batches.clear()
        if all(watcher.position == before for watcher in self.watchers):
            self.forget()
        self._records += records
        added = bytes_of(records)
        self._bytes += added
        self._hub.hot_bytes += added
        if len(self._records) > 2 * self._hub.ring:
            # Cut only when twice as long: each event is then moved at most once.
            cut = self._records[: -self._hub.ring]
            del self._records[: len(cut)]
            size = bytes_of(cut)
            self._bytes -= size
            self._hub.hot_bytes -= size
        elif self._hub.hot_bytes > HOT_BYTES:
            self.forget()
        return added

    def forget(self) -> None:
        """Hold nothing: who is behind reads the store."""
        self._hub.hot_bytes -= self._bytes
        self._bytes = 0
        self._records = []
        self._batches.clear()

    def hot(self, position: int) -> Batch | None:
        """What follows a position, if memory has it: all of it, or a page that others read."""
        batch = self._batches.get(position)
        if batch is None:
            if not self._records or position + 1 < self._records[0].seq:
                return self._hub.pages.get((self, position))
            start = position + 1 - self._records[0].seq
            records = self._records[start : start + self._hub.page]
            if self._bytes > PAGE_MAX_BYTES:
                records = clip(records)
            if len(self._batches) >= PAGES:
                del self._batches[next(iter(self._batches))]
            batch = self._batches[position] = Batch(records)
        return batch

    async def stored(self, position: int) -> Batch:
        """What follows a position, from the store. Raises StoreError."""
        pages = self._hub.pages
        async with self._reading:  # who comes second for a page takes the first one's
            batch = pages.get((self, position))
            if batch is None:
                records = await self._read(position)
                if records is None:
                    return self._gone(position)
                gap = None
                if records and records[0].seq > position + 1:
                    # Retention overtook a slow watcher: it is told, like one that comes late.
                    gap = StreamGap(from_=position + 1, to=records[0].seq - 1, cause="retention")
                batch = Batch(records, gap)
                if not records and position < self.head:
                    self.lost()  # another log of its name, or one that went back: it ends here
                elif records and self.watchers:
                    # It stays true: a log only grows, and who needs more than it holds reads on.
                    pages[self, position] = batch
                    if len(pages) > PAGES:
                        del pages[next(iter(pages))]
            return batch

    async def _read(self, position: int) -> Sequence[Record] | None:
        """A page of the store; None if the log is gone."""
        if self.removed:
            return None
        try:
            return await self._hub.log.read(self.entry.execution_id, position, self._hub.page)
        except ExecutionNotFound:
            return None

    def _gone(self, position: int) -> Batch:
        """What is said of a log that retention has removed: that, and that nothing follows."""
        last = max(self.head - self.removed, position + 1)
        batch = Batch((), StreamGap(from_=position + 1, to=last, cause="retention"))
        batch.last, batch.ended = self.head, True
        return batch
