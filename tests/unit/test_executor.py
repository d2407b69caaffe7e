"""A flow's whole life: order, streams, failures, cancels, deadlines; always one end."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tailrace import Event, after, agent, errors, flow, node, recorder
from tailrace.ambient import flush
from tailrace.ambient import log as log_line
from tailrace.clock import within
from tailrace.events import TERMINAL, LogLine, NodeCompleted, OutputItem
from tailrace.flow.build import Flow
from tailrace.intake import Intake
from tailrace.lifecycle import ExecutionState, fold
from tailrace.log.memory import MemoryLog
from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.testing import FakeClock, FaultyLog
from tailrace.testing.clock import settle
from tailrace.testing.contract.tools import begin, ended

MEMORY = Settings(store="memory:")


@pytest.fixture
async def runtime(clock: FakeClock) -> AsyncIterator[Runtime]:
    async with Runtime(MEMORY, clock=clock) as opened:
        yield opened


async def events_of(run: Run) -> list[Event]:
    return [event async for event in run.follow()]


async def finish(runtime: Runtime, made: Flow[Any], given: Any = None) -> ExecutionState:
    """Run to the end and check what holds for every execution whatever happens in it."""
    run = await runtime.start(made, given)
    events = await events_of(run)
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert [event.type in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    state = fold(events)  # raises if an event cannot follow
    assert not [n.id for n in state.nodes.values() if n.status in ("running", "retrying")]
    return state


@node(effects="pure")
async def one() -> int:
    return 1


@node(effects="pure")
async def add(a: int, b: int = 10) -> int:
    return a + b


@node
async def count(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


@node
async def total(numbers: AsyncIterator[int]) -> int:
    result = 0
    async for number in numbers:
        result += number
    return result


@node
async def boom(value: int = 0) -> int:
    raise ValueError(f"boom {value}")


@node
async def forever() -> int:
    await anyio.sleep_forever()
    return 0


async def test_values_flow_through_the_graph(runtime: Runtime) -> None:
    @flow
    def sums(n: int) -> object:
        return add(add(n), one())

    state = await finish(runtime, sums, {"n": 5})
    assert (state.status, state.output) == ("completed", 16)
    assert state.end is not None
    assert state.end["node_count"] == 3
    assert {n.id: n.status for n in state.nodes.values()} == {
        "add": "completed",
        "one": "completed",
        "add_2": "completed",
    }


async def test_branches_run_at_the_same_time(runtime: Runtime) -> None:
    meeting = [anyio.Event(), anyio.Event()]

    @node
    async def meet(me: int) -> int:
        meeting[me].set()
        await meeting[1 - me].wait()
        return me

    @flow
    def both() -> object:
        return add(meet(0), meet(1))

    assert (await finish(runtime, both)).output == 1


async def test_a_node_starts_only_after_its_inputs_completed(runtime: Runtime) -> None:
    @flow
    def chain() -> object:
        return add(add(one()))

    events = await events_of(await runtime.start(chain))
    order = [(event.type, event.node) for event in events if event.node]
    assert order == [
        (f"node.{what}", name)
        for name in ("one", "add", "add_2")
        for what in ("started", "completed")
    ]


async def test_after_orders_nodes_without_data(runtime: Runtime) -> None:
    @flow
    def ordered() -> object:
        first, second = add(1), one()
        after(second, first)
        return second

    events = await events_of(await runtime.start(ordered))
    assert [event.node for event in events if event.type == "node.started"] == ["add", "one"]


async def test_a_sync_node_runs_in_a_thread(runtime: Runtime) -> None:
    @node
    def where() -> bool:
        return threading.current_thread() is threading.main_thread()

    @flow
    def threads() -> object:
        return where()

    assert (await finish(runtime, threads)).output is False


async def test_a_streaming_capture_gives_items_in_order(runtime: Runtime) -> None:
    @flow
    def stream(n: int) -> object:
        return count(n)

    run = await runtime.start(stream, {"n": 4})
    events = await events_of(run)
    items = [event.data for event in events if event.type == "output.item"]
    assert items == [{"index": i, "value": i} for i in range(4)]
    assert events[-1].data["item_count"] == 4
    assert events[-1].data["output"] is None


async def test_a_stream_feeds_several_consumers(runtime: Runtime) -> None:
    @flow
    def fan(n: int) -> object:
        numbers = count(n)
        return add(total(numbers), total(numbers))

    assert (await finish(runtime, fan, {"n": 100})).output == 2 * sum(range(100))


@pytest.mark.parametrize("buffer", [0, 1, 5])
async def test_a_producer_is_never_more_than_its_buffer_ahead(
    runtime: Runtime, buffer: int
) -> None:
    ahead: list[int] = []
    made = taken = 0

    @node(buffer=buffer)
    async def fast() -> AsyncIterator[int]:
        nonlocal made
        for number in range(50):
            made += 1
            ahead.append(made - taken)
            yield number

    @node
    async def slow(numbers: AsyncIterator[int]) -> int:
        nonlocal taken
        async for _ in numbers:
            await settle()
            taken += 1
        return taken

    @flow
    def race() -> object:
        return slow(fast())

    assert (await finish(runtime, race)).output == 50
    assert max(ahead) <= buffer + 2  # the buffer, the one in hand, and the one being made


async def test_a_consumer_that_has_enough_ends_its_producer(runtime: Runtime) -> None:
    closed = False

    @node
    async def endless() -> AsyncIterator[int]:
        nonlocal closed
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed = True

    @node
    async def first(numbers: AsyncIterator[int]) -> int:
        async for number in numbers:
            if number == 3:
                return number
        return -1

    @flow
    def enough() -> object:
        return first(endless())

    assert (await finish(runtime, enough)).output == 3
    assert closed


async def test_a_failing_node_fails_the_flow_and_says_which(runtime: Runtime) -> None:
    @flow
    def fails() -> object:
        return add(boom(7))

    state = await finish(runtime, fails)
    assert state.status == "failed"
    assert state.error == {"type": "ValueError", "message": "boom 7", "node": "boom"}
    assert state.nodes["boom"].status == "failed"
    assert "add" not in state.nodes


async def test_a_failure_cancels_what_runs_beside_it(runtime: Runtime) -> None:
    @flow
    def fails() -> object:
        return add(boom(), forever())

    state = await finish(runtime, fails)
    assert state.nodes["forever"].status == "cancelled"


async def test_a_stream_that_fails_is_not_taken_for_a_complete_one(runtime: Runtime) -> None:
    @node
    async def breaks() -> AsyncIterator[int]:
        yield 1
        await settle()
        raise ValueError("in the middle")

    @flow
    def fails() -> object:
        return total(breaks())

    state = await finish(runtime, fails)
    assert state.status == "failed"
    assert state.nodes["total"].status == "cancelled"


async def test_an_error_after_some_items_keeps_the_items(runtime: Runtime) -> None:
    @node
    async def breaks() -> AsyncIterator[int]:
        yield 1
        yield 2
        raise ValueError("in the middle")

    @flow
    def fails() -> object:
        return breaks()

    state = await finish(runtime, fails)
    assert (state.status, state.item_count) == ("failed", 2)


async def test_an_output_that_is_no_json_fails_the_execution(runtime: Runtime) -> None:
    @node
    async def opaque() -> object:
        return object()

    @flow
    def fails() -> object:
        return opaque()

    state = await finish(runtime, fails)
    assert state.error is not None
    assert (state.status, state.error["type"]) == ("failed", "invalid_event")


async def test_any_object_may_pass_between_nodes(runtime: Runtime) -> None:
    @node
    async def make() -> object:
        return object()

    @node
    async def name(value: object) -> str:
        return type(value).__name__

    @flow
    def passes() -> object:
        return name(make())

    assert (await finish(runtime, passes)).output == "object"


async def test_a_large_output_is_summarised(runtime: Runtime) -> None:
    @node
    async def large() -> dict[str, str]:
        return {"body": "x" * 300_000}

    @flow
    def big() -> object:
        return large()

    state = await finish(runtime, big)
    assert state.end is not None
    assert state.output is None
    assert state.end["output_summary"]["keys"] == ["body"]
    assert state.end["output_summary"]["size_bytes"] == 300_011
    digest = state.end["output_summary"]["digest"]
    assert json.loads(await runtime.log.payload(state.id, digest)) == {"body": "x" * 300_000}
    assert state.nodes["large"].output_summary == state.end["output_summary"]  # kept once


# --- retries and time ---------------------------------------------------------------------------


async def test_a_failing_node_is_tried_again_with_growing_waits(
    runtime: Runtime, clock: FakeClock
) -> None:
    tries: list[float] = []

    @node(effects="read_only", attempts=3, retry_delay_ms=1000, retry_backoff=2.0)
    async def flaky() -> int:
        tries.append(clock.monotonic())
        if len(tries) < 3:
            raise OSError("not yet")
        return 5

    @flow
    def retried() -> object:
        return flaky()

    run = await runtime.start(retried)
    await clock.advance(10)
    events = await events_of(run)
    assert tries == [0, 1, 3]
    assert [e.attempt for e in events if e.type == "node.started"] == [1, 2, 3]
    retrying = [e.data for e in events if e.type == "node.retrying"]
    assert [data["delay_ms"] for data in retrying] == [1000, 2000]
    assert fold(events).nodes["flaky"].attempt == 3


async def test_a_node_that_keeps_failing_fails_after_its_last_try(
    runtime: Runtime, clock: FakeClock
) -> None:
    @node(effects="read_only", attempts=2, retry_delay_ms=0)
    async def hopeless() -> int:
        raise OSError("never")

    @flow
    def fails() -> object:
        return hopeless()

    run = await runtime.start(fails)
    await clock.advance(1)
    state = fold(await events_of(run))
    assert (state.status, state.nodes["hopeless"].attempt) == ("failed", 2)


async def test_a_node_over_its_timeout_fails(runtime: Runtime, clock: FakeClock) -> None:
    @node(timeout_ms=500)
    async def slow() -> int:
        await anyio.sleep_forever()
        return 0

    @flow
    def fails() -> object:
        return slow()

    run = await runtime.start(fails)
    await clock.advance(1)
    state = fold(await events_of(run))
    assert state.error is not None
    assert (state.status, state.error["type"]) == ("failed", "TimeoutError")


async def test_a_deadline_ends_the_execution_as_timed_out(
    runtime: Runtime, clock: FakeClock
) -> None:
    @flow(deadline_ms=2000)
    def late() -> object:
        return forever()

    run = await runtime.start(late)
    await clock.advance(3)
    state = fold(await events_of(run))
    assert (state.status, state.nodes["forever"].status) == ("timed_out", "cancelled")
    with pytest.raises(errors.ExecutionTimedOut):
        await run


async def test_a_deadline_covers_the_stream(runtime: Runtime, clock: FakeClock) -> None:
    @node
    async def ticks() -> AsyncIterator[int]:
        for number in range(100):
            yield number
            await clock.sleep(1)

    @flow(deadline_ms=3500)
    def late() -> object:
        return ticks()

    run = await runtime.start(late)
    await clock.advance(10)
    state = fold(await events_of(run))
    assert (state.status, state.item_count) == ("timed_out", 4)


async def test_work_within_its_time_gives_its_result_and_its_own_errors(clock: FakeClock) -> None:
    async def fails() -> int:
        raise KeyError("mine")

    async def works() -> int:
        return 4

    assert await within(clock, 1000, works) == 4
    with pytest.raises(KeyError):
        await within(clock, 1000, fails)


# --- cancelling ---------------------------------------------------------------------------------


async def test_a_cancel_reaches_the_node_and_says_who_and_why(runtime: Runtime) -> None:
    closed = anyio.Event()

    @node
    async def guarded() -> AsyncIterator[int]:
        try:
            yield 1
            await anyio.sleep_forever()
        finally:
            closed.set()

    @flow
    def long() -> object:
        return guarded()

    run = await runtime.start(long)
    await settle()
    await run.cancel(by="ann", reason="enough")
    events = await events_of(run)
    assert closed.is_set()
    assert [event.type for event in events[-3:]] == [
        "execution.cancelling",
        "node.cancelled",
        "execution.cancelled",
    ]
    assert (events[-1].data["by"], events[-1].data["reason"]) == ("ann", "enough")
    with pytest.raises(errors.ExecutionCancelled):
        await run


async def test_cancelling_twice_or_after_the_end_changes_nothing(runtime: Runtime) -> None:
    @flow
    def long() -> object:
        return forever()

    run = await runtime.start(long)
    await settle()
    await run.cancel(reason="first")
    await run.cancel(reason="second")
    state = await run.wait()
    assert state.end is not None
    assert state.end["reason"] == "first"
    await run.cancel(reason="third")
    assert (await run.wait()).head == state.head


async def test_a_cancel_before_the_work_began_still_ends_it(runtime: Runtime) -> None:
    @flow
    def long() -> object:
        return forever()

    run = await runtime.start(long)
    await run.cancel()
    assert (await run.wait()).status == "cancelled"


async def test_a_shutdown_ends_what_runs_with_its_cause() -> None:
    @flow
    def long() -> object:
        return forever()

    log = MemoryLog()
    async with Runtime(MEMORY, log=log) as runtime:
        run = await runtime.start(long)
        await settle()
    async with log:
        last = (await log.read(run.id, 0, 100))[-1].event()
    assert last.type == "execution.cancelled"
    assert last.data["reason"] == "shutdown"


@pytest.mark.parametrize("turns", range(0, 60, 2))
async def test_a_cancel_at_any_moment_gives_exactly_one_end(runtime: Runtime, turns: int) -> None:
    """A five-node flow with a stream and a branch, cancelled after so many steps of the loop."""

    @flow
    def five(n: int) -> object:
        numbers = count(n)
        return add(total(numbers), add(total(numbers)))

    run = await runtime.start(five, {"n": 5})
    await settle(turns)
    await run.cancel()
    events = await events_of(run)
    assert sum(event.type in TERMINAL for event in events) == 1
    state = fold(events)
    assert state.status in ("cancelled", "completed")
    assert not [n.id for n in state.nodes.values() if n.status == "running"]


# --- what ends more than itself -----------------------------------------------------------------


class Beyond(BaseException):
    """No Exception: what `except Exception` lets through."""


class Mute(Exception):
    """Cannot say what it is."""

    def __str__(self) -> str:
        raise ValueError


async def leaves() -> int:
    raise SystemExit(3)


def leaves_in_a_thread() -> int:
    raise SystemExit(3)


async def leaves_midway() -> AsyncIterator[int]:
    yield 1
    raise SystemExit(3)


async def beyond() -> int:
    raise Beyond("x")


async def several() -> int:
    raise BaseExceptionGroup("two", [Beyond(), ValueError()])


async def waits_for_what_it_cancelled() -> int:
    task = asyncio.ensure_future(anyio.sleep_forever())
    await anyio.lowlevel.checkpoint()
    task.cancel()
    await task
    return 1


async def cancels_its_own_task() -> int:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await anyio.lowlevel.checkpoint()
    return 1


async def mute() -> int:
    raise Mute


ENDS = [
    (leaves, "its code ended with SystemExit: 3"),
    (leaves_in_a_thread, "its code ended with SystemExit: 3"),
    (leaves_midway, "its code ended with SystemExit: 3"),
    (beyond, "its code ended with Beyond: x"),
    (several, "its code ended with BaseExceptionGroup: two (2 sub-exceptions)"),
    (waits_for_what_it_cancelled, "its code ended with CancelledError"),
    (cancels_its_own_task, "its code ended with CancelledError"),
    (mute, "Mute"),
]


@pytest.mark.parametrize("kind", ["flow", "mapped", "agent"])
@pytest.mark.parametrize(("code", "told"), ENDS, ids=lambda given: getattr(given, "__name__", ""))
async def test_code_ends_only_itself(runtime: Runtime, code: Any, told: str, kind: str) -> None:
    """Whatever it raises: the execution has failed with it, and all else goes on."""
    made: Any = agent(code)
    if kind == "flow":
        alone = node(code)
        made = flow(lambda: alone())
    elif kind == "mapped":
        if code is leaves_midway:
            return  # nobody maps a stream of streams

        @node
        def numbers() -> list[int]:
            return [1]

        if asyncio.iscoroutinefunction(code):

            async def each(n: int) -> int:
                return await code()  # type: ignore[no-any-return]

            mapped: Any = node(each)
        else:

            def each_in_a_thread(n: int) -> int:
                return code()  # type: ignore[no-any-return]

            mapped = node(each_in_a_thread)
        made = flow(lambda: mapped.map(numbers()))
    made.name = "ends"

    @flow
    def beside() -> object:
        return forever()

    other = await runtime.start(beside)
    state = await finish(runtime, made)
    assert (state.status, state.error and state.error["message"]) == ("failed", told)
    assert (await runtime.view(other.id)).status == "running"


async def test_a_node_whose_task_was_cancelled_has_not_completed(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By nobody who may: neither by its code, nor by a cancel, a deadline or a shutdown."""
    append = runtime.log.append

    async def cancelling(name: str, drafts: Any, **how: Any) -> Any:
        appended = await append(name, drafts, **how)
        if drafts[-1].type == "node.started":
            await cancels_its_own_task()
        return appended

    monkeypatch.setattr(runtime.log, "append", cancelling)

    @flow
    def short() -> object:
        return one()

    state = await finish(runtime, short)
    assert (state.status, state.output) == ("failed", None)


# --- what is no ordinary failure ---------------------------------------------------------------


async def cancelled_by_another() -> None:
    """Await what somebody else has cancelled."""
    other = asyncio.ensure_future(anyio.sleep_forever())
    other.cancel()
    await other


@node
async def awaits_what_was_cancelled(n: int) -> int:
    if n == 1:
        await cancelled_by_another()
    return n


@node
async def streams_what_was_cancelled() -> AsyncIterator[int]:
    yield 1
    await cancelled_by_another()


@node
async def doubled_sum(ns: AsyncIterator[int]) -> int:
    return sum([2 * n async for n in ns])


@flow
def alone() -> object:
    return awaits_what_was_cancelled(one())


@flow
def before_another() -> object:
    return add(awaits_what_was_cancelled(one()))


@flow
def of_many() -> object:
    return awaits_what_was_cancelled.map(count(3))


@flow
def in_a_stream() -> object:
    return doubled_sum(streams_what_was_cancelled())


@pytest.mark.parametrize("made", [alone, before_another, of_many, in_a_stream])
async def test_a_cancellation_that_nobody_asked_for_is_a_failure(
    runtime: Runtime, made: Flow[Any]
) -> None:
    """Found by trying: it was taken for a good end without an output, or waited for ever."""
    with anyio.fail_after(10):
        state = await finish(runtime, made)
    assert state.status == "failed"
    assert "CancelledError" in (state.error or {})["message"]


class Panic(BaseException):
    """As of a library that is written in another language."""


@pytest.mark.parametrize("error", [Panic, Mute])
async def test_whatever_is_raised_ends_that_execution_alone(
    runtime: Runtime, error: type[BaseException]
) -> None:
    """Found by trying: it ended the runtime, and with it all that ran there."""

    @node
    async def raising() -> int:
        raise error

    @node
    async def waiting() -> int:
        await anyio.sleep_forever()
        return 1

    @flow
    def raises() -> object:
        return raising()

    @flow
    def waits() -> object:
        return waiting()

    other = await runtime.start(waits)
    state = await (await runtime.start(raises)).wait()
    assert state.status == "failed"
    assert error.__name__ in str(state.error)
    assert (await runtime.log.entry(other.id)).status == "running"


# --- when the log fails -------------------------------------------------------------------------


async def test_a_log_that_cannot_take_an_item_fails_the_flow(clock: FakeClock) -> None:
    log = FaultyLog(MemoryLog(), {"output.item": [errors.StoreFull()]})

    @flow
    def stream() -> object:
        return count(3)

    async with Runtime(MEMORY, log=log, clock=clock) as runtime:
        state = await (await runtime.start(stream)).wait()
    assert state.error is not None
    assert (state.status, state.error["type"]) == ("failed", "store_full")


@pytest.mark.parametrize("lose_answer", [False, True])
@pytest.mark.parametrize("failing", ["node.started", "log.line", "node.failed"])
async def test_what_was_said_before_the_store_failed_is_in_the_log(
    clock: FakeClock, failing: str, lose_answer: bool
) -> None:
    """Found by reading: it was lost, and of a node that never began the log said that it failed."""

    class Once(FaultyLog):
        async def append(self, execution_id: str, drafts: Any, **how: Any) -> Any:
            if any(draft.node == "talking" for draft in drafts):
                return await super().append(execution_id, drafts, **how)
            return await self._inner.append(execution_id, drafts, **how)

    @node
    async def talking(n: int) -> int:
        for word in ("a", "a", "b"):
            log_line(word)
        await flush()
        raise RuntimeError("failed")

    @flow
    def said() -> object:
        return talking(one())

    plan: dict[str, list[errors.TailraceError]] = {failing: [errors.StoreBusy()]}
    log: Any = Once(MemoryLog(), plan, lose_answer=lose_answer)
    async with Runtime(MEMORY, log=log, clock=clock) as runtime:
        run = await runtime.start(said)
        state = await run.wait()
        events = [record.event() for record in await log.read(run.id, 0, 100)]
    assert plan == {failing: []}
    assert state.status == "failed"
    types = [event.type for event in events]
    assert types[:4] == ["execution.queued", "execution.started", "node.started", "node.completed"]
    words = [event.data["line"] for event in events if event.type == "log.line"]
    assert words == ([] if failing == "node.started" else ["a", "a", "b"])
    assert types[-2:] == ["node.failed", "execution.failed"]
    assert len(types) == 7 + len(words)


async def test_an_end_that_cannot_be_written_is_told_to_the_caller(clock: FakeClock) -> None:
    log = FaultyLog(MemoryLog(), {"execution.completed": [errors.StoreFull()]})

    @flow
    def short() -> object:
        return one()

    async with Runtime(MEMORY, log=log, clock=clock) as runtime:
        run = await runtime.start(short)
        with pytest.raises(errors.StoreFull):
            await run
        # The lease is what ends it then, for everybody else.
        await clock.advance(MEMORY.lease_s * 2)
        assert (await runtime.view(run.id)).status == "lost"


async def test_work_whose_log_was_ended_elsewhere_stops(runtime: Runtime) -> None:
    @flow
    def long() -> object:
        return forever()

    run = await runtime.start(long)
    await settle()
    await runtime.log.append(run.id, [ended()])
    state = await run.wait()
    assert state.status == "completed"
    assert state.nodes["forever"].status == "running"  # its last words came too late


async def test_nothing_is_left_running(runtime: Runtime) -> None:
    @flow
    def short(n: int) -> object:
        return total(count(n))

    before = len(asyncio.all_tasks())
    for _ in range(20):
        await finish(runtime, short, {"n": 3})
    await settle()
    assert len(asyncio.all_tasks()) == before


# --- what is refused ----------------------------------------------------------------------------


async def test_what_is_refused_counts_for_nothing(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: who tried again where it was refused ran into its limit of events."""
    monkeypatch.setattr(recorder, "OUTBOX_MAX_EVENTS", 3)
    async with MemoryLog() as log:
        await begin(log)
        made = recorder.Recorder(log, clock, "X1", Intake(events_max=20))
        value = "x" * 20_000
        for _ in range(3):
            made.post(LogLine(line="a", source="s"))
        told = made.summary(value)
        for _ in range(50):
            with pytest.raises(errors.Overloaded):
                made.post(LogLine(line="b", source="s"))
            with pytest.raises(errors.InvalidEvent):
                await made.emit(OutputItem(index=0, value=object()))
        await made.flush()
        await made.emit(NodeCompleted(duration_ms=1, output_summary=told), node="n")
        assert told.digest is not None
        assert json.loads(await log.payload("X1", told.digest)) == value
        assert (await log.entry("X1")).head == 5
