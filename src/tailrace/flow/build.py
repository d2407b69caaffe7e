"""`@flow`: a function that draws a graph, once, when it is decorated.

The law of this file: the IR is known, and checked, before the first execution. Calling nodes
inside a flow draws; nothing runs.
"""

import inspect
import re
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, overload

from tailrace.errors import InvalidFlow
from tailrace.flow.check import require_valid
from tailrace.flow.graph import Call, Graph, Guard, Ref, bind, current, drawing
from tailrace.flow.ir import TRIGGER, EdgeIR, FlowIR, NodeIR, TriggerIR
from tailrace.flow.schemas import annotations, input_model, summary_of, validate_arguments

P = ParamSpec("P")
_ROUTE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S*)")
DISCONNECTS = ("cancel", "continue")


class Flow(Generic[P]):
    """A graph of nodes, drawn and checked. Made by `@flow`."""

    def __init__(
        self,
        fn: Callable[P, object],
        *,
        name: str | None = None,
        http: str | None = None,
        deadline_ms: int | None = None,
        on_disconnect: str = "cancel",
        queue: str = "default",
    ) -> None:
        self.fn, self.queue = fn, queue
        self.name = name or str(getattr(fn, "__name__", "flow"))
        if on_disconnect not in DISCONNECTS:
            raise InvalidFlow(f"{self.name}: on_disconnect is `cancel` or `continue`")
        self.http, self.on_disconnect = http, on_disconnect
        self.signature = inspect.signature(fn)
        self.input_model = input_model(self.name, self.signature, annotations(fn))
        self._draw()
        self.ir = self._describe(deadline_ms)
        require_valid(self.ir)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """Inside a flow: draw this flow's nodes into it, as `name/node`.

        Raises InvalidFlow outside a flow: start it by `Tailrace.start`.
        """
        hint = f"To run it: `await tailrace.start({self.name}, ...)`."
        graph = current(f"{self.name}: a flow", hint)
        arguments = bind(self.name, self.signature, args, kwargs)
        with graph.inside(self.name):
            return self.fn(**arguments)  # type: ignore[call-arg]

    def _draw(self) -> None:
        with drawing() as graph:
            refs = {name: Ref(graph, TRIGGER, name) for name in self.signature.parameters}
            result = self.fn(**refs)  # type: ignore[call-arg,arg-type] # refs stand for the parameters
        if not isinstance(result, Ref) or result.node == TRIGGER:
            raise InvalidFlow(
                f"{self.name}: capture_missing: a flow returns the output of one of its nodes"
            )
        used = [ref for call in graph.calls for ref in call.inputs.values()]
        graph.require_own(self.name, [result, *used])
        self.calls, self.capture = tuple(graph.calls), result.node
        self.orders = _ordered(graph)

    def _describe(self, deadline_ms: int | None) -> FlowIR:
        method = path = None
        if self.http is not None:
            route = _ROUTE.fullmatch(self.http)
            if route is None:
                raise InvalidFlow(f"{self.name}: http={self.http!r} is not like 'POST /path'")
            method, path = route.groups()
        schema = self.input_model.model_json_schema()
        return FlowIR(
            name=self.name,
            summary=summary_of(self.fn),
            trigger=TriggerIR(method=method, path=path, input_schema=schema),
            capture=self.capture,
            deadline_ms=deadline_ms,
            nodes=(
                NodeIR(id=TRIGGER, kind="trigger", effects="pure", out_schema=schema),
                *(call.node.ir(call, capture=call.id == self.capture) for call in self.calls),
            ),
            edges=tuple(self._edges()),
        )

    def _edges(self) -> list[EdgeIR]:
        calls = {call.id: call for call in self.calls}
        edges = [edge for call in self.calls for edge in _into(self.name, call, calls)]
        return edges + [EdgeIR(from_=first, to=then) for first, then in self.orders]

    def arguments(self, value: Any) -> dict[str, Any]:
        """Validate an input and return it as the flow's arguments. Raises InvalidInput."""
        return validate_arguments(self.name, self.input_model, value)


def _ordered(graph: Graph) -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys(graph.orders))


def _into(flow: str, call: Call, calls: dict[str, Call]) -> list[EdgeIR]:
    """The edges that lead to a call."""
    edges = []
    for param, ref in call.inputs.items():
        source = calls.get(ref.node)
        streaming = source is not None and source.streaming
        if streaming != (param in call.stream_params):
            raise InvalidFlow(
                f"{flow}: stream_mismatch at {ref.node} → {call.id}.{param}",
                hint="A parameter annotated AsyncIterator[T] takes a streaming node, any other "
                "parameter a single value; collect(...) makes a list of a stream.",
            )
        how: dict[str, Any] = {}
        if source is not None and streaming:
            options = source.node.options
            how = {"buffer": options.buffer, "timeout_ms": options.edge_timeout_ms}
        edges.append(EdgeIR(from_=ref.node, to=call.id, param=param, **how))
    edges += [_guard_edge(guard, call) for guard in call.guards]
    if not edges:  # it waits for nothing but the start
        edges.append(EdgeIR(from_=TRIGGER, to=call.id))
    return edges


def _guard_edge(guard: Guard, call: Call) -> EdgeIR:
    return EdgeIR(from_=guard.condition.node, to=call.id, when=guard.case)


@overload
def flow(fn: Callable[P, object], /) -> Flow[P]: ...
@overload
def flow(
    *,
    name: str | None = None,
    http: str | None = None,
    deadline_ms: int | None = None,
    on_disconnect: str = "cancel",
    queue: str = "default",
) -> Callable[[Callable[P, object]], Flow[P]]: ...
def flow(fn: Callable[..., object] | None = None, /, **options: Any) -> Any:
    """Draw a flow from a function that calls nodes and returns one node's output.

    `http` names a route of its own, such as `POST /site/stream`; a client that leaves such a
    request cancels the execution, unless `on_disconnect="continue"`. `deadline_ms` is the time an
    execution may take in all. `queue` is where it waits for a worker, if there are any. Called inside another flow, it is drawn into it.

    Raises InvalidFlow if the graph is not sound.
    """
    return Flow(fn, **options) if fn else lambda fn: Flow(fn, **options)
