"""The catalog and the envelope: written once, read by anybody, old or new."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import events
from tailrace.clock import rfc3339
from tailrace.errors import InvalidEvent
from tailrace.events import CATALOG, CONTROL, TERMINAL, Draft, Event, Record, check, draft

TS = "2026-02-18T10:30:00.123456Z"
# DESIGN section 4, and `execution.cancelling`, by which a cancel reaches its worker.
NAMES = [
    "execution.queued",
    "execution.started",
    "execution.progress",
    "execution.cancelling",
    "execution.completed",
    "execution.failed",
    "execution.cancelled",
    "execution.timed_out",
    "execution.lost",
    "node.queued",
    "node.started",
    "node.progress",
    "node.completed",
    "node.failed",
    "node.retrying",
    "node.skipped",
    "node.cancelled",
    "output.item",
    "llm.chunk",
    "llm.usage",
    "tool.call",
    "tool.result",
    "structured.delta",
    "log.line",
    "log.sealed",
    "warning",
    "stream.open",
    "stream.gap",
    "stream.closing",
    "heartbeat",
]


def test_the_catalog_is_the_designs() -> None:
    assert sorted(CATALOG) == sorted(NAMES)
    assert {"execution.completed", "execution.failed", "execution.cancelled"} <= TERMINAL
    assert len(TERMINAL) == 5
    assert {"stream.open", "stream.gap", "stream.closing", "heartbeat"} == CONTROL


def test_every_payload_says_what_it_is() -> None:
    for payload in CATALOG.values():
        assert payload.__doc__


def test_an_envelope_looks_as_designed() -> None:
    payload = events.NodeCompleted(
        duration_ms=234,
        output_summary=events.OutputSummary(keys=["body"], size_bytes=1024, preview="…"),
    )
    made = draft(payload, datetime(2026, 2, 18, 10, 30, 0, 123456, UTC), node="http_1")
    record = Record(13, made.type, made.encode("01J"))
    assert json.loads(record.json()) == {
        "id": 13,
        "type": "node.completed",
        "ts": TS,
        "execution_id": "01J",
        "node": "http_1",
        "attempt": 1,
        "data": {
            "duration_ms": 234,
            "output_summary": {
                "keys": ["body"],
                "size_bytes": 1024,
                "preview": "…",
                "digest": None,
            },
        },
    }


def test_only_what_was_said_is_written() -> None:
    assert events.ExecutionCompleted(total_duration_ms=1).data() == {"total_duration_ms": 1}
    said = events.ExecutionCompleted(output=None, total_duration_ms=1, more=2)
    assert said.data() == {"output": None, "total_duration_ms": 1, "more": 2}
    assert events.StreamGap(from_=1, to=2, cause="lost").data() == {
        "from": 1,
        "to": 2,
        "cause": "lost",
    }


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


@given(
    data=st.dictionaries(TEXT, JSON, max_size=3),
    node=st.none() | TEXT,
    execution_id=TEXT,
    attempt=st.integers(1, 9),
    seq=st.integers(1, 10**15),
)
def test_what_is_written_is_read(
    data: dict[str, Any], node: str | None, execution_id: str, attempt: int, seq: int
) -> None:
    made = Draft(type="custom.x", ts=TS, node=node, attempt=attempt, data=data)
    record = Record(seq, made.type, made.encode(execution_id))
    assert b"\n" not in record.json()
    assert record.event() == Event(
        id=seq,
        type="custom.x",
        ts=TS,
        execution_id=execution_id,
        node=node,
        attempt=attempt,
        data=data,
    )
    assert record.event().to_dict() == json.loads(record.json())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_has_no_number_for_is_null(value: float) -> None:
    made = Draft(type="custom.x", ts=TS, data={"v": value})
    assert Record(1, "custom.x", made.encode("X")).event().data == {"v": None}


def deep() -> object:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [object(), "\ud800", b"\xff", deep()])
def test_what_cannot_be_json_is_refused(value: object) -> None:
    with pytest.raises(InvalidEvent, match=r"custom\.x"):
        Draft(type="custom.x", ts=TS, data={"v": value}).encode("X")


def test_unknown_types_and_fields_pass_through() -> None:
    text = '{"id":1,"type":"node.teleported","ts":"","execution_id":"X","data":{"a":1},"new":2}'
    event = Event.parse(text)
    assert (event.type, event.data, event.payload()) == ("node.teleported", {"a": 1}, None)
    known = Event(id=1, type="log.sealed", data={"source": "stdout", "new": 1})
    payload = known.payload()
    assert isinstance(payload, events.LogSealed)
    assert payload.data() == {"source": "stdout", "new": 1}


@pytest.mark.parametrize("text", ["", "[]", "1", "{}", "null", '{"type":', b"\xff"])
def test_what_is_no_envelope_is_refused(text: str | bytes) -> None:
    with pytest.raises(InvalidEvent):
        Event.parse(text)


def test_outside_events_are_checked_against_the_catalog() -> None:
    assert isinstance(check("llm.chunk", {"text": "a", "offset": 0}), events.LlmChunk)
    assert check("custom.my-own_thing.2", {"anything": object()}) is None
    bad: list[tuple[str, dict[str, Any]]] = [
        ("node.teleported", {}),
        ("custom.", {}),
        ("custom.a b", {}),
        ("stream.open", {}),
        ("heartbeat", {}),
        ("llm.chunk", {"text": "a"}),
        ("llm.chunk", {"text": "a", "offset": -1}),
        ("node.failed", {"error": "text"}),
    ]
    for type_, data in bad:
        with pytest.raises(InvalidEvent):
            check(type_, data)


def test_ids_sort_by_time_and_are_safe_in_urls() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    ids = [events.new_execution_id(start + timedelta(milliseconds=n)) for n in range(100)]
    assert ids == sorted(ids)
    assert len({events.new_execution_id(start) for _ in range(1000)}) == 1000
    assert all(len(id_) == 26 and id_.isalnum() and id_.isupper() for id_ in ids)


def test_times_are_rfc_3339_with_microseconds() -> None:
    assert rfc3339(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000Z"
