"""Servers that tests start: each on a free port of loopback, in a folder of its own."""

import contextlib
import shutil
import socket
import subprocess
import threading
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import anyio
import redis
from anyio.abc import SocketStream

from tests.conftest import needs
from tests.proxies import first_of, joined, listening

PASSWORD = "sesame-of-the-tests"


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    return port


class RedisServer:
    """Debian's redis-server, with a password. Keeps nothing on disk unless told to."""

    ready = "Ready to accept connections"

    def __init__(self, folder: Path, *options: str) -> None:
        needs("redis-server")
        self.folder, self._options = folder, options
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def url(self, prefix: str = "t", **query: str) -> str:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}?prefix={prefix}{more}"

    def start(self) -> None:
        """Start it, again on its port, and wait until it says that it is ready."""
        self._process = subprocess.Popen(
            self._command(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = self._process.stdout
        assert output is not None
        said = []
        for line in output:
            said.append(line)
            if self.ready in line:
                break
        else:
            raise AssertionError("".join(said))
        threading.Thread(target=output.read, daemon=True).start()  # a full pipe would stop it

    def _command(self) -> list[str]:
        return [
            *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
            *("--requirepass", PASSWORD, "--masterauth", PASSWORD, "--save", ""),
            *("--dir", str(self.folder), *self._options),
        ]

    def follow(self, primary: "RedisServer") -> None:
        """Be its replica, and wait until it has all that the primary has."""
        self.cli("replicaof", "127.0.0.1", str(primary.port))
        while "master_link_status:up" not in self.cli("info", "replication"):
            pass

    def kill(self) -> None:
        """As a power cut does to the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            if self._process.stdout is not None:
                with contextlib.suppress(ValueError):
                    self._process.stdout.close()
            self._process = None

    def cli(self, *arguments: str) -> str:
        """Ask it, as its own client does."""
        done = subprocess.run(
            ["redis-cli", "-p", str(self.port), "--no-auth-warning", "-a", PASSWORD, *arguments],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def cluster_of_one(self) -> None:
        """Give it all slots of a Cluster, and wait until it says that this is one."""
        with redis.Redis(port=self.port, password=PASSWORD) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            while b"cluster_state:ok" not in client.execute_command("CLUSTER", "INFO"):
                pass

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Sentinel(RedisServer):
    """One that watches a server called `primary`, and makes its replica the primary if it dies."""

    ready = "+monitor"

    def __init__(self, folder: Path, primary: RedisServer) -> None:
        (folder / "sentinel.conf").write_text(
            f"requirepass {PASSWORD}\n"
            f"sentinel monitor primary 127.0.0.1 {primary.port} 1\n"
            f"sentinel auth-pass primary {PASSWORD}\n"
            "sentinel down-after-milliseconds primary 300\n"
            "sentinel failover-timeout primary 2000\n"
        )
        super().__init__(folder)

    def _command(self) -> list[str]:
        file = str(self.folder / "sentinel.conf")
        where = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder))
        return ["redis-server", file, "--sentinel", *where]

    def url(self, prefix: str = "t", **query: str) -> str:
        query["sentinel_password"] = PASSWORD
        plain = super().url(prefix, **query)
        return plain.replace("redis://", "redis+sentinel://").replace("?", "/primary/0?")


class Moving:
    """An address that leads to one server, and then to another, as a failover's does."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._moved = anyio.Event()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Lead there; gives the URL."""
        async with listening(self._lead) as port:
            yield self._server.url().replace(f":{self._server.port}", f":{port}")

    def move(self, server: RedisServer) -> None:
        """Lead elsewhere from now on; who is connected is cut off."""
        self._server = server
        self._moved.set()
        self._moved = anyio.Event()

    async def _lead(self, asking: SocketStream) -> None:
        moved = self._moved
        async with await anyio.connect_tcp("127.0.0.1", self._server.port) as there:
            await first_of(moved.wait, partial(joined, asking, there))
