"""Places and rates: taken once, given back on every way out, counted for all processes of a store."""

from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any

import anyio
import pytest

from tailrace import Settings, Tailrace, task
from tailrace.clock import rfc3339
from tailrace.errors import (
    ExecutionFailed,
    Overloaded,
    RateLimited,
    StoreBusy,
    TooManyEvents,
    TooManyExecutions,
    TooManyStreams,
)
from tailrace.limits import RATES_MAX, SLACK_EVENTS, STREAM, Limits, Rate, is_full
from tailrace.log.facts import MemoryFacts
from tailrace.log.memory import MemoryLog
from tailrace.runtime import Runtime
from tailrace.testing import FakeClock
from tailrace.testing.clock import EPOCH, settle
from tailrace.testing.contract.tools import begin, line

Make = Callable[..., Limits]


@pytest.fixture
async def log() -> AsyncIterator[MemoryLog]:
    async with MemoryLog() as opened:
        yield opened


@pytest.fixture
async def make(log: MemoryLog, clock: FakeClock) -> AsyncIterator[Make]:
    """Limits of a process; each call is another process of the same store."""
    async with anyio.create_task_group() as tasks:

        def spawn(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
            tasks.start_soon(work)

        def made(**settings: Any) -> Limits:
            return Limits(log, clock, Settings(store="memory:", **settings), spawn)

        yield made
        tasks.cancel_scope.cancel()


def places(log: MemoryLog, clock: FakeClock) -> int:
    """How many are taken in the store, under all names; not the sweeper's own."""
    now, taken = rfc3339(clock.now()), log.facts._places.items()
    return sum(end > now for (kind, _), of in taken if kind != "sweeper" for end in of.values())


async def test_the_sixth_stream_of_a_workspace_is_refused_until_one_leaves(
    make: Make, log: MemoryLog, clock: FakeClock
) -> None:
    limits = make()
    leaves = [await limits.stream("w", credential=f"c{n}") for n in range(5)]
    with pytest.raises(TooManyStreams) as refused:
        await limits.stream("w", credential="c9")
    assert refused.value.details["retry_after_s"] == 5
    assert limits.held == places(log, clock) == 5  # a refusal holds nothing
    await limits.stream("another", credential="c9")
    leaves[2]()
    leaves[2]()  # leaving twice is leaving once
    await limits.stream("w", credential="c9")  # at once: it does not wait for the giving back
    with pytest.raises(TooManyStreams):
        await limits.stream("w", credential="c9")


async def test_without_a_limit_the_store_hears_nothing(
    make: Make, log: MemoryLog, clock: FakeClock
) -> None:
    limits = make()
    leave = await limits.stream("w", address="127.0.0.1")  # no credential: no access control
    assert (limits.held, places(log, clock)) == (0, 0)
    leave()
    assert limits.held == 0


async def test_each_limit_has_a_name_of_its_own(make: Make) -> None:
    async def opened(limits: Limits, **who: str) -> int:
        for number in range(20):
            try:
                await limits.stream(f"w{number}", **who)
            except (TooManyStreams, Overloaded):
                return number
        return 20

    assert await opened(make(streams_per_credential_max=3), credential="a") == 3
    assert await opened(make(streams_per_address_max=4), address="10.0.0.1") == 4
    assert await opened(make(streams_max=2)) == 2  # and this is the server's own: 503
    with pytest.raises(Overloaded):
        await make(streams_max=2).stream("w")


async def test_an_ipv6_address_stands_for_its_network(make: Make) -> None:
    limits = make(streams_per_address_max=1)
    await limits.stream("w", address="2001:db8:1:2::1")
    with pytest.raises(TooManyStreams):
        await limits.stream("w", address="2001:db8:1:2:ffff::9")
    await limits.stream("w", address="2001:db8:1:3::1")
    await limits.stream("w", address="::ffff:10.0.0.1")
    with pytest.raises(TooManyStreams):
        await limits.stream("w", address="10.0.0.1")


async def test_processes_of_a_store_count_together(make: Make, clock: FakeClock) -> None:
    one, other = make(streams_per_workspace_max=2), make(streams_per_workspace_max=2)
    await one.stream("w")
    leave = await other.stream("w")
    for limits in (one, other):
        with pytest.raises(TooManyStreams):
            await limits.stream("w")
    leave()
    await settle()
    await one.stream("w")


async def test_the_places_of_a_killed_process_are_over_with_its_lease(
    make: Make, log: MemoryLog, clock: FakeClock
) -> None:
    killed, living = make(streams_per_workspace_max=2), make(streams_per_workspace_max=2)
    await killed.stream("w")
    await living.stream("w")
    for _ in range(4):  # more than a lease, of which only one of them says that it lives
        await clock.advance(5.0)
        await living.keep()
    assert places(log, clock) == 1
    await living.stream("w")
    with pytest.raises(TooManyStreams):
        await living.stream("w")


async def test_who_was_stopped_for_long_counts_again(
    make: Make, log: MemoryLog, clock: FakeClock
) -> None:
    stopped, other = make(streams_per_workspace_max=1), make(streams_per_workspace_max=1)
    await stopped.stream("w")
    await clock.advance(60.0)
    await log.facts.sweep(now=rfc3339(clock.now()))
    leave = await other.stream("w")
    await stopped.keep()  # its stream is open still: both count
    leave()
    await settle()
    assert places(log, clock) == 1
    with pytest.raises(TooManyStreams):
        await other.stream("w")


async def test_an_ending_process_gives_all_back(
    make: Make, log: MemoryLog, clock: FakeClock
) -> None:
    limits = make(streams_per_workspace_max=2, executions_per_workspace_max=2)
    leave = await limits.stream("w")
    await limits.stream("w")
    await limits.execution("w")
    await limits.aclose()
    assert places(log, clock) == 0
    leave()  # a connection that is lost after the end finds nothing to do


async def test_a_store_that_fails_delays_the_giving_back_and_loses_none(
    make: Make, log: MemoryLog, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = make(streams_per_workspace_max=9)
    leaves = [await limits.stream("w") for _ in range(9)]

    async def busy(*_: object) -> None:
        raise StoreBusy

    with monkeypatch.context() as broken:
        broken.setattr(log.facts, "vacate", busy)
        for leave in leaves:
            leave()
        await settle()
        assert places(log, clock) == 9
    await limits.keep()
    assert (places(log, clock), limits.held) == (0, 0)


async def test_whoever_is_cancelled_while_asking_holds_nothing(
    make: Make, log: MemoryLog, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = make(streams_per_workspace_max=1)
    real = log.facts.occupy

    async def slow(*given: Any, **named: Any) -> str | None:
        found = await real(*given, **named)  # the store has it, and the answer is on its way
        await anyio.sleep_forever()
        return found

    monkeypatch.setattr(log.facts, "occupy", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(limits.stream, "w")
        await settle()
        assert places(log, clock) == 1
        tasks.cancel_scope.cancel()
    await settle()
    assert (places(log, clock), limits.held) == (0, 0)


async def test_a_rate_lets_a_seconds_worth_in_and_then_says_when(clock: FakeClock) -> None:
    rate = Rate(clock, 100)
    assert [rate.take("a", 50) for _ in range(3)][:2] == [0.0, 0.0]
    assert rate.take("b", 1) == 0.0
    wait = rate.take("a", 1)
    assert 0 < wait <= 0.5
    await clock.advance(wait + 0.001)
    assert rate.take("a", 1) == 0.0
    assert rate.take("c", 1000) == 0.0  # a batch comes in whole, and is paid off
    assert rate.take("c", 1) == pytest.approx(9.0)
    assert Rate(clock, 0).take("a", 10**9) == 0.0


async def test_over_time_a_rate_is_what_it_says(clock: FakeClock) -> None:
    rate, taken = Rate(clock, 100), 0
    for _ in range(1000):
        taken += 7 if rate.take("a", 7) == 0.0 else 0
        await clock.advance(0.01)
    assert 1000 <= taken <= 1000 + 100 + 7


async def test_names_of_rates_have_a_bound(clock: FakeClock) -> None:
    rate = Rate(clock, 1)
    for number in range(RATES_MAX + 100):
        rate.take(f"n{number}", 5)
    assert len(rate._free_at) <= RATES_MAX


async def test_ingest_is_limited_by_who_reports(make: Make, clock: FakeClock) -> None:
    limits = make(ingest_events_per_s=10)
    limits.ingest("engine", 10)
    with pytest.raises(RateLimited) as refused:
        limits.ingest("engine", 1)
    assert refused.value.details["retry_after_s"] == 1
    limits.ingest("another", 1)


def test_a_full_log_takes_its_end_and_what_ends_its_nodes() -> None:
    assert not is_full(0, 10**9, "log.line")
    assert not is_full(10, 9, "log.line")
    assert is_full(10, 10, "log.line")
    assert not is_full(10, 10, "node.failed")
    assert is_full(10, 10 + SLACK_EVENTS, "node.failed")
    assert not is_full(10, 10**9, "execution.failed")


async def test_events_from_outside_meet_the_same_limit(
    make: Make, log: MemoryLog, clock: FakeClock
) -> None:
    limits = make(events_per_execution_max=4)
    await begin(log)
    await limits.room("X1", (await log.entry("X1")).head, ["log.line"] * 3)
    with pytest.raises(TooManyEvents):
        await limits.room("X1", (await log.entry("X1")).head, ["log.line"] * 4)
    await log.append("X1", [line(n) for n in range(3)])
    for _ in range(2):
        with pytest.raises(TooManyEvents):
            await limits.room("X1", (await log.entry("X1")).head, ["log.line"])
    await limits.room("X1", (await log.entry("X1")).head, ["node.failed", "execution.failed"])
    told = [r.type for r in await log.read("X1", 0, 99) if r.type == "warning"]
    assert told == ["warning"]  # once


# --- in a runtime -------------------------------------------------------------------------------


async def test_an_execution_with_too_many_events_says_so_and_fails() -> None:
    @task
    async def chatty() -> Any:
        while True:
            yield "word "

    settings = Settings(store="memory:", events_per_execution_max=300)
    async with Tailrace(settings=settings, flows=[chatty]) as tailrace:
        run = await tailrace.start(chatty)
        with pytest.raises(ExecutionFailed):
            await run
        types = [event.type async for event in run.follow()]
        state = await run.wait()
    assert state.error is not None
    assert state.error["type"] == "too_many_events"
    assert types.count("warning") == 1
    assert len(types) <= 310
    assert types[-1] == "execution.failed"


async def test_a_workspace_runs_so_many_executions_at_once(clock: FakeClock) -> None:
    @task
    async def waits() -> str:
        await anyio.sleep_forever()
        return "never"

    settings = Settings(store="memory:", executions_per_workspace_max=2)
    async with Runtime(settings, flows=[waits], clock=clock) as runtime:
        runs = [await runtime.start(waits, idempotency_key=f"k{n}") for n in range(2)]
        with pytest.raises(TooManyExecutions):
            await runtime.start(waits)
        with pytest.raises(TooManyExecutions):
            await runtime.start(waits, idempotency_key="k3")
        # What was begun before is no second one.
        assert (await runtime.start(waits, idempotency_key="k1")).id == runs[1].id
        await runtime.start(waits, workspace="another")
        await runs[0].cancel()
        await runs[0].wait()
        third = await runtime.start(waits)
        assert third.id not in {run.id for run in runs}


async def test_the_runtime_keeps_places_and_gives_them_back(clock: FakeClock) -> None:
    log = MemoryLog()
    settings = Settings(store="memory:", streams_per_workspace_max=3)
    async with Runtime(settings, log=log, clock=clock) as runtime:
        leave = await runtime.limits.stream("w")
        await runtime.limits.stream("w")
        for _ in range(8):
            await clock.advance(settings.lease_s / 3)
        assert places(log, clock) == 2
        leave()
        await settle()
        assert places(log, clock) == 1
    assert places(log, clock) == 0


async def test_a_place_survives_no_longer_than_its_lease_says(
    make: Make, log: MemoryLog, clock: FakeClock
) -> None:
    await make(streams_per_workspace_max=1, lease_s=6.0).stream("w")
    ends = [end for holders in log.facts._places.values() for end in holders.values()]
    assert ends == [rfc3339(clock.now() + timedelta(seconds=6.0))]
    assert [kind for kind, _ in log.facts._places] == [STREAM]


async def test_places_that_are_over_leave_nothing_in_memory() -> None:
    facts = MemoryFacts()
    for number in range(10):
        now, until = rfc3339(EPOCH), rfc3339(EPOCH + timedelta(seconds=number))
        await facts.occupy("stream", {f"address {number}": 1}, "h", now=now, until=until)
    await facts.sweep(now=rfc3339(EPOCH + timedelta(minutes=1)))
    assert not facts._places
