"""What streams are told: there is something to read, silence was long, or they have to end.

The law of this file: a signal carries nothing; who hears it looks for itself. Of those that end a
stream, the one with the higher number counts.
"""

from enum import IntEnum
from typing import Any, Protocol


class Signal(IntEnum):
    """Why a watcher's wait ended."""

    DATA = 0  # there is something to read
    IDLE = 1  # nothing for a heartbeat's time
    EXPIRED = 2  # the stream has lived long enough
    LOST = 3  # what it gave is not in the log any more
    CLOSING = 4  # the server is shutting down
    LAPSED = 5  # the time of the credential it was opened with is over
    REVOKED = 6  # that credential is no longer good
    GONE = 7  # the other side left

    @property
    def reason(self) -> str:
        """Why a stream ends that this ends, in a word. Raises KeyError for DATA and IDLE."""
        return _REASONS[self]


# What `stream.closing` says, and what is counted (docs/metrics.md): one word for both.
_REASONS = {
    Signal.EXPIRED: "lifetime",
    Signal.LOST: "lost",
    Signal.CLOSING: "shutdown",
    Signal.LAPSED: "expired",
    Signal.REVOKED: "revoked",
    Signal.GONE: "gone",  # only counted: nobody is there to be told
}


class Held(Protocol):
    """A stream, and who it was opened for, where somebody asks."""

    holder: Any

    def wake(self, signal: Signal) -> None:
        """Hear a signal."""
        ...


class Timed(Held, Protocol):
    """What the hub's ticker looks at: a watcher, or a stream of many."""

    def tick(self, now: float) -> None:
        """Look at the time."""
        ...
