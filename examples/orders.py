"""Control flow: a map with a limit, a branch, a switch, a flow in a flow, a stream collected.

tailrace run orders
tailrace run orders --input '{"country": "DE", "items": [3, 250, 40]}'
tailrace graph orders --mermaid
"""

from collections.abc import AsyncIterator
from enum import Enum

from pydantic import BaseModel

from tailrace import after, collect, flow, node, switch, when


class Carrier(Enum):
    """How an order travels."""

    POST = "post"
    FREIGHT = "freight"


class Order(BaseModel):
    """What an order costs, and how it is sent."""

    price: int
    carrier: str
    note: str | None


@node(effects="pure", determinism="strict", concurrency=4)
async def price(grams: int, per_kilo: int) -> int:
    """The price of one item, in cents."""
    return grams * per_kilo // 1000


@node(effects="pure", determinism="strict")
async def total(prices: list[int]) -> int:
    """Add up."""
    return sum(prices)


@flow(name="pricing")
def pricing(items: list[int], per_kilo: int) -> object:
    """A flow of its own, used inside another."""
    return total(price.map(items, per_kilo))


@node(effects="pure", determinism="strict")
async def is_abroad(country: str) -> bool:
    """Whether there is a border on the way."""
    return country != "DE"


@node(effects="pure", determinism="strict")
async def carrier(items: list[int]) -> Carrier:
    """Which way an order goes."""
    return Carrier.FREIGHT if sum(items) > 10_000 else Carrier.POST


@node(effects="pure", determinism="strict")
async def stamp(cents: int) -> str:
    """Send it by post."""
    return f"by post, {cents} cents"


@node(effects="pure", determinism="strict")
async def book(cents: int) -> str:
    """Send it by freight."""
    return f"by freight, {cents + 5000} cents"


@node(effects="pure", determinism="strict")
async def papers(items: list[int]) -> AsyncIterator[str]:
    """The lines of a customs declaration, one after the other."""
    for number, grams in enumerate(items, start=1):
        yield f"{number}: {grams} g"


@node(effects="pure", determinism="strict")
async def declaration(lines: list[str]) -> str:
    """All lines as one note."""
    return "; ".join(lines)


@node(effects="pure", determinism="strict")
async def confirm(cents: int, sent: str, note: str | None) -> Order:
    """Put it together."""
    return Order(price=cents, carrier=sent, note=note)


@flow(name="orders", http="POST /orders", deadline_ms=30_000)
def orders(items: list[int] = [1200, 300], country: str = "FR", per_kilo: int = 800) -> object:  # noqa: B006 - a default of the input, never changed
    """Price an order, choose how it is sent, declare it if it crosses a border."""
    cents = pricing(items, per_kilo)
    note = when(is_abroad(country), lambda: declaration(collect(papers(items))))
    sent = switch(carrier(items), {"freight": lambda: book(cents)}, lambda: stamp(cents))
    return confirm(cents, after(sent, note), note)
