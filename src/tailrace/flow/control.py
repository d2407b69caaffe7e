"""Order and branches: `after`, `when`, `switch`; and `collect`, from a stream to a list.

The law of this file: a branch is drawn whether or not it will run; at run time the nodes of the
branches that are not taken are skipped, and everything that needs them with them, but for the
place where the branches meet.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar, cast, overload

from tailrace.errors import InvalidFlow
from tailrace.flow.graph import OTHERWISE, Guard, Ref, current, require_output
from tailrace.flow.node import Node, NodeOptions

R = TypeVar("R")
S = TypeVar("S")


def after(value: R, *others: object) -> R:
    """Inside a flow: run the node that gives `value` only after these others, without data.

    Returns `value`. Raises InvalidFlow for anything that is not a node's output.
    """
    graph = current("after()")
    target = require_output(value, "after()")
    graph.orders += [(require_output(other, "after()").node, target.node) for other in others]
    return value


@overload
def when(condition: object, then: Callable[[], R]) -> R | None: ...
@overload
def when(condition: object, then: Callable[[], R], otherwise: Callable[[], S]) -> R | S: ...
def when(
    condition: object, then: Callable[[], Any], otherwise: Callable[[], Any] | None = None
) -> Any:
    """Inside a flow: run what `then` draws if the condition's output is true, else `otherwise`.

        price = when(is_member(user), lambda: discounted(cart), otherwise=lambda: full(cart))

    Returns what the branch that was taken gives: None for a branch that is not there.
    """
    return _branches("when", condition, {"true": then, OTHERWISE: otherwise or _nothing})


def switch(
    value: object, cases: Mapping[str, Callable[[], R]], otherwise: Callable[[], R] | None = None
) -> R:
    """Inside a flow: run what the case of this value draws; `otherwise` where there is none.

        total = switch(kind(order), {"digital": lambda: instant(order)}, lambda: ship(order))

    A value is compared as text, an enum's member by its value. Returns what the branch that was
    taken gives: None where there is none.
    """
    if OTHERWISE in cases:
        raise InvalidFlow(f"switch(): {OTHERWISE!r} is the name of the last branch")
    branches = {**cases, OTHERWISE: otherwise or _nothing}
    return cast(R, _branches("switch", value, branches))


def collect(stream: AsyncIterator[R]) -> list[R]:
    """Inside a flow: all values of a stream, as a list, when it has ended."""
    graph = current("collect()")
    ref = require_output(stream, "collect()")
    gathering: Node[Any, Any] = Node(_collect, NodeOptions(name="collect", effects="pure"))
    return cast(list[R], graph.add(gathering, {"values": ref}))


async def _collect(values: AsyncIterator[Any]) -> list[Any]:
    """Gather a stream's values."""
    return [value async for value in values]


def _nothing() -> None:
    return None


def _branches(name: str, condition: object, branches: Mapping[str, Callable[[], Any]]) -> Any:
    graph = current(f"{name}()")
    if not isinstance(condition, Ref):
        raise InvalidFlow(f"{name}() takes a node's output, or a parameter of the flow")
    cases = tuple(branches)
    drawn: dict[str, Any] = {"condition": condition}
    for case, branch in branches.items():
        with graph.guarded(Guard(condition, case, cases)):
            drawn[case] = branch()
        if isinstance(drawn[case], Ref) and graph.streams(drawn[case]):
            raise InvalidFlow(
                f"{name}(): the branch {case!r} gives a stream",
                hint="End the branch with collect(...), or with a node that consumes the stream.",
            )
    meeting: Node[Any, Any] = Node(_meet, NodeOptions(name=name, effects="pure"))
    return graph.add(meeting, drawn, cases=cases)


def _meet(**branches: object) -> object:
    """Take what the branch that was taken gives."""
    raise AssertionError("the executor picks the branch itself")  # a call of it is never made
