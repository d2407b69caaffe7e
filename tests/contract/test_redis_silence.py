"""A server whose machine has lost its power: nobody is left to say that a connection is over."""

from functools import partial

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.to_thread import run_sync as in_thread

from tailrace.log import redis_link, redis_watch
from tailrace.log.redis import RedisLog
from tailrace.testing.contract.tools import Listening, begin, line
from tests.contract.conftest import Redis
from tests.proxies import first_of, joined, listening


class Way:
    """A way to a server; `freeze` lets the connections there are be silent, for ever."""

    def __init__(self, port: int) -> None:
        self._port, self._frozen = port, anyio.Event()

    def freeze(self) -> None:
        self._frozen.set()
        self._frozen = anyio.Event()

    async def lead(self, asking: SocketStream) -> None:
        frozen = self._frozen
        async with await anyio.connect_tcp("127.0.0.1", self._port) as there:
            await first_of(frozen.wait, partial(joined, asking, there))
            if frozen.is_set():
                await anyio.sleep_forever()


async def test_a_dead_connection_is_found_out_however_many_new_watches_come(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_link, "ANSWER_S", 0.2)
    monkeypatch.setattr(redis_watch, "QUIET_S", 0.1)
    url = await in_thread(redis.fresh)
    way = Way(redis.server().port)

    async def watch_others(log: RedisLog) -> None:
        number = 0
        while True:
            number += 1
            log.watch(f"other{number}", 0, lambda _: None)
            await anyio.sleep(0.01)

    async with listening(way.lead) as port:
        there = url.replace(f":{redis.server().port}", f":{port}")
        async with RedisLog(url) as writer, RedisLog(there) as log:
            await begin(writer)
            watch = Listening(log, "X1", 1)
            await writer.append("X1", [line("1")])
            await watch.until(2)
            way.freeze()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(watch_others, log)
                await writer.append("X1", [line("2")])
                await watch.until(3)
                tasks.cancel_scope.cancel()
