"""A flow stopped at every point where it can be stopped: always one end, and nothing left."""

import os
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tailrace import flow, node, when
from tailrace.events import TERMINAL
from tailrace.lifecycle import fold
from tailrace.runtime import Runtime
from tailrace.settings import Settings

opened: list[str] = []


@node(effects="pure")
async def source(n: int) -> AsyncIterator[int]:
    opened.append("source")
    try:
        for number in range(n):
            yield number
    finally:
        opened.remove("source")


@node(effects="pure", concurrency=2)
async def doubled(n: int) -> int:
    opened.append("doubled")
    try:
        await anyio.lowlevel.checkpoint()
        return 2 * n
    finally:
        opened.remove("doubled")


@node(effects="pure")
async def total(ns: AsyncIterator[int]) -> int:
    return sum([n async for n in ns])


@node(effects="pure")
async def even(n: int) -> bool:
    await anyio.lowlevel.checkpoint()
    return n % 2 == 0


@node(effects="pure")
async def shown(n: int) -> AsyncIterator[str]:
    opened.append("shown")
    try:
        for part in str(n):
            yield part
    finally:
        opened.remove("shown")


@node(effects="pure")
async def said(parts: AsyncIterator[str], verdict: str | None) -> str:
    return "".join([part async for part in parts]) + str(verdict)


@node(effects="pure")
async def word() -> str:
    return " even"


@flow
def five(n: int = 3) -> object:
    sum_ = total(doubled.map(source(n)))
    verdict = when(even(sum_), lambda: word())
    return said(shown(sum_), verdict)


def next_descriptor() -> int:
    """The lowest free one: a descriptor that was left open takes it."""
    number = os.dup(0)
    os.close(number)
    return number


async def stopped_after(turns: int, how: str) -> str:
    """Run, let the loop turn so often, stop, and check what must hold. Returns the status."""
    async with Runtime(Settings(store="memory:")) as runtime:
        run = await runtime.start(five, deadline_ms=60_000)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        if how == "cancel":
            await run.cancel(by="test", reason=f"turn {turns}")
            await run.wait()
        log, execution_id = runtime.log, run.id
        if how == "shutdown":
            runtime.hub.close()
            runtime._tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                while not (await log.entry(execution_id)).sealed:
                    await anyio.lowlevel.checkpoint()
        events = [record.event() for record in await log.read(execution_id, 0, 1000)]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert [event.type in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    state = fold(events)  # raises if an event cannot follow another
    assert not [n.id for n in state.nodes.values() if n.status in ("running", "retrying")]
    assert opened == []  # every generator's `finally` has run
    return state.status


@pytest.mark.parametrize("how", ["cancel", "shutdown"])
async def test_a_flow_can_be_stopped_at_every_point(how: str) -> None:
    threads, files = threading.active_count(), next_descriptor()
    statuses: list[Any] = []
    while not statuses or statuses[-1] != "completed":
        statuses.append(await stopped_after(len(statuses), how))
        assert len(statuses) < 500, "it never gets to its end"
    assert set(statuses) == {"cancelled", "completed"}
    assert len(statuses) > 20  # it really was stopped at many points
    assert threading.active_count() == threads
    assert next_descriptor() == files
