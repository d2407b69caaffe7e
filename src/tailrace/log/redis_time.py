"""The time of a Redis store: its server's, where the clocks of machines differ.

The law of this file: what one machine writes for another to compare with its own clock (the end of
a lease, of a ticket, of a place) is told in the server's time. A machine whose clock was a minute
behind would be taken for dead by all others, and all others by one that is a minute ahead.
"""

from datetime import datetime

from tailrace.clock import Clock, SystemClock
from tailrace.log.redis_scripts import BEGINNING, MICROSECOND, Script, microseconds, moment

SAME_US = 500_000  # clocks that differ by less are taken for the same
# KEYS: any. Answers the server's time, in seconds and microseconds.
NOW = Script("return redis.call('TIME')")


class ServerTime:
    """How far the server's clock is ahead of this machine's, as far as that is known."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._ahead_us = 0

    def now(self) -> datetime:
        """What this machine says that it is."""
        return self._clock.now()

    def heard(self, asked: datetime, seconds: int, micros: int) -> None:
        """Note what the server said, asked at that moment: no more than its answer proves.

        It said so at some time between the question and now, which may be long: the answer waits
        where the event loop is blocked.
        """
        server = seconds * 1_000_000 + micros
        least = server - (self.now() - BEGINNING) // MICROSECOND
        most = server - (asked - BEGINNING) // MICROSECOND
        self._ahead_us = min(max(self._ahead_us, least), most)

    def _ahead(self) -> int:
        return self._ahead_us if abs(self._ahead_us) >= SAME_US else 0

    def score(self, time: str) -> int:
        """A time of this machine as a score."""
        return microseconds(time) + self._ahead()

    def moment(self, score: int) -> str:
        """A score as a time of this machine."""
        return moment(score - self._ahead())
