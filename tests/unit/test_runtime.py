"""The runtime: starting, keys, listing, leases, and what a caller is told."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio
import pytest

from tailrace import Tailrace, errors, flow, node
from tailrace.adapters import open_log
from tailrace.clock import rfc3339
from tailrace.events import Draft, Record
from tailrace.log.base import Listener, Lost
from tailrace.log.memory import MemoryLog
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.testing import FakeClock
from tailrace.testing.clock import settle
from tailrace.testing.contract.tools import TS, begin, line

MEMORY = Settings(store="memory:")


@node
async def double(n: int) -> int:
    return 2 * n


@node
async def forever(n: int) -> int:
    await anyio.sleep_forever()
    return n


@flow
def doubled(n: int = 1) -> object:
    return double(n)


@flow
def endless(n: int = 1) -> object:
    return forever(n)


@pytest.fixture
async def runtime(clock: FakeClock) -> AsyncIterator[Runtime]:
    async with Runtime(MEMORY, flows=[doubled, endless], clock=clock) as opened:
        yield opened


async def test_awaiting_a_run_gives_its_output(runtime: Runtime) -> None:
    assert await (await runtime.start("doubled", {"n": 21})) == 42


async def test_the_facade_takes_arguments_as_keywords() -> None:
    async with Tailrace("memory:", flows=[doubled]) as tailrace:
        run = await tailrace.start(doubled, n=4)
        assert await run == 8
        assert [event.type async for event in tailrace.follow(run.id)][-1] == "execution.completed"
        with pytest.raises(errors.InvalidInput):
            await tailrace.start(doubled, {"n": 4}, n=5)


@pytest.mark.parametrize(
    ("flow_name", "given", "error"),
    [
        ("nope", {}, errors.FlowNotFound),
        ("doubled", {"n": "many"}, errors.InvalidInput),
        ("doubled", {"m": 1}, errors.InvalidInput),
        ("doubled", [1], errors.InvalidInput),
    ],
)
async def test_a_bad_start_is_refused_and_leaves_nothing(
    runtime: Runtime, flow_name: str, given: object, error: type[errors.TailraceError]
) -> None:
    with pytest.raises(error) as caught:
        await runtime.start(flow_name, given)
    assert caught.value.hint
    assert not await runtime.entries()


async def test_an_unknown_kind_is_refused(runtime: Runtime) -> None:
    with pytest.raises(errors.InvalidRequest):
        await runtime.start("doubled", kind="song")


async def test_two_flows_cannot_have_one_name(runtime: Runtime) -> None:
    @flow(name="doubled")
    def other() -> object:
        return double(1)

    runtime.add(doubled)
    with pytest.raises(errors.InvalidRequest):
        runtime.add(other)


def test_what_is_no_flow_is_refused() -> None:
    with pytest.raises(errors.InvalidRequest, match=r"len.* is no flow, agent or task"):
        Runtime(MEMORY, flows=[len])  # type: ignore[list-item] # that is the mistake


async def test_what_is_no_flow_is_not_started(runtime: Runtime) -> None:
    with pytest.raises(errors.InvalidRequest, match="is no flow, agent or task"):
        await runtime.start(double, {"n": 1})  # type: ignore[arg-type] # a node is none


@pytest.mark.parametrize("raised", [errors.FlowNotFound(), ExceptionGroup("two", [ValueError()])])
async def test_an_error_leaves_the_block_as_it_is(raised: Exception) -> None:
    """The runtime's own tasks are nobody's business: no group of theirs is around it."""
    with pytest.raises(type(raised)) as caught:
        async with Tailrace("memory:"):
            raise raised
    assert caught.value is raised


async def test_an_idempotency_key_starts_once(runtime: Runtime) -> None:
    first = await runtime.start("doubled", {"n": 3}, idempotency_key="k")
    again = await runtime.start("doubled", {"n": 3}, idempotency_key="k")
    assert first.id == again.id
    assert await first == await again == 6
    assert await (await runtime.start("doubled", {"n": 3}, idempotency_key="k")) == 6
    with pytest.raises(errors.IdempotencyConflict):
        await runtime.start("doubled", {"n": 4}, idempotency_key="k")
    other = await runtime.start("doubled", {"n": 4}, idempotency_key="k", workspace="w")
    assert other.id != first.id


async def test_a_run_elsewhere_can_be_awaited(runtime: Runtime, clock: FakeClock) -> None:
    """A second runtime on the same log, as another process has."""
    first = await runtime.start("endless", idempotency_key="k")
    other = Runtime(MEMORY, flows=[endless], clock=clock, log=runtime.log)
    other._tasks = runtime._tasks
    theirs = await other.start("endless", idempotency_key="k")
    assert theirs.id == first.id
    await settle()
    await theirs.cancel(by="elsewhere")
    state = await theirs.wait()
    assert (state.status, state.end and state.end["by"]) == ("cancelled", "elsewhere")


async def test_too_many_executions_are_refused(clock: FakeClock) -> None:
    limited = MEMORY.model_copy(update={"executions_max": 2})
    async with Runtime(limited, flows=[endless], clock=clock) as runtime:
        await runtime.start("endless")
        second = await runtime.start("endless")
        with pytest.raises(errors.Overloaded):
            await runtime.start("endless")
        await second.cancel()
        await second.wait()
        await runtime.start("endless")


async def test_lists_filter_by_status(runtime: Runtime) -> None:
    done = await runtime.start("doubled")
    await done
    running = await runtime.start("endless")
    await settle()
    assert [e.execution_id for e in await runtime.entries(status="running")] == [running.id]
    assert [e.execution_id for e in await runtime.entries(status="completed")] == [done.id]
    with pytest.raises(errors.InvalidRequest):
        await runtime.entries(status="happy")


async def test_a_dead_workers_execution_ends_as_lost(clock: FakeClock) -> None:
    log = MemoryLog()
    async with log:
        await begin(log, "X1", lease_until=rfc3339(clock.now()))
    async with Runtime(MEMORY, log=log, clock=clock) as runtime:
        await clock.advance(MEMORY.lease_s)
        state = await runtime.view("X1")
        assert state.status == "lost"
        assert state.end is not None
        assert state.end["last_seen"]
        with pytest.raises(errors.ExecutionLost):
            state.raise_for_end()


async def test_a_living_worker_keeps_its_lease(runtime: Runtime, clock: FakeClock) -> None:
    run = await runtime.start("endless")
    await clock.advance(MEMORY.lease_s * 5)
    assert (await runtime.log.entry(run.id)).status == "running"


async def test_a_store_in_trouble_does_not_stop_the_beats(clock: FakeClock) -> None:
    log = MemoryLog()
    async with Runtime(MEMORY, flows=[endless], log=log, clock=clock) as runtime:
        run = await runtime.start("endless")
        await settle()
        await log.aclose()
        await clock.advance(MEMORY.lease_s / 2)
        await log.open()
        await clock.advance(MEMORY.lease_s * 3)
        assert (await runtime.log.entry(run.id)).status == "running"


async def test_following_can_stop_at_what_is_there(runtime: Runtime) -> None:
    run = await runtime.start("endless")
    await settle()
    follow = runtime.follow(run.id, live=False)
    types = [event.type async for event in follow]
    assert types == ["execution.queued", "execution.started", "node.started"]
    assert follow.position is not None
    assert follow.position.startswith("3@")


async def test_following_resumes_at_a_position(runtime: Runtime) -> None:
    run = await runtime.start("doubled")
    await run
    whole = [event.id async for event in run.follow()]
    assert whole == [1, 2, 3, 4, 5]
    assert [event.id async for event in run.follow(3)] == [4, 5]
    assert [event.id async for event in run.follow(5)] == []
    with pytest.raises(errors.InvalidPosition):
        await anext(run.follow("x"))


async def test_a_gap_is_an_event_without_an_id(runtime: Runtime) -> None:
    run = await runtime.start("doubled")
    await run
    await runtime.log.trim(run.id, 4)
    events_ = [event async for event in run.follow()]
    assert [(e.id, e.type) for e in events_][:2] == [(None, "stream.gap"), (4, "node.completed")]
    assert events_[0].data == {"from": 1, "to": 3, "cause": "retention"}


async def test_leaving_a_follow_changes_nothing(runtime: Runtime) -> None:
    run = await runtime.start("endless")
    follow = run.follow()
    await anext(follow)
    await follow.aclose()
    assert runtime.hub.watching == 0
    assert (await runtime.log.entry(run.id)).status in ("queued", "running")


async def test_followers_are_told_of_a_shutdown(clock: FakeClock) -> None:
    told: list[type[BaseException]] = []

    async def follow(runtime: Runtime, execution_id: str) -> None:
        with pytest.raises(errors.ShuttingDown):
            async for _ in runtime.follow(execution_id):
                pass
        told.append(errors.ShuttingDown)

    async with Runtime(MEMORY, clock=clock) as runtime, anyio.create_task_group() as tasks:
        await begin(runtime.log)
        tasks.start_soon(follow, runtime, "X1")
        await settle()
        runtime.hub.close()
        with pytest.raises(errors.ShuttingDown):
            await runtime.start(doubled)
    assert told


async def test_a_page_of_events_is_parsed(runtime: Runtime) -> None:
    await begin(runtime.log)
    await runtime.log.append("X1", [line("a"), line("b")])
    assert [event.data["line"] for event in await runtime.page("X1", 1, 10)] == ["a", "b"]


async def test_a_view_of_an_unknown_execution_is_not_found(runtime: Runtime) -> None:
    with pytest.raises(errors.ExecutionNotFound):
        await runtime.view("nope")


@pytest.mark.parametrize("store", ["postgres://x", "redis", "", "sqlite://", "sqlite:/x"])
def test_an_unknown_store_is_refused_with_the_forms(store: str) -> None:
    with pytest.raises(errors.InvalidSetting) as caught:
        open_log(MEMORY.model_copy(update={"store": store}))
    assert caught.value.hint is not None
    assert "sqlite:///" in caught.value.hint


@pytest.mark.parametrize("later", [False, True])
async def test_a_watch_that_the_store_refuses_ends_that_execution_alone(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch, later: bool
) -> None:
    """Found by reading: it ended the runtime, and with it all that ran there."""
    log, lost = MemoryLog(), list[Callable[[], None]]()
    watch = log.watch

    def watched(id_: str, after: int, listener: Listener, lost_: Lost) -> Callable[[], None]:
        lost.append(lost_)
        return watch(id_, after, listener, lost_)

    def refused(*_: object) -> None:
        raise errors.StoreBusy("10000 operations wait for the store")

    async with Runtime(MEMORY, flows=[endless], log=log, clock=clock) as runtime:
        other = await runtime.start("endless")
        await settle()
        monkeypatch.setattr(log, "watch", watched if later else refused)
        run = await runtime.start("endless")
        await settle()
        if later:
            monkeypatch.setattr(log, "watch", refused)
            lost[0]()
        state = await run.wait()
        assert (state.status, (state.error or {})["type"]) == ("failed", "store_busy")
        assert (await log.entry(other.id)).status == "running"


@pytest.mark.parametrize("how", ["completed", "running", "cancelling", "failed"])
async def test_an_execution_that_lost_its_first_events_can_be_seen(
    runtime: Runtime, how: str
) -> None:
    """Found by reading: one that retention had trimmed was an `illegal_transition` to who asked."""
    log, end = runtime.log, {"completed": "execution.completed", "failed": "execution.failed"}
    await begin(log)
    drafts = [
        Draft(type="execution.started", ts=TS, data={"worker": "w"}),
        Draft(type="node.started", ts=TS, node="a", data={}),
        Draft(type="node.completed", ts=TS, node="a", data={"duration_ms": 1}),
        Draft(type="node.started", ts=TS, node="b", data={}),
        Draft(type="execution.cancelling", ts=TS, data={"by": "me"}),
        line("between"),
        Draft(type="execution.progress", ts=TS, data={"percent": 50}),
        Draft(type="node.completed", ts=TS, node="b", data={"duration_ms": 1}),
    ]
    if how == "running":
        del drafts[4]
    if how in end:
        drafts.append(Draft(type=end[how], ts=TS, data={"total_duration_ms": 3}))
    await log.append("X1", drafts)
    whole = await runtime.view("X1")
    assert not whole.partial
    for floor in range(2, whole.head + 1):
        await log.trim("X1", floor)
        state = await runtime.view("X1")
        assert (state.status, state.head) == (how, whole.head)
        assert (state.kind, state.flow, state.workspace) == ("task", "f", "default")
        assert {n.id: n.status for n in state.nodes.values()}.items() <= {
            n.id: n.status for n in whole.nodes.values()
        }.items()
        assert "partial" not in state.to_dict()


async def test_a_view_that_retention_overtakes_is_one_of_what_is_left(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = runtime.log
    await begin(log)
    await log.append("X1", [Draft(type="execution.started", ts=TS, data={"worker": "w"})])
    await log.append("X1", [Draft(type="node.started", ts=TS, node="a", data={})])
    await log.append("X1", [Draft(type="node.completed", ts=TS, node="a", data={"duration_ms": 1})])
    await log.append("X1", [Draft(type="node.started", ts=TS, node="b", data={})])
    await log.append("X1", [Draft(type="node.completed", ts=TS, node="b", data={"duration_ms": 1})])
    monkeypatch.setattr(runtime.hub, "page", 3)
    read = log.read

    async def trimming(execution_id: str, after: int, limit: int) -> Sequence[Record]:
        found = await read(execution_id, after, limit)
        await log.trim(execution_id, 6)
        return found

    monkeypatch.setattr(log, "read", trimming)
    state = await runtime.view("X1")
    assert {node.id: node.status for node in state.nodes.values()} == {
        "a": "running",
        "b": "completed",
    }


def test_what_an_error_leaves_behind_of_a_follow_ends_in_silence() -> None:
    """Found on CI: asyncio closes all generators that are left at once, in no order of theirs."""
    said: list[dict[str, Any]] = []

    async def leave() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        async with MemoryLog() as log, Runtime(MEMORY, log=log) as runtime:
            await begin(log)
            async for _ in runtime.follow("X1"):
                raise KeyError

    for _ in range(30):
        with suppress(KeyError):
            anyio.run(leave)
    assert not said
