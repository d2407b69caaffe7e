"""What is removed and trimmed, when, and how those who watch learn of it."""

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from unittest.mock import AsyncMock

import anyio
import pytest

from tailrace import Settings, Tailrace, events, task
from tailrace.clock import rfc3339
from tailrace.errors import ExecutionNotFound, ExecutionRunning, InvalidSetting, LogSealed
from tailrace.events import Draft
from tailrace.log.base import Entry, Opening
from tailrace.log.memory import MemoryLog
from tailrace.many import Many, ManyWatcher
from tailrace.retention import EVERY_S, GRACE_S, TURN_LOGS, Retention, limit_of
from tailrace.runtime import Runtime
from tailrace.testing import FakeClock
from tailrace.testing.clock import settle


@pytest.fixture
async def log() -> AsyncIterator[MemoryLog]:
    async with MemoryLog() as opened:
        yield opened


class Store:
    """A log with executions in it, and time."""

    def __init__(self, log: MemoryLog, clock: FakeClock) -> None:
        self.log, self.clock = log, clock

    def retention(self, **settings: object) -> Retention:
        made = Settings.model_validate({"store": "memory:"} | settings)
        return Retention(self.log, self.clock, made)

    def draft(self, type_: str, **data: object) -> Draft:
        return Draft(type=type_, ts=rfc3339(self.clock.now()), data=data)

    async def begin(
        self, name: str, kind: str = "task", *, ephemeral: bool = False, workspace: str = "default"
    ) -> None:
        opening = Opening(
            execution_id=name,
            kind=kind,
            flow="f",
            workspace=workspace,
            lease_until="2100",
            ephemeral=ephemeral,
        )
        await self.log.create(opening, [self.draft("execution.queued", kind=kind, flow="f")])

    async def say(self, name: str, count: int = 1, text: str = "hello") -> None:
        await self.log.append(name, [self.draft("log.line", line=text) for _ in range(count)])

    async def end(self, name: str) -> None:
        await self.log.append(name, [self.draft("execution.completed", total_duration_ms=1)])

    async def ran(self, name: str, kind: str = "task", *, ephemeral: bool = False) -> None:
        await self.begin(name, kind, ephemeral=ephemeral)
        await self.end(name)

    async def names(self) -> Sequence[str]:
        return [entry.execution_id for entry in await self.log.entries("default", limit=999)]

    def pass_(self, seconds: float) -> None:
        self.clock._elapsed += seconds


@pytest.fixture
def store(log: MemoryLog, clock: FakeClock) -> Store:
    return Store(log, clock)


def test_a_limit_is_said_for_all_kinds_and_for_one() -> None:
    assert limit_of("", "task") is None
    assert limit_of("60", "task") == 60
    assert limit_of("60, workload=5.5,agent=none", "workload") == 5.5
    assert limit_of("60,workload=5.5,agent=none", "agent") is None
    assert limit_of("agent=7", "task") is None
    assert Settings(retention_count=100).retention_count == "100"
    with pytest.raises(InvalidSetting, match="robot"):
        Runtime(Settings(store="memory:", retention_age_s="robot=5"))


@pytest.mark.parametrize("text", ["-1", "x", "task=", "1;2", "1 2", "1,"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="pattern"):
        Settings(retention_age_s=text)


async def test_nothing_is_removed_by_default(store: Store) -> None:
    await store.ran("X1")
    store.pass_(10**8)
    assert not await store.retention().turn()
    assert await store.names() == ["X1"]


async def test_by_age_and_kind(store: Store) -> None:
    await store.ran("a1", "agent")
    await store.ran("t1", "task")
    store.pass_(50)
    await store.ran("t2", "task")
    retention = store.retention(retention_age_s="100,agent=none")
    store.pass_(60)
    await retention.turn()
    assert await store.names() == ["t2", "a1"]
    assert retention.removed == {("task", "age"): 1}


async def test_an_ephemeral_one_goes_five_minutes_after_its_end(store: Store) -> None:
    retention = store.retention()
    await store.begin("X1", ephemeral=True)
    store.pass_(1000)
    await retention.turn()
    assert await store.names() == ["X1"]  # it runs
    await store.end("X1")
    store.pass_(299)
    await retention.turn()
    assert await store.names() == ["X1"]
    store.pass_(1)
    await retention.turn()
    assert await store.names() == []
    assert retention.removed == {("task", "ephemeral"): 1}


async def test_by_count_the_oldest_ends_go_first_but_none_that_has_just_ended(store: Store) -> None:
    for number in range(4):
        await store.ran(f"X{number}")
        store.pass_(GRACE_S / 4)
    retention = store.retention(retention_count="1")
    await retention.turn()
    assert await store.names() == ["X3", "X2", "X1"]  # only X0 has ended so long ago
    store.pass_(GRACE_S)
    await retention.turn()
    assert await store.names() == ["X3"]


async def test_by_bytes(store: Store) -> None:
    for name in ("X1", "X2", "X3"):
        await store.begin(name)
        await store.say(name, text="x" * 1000)
        await store.end(name)
    store.pass_(GRACE_S)
    retention = store.retention(retention_bytes="3000")
    await retention.turn()
    assert await store.names() == ["X3", "X2"]
    assert retention.removed == {("task", "bytes"): 1}


async def test_a_turn_is_bounded_and_says_that_there_is_more(store: Store) -> None:
    for number in range(TURN_LOGS + 5):
        await store.ran(f"X{number}")
    store.pass_(100)
    retention = store.retention(retention_age_s="10")
    assert await retention.turn()
    assert len(await store.names()) == 5
    assert not await retention.turn()
    assert await store.names() == []


async def test_a_running_one_is_trimmed_and_shows_its_floor(store: Store) -> None:
    await store.begin("X1")
    await store.say("X1", 100, text="x" * 1000)
    retention = store.retention(retention_running_bytes="50000")
    await retention.turn()
    entry = await store.log.entry("X1")
    assert 40_000 < entry.bytes <= 45_000
    assert entry.floor > 50
    assert retention.trimmed == entry.floor - 1
    await retention.turn()
    assert await store.log.entry("X1") == entry  # it fits now


async def test_a_large_running_one_is_trimmed_in_bounded_turns(store: Store) -> None:
    await store.begin("X1")
    await store.say("X1", 9000, text="x" * 1000)
    retention = store.retention(retention_running_bytes="50000")
    turns = 1
    while await retention.turn():
        turns += 1
    entry = await store.log.entry("X1")
    assert turns > 1
    assert entry.bytes <= 50_000
    assert entry.head == 9001


async def test_a_large_one_that_is_gone_meanwhile_stops_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("X1", "X2"):
        await store.begin(name)
        await store.say(name, 100, text="x" * 1000)
    found = await store.log.large("task", 50_000)
    await store.end("X1")
    await store.log.remove("X1")

    async def large(kind: str, above: int) -> Sequence[Entry]:
        return found if kind == "task" else []

    monkeypatch.setattr(store.log, "large", large)
    await store.retention(retention_running_bytes="50000").turn()
    assert (await store.log.entry("X2")).bytes <= 50_000


async def test_one_that_has_lost_its_end_stays(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover took it, after it was listed as ended."""
    await store.ran("X1")
    refused = AsyncMock(side_effect=ExecutionRunning)
    monkeypatch.setattr(store.log, "remove", refused)
    store.pass_(100)
    await store.retention(retention_age_s="1").turn()
    refused.assert_awaited_once()
    assert await store.names() == ["X1"]


async def test_of_two_processes_one_does_it(store: Store) -> None:
    first, second = store.retention(retention_age_s="1"), store.retention(retention_age_s="1")
    await first.turn()
    await store.ran("X1")
    store.pass_(5)
    assert not await second.turn()
    assert await store.names() == ["X1"]
    store.pass_(3 * EVERY_S)  # the first is gone, without a word
    await second.turn()
    assert await store.names() == []


async def test_what_is_over_is_swept_with_it(store: Store) -> None:
    now = rfc3339(store.clock.now())
    until = rfc3339(store.clock.now() + timedelta(seconds=5))
    await store.log.facts.put("ticket", "t", "x", now=now, until=until)
    store.pass_(6)
    await store.retention().turn()
    assert ("ticket", "t") not in store.log.facts._facts


# --- those who watch ----------------------------------------------------------------------------


async def test_who_has_not_read_all_is_told_and_ended(store: Store) -> None:
    async with Runtime(Settings(store="memory:", page_events=2), log=store.log) as runtime:
        await store.begin("X1")
        await store.say("X1", 9)
        await store.end("X1")
        follow = runtime.follow("X1")
        assert [(await anext(follow)).id for _ in range(2)] == [1, 2]
        await store.log.remove("X1")
        rest = [event async for event in follow]
    assert [(event.type, dict(event.data)) for event in rest] == [
        ("stream.gap", {"from": 3, "to": 11, "cause": "retention"})
    ]


async def test_who_had_not_heard_of_the_end_is_told_too(store: Store) -> None:
    """A process that stood still while another one ended and removed the execution."""
    async with Runtime(Settings(store="memory:"), log=store.log) as runtime:
        await store.begin("X1")
        found: list[str] = []

        async def watch() -> None:
            found.extend([event.type async for event in runtime.follow("X1")])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            await settle()
            runtime.hub._tails["X1"].push([])
            del store.log._logs["X1"]
    assert found == ["execution.queued", "stream.gap"]


async def test_work_whose_log_was_removed_stops(store: Store) -> None:
    @task
    async def forever() -> None:
        await anyio.sleep_forever()

    async with Tailrace(settings=Settings(store="memory:"), flows=[forever]) as tailrace:
        run = await tailrace.start(forever)
        await settle()
        lost = events.ExecutionLost(reason="r")
        await tailrace.log.append(run.id, [events.draft(lost, tailrace.clock.now())])
        await tailrace.log.remove(run.id)
        with pytest.raises(ExecutionNotFound):
            await run.wait()
        assert not tailrace.running


async def test_a_stream_of_many_is_told_of_what_it_missed(store: Store) -> None:
    retention = store.retention(retention_age_s="10")
    await store.begin("X1")
    async with Runtime(Settings(store="memory:"), log=store.log) as runtime:
        await store.end("X1")
        await store.ran("X2")
        await store.begin("X3")
        store.pass_(20)
        await retention.turn()
        assert await store.names() == ["X3"]
        epoch = "abcd"
        watcher = ManyWatcher(runtime.hub, "default", lifetime_s=10)
        await watcher.start([], Many(1, {1: (1, epoch)}))
        said = [(name, gap.from_, gap.to, gap.cause) for name, gap in watcher.gaps()]
        await settle()
        await watcher.read()
        assert watcher.position().startswith("3_3.1.")
        watcher.close()
    assert said == [("", 2, 2, "retention"), ("", 1, 1, "retention")]


async def test_a_position_beyond_what_was_ever_there_is_lost(store: Store) -> None:
    async with Runtime(Settings(store="memory:"), log=store.log) as runtime:
        await store.ran("X1")
        await store.log.remove("X1")
        for upto, gaps in ((1, 0), (2, 1)):
            watcher = ManyWatcher(runtime.hub, "default", lifetime_s=10)
            await watcher.start([], Many(upto, {}))
            assert len(watcher.gaps()) == gaps
            watcher.close()


async def test_ephemeral_is_said_at_the_start_and_the_runtime_keeps_the_rule(
    clock: FakeClock,
) -> None:
    @task
    async def short() -> str:
        return "done"

    settings = Settings(store="memory:", ephemeral_s=30)
    async with Runtime(settings, flows=[short], clock=clock) as runtime:
        brief = await runtime.start(short, ephemeral=True)
        kept = await runtime.start(short)
        assert await brief.result() == await kept.result() == "done"
        assert (await runtime.log.read(brief.id, 0, 1))[0].event().data["ephemeral"] is True
        assert "ephemeral" not in (await runtime.log.read(kept.id, 0, 1))[0].event().data
        await settle()
        for _ in range(4):
            await clock.advance(EVERY_S)
        with pytest.raises(ExecutionNotFound):
            await runtime.log.entry(brief.id)
        with pytest.raises(LogSealed):
            await runtime.log.append(kept.id, [Draft(type="log.line", ts="t", data={})])
