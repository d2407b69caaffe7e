"""Watchers on a hub: wake-ups, the hot tail, the store behind it, time and closing."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.batch import Batch
from tailrace.errors import ExecutionNotFound, StoreBusy
from tailrace.events import Record
from tailrace.hub import Hub
from tailrace.log.base import EventLog
from tailrace.log.memory import MemoryLog
from tailrace.positions import Position
from tailrace.signals import Signal
from tailrace.tail import PAGES
from tailrace.testing import FakeClock
from tailrace.testing.clock import settle
from tailrace.testing.contract.tools import begin, ended, line, seqs
from tailrace.watcher import Watcher


@pytest.fixture
async def log() -> AsyncIterator[MemoryLog]:
    async with MemoryLog() as opened:
        yield opened


@pytest.fixture
def hub(log: MemoryLog, clock: FakeClock) -> Hub:
    return Hub(log, clock, page=100, ring=8)


async def take(watcher: Watcher, seq: int) -> list[int]:
    """Read and wait until a sequence was taken, as a stream does."""
    taken: list[int] = []
    while not taken or taken[-1] < seq:
        batch = await watcher.read()
        taken += seqs(batch.records)
        if not batch.records:
            await watcher.wait()
    return taken


async def test_a_watcher_replays_then_follows_in_one_loop(hub: Hub, log: EventLog) -> None:
    await begin(log)
    await log.append("X1", [line(n) for n in range(2, 6)])
    async with hub.watch("X1") as watcher:
        assert await take(watcher, 5) == [1, 2, 3, 4, 5]
        await log.append("X1", [line(6)])
        assert await take(watcher, 6) == [6]


async def test_watchers_at_one_position_share_the_encoded_batch(hub: Hub, log: EventLog) -> None:
    await begin(log)
    async with hub.watch("X1", Position(1)) as first, hub.watch("X1", Position(1)) as second:
        await log.append("X1", [line("a"), line("b")])
        await first.wait()
        one, two = await first.read(), await second.read()
        assert one is two
        assert one.sse is two.sse
        assert one.sse.count(b"\n\n") == 2


async def test_all_that_came_since_is_one_batch(hub: Hub, log: EventLog) -> None:
    await begin(log)
    async with hub.watch("X1", Position(1)) as watcher:
        for number in range(5):
            await log.append("X1", [line(number)])
        await settle()
        assert seqs((await watcher.read()).records) == [2, 3, 4, 5, 6]


async def test_a_watcher_behind_the_ring_reads_the_store(hub: Hub, log: EventLog) -> None:
    await begin(log)
    async with hub.watch("X1", Position(1)) as slow:
        for number in range(100):
            await log.append("X1", [line(number)])
        await settle()
        assert await take(slow, 101) == list(range(2, 102))


async def test_a_slow_watcher_that_retention_overtook_is_told(hub: Hub, log: EventLog) -> None:
    await begin(log)
    async with hub.watch("X1", Position(1)) as slow:
        for number in range(100):
            await log.append("X1", [line(number)])
        await settle()
        await log.trim("X1", 50)
        batch = await slow.read()
        assert batch.gap is not None
        assert (batch.gap.from_, batch.gap.to, batch.gap.cause) == (2, 49, "retention")
        assert seqs(batch.records)[0] == 50


async def test_the_last_batch_says_that_it_is(hub: Hub, log: EventLog) -> None:
    await begin(log)
    async with hub.watch("X1") as watcher:
        assert not (await watcher.read()).ended
        await log.append("X1", [line(), ended()])
        await watcher.wait()
        assert (await watcher.read()).ended


async def test_a_finished_execution_is_not_watched(hub: Hub, log: EventLog) -> None:
    await begin(log)
    await log.append("X1", [ended()])
    async with hub.watch("X1") as watcher:
        assert (await watcher.read()).ended
    async with hub.watch("X1", Position(2)) as watcher:
        assert watcher.opening.nothing_left


async def test_an_unknown_execution_cannot_be_watched(hub: Hub) -> None:
    with pytest.raises(ExecutionNotFound):
        async with hub.watch("nope"):
            pass


async def test_leaving_leaves_nothing(hub: Hub, log: MemoryLog) -> None:
    await begin(log)
    for _ in range(1000):
        with pytest.raises(RuntimeError):
            async with hub.watch("X1"), hub.watch("X1"):
                raise RuntimeError("the client was cut off")
    assert hub.watching == 0
    assert not hub._tails
    assert not log._logs["X1"].watches


async def test_silence_wakes_a_watcher_for_its_heartbeat(log: EventLog, clock: FakeClock) -> None:
    hub = Hub(log, clock, heartbeat_s=15)
    await begin(log)
    signals: list[tuple[float, Signal]] = []

    async def idle(watcher: Watcher) -> None:
        while len(signals) < 3:
            await watcher.read()
            signal = await watcher.wait()
            signals.append((clock.monotonic(), signal))

    async with anyio.create_task_group() as tasks, hub.watch("X1", Position(1)) as watcher:
        tasks.start_soon(hub.run)
        tasks.start_soon(idle, watcher)
        await clock.advance(20)
        await log.append("X1", [line()])
        await clock.advance(20)
        tasks.cancel_scope.cancel()
    assert signals == [(15, Signal.IDLE), (20, Signal.DATA), (35, Signal.IDLE)]


async def test_a_lifetime_ends_within_its_jitter(log: EventLog, clock: FakeClock) -> None:
    hub = Hub(log, clock, heartbeat_s=15)
    await begin(log)
    ends: list[float] = []

    async def live() -> None:
        watcher = await hub.open("X1", Position(1), lifetime_s=1800)
        while await watcher.wait() is not Signal.EXPIRED:
            pass
        ends.append(clock.monotonic())
        watcher.close()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        for _ in range(50):
            tasks.start_soon(live)
        await clock.advance(1900)
        tasks.cancel_scope.cancel()
    assert len(ends) == 50
    assert min(ends) >= 1440
    assert max(ends) <= 1801
    assert len(set(ends)) > 10  # they do not all end at once


async def test_closing_wakes_everybody_now_and_later(hub: Hub, log: EventLog) -> None:
    await begin(log)
    async with hub.watch("X1", Position(1)) as waiting, anyio.create_task_group() as tasks:
        tasks.start_soon(settle)
        tasks.start_soon(waiting.wait)
        await settle()
        hub.close()
        assert await waiting.wait() is Signal.CLOSING
        async with hub.watch("X1", Position(1)) as late:
            assert await late.wait() is Signal.CLOSING


async def test_a_watcher_that_left_stays_gone(hub: Hub, log: EventLog) -> None:
    await begin(log)
    async with hub.watch("X1", Position(1)) as watcher:
        watcher.wake(Signal.GONE)
        watcher.wake(Signal.DATA)
        watcher.wake(Signal.EXPIRED)
        assert await watcher.wait() is Signal.GONE


async def test_a_cancelled_wait_leaves_the_watcher_usable(hub: Hub, log: EventLog) -> None:
    await begin(log)
    async with hub.watch("X1", Position(1)) as watcher:
        with anyio.move_on_after(0):
            await watcher.wait()
        await log.append("X1", [line()])
        assert await take(watcher, 2) == [2]


async def test_a_watch_that_the_store_refuses_leaves_no_tail(
    hub: Hub, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: who came next shared a tail that nothing was ever pushed to."""
    await begin(log)

    def refused(*_: object) -> None:
        raise StoreBusy("10000 operations wait for the store")

    with monkeypatch.context() as busy:
        busy.setattr(log, "watch", refused)
        with pytest.raises(StoreBusy):
            await hub.open("X1")
    async with hub.watch("X1", Position(1)) as watcher:
        await log.append("X1", [line()])
        await settle()
        assert seqs((await watcher.read()).records) == [2]


@pytest.mark.parametrize("told", [True, False])  # sealed when it was opened: then nobody tells
async def test_another_log_of_the_same_name_is_not_taken_for_the_first(
    hub: Hub, log: MemoryLog, told: bool
) -> None:
    """An idempotency key names an execution; when that is removed, the same again makes another."""
    await begin(log)
    await log.append("X1", [line(n) for n in range(9)])
    early = await hub.open("X1") if told else None
    await log.append("X1", [ended()])
    slow = early or await hub.open("X1")
    await settle()
    await log.remove("X1")
    await begin(log)
    await settle()
    with anyio.fail_after(5):
        async with hub.watch("X1") as fresh:
            assert await take(fresh, 1) == [1]
            await log.append("X1", [line("of the second"), ended()])
            assert await take(fresh, 3) == [2, 3]
        batch = await slow.read()
        if told:
            assert batch.gap is not None
            assert (batch.gap.from_, batch.gap.to) == (1, 11)
            assert batch.ended
        else:
            assert not batch.records
            assert await slow.wait() is Signal.LOST
    slow.close()
    assert not hub._tails
    assert not hub.pages


async def test_a_page_that_comes_after_its_watcher_left_is_not_kept(
    hub: Hub, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(log)
    real, gate = log.read, anyio.Event()

    async def slowly(*arguments: Any) -> Any:
        await gate.wait()
        return await real(*arguments)

    monkeypatch.setattr(log, "read", slowly)
    watcher = await hub.open("X1")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.fetch)
        await settle()
        watcher.close()
        gate.set()
    assert not hub.pages


async def test_a_store_that_went_back_ends_the_streams(hub: Hub, log: MemoryLog) -> None:
    """Found by reading: an empty page was kept, and who took it from there began anew at 1."""
    await begin(log)
    await log.append("X1", [line()])
    async with hub.watch("X1") as one, hub.watch("X1") as other:
        await take(one, 2)
        await take(other, 2)
        one._tail.head = 3  # it heard of an event that is not there any more
        assert not (await one.read()).records
        assert not (await other.read()).records
        assert (one.position, other.position) == (2, 2)
        assert await one.wait() is Signal.LOST
        assert await other.wait() is Signal.LOST


async def test_batches_that_a_quiet_tail_keeps_have_a_bound(
    log: MemoryLog, clock: FakeClock
) -> None:
    hub = Hub(log, clock, page=500)
    await begin(log)
    watchers = [await hub.open("X1", Position(1))]
    for number in range(3 * PAGES):
        await log.append("X1", [line(number)])
        await settle(2)
        watchers.append(await hub.open("X1", Position(number + 2)))
    for watcher in watchers:
        await watcher.read()
    assert len(watchers[0]._tail._batches) <= PAGES
    for watcher in watchers:
        watcher.close()


def test_an_empty_batch_has_no_end() -> None:
    assert not Batch(()).ended
    assert Batch(()).sse == b""


STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 6)),
    st.tuples(st.just("join"), st.integers(0, 40)),
    st.tuples(st.just("read"), st.integers(0, 9)),
    st.tuples(st.just("leave"), st.integers(0, 9)),
    st.tuples(st.just("turn"), st.integers(0, 3)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=60))
def test_every_watcher_gets_each_event_once_in_order(
    steps: Sequence[tuple[str, int]],
) -> None:
    """Watchers that join anywhere, read when they like, leave and resume at their position."""
    anyio.run(_interleave, steps)


async def _interleave(steps: Sequence[tuple[str, int]]) -> None:
    async with MemoryLog() as log, anyio.create_task_group():
        hub = Hub(log, FakeClock(), page=5, ring=4)
        await begin(log)
        head = 1
        got: list[list[Record]] = []
        starts: list[int] = []
        for kind, number in steps:
            if kind == "append":
                await log.append("X1", [line(n) for n in range(number)])
                head += number
            elif kind == "join":
                starts.append(min(number, head))
                got.append([])
            elif kind == "turn":
                await settle(number)
            elif got:
                who = number % len(got)
                await _resume(hub, got[who], starts[who])
        for records, start in zip(got, starts, strict=True):
            while start + len(records) < head:
                await _resume(hub, records, start)
            assert seqs(records) == list(range(start + 1, head + 1))


async def _resume(hub: Hub, records: list[Record], start: int) -> None:
    """One connection: from where the last one ended, one batch, then cut."""
    position = Position(records[-1].seq if records else start)
    async with hub.watch("X1", position) as watcher:
        await settle(1)
        records += (await watcher.read()).records
