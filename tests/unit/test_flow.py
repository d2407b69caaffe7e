"""Drawing graphs from Python, checking and showing them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import BaseModel

from tailrace import after, flow, node
from tailrace.errors import InvalidFlow, InvalidInput
from tailrace.flow.build import Flow
from tailrace.flow.check import check, require_valid
from tailrace.flow.draw import dot, mermaid
from tailrace.flow.ir import EdgeIR, FlowIR, NodeIR, TriggerIR


class Site(BaseModel):
    url: str


@node(effects="pure", determinism="strict")
async def parse(text: str, sep: str = ",") -> list[str]:
    """Split a text."""
    return text.split(sep)


@node(effects="read_only", resources=("resource::http",), timeout_ms=500, attempts=3)
async def fetch(site: Site) -> str:
    return site.url


@node(buffer=3)
async def stream(text: str) -> AsyncIterator[int]:
    yield len(text)


@node
async def gather(numbers: AsyncIterator[int]) -> int:
    return 0


@node
def join(left: list[str], right: list[str]) -> str:
    return ""


@flow(http="POST /go", deadline_ms=1000)
def graph(site: Site, sep: str = ";") -> object:
    """Fetch, parse twice, join."""
    text = fetch(site)
    return join(parse(text), parse(text, sep))


def edges(made: Flow[Any]) -> list[tuple[str, str, str | None]]:
    return [(edge.from_, edge.to, edge.param) for edge in made.ir.edges]


def test_calls_draw_nodes_and_edges() -> None:
    assert [item.id for item in graph.ir.nodes] == ["trigger", "fetch", "parse", "parse_2", "join"]
    assert edges(graph) == [
        ("trigger", "fetch", "site"),
        ("fetch", "parse", "text"),
        ("fetch", "parse_2", "text"),
        ("trigger", "parse_2", "sep"),
        ("parse", "join", "left"),
        ("parse_2", "join", "right"),
    ]
    assert graph.ir.capture == "join"


def test_the_ir_describes_each_node() -> None:
    found = graph.ir.node("fetch")
    assert found is not None
    assert (found.kind, found.effects, found.resources) == (
        "activity",
        "read_only",
        ("resource::http",),
    )
    assert found.retry is not None
    assert (found.timeout_ms, found.retry.attempts) == (500, 3)
    assert found.out_schema == {"type": "string"}
    pure = graph.ir.node("parse")
    assert pure is not None
    assert (pure.kind, pure.summary, pure.determinism) == ("inline", "Split a text.", "strict")
    capture = graph.ir.node("join")
    assert capture is not None
    assert capture.kind == "capture"


def test_the_ir_describes_the_flow() -> None:
    assert (graph.ir.trigger.method, graph.ir.trigger.path) == ("POST", "/go")
    assert (graph.ir.deadline_ms, graph.ir.summary) == (1000, "Fetch, parse twice, join.")
    assert set(graph.ir.trigger.input_schema["properties"]) == {"site", "sep"}


def test_streams_are_marked_with_their_item_and_buffer() -> None:
    @flow
    def streaming(text: str) -> object:
        return gather(stream(text))

    found = streaming.ir.node("stream")
    assert found is not None
    assert (found.streaming, found.out_schema) == (True, {"type": "integer"})
    assert [edge.buffer for edge in streaming.ir.edges] == [None, 3]


def test_the_ir_survives_json() -> None:
    text = json.dumps(graph.ir.model_dump(by_alias=True, mode="json"))
    assert FlowIR.model_validate_json(text) == graph.ir


def test_nodes_without_inputs_hang_on_the_trigger() -> None:
    @node
    async def source() -> list[str]:
        return []

    @flow
    def alone() -> object:
        return join(source(), source())

    assert edges(alone)[:2] == [("trigger", "source", None), ("trigger", "source_2", None)]


def test_order_without_data_is_an_edge_without_a_parameter() -> None:
    @flow
    def ordered(text: str) -> object:
        first, second = parse(text), parse(text)
        return after(first, second)

    assert edges(ordered)[-1] == ("parse_2", "parse", None)
    assert ordered.ir.capture == "parse"


def draws(error: str, function: Any) -> None:
    with pytest.raises(InvalidFlow, match=error) as caught:
        flow(function)
    assert caught.value.hint


def test_what_cannot_be_drawn_says_why() -> None:
    def no_capture(text: str) -> object:
        return text

    def constant() -> object:
        return 5

    def looks(text: str) -> object:
        return parse(text) or parse(text)

    def iterates(text: str) -> object:
        return [parse(part) for part in parse(text)]

    def attribute(text: str) -> object:
        return parse(parse(text).first)  # type: ignore[attr-defined]

    def nested(text: str) -> object:
        return join([parse(text)], {"a": [parse(text)]})  # type: ignore[list-item,arg-type]

    def too_many(text: str) -> object:
        return parse(text, ",", 5)  # type: ignore[call-arg]

    def stream_to_value(text: str) -> object:
        return parse(stream(text))  # type: ignore[arg-type]

    def value_to_stream(text: str) -> object:
        return gather(fetch(text))  # type: ignore[arg-type]

    def cycle(text: str) -> object:
        first, second = parse(text), parse(text)
        after(first, second)
        after(second, first)
        return first

    def after_trigger(text: str) -> object:
        return after(parse(text), text)

    draws("capture_missing", no_capture)
    draws("capture_missing", constant)
    draws("not known", looks)
    draws("not known", iterates)
    draws("not known", attribute)
    draws("inside a collection", nested)
    draws("too many", too_many)
    draws("stream_mismatch", stream_to_value)
    draws("stream_mismatch", value_to_stream)
    draws("cycle at parse → parse_2", cycle)
    draws("output of a node", after_trigger)


def test_a_capture_of_another_flow_is_unreachable() -> None:
    smuggled: list[Any] = []

    @flow
    def first(text: str) -> object:
        smuggled.append(parse(text))
        return smuggled[0]

    draws("capture_unreachable", lambda: smuggled[0])


def test_nodes_are_called_in_flows_and_flows_have_routes_like_routes() -> None:
    with pytest.raises(InvalidFlow, match="inside a @flow"):
        parse("a")
    with pytest.raises(InvalidFlow, match="POST /path"):
        flow(http="site")(lambda: parse("a"))
    with pytest.raises(InvalidFlow, match="inside a @flow"):
        after(1, 2)


def test_a_streaming_node_is_not_retried() -> None:
    async def many() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(InvalidFlow, match="cannot be retried"):
        node(attempts=2)(many)


async def test_the_plain_function_stays_usable() -> None:
    assert await parse.fn("a,b") == ["a", "b"]


def test_input_is_validated_and_converted() -> None:
    assert graph.arguments({"site": {"url": "u"}}) == {"site": Site(url="u"), "sep": ";"}
    refused: list[Any] = [None, {}, {"site": "u"}, {"site": {"url": "u"}, "x": 1}, [], "text"]
    for bad in refused:
        with pytest.raises(InvalidInput) as caught:
            graph.arguments(bad)
        assert caught.value.details["problems"]
    with pytest.raises(InvalidInput, match="graph: the input is an object, with the parameters'"):
        graph.arguments([])


# --- checks on graphs from anywhere -------------------------------------------------------------


def ir(edges_: list[tuple[str, str]], capture: str = "b", nodes: str = "ab") -> FlowIR:
    return FlowIR(
        name="f",
        trigger=TriggerIR(input_schema={}),
        capture=capture,
        nodes=(
            NodeIR(id="trigger", kind="trigger"),
            *(NodeIR(id=name, kind="activity") for name in nodes),
        ),
        edges=tuple(EdgeIR(from_=start, to=end) for start, end in edges_),
    )


CHAIN = [("trigger", "a"), ("a", "b")]


@pytest.mark.parametrize(
    ("made", "codes"),
    [
        (ir(CHAIN), []),
        (ir([*CHAIN, ("b", "a")]), ["cycle"]),
        (ir([*CHAIN, ("b", "b")]), ["cycle"]),
        (ir([("trigger", "a"), ("a", "c"), ("c", "a"), ("c", "b")], nodes="abc"), ["cycle"]),
        (ir([("trigger", "a")]), ["capture_unreachable"]),
        (ir(CHAIN, capture="z"), ["capture_missing"]),
        (ir([*CHAIN, ("a", "z")]), ["unknown_node"]),
        (ir(CHAIN, nodes="abb"), ["duplicate_node"]),
    ],
)
def test_problems_have_codes_and_places(made: FlowIR, codes: list[str]) -> None:
    problems = check(made)
    assert [problem.code for problem in problems] == codes
    assert all(problem.where and problem.message for problem in problems)


def test_a_cycle_names_its_nodes_and_not_those_behind_it() -> None:
    (problem,) = check(ir([("trigger", "a"), ("a", "c"), ("c", "a"), ("c", "b")], nodes="abc"))
    assert problem.where == "a → c"


def test_a_buffer_needs_a_stream() -> None:
    made = ir(CHAIN)
    buffered = made.model_copy(
        update={"edges": (*made.edges, EdgeIR(from_="a", to="b", param="x", buffer=1))}
    )
    assert [problem.code for problem in check(buffered)] == ["buffer_without_stream"]


def test_an_invalid_graph_is_refused_with_all_its_problems() -> None:
    with pytest.raises(InvalidFlow) as caught:
        require_valid(ir([*CHAIN, ("a", "z"), ("z", "b")]))
    assert len(caught.value.details["problems"]) == 2


def test_drawings_are_stable_text() -> None:
    @flow
    def small(text: str) -> object:
        return gather(stream(text))

    assert mermaid(small.ir) == (
        "flowchart TD\n"
        '  n0(["trigger"])\n'
        '  n1["stream ≋"]\n'
        '  n2[/"gather"/]\n'
        "  n0 --> n1\n"
        "  n1 ==> n2\n"
    )
    assert dot(small.ir) == (
        'digraph "small" {\n'
        "  rankdir=TB; node [shape=box, style=rounded];\n"
        '  "trigger" [label="trigger", shape=ellipse];\n'
        '  "stream" [label="stream ≋"];\n'
        '  "gather" [label="gather", penwidth=2];\n'
        '  "trigger" -> "stream";\n'
        '  "stream" -> "gather" [style=bold];\n'
        "}\n"
    )
