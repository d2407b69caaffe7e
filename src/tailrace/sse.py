"""Server-Sent Events as a pure codec, both directions, no I/O.

The law of this file: it is exact to the WHATWG HTML standard, section 9.2 ("Server-sent
events"), and to nothing else. It knows no event catalog. A stream may be cut into chunks at any
byte; the same messages come out.

    encode, event_frame, placed_frame, id_frame, control_frame, comment, retry
                                                               messages → bytes
    Decoder.feed                                               bytes → messages

Why our own: httpx-sse dispatches an empty message at every blank line once an id was seen, so
that each heartbeat becomes a phantom event (research/aesthetics.md, section 6, trap 1).
"""

import re
from codecs import getincrementaldecoder
from collections.abc import Iterator
from dataclasses import dataclass

from tailrace.errors import ProtocolError

MEDIA_TYPE = "text/event-stream"
_LINE_END = re.compile(r"\r\n|\r|\n")
_RETRY = re.compile("[0-9]{1,9}")  # eleven days; of thousands of digits `int` makes an error
_FORBIDDEN = re.compile(r"[\r\n\0]")


def encode(data: str, *, event: str | None = None, id: str | None = None) -> bytes:  # noqa: A002 - the field's name in the standard
    """Write one message. A line break in the data (CR, LF or CRLF) arrives as LF.

    Raises ValueError if `event` or `id` holds a line break or NUL: those would let a value
    inject fields of its own.
    """
    if (event and _FORBIDDEN.search(event)) or (id is not None and _FORBIDDEN.search(id)):
        raise ValueError("event and id must not contain line breaks or NUL")
    head = (f"id: {id}\n" if id is not None else "") + (f"event: {event}\n" if event else "")
    lines = "".join(f"data: {line}\n" for line in _LINE_END.split(data))
    return f"{head}{lines}\n".encode()


def event_frame(seq: int, event: str, tail: bytes) -> bytes:
    """Write one log event: the hot path, for JSON that is known to have no raw line break.

    `tail` is the envelope's JSON from after its id on, as the log keeps it.
    """
    return b'id: %d\nevent: %b\ndata: {"id":%d,%b\n\n' % (seq, event.encode(), seq, tail)


def placed_frame(place: str, event: str, json: bytes) -> bytes:
    """Write an event whose id is a position of more than its own log."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (place.encode(), event.encode(), json)


def id_frame(id: int | str) -> bytes:  # noqa: A002 - the field's name in the standard
    """Move the client's last event id, and dispatch nothing (the standard's dispatch, step 1)."""
    return b"id: %b\n\n" % str(id).encode()


def control_frame(event: str, json: bytes) -> bytes:
    """Write a control event: without an id, so the client's resume position stays."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), json)


def comment(text: str = "") -> bytes:
    """Write a comment: bytes that keep proxies awake and no client dispatches."""
    return b": %b\n\n" % _LINE_END.sub(" ", text).encode()


def retry(milliseconds: int) -> bytes:
    """Tell the client how long to wait before it reconnects."""
    return b"retry: %d\n\n" % milliseconds


@dataclass(frozen=True, slots=True)
class Message:
    """One dispatched message; `id` is the last event id at that moment, "" if there is none."""

    event: str
    data: str
    id: str


class Decoder:
    """Bytes to messages, incrementally. `last_event_id` and `retry_ms` follow the stream.

    A message larger than `max_bytes` raises ProtocolError: a peer that never sends a blank
    line must not fill the memory.
    """

    def __init__(self, *, last_event_id: str = "", max_bytes: int = 16 * 1024 * 1024) -> None:
        self.last_event_id = last_event_id
        self.retry_ms: int | None = None
        self._max = max_bytes
        self._utf8 = getincrementaldecoder("utf-8")("replace")
        self._at_start = True
        self._skip_lf = False
        self._partial: list[str] = []
        self._size = 0
        self._id_buffer = last_event_id
        self._event = ""
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> list[Message]:
        """Take the next bytes and return the messages they complete."""
        text = self._utf8.decode(chunk)
        if not text:  # no bytes, or only a part of a character: no state may change
            return []
        if self._at_start:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        messages = []
        for line in self._lines(text):
            if line:
                self._field(line)
            elif message := self._dispatch():
                messages.append(message)
        return messages

    def _lines(self, text: str) -> Iterator[str]:
        if self._skip_lf:
            # The chunk before ended in CR: that ended the line, an LF now belongs to it.
            text = text.removeprefix("\n")
            self._skip_lf = False
        start = 0
        for match in _LINE_END.finditer(text):
            line = text[start : match.start()]
            if self._partial:
                begun = "".join(self._partial)
                line, self._size = begun + line, self._size - len(begun)  # its value counts again
                self._partial.clear()
            start = match.end()
            yield line
        if start < len(text):
            self._partial.append(text[start:])
            self._grow(len(text) - start)
        self._skip_lf = text.endswith("\r")

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._max:
            raise ProtocolError(f"A message is larger than {self._max} bytes")

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._grow(len(value))
        elif name == "event":
            self._event = value
        elif name == "id":
            if "\0" not in value:
                self._id_buffer = value
        elif name == "retry" and _RETRY.fullmatch(value):
            self.retry_ms = int(value)

    def _dispatch(self) -> Message | None:
        # An id counts even in a block without data: that is how filtered-out ids advance.
        self.last_event_id = self._id_buffer
        data, event = self._data, self._event or "message"
        self._data, self._event, self._size = [], "", 0
        return Message(event, "\n".join(data), self.last_event_id) if data else None
