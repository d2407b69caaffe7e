"""What the hot paths may cost, counted in Python's own instructions: exact, on any machine.

Times are for benchmarks; a count fails the commit that makes a path longer. The bounds are about
a quarter above what was counted on CPython 3.11; another version may count a little differently.
"""

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from tailrace.batch import Batch
from tailrace.events import Draft, Record
from tailrace.hub import Hub
from tailrace.log import rules
from tailrace.log.base import Entry
from tailrace.log.memory import MemoryLog
from tailrace.metrics import LAG, Histogram
from tailrace.positions import Position
from tailrace.testing import FakeClock
from tailrace.testing.contract.tools import begin
from tests.unit.test_direct import Socket, stream


def instructions(work: Callable[[], object]) -> int:
    """How many bytecode instructions a call runs, in all the Python functions it calls."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    gc.disable()  # what other tests left may have finalizers, which would be counted
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


class Quiet(Socket):
    """A socket that keeps nothing."""

    __slots__ = ()
    write: Any = len  # a C function, as a transport's is


def records(first: int, count: int) -> list[Record]:
    return [Record(first + n, "log.line", b'"type":"log.line"}') for n in range(count)]


async def per_watcher(
    events: int, monkeypatch: pytest.MonkeyPatch, *, measured: bool = False
) -> float:
    """Instructions for each of a thousand watchers, when some events are pushed at once."""
    monkeypatch.setattr("tests.unit.test_direct.Socket", Quiet)
    async with MemoryLog() as log:
        await begin(log)
        hub = Hub(log, FakeClock())
        hub.lag = Histogram(LAG.buckets) if measured else None
        alone = await stream(hub, 1)
        tail = hub._tails["X1"]
        one = instructions(lambda: tail.push(records(2, events)))
        more = [await stream(hub, 1 + events) for _ in range(1000)]
        many = instructions(lambda: tail.push(records(2 + events, events)))
        assert len(tail.watchers) == len(more) + 1
        assert all(watcher.position == 1 + 2 * events for watcher in tail.watchers)
        del alone
    return (many - one) / 1000


async def test_a_delivery_is_a_few_dozen_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await per_watcher(1, monkeypatch) <= 55


async def test_metrics_cost_a_delivery_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A push is counted as a whole, for all whom it reaches."""
    without = await per_watcher(1, monkeypatch)
    assert await per_watcher(1, monkeypatch, measured=True) == without
    async with MemoryLog() as log:
        await begin(log)
        hub, pushes = Hub(log, FakeClock()), []
        watcher = await hub.open("X1", Position(1))
        watcher.sink = lambda _: None
        for seq, hub.lag in ((2, None), (3, None), (4, Histogram(LAG.buckets))):
            pushes.append(instructions(lambda: hub._tails["X1"].push(records(seq, 1))))  # noqa: B023
    assert pushes[-1] - pushes[-2] <= 60
    assert (hub.deliveries, hub.delivered_events) == (3, 3)


async def test_a_delivery_of_a_hundred_events_costs_what_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events are joined once for all watchers, never for each."""
    one, hundred = await per_watcher(1, monkeypatch), await per_watcher(100, monkeypatch)
    assert hundred <= one + 1


def test_writing_an_event_down_is_a_few_dozen_instructions() -> None:
    drafts = [Draft(type="log.line", ts="t", data={"line": str(n)}) for n in range(1000)]
    entry = Entry(
        execution_id="X1", workspace="w", kind="task", flow="f", epoch="e", created_at="t"
    )

    def append() -> None:
        rules.admit(entry, drafts, expected=None, producer=None, last_batch=0)
        tails = rules.encode("X1", drafts)
        rules.place(0, drafts, tails)
        rules.advance(entry, drafts, tails)

    assert instructions(append) / 1000 <= 105


def test_framing_an_event_is_a_few_dozen_instructions() -> None:
    batch = Batch(records(1, 1000))
    assert instructions(lambda: batch.sse_chunk) / 1000 <= 32
    assert instructions(lambda: batch.sse_chunk) <= 5  # once, for everybody


def test_the_counter_counts() -> None:
    def loop() -> None:
        for _ in range(1000):
            Position(1)

    assert 3_000 < instructions(loop) < 40_000
