"""A replica takes over: nothing is lost that it had, and what it had not is said."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.to_thread import run_sync as in_thread

from tailrace.errors import InvalidSetting, QueueUnavailable, StoreUnavailable
from tailrace.events import Event
from tailrace.log.redis import RedisLog
from tailrace.runtime import Runtime
from tailrace.testing.contract.tools import Learning, begin, ended, line, lines, read_all
from tailrace.work.base import Job
from tailrace.work.saq import SaqQueue
from tests.contract.conftest import Losing, Redis
from tests.proxies import first_of, joined, listening
from tests.servers import PASSWORD, Moving, RedisServer, Sentinel


@pytest.fixture
def pair(redis: Redis) -> Iterator[tuple[RedisServer, RedisServer]]:
    """A primary and its replica, in step."""
    primary = redis.another("--repl-diskless-sync-delay", "0")
    replica = redis.another("--repl-diskless-sync-delay", "0")
    replica.follow(primary)
    yield primary, replica
    primary.remove()
    replica.remove()


@pytest.mark.timeout(
    60
)  # replicas connect when Redis' own clock strikes, and this machine is shared
async def test_what_a_replica_was_waited_for_survives_its_takeover(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    primary, replica = pair
    moving = Moving(primary)
    acknowledged: list[str] = []

    async def write(log: RedisLog, writer: int) -> None:
        for n in range(30):
            await log.append("X1", [line(f"{writer}:{n}")])
            acknowledged.append(f"{writer}:{n}")
            if len(acknowledged) == 40:
                started.set()

    async with moving.listening() as url, RedisLog(url, replicas=1) as log:
        await begin(log)
        watch, started = Losing(log, "X1", 1), anyio.Event()
        async with anyio.create_task_group() as tasks:
            for writer in range(4):
                tasks.start_soon(write, log, writer)
            await started.wait()
            await in_thread(replica.cli, "replicaof", "no", "one")
            moving.move(replica)
            await in_thread(primary.follow, replica)
        there = lines(await read_all(log, "X1", 1))
        assert sorted(there) == sorted(acknowledged)
        await first_of(partial(watch.until, 121), watch.lost.wait)
        # What was not acknowledged yet may have been shown, and have died with the primary.
        assert watch.lost.is_set() or lines(watch.records) == there


@pytest.mark.timeout(
    60
)  # replicas connect when Redis' own clock strikes, and this machine is shared
async def test_what_a_replica_had_not_got_is_said(pair: tuple[RedisServer, RedisServer]) -> None:
    primary, replica = pair
    moving = Moving(primary)
    async with moving.listening() as url:
        log = RedisLog(url, replicas=0)
        async with Runtime(log=log) as runtime:
            await begin(log)
            await log.append("X1", [line("on both")])
            told = asyncio.Queue[Event]()

            async def follow() -> None:
                async for event in runtime.follow("X1", "1"):
                    told.put_nowait(event)

            runtime.spawn(follow)
            assert (await told.get()).data["line"] == "on both"
            while await in_thread(replica.cli, "hget", log._keys.meta("X1"), "head") != "2":
                pass
            await in_thread(replica.cli, "replicaof", "no", "one")
            await log.append("X1", [line("on the primary"), line("alone")])
            assert [(await told.get()).id for _ in range(2)] == [3, 4]
            moving.move(replica)
            gap = (
                await told.get()
            )  # another life: nothing is taken for known, all of it comes again
            assert (gap.type, gap.data) == ("stream.gap", {"from": 1, "to": 4, "cause": "lost"})
            await log.append("X1", [line("after"), ended()])
            again = [await told.get() for _ in range(4)]
            assert [event.id for event in again] == [1, 2, 3, 4]
            assert [event.data.get("line") for event in again] == [None, "on both", "after", None]


@pytest.fixture
def sentinel(pair: tuple[RedisServer, RedisServer], tmp_path: Path) -> Iterator[Sentinel]:
    made = Sentinel(tmp_path, pair[0])
    while "num-slaves\n1" not in made.cli("sentinel", "master", "primary"):
        pass
    yield made
    made.remove()


@pytest.mark.timeout(60)  # Sentinel takes its time, and this machine is shared
async def test_sentinel_leads_to_the_new_primary(
    pair: tuple[RedisServer, RedisServer], sentinel: Sentinel
) -> None:
    primary, replica = pair
    async with (
        RedisLog(sentinel.url(), patience_s=40) as log,
        SaqQueue(sentinel.url(), patience_s=10) as queue,
    ):
        await queue.submit(Job(execution_id="before"))
        await begin(log)
        watch, learning = Losing(log, "X1", 1), Learning(log, "default", 0)
        for n in range(20):
            await log.append("X1", [line(n)])
        while await in_thread(replica.cli, "hget", log._keys.meta("X1"), "head") != "21":
            pass
        await in_thread(primary.kill)
        async with anyio.create_task_group() as tasks:
            for n in range(20, 40):  # while there is no primary
                tasks.start_soon(log.append, "X1", [line(n)])
            tasks.start_soon(begin, log, "X2")
        assert "role:master" in await in_thread(replica.cli, "info", "replication")
        there = lines(await read_all(log, "X1", 1))
        assert sorted(map(int, there)) == list(range(40))
        assert lines(await watch.until(41)) == there
        assert await learning.until(2) == ["X1", "X2"]
        assert not watch.lost.is_set()
        while True:
            # A queue has no patience of its own: who is refused asks again (tailrace.dispatch).
            with suppress(QueueUnavailable):
                await queue.submit(Job(execution_id="after"))
                break
        taken = [(await queue.take(["default"])).execution_id for _ in range(2)]
        assert taken == ["before", "after"]


async def test_a_sentinel_that_cannot_be_asked_is_named_without_a_password(
    sentinel: Sentinel,
) -> None:
    for url in (
        sentinel.url().replace("/primary/", "/nobody/"),
        sentinel.url().replace(f"sentinel_password={PASSWORD}", "sentinel_password=wrong"),
        sentinel.url().replace(f":{PASSWORD}@", ":wrong@"),
        f"redis+sentinel://:{PASSWORD}@127.0.0.1:1,127.0.0.1:2/primary",
    ):
        with pytest.raises(StoreUnavailable) as caught:
            async with RedisLog(url):
                pass
        assert caught.value.message.startswith("redis+sentinel://127.0.0.1:")
        assert PASSWORD not in f"{caught.value.message} {caught.value.hint}"


def test_a_url_for_sentinel_must_make_sense() -> None:
    for url in ("redis+sentinel://h:1", "redis+sentinel://h:x/primary", "redis+sentinel://h/p/x"):
        with pytest.raises(InvalidSetting):
            RedisLog(url)


@pytest.mark.timeout(
    60
)  # replicas connect when Redis' own clock strikes, and this machine is shared
async def test_the_queue_goes_where_its_address_leads_when_its_server_became_a_replica(
    pair: tuple[RedisServer, RedisServer],
) -> None:
    """Which goes on answering, and cuts nobody off: an address that is moved by DNS, say."""
    primary, replica = pair
    leads_to = primary

    async def lead(asking: SocketStream) -> None:
        async with await anyio.connect_tcp("127.0.0.1", leads_to.port) as there:
            await joined(asking, there)

    async with listening(lead) as port:
        url = primary.url().replace(f":{primary.port}", f":{port}")
        async with SaqQueue(url, patience_s=15) as queue:
            await queue.waiting("default")
            await in_thread(replica.cli, "replicaof", "no", "one")
            await in_thread(primary.follow, replica)
            leads_to = replica
            with pytest.raises(QueueUnavailable, match="replica"):
                await queue.submit(Job(execution_id="X1"))
            await queue.submit(Job(execution_id="X1"))
            assert (await queue.take(["default"])).execution_id == "X1"
