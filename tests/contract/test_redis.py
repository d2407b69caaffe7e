"""What only a server elsewhere can do: it is killed, emptied, cut off, or stands still."""

import asyncio
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync as in_thread
from redis import exceptions

from tailrace.clock import stopwatch
from tailrace.errors import ExecutionNotFound
from tailrace.log import redis_link
from tailrace.log.base import Kept, Producer
from tailrace.log.redis import RedisLog
from tailrace.metrics import LogMeter
from tailrace.retention import Retention, Rule
from tailrace.settings import Settings
from tailrace.testing import FakeClock
from tailrace.testing.contract.tools import (
    TS,
    Learning,
    begin,
    ended,
    line,
    lines,
    read_all,
    refuses,
)
from tests.contract.conftest import Losing, Redis
from tests.servers import RedisServer

# --- the way to it ------------------------------------------------------------------------------


@pytest.mark.timeout(60)  # the server is started three times
async def test_a_server_that_is_killed_loses_nothing_that_is_on_its_disk(
    keeping: RedisServer,
) -> None:
    async with RedisLog(keeping.url()) as log, RedisLog(keeping.url()) as other:
        await begin(log)
        watch, learning = Losing(log, "X1", 1), Learning(log, "default", 0)
        for turn in range(2):
            before = [await other.append("X1", [line((turn, n))]) for n in range(20)]
            await in_thread(keeping.kill)
            async with anyio.create_task_group() as tasks:
                for n in range(20):  # while it is away
                    tasks.start_soon(other.append, "X1", [line((turn, 20 + n))])
                tasks.start_soon(begin, other, f"Y{turn}")
                await anyio.lowlevel.checkpoint()
                await in_thread(keeping.start)
            assert before[-1].last == 40 * turn + 21
        assert len(await watch.until(81)) == 80
        assert lines(await read_all(log, "X1", 1)) == lines(watch.records)
        assert await learning.until(3) == ["X1", "Y0", "Y1"]
        assert not watch.lost.is_set()


async def test_what_a_server_forgot_is_said(server: RedisServer) -> None:
    async with RedisLog(server.url()) as log, RedisLog(server.url()) as other:
        await begin(log)
        epoch = (await log.entry("X1")).epoch
        watch, learning = Losing(log, "X1", 1), Learning(log, "default", 0)
        await other.append("X1", [line("seen")])
        await watch.until(2)
        await learning.until(1)
        await in_thread(server.kill)
        await in_thread(server.start)
        await watch.lost.wait()
        await refuses(ExecutionNotFound, other.append("X1", [line("too late")]))
        await refuses(ExecutionNotFound, log.read("X1", 0, 1))
        watch.stop()
        # The same id again is another life, and is watched like any.
        learning._position = 0
        await begin(other)
        assert (await log.entry("X1")).epoch != epoch
        again = Losing(log, "X1", 1)
        await other.append("X1", [line("new")])
        assert lines(await again.until(2)) == ["new"]
        assert await learning.until(2) == ["X1", "X1"]


async def test_a_cut_connection_is_made_again_without_a_hole(log: RedisLog, redis: Redis) -> None:
    await begin(log)
    watch = Losing(log, "X1", 1)
    for turn in range(5):
        async with anyio.create_task_group() as tasks:
            for n in range(10):
                tasks.start_soon(log.append, "X1", [line((turn, n))])
            for kind in ("pubsub", "normal"):  # one after the other: the asking is a client too
                await in_thread(redis.server().cli, "client", "kill", "type", kind)
    assert len(await watch.until(51)) == 50
    assert lines(await read_all(log, "X1", 1)) == lines(watch.records)
    assert not watch.lost.is_set()


async def test_an_answer_that_was_lost_is_asked_for_again(
    log: RedisLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = log._link._send
    cut = 0

    async def cutting(*arguments: Any) -> list[Any]:
        nonlocal cut
        answers = await send(*arguments)
        cut += 1
        if cut % 2:
            raise exceptions.ConnectionError("cut after it was done")
        return answers

    monkeypatch.setattr(log._link, "_send", cutting)
    await begin(log)
    async with anyio.create_task_group() as tasks:
        for n in range(10):
            tasks.start_soon(log.append, "X1", [line(n)])
    assert (await log.append("X1", [line("p")], producer=Producer("p", 1))).duplicate is False
    now, until = TS, TS.replace("00:00:00", "00:00:09")
    assert await log.facts.put("nonce", "n", "v", now=now, until=until, new=True)
    assert not await log.facts.put("nonce", "n", "v", now=now, until=until, new=True)
    assert await log.facts.take("nonce", "n", now=now) == "v"
    assert await log.facts.take("nonce", "n", now=now) is None
    await log.append("X1", [ended()])
    assert sorted(lines(await read_all(log, "X1", 1))[:-2]) == [str(n) for n in range(10)]
    assert (await log.entry("X1")).head == 13


async def test_a_server_that_stood_still_runs_nothing_twice(
    log: RedisLog, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs what it was sent before it stood still, after the same was sent again."""
    monkeypatch.setattr(redis_link, "ANSWER_S", 0.3)
    await begin(log)
    for n in range(3):
        await in_thread(redis.server().cli, "client", "pause", "1000", "all")
        await log.append("X1", [line(n)])
    await log.append("X1", [line("end")])
    assert lines(await read_all(log, "X1", 1)) == ["0", "1", "2", "end"]


async def test_scripts_that_the_server_forgot_are_sent_again(log: RedisLog, redis: Redis) -> None:
    await begin(log)
    await in_thread(redis.server().cli, "script", "flush", "sync")
    async with anyio.create_task_group() as tasks:
        for n in range(20):
            tasks.start_soon(log.append, "X1", [line(n)])
    assert lines(await read_all(log, "X1", 1)) == [str(n) for n in range(20)]


async def test_hundreds_of_watches_need_three_connections_at_most(
    log: RedisLog, redis: Redis
) -> None:
    ids = [f"X{n}" for n in range(300)]
    async with anyio.create_task_group() as tasks:
        for id_ in ids:
            tasks.start_soon(begin, log, id_)
    reads = 0
    ask = log._reader.lane.do

    async def counting(work: Any) -> Any:
        nonlocal reads
        reads += 1
        return await ask(work)

    log._reader.lane.do = counting  # type: ignore[method-assign]
    watches = [Losing(log, id_, 1) for id_ in ids]
    for turn in range(5):
        await asyncio.gather(*[log.append(id_, [line(turn)]) for id_ in ids])
        for watch in watches:
            await watch.until(turn + 2)
    # One read for the subscription, one for a message that came before it: the rest were told.
    assert reads <= 2 * len(ids)
    clients = await in_thread(redis.server().cli, "client", "list")
    # One is told, one writes; who reads while nobody writes takes the same.
    assert sum("name=tailrace " in client for client in clients.splitlines()) in (2, 3)
    channels = await in_thread(redis.server().cli, "pubsub", "channels")
    assert len(channels.splitlines()) == len(ids)
    for watch in watches:
        watch.stop()
    late = Losing(log, "X1", 6)
    await log.append("X1", [line("late")])
    await late.until(7)
    assert not log._watches._changed
    assert list(log._watches._feeds) == [log._keys.told("X1")]


async def test_databases_of_one_server_do_not_hear_each_other(redis: Redis) -> None:
    url = await in_thread(redis.fresh)
    async with RedisLog(url) as log, RedisLog(url.replace("?", "/1?")) as other:
        await begin(log)
        await begin(other)
        watch = Losing(log, "X1", 1)
        await other.append("X1", [line("theirs")])
        await log.append("X1", [line("ours")])
        assert lines(await watch.until(2)) == ["ours"]
        assert not watch.lost.is_set()


# --- many servers ---------------------------------------------------------------------------------


async def test_many_servers_remove_each_log_once(redis: Redis) -> None:
    url, clock = await in_thread(redis.fresh), FakeClock()
    async with RedisLog(url) as one, RedisLog(url) as two, RedisLog(url) as three:
        logs = [one, two, three]
        settings = Settings(store=url, ephemeral_s=300)
        sweepers = [Retention(log, clock, settings) for log in logs]
        for n in range(30):
            await begin(one, f"X{n}", ephemeral=n < 20)
            await one.append(f"X{n}", [ended()])
        await begin(one, "runs", ephemeral=True)
        await clock.advance(301)
        assert not any(await asyncio.gather(*[sweeper.turn() for sweeper in sweepers]))
        assert sum(sweeper.removed.total() for sweeper in sweepers) == 20
        left = [entry.execution_id for entry in await two.entries("default", limit=99)]
        assert left == ["runs", *(f"X{n}" for n in range(29, 19, -1))]
        # One that was slow for so long that another has taken its place meets nobody's error.
        rule = Rule("task", ephemeral=False, age_s=300)
        now = clock.now()
        await asyncio.gather(*[sweeper._apply(rule, now) for sweeper in sweepers])
        assert [e.execution_id for e in await one.entries("default", limit=99)] == ["runs"]
        assert await one.kept("task", ephemeral=False) == Kept(0, 0)


async def test_of_racing_removals_one_is_it(log: RedisLog, redis: Redis) -> None:
    async with RedisLog(redis.server().url(log._keys.prefix)) as other:
        await begin(log)
        await log.append("X1", [ended()])
        results = await asyncio.gather(
            *[handle.remove("X1") for handle in (log, other, log, other)], return_exceptions=True
        )
        assert results.count(None) == 1
        assert sum(isinstance(result, ExecutionNotFound) for result in results) == 3


async def test_what_is_counted(log: RedisLog) -> None:
    log.meter = LogMeter()
    await begin(log)
    await log.append("X1", [line("a"), line("b")])
    await log.append("X1", [ended()], producer=Producer("p", 1))
    await log.append("X1", [ended()], producer=Producer("p", 1))
    meter = log.meter
    assert (meter.appends, meter.events) == (3, 4)
    assert meter.size == (await log.entry("X1")).bytes
    assert (meter.started, meter.ended) == ({"task": 1}, {("task", "completed"): 1})
    assert sum(meter.commits.counts) >= 3


async def test_a_watch_is_told_when_what_it_is_given_was_handed_in(log: RedisLog) -> None:
    """By this process: the clock of another says nothing here."""
    await begin(log)
    watch = Losing(log, "X1", 0)
    await watch.until(1)
    before = stopwatch()
    await log.append("X1", [line("a")])
    answered = stopwatch()
    await watch.until(2)
    assert before <= log.fed_at <= answered
