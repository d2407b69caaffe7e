"""Time that moves only when told to."""

import heapq
from datetime import UTC, datetime, timedelta
from itertools import count

import anyio.lowlevel

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A Clock for tests: `advance` moves it and wakes the sleepers in the order of their times."""

    def __init__(self, start: datetime = EPOCH) -> None:
        self._start = start
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, int, anyio.Event]] = []
        self._order = count()

    def now(self) -> datetime:
        """Return the wall time."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """Return the seconds that were advanced."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until `advance` has moved past this sleep's end."""
        woken = anyio.Event()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), woken))
        await woken.wait()

    async def advance(self, seconds: float) -> None:
        """Move on, letting each sleeper run at its own time."""
        end = self._elapsed + seconds
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._elapsed, _, woken = heapq.heappop(self._sleepers)
            woken.set()
            await settle()
        self._elapsed = end
        await settle()


async def settle(turns: int = 20) -> None:
    """Let every task that can run do so, a few steps far."""
    for _ in range(turns):
        await anyio.lowlevel.checkpoint()
