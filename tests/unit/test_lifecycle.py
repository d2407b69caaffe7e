"""The transition tables and the fold."""

import copy
from dataclasses import replace
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import errors
from tailrace.errors import IllegalTransition
from tailrace.events import CATALOG, TERMINAL, Event
from tailrace.lifecycle import (
    EXECUTION,
    EXECUTION_ERRORS,
    NODE,
    STATUS_EVENTS,
    ExecutionState,
    fold,
    status_after,
)


def event(type_: str, node: str | None = None, number: int = 1, **data: object) -> Event:
    return Event(id=number, type=type_, execution_id="X", ts=f"t{number}", node=node, data=data)


@pytest.mark.parametrize("table", [EXECUTION, NODE], ids=["execution", "node"])
def test_every_move_leads_to_a_state_and_every_state_is_reached(
    table: dict[str, dict[str, str]],
) -> None:
    targets = set(chain.from_iterable(moves.values() for moves in table.values()))
    assert targets | {"new"} == set(table)
    assert set(chain.from_iterable(table.values())) <= set(CATALOG)


def test_terminal_states_and_terminal_events_are_the_same_thing() -> None:
    ends = {state for state, moves in EXECUTION.items() if not moves}
    to_ends = {
        name for moves in EXECUTION.values() for name, target in moves.items() if target in ends
    }
    assert to_ends == TERMINAL
    assert ends == {*EXECUTION_ERRORS, "completed"}


def test_every_event_of_the_two_groups_has_a_move() -> None:
    grouped = {name for name in CATALOG if name.startswith(("execution.", "node."))}
    assert grouped == set(chain(*EXECUTION.values(), *NODE.values()))


@pytest.mark.parametrize("name", sorted(STATUS_EVENTS))
def test_the_index_and_the_fold_agree(name: str) -> None:
    states = {moves[name] for state, moves in EXECUTION.items() if name in moves}
    assert status_after(name) in states


def test_an_execution_folds_to_what_happened() -> None:
    state = fold(
        [
            event("execution.queued", kind="workflow", flow="f", workspace="w", input={"a": 1}),
            event("execution.started", number=2),
            event("execution.progress", number=3, percent=40),
            event("node.started", "n", 4),
            event("node.progress", "n", 5, percent=10),
            event("node.completed", "n", 6, duration_ms=7, output_summary={"keys": []}),
            event("output.item", "n", 7, index=0, value=1),
            event("log.line", number=8, line="x"),
            event("custom.mine", number=9),
            event("execution.completed", number=10, output={"b": 2}, total_duration_ms=99),
        ]
    )
    assert (state.id, state.status, state.kind, state.flow) == ("X", "completed", "workflow", "f")
    assert (state.workspace, state.input, state.output) == ("w", {"a": 1}, {"b": 2})
    assert (state.queued_at, state.started_at, state.ended_at) == ("t1", "t2", "t10")
    assert (state.total_duration_ms, state.item_count, state.head) == (99, 1, 10)
    node = state.nodes["n"]
    assert (node.status, node.started_at, node.ended_at, node.duration_ms) == (
        "completed",
        "t4",
        "t6",
        7,
    )
    assert state.to_dict()["nodes"][0]["id"] == "n"


def test_a_retry_keeps_the_last_error_and_counts() -> None:
    second = Event(id=5, type="node.started", node="n", attempt=2)
    state = fold(
        [
            event("execution.queued"),
            event("execution.started"),
            event("node.started", "n"),
            event("node.retrying", "n", error={"type": "E", "message": "m"}),
            second,
        ]
    )
    node = state.nodes["n"]
    assert (node.status, node.attempt, node.error) == ("running", 2, {"type": "E", "message": "m"})


@pytest.mark.parametrize(
    ("before", "bad"),
    [
        ([], "execution.started"),
        (["execution.queued"], "execution.queued"),
        (["execution.queued", "execution.started"], "execution.started"),
        (["execution.queued", "execution.lost"], "execution.completed"),
        (["execution.queued", "execution.lost"], "log.line"),
        (["execution.queued"], "node.completed"),
        (["execution.queued", "node.started"], "node.started"),
        (["execution.queued", "node.skipped"], "node.started"),
    ],
)
def test_what_cannot_follow_is_refused_and_changes_nothing(before: list[str], bad: str) -> None:
    state = fold([event(name, "n") for name in before])
    untouched = copy.deepcopy(state)
    with pytest.raises(IllegalTransition) as caught:
        state.apply(event(bad, "n"))
    assert bad in caught.value.message
    assert state == untouched


@given(st.lists(st.tuples(st.sampled_from(sorted(CATALOG)), st.sampled_from(["a", "b"]))))
def test_any_sequence_folds_or_is_refused_whole(steps: list[tuple[str, str]]) -> None:
    state = ExecutionState()
    accepted: list[Event] = []
    for number, (name, node) in enumerate(steps, start=1):
        step = event(name, node, number, error={"type": "E"})
        before = copy.deepcopy(state)
        try:
            state.apply(step)
        except IllegalTransition:
            assert state == before
        else:
            accepted.append(step)
    assert fold(accepted) == state
    assert sum(step.type in TERMINAL for step in accepted) == state.ended


@pytest.mark.parametrize(("status", "error"), EXECUTION_ERRORS.items())
def test_a_bad_end_is_raised_with_its_reason(
    status: str, error: type[errors.ExecutionError]
) -> None:
    ending = event(f"execution.{status}", error={"type": "E", "message": "why"}, reason="why")
    with pytest.raises(error, match="why") as caught:
        fold([event("execution.queued"), ending]).raise_for_end()
    assert caught.value.details["execution_id"] == "X"


def test_a_good_end_and_no_end_raise_nothing() -> None:
    fold([event("execution.queued")]).raise_for_end()
    fold([event("execution.queued"), event("execution.completed")]).raise_for_end()


def test_a_later_attempt_takes_over_and_may_begin_every_node_anew() -> None:
    def of(attempt: int, number: int) -> Event:
        return replace(event("execution.started", number=number), attempt=attempt)

    state = fold(
        [
            event("execution.queued", kind="workflow", flow="f"),
            of(1, 2),
            event("node.started", "done", 3),
            event("node.completed", "done", 4, duration_ms=1),
            event("node.started", "open", 5),
            event("node.started", "kept", 6),
        ]
    )
    with pytest.raises(IllegalTransition, match="attempt 1"):
        state.apply(of(1, 7))
    state.apply(of(2, 7))
    assert (state.attempt, state.status, state.started_at) == (2, "running", "t2")
    state.apply(event("node.started", "open", 8))
    state.apply(event("node.started", "done", 9))
    state.apply(event("node.completed", "kept", 10, duration_ms=1))  # it went on from there
    with pytest.raises(IllegalTransition):
        state.apply(event("node.started", "open", 11))
    assert {node.id: node.status for node in state.nodes.values()} == {
        "done": "running",
        "open": "running",
        "kept": "completed",
    }
    assert state.nodes["done"].duration_ms is None
