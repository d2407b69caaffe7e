"""When to reconnect, from where, and when it is over: the client's rules, without I/O.

The law of this file: both clients are a loop around this object, so they cannot differ. A
position moves only past an event that was handed to the caller; so whatever happens between
two events, the next connection asks for exactly the next one.
"""

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from tailrace import sse
from tailrace.client.answers import said
from tailrace.errors import ConnectionLost, ProtocolError, TailraceError
from tailrace.events import Event
from tailrace.filters import Choice

_logger = logging.getLogger("tailrace.client")
ATTEMPTS = 10  # failures in a row, without an event between them, before the caller is told
BACKOFF_MAX_S = 30.0
RETRY_AFTER_MAX_S = 300.0  # a longer wait is for the caller to decide


def choice(wanted: Choice) -> dict[str, str]:
    """What to ask for, as the query of a stream."""
    compact = wanted.get("compact")
    asked = {name: str(value) for name, value in wanted.items() if value is not None}
    return asked | {"compact": "finished" if compact is None else str(compact).lower()}


@dataclass
class Resume:
    """The state of one `follow` across all its connections."""

    execution_id: str
    after: str | None = None
    attempts: int = ATTEMPTS
    live: bool = True
    choice: dict[str, str] = field(default_factory=dict)
    many: list[tuple[str, str]] | None = None  # a stream of many: the query that names them
    position: str | None = None
    ended: bool = False
    _epoch: str = ""
    _failures: int = 0
    _retry_s: float = 1.0
    _told: set[str] = field(default_factory=set)
    _decoder: sse.Decoder = field(default_factory=sse.Decoder)

    def __post_init__(self) -> None:
        self.position = self.after

    def connect(self) -> dict[str, str]:
        """Begin a connection: the headers it asks with."""
        self._decoder = sse.Decoder()
        headers = {"Accept": sse.MEDIA_TYPE, "Accept-Encoding": "identity"}
        if self.position is not None:
            headers["Last-Event-ID"] = self.position
        return headers

    def path(self) -> tuple[str, ...]:
        """Where the stream is, in the workspace."""
        one = ("executions", self.execution_id, "stream")
        return one if self.many is None else ("stream",)

    def query(self) -> list[tuple[str, str | int | float | bool | None]]:
        """The query it asks with."""
        follow = {} if self.live else {"follow": "false"}
        return [*(self.many or []), *(self.choice | follow).items()]

    def answered(self, status: int, media_type: str) -> bool:
        """Take the status; False means that nothing is left to follow.

        Raises ProtocolError if the answer is no stream.
        """
        if status == 204:
            self.ended = True
            return False
        if not media_type.startswith(sse.MEDIA_TYPE):
            raise ProtocolError(f"Expected {sse.MEDIA_TYPE}, got {media_type or 'nothing'!r}")
        return True

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take bytes and give events. `position` moves as each event is taken."""
        for message in self._decoder.feed(chunk):
            event = Event.parse(message.data)
            if event.type == "stream.open":
                self._epoch = str(event.data.get("epoch", ""))
            elif event.type == "stream.gap":
                # A cut during a gap's frame repeats it on the next connection: tell it once.
                gap = f"{self._epoch} {event.execution_id} {sorted(event.data.items())}"
                if gap not in self._told:
                    self._told.add(gap)
                    yield event
            elif event.id is not None:
                self._failures = 0
                self.position = self._place(event.id, message.id)
                self.ended = event.terminal and self.many is None
                yield event
        self._pass(self._decoder.last_event_id)
        if self._decoder.retry_ms is not None:
            self._retry_s = self._decoder.retry_ms / 1000

    def _place(self, event_id: int, message_id: str) -> str:
        if self.many is not None:
            return message_id  # a position in all of them
        return f"{event_id}@{self._epoch}" if self._epoch else str(event_id)

    def _pass(self, last_id: str) -> None:
        """Move to where an id without an event says that this stands.

        Past events that a filter left out; or to where a stream begins, if not where it was asked.
        """
        if self.many is not None:
            self.position = last_id or self.position
        elif last_id.isascii() and last_id.isdigit():
            self.position = f"{last_id}@{self._epoch}" if self._epoch else last_id

    def closed(self) -> float:
        """The server ended the connection in good order: seconds to wait before the next."""
        self.ended = self.ended or not self.live
        return self._retry_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret

    def failed(self, error: Exception) -> float:
        """The connection was cut or refused: seconds to wait before the next.

        A server that says when to come again is heeded, up to RETRY_AFTER_MAX_S. Raises ConnectionLost after too many in a row; following again from `position`
        loses nothing.
        """
        self._failures += 1
        if self._failures >= self.attempts:
            raise ConnectionLost(
                f"{self._what()}: {self._failures} attempts failed; last: {said(error)}",
                position=self.position,
            ) from error
        # Who never gives up comes to powers that no float holds.
        ceiling = min(self._retry_s * 2.0 ** min(self._failures - 1, 100), BACKOFF_MAX_S)
        jitter = random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
        asked = error.details.get("retry_after_s", 0) if isinstance(error, TailraceError) else 0
        # Not before the time that was asked for, and not all at that very moment.
        wait_s = max(ceiling * jitter, min(asked, RETRY_AFTER_MAX_S) * (0.5 + jitter))
        _logger.info("%s: %s; trying again in %.1f s", self._what(), said(error), wait_s)
        return wait_s

    def _what(self) -> str:
        return self.execution_id or "the workspace's stream"
