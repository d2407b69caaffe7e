"""What watchers are given: consecutive events of one log, as bytes.

The law of this file: each form of a batch's bytes is made once, by the first watcher that wants
it, and is the same for all others.
"""

from collections.abc import Sequence
from functools import cached_property

from tailrace import sse
from tailrace.events import TERMINAL, Record, StreamGap
from tailrace.log.rules import bytes_of


class Batch:
    """Consecutive events, shared by all watchers that stand at the same position. Immutable.

    `ended`: nothing follows it, because the terminal event is in it, or the log was removed.
    """

    def __init__(self, records: Sequence[Record], gap: StreamGap | None = None) -> None:
        self.records = records
        self.gap = gap
        self.last = records[-1].seq if records else 0
        self.ended = bool(records) and records[-1].type in TERMINAL
        self._size: int | None = None
        self.forms: dict[object, bytes] = {}  # of filtered streams, the newest ones

    @property
    def ending(self) -> str:
        """Why nothing follows it."""
        return "ended" if self.records else "removed"

    @property
    def size(self) -> int:
        """The bytes of its events, without what frames them."""
        if self._size is None:
            self._size = bytes_of(self.records)
        return self._size

    @cached_property
    def sse(self) -> bytes:
        """The events as Server-Sent Events, joined: one write for all of them."""
        return b"".join([sse.event_frame(r.seq, r.type, r.tail) for r in self.records])

    @cached_property
    def ndjson(self) -> bytes:
        """The events as lines of JSON, joined."""
        return b"".join([r.json() + b"\n" for r in self.records])

    @cached_property
    def sse_chunk(self) -> bytes:
        """`sse` as one chunk of HTTP/1.1, for a stream that writes to its socket itself."""
        return chunk(self.sse)

    @cached_property
    def ndjson_chunk(self) -> bytes:
        """`ndjson` likewise."""
        return chunk(self.ndjson)


def chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk of the chunked coding (RFC 9112, section 7.1); nothing as nothing.

    An empty chunk would end the response.
    """
    return data and b"%x\r\n%b\r\n" % (len(data), data)


EMPTY = Batch(())
