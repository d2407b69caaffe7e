"""The only source of time.

The law of this file: nobody else asks the system what time it is or sleeps. Tests put in
`tailrace.testing.FakeClock` and move it by hand, so that a 30-minute lifetime is tested in
no time and no test waits.
"""

import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import anyio

T = TypeVar("T")


class Clock(Protocol):
    """Wall time for people and records, monotonic time for durations, and waiting."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait. Cancellation leaves nothing behind."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean anything."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait. Cancellation leaves nothing behind."""
        await anyio.sleep(seconds)


stopwatch = time.monotonic  # for measuring what the machine takes, which no test's clock knows
pause = time.sleep  # for blocking code: the synchronous client


def rfc3339(moment: datetime) -> str:
    """Write a UTC moment as RFC 3339 with microseconds: `2026-02-18T10:30:00.123456Z`."""
    # The fixed width makes timestamps sort as text, which the stores' indexes rely on.
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def moment_of(text: str) -> datetime:
    """Read a time that somebody wrote (ISO 8601), without an offset as UTC. Raises ValueError."""
    try:
        read = datetime.fromisoformat(text)
        return read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except OverflowError as error:  # it is of a year that UTC has not
        raise ValueError(text) from error


def elapsed_ms(clock: Clock, since: float) -> int:
    """Whole milliseconds on the monotonic clock since a moment of it."""
    return round((clock.monotonic() - since) * 1000)


async def within(
    clock: Clock, timeout_ms: int | None, work: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """Await work for at most a time of the clock, then cancel it. Raises TimeoutError."""
    if timeout_ms is None:
        return await work()
    results: list[T] = []
    errors: list[Exception] = []
    async with anyio.create_task_group() as tasks:

        async def limit() -> None:
            await clock.sleep(timeout_ms / 1000)
            tasks.cancel_scope.cancel()

        tasks.start_soon(limit)
        try:
            results.append(await work())
        except Exception as error:  # noqa: BLE001 - raised below, without the task group's wrapping
            errors.append(error)
        tasks.cancel_scope.cancel()
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"No result after {timeout_ms} ms")
    return results[0]
