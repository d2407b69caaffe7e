"""What reaches a log: no secret, nothing too large, and each value kept once."""

import json
from typing import Any

import pytest
from pydantic import BaseModel

from tailrace.errors import InvalidEvent, PayloadTooLarge
from tailrace.events import Draft
from tailrace.intake import INLINE_MAX_BYTES, Intake

BIG = "x" * INLINE_MAX_BYTES


class Body(BaseModel):
    a: int
    b: str


def prepared(type_: str, **data: Any) -> tuple[Draft, dict[str, Any]]:
    made = Intake().prepare("X1", Draft(type=type_, ts="t", data=data))
    assert made.encoded is not None
    return made, json.loads(b"{" + made.encoded)["data"]


def test_a_small_event_stays_as_it_is() -> None:
    given = Draft(type="output.item", ts="t", data={"index": 0, "value": {"a": [1, 2.0, None]}})
    before = given.encode("X1")
    assert Intake().prepare("X1", given) is given
    assert given.encoded == before
    assert given.aside is None


@pytest.mark.parametrize(
    ("type_", "field"),
    [
        ("execution.queued", "input"),
        ("execution.completed", "output"),
        ("output.item", "value"),
        ("tool.call", "input"),
        ("tool.result", "output"),
        ("custom.mine", "anything"),
    ],
)
def test_a_large_value_is_put_aside_and_told_in_summary(type_: str, field: str) -> None:
    made, data = prepared(type_, **{field: {"body": BIG, "n": 1}, "index": 3})
    told = data[f"{field}_summary"]
    assert data[field] is None
    assert data["index"] == 3
    assert told["keys"] == ["body", "n"]
    assert told["preview"].startswith('{"body":"xxx')
    assert made.aside is not None
    assert json.loads(made.aside[told["digest"]]) == {"body": BIG, "n": 1}
    assert told["size_bytes"] == len(made.aside[told["digest"]])


def test_a_graph_is_put_aside_only_where_no_event_could_hold_it() -> None:
    given = {"kind": "workflow", "flow": "f"}
    _, data = prepared("execution.queued", graph={"nodes": BIG}, **given)
    assert data["graph"] == {"nodes": BIG}
    made, data = prepared("execution.queued", graph={"nodes": "x" * 1_100_000}, **given)
    assert data["graph"] is None
    assert [*(made.aside or {})] == [data["graph_summary"]["digest"]]


def test_equal_values_are_kept_once() -> None:
    one, _ = prepared("tool.call", call_id="1", name="t", input=BIG)
    two, _ = prepared("tool.result", call_id="1", name="t", output=BIG)
    assert one.aside == two.aside
    assert len(one.aside or {}) == 1


def test_what_cannot_be_put_aside_must_fit() -> None:
    made, data = prepared("log.line", line=BIG, source="s")
    assert data["line"] == BIG
    assert made.aside in (None, {})
    with pytest.raises(PayloadTooLarge):
        prepared("log.line", line="x" * 1_100_000, source="s")
    with pytest.raises(InvalidEvent):
        prepared("custom.mine", value=object())


def test_a_secret_does_not_get_in_by_being_large_or_short() -> None:
    intake = Intake()
    intake.redactor.add_secret("correct horse battery")
    for value in ("a correct horse battery b", f"{BIG} correct horse battery"):
        draft = Draft(type="execution.completed", ts="t", data={"output": {"v": value}})
        made = intake.prepare("X1", draft)
        kept = [made.encoded or b"", *(made.aside or {}).values()]
        assert not any(b"correct horse" in text for text in kept)
        assert any(b"[redacted:" in text for text in kept)
        told, aside = intake.summary({"v": value})
        assert "correct horse" not in told.preview
        assert not any(b"correct horse" in text for text in aside.values())


def test_a_summary_tells_keys_size_and_beginning() -> None:
    told, aside = Intake().summary({"a": 1, "b": "x" * 1000})
    assert (told.keys, told.size_bytes, len(told.preview)) == (["a", "b"], 1014, 200)
    assert told.preview.startswith('{"a":1,"b":"xxx')
    assert told.digest is not None
    assert json.loads(aside[told.digest]) == {"a": 1, "b": "x" * 1000}
    assert Intake().summary(Body(a=1, b="é"))[0].keys == ["a", "b"]


def test_a_summary_that_shows_all_keeps_nothing() -> None:
    told, aside = Intake().summary({"a": 1})
    assert (told.preview, told.digest, aside) == ('{"a":1}', None, {})


def test_a_summary_never_fails() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (object(), loop, {"a": object()}, b"\xff", "\ud800"):
        told, aside = Intake().summary(value)
        assert told.size_bytes > 0
        assert (told.digest, aside) == (None, {})
