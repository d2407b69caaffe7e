"""What the index may be asked: which logs there are, how they stand, how large, and whose.

The law of this file: what the index says of a log follows from that log's events and lease.
"""

from typing import Any

from tailrace.errors import ExecutionNotFound
from tailrace.events import Draft
from tailrace.log.base import Kept, Opening
from tailrace.testing.contract.bench import Bench, check
from tailrace.testing.contract.tools import TS, at, begin, ended, line, queued, read_all, refuses


@check
async def the_index_follows_the_log(bench: Bench) -> None:
    """Head, status and times are those of the events."""
    log = await bench.log()
    await begin(log, workspace="w")
    before = await log.entry("X1")
    assert (before.workspace, before.kind, before.flow, before.created_at) == ("w", "task", "f", TS)
    assert (before.status, before.sealed, before.floor) == ("queued", False, 1)
    later = TS.replace("00:00:00", "01:00:00")
    started = Draft(type="execution.started", ts=later, data={"worker": "w"})
    await log.append("X1", [started, line()])
    await log.append("X1", [Draft(type="execution.progress", ts=later, data={"percent": 5})])
    after = await log.entry("X1")
    assert (after.status, after.head, after.epoch) == ("running", 4, before.epoch)
    await log.append("X1", [Draft(type="execution.cancelling", ts=later, data={"by": "me"})])
    entry = await log.entry("X1")
    assert (entry.status, entry.updated_at) == ("cancelling", later)


@check
async def the_index_knows_the_sizes(bench: Bench) -> None:
    """Of the events that are held, and of what was put aside; trimming gives bytes back."""
    log = await bench.log()
    await begin(log)
    draft = line("see aside")
    draft.aside = {"d1": b"x" * 1000}
    await log.append("X1", [draft])
    await log.append("X1", [line(n) for n in range(3, 8)])
    for floor in (1, 4):
        await log.trim("X1", floor)
        entry = await log.entry("X1")
        assert entry.bytes == sum([len(record.tail) for record in await read_all(log, "X1")])
        assert entry.size == entry.bytes + 1000
    assert await (await bench.reopen()).entry("X1") == entry


@check
async def lists_are_newest_first_by_pages(bench: Bench) -> None:
    """One workspace at a time; the cursor is the last id; the status filters."""
    log = await bench.log()
    for number in range(5):
        await begin(log, f"X{number}")
    await begin(log, "Y", workspace="other")
    await log.append("X3", [ended()])
    await log.append("X1", [ended()])

    async def ids(**query: Any) -> list[str]:
        found = await log.entries(query.pop("workspace", "default"), **query)
        return [entry.execution_id for entry in found]

    assert await ids(limit=2) == ["X4", "X3"]
    assert await ids(limit=9, before="X3") == ["X2", "X1", "X0"]
    assert await ids(limit=9, status_events=["execution.completed"]) == ["X3", "X1"]
    both = ["execution.queued", "execution.completed"]
    assert await ids(limit=3, status_events=both) == ["X4", "X3", "X2"]
    assert await ids(limit=9, workspace="other") == ["Y"]
    assert await ids(limit=9, workspace="nobody") == []
    await refuses(ExecutionNotFound, log.entries("default", limit=9, before="nope"))


@check
async def the_unfinished_are_listed_oldest_first(bench: Bench) -> None:
    """Of one workspace, in the order of their numbers, until their ends."""
    log = await bench.log()
    for number in range(4):
        await begin(log, f"X{number}")
    await begin(log, "Y", workspace="other")
    await log.append("X1", [line(), ended()])
    found = await log.unfinished("default")
    assert [entry.execution_id for entry in found] == ["X0", "X2", "X3"]
    numbers = [entry.number for entry in found]
    assert numbers == sorted(set(numbers))
    assert found[0] == await log.entry("X0")
    ended_since = (await log.entry("X1")).number
    named = await log.numbered("default", [numbers[1], ended_since, 999])
    assert {entry.execution_id for entry in named} == {"X1", "X2"}
    assert await log.numbered("other", numbers) == []
    log = await bench.reopen()
    assert [entry.execution_id for entry in await log.unfinished("default")] == ["X0", "X2", "X3"]
    assert await log.unfinished("nobody") == []


@check
async def the_ended_are_listed_by_kind_oldest_end_first(bench: Bench) -> None:
    """Whatever their workspace; with how many there are, and how large."""
    log = await bench.log()
    for name, second in (("X1", 3), ("X2", 1), ("X3", 2)):
        await begin(log, name, workspace=name)
        end = ended()
        end.ts = at(second)
        await log.append(name, [end])
    await begin(log, "running")
    await begin(log, "brief", ephemeral=True)
    await log.append("brief", [ended()])

    async def found(limit: int = 9, *, kind: str = "task", ephemeral: bool = False) -> list[str]:
        entries = await log.ended(kind, ephemeral=ephemeral, limit=limit)
        return [entry.execution_id for entry in entries]

    assert await found() == ["X2", "X3", "X1"]
    assert await found(1) == ["X2"]
    assert await found(ephemeral=True) == ["brief"]
    assert await found(kind="agent") == []
    kept = await log.kept("task", ephemeral=False)
    sizes = [(await log.entry(name)).size for name in ("X1", "X2", "X3")]
    assert (kept.count, kept.bytes) == (3, sum(sizes))
    assert (await log.entry("brief")).ephemeral


@check
async def a_log_that_is_made_with_its_end_is_listed_as_ended(bench: Bench) -> None:
    """Whoever reports a short execution from elsewhere may do it in one batch."""
    log, other = await bench.log(), await bench.other()
    opening = Opening(execution_id="X1", kind="task", flow="f", lease_until=TS)
    await log.create(opening, [queued(), ended()])
    for handle in (log, other):
        entry = await handle.entry("X1")
        assert entry.sealed
        assert await handle.unfinished("default") == []
        assert list(await handle.expired(at(1))) == []
        assert await handle.ended("task", ephemeral=False, limit=9) == [entry]
        assert await handle.kept("task", ephemeral=False) == Kept(1, entry.size)


@check
async def the_large_that_run_are_listed(bench: Bench) -> None:
    """By the bytes of their events; one that has ended is not among them."""
    log = await bench.log()
    for name in ("small", "large", "ended"):
        await begin(log, name, lease_until=TS)
        await log.append(name, [line("x" * (10 if name == "small" else 1000))])
    await log.append("ended", [ended()])
    assert [entry.execution_id for entry in await log.large("task", 900)] == ["large"]
    assert await log.large("agent", 0) == []


@check
async def a_lease_that_is_not_extended_expires(bench: Bench) -> None:
    """Beats extend it; an ended execution and one without a lease never expire."""
    log = await bench.log()
    for execution_id in ("X1", "X2", "X3"):
        await begin(log, execution_id, lease_until=at(3))
    await begin(log, "X4")
    await log.beat(["X2", "X4"], at(6))
    await log.append("X3", [ended()])
    assert list(await log.expired(at(3))) == []
    assert list(await log.expired(at(4))) == [("X1", at(3))]
    await log.append("X1", [ended()])
    assert list(await log.expired(at(9))) == [("X2", at(6))]
    # Who waited with patience was taken by a worker, which is soon missed.
    await log.beat(["X2"], at(4))
    assert list(await log.expired(at(5))) == [("X2", at(4))]
