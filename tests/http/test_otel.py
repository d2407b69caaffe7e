"""Spans of executions and nodes: their tree, their times, and the trace that they belong to."""

from collections.abc import Sequence
from contextlib import suppress

import anyio
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from tailrace import Event, Settings, Tailrace, flow, node
from tailrace.errors import TailraceError
from tailrace.integrations.otel import Spans, trace_executions
from tailrace.testing.clock import settle
from tests.http.conftest import BASE, Serve

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"


@node
async def double(n: int) -> int:
    return 2 * n


@node(attempts=2, effects="pure")
async def fail(n: int) -> int:
    raise ValueError(f"no {n}")


@flow
def good(n: int = 1) -> object:
    return double(n)


@flow
def bad(n: int = 1) -> object:
    return fail(double(n))


class Exported:
    """A provider, and what it was given."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    async def named(self, name: str) -> ReadableSpan:
        while True:
            for span in self.spans:
                if span.name == name:
                    return span
            await anyio.lowlevel.checkpoint()


@pytest.fixture
def exported() -> Exported:
    return Exported()


async def run(tailrace: Tailrace, made: object, traceparent: str | None = None) -> str:
    execution = await tailrace.start(made, traceparent=traceparent)  # type: ignore[arg-type]
    with suppress(TailraceError):
        await execution.result()
    return execution.id


async def test_an_execution_is_a_trace_of_its_nodes(exported: Exported) -> None:
    async with Tailrace(settings=Settings(store="memory:"), flows=[good]) as tailrace:
        before = await run(tailrace, good)
        await trace_executions(tailrace, provider=exported.provider)
        execution_id = await run(tailrace, good)
        root, child = await exported.named("good"), await exported.named("double")
        events = {e.type: e async for e in tailrace.follow(execution_id)}
    assert before != execution_id
    assert len(exported.spans) == 2
    assert root.parent is None
    assert child.parent is not None
    assert root.context is not None
    assert child.parent.span_id == root.context.span_id
    assert dict(root.attributes or {}) == {
        "tailrace.execution_id": execution_id,
        "tailrace.flow": "good",
        "tailrace.kind": "workflow",
        "tailrace.workspace": "default",
        "tailrace.status": "completed",
    }
    assert (child.attributes or {})["tailrace.attempt"] == 1
    assert child.start_time is not None
    microseconds = events["node.started"].ts[20:26]
    assert f"{child.start_time // 1000 % 1_000_000:06}" == microseconds
    assert child.end_time is not None
    assert root.end_time is not None
    assert child.start_time <= child.end_time <= root.end_time


async def test_each_try_of_a_node_is_a_span_and_says_its_error(exported: Exported) -> None:
    async with Tailrace(settings=Settings(store="memory:"), flows=[bad]) as tailrace:
        await trace_executions(tailrace, provider=exported.provider)
        await run(tailrace, bad)
        root = await exported.named("bad")
    tries = [span for span in exported.spans if span.name == "fail"]
    assert [(t.attributes or {})["tailrace.attempt"] for t in tries] == [1, 2]
    assert [(t.attributes or {})["tailrace.status"] for t in tries] == ["retrying", "failed"]
    for span in (*tries, root):
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is not None
        assert "no 2" in span.status.description
    assert (tries[1].attributes or {})["error.type"] == "ValueError"


@pytest.mark.parametrize(
    ("given", "trace"), [(TRACEPARENT, TRACE), ("00-nonsense-1-01", None), (None, None)]
)
async def test_a_request_hands_its_trace_on(
    serve: Serve, exported: Exported, given: str | None, trace: str | None
) -> None:
    async with serve(flows=[good]) as served:
        await trace_executions(served.tailrace, provider=exported.provider)
        headers = {"traceparent": given} if given else {}
        answer = await served.http.post(BASE, json={"flow": "good"}, headers=headers)
        assert answer.status_code == 202
        root = await exported.named("good")
    assert root.context is not None
    if trace is None:
        assert root.parent is None
    else:
        assert f"{root.context.trace_id:032x}" == trace
        assert root.parent is not None
        assert f"{root.parent.span_id:016x}" == SPAN


async def test_what_is_cut_is_ended_and_says_so(exported: Exported) -> None:
    spans = Spans(exported.provider.get_tracer("t"))
    ts = "2026-01-01T00:00:00.000000Z"
    spans.take(Event(id=None, type="stream.gap", data={"cause": "retention"}))
    spans.take(Event(id=1, type="execution.queued", ts=ts, data={"flow": "f"}))
    spans.take(Event(id=2, type="node.started", ts=ts, node="a"))
    spans.take(Event(id=3, type="node.started", ts=ts, node="a", attempt=2))
    assert [span.name for span in exported.spans] == ["a"]
    spans.close()
    spans.close()
    cut = [(s.name, (s.attributes or {}).get("tailrace.cut")) for s in exported.spans]
    assert cut == [("a", None), ("a", True), ("f", True)]


async def test_nothing_is_left_when_the_runtime_closes(exported: Exported) -> None:
    @node
    async def wait() -> None:
        await anyio.sleep_forever()

    @flow
    def waiting() -> object:
        return wait()

    async with Tailrace(settings=Settings(store="memory:"), flows=[waiting]) as tailrace:
        await trace_executions(tailrace, provider=exported.provider)
        await tailrace.start(waiting)
        await settle()
    assert {span.name for span in exported.spans} == {"waiting", "wait"}
