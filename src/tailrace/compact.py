"""Fewer events for the same text: neighbouring pieces joined into one.

The law of this file: joined or not, the text is the same, and so is where a reader stands after
it. Only neighbours are joined, so the id of the last of them stands for all, and a reader may
change its mind at any id. Pure.
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from tailrace.events import Draft, Record

PIECE = "llm.chunk"


def compact(records: Iterable[Record]) -> list[Record]:
    """Join neighbouring pieces of one node's text; everything else stays as it is."""
    made: list[Record] = []
    run: list[Record] = []
    told: dict[str, Any] = {}
    for record in records:
        envelope = json.loads(record.json()) if record.type == PIECE else None
        if run and (envelope is None or _speaker(envelope) != _speaker(told)):
            made.append(_joined(run))
            run = []
        if envelope is None:
            made.append(record)
        else:
            run.append(record)
            told = envelope
    return [*made, _joined(run)] if run else made


def _speaker(envelope: dict[str, Any]) -> tuple[Any, Any]:
    return envelope.get("node"), envelope.get("attempt")


def _joined(run: Sequence[Record]) -> Record:
    if len(run) == 1:
        return run[0]
    first, last = run[0].event(), run[-1].event()
    text = "".join([str(record.event().data.get("text", "")) for record in run])
    data = {**first.data, "text": text}
    joined = Draft(type=PIECE, ts=last.ts, data=data, node=last.node, attempt=last.attempt)
    return Record(run[-1].seq, PIECE, joined.encode(last.execution_id))
