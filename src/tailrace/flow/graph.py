"""The graph while it is drawn: calls of nodes, and references that stand for their outputs.

The law of this file: a reference can only be passed on. What the flow's function does beside
passing references happens once, when the flow is made, and never again.
"""

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Never

from tailrace.errors import InvalidFlow
from tailrace.flow.ir import TRIGGER

if TYPE_CHECKING:
    from tailrace.flow.node import Node

OTHERWISE = "otherwise"  # the branch of a condition that matches no case
_current: ContextVar["Graph | None"] = ContextVar("tailrace_graph", default=None)


@dataclass(frozen=True, eq=False)
class Ref:
    """What stands for a value while the graph is drawn."""

    graph: "Graph"
    node: str
    param: str | None = None  # of the trigger

    def _unknown(self, *_: object) -> Never:
        raise InvalidFlow(
            f"The output of {self.node!r} is not known while the graph is drawn",
            hint="Inside a flow, outputs can only be passed to other nodes; compute in a node, "
            "branch with when() or switch().",
        )

    __bool__ = __iter__ = __len__ = __getitem__ = __getattr__ = __call__ = _unknown
    __add__ = __sub__ = __mul__ = __truediv__ = __lt__ = __gt__ = __le__ = __ge__ = _unknown


@dataclass(frozen=True, slots=True)
class Guard:
    """A call runs only if a condition's value is this case of these."""

    condition: Ref
    case: str
    cases: tuple[str, ...]


def case_of(value: object, cases: tuple[str, ...]) -> str:
    """Which case a condition's value is: its name, `true` for true, else `otherwise`."""
    if cases == ("true", OTHERWISE):
        return "true" if value else OTHERWISE
    name = str(getattr(value, "value", value))  # an enum's member is its value
    return name if name in cases else OTHERWISE


@dataclass(frozen=True, kw_only=True)
class Call:
    """One use of a node: which arguments are constants, which come from where, and when it runs.

    `cases` makes it the place where the branches of a condition meet: it takes what the branch
    that was taken gives. `mapped` names the parameter that takes the items of a list or stream.
    """

    id: str
    node: "Node[Any, Any]"
    constants: Mapping[str, Any]
    inputs: Mapping[str, Ref]
    guards: tuple[Guard, ...] = ()
    cases: tuple[str, ...] = ()
    mapped: str | None = None
    streaming: bool = False
    stream_params: frozenset[str] = frozenset()


@dataclass(eq=False)
class Graph:
    """Calls in the order they were drawn."""

    calls: list[Call] = field(default_factory=list)
    orders: list[tuple[str, str]] = field(default_factory=list)
    guards: tuple[Guard, ...] = ()
    prefix: str = ""
    _names: Counter[str] = field(default_factory=Counter)

    def add(self, node: "Node[Any, Any]", arguments: Mapping[str, Any], **how: Any) -> Ref:
        """Draw a call of a node. Raises InvalidFlow."""
        for name, value in arguments.items():
            if _holds_ref(value):
                raise InvalidFlow(
                    f"{node.name}: {name} holds a node's output inside a collection",
                    hint="Pass each output as an argument of its own.",
                )
        fields: dict[str, Any] = {
            "streaming": node.streaming,
            "stream_params": node.stream_params,
        }
        call = Call(
            id=self.unique(node.name),
            node=node,
            constants={k: v for k, v in arguments.items() if not isinstance(v, Ref)},
            inputs={k: v for k, v in arguments.items() if isinstance(v, Ref)},
            guards=self.guards,
            **(fields | how),
        )
        self.calls.append(call)
        return Ref(self, call.id)

    def unique(self, name: str) -> str:
        """`name`, or `name_2` where it is the second of that name."""
        name = self.prefix + name
        self._names[name] += 1
        count = self._names[name]
        return name if count == 1 else f"{name}_{count}"

    def streams(self, ref: Ref) -> bool:
        """Whether a reference stands for many values."""
        return any(call.streaming for call in self.calls if call.id == ref.node)

    @contextmanager
    def guarded(self, guard: Guard) -> Iterator[None]:
        """What is drawn in this block runs only in a case."""
        before, self.guards = self.guards, (*self.guards, guard)
        try:
            yield
        finally:
            self.guards = before

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """What is drawn in this block belongs to a flow within the flow."""
        before, self.prefix = self.prefix, f"{self.unique(name)}/"
        try:
            yield
        finally:
            self.prefix = before

    def require_own(self, flow: str, refs: list[Ref]) -> None:
        """Raise InvalidFlow for a reference of another flow."""
        for ref in refs:
            if ref.graph is not self:
                raise InvalidFlow(
                    f"{flow}: capture_unreachable: {ref.node!r} belongs to another flow"
                )


@contextmanager
def drawing() -> Iterator[Graph]:
    """Draw a graph in this block."""
    graph = Graph()
    token = _current.set(graph)
    try:
        yield graph
    finally:
        _current.reset(token)


def current(who: str, hint: str | None = None) -> Graph:
    """The graph that is being drawn. Raises InvalidFlow outside a flow."""
    graph = _current.get()
    if graph is None:
        raise InvalidFlow(f"{who} can be called only inside a @flow", hint=hint)
    return graph


def bind(name: str, signature: inspect.Signature, args: Any, kwargs: Any) -> dict[str, Any]:
    """Bind arguments to parameters. Raises InvalidFlow."""
    try:
        return dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise InvalidFlow(f"{name}: {error}") from None


def require_output(value: object, what: str) -> Ref:
    """The reference that a node's output is. Raises InvalidFlow for anything else."""
    if not isinstance(value, Ref) or value.node == TRIGGER:
        raise InvalidFlow(f"{what} takes the output of a node")
    return value


def _holds_ref(value: object) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple | set):
        return any(isinstance(item, Ref) or _holds_ref(item) for item in value)
    return False
