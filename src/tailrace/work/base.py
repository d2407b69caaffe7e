"""The port of the work queue: how word of an execution reaches a worker.

The law of this file: the log decides who runs what, the queue only carries word of it. A job may
come twice, late, to two workers, or never: a claim is an append that one worker wins, and what
nobody claims is submitted again when its lease ends (tailrace.dispatch). So any queue that
delivers at least once, most of the time, will do.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")
DEFAULT = "default"  # the queue of what names none


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Word of one attempt at an execution."""

    execution_id: str
    attempt: int = 1
    queue: str = DEFAULT
    priority: Priority = "normal"
    at_s: float = 0.0  # not before this moment, in seconds since 1970; 0: at once

    @property
    def key(self) -> str:
        """What makes a second submission of it the same."""
        return f"{self.execution_id}/{self.attempt}"


class WorkQueue(Protocol):
    """The port. Every method but `take` raises QueueUnavailable when it cannot be reached."""

    async def submit(self, job: Job) -> None:
        """Put a job in; one that waits, or that a worker has, is in already."""
        ...

    async def cancel(self, job: Job) -> None:
        """Take a job out that waits; one that a worker has stays with it."""
        ...

    async def take(self, queues: Sequence[str]) -> Job:
        """Wait for a job of these queues, those of high priority first; it is the caller's then.

        A cancelled call has taken nothing, or what the next sweep puts back.
        """
        ...

    async def beat(self, jobs: Collection[Job]) -> None:
        """Say that these are still worked on: at least three times in the queue's patience."""
        ...

    async def done(self, job: Job) -> None:
        """Take a job out that was taken."""
        ...

    async def give_back(self, job: Job, delay_s: float) -> None:
        """Put a job back that was taken, for somebody else, after a while."""
        ...

    async def sweep(self) -> None:
        """Put back what a worker took that no longer beats, and put in what is due by now."""
        ...

    async def waiting(self, queue: str) -> int:
        """How many jobs wait in a queue."""
        ...

    async def __aenter__(self) -> Self:
        """Open it."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        ...
