"""One who reads a log: a position in its tail.

The law of this file: a watcher is a position, not a queue. It has no task, no lock and no
backlog of its own; a slow one costs nothing but its position, and reads the store when it
comes back. Replay and live are one loop: read what follows the position, else wait.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from tailrace.batch import EMPTY, Batch
from tailrace.positions import Opening
from tailrace.signals import Signal
from tailrace.tail import Home, Tail


class Note(Protocol):
    """Who wants to know of a stream's end."""

    def ended(self, reason: str, events: int) -> None:
        """Hear of it: why, and how many events it passed."""
        ...

    def counted(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """Return what to write with, if the bytes are to be counted."""
        ...


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

    def __init__(self, hub: Home, tail: Tail, opening: Opening, expires_at: float) -> None:
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
            return EMPTY
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
    def behind(self) -> bool:
        """Whether there is more to read already: it replays, page by page."""
        return self.position < self._tail.head

    @property
    def final(self) -> Signal | None:
        """Why it has to end, if so; what there is to read is for later."""
        return self._final

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
        """Look at the time, once every `hub.TICK_S`, for all watchers in turn."""
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
        self._tail.leave(self)
        if self.at_close is not None:
            self.at_close()
            self.at_close = None
