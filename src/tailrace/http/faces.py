"""How a stream looks on the wire, and what it says beside the events.

The law of this file: pure; the same bytes whichever way they are delivered.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import attrgetter

from pydantic_core import to_json

from tailrace import events, sse
from tailrace.batch import Batch, chunk
from tailrace.clock import rfc3339
from tailrace.compact import PIECE, shown
from tailrace.events import Record
from tailrace.filters import LINE, Filter
from tailrace.positions import Opening, Position
from tailrace.runtime import Runtime
from tailrace.signals import Signal

NDJSON, PLAIN = "application/x-ndjson", "text/plain"
LOG_TYPES = (LINE, "log.sealed")
ANEW = ("execution.started", "node.retrying")  # after which a text may come from its beginning
CUT = " … [the line was longer and was cut]"
FORMS_MAX = 16  # of one batch, kept for others who want the same; each is as large as a page


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """How a stream looks on the wire: its media type, and how each thing is written.

    `types` are the only events it can show; empty: all. `whole` and `chunk` are bytes that a
    batch has ready, where the face shows every event.
    """

    media_type: str
    frames: Callable[[Sequence[Record]], bytes]
    control: Callable[[str, bytes], bytes]
    preamble: Callable[[int], bytes]
    comment: bytes
    passed: Callable[[int], bytes]  # what moves a client's position past events it did not want
    types: tuple[str, ...] = ()
    whole: Callable[[Batch], bytes] | None = None
    chunk: Callable[[Batch], bytes] | None = None


def _text_frames(records: Sequence[Record]) -> bytes:
    """Pieces of text as unnamed messages, neighbours in one; what else there is as what it is."""
    frames = []
    for is_text, run in groupby(records, key=lambda record: record.type == PIECE):
        some = list(run)
        last = str(some[-1].seq)
        frames.append(sse.encode(_text(some), id=last) if is_text else Batch(some).sse)
    return b"".join(frames)


def _text(records: Sequence[Record]) -> str:
    return "".join([str(r.event().data.get("text", "")) for r in records if r.type == PIECE])


def _line_frames(records: Sequence[Record]) -> bytes:
    """Each line as one unnamed message; what else there is as what it is."""
    return b"".join(
        [
            sse.encode(_line(record), id=str(record.seq))
            if record.type == LINE
            else Batch([record]).sse
            for record in records
        ]
    )


def _line(record: Record) -> str:
    data = record.event().data
    return f"{data.get('line', '')}{CUT if data.get('truncated') else ''}"


def _plain_lines(records: Sequence[Record]) -> bytes:
    return "".join([f"{_line(record)}\n" for record in records if record.type == LINE]).encode()


EVENTS = Face(
    media_type=f"{sse.MEDIA_TYPE}; charset=utf-8",
    frames=lambda records: Batch(records).sse,
    control=sse.control_frame,
    preamble=sse.retry,
    comment=sse.comment("heartbeat"),
    passed=sse.id_frame,
    whole=attrgetter("sse"),
    chunk=attrgetter("sse_chunk"),
)
EVENTS_NDJSON = Face(
    media_type=NDJSON,
    frames=lambda records: Batch(records).ndjson,
    control=lambda _, json: json + b"\n",
    preamble=lambda _: b"",
    comment=b"\n",  # an empty line: keeps the connection awake, and readers of NDJSON skip it
    passed=lambda _: b"",
    whole=attrgetter("ndjson"),
    chunk=attrgetter("ndjson_chunk"),
)
# Text and lines as messages without a name: a reader that joins them has exactly the text. What
# else a stream says has a name, so EventSource hands it to nobody who did not ask for it.
TEXT = replace(EVENTS, frames=_text_frames, types=(PIECE, *ANEW), whole=None, chunk=None)
LINES = replace(EVENTS, frames=_line_frames, types=LOG_TYPES, whole=None, chunk=None)
# Bare bytes: there is no room to say anything else, nor to fill silence.
TEXT_PLAIN = Face(
    media_type=f"{PLAIN}; charset=utf-8",
    frames=lambda records: _text(records).encode(),
    control=lambda _, __: b"",
    preamble=lambda _: b"",
    comment=b"",
    passed=lambda _: b"",
    types=(PIECE,),
)
LINES_PLAIN = replace(TEXT_PLAIN, frames=_plain_lines, types=LOG_TYPES)


def _made(form: tuple[Face, Filter | None, bool, bool], batch: Batch) -> bytes:
    made = batch.forms.get(form)
    if made is None:
        face, wanted, compacted, chunked = form
        chosen = shown(batch.records, wanted, compacted=compacted)
        made = face.frames(chosen)
        if batch.records and (not chosen or chosen[-1].seq != batch.last):
            made += face.passed(batch.last)
        if len(batch.forms) >= FORMS_MAX:
            del batch.forms[next(iter(batch.forms))]
        made = batch.forms[form] = chunk(made) if chunked else made
    return made


def writer(
    face: Face, wanted: Filter | None, *, compacted: bool = False, chunked: bool = False
) -> Callable[[Batch], bytes]:
    """How a face writes batches. Where it shows them whole, the bytes are shared by all."""
    ready = face.chunk if chunked else face.whole
    if wanted is None and not compacted and ready is not None:
        return ready
    return partial(_made, (face, wanted, compacted, chunked))


class Words:
    """What a stream says beside the events, in the face that was asked for."""

    __slots__ = ("_heartbeat_event", "compacted", "execution_id", "face", "runtime", "wanted")

    def __init__(
        self,
        runtime: Runtime,
        face: Face,
        execution_id: str | None,
        *,
        heartbeat_event: bool = False,
        wanted: Filter | None = None,
        compacted: bool = False,
    ) -> None:
        self.runtime, self.face, self.execution_id = runtime, face, execution_id
        self.wanted, self.compacted, self._heartbeat_event = wanted, compacted, heartbeat_event

    def writer(self, *, chunked: bool) -> Callable[[Batch], bytes]:
        """How a batch is written: whole, or what is wanted of it; `chunked`: as HTTP chunks."""
        return writer(self.face, self.wanted, compacted=self.compacted, chunked=chunked)

    def preamble(self, opening: Opening) -> bytes:
        """The first bytes: sent at once, so that a client knows it is connected and to what.

        Where it does not begin where the client stands, they move it there: one that is cut before
        its first event must not ask for the newest ones, or from a while ago, once more.
        """
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
        elsewhere = opening.after and not opening.resumed
        return b"".join(
            [
                self.first(opened),
                self.control(gap) if gap else b"",
                self.face.passed(opening.after) if elsewhere else b"",
            ]
        )

    def first(self, opened: events.StreamOpen) -> bytes:
        """How a stream begins."""
        return self.face.preamble(self.runtime.settings.retry_ms) + self.control(opened)

    def heartbeat(self) -> bytes:
        """What fills silence."""
        return self.control(events.Heartbeat()) if self._heartbeat_event else self.face.comment

    def closing(self, signal: Signal) -> bytes:
        """The goodbye to a client that should resume."""
        retry_ms = self.runtime.settings.retry_ms
        return self.control(events.StreamClosing(reason=signal.reason, retry_ms=retry_ms))

    def control(self, payload: events.Payload, execution_id: str | None = None) -> bytes:
        """A control event: without an id, so it never moves a client's position."""
        envelope = {
            "id": None,
            "type": payload.type,
            "ts": rfc3339(self.runtime.clock.now()),
            "execution_id": execution_id or self.execution_id,
            "data": payload.data(),
        }
        return self.face.control(payload.type, to_json(envelope))
