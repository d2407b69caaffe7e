"""What a type checker finds in a flow before it is ever drawn.

Each `type: ignore` here is a promise: mypy reports one that is not needed (warn_unused_ignores).
"""

from collections.abc import AsyncIterator
from typing import assert_type

from tailrace import after, collect, flow, node, switch, when


@node
async def number(text: str) -> int:
    return int(text)


@node
def plain(n: int) -> str:
    return str(n)


@node
async def many(n: int) -> AsyncIterator[int]:
    yield n


@node
async def last(ns: AsyncIterator[int]) -> int:
    return max([n async for n in ns])


@node(attempts=2, effects="read_only")
async def with_options(n: int, plus: int = 1) -> int:
    return n + plus


@flow
def right(text: str) -> object:
    n = assert_type(number(text), int)
    assert_type(plain(n), str)
    stream = assert_type(many(n), AsyncIterator[int])
    assert_type(collect(stream), list[int])
    assert_type(with_options.map([n], plus=2), list[int])
    assert_type(with_options.map(many(n)), AsyncIterator[int])
    assert_type(when(n, lambda: plain(n)), str | None)
    assert_type(when(n, lambda: plain(n), otherwise=lambda: n), str | int)
    assert_type(switch(n, {"1": lambda: plain(n)}), str)
    assert_type(after(n, stream), int)
    return last(stream)


@flow
def wrong(text: str) -> object:
    number(3)  # type: ignore[arg-type]
    number()  # type: ignore[call-arg]
    last(number(text))  # type: ignore[arg-type]
    plain(plain(1))  # type: ignore[arg-type]
    with_options(1, minus=2)  # type: ignore[call-arg]
    with_options.map(many(1), plus="x")  # type: ignore[call-overload]
    return number(text)
