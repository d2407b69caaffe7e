"""What facts and places may be used for, by all processes of a store.

The law of this file: what may happen once happens once, and what has an end is over by then.
"""

from typing import Any

import anyio
import anyio.lowlevel

from tailrace.testing.contract.bench import Bench, check
from tailrace.testing.contract.tools import at


@check
async def facts_are_kept_until_their_time_is_over(bench: Bench) -> None:
    """By kind and key, from every handle, also after a reopening."""
    facts, other = (await bench.log()).facts, (await bench.other()).facts
    assert await facts.put("key", "a/1", "one", now=at(0))
    assert await facts.put("key", "a/2", "two", now=at(0), until=at(5))
    assert await facts.put("ticket", "a/1", "other kind", now=at(0))
    assert await other.get("key", "a/1", now=at(1)) == "one"
    assert await facts.find("key", "a/", now=at(4)) == [("a/1", "one"), ("a/2", "two")]
    assert await facts.find("key", "a/", now=at(5)) == [("a/1", "one")]
    assert await facts.find("key", "b", now=at(0)) == []
    assert await facts.get("key", "a/2", now=at(5)) is None
    await facts.sweep(now=at(5))
    assert await facts.get("key", "a/2", now=at(4)) is None
    facts = (await bench.reopen()).facts
    assert await facts.get("key", "a/1", now=at(9)) == "one"


@check
async def what_must_happen_once_happens_once(bench: Bench) -> None:
    """A fact that must be new, and one that is taken, whoever asks at the same time."""
    facts, other = (await bench.log()).facts, (await bench.other()).facts
    won: list[bool] = []
    took: list[str | None] = []

    async def put(number: int) -> None:
        handle = other if number % 2 else facts
        won.append(await handle.put("nonce", "n", str(number), now=at(0), until=at(5), new=True))

    async def take(number: int) -> None:
        took.append(await (other if number % 2 else facts).take("nonce", "n", now=at(1)))

    for function in (put, take):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(function, number)
    assert sum(won) == 1
    assert sum(value is not None for value in took) == 1
    assert await facts.put("nonce", "n", "again", now=at(1), until=at(5), new=True)
    assert await facts.put("nonce", "n", "when over", now=at(5), new=True)
    assert await facts.take("nonce", "none", now=at(1)) is None


@check
async def places_are_limited(bench: Bench) -> None:
    """All names or none; given back, or over; the same count for every handle."""
    facts, other = (await bench.log()).facts, (await bench.other()).facts
    limits = {"workspace/w": 3, "all": 5}

    async def occupy(handle: Any, holder: str, second: int = 0, **names: int) -> str | None:
        asked = names or limits
        full: str | None = await handle.occupy(
            "stream", asked, holder, now=at(second), until=at(second + 10)
        )
        return full

    assert [await occupy(facts, f"p1:{n}") for n in range(4)] == [None] * 3 + ["workspace/w"]
    assert await occupy(other, "p2:1") == "workspace/w"
    assert await occupy(other, "p2:1", w2=9, all=5) is None
    assert await occupy(other, "p2:2", w2=9, all=5) is None
    assert await occupy(other, "p2:3", w2=9, all=5) == "all"
    assert await occupy(facts, "p1:0") is None  # who has a place keeps it
    await facts.vacate("stream", "p1:0")
    await facts.vacate("stream", "p1:0")
    assert await occupy(other, "p2:4") is None
    await facts.stay("stream", "p1:", until=at(30))
    assert await occupy(facts, "p3:1", second=20, all=3) is None  # those of p2 are over
    assert await occupy(facts, "p3:2", second=20, all=3) == "all"
    await facts.sweep(now=at(20))
    assert await occupy(facts, "p3:2", second=20, all=4) is None
    await facts.stay("stream", "p1:", until=at(20))  # its process has closed
    assert await occupy(other, "p4:1", second=20, w=1, all=3) is None


@check
async def the_last_place_is_taken_once(bench: Bench) -> None:
    """Of many who ask at the same time."""
    facts, other = (await bench.log()).facts, (await bench.other()).facts
    refused: list[str | None] = []

    async def occupy(number: int) -> None:
        handle = other if number % 2 else facts
        refused.append(
            await handle.occupy("stream", {"w": 5}, f"h{number}", now=at(0), until=at(9))
        )

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(occupy, number)
    assert refused.count(None) == 5
