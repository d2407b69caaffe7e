"""Many logs as one stream: each event once, whoever cuts it where; its bounds; its end."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace import many
from tailrace.errors import InvalidPosition, ShuttingDown
from tailrace.following import Follow, FollowMany
from tailrace.hub import Hub
from tailrace.log.memory import MemoryLog
from tailrace.many import Many, ManyWatcher
from tailrace.testing import FakeClock
from tailrace.testing.clock import settle
from tailrace.testing.contract.tools import begin, ended, line


@pytest.fixture
async def log() -> AsyncIterator[MemoryLog]:
    async with MemoryLog() as opened:
        yield opened


@pytest.fixture
def hub(log: MemoryLog, clock: FakeClock) -> Hub:
    return Hub(log, clock, page=3, ring=4)


async def test_one_that_begins_at_a_shutdown_ends(hub: Hub) -> None:
    """Found by reading: it had missed the signal, and waited for ever."""
    hub.close()
    with pytest.raises(ShuttingDown):
        await anext(FollowMany(hub, "default", (), None, live=True, choice={}))
    assert not hub.timed


async def test_no_more_logs_are_open_than_may(
    hub: Hub, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "AT_ONCE", 5)
    watcher, counts = ManyWatcher(hub, "default"), [0]
    await watcher.start((), None)
    real = hub.open

    async def slowly(*arguments: Any, **options: Any) -> Any:
        await settle(3)
        return await real(*arguments, **options)

    async def come() -> None:
        for number in range(40):
            await begin(log, f"X{number}")
            await settle(1)

    monkeypatch.setattr(hub, "open", slowly)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(come)
        for _ in range(20):
            await watcher.read()
            counts.append(watcher.count)
            await settle(2)
    assert max(counts) == 5
    with pytest.raises(InvalidPosition):
        Many.parse("9" + "".join(f"_{number}.1.abcd" for number in range(6)))
    watcher.close()


async def test_where_all_that_came_are_gone_the_next_ones_are_heard_of(
    hub: Hub, log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "AT_ONCE", 3)
    watcher = ManyWatcher(hub, "default")
    await watcher.start((), None)
    for name in ("X1", "X2", "X3"):
        await begin(log, name)
        await log.append(name, [ended()])
    await settle()
    for name in ("X1", "X2", "X3"):
        await log.remove(name)
    assert await watcher.read() is None
    assert [(gap.from_, gap.to) for _, gap in watcher.gaps()] == [(1, 1), (2, 2), (3, 3)]
    await begin(log, "X4")
    await settle()
    piece = await watcher.read()
    assert piece is not None
    assert piece.entry.execution_id == "X4"
    watcher.close()


async def test_a_position_in_all_logs_is_one_in_some_of_them(hub: Hub, log: MemoryLog) -> None:
    """Found by reading: what had not begun when it was noted was taken for done with."""
    for name in ("X1", "X2", "X3"):
        await begin(log, name)
    await log.append("X1", [ended()])
    place = "2_2.0." + (await log.entry("X2")).epoch[:4]
    follow = FollowMany(hub, "default", ("X1", "X2", "X3"), place, live=False, choice={})
    assert [event.execution_id async for event in follow] == ["X2", "X3"]
    done = FollowMany(hub, "default", ("X1",), "0", live=False, choice={})
    assert [event async for event in done] == []


async def test_who_stops_before_the_first_event_goes_on_from_there(
    hub: Hub, log: MemoryLog
) -> None:
    await begin(log, "X1")
    first = Follow(hub, "X1", None, live=False, choice={"tail": 0})
    assert [event async for event in first] == []
    await log.append("X1", [line(), ended()])
    rest = Follow(hub, "X1", first.position, live=False, choice={"tail": 0})
    assert [event.id async for event in rest] == [2, 3]
    many_ = FollowMany(hub, "default", (), None, live=False, choice={})
    assert [event async for event in many_] == []
    await begin(log, "X2")
    await log.append("X2", [ended()])
    others = FollowMany(hub, "default", (), many_.position, live=False, choice={})
    assert [event.id async for event in others] == [1, 2]


STEP = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, 1)),
    st.tuples(st.just("append"), st.integers(0, 30)),
    st.tuples(st.just("end"), st.integers(0, 30)),
    st.tuples(st.just("trim"), st.integers(0, 30)),
    st.tuples(st.just("remove"), st.integers(0, 30)),
    st.tuples(st.just("read"), st.integers(1, 4)),
    st.tuples(st.just("cut"), st.integers(0, 9)),
    st.tuples(st.just("turn"), st.integers(0, 3)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=80))
def test_each_event_comes_once_or_is_said_to_be_missing(steps: Sequence[tuple[str, int]]) -> None:
    """Against a plain list: logs come, grow, end, and are trimmed and removed; readers are cut."""
    before, many.AT_ONCE = many.AT_ONCE, 3
    try:
        anyio.run(_Model().run, steps)
    finally:
        many.AT_ONCE = before


class _Model:
    """What there is, and what one reader was told of it across its connections."""

    def __init__(self) -> None:
        self.heads: dict[str, int] = {}
        self.ended: set[str] = set()
        self.removed: set[str] = set()
        self.came: dict[str, list[int]] = {}
        self.missing: dict[str, set[int]] = {}
        self.gone: set[int] = set()  # numbers of logs
        self.position: str | None = None

    async def run(self, steps: Sequence[tuple[str, int]]) -> None:
        async with MemoryLog() as self.log:
            self.hub = Hub(self.log, FakeClock(), page=3, ring=2)
            await self.connect()
            for kind, number in steps:
                await getattr(self, kind)(number)
            await self.drain()
            self.check()
            self.watcher.close()
            assert self.hub.watching == 0
            assert not self.hub.timed
            assert not self.hub.pages

    async def connect(self) -> None:
        self.watcher = ManyWatcher(self.hub, "default")
        await self.watcher.start((), None if self.position is None else Many.parse(self.position))
        self.position = self.position or self.watcher.position()

    async def begin(self, other: int) -> None:
        number = await self.log.newest() + 1
        if other:
            await begin(self.log, f"X{number}", workspace="other")
            return
        await begin(self.log, f"X{number}")
        self.heads[f"X{number}"] = 1

    def pick(self, number: int, *, ended: bool) -> str | None:
        found = [n for n in self.heads if (n in self.ended) == ended and n not in self.removed]
        return found[number % len(found)] if found else None

    async def append(self, number: int) -> None:
        if name := self.pick(number, ended=False):
            count = number % 5 + 1
            await self.log.append(name, [line() for _ in range(count)])
            self.heads[name] += count

    async def end(self, number: int) -> None:
        if name := self.pick(number, ended=False):
            await self.log.append(name, [ended()])
            self.heads[name] += 1
            self.ended.add(name)

    async def trim(self, number: int) -> None:
        if name := self.pick(number, ended=number % 2 == 0):
            await self.log.trim(name, number)

    async def remove(self, number: int) -> None:
        if name := self.pick(number, ended=True):
            entry = await self.log.entry(name)
            facts, removed = self.log.facts, many.REMOVED
            last = int(await facts.get(removed, "default", now="") or 0)
            if entry.number > last:  # as retention notes it
                await facts.put(removed, "default", str(entry.number), now="")
            await self.log.remove(name)
            self.removed.add(name)

    async def read(self, count: int) -> None:
        for _ in range(count):
            piece = await self.watcher.read()
            self.hear_gaps()
            if piece is None:
                return
            for record in piece.batch.records:
                self.came.setdefault(piece.entry.execution_id, []).append(record.seq)
                self.position = piece.position(record.seq)

    def hear_gaps(self) -> None:
        for name, gap in self.watcher.gaps():
            assert gap.cause == "retention"
            if name:
                self.missing.setdefault(name, set()).update(range(gap.from_, gap.to + 1))
            else:
                self.gone |= set(range(gap.from_, gap.to + 1))

    async def cut(self, within: int) -> None:
        """Cut within a piece: what was read of it up to there counts."""
        piece = await self.watcher.read()
        self.hear_gaps()
        if piece is not None:
            for record in piece.batch.records[: within % 4]:
                self.came.setdefault(piece.entry.execution_id, []).append(record.seq)
                self.position = piece.position(record.seq)
        self.watcher.close()
        await self.connect()

    async def turn(self, turns: int) -> None:
        await settle(turns)

    async def drain(self) -> None:
        quiet = 0
        while quiet < 3:
            before = self.position
            await settle(5)
            await self.read(1)
            quiet = quiet + 1 if self.position == before else 0
        for name in [name for name in self.heads if name not in self.ended]:
            await self.log.append(name, [ended()])
            self.heads[name] += 1
            self.ended.add(name)
            for _ in range(5):
                await settle(5)
                await self.read(50)

    def check(self) -> None:
        for name, head in self.heads.items():
            came, missing = self.came.get(name, []), self.missing.get(name, set())
            assert came == sorted(set(came)), (name, came)
            if int(name[1:]) not in self.gone:
                assert {*came, *missing} == set(range(1, head + 1)), (name, came, missing, head)
