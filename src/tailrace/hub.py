"""All watchers of a process: the tails of the logs they read, and one ticker for their time.

The law of this file: a log that is watched has one tail, whoever watches it, and a tail that
nobody watches any more is forgotten. A watcher has no timer of its own.

    Position  where a watcher stands (positions.py)
    Batch     the events that follow it, encoded once for all who stand there (batch.py)
    Tail      the newest events of one execution, and who waits for more (tail.py)
    Watcher   a position in a tail, and what wakes it (watcher.py, signals.py)

This module never imports the executor: they meet at the log.
"""

import math
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.abc import TaskGroup

from tailrace import seek
from tailrace.batch import Batch
from tailrace.clock import Clock
from tailrace.log.base import Entry, EventLog
from tailrace.metrics import Histogram
from tailrace.positions import Position, resolve
from tailrace.seek import Begin
from tailrace.signals import Signal, Timed
from tailrace.tail import Tail
from tailrace.watcher import Watcher

TICK_S = 1.0  # the grain of heartbeats and lifetimes: one timer for all watchers


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
        self.pages: dict[tuple[Tail, int], Batch] = {}
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
        tail = self._tails.get(execution_id)
        if tail is not None and tail.entry.epoch != entry.epoch:
            tail.lost()  # a slow watcher has kept it, of a log that is gone: this is another one
            tail = None
        tail = tail or self._follow(entry)
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

    def drop(self, tail: Tail) -> None:
        """Forget a tail; who opens that log next makes another."""
        if self._tails.get(tail.entry.execution_id) is tail:
            del self._tails[tail.entry.execution_id]
            tail.stop()
        tail.forget()
        for key in [key for key in self.pages if key[0] is tail]:
            del self.pages[key]

    def _follow(self, entry: Entry) -> Tail:
        tail = Tail(self, entry)
        if not entry.sealed:  # nothing more can come to a sealed log
            tail.stop = self.log.watch(entry.execution_id, entry.head, tail.push, tail.lost)
        self._tails[entry.execution_id] = tail  # now: of one that is refused nothing may stay
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
