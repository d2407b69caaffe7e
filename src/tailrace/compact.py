"""Fewer events for the same text: neighbouring pieces joined into one.

The law of this file: joined or not, the text is the same, and so is where a reader stands after
it. Only neighbours are joined, so the id of the last of them stands for all, and a reader may
change its mind at any id. Pure.
"""

from collections.abc import Iterable, Sequence

from tailrace.events import Draft, Event, Record
from tailrace.filters import Filter

PIECE = "llm.chunk"


def shown(
    records: Iterable[Record], wanted: Filter | None, *, compacted: bool | None = False
) -> list[Record]:
    """What of some records a reader is given: what it wants, and joined if it asked for that."""
    chosen = [r for r in records if wanted is None or wanted.chooses(r)]
    return compact(chosen) if compacted else chosen


def compact(records: Iterable[Record]) -> list[Record]:
    """Join neighbouring pieces of one node's text; everything else stays as it is."""
    made: list[Record] = []
    run: list[tuple[Record, Event]] = []
    for record in records:
        event = record.event() if record.type == PIECE else None
        if run and (event is None or _speaker(event) != _speaker(run[-1][1])):
            made.append(_joined(run))
            run = []
        if event is None:
            made.append(record)
        else:
            run.append((record, event))
    return [*made, _joined(run)] if run else made


def _speaker(event: Event) -> tuple[str | None, int]:
    return event.node, event.attempt


def _joined(run: Sequence[tuple[Record, Event]]) -> Record:
    if len(run) == 1:
        return run[0][0]
    events = [event for _, event in run]
    first, last = events[0], events[-1]
    data = {**first.data, "text": "".join([str(e.data.get("text", "")) for e in events])}
    joined = Draft(type=PIECE, ts=last.ts, data=data, node=last.node, attempt=last.attempt)
    return Record(run[-1][0].seq, PIECE, joined.encode(last.execution_id))
