"""OpenTelemetry: executions and their nodes as spans (`pip install 'tailrace[otel]'`).

The law of this file: spans are made from the event log by a follower, so nothing that runs waits
for them or knows of them, and executions of other processes on the store are traced too. The
times of a span are those of its events.

    async with Tailrace("sqlite:///runs.db", flows=[report]) as tailrace:
        await trace_executions(tailrace)

From there on every new execution of the workspace is a trace, or a span of the trace that started
it (`traceparent`). Let one process of a store do this, or every span is exported twice.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tailrace import Event, Tailrace, TailraceError, __version__

_BEGINS = "node.started"
_ENDS = ("node.completed", "node.failed", "node.cancelled", "node.retrying")
_GOOD = ("execution.completed", "node.completed")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def trace_executions(
    tailrace: Tailrace, *, workspace: str = "default", provider: TracerProvider | None = None
) -> None:
    """Trace the executions of a workspace that begin from now on, until `tailrace` closes.

    Without a provider, the global one. Raises StoreError.
    """
    tracer = trace.get_tracer("tailrace", __version__, provider)

    def begun(entries: Any) -> None:
        for entry in entries:
            tailrace.spawn(partial(_trace, tailrace, entry.execution_id, tracer))

    newest = await tailrace.log.newest()
    tailrace.at_exit(tailrace.log.watch_new(workspace, newest, begun))


async def _trace(tailrace: Tailrace, execution_id: str, tracer: Tracer) -> None:
    spans = Spans(tracer)
    try:
        async for event in tailrace.follow(execution_id, events="execution.*,node.*"):
            spans.take(event)
    except TailraceError:
        pass  # the store failed, or this process ends: what is known is exported
    finally:
        spans.close()


class Spans:
    """The spans of one execution, from its events in their order."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._root: Span | None = None
        self._nodes: dict[str, Span] = {}
        self._last: int | None = None  # the time of the newest event

    def take(self, event: Event) -> None:
        """Begin or end what an event begins or ends."""
        if event.id is None:
            return
        self._last = _nanoseconds(event.ts)
        if event.type == "execution.queued":
            self._root = self._begin_root(event)
        elif event.type == _BEGINS and event.node is not None:
            self._end(event.node, event)  # of an attempt whose end was never told
            self._nodes[event.node] = self._begin_node(event.node, event)
        elif event.type in _ENDS and event.node is not None:
            self._end(event.node, event)
        elif event.terminal:
            for node in tuple(self._nodes):
                self._end(node, event)
            self._finish(self._root, event)
            self._root = None

    def close(self) -> None:
        """End what has not ended: no more is known of it."""
        for span in (*self._nodes.values(), self._root):
            if span is not None:
                span.set_attribute("tailrace.cut", True)
                span.end(self._last)
        self._nodes, self._root = {}, None

    def _begin_root(self, event: Event) -> Span:
        told = event.data
        attributes = {
            f"tailrace.{name}": str(told.get(name, "")) for name in ("kind", "flow", "workspace")
        }
        return self._tracer.start_span(
            str(told.get("flow", "execution")),
            _parent(told),
            attributes=attributes | {"tailrace.execution_id": event.execution_id},
            start_time=self._last,
        )

    def _begin_node(self, node: str, event: Event) -> Span:
        parent = trace.set_span_in_context(self._root) if self._root is not None else None
        attributes: dict[str, str | int] = {
            "tailrace.execution_id": event.execution_id,
            "tailrace.node": node,
            "tailrace.attempt": event.attempt,
        }
        return self._tracer.start_span(node, parent, attributes=attributes, start_time=self._last)

    def _end(self, node: str, event: Event) -> None:
        self._finish(self._nodes.pop(node, None), event)

    def _finish(self, span: Span | None, event: Event) -> None:
        if span is None:
            return
        span.set_attribute("tailrace.status", event.type.partition(".")[2])
        error = event.data.get("error") or {}
        if error:
            span.set_attribute("error.type", str(error.get("type", "")))
        if event.type not in _GOOD:
            why = error.get("message") or event.data.get("reason")
            span.set_status(Status(StatusCode.ERROR, None if why is None else str(why)))
        span.end(self._last)


def _parent(told: Mapping[str, Any]) -> Context | None:
    """The trace that the execution belongs to, if its first event names one."""
    traceparent = told.get("traceparent")
    if traceparent is None:
        return None
    return TraceContextTextMapPropagator().extract({"traceparent": str(traceparent)})


def _nanoseconds(ts: str) -> int:
    return (datetime.fromisoformat(ts) - _EPOCH) // timedelta(microseconds=1) * 1000
