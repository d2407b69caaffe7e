"""What a Redis server loses is said: heads that go back, keys that go, steps that were not made."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync as in_thread
from redis import exceptions

from tailrace import task
from tailrace.errors import ExecutionNotFound, StoreUnavailable
from tailrace.events import Event
from tailrace.log.base import Kept, Opening
from tailrace.log.redis import RedisLog
from tailrace.log.redis_link import Command
from tailrace.log.redis_scripts import PLACE, PUT_S, REMOVE
from tailrace.log.redis_writer import batch
from tailrace.runtime import Runtime
from tailrace.testing.contract.tools import (
    TS,
    begin,
    ended,
    line,
    lines,
    queued,
    read_all,
    refuses,
    seqs,
)
from tests.contract.conftest import Losing, Redis

# --- data that is lost --------------------------------------------------------------------------


@asynccontextmanager
async def rolled_back(redis: Redis, log: RedisLog, execution_id: str = "X1") -> AsyncIterator[None]:
    """What is appended in this block is lost at its end, as on a replica that had not got it."""
    cli = redis.server().cli
    names = log._keys.log(execution_id)[:2]
    for name in names:
        await in_thread(cli, "copy", name, f"{name}:before")
    yield
    for name in names:
        await in_thread(cli, "copy", f"{name}:before", name, "replace")


async def test_a_writer_notices_a_head_that_went_back(log: RedisLog, redis: Redis) -> None:
    await begin(log)
    epoch = (await log.entry("X1")).epoch
    watch = Losing(log, "X1", 1)
    async with rolled_back(redis, log):
        await log.append("X1", [line("lost"), line("lost too")])
        await watch.until(3)
    assert (await log.append("X1", [line("kept")])).first == 2
    await watch.lost.wait()
    assert (await log.entry("X1")).epoch != epoch
    assert lines(await read_all(log, "X1", 1)) == ["kept"]


async def test_a_watch_notices_a_head_that_went_back(log: RedisLog, redis: Redis) -> None:
    async with RedisLog(redis.server().url(log._keys.prefix)) as writer:
        await begin(writer)
        epoch = (await log.entry("X1")).epoch
        watch = Losing(log, "X1", 1)
        async with rolled_back(redis, log):
            await writer.append("X1", [line("lost")])
            await watch.until(2)
        await in_thread(redis.server().cli, "client", "kill", "type", "pubsub")
        await watch.lost.wait()
        assert (await log.entry("X1")).epoch != epoch


async def test_a_watch_that_a_trim_elsewhere_overtook_is_told(log: RedisLog, redis: Redis) -> None:
    url = redis.server().url(log._keys.prefix)
    await begin(log)
    async with RedisLog(url) as other:
        await other.append("X1", [line(n) for n in range(2, 10)])
        await other.trim("X1", 9)
        watch, ahead = Losing(log, "X1", 1), Losing(log, "X1", 8)
        await watch.lost.wait()
        assert seqs(await ahead.until(9)) == [9]
        assert not watch.records
        here = Losing(log, "X1", 8)
        await log.append("X1", [line(10)])
        await log.trim("X1", 10)  # by this process itself it is not overtaken
        assert seqs(await here.until(10)) == [9, 10]


async def test_events_that_were_evicted_are_not_an_empty_log(log: RedisLog, redis: Redis) -> None:
    await begin(log)
    watch = Losing(log, "X1", 1)
    await log.append("X1", [line("seen")])
    await watch.until(2)
    await in_thread(redis.server().cli, "del", log._keys.log("X1")[1])
    await refuses(ExecutionNotFound, log.read("X1", 0, 10))
    # Who has them goes on; who has not finds a gap.
    await log.append("X1", [line("after")])
    assert lines(await watch.until(3)) == ["seen", "after"]
    assert seqs(await log.read("X1", 0, 10)) == [3]


async def test_who_follows_is_told_what_was_lost(redis: Redis) -> None:
    """Events 2 and 3 are lost, and a 2 that nobody had comes in their place."""
    log = RedisLog(await in_thread(redis.fresh))
    async with Runtime(log=log) as runtime:
        await begin(log)
        told = asyncio.Queue[Event]()

        async def follow() -> None:
            async for event in runtime.follow("X1", "1"):
                told.put_nowait(event)

        runtime.spawn(follow)
        async with rolled_back(redis, log):
            await log.append("X1", [line("lost"), line("lost too")])
            assert [(await told.get()).id for _ in range(2)] == [2, 3]
        await log.append("X1", [line("kept"), ended()])
        gap = await told.get()
        assert (gap.type, gap.data) == ("stream.gap", {"from": 1, "to": 3, "cause": "lost"})
        assert [(await told.get()).data.get("line") for _ in range(2)] == [None, "kept"]
        assert (await told.get()).type == "execution.completed"


# --- crashes between the two slots --------------------------------------------------------------


async def test_a_log_whose_creator_died_is_listed_when_it_is_named(log: RedisLog) -> None:
    opening = Opening(execution_id="X1", kind="task", flow="f", lease_until=TS)
    assert await log._writer.create(opening, [queued()], [queued().encode("X1")])
    assert await log.unfinished("default") == []
    entry = await log.entry("X1")
    assert await log.unfinished("default") == [entry]
    assert list(await log.expired(TS.replace("2026", "2027"))) == [("X1", TS)]


async def test_an_end_whose_writer_died_leaves_the_lists(log: RedisLog) -> None:
    await begin(log, lease_until=TS)
    await log._writer.append(batch("X1", [ended()], [ended().encode("X1")]))
    assert await log.unfinished("default") == []
    late = TS.replace("2026", "2027")
    assert list(await log.expired(late)) == []
    leases = await log._reader.ask(Command("ZCARD", (log._keys.index("leases"),)))
    assert leases == 0


async def test_a_removal_whose_remover_died_leaves_the_lists(log: RedisLog) -> None:
    for name in ("X1", "X2"):
        await begin(log, name)
        await log.append(name, [ended()])
    assert (await log.kept("task", ephemeral=False)).count == 2
    arguments = ("token", log._keys.told("X1"))
    assert await log._writer.do(Command(REMOVE, arguments, log._keys.log("X1"))) == 1
    assert [entry.execution_id for entry in await log.entries("default", limit=9)] == ["X2"]
    found = await log.ended("task", ephemeral=False, limit=1)
    assert [entry.execution_id for entry in found] == ["X2"]
    assert await log.kept("task", ephemeral=False) == Kept(1, found[0].size)
    index = await log._reader.ask(Command("ZCARD", (log._keys.index("index:default"),)))
    assert index == 1


async def test_a_removal_without_an_answer_is_not_a_second_one(
    log: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(log)
    await log.append("X1", [ended()])
    send = log._link._send

    async def cutting(*arguments: Any) -> list[Any]:
        answers = await send(*arguments)
        if b"" not in answers and 1 in answers and not cut.is_set():
            cut.set()
            raise exceptions.ConnectionError("cut after it was done")
        return answers

    cut = anyio.Event()
    monkeypatch.setattr(log._link, "_send", cutting)
    await log.remove("X1")
    assert cut.is_set()
    await refuses(ExecutionNotFound, log.remove("X1"))


async def test_an_end_that_was_lost_makes_a_log_open_again(log: RedisLog, redis: Redis) -> None:
    """In a Cluster, where another node than that of the log has the lists."""
    await begin(log)
    async with rolled_back(redis, log):
        await log.append("X1", [ended()])
    assert await log.unfinished("default") == []
    assert await log.ended("task", ephemeral=False, limit=9) == []
    assert [entry.execution_id for entry in await log.unfinished("default")] == ["X1"]
    assert await log.kept("task", ephemeral=False) == Kept(0, 0)
    await log.append("X1", [ended()])
    assert [e.head for e in await log.ended("task", ephemeral=False, limit=9)] == [2]


async def test_a_log_that_never_came_in_whole_is_nowhere(log: RedisLog, redis: Redis) -> None:
    """Its parts go by themselves."""
    await begin(log)
    entry = (await log.entry("X1"))._replace(execution_id="X2")
    records = await log.read("X1", 0, 9)
    do = log._writer.do

    async def dying(command: Command) -> Any:
        if command.name is PLACE:
            raise StoreUnavailable("killed")
        return await do(command)

    log._writer.do = dying  # type: ignore[method-assign]
    await refuses(StoreUnavailable, log.restore(entry, records, {"d": b"1"}))
    log._writer.do = do  # type: ignore[method-assign]
    await refuses(ExecutionNotFound, log.entry("X2"))
    cli = redis.server().cli
    left = (await in_thread(cli, "keys", f"*{log._keys.prefix}:X2*")).splitlines()
    assert len(left) == 2
    for key in left:
        assert 0 < int(await in_thread(cli, "ttl", key)) <= PUT_S
    restored = await log.restore(entry, records, {"d": b"1"})
    assert await log.entry("X2") == restored
    for key in log._keys.log("X2")[:3]:
        assert await in_thread(cli, "ttl", key) == "-1"


async def test_work_hears_a_cancel_after_a_part_of_its_log_was_lost(redis: Redis) -> None:
    works = anyio.Event()

    @task
    async def waits() -> None:
        works.set()
        await anyio.sleep_forever()

    log = RedisLog(await in_thread(redis.fresh))
    async with Runtime(log=log) as runtime:
        run = await runtime.start(waits)
        await works.wait()
        async with rolled_back(redis, log, run.id):
            await log.append(run.id, [line("lost")])
        await log.append(run.id, [line("in its place")])
        await run.cancel(by="ann")
        assert (await run.wait()).status == "cancelled"
