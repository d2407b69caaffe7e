"""The queue that tests use keeps the promises of a queue."""

from collections.abc import Awaitable, Callable

import pytest

from tailrace.testing import FakeClock
from tailrace.testing.queues import CHECKS, MemoryQueue, QueueBench


class MemoryBench:
    def __init__(self, clock: FakeClock) -> None:
        self._clock, self._queue = clock, MemoryQueue(clock)

    async def queue(self) -> MemoryQueue:
        return self._queue

    other = queue

    def later(self) -> float:
        return self._clock.now().timestamp() + 60

    async def pass_time(self) -> None:
        await self._clock.advance(61)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Callable[[QueueBench], Awaitable[None]], clock: FakeClock) -> None:
    await check(MemoryBench(clock))
