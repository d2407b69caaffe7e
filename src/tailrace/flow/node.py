"""`@node`: a function as a step of flows, and what the engine should know of it.

The law of this file: to the type checker a call of a node has the type of the node's output, so
wiring that does not fit is found before anything runs at all.
"""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload

from tailrace.errors import InvalidFlow
from tailrace.flow.graph import Call, Ref, bind, current
from tailrace.flow.ir import (
    Determinism,
    Effects,
    IdempotencyIR,
    MapIR,
    NodeIR,
    NodeKind,
    RetryIR,
)
from tailrace.flow.schemas import (
    annotations,
    is_stream,
    item_annotation,
    parameters_schema,
    schema_of,
    summary_of,
)

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
T = TypeVar("T")
DEFAULT_BUFFER = 16
DEFAULT_CONCURRENCY = 8


@dataclass(frozen=True, kw_only=True)
class NodeOptions:
    """What `@node(...)` may say of a step."""

    name: str | None = None
    effects: Effects = "effectful"
    determinism: Determinism = "best_effort"
    idempotency: IdempotencyIR | None = None
    resources: tuple[str, ...] = ()
    retry: RetryIR | None = None
    retry_on: tuple[type[Exception], ...] = (Exception,)
    timeout_ms: int | None = None
    buffer: int = DEFAULT_BUFFER
    edge_timeout_ms: int | None = None
    concurrency: int = DEFAULT_CONCURRENCY
    cpu: bool = False


class Node(Generic[P, R]):
    """A step. Made by `@node`."""

    def __init__(self, fn: Callable[P, Any], options: NodeOptions) -> None:
        self.fn = fn
        self.options = options
        self.name = options.name or str(getattr(fn, "__name__", "node"))
        self.signature = inspect.signature(fn)
        self.streaming = inspect.isasyncgenfunction(fn)
        self.hints = annotations(fn)
        self.stream_params = frozenset(
            name for name in self.signature.parameters if is_stream(self.hints.get(name))
        )
        self._require_sense()

    def _require_sense(self) -> None:
        retried = self.options.retry is not None and self.options.retry.attempts > 1
        if retried and self.streaming:
            raise InvalidFlow(
                f"{self.name}: a streaming node cannot be retried",
                hint="Its first values have been seen already; retry inside the generator.",
            )
        if retried and self.stream_params:
            raise InvalidFlow(
                f"{self.name}: a node that consumes a stream cannot be retried",
                hint="The values it has taken are gone; retry inside the node.",
            )
        if self.options.cpu and (self.streaming or inspect.iscoroutinefunction(self.fn)):
            raise InvalidFlow(
                f"{self.name}: cpu=True runs a plain function in a process of its own",
                hint="Make it a `def`.",
            )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Inside a flow: add this step to the graph. Elsewhere use `.fn`.

        Raises InvalidFlow outside a flow and for arguments that do not fit.
        """
        hint = f"To run the plain function, call {self.name}.fn(...)."
        graph = current(f"{self.name}: a node", hint)
        return cast(R, graph.add(self, bind(self.name, self.signature, args, kwargs)))

    @overload
    def map(
        self: "Node[Concatenate[T, Q], R]",
        items: AsyncIterator[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> AsyncIterator[R]: ...
    @overload
    def map(
        self: "Node[Concatenate[T, Q], R]",
        items: Iterable[T],
        /,
        *args: Q.args,
        **kwargs: Q.kwargs,
    ) -> list[R]: ...
    def map(self: Any, items: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Inside a flow: run this step for each item of a list, or of a stream, in its order.

        The item is the first argument; the others are the same for all. Up to `concurrency` (an
        option of `@node`) run at once. From a list comes a list, from a stream a stream.

        Raises InvalidFlow for a streaming node and for arguments that do not fit.
        """
        graph = current(f"{self.name}: map()")
        if self.streaming or self.stream_params:
            raise InvalidFlow(f"{self.name}: map() takes a node that is given and gives one value")
        arguments = bind(self.name, self.signature, (items, *args), kwargs)
        first = next(iter(self.signature.parameters))
        streaming = isinstance(items, Ref) and graph.streams(items)
        consumed = frozenset({first}) if streaming else frozenset()
        return graph.add(self, arguments, mapped=first, streaming=streaming, stream_params=consumed)

    def ir(self, call: Call, *, capture: bool) -> NodeIR:
        """Describe a call of it as data."""
        options = self.options
        kind: NodeKind = "inline" if options.effects == "pure" else "activity"
        out = self.hints.get("return")
        mapped = call.mapped and MapIR(param=call.mapped, concurrency=options.concurrency)
        return NodeIR(
            id=call.id,
            kind="capture" if capture else kind,
            summary=summary_of(self.fn),
            streaming=call.streaming,
            map=mapped or None,
            in_schema=None if call.cases else parameters_schema(self.signature, self.hints),
            out_schema=schema_of(item_annotation(out) if self.streaming else out),
            effects=options.effects,
            determinism=options.determinism,
            idempotency=options.idempotency,
            resources=options.resources,
            retry=options.retry,
            timeout_ms=options.timeout_ms,
        )


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
    retry_jitter: float = 0.0,
    retry_on: tuple[type[Exception], ...] = (Exception,),
    timeout_ms: int | None = None,
    buffer: int = DEFAULT_BUFFER,
    edge_timeout_ms: int | None = None,
    concurrency: int = DEFAULT_CONCURRENCY,
    cpu: bool = False,
) -> _Decorator: ...
def node(
    fn: Callable[..., Any] | None = None,
    /,
    *,
    idempotency: str | None = None,
    attempts: int = 1,
    retry_delay_ms: int = 1000,
    retry_backoff: float = 2.0,
    retry_jitter: float = 0.0,
    retry_on: tuple[type[Exception], ...] = (Exception,),
    **options: Any,
) -> Any:
    """Make a function a step of flows.

    An `async def` is awaited; an async generator is a streaming node: its values go through
    edges of `buffer` items (0: each is handed over directly), and it waits when a consumer is
    behind, at most `edge_timeout_ms`; a plain `def` runs in a worker thread, with `cpu=True` in a
    process of its own.

    A failing node is tried up to `attempts` times, after waits that begin at `retry_delay_ms`,
    grow by `retry_backoff` and are longer by up to `retry_jitter` of themselves at random, and
    only for the errors of `retry_on`. `timeout_ms` bounds each try. `concurrency` bounds `map`.
    The other options describe the step in the IR.

    Raises InvalidFlow for options that cannot work together.
    """
    retry = None
    if attempts > 1:
        retry = RetryIR(
            attempts=attempts,
            delay_ms=retry_delay_ms,
            backoff=retry_backoff,
            jitter=retry_jitter,
            on=tuple(error.__name__ for error in retry_on),
        )
    key = IdempotencyIR(key=idempotency) if idempotency is not None else None
    made = NodeOptions(idempotency=key, retry=retry, retry_on=retry_on, **options)
    return Node(fn, made) if fn else lambda fn: Node(fn, made)
