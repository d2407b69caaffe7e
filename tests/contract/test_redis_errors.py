"""What the errors of a Redis server mean, and that one log's are not another's."""

import asyncio
import logging
from typing import Any

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
from tailrace.log import redis_link
from tailrace.log.base import Appended, Kept
from tailrace.log.redis import RedisLog
from tailrace.log.redis_errors import translated
from tailrace.log.redis_link import Assurance, Link
from tailrace.retention import Retention
from tailrace.settings import Settings
from tailrace.testing import FakeClock
from tailrace.testing.contract.tools import (
    begin,
    ended,
    line,
    lines,
    refuses,
)
from tests.contract.conftest import Redis
from tests.servers import PASSWORD, RedisServer

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


async def test_a_full_server_makes_room_by_itself(server: RedisServer) -> None:
    """Removing, and all that says who removes, needs no memory that is not there."""
    clock = FakeClock()
    async with RedisLog(server.url()) as log:
        retention = Retention(log, clock, Settings(store=server.url(), ephemeral_s=300))
        await begin(log, "X1", ephemeral=True)
        await log.append("X1", [line(n) for n in range(2000)])
        await log.append("X1", [ended()])
        await in_thread(server.cli, "config", "set", "maxmemory", "1")
        await refuses(StoreFull, begin(log, "X2"))
        await clock.advance(301)
        assert await retention.turn() is False
        assert retention.removed == {("task", "ephemeral"): 1}
        await refuses(ExecutionNotFound, log.entry("X1"))
        assert await log.kept("task", ephemeral=True) == Kept(0, 0)


async def test_a_key_of_somebody_else_is_not_ours_to_write(log: RedisLog, redis: Redis) -> None:
    for number in (0, 1):
        await in_thread(redis.server().cli, "set", log._keys.log(f"X{number}")[number], "theirs")
    await refuses(StoreCorrupt, begin(log, "X0"))
    await begin(log, "X2")
    await begin(log, "X3")
    await in_thread(redis.server().cli, "set", log._keys.log("X2")[1], "theirs")
    # In one round trip, and each log has its own answer.
    wrong, right = await asyncio.gather(
        log.append("X2", [line()]), log.append("X3", [line()]), return_exceptions=True
    )
    assert isinstance(wrong, StoreCorrupt)
    assert (wrong.code, "prefix" in str(wrong.hint)) == ("store_corrupt", True)
    assert right == Appended(2, 2)
    await refuses(StoreCorrupt, log.read("X2", 0, 9))
    assert (await log.entry("X2")).head == 1


async def test_an_append_waits_for_replicas_if_it_is_told_to(
    server: RedisServer, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link, "ANSWER_S", 0.5)
    await fails_to_reach_replicas(server)
    await in_thread(server.cli, "config", "set", "repl-diskless-sync-delay", "0")
    replica = await in_thread(redis.another, "--replicaof", f"127.0.0.1 {server.port}")
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
