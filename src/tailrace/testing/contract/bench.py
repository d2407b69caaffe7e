"""What a check is, and what it is given.

The law of this file: a check is a plain coroutine function over a `Bench`; no test framework,
no knowledge of a store.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from tailrace.log.base import EventLog

Check = Callable[["Bench"], Awaitable[None]]
CHECKS: list[Check] = []


class Bench(Protocol):
    """Gives a check its store."""

    async def log(self) -> EventLog:
        """Return the store, open and empty."""
        ...

    async def other(self) -> EventLog:
        """Return a second handle on the same data, as another process has; may be the same."""
        ...

    async def reopen(self) -> EventLog:
        """Close every handle and return a new one on the same data."""
        ...


def check(function: Check) -> Check:
    """Put a check into the contract."""
    CHECKS.append(function)
    return function
