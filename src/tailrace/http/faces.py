"""How a stream looks on the wire, and what it says beside the events.

The law of this file: pure; the same bytes whichever way they are delivered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter

from pydantic_core import to_json

from tailrace import events, sse
from tailrace.clock import rfc3339
from tailrace.events import Record
from tailrace.filters import Filter
from tailrace.hub import Batch, Opening, Position, Signal, chunk
from tailrace.runtime import Runtime

NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Face:
    """How a stream looks on the wire: its media type, and how each thing is written."""

    media_type: str
    batch: Callable[[Batch], bytes]
    chunk: Callable[[Batch], bytes]
    control: Callable[[str, bytes], bytes]
    preamble: Callable[[int], bytes]
    comment: bytes
    passed: Callable[[int], bytes]  # what moves a client's position past events it did not want
    frames: Callable[[Sequence[Record]], bytes]


SSE_FACE = Face(
    media_type=f"{sse.MEDIA_TYPE}; charset=utf-8",
    batch=attrgetter("sse"),
    chunk=attrgetter("sse_chunk"),
    control=sse.control_frame,
    preamble=sse.retry,
    comment=sse.comment("heartbeat"),
    passed=sse.id_frame,
    frames=lambda records: Batch(records).sse,
)
NDJSON_FACE = Face(
    media_type=NDJSON,
    batch=attrgetter("ndjson"),
    chunk=attrgetter("ndjson_chunk"),
    control=lambda _, json: json + b"\n",
    preamble=lambda _: b"",
    comment=b"\n",  # an empty line: keeps the connection awake, and readers of NDJSON skip it
    passed=lambda _: b"",
    frames=lambda records: Batch(records).ndjson,
)


def writer(face: Face, wanted: Filter | None, *, chunked: bool) -> Callable[[Batch], bytes]:
    """How a stream writes a batch: whole, or what a filter chooses of it."""
    if wanted is None:
        return face.chunk if chunked else face.batch
    return partial(_chosen, face, wanted, chunked)


def _chosen(face: Face, wanted: Filter, chunked: bool, batch: Batch) -> bytes:
    key = (face.media_type, wanted, chunked)
    made = batch.forms.get(key)
    if made is None:
        chosen = [record for record in batch.records if wanted.chooses(record)]
        made = face.frames(chosen)
        if batch.records and (not chosen or chosen[-1].seq != batch.last):
            made += face.passed(batch.last)
        made = batch.forms[key] = chunk(made) if chunked else made
    return made


class Words:
    """What a stream says beside the events, in the face that was asked for."""

    __slots__ = ("_heartbeat_event", "execution_id", "face", "runtime", "wanted")

    def __init__(
        self,
        runtime: Runtime,
        face: Face,
        execution_id: str,
        *,
        heartbeat_event: bool,
        wanted: Filter | None = None,
    ) -> None:
        self.runtime, self.face, self.execution_id = runtime, face, execution_id
        self.wanted, self._heartbeat_event = wanted, heartbeat_event

    def preamble(self, opening: Opening) -> bytes:
        """The first bytes: sent at once, so that a client knows it is connected and to what."""
        gap, entry = opening.gap, opening.entry
        opened = events.StreamOpen(
            execution_id=entry.execution_id,
            status=entry.status,
            position=str(Position(opening.after, entry.epoch)),
            head=entry.head,
            epoch=entry.epoch,
            resumed=opening.resumed,
            gap=gap.data() if gap else None,
        )
        first = self.face.preamble(self.runtime.settings.retry_ms) + self.control(opened)
        return first + self.control(gap) if gap else first

    def heartbeat(self) -> bytes:
        """What fills silence."""
        return self.control(events.Heartbeat()) if self._heartbeat_event else self.face.comment

    def closing(self, signal: Signal) -> bytes:
        """The goodbye to a client that should resume."""
        reason = "shutdown" if signal is Signal.CLOSING else "lifetime"
        retry_ms = self.runtime.settings.retry_ms
        return self.control(events.StreamClosing(reason=reason, retry_ms=retry_ms))

    def control(self, payload: events.Payload) -> bytes:
        """A control event: without an id, so it never moves a client's position."""
        envelope = {
            "id": None,
            "type": payload.type,
            "ts": rfc3339(self.runtime.clock.now()),
            "execution_id": self.execution_id,
            "data": payload.data(),
        }
        return self.face.control(payload.type, to_json(envelope))
