"""A work queue in memory, and the promises of `tailrace.work.base` as checks for any other.

The law of this file: as in `contract`: a check is a plain coroutine function over a bench, and
waits for what it expects, never for time.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from itertools import count
from types import TracebackType
from typing import Protocol, Self

import anyio

from tailrace.clock import Clock, within
from tailrace.work.base import PRIORITIES, Job, WorkQueue

Check = Callable[["QueueBench"], Awaitable[None]]
CHECKS: list[Check] = []


class MemoryQueue:
    """A work queue for the workers of one process. What a worker took, no sweep puts back."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._numbers = clock, count()
        self._waiting: dict[str, tuple[int, int, float, Job]] = {}
        self._taken: set[str] = set()
        self._changed = anyio.Event()

    async def __aenter__(self) -> Self:
        """Open it."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""

    async def submit(self, job: Job) -> None:
        """Put a job in."""
        if job.key not in self._waiting and job.key not in self._taken:
            self._put(job, job.at_s)

    def _put(self, job: Job, at_s: float) -> None:
        rank = PRIORITIES.index(job.priority)
        self._waiting[job.key] = rank, next(self._numbers), at_s, job
        self._changed.set()

    async def cancel(self, job: Job) -> None:
        """Take a job out that waits."""
        self._waiting.pop(job.key, None)

    async def take(self, queues: Sequence[str]) -> Job:
        """Wait for a job."""
        while True:
            now = self._clock.now().timestamp()
            wanted = sorted(
                (*w[:3], key) for key, w in self._waiting.items() if w[3].queue in queues
            )
            for _, _, at_s, key in wanted:
                if at_s <= now:
                    self._taken.add(key)
                    return self._waiting.pop(key)[3]
            self._changed = anyio.Event()
            soonest = min([at_s - now for _, _, at_s, _ in wanted], default=None)
            with suppress(TimeoutError):
                timeout_ms = None if soonest is None else round(soonest * 1000) + 1
                await within(self._clock, timeout_ms, self._changed.wait)

    async def beat(self, jobs: Collection[Job]) -> None:
        """Say that these are worked on: nobody asks."""

    async def done(self, job: Job) -> None:
        """Take a job out that was taken."""
        self._taken.discard(job.key)

    async def give_back(self, job: Job, delay_s: float) -> None:
        """Put a job back."""
        self._taken.discard(job.key)
        self._put(job, self._clock.now().timestamp() + delay_s)

    async def sweep(self) -> None:
        """Put back what is left of dead workers: none dies alone here."""

    async def waiting(self, queue: str) -> int:
        """How many jobs wait."""
        return sum(job.queue == queue for _, _, _, job in self._waiting.values())


class QueueBench(Protocol):
    """Gives a check its queue."""

    async def queue(self) -> WorkQueue:
        """Return the queue, open and empty."""
        ...

    async def other(self) -> WorkQueue:
        """Return a second handle on it, as another process has; may be the same."""
        ...

    def later(self) -> float:
        """Return a moment that is not now, in seconds since 1970."""
        ...

    async def pass_time(self) -> None:
        """Let time pass that moment."""
        ...


def check(function: Check) -> Check:
    """Put a check into the contract."""
    CHECKS.append(function)
    return function


async def taken(queue: WorkQueue, number: int = 1, *queues: str) -> list[str]:
    """Take jobs; returns their keys."""
    return [(await queue.take(queues or ("default",))).key for _ in range(number)]


@check
async def what_is_submitted_is_taken_once_in_order(bench: QueueBench) -> None:
    """Whoever takes it."""
    queue, other = await bench.queue(), await bench.other()
    for name in ("X1", "X2", "X3"):
        await queue.submit(Job(execution_id=name))
    assert await taken(other, 2) == ["X1/1", "X2/1"]
    assert await taken(queue) == ["X3/1"]
    assert await queue.waiting("default") == 0


@check
async def a_job_that_waits_or_is_taken_is_in_already(bench: QueueBench) -> None:
    """A second submission changes nothing; another attempt is another job."""
    queue, other = await bench.queue(), await bench.other()
    job = Job(execution_id="X1")
    await queue.submit(job)
    await other.submit(job)
    assert await queue.waiting("default") == 1
    held = await queue.take(["default"])
    await other.submit(job)
    assert await other.waiting("default") == 0
    await other.submit(Job(execution_id="X1", attempt=2))
    assert await taken(other) == ["X1/2"]
    await queue.done(held)
    await other.submit(job)  # it is over: now it is a new one
    assert await other.waiting("default") == 1


@check
async def who_waits_is_woken(bench: QueueBench) -> None:
    """By a submission in another process."""
    queue, other = await bench.queue(), await bench.other()
    found: list[str] = []

    async def take() -> None:
        found.extend(await taken(other))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await queue.submit(Job(execution_id="X1"))
    assert found == ["X1/1"]


@check
async def high_priority_goes_first_in_all_queues(bench: QueueBench) -> None:
    """Then those of normal, then of low priority; a queue that is not asked for keeps its own."""
    queue = await bench.queue()
    for priority in reversed(PRIORITIES):
        await queue.submit(Job(execution_id=f"a-{priority}", priority=priority))
        await queue.submit(Job(execution_id=f"b-{priority}", priority=priority, queue="reports"))
    await queue.submit(Job(execution_id="elsewhere", priority="high", queue="gpu"))
    names = [name.partition("/")[0] for name in await taken(queue, 6, "default", "reports")]
    assert [name[2:] for name in names] == ["high", "high", "normal", "normal", "low", "low"]
    assert await queue.waiting("gpu") == 1


@check
async def a_cancelled_job_is_not_taken(bench: QueueBench) -> None:
    """And another may be submitted in its place."""
    queue, other = await bench.queue(), await bench.other()
    await queue.submit(Job(execution_id="X1"))
    await queue.submit(Job(execution_id="X2"))
    await other.cancel(Job(execution_id="X1"))
    await other.cancel(Job(execution_id="X9"))  # there is none
    assert await taken(queue) == ["X2/1"]


@check
async def what_is_given_back_is_another_worker_s(bench: QueueBench) -> None:
    """At once, if that is asked for."""
    queue, other = await bench.queue(), await bench.other()
    await queue.submit(Job(execution_id="X1"))
    job = await queue.take(["default"])
    await queue.beat([job])
    await queue.give_back(job, 0)
    assert await taken(other) == ["X1/1"]


@check
async def a_job_is_not_taken_before_its_time(bench: QueueBench) -> None:
    """Nor does it hold up those behind it."""
    queue = await bench.queue()
    await queue.submit(Job(execution_id="later", priority="high", at_s=bench.later()))
    await queue.submit(Job(execution_id="now"))
    assert await taken(queue) == ["now/1"]
    found: list[str] = []

    async def take() -> None:
        found.extend(await taken(queue))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        await bench.pass_time()
    assert found == ["later/1"]


@check
async def a_beat_after_the_end_leaves_nothing_behind(bench: QueueBench) -> None:
    """A worker beats for all it has, while some of it ends."""
    queue = await bench.queue()
    await queue.submit(Job(execution_id="X1"))
    job = await queue.take(["default"])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.beat, [job])
        tasks.start_soon(queue.done, job)
    await queue.sweep()
    assert await queue.waiting("default") == 0
    await queue.submit(job)
    assert await taken(queue) == ["X1/1"]


@check
async def a_beat_takes_nothing_from_what_is_given_back(bench: QueueBench) -> None:
    """Nor does it keep it: it is another worker's."""
    queue, other = await bench.queue(), await bench.other()
    await queue.submit(Job(execution_id="X1"))
    job = await queue.take(["default"])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(queue.beat, [job])
        tasks.start_soon(queue.give_back, job, 0)
    assert await taken(other) == ["X1/1"]
