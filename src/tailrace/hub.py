"""Watchers: positions in a log, woken together, served from one hot tail.

The law of this file: a watcher is a position, not a queue. It has no task, no lock and no
backlog of its own; a slow one costs nothing but its position, and reads the store when it
comes back. Replay and live are one loop: read what follows the position, else wait.

    Hub      the tails of all watched executions; one shared ticker for heartbeats and lifetimes
    Tail     the newest events of one execution, each encoded once, and who waits for more
    Watcher  a position in it

Delivery: an append wakes every waiting watcher of its tail; each takes all that follows its
position as one Batch, and watchers at one position share that Batch and its joined bytes. So
the first event goes out at once, and under load, when wake-ups take longer than appends, more
events join each write: coalescing needs no timer.

This module never imports the executor: they meet at the log.
"""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import Any, Protocol

import anyio
from anyio.abc import TaskGroup

from tailrace import seek, sse
from tailrace.clock import Clock, stopwatch
from tailrace.errors import ExecutionNotFound, InvalidPosition
from tailrace.events import TERMINAL, Record, StreamGap
from tailrace.log.base import PAGE_MAX_BYTES, Entry, EventLog, bytes_of, clip
from tailrace.metrics import Histogram
from tailrace.seek import Begin

TICK_S = 1.0  # the grain of heartbeats and lifetimes: one timer for all watchers
HOT_BYTES = 67_108_864  # of events, for all tails of a hub
PAGES = 64  # of the store, kept for all who catch up: they are seldom alone


@dataclass(frozen=True, slots=True)
class Position:
    """Where a watcher stands: the last sequence it has, and the life of the log it is from."""

    seq: int
    epoch: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read `<seq>` or `<seq>@<epoch>`. Raises InvalidPosition."""
        number, separator, epoch = text.partition("@")
        fits = number.isascii() and number.isdigit() and len(number) <= 18
        if not fits or (separator and not (epoch.isascii() and epoch.isalnum())):
            raise InvalidPosition(f"{text[:80]!r} is not a position")
        return cls(int(number), epoch or None)

    def __str__(self) -> str:
        return f"{self.seq}@{self.epoch}" if self.epoch else str(self.seq)


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a stream starts, and what cannot be served."""

    entry: Entry
    after: int
    resumed: bool
    gap: StreamGap | None = None

    @property
    def nothing_left(self) -> bool:
        """Whether the watcher has seen the terminal event: the answer is 204."""
        return self.entry.sealed and self.resumed and self.after >= self.entry.head


def resolve(entry: Entry, asked: Position | None, begin: int | None = None) -> Opening:
    """Decide where to start. What the log cannot give is a gap that is said, never silence.

    With `begin`, who names no position begins there, and does not want what is before.
    """
    if asked is None and begin is not None:
        return Opening(entry, max(begin, entry.floor - 1), resumed=False)
    if asked is None:
        return Opening(entry, entry.floor - 1, resumed=False, gap=_trimmed(entry, 0))
    if asked.epoch not in (None, entry.epoch):
        # Another life of the log: nothing the watcher has is from this one. All from the start.
        lost = StreamGap(from_=1, to=asked.seq, cause="lost") if asked.seq else None
        return Opening(entry, entry.floor - 1, resumed=False, gap=lost)
    if asked.seq > entry.head:
        # The end must be told again: else a client that waits for it reconnects for ever.
        after = entry.head - 1 if entry.sealed else entry.head
        lost = StreamGap(from_=entry.head + 1, to=asked.seq, cause="lost")
        return Opening(entry, after, resumed=False, gap=lost)
    gap = _trimmed(entry, asked.seq)
    return Opening(entry, max(asked.seq, entry.floor - 1), resumed=gap is None, gap=gap)


def _trimmed(entry: Entry, after: int) -> StreamGap | None:
    if after + 1 >= entry.floor:
        return None
    return StreamGap(from_=after + 1, to=entry.floor - 1, cause="retention")


class Batch:
    """Consecutive events, shared by all watchers that stand at the same position. Immutable.

    `ended`: nothing follows it, because the terminal event is in it, or the log was removed.

    Each form of its bytes is made once, by the first watcher that wants it.
    """

    def __init__(self, records: Sequence[Record], gap: StreamGap | None = None) -> None:
        self.records = records
        self.gap = gap
        self.last = records[-1].seq if records else 0
        self.ended = bool(records) and records[-1].type in TERMINAL
        self._size: int | None = None
        self.forms: dict[object, bytes] = {}  # of filtered streams, each made once

    @property
    def ending(self) -> str:
        """Why nothing follows it."""
        return "ended" if self.records else "removed"

    @property
    def size(self) -> int:
        """The bytes of its events, without what frames them."""
        if self._size is None:
            self._size = bytes_of(self.records)
        return self._size

    @cached_property
    def sse(self) -> bytes:
        """The events as Server-Sent Events, joined: one write for all of them."""
        return b"".join([sse.event_frame(r.seq, r.type, r.tail) for r in self.records])

    @cached_property
    def ndjson(self) -> bytes:
        """The events as lines of JSON, joined."""
        return b"".join([r.json() + b"\n" for r in self.records])

    @cached_property
    def sse_chunk(self) -> bytes:
        """`sse` as one chunk of HTTP/1.1, for a stream that writes to its socket itself."""
        return chunk(self.sse)

    @cached_property
    def ndjson_chunk(self) -> bytes:
        """`ndjson` likewise."""
        return chunk(self.ndjson)


def chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk of the chunked coding (RFC 9112, section 7.1); nothing as nothing.

    An empty chunk would end the response.
    """
    return data and b"%x\r\n%b\r\n" % (len(data), data)


_EMPTY = Batch(())


class Signal(IntEnum):
    """Why a watcher's wait ended."""

    DATA = 0  # there is something to read
    IDLE = 1  # nothing for a heartbeat's time
    EXPIRED = 2  # the stream has lived long enough, or what it gave is not in the log any more
    CLOSING = 3  # the server is shutting down
    LAPSED = 4  # the time of the credential it was opened with is over
    REVOKED = 5  # that credential is no longer good
    GONE = 6  # the other side left

    @property
    def reason(self) -> str:
        """Why a stream ends that this ends, in a word."""
        return {"EXPIRED": "lifetime", "CLOSING": "shutdown"}.get(self.name, self.name.lower())


def barred(final: Signal | None) -> Signal | None:
    """Why a stream has to end at once, though there is more to read: nobody may read it."""
    return final if final in (Signal.LAPSED, Signal.REVOKED) else None


class Tail:
    """The hot end of one watched log: what its slowest watchers have not taken yet.

    Where all are up to date it is empty. Bounds: `ring` events, and HOT_BYTES for all tails of a
    hub together; what does not fit is read from the store, a page for all who want it.
    """

    def __init__(self, hub: "Hub", entry: Entry) -> None:
        self.entry = entry
        self.head = entry.head
        self.pushed_at = 0.0
        self.stop: Callable[[], None] = lambda: None
        self.watchers: set[Watcher] = set()
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
        """The log is gone: who reads on finds that out, and is told."""
        self.forget()
        self.head += 1  # there is something to know for everybody
        for watcher in tuple(self.watchers):
            watcher.wake(Signal.DATA)

    def lost(self) -> None:
        """End the streams: their clients ask again, and are told what is missing."""
        self._hub.drop(self)
        self.head = 0  # what the log has now does not follow what they have
        for watcher in tuple(self.watchers):
            watcher.wake(Signal.EXPIRED)

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
                return self._hub.pages.get((self.entry.execution_id, position))
            start = position + 1 - self._records[0].seq
            records = self._records[start : start + self._hub.page]
            if self._bytes > PAGE_MAX_BYTES:
                records = clip(records)
            batch = self._batches[position] = Batch(records)
        return batch

    async def stored(self, position: int) -> Batch:
        """What follows a position, from the store. Raises StoreError."""
        execution_id, pages = self.entry.execution_id, self._hub.pages
        async with self._reading:  # who comes second for a page takes the first one's
            batch = pages.get((execution_id, position))
            if batch is None:
                try:
                    records = await self._hub.log.read(execution_id, position, self._hub.page)
                except ExecutionNotFound:
                    return self._gone(position)
                gap = None
                if records and records[0].seq > position + 1:
                    # Retention overtook a slow watcher: it is told, like one that comes late.
                    gap = StreamGap(from_=position + 1, to=records[0].seq - 1, cause="retention")
                # It stays true: a log only grows, and who needs more than it holds reads on.
                batch = pages[execution_id, position] = Batch(records, gap)
                if len(pages) > PAGES:
                    del pages[next(iter(pages))]
            return batch

    def _gone(self, position: int) -> Batch:
        """What is said of a log that retention has removed: that, and that nothing follows."""
        batch = Batch((), StreamGap(from_=position + 1, to=self.head, cause="retention"))
        batch.last, batch.ended = self.head, True
        return batch


class Watcher:
    """A position in a log; close it when done.

    It is used in one of two ways. From one task: `read`, and `wait` where there is nothing, both
    of which leave it usable if cancelled. Or by calls: after `listen` each signal is a call,
    `take` gives what memory holds, and no task waits; while `sink` is set, it gets what follows
    the position as it comes.
    """

    __slots__ = (
        "_final",
        "_hub",
        "_listener",
        "_tail",
        "_waiter",
        "at_close",
        "ending",
        "expires_at",
        "first",
        "holder",
        "idle_since",
        "note",
        "opening",
        "position",
        "sink",
    )

    def __init__(self, hub: "Hub", tail: Tail, opening: Opening, expires_at: float) -> None:
        self.opening = opening
        self.position = opening.after
        self.expires_at = expires_at
        self.holder: Any = None  # who it was opened for, where somebody asks
        self.idle_since = hub.clock.monotonic()
        self.sink: Callable[[Batch], None] | None = None
        self.at_close: Callable[[], None] | None = None  # what its owner gives back with it
        self.note: Note | None = None
        self.first: Callable[[], None] | None = None  # called when it is given its first events
        self.ending = "gone"  # why it ends, for its note; whoever ends it for another reason says
        self._listener: Callable[[Signal], None] | None = None
        self._hub, self._tail = hub, tail
        self._waiter: asyncio.Future[Signal] | None = None
        self._final: Signal | None = None

    def take(self) -> Batch | None:
        """Return what follows the position and move past it; None if only the store has it.

        The batch is empty if there is nothing yet.
        """
        if self.position >= self._tail.head:
            return _EMPTY
        batch = self._tail.hot(self.position)
        if batch is not None:
            self.position = batch.last
            self._given(batch)
        return batch

    def _given(self, batch: Batch) -> None:
        self._hub.gave(1, len(batch.records), batch.size)
        if self.first is not None:
            first, self.first = self.first, None
            first()

    async def fetch(self) -> Batch:
        """Return what follows the position, from the store, and move past it."""
        batch = await self._tail.stored(self.position)
        self.position = max(self.position, batch.last)
        if batch.records:
            self._given(batch)
        return batch

    async def read(self) -> Batch:
        """Return what follows the position and move past it; empty if there is nothing yet."""
        batch = self.take()
        return await self.fetch() if batch is None else batch

    @property
    def barred(self) -> Signal | None:
        """Why it may not even read what there is, if so."""
        return barred(self._final)

    async def wait(self) -> Signal:
        """Wait until there is something to read or to do."""
        if self._final is not None:
            return self._final
        if self.position < self._tail.head:
            return Signal.DATA
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    async def stopped(self) -> None:
        """Wait until the stream has to end; what there is to read is for later."""
        while self._final is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def listen(self, listener: Callable[[Signal], None]) -> None:
        """From now on call `listener` with each signal, beginning with one that came before."""
        self._listener = listener
        if self._final is not None:
            listener(self._final)

    def wake(self, signal: Signal) -> None:
        """Pass a signal on; one that ends the stream also ends every later wait."""
        if self._listener is not None:
            self._listener(signal)
            return
        if signal >= Signal.EXPIRED and (self._final is None or signal > self._final):
            self._final = signal
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(signal)

    def tick(self, now: float) -> None:
        """Look at the time, once every TICK_S, for all watchers in turn."""
        if now >= self.expires_at:
            self.wake(Signal.EXPIRED)
        elif now - max(self.idle_since, self._tail.pushed_at) >= self._hub.heartbeat_s:
            self.idle_since = now
            self.wake(Signal.IDLE)

    def close(self) -> None:
        """Leave: nothing of the watcher stays. Closing twice is closing once."""
        note, self.note = self.note, None
        if note is not None:
            note.ended(self.ending, self.position - self.opening.after)
        self._hub.leave(self, self._tail)
        if self.at_close is not None:
            self.at_close()
            self.at_close = None


class Note(Protocol):
    """Who wants to know of a stream's end."""

    def ended(self, reason: str, events: int) -> None:
        """Hear of it: why, and how many events it passed."""
        ...

    def counted(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return what to write with, if the bytes are to be counted."""
        ...


class Timed(Protocol):
    """What the hub's ticker looks at: a watcher, or a stream of many."""

    holder: Any

    def tick(self, now: float) -> None:
        """Look at the time."""
        ...

    def wake(self, signal: Signal) -> None:
        """Hear a signal."""
        ...


class Hub:
    """All watchers of this process. `run` its ticker in a task group; `close` ends all streams."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        *,
        page: int = 500,
        ring: int = 4096,
        heartbeat_s: float = 15.0,
    ) -> None:
        self.log, self.clock, self.page, self.ring = log, clock, page, ring
        self.heartbeat_s = heartbeat_s
        self.closing = False
        self.hot_bytes = 0
        # What metrics read, counted once for each batch that many are given (tailrace.metrics).
        self.deliveries = self.delivered_events = self.delivered_bytes = 0
        self.lag: Histogram | None = None
        self.pages: dict[tuple[str, int], Batch] = {}
        self.timed: set[Timed] = set()  # beside the watchers
        self._tails: dict[str, Tail] = {}
        self._tasks: TaskGroup

    @property
    def watching(self) -> int:
        """How many watchers there are."""
        return sum(len(tail.watchers) for tail in self._tails.values())

    def watched(self) -> tuple[int, int]:
        """How many watchers there are, and how many of them are behind: one look at each."""
        behind = 0
        for tail in self._tails.values():
            head = tail.head
            behind += sum([watcher.position < head for watcher in tail.watchers])
        return self.watching, behind

    def gave(self, watchers: int, events: int, size: int) -> None:
        """Count a batch that so many watchers were given."""
        self.deliveries += watchers
        self.delivered_events += watchers * events
        self.delivered_bytes += watchers * size

    async def open(
        self,
        execution_id: str,
        asked: Position | None = None,
        *,
        begin: Begin | None = None,
        lifetime_s: float = math.inf,
    ) -> Watcher:
        """Stand at a position of a log.

        If none is asked for: at the beginning, or where `begin` says.
        After `lifetime_s`, shortened at random to 80-100 %, the watcher is told EXPIRED. The
        caller must `close` it.

        Raises ExecutionNotFound.
        """
        entry = await self.log.entry(execution_id)
        after = None
        if asked is None and begin is not None:
            after = await seek.position(self.log, entry, begin)
        # No await from here on: two first watchers must not make two tails.
        tail = self._tails.get(execution_id) or self._follow(entry)
        if entry == tail.entry:
            entry = tail.entry  # ten thousand idle watchers share one
        watcher = Watcher(self, tail, resolve(entry, asked, after), self.expiry(lifetime_s))
        tail.watchers.add(watcher)
        if self.closing:
            watcher.wake(Signal.CLOSING)
        return watcher

    def expiry(self, lifetime_s: float) -> float:
        """When a stream that begins now has lived long enough, on the monotonic clock."""
        # The jitter keeps streams that began together, after a deploy, from ending together.
        return self.clock.monotonic() + lifetime_s * random.uniform(0.8, 1.0)  # noqa: S311 - not a secret

    @asynccontextmanager
    async def watch(
        self,
        execution_id: str,
        asked: Position | None = None,
        *,
        begin: Begin | None = None,
    ) -> AsyncIterator[Watcher]:
        """`open` a watcher for a block; however the block is left, nothing of it stays."""
        watcher = await self.open(execution_id, asked, begin=begin)
        try:
            yield watcher
        finally:
            watcher.close()

    def leave(self, watcher: Watcher, tail: Tail) -> None:
        """Forget a watcher, and a tail that nobody watches any more."""
        tail.watchers.discard(watcher)
        if not tail.watchers:
            self.drop(tail)

    def drop(self, tail: Tail) -> None:
        """Forget a tail; who opens that log next makes another."""
        if self._tails.get(tail.entry.execution_id) is tail:
            del self._tails[tail.entry.execution_id]
            tail.stop()
            tail.forget()
            for key in [key for key in self.pages if key[0] == tail.entry.execution_id]:
                del self.pages[key]

    def _follow(self, entry: Entry) -> Tail:
        tail = self._tails[entry.execution_id] = Tail(self, entry)
        if not entry.sealed:  # nothing more can come to a sealed log
            tail.stop = self.log.watch(entry.execution_id, entry.head, tail.push, tail.lost)
        return tail

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something beside the ticker; it must keep its errors to itself."""
        self._tasks.start_soon(work)

    async def run(self) -> None:
        """Wake idle and expired watchers, for ever: the one timer of all of them."""
        grain = min(TICK_S, self.heartbeat_s / 4)
        async with anyio.create_task_group() as self._tasks:
            while True:
                await self.clock.sleep(grain)
                now = self.clock.monotonic()
                for watcher in self.streams():
                    watcher.tick(now)

    def close(self) -> None:
        """End all streams, now and from now on: each tells its client to resume elsewhere.

        The hub needs this signal of its own because ASGI servers run lifespan shutdown only
        after streams have ended (uvicorn #451), which without it they never would.
        """
        self.closing = True
        for watcher in self.streams():
            watcher.wake(Signal.CLOSING)

    def streams(self) -> list[Timed]:
        """All as they are now: what they are told may change who there is."""
        return [*self.timed, *(w for tail in self._tails.values() for w in tail.watchers)]
