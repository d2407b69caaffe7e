"""What only a server elsewhere can do wrong: it is killed, emptied, full, older, or goes back."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync as in_thread
from redis import exceptions

from tailrace.errors import (
    ExecutionNotFound,
    InvalidSetting,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTooOld,
    StoreUnavailable,
)
from tailrace.events import Event
from tailrace.log import redis_link
from tailrace.log.base import Opening, Producer
from tailrace.log.redis import RedisLog
from tailrace.log.redis_errors import translated
from tailrace.log.redis_link import Assurance, Command, Link
from tailrace.log.redis_writer import batch
from tailrace.runtime import Runtime
from tailrace.testing.contract import (
    TS,
    Learning,
    Listening,
    begin,
    ended,
    line,
    lines,
    queued,
    read_all,
    refuses,
    seqs,
)
from tests.contract.conftest import Redis
from tests.servers import PASSWORD, RedisServer


@pytest.fixture
async def log(redis: Redis) -> AsyncIterator[RedisLog]:
    async with RedisLog(await in_thread(redis.fresh)) as opened:
        yield opened


@pytest.fixture
def server(redis: Redis) -> Iterator[RedisServer]:
    """A server that the test may kill; it forgets everything then."""
    made = redis.another()
    yield made
    made.remove()


@pytest.fixture
def keeping(redis: Redis) -> Iterator[RedisServer]:
    """A server that the test may kill; it has on disk what it acknowledged."""
    made = redis.another("--appendonly", "yes", "--appendfsync", "always")
    yield made
    made.remove()


class Losing(Listening):
    """A watch that hears when what it was given is gone."""

    def __init__(self, log: RedisLog, execution_id: str, after: int) -> None:
        self.records = []
        self._more, self._position = asyncio.Event(), after
        self.lost = anyio.Event()
        self.stop = log.watch(execution_id, after, self._take, self.lost.set)


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


@pytest.mark.timeout(60)  # a thousand logs
async def test_a_thousand_watches_need_three_connections(log: RedisLog, redis: Redis) -> None:
    ids = [f"X{n}" for n in range(1000)]
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
    assert reads <= 2000
    clients = await in_thread(redis.server().cli, "client", "list")
    assert sum("name=tailrace " in client for client in clients.splitlines()) == 3
    channels = await in_thread(redis.server().cli, "pubsub", "channels")
    assert len(channels.splitlines()) == 1000
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


# --- data that is lost --------------------------------------------------------------------------


@asynccontextmanager
async def rolled_back(redis: Redis, log: RedisLog) -> AsyncIterator[None]:
    """What is appended in this block is lost at its end, as on a replica that had not got it."""
    cli = redis.server().cli
    names = log._keys.log("X1")[:2]
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


# --- what its errors mean -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (exceptions.ConnectionError("refused"), StoreUnavailable),
        (exceptions.TimeoutError("no answer"), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (exceptions.BusyLoadingError("loading"), StoreBusy),
        (exceptions.ClusterDownError("The cluster is down"), StoreBusy),
        (exceptions.ResponseError("BUSY Redis is busy running a script"), StoreBusy),
        (exceptions.ReadOnlyError("You can't write"), StoreReadOnly),
        (exceptions.ResponseError("MISCONF Errors writing to the AOF"), StoreReadOnly),
        (exceptions.OutOfMemoryError("command not allowed"), StoreFull),
        (exceptions.ResponseError("WRONGTYPE Operation"), StoreCorrupt),
        (exceptions.AuthenticationError("invalid"), StoreUnavailable),
        (exceptions.NoPermissionError("this user"), StoreUnavailable),
        (exceptions.ResponseError("ERR what"), StoreError),
    ],
)
def test_each_error_is_said_as_ours(error: Exception, expected: type[StoreError]) -> None:
    said = translated(error, "redis://h:1")
    assert type(said) is expected
    assert said.message.startswith("redis://h:1: ")


async def fails(url: str, **options: Any) -> StoreError:
    with pytest.raises(StoreError) as caught:
        async with RedisLog(url, **options):
            pass
    assert PASSWORD not in f"{caught.value.message} {caught.value.hint}"
    return caught.value


async def test_a_server_that_cannot_be_used_is_named_without_its_password(redis: Redis) -> None:
    url = await in_thread(redis.fresh)
    assert type(await fails(url.replace(PASSWORD, "wrong"))) is StoreUnavailable
    assert type(await fails(url.replace(f":{PASSWORD}@", ""))) is StoreUnavailable
    refused = await fails(f"redis://:{PASSWORD}@127.0.0.1:1")
    assert "127.0.0.1:1" in refused.message
    assert refused.retryable
    assert type(await fails(url, disk=True)) is StoreTooOld  # Debian's is 7.0: without WAITAOF


def test_an_old_server_and_a_forgetful_one_are_said(caplog: pytest.LogCaptureFixture) -> None:
    link = Link("redis://h:1", patience_s=0, assurance=Assurance())
    with pytest.raises(StoreTooOld):
        link._check("6.2.14", "noeviction")
    with caplog.at_level(logging.WARNING):
        link._check("7.0.0", "allkeys-lru")
    assert "allkeys-lru" in caplog.text


def test_a_url_must_make_sense() -> None:
    for url in ("redis://h:1?prefix=", "redis://h:1?prefix={a}", "redis://h:x"):
        with pytest.raises(InvalidSetting):
            RedisLog(url)


async def test_a_full_server_refuses_and_takes_again(server: RedisServer) -> None:
    async with RedisLog(server.url()) as log:
        await begin(log)
        await in_thread(server.cli, "config", "set", "maxmemory", "1")
        await refuses(StoreFull, log.append("X1", [line("no room")]))
        assert lines(await log.read("X1", 1, 9)) == []
        await in_thread(server.cli, "config", "set", "maxmemory", "0")
        assert (await log.append("X1", [line("room")])).first == 2


async def test_a_key_of_somebody_else_is_not_ours_to_write(log: RedisLog, redis: Redis) -> None:
    for number in (0, 1):
        await in_thread(redis.server().cli, "set", log._keys.log(f"X{number}")[number], "theirs")
    await refuses(StoreCorrupt, begin(log, "X0"))
    await begin(log, "X2")
    await in_thread(redis.server().cli, "set", log._keys.log("X2")[1], "theirs")
    await refuses(StoreCorrupt, log.append("X2", [line()]))
    assert (await log.entry("X2")).head == 1


async def test_an_append_waits_for_replicas_if_it_is_told_to(
    server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link, "ANSWER_S", 0.5)
    await fails_to_reach_replicas(server)
    replica = await in_thread(
        redis.another, "--replicaof", f"127.0.0.1 {server.port}", "--repl-diskless-sync-delay", "0"
    )
    try:
        async with RedisLog(server.url("r"), replicas=1) as log:
            await begin(log)
            await log.append("X1", [line("on two")])
            head = await in_thread(replica.cli, "hget", log._keys.meta("X1"), "head")
            assert head == "2"
        assert type(await fails_to_append(replica.url("r"))) is StoreReadOnly
    finally:
        await in_thread(replica.remove)


async def fails_to_reach_replicas(server: RedisServer) -> None:
    async with RedisLog(server.url(), patience_s=0, replicas=1) as log:
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            await begin(log)
    # Written, and not acknowledged: whoever asks finds it.
    async with RedisLog(server.url()) as log:
        assert (await log.entry("X1")).head == 1


async def fails_to_append(url: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        async with RedisLog(url) as log:
            await log.append("X1", [line("on a replica")])
    return caught.value
