"""Jobs that wait for a Redis server, and go there together.

The law of this file: one round at a time, and in it all that waited; so what was handed in first
is done first, by one connection, and under load each round trip carries more.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tailrace.clock import stopwatch
from tailrace.errors import StoreBusy, StoreClosed

QUEUE_MAX_JOBS = 10_000  # handed in and not done; one more is refused as StoreBusy


@dataclass(slots=True, eq=False)
class Job:
    """Something handed in, and the future that its caller awaits."""

    work: Any
    at: float = field(default_factory=stopwatch)
    future: "asyncio.Future[Any]" = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def settle(self, answer: Any) -> None:
        """Give the caller its answer; one that was cancelled is gone, and that is fine."""
        if self.future.done():
            return
        if isinstance(answer, BaseException):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class Lane:
    """Jobs that wait while a round trip is on its way share the next one: group commit.

    One round at a time, so one connection, and what was handed in first is done first.
    """

    def __init__(self, work: Callable[[Sequence[Job]], Awaitable[None]], most: int) -> None:
        self._work, self._most = work, most
        self._jobs: deque[Job] = deque()
        self._pending = 0
        self._woken = asyncio.Event()
        self.closed = True

    async def do(self, work: Any) -> Any:
        """Hand a job in and wait; cancelling the wait does not recall it.

        Raises StoreClosed, StoreBusy, and what the job ends with.
        """
        if self.closed:
            raise StoreClosed
        if self._pending >= QUEUE_MAX_JOBS:
            raise StoreBusy(f"{QUEUE_MAX_JOBS} operations wait for the store")
        self._pending += 1
        job = Job(work)
        self._jobs.append(job)
        self._woken.set()
        return await job.future

    def close(self) -> None:
        """Take nothing more; `run` ends when all is done."""
        self.closed = True
        self._woken.set()

    async def run(self) -> None:
        """Do what is handed in, until it is closed."""
        while self._jobs or not self.closed:
            jobs = [self._jobs.popleft() for _ in range(min(len(self._jobs), self._most))]
            if not jobs:
                self._woken.clear()
                await self._woken.wait()
                continue
            try:
                await self._work(jobs)
            except Exception as error:  # noqa: BLE001 - a dead lane would hang every caller
                for job in jobs:
                    job.settle(error)
            self._pending -= len(jobs)
