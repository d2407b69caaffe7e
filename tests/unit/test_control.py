"""Branches, maps, sub-flows, collected streams, processes: what runs, what is skipped."""

import os
import random
import time
from collections.abc import AsyncIterator
from enum import Enum
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tailrace import Event, after, collect, errors, flow, node, switch, when
from tailrace.flow.build import Flow
from tailrace.flow.check import check
from tailrace.flow.compare import mismatch
from tailrace.lifecycle import ExecutionState
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.testing import FakeClock
from tailrace.testing.clock import settle

MEMORY = Settings(store="memory:")


@node(effects="pure")
async def positive(n: int) -> bool:
    return n > 0


@node(effects="pure")
async def double(n: int) -> int:
    return 2 * n


@node(effects="pure")
async def negate(n: int) -> int:
    return -n


@node(effects="pure")
async def count(to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


async def ran(made: Flow[Any], given: dict[str, Any]) -> tuple[ExecutionState, list[Event]]:
    async with Runtime(MEMORY) as runtime:
        run = await runtime.start(made, given)
        state = await run.wait()
        return state, [event async for event in run.follow()]


def skipped(events: list[Event]) -> dict[str, str]:
    return {e.node or "": e.data["reason"] for e in events if e.type == "node.skipped"}


@flow
def branched(n: int) -> object:
    return when(positive(n), lambda: double(n), otherwise=lambda: negate(n))


@pytest.mark.parametrize(("n", "output", "not_taken"), [(4, 8, "negate"), (-4, 4, "double")])
async def test_a_branch_that_is_not_taken_is_skipped(n: int, output: int, not_taken: str) -> None:
    state, events = await ran(branched, {"n": n})
    assert state.output == output
    assert list(skipped(events)) == [not_taken]
    assert state.nodes[not_taken].status == "skipped"


async def test_a_branch_that_is_not_there_gives_nothing() -> None:
    @flow
    def maybe(n: int) -> object:
        return when(positive(n), lambda: double(n))

    assert (await ran(maybe, {"n": 2}))[0].output == 4
    state, events = await ran(maybe, {"n": -2})
    assert state.status == "completed"
    assert state.output is None
    assert skipped(events) == {"double": "positive is otherwise, not true"}


async def test_what_needs_a_skipped_node_is_skipped_with_it() -> None:
    @flow
    def chained(n: int) -> object:
        return when(positive(n), lambda: negate(double(n)), otherwise=lambda: double(n))

    state, events = await ran(chained, {"n": -3})
    assert state.output == -6
    assert set(skipped(events)) == {"double", "negate"}


async def test_branches_nest_and_constants_are_branches_too() -> None:
    @flow
    def nested(n: int, loud: bool) -> object:
        return when(
            positive(n),
            lambda: when(loud, lambda: double(n), otherwise=lambda: n),
            otherwise=lambda: 0,
        )

    assert (await ran(nested, {"n": 3, "loud": True}))[0].output == 6
    assert (await ran(nested, {"n": 3, "loud": False}))[0].output == 3
    assert (await ran(nested, {"n": -3, "loud": True}))[0].output == 0


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@node(effects="pure")
async def size(n: int) -> Size:
    return Size.LARGE if n > 10 else Size.SMALL


async def test_a_switch_takes_the_case_of_a_value() -> None:
    @flow
    def switched(n: int) -> object:
        return switch(size(n), {"large": lambda: negate(n)}, lambda: double(n))

    assert (await ran(switched, {"n": 20}))[0].output == -20
    assert (await ran(switched, {"n": 2}))[0].output == 4


async def test_what_is_after_a_skipped_node_is_skipped() -> None:
    @flow
    def ordered(n: int) -> object:
        maybe = when(positive(n), lambda: double(n))
        return after(negate(n), maybe)

    assert (await ran(ordered, {"n": -1}))[0].output == 1  # the meeting itself is never skipped


# --- map --------------------------------------------------------------------------------------


async def test_a_map_keeps_the_order_and_the_limit() -> None:
    now = most = 0

    @node(effects="pure", concurrency=3)
    async def square(n: int, plus: int) -> int:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(random.Random(n).randrange(5)):
            await anyio.lowlevel.checkpoint()
        now -= 1
        return n * n + plus

    @flow
    def squares(ns: list[int]) -> object:
        return square.map(ns, plus=1)

    state, _ = await ran(squares, {"ns": list(range(20))})
    assert state.output == [n * n + 1 for n in range(20)]
    assert most == 3
    assert (await ran(squares, {"ns": []}))[0].output == []


async def test_a_map_of_a_stream_is_a_stream_in_order() -> None:
    @node(effects="pure", concurrency=4)
    async def slow_for_even(n: int) -> int:
        for _ in range(10 * (n % 2 == 0)):
            await anyio.lowlevel.checkpoint()
        return 10 * n

    @flow
    def mapped(to: int) -> object:
        return slow_for_even.map(count(to))

    state, events = await ran(mapped, {"to": 25})
    assert [e.data["value"] for e in events if e.type == "output.item"] == [
        10 * n for n in range(25)
    ]
    assert state.status == "completed"
    capture = mapped.ir.node(mapped.capture)
    assert capture is not None
    assert capture.streaming


async def test_an_item_that_fails_is_tried_again_or_ends_the_flow() -> None:
    tries: list[int] = []

    @node(effects="read_only", attempts=2, retry_delay_ms=0, retry_on=(OSError,))
    async def flaky(n: int) -> int:
        tries.append(n)
        if n == 2 and tries.count(2) == 1:
            raise OSError("once")
        if n == 9:
            raise ValueError("never")
        return n

    @flow
    def all_of(ns: list[int]) -> object:
        return flaky.map(ns)

    state, events = await ran(all_of, {"ns": [1, 2, 3]})
    assert state.output == [1, 2, 3]
    assert [e.data["code"] for e in events if e.type == "warning"] == ["item_retried"]
    state, _ = await ran(all_of, {"ns": [9]})
    assert (state.status, state.error and state.error["type"]) == ("failed", "ValueError")
    assert tries.count(9) == 1  # a ValueError is not among those that are retried


async def test_a_stream_can_be_collected() -> None:
    @node(effects="pure")
    async def total(ns: list[int]) -> int:
        return sum(ns)

    @flow
    def summed(to: int) -> object:
        return total(collect(count(to)))

    assert (await ran(summed, {"to": 5}))[0].output == 10


# --- flows in flows ---------------------------------------------------------------------------


@flow
def doubled_twice(n: int, times: int = 2) -> Any:
    return double(double(n))


async def test_a_flow_in_a_flow_is_drawn_into_it() -> None:
    @flow
    def outer(n: int) -> object:
        return negate(doubled_twice(n))

    state, _ = await ran(outer, {"n": 3})
    assert state.output == -12
    assert set(state.nodes) == {"negate", "doubled_twice/double", "doubled_twice/double_2"}
    with pytest.raises(errors.InvalidFlow, match="inside a @flow"):
        doubled_twice(3)


# --- processes --------------------------------------------------------------------------------


@node(effects="pure", cpu=True)
def heavy(n: int) -> tuple[int, int]:
    return n * n, os.getpid()


@flow
def computed(n: int) -> object:
    return heavy(n)


async def test_a_cpu_node_runs_in_a_process_of_its_own() -> None:
    async with Runtime(MEMORY) as runtime:
        output = await (await runtime.start(computed, {"n": 12}))
    assert output[0] == 144
    assert output[1] != os.getpid()
    with pytest.raises(errors.InvalidFlow, match="cpu=True"):
        node(cpu=True)(double.fn)


# --- checks -----------------------------------------------------------------------------------


def problems(draw: Any) -> list[str]:
    try:
        flow(draw)
    except errors.InvalidFlow as error:
        return [str(problem).partition(" ")[0] for problem in error.details["problems"]]
    return []


@node(effects="pure")
async def length(text: str) -> int:
    return len(text)


def test_what_a_node_gives_must_be_what_the_next_takes() -> None:
    def wrong(n: int) -> object:
        return length(double(n))  # type: ignore[arg-type] # the type checker knows it too

    def right(text: str) -> object:
        return double(length(text))

    assert problems(wrong) == ["type_mismatch"]
    assert problems(right) == []


def test_retries_of_effects_and_strictness_are_checked() -> None:
    @node(attempts=2)
    async def pay(n: int) -> int:
        return n

    @node(attempts=2, idempotency="order id")
    async def pay_once(n: int) -> int:
        return n

    @node(effects="read_only", determinism="strict", resources=("resource::http",))
    async def fetch(n: int) -> int:
        return n

    assert problems(lambda n: pay(n)) == ["effectful_retry"]
    assert problems(lambda n: pay_once(n)) == []
    assert problems(lambda n: fetch(n)) == ["strict_nondeterministic"]


def test_two_consumers_of_which_one_waits_for_the_other_would_stop() -> None:
    @node(effects="pure")
    async def largest(ns: AsyncIterator[int]) -> int:
        return max([n async for n in ns])

    @node(effects="pure")
    async def shares(ns: AsyncIterator[int], most: int) -> list[float]:
        return [n / most async for n in ns]

    def stuck(to: int) -> object:
        numbers = count(to)
        return shares(numbers, largest(numbers))

    assert problems(stuck) == ["stream_deadlock"]


def test_two_flows_on_one_route_are_refused() -> None:
    one = flow(name="one", http="POST /x")(branched.fn)
    two = flow(name="two", http="POST /x")(branched.fn)
    with pytest.raises(errors.InvalidRequest, match="route_taken"):
        Runtime(MEMORY, flows=[one, two])


def test_a_branch_cannot_give_a_stream() -> None:
    with pytest.raises(errors.InvalidFlow, match="gives a stream"):
        flow(lambda n: when(n, lambda: count(n)))


SCALAR = st.sampled_from(
    [{"type": "integer"}, {"type": "number"}, {"type": "string"}, {"type": "boolean"}, {}]
)
SCHEMA = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.builds(lambda items: {"type": "array", "items": items}, inner),
        st.builds(
            lambda properties: {
                "type": "object",
                "properties": properties,
                "required": list(properties),
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        ),
        st.builds(lambda one, two: {"anyOf": [one, two]}, inner, inner),
    ),
    max_leaves=8,
)


@hypothesis_settings(deadline=None)
@given(schema=SCHEMA)
def test_every_schema_fits_itself(schema: dict[str, Any]) -> None:
    if "anyOf" not in str(schema):
        assert mismatch(schema, schema) is None
    assert mismatch(schema, {}) is None
    assert mismatch({}, schema) is None


def test_what_does_not_fit_is_named() -> None:
    text, texts = {"type": "string"}, {"type": "array", "items": {"type": "string"}}
    person: dict[str, Any] = {
        "type": "object",
        "properties": {"name": text, "tags": texts},
        "required": ["name"],
    }

    def having(**properties: Any) -> dict[str, Any]:
        return person | {"properties": properties}

    numbers = {"type": "array", "items": {"type": "integer"}}
    assert (
        mismatch(having(name={"type": "integer"}), person) == "name is integer, and string is taken"
    )
    assert mismatch(having(), person) == "name is missing, and must be there"
    assert (
        mismatch(having(name=text, tags=numbers), person)
        == "tags[] is integer, and string is taken"
    )
    assert mismatch({"$ref": "#/$defs/P", "$defs": {"P": person}}, {"type": "string"})
    assert mismatch({"type": "integer"}, {"anyOf": [{"type": "string"}, {"type": "null"}]})


def test_the_examples_have_no_problems() -> None:
    assert check(branched.ir) == []


# --- timeouts of edges, processes that are killed ---------------------------------------------


async def test_a_value_that_nobody_takes_in_time_ends_the_flow() -> None:
    @node(effects="pure", buffer=0, edge_timeout_ms=100)
    async def impatient() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    @node(effects="pure")
    async def stuck(ns: AsyncIterator[int]) -> int:
        async for _ in ns:
            await anyio.sleep_forever()
        return 0

    @flow
    def timed() -> object:
        return stuck(impatient())

    clock = FakeClock()
    async with Runtime(MEMORY, clock=clock) as runtime:
        run = await runtime.start(timed)
        await settle(50)
        await clock.advance(1)
        state = await run.wait()
    assert state.status == "failed"
    assert state.error is not None
    assert (state.error["type"], state.error["node"]) == ("TimeoutError", "impatient")
    edge = next(edge for edge in timed.ir.edges if edge.buffer is not None)
    assert (edge.buffer, edge.timeout_ms) == (0, 100)


@node(effects="pure", cpu=True)
def sleeps(path: str) -> None:
    Path(path).write_text(str(os.getpid()))
    time.sleep(60)


@flow
def sleeping(path: str) -> object:
    return sleeps(path)


async def test_a_cancel_kills_the_process(tmp_path: Path) -> None:
    file = anyio.Path(tmp_path / "pid")
    async with Runtime(MEMORY) as runtime:
        run = await runtime.start(sleeping, {"path": str(file)})
        while not (await file.exists() and await file.read_text()):
            await anyio.lowlevel.checkpoint()
        pid = int(await file.read_text())
        await run.cancel(by="test")
        assert (await run.wait()).status == "cancelled"
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
