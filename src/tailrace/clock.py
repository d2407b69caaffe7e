"""The only source of time.

The law of this file: nobody else asks the system what time it is or sleeps. Tests put in
`tailrace.testing.FakeClock` and move it by hand, so that a 30-minute lifetime is tested in
no time and no test waits.
"""

import time
from datetime import UTC, datetime
from typing import Protocol

import anyio


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


pause = time.sleep  # for blocking code: the synchronous client


def rfc3339(moment: datetime) -> str:
    """Write a UTC moment as RFC 3339 with microseconds: `2026-02-18T10:30:00.123456Z`."""
    # The fixed width makes timestamps sort as text, which the stores' indexes rely on.
    return moment.isoformat(timespec="microseconds")[:26] + "Z"


def elapsed_ms(clock: Clock, since: float) -> int:
    """Whole milliseconds on the monotonic clock since a moment of it."""
    return round((clock.monotonic() - since) * 1000)
