"""Redis for those who ask: one server and one Cluster of one node, started when first wanted."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import pytest
from anyio.to_thread import run_sync as in_thread

from tailrace.log.redis import RedisLog
from tailrace.testing.contract.tools import Listening
from tests.servers import RedisServer


class Redis:
    """The servers of a test session; each test has keys of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[bool, RedisServer] = {}
        self._count = itertools.count()

    def server(self, cluster: bool = False) -> RedisServer:
        if cluster not in self._servers:
            self._servers[cluster] = self.another("--cluster-enabled", "yes" if cluster else "no")
            if cluster:
                self._servers[cluster].cluster_of_one()
        return self._servers[cluster]

    def fresh(self, cluster: bool = False) -> str:
        """A URL with a prefix that nobody has used."""
        return self.server(cluster).url(f"t{next(self._count)}")

    def another(self, *options: str) -> RedisServer:
        """A server that the caller ends."""
        folder = self._folder / str(next(self._count))
        folder.mkdir()
        return RedisServer(folder, *options)

    def end(self) -> None:
        for server in self._servers.values():
            server.remove()


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    made = Redis(tmp_path_factory.mktemp("redis"))
    yield made
    made.end()


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
