"""Redis for those who ask: one server and one Cluster of one node, started when first wanted."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

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
