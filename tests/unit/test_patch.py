"""JSON Patch: what `diff` makes, `apply` and a library by others apply to exactly the new value."""

import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import Event, Tailrace, agent, partial_output
from tailrace.patch import apply, diff
from tailrace.redact import Redactor

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, -0.5]) | st.text("a~/é", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab~/0", max_size=2), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


def exact(value: Any) -> str:
    """1, 1.0 and true are three values."""
    return json.dumps(value, sort_keys=True)


@given(JSON, JSON)
def test_a_patch_makes_the_new_value_of_the_old(old: Any, new: Any) -> None:
    before, patch = exact(old), diff(old, new)
    assert exact(apply(old, patch)) == exact(new)
    assert exact(old) == before
    assert exact(jsonpatch.apply_patch(old, patch)) == exact(new)
    assert diff(new, new) == []


@pytest.mark.parametrize(
    ("old", "new", "patch"),
    [
        (None, {"a": 1}, [{"op": "replace", "path": "", "value": {"a": 1}}]),
        ({"a": 1}, {"a": 1, "b/~": 2}, [{"op": "add", "path": "/b~1~0", "value": 2}]),
        ({"a": [1]}, {"a": [1, 2]}, [{"op": "add", "path": "/a/-", "value": 2}]),
        ([1, 2, 3], [1], [{"op": "remove", "path": "/2"}, {"op": "remove", "path": "/1"}]),
        ({"a": 1}, {"a": True}, [{"op": "replace", "path": "/a", "value": True}]),
    ],
)
def test_what_is_there_stays_untold(old: Any, new: Any, patch: Any) -> None:
    assert diff(old, new) == patch


def test_a_text_that_grows_a_little_waits() -> None:
    old, new = {"t": "x" * 80, "n": 1}, {"t": "x" * 85, "n": 2}
    assert diff(old, new, settled=False) == [{"op": "replace", "path": "/n", "value": 2}]
    assert len(diff(old, new)) == 2
    assert diff({"t": "x" * 80}, {"t": "y" * 80}, settled=False)


async def told(made: Any, redactor: Redactor | None = None) -> tuple[Any, Any, list[Event]]:
    """What the patches make, the output, and the patches' events."""
    async with Tailrace("memory:", redactor=redactor) as tailrace:
        run = await tailrace.start(made)
        await run.wait()
        events = [event async for event in run.follow()]
    built: Any = None
    deltas = [event for event in events if event.type == "structured.delta"]
    for event in deltas:
        built = jsonpatch.apply_patch(built, event.data["patch"])
    return built, events[-1].data["output"], deltas


async def test_patches_rebuild_the_output_exactly_and_cost_no_square_of_it() -> None:
    @agent
    async def writes() -> dict[str, Any]:
        text = ""
        for number in range(2000):
            text += f"word{number} "
            partial_output({"text": text, "done": False})
        return {"text": text + ".", "done": True}

    built, output, deltas = await told(writes)
    assert exact(built) == exact(output)
    size = sum(len(exact(event.data["patch"])) for event in deltas)
    assert size < 12 * len(output["text"])
    assert len(deltas) > 20


async def test_without_a_result_the_last_step_is_the_output() -> None:
    @agent
    async def builds() -> None:
        partial_output({"a": 1})
        partial_output({"a": 1, "b": [None, 0.5]})

    built, output, _ = await told(builds)
    assert exact(built) == exact(output) == exact({"a": 1, "b": [None, 0.5]})


async def test_a_secret_is_not_told_in_steps() -> None:
    secret = "correct-horse-battery"

    @agent
    async def leaks() -> dict[str, str]:
        for end in range(1, len(secret) + 1):
            partial_output({"note": f"it is {secret[:end]}"})
        return {"note": f"it is {secret}!", "password": "x"}

    built, output, deltas = await told(leaks, Redactor(secrets=[secret]))
    assert exact(built) == exact(output)
    assert output == {"note": "it is [redacted:secret]!", "password": "[redacted:key]"}
    whole = "".join(exact(event.data["patch"]) for event in deltas)
    assert "corr" not in whole
