"""Servers that tests start: each on a free port of loopback, in a folder of its own."""

import contextlib
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import redis

from tests.conftest import needs

PASSWORD = "sesame-of-the-tests"


class RedisServer:
    """Debian's redis-server, with a password. Keeps nothing on disk unless told to."""

    def __init__(self, folder: Path, *options: str) -> None:
        needs("redis-server")
        self.folder, self._options = folder, options
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def url(self, prefix: str = "t", **query: str) -> str:
        more = "".join(f"&{name}={value}" for name, value in query.items())
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}?prefix={prefix}{more}"

    def start(self) -> None:
        """Start it, again on its port, and wait until it says that it is ready."""
        self._process = subprocess.Popen(
            [
                *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--requirepass", PASSWORD, "--masterauth", PASSWORD, "--save", ""),
                *("--dir", str(self.folder), *self._options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        output = self._process.stdout
        assert output is not None
        said = []
        for line in output:
            said.append(line)
            if "Ready to accept connections" in line:
                break
        else:
            raise AssertionError("".join(said))
        threading.Thread(target=output.read, daemon=True).start()  # a full pipe would stop it

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
