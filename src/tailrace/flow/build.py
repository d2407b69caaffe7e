"""Python functions to a graph: `@node`, `@flow`, `after`.

The law of this file: calling nodes inside a flow draws; nothing runs. The flow's function is
called once, when it is decorated, with a `Ref` for each parameter; each node call adds a node
and returns a `Ref` to its output; the `Ref` that is returned names the capture. So the IR is
known, and checked, before the first execution.

To the type checker a node call has the type of the node's output, so wiring that does not fit
is found before anything runs at all.
"""

import inspect
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, Never, ParamSpec, Protocol, TypeVar, get_args, get_origin, overload

from pydantic import (
    BaseModel,
    ConfigDict,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
    create_model,
)

from tailrace.errors import InvalidFlow, InvalidInput
from tailrace.flow.check import require_valid
from tailrace.flow.ir import (
    TRIGGER,
    Determinism,
    EdgeIR,
    Effects,
    FlowIR,
    IdempotencyIR,
    NodeIR,
    NodeKind,
    RetryIR,
    Schema,
    TriggerIR,
)

P = ParamSpec("P")
R = TypeVar("R")
DEFAULT_BUFFER = 16
_ROUTE = re.compile(r"(GET|POST|PUT|PATCH|DELETE) (/\S*)")
_graph: ContextVar["_Graph | None"] = ContextVar("tailrace_graph", default=None)


@dataclass(frozen=True, eq=False)
class Ref:
    """What stands for a value while the graph is drawn. It can only be passed on."""

    graph: "_Graph"
    node: str
    param: str | None = None  # of the trigger

    def _unknown(self, *_: object) -> Never:
        raise InvalidFlow(
            f"The output of {self.node!r} is not known while the graph is drawn",
            hint="Inside a flow, outputs can only be passed to other nodes; compute in a node.",
        )

    __bool__ = __iter__ = __len__ = __getitem__ = __getattr__ = __call__ = _unknown
    __add__ = __sub__ = __mul__ = __truediv__ = __lt__ = __gt__ = __le__ = __ge__ = _unknown


@dataclass(frozen=True, kw_only=True)
class Call:
    """One use of a node in a flow: which arguments are constants and which come from where."""

    id: str
    node: "Node[Any, Any]"
    constants: Mapping[str, Any]
    inputs: Mapping[str, Ref]


@dataclass(eq=False)
class _Graph:
    calls: list[Call] = field(default_factory=list)
    orders: list[tuple[str, str]] = field(default_factory=list)

    def add(self, node: "Node[Any, Any]", args: tuple[Any, ...], kwargs: dict[str, Any]) -> Ref:
        try:
            bound = node.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidFlow(f"{node.name}: {error}") from None
        for name, value in bound.arguments.items():
            if _holds_ref(value):
                raise InvalidFlow(
                    f"{node.name}: {name} holds a node's output inside a collection",
                    hint="Pass each output as an argument of its own.",
                )
        count = sum(call.node.name == node.name for call in self.calls)
        call = Call(
            id=node.name if not count else f"{node.name}_{count + 1}",
            node=node,
            constants={k: v for k, v in bound.arguments.items() if not isinstance(v, Ref)},
            inputs={k: v for k, v in bound.arguments.items() if isinstance(v, Ref)},
        )
        self.calls.append(call)
        return Ref(self, call.id)


class Node(Generic[P, R]):
    """A step: a function, and what the engine should know about it. Made by `@node`."""

    def __init__(self, fn: Callable[P, Any], options: "NodeOptions") -> None:
        self.fn = fn
        self.options = options
        self.name = options.name or str(getattr(fn, "__name__", "node"))
        self.signature = inspect.signature(fn)
        self.streaming = inspect.isasyncgenfunction(fn)
        self.hints = _hints(fn)
        self.stream_params = frozenset(
            name for name in self.signature.parameters if _is_stream(self.hints.get(name))
        )
        if self.streaming and options.retry and options.retry.attempts > 1:
            raise InvalidFlow(
                f"{self.name}: a streaming node cannot be retried",
                hint="Its first values have been seen already; retry inside the generator.",
            )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Inside a flow: add this step to the graph. Elsewhere use `.fn`.

        Raises InvalidFlow outside a flow and for arguments that do not fit.
        """
        graph = _graph.get()
        if graph is None:
            raise InvalidFlow(
                f"{self.name}: a node is called inside a @flow",
                hint=f"To run the plain function, call {self.name}.fn(...).",
            )
        return graph.add(self, args, kwargs)  # type: ignore[return-value] # a Ref stands for R

    def ir(self, node_id: str, *, capture: bool) -> NodeIR:
        """Describe it as data."""
        options = self.options
        kind: NodeKind = "inline" if options.effects == "pure" else "activity"
        out = self.hints.get("return")
        return NodeIR(
            id=node_id,
            kind="capture" if capture else kind,
            summary=_summary(self.fn),
            streaming=self.streaming,
            in_schema=_object_schema(self.signature, self.hints),
            out_schema=_schema(_item(out) if self.streaming else out),
            effects=options.effects,
            determinism=options.determinism,
            idempotency=options.idempotency,
            resources=options.resources,
            retry=options.retry,
            timeout_ms=options.timeout_ms,
        )


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """What `@node(...)` may say of a step."""

    name: str | None = None
    effects: Effects = "effectful"
    determinism: Determinism = "best_effort"
    idempotency: IdempotencyIR | None = None
    resources: tuple[str, ...] = ()
    retry: RetryIR | None = None
    timeout_ms: int | None = None
    buffer: int = DEFAULT_BUFFER


class _Decorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, AsyncIterator[R]], /) -> Node[P, AsyncIterator[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, Awaitable[R]], /) -> Node[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Node[P, R]: ...


@overload
def node(fn: Callable[P, AsyncIterator[R]], /) -> Node[P, AsyncIterator[R]]: ...
@overload
def node(fn: Callable[P, Awaitable[R]], /) -> Node[P, R]: ...
@overload
def node(fn: Callable[P, R], /) -> Node[P, R]: ...
@overload
def node(
    *,
    name: str | None = None,
    effects: Effects = "effectful",
    determinism: Determinism = "best_effort",
    idempotency: str | None = None,
    resources: tuple[str, ...] = (),
    attempts: int = 1,
    retry_delay_ms: int = 1000,
    retry_backoff: float = 2.0,
    timeout_ms: int | None = None,
    buffer: int = DEFAULT_BUFFER,
) -> _Decorator: ...
def node(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    idempotency: str | None = None,
    attempts: int = 1,
    retry_delay_ms: int = 1000,
    retry_backoff: float = 2.0,
    **options: Any,
) -> Any:
    """Make a function a step of flows.

    An `async def` is awaited; an async generator is a streaming node: its values go through
    edges of `buffer` items, and it waits when a consumer is behind; a plain `def` runs in a
    worker thread. `attempts`, `retry_delay_ms` and `retry_backoff` try a failing node again;
    `timeout_ms` bounds each try. The other options describe the step in the IR.

    Raises InvalidFlow for options that cannot work together.
    """
    retry = None
    if attempts > 1:
        retry = RetryIR(attempts=attempts, delay_ms=retry_delay_ms, backoff=retry_backoff)
    key = IdempotencyIR(key=idempotency) if idempotency is not None else None
    made = NodeOptions(idempotency=key, retry=retry, **options)
    return Node(fn, made) if fn else lambda fn: Node(fn, made)


def after(value: R, *others: object) -> R:
    """Inside a flow: run the node that gives `value` only after these others, without data.

    Returns `value`. Raises InvalidFlow for anything that is not a node's output.
    """
    graph = _graph.get()
    for ref in (value, *others):
        if graph is None or not isinstance(ref, Ref) or ref.node == TRIGGER:
            raise InvalidFlow("after() orders outputs of nodes, inside a @flow")
    assert graph is not None
    assert isinstance(value, Ref)
    graph.orders += [(other.node, value.node) for other in others if isinstance(other, Ref)]
    return value


class Flow(Generic[P]):
    """A graph of nodes, drawn and checked. Made by `@flow`."""

    def __init__(
        self,
        fn: Callable[P, object],
        *,
        name: str | None = None,
        http: str | None = None,
        deadline_ms: int | None = None,
    ) -> None:
        self.fn = fn
        self.name = name or str(getattr(fn, "__name__", "flow"))
        self.http = http
        self.signature = inspect.signature(fn)
        self.input_model = _input_model(self.name, self.signature, _hints(fn))
        self._draw()
        self.ir = self._describe(deadline_ms)
        require_valid(self.ir)

    def _draw(self) -> None:
        graph = _Graph()
        token = _graph.set(graph)
        try:
            refs = {name: Ref(graph, TRIGGER, name) for name in self.signature.parameters}
            result = self.fn(**refs)  # type: ignore[call-arg,arg-type] # refs stand for the parameters
        finally:
            _graph.reset(token)
        if not isinstance(result, Ref) or result.node == TRIGGER:
            raise InvalidFlow(
                f"{self.name}: capture_missing: a flow returns the output of one of its nodes"
            )
        self.calls, self.orders, self.capture = tuple(graph.calls), tuple(graph.orders), result.node
        self._require_own(graph, result)

    def _require_own(self, graph: _Graph, result: Ref) -> None:
        for ref in (result, *(ref for call in self.calls for ref in call.inputs.values())):
            if ref.graph is not graph:
                raise InvalidFlow(
                    f"{self.name}: capture_unreachable: {ref.node!r} belongs to another flow"
                )

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
            summary=_summary(self.fn),
            trigger=TriggerIR(method=method, path=path, input_schema=schema),
            capture=self.capture,
            deadline_ms=deadline_ms,
            nodes=(
                NodeIR(id=TRIGGER, kind="trigger", effects="pure", out_schema=schema),
                *(call.node.ir(call.id, capture=call.id == self.capture) for call in self.calls),
            ),
            edges=tuple(self._edges()),
        )

    def _edges(self) -> list[EdgeIR]:
        nodes = {call.id: call.node for call in self.calls}
        edges = []
        for call in self.calls:
            for param, ref in call.inputs.items():
                source = nodes.get(ref.node)
                streaming = source is not None and source.streaming
                if streaming != (param in call.node.stream_params):
                    raise InvalidFlow(
                        f"{self.name}: stream_mismatch at {ref.node} → {call.id}.{param}",
                        hint="A parameter annotated AsyncIterator[T] takes a streaming node, "
                        "any other parameter a single value.",
                    )
                buffer = source.options.buffer if source and streaming else None
                edges.append(EdgeIR(from_=ref.node, to=call.id, param=param, buffer=buffer))
            if not call.inputs:  # it waits for nothing but the start
                edges.append(EdgeIR(from_=TRIGGER, to=call.id))
        return edges + [EdgeIR(from_=first, to=then) for first, then in self.orders]

    def arguments(self, value: Any) -> dict[str, Any]:
        """Validate an input and return it as the flow's arguments. Raises InvalidInput."""
        try:
            model = self.input_model.model_validate({} if value is None else value)
        except ValidationError as error:
            problems = [
                {"at": ".".join(str(part) for part in found["loc"]), "message": found["msg"]}
                for found in error.errors()
            ]
            first = problems[0]
            at = f" {first['at']}:" if first["at"] else ""
            raise InvalidInput(f"{self.name}:{at} {first['message']}", problems=problems) from None
        return {name: getattr(model, name) for name in type(model).model_fields}


@overload
def flow(fn: Callable[P, object], /) -> Flow[P]: ...
@overload
def flow(
    *, name: str | None = None, http: str | None = None, deadline_ms: int | None = None
) -> Callable[[Callable[P, object]], Flow[P]]: ...
def flow(fn: Callable[..., object] | None = None, /, **options: Any) -> Any:
    """Draw a flow from a function that calls nodes and returns one node's output.

    `http` names a route of its own, `deadline_ms` the time an execution may take in all.
    Raises InvalidFlow if the graph is not sound.
    """
    return Flow(fn, **options) if fn else lambda fn: Flow(fn, **options)


def _holds_ref(value: object) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        return any(isinstance(item, Ref) or _holds_ref(item) for item in value)
    return False


def _hints(fn: Callable[..., Any]) -> dict[str, Any]:
    try:
        return inspect.get_annotations(fn, eval_str=True)
    except NameError:  # a name that exists only for the type checker: the schema is unknown
        return {}


def _summary(fn: Callable[..., Any]) -> str | None:
    doc = inspect.getdoc(fn)
    return doc.splitlines()[0] if doc else None


def _is_stream(hint: Any) -> bool:
    return get_origin(hint) in (AsyncIterator, AsyncIterable)


def _item(hint: Any) -> Any:
    return get_args(hint)[0] if get_args(hint) else Any


def _schema(hint: Any) -> Schema | None:
    if hint is None or hint is inspect.Parameter.empty:
        return None
    try:
        return TypeAdapter(hint).json_schema()
    except PydanticUserError:  # a type that has no JSON form stays opaque
        return None


def _object_schema(signature: inspect.Signature, hints: dict[str, Any]) -> Schema:
    properties = {}
    for name in signature.parameters:
        hint = hints.get(name)
        properties[name] = _schema(_item(hint) if _is_stream(hint) else hint) or {}
    return {"type": "object", "properties": properties}


def _input_model(name: str, signature: inspect.Signature, hints: dict[str, Any]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for parameter in signature.parameters.values():
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return create_model(f"{name}_input", __config__=config, **fields)
