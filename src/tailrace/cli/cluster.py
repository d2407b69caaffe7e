"""`tailrace demo --cluster`: a Redis, two servers and two workers, of which some are killed.

The law of this file: what the table says was counted: by a watcher like any other, which knows
one address only, and in the log at the end. Everything that is started here ends here.
"""

import os
import re
import shutil
import signal
import socket
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from importlib.util import find_spec
from pathlib import Path

import anyio
import anyio.to_thread
from anyio.abc import ByteReceiveStream, ByteSendStream, Process, SocketStream, TaskStatus
from anyio.streams.buffered import BufferedByteReceiveStream
from rich.table import Table

from tailrace.cli import render
from tailrace.cli.options import DONE, FAILED
from tailrace.client import Client
from tailrace.clock import stopwatch
from tailrace.errors import RemoteError, ToolMissing
from tailrace.events import TERMINAL, Event

INVOICES, PAUSE_S, LEASE_S = 20, 0.2, 2.0
KILL_SERVER_AT, KILL_WORKER_AT = 6, 12  # after so many of the invoices
LINE_MAX = 65_536


class Front:
    """One address for all servers: each connection goes to the next one that answers."""

    def __init__(self) -> None:
        self.url = ""
        self.behind: list[str] = []
        self._next = 0
        self.connections = 0
        self.last = ""  # the server that the newest connection went to

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Accept until cancelled."""
        async with await anyio.create_tcp_listener(
            local_host="127.0.0.1", local_port=0
        ) as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610 - anyio's own
            self.url = f"http://127.0.0.1:{port}"
            task_status.started()
            await listener.serve(self._serve)

    async def _serve(self, client: SocketStream) -> None:
        async with client:
            for _ in range(len(self.behind)):
                url = self.behind[self._next % len(self.behind)]
                self._next += 1
                with suppress(OSError):
                    server = await anyio.connect_tcp("127.0.0.1", int(url.rpartition(":")[2]))
                    self.last = url
                    self.connections += 1
                    async with server, anyio.create_task_group() as tasks:
                        tasks.start_soon(_pass, client, server)
                        await _pass(server, client)
                        tasks.cancel_scope.cancel()
                    return


async def _pass(source: ByteReceiveStream, sink: ByteSendStream) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await sink.send(await source.receive())


class Cluster:
    """The processes, by name; each says on stderr when it is ready."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.processes = folder, dict[str, Process]()
        self._env = dict(os.environ)

    async def start_redis(self) -> None:
        """Start a Redis that keeps nothing. Raises ToolMissing."""
        program = shutil.which("redis-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise ToolMissing("redis-server is not installed")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        await self._start("redis", [*command, "--dir", str(self.folder)], "Ready to accept")
        self._env |= {
            "TAILRACE_STORE": f"redis://127.0.0.1:{port}/0",
            "TAILRACE_QUEUE": "store",
            "TAILRACE_LEASE_S": str(LEASE_S),
            "TAILRACE_RETRY_MS": "100",
        }

    async def serve(self, name: str) -> str:
        """Start a server; returns its URL."""
        said = await self._start(name, [*_tailrace(), "serve", "ledger", "--port", "0"], "http://")
        found = re.search(r"http://\S+", said)
        assert found is not None
        return found[0]

    async def work(self, name: str) -> None:
        """Start a worker."""
        await self._start(name, [*_tailrace(), "worker", "ledger"], "tailrace worker:")

    async def _start(self, name: str, command: list[str], ready: str) -> str:
        process = await anyio.open_process(
            command, env=self._env, stdin=None, stdout=None if name != "redis" else -1
        )
        self.processes[name] = process
        source = process.stdout if name == "redis" else process.stderr
        assert source is not None
        lines = BufferedByteReceiveStream(source)
        line = "and said nothing"
        try:
            while True:
                line = (await lines.receive_until(b"\n", LINE_MAX)).decode(errors="replace")
                if ready in line:
                    return line
        except (anyio.IncompleteRead, anyio.EndOfStream):
            raise RemoteError(f"{name} ended before it was ready: {line}") from None

    def kill(self, name: str) -> None:
        """As a machine does that loses its power."""
        self.processes[name].send_signal(signal.SIGKILL)

    def named(self, pid: int) -> str:
        """Which process it is."""
        return next(name for name, process in self.processes.items() if process.pid == pid)

    async def end(self) -> None:
        """End all of them."""
        with anyio.CancelScope(shield=True):
            for process in self.processes.values():
                if process.returncode is None:
                    process.kill()
            for process in self.processes.values():
                await process.wait()
                await process.aclose()


def _tailrace() -> list[str]:
    return [sys.executable, sys.argv[0]]


class Count:
    """What the watcher was given."""

    def __init__(self) -> None:
        self.ids: Counter[int] = Counter()
        self.ends = self.booked = 0
        self.workers: list[int] = []
        self.waits: dict[str, float] = {}  # from a kill to the next sign of life
        self._killed: tuple[str, float, Callable[[Event], bool]] | None = None

    def add(self, event: Event) -> None:
        """Count an event; those without an id are of one connection only."""
        if event.id is None:
            return
        self.ids[event.id] += 1
        self.ends += event.type in TERMINAL
        self.booked += "booked" in str(event.data.get("line", ""))
        if event.type == "execution.started":
            self.workers.append(int(str(event.data["worker"]).rpartition(":")[2]))
        if self._killed is not None:
            name, at, goes_on = self._killed
            if goes_on(event):
                self.waits[name] = stopwatch() - at
                self._killed = None

    def killed(self, name: str, goes_on: Callable[[Event], bool]) -> None:
        """Somebody was killed: measure until the event that says that it goes on."""
        self._killed = name, stopwatch(), goes_on


@asynccontextmanager
async def _cluster() -> AsyncIterator[tuple[Cluster, Front, list[str]]]:
    with tempfile.TemporaryDirectory(prefix="tailrace-") as folder:
        cluster, front = Cluster(Path(folder)), Front()
        try:
            await cluster.start_redis()
            async with anyio.create_task_group() as tasks:
                servers = [await cluster.serve(name) for name in ("server 1", "server 2")]
                for name in ("worker 1", "worker 2"):
                    await cluster.work(name)
                front.behind = list(servers)
                await tasks.start(front.run)
                yield cluster, front, servers
                tasks.cancel_scope.cancel()
        finally:
            await cluster.end()


async def demo() -> int:
    """Show it; returns the exit status: 1 if anything was lost or came twice.

    Raises ToolMissing if Redis, or what talks to it, is not installed.
    """
    if missing := [name for name in ("hiredis", "saq") if find_spec(name) is None]:
        raise ToolMissing(
            f"{' and '.join(missing)}: not installed", hint="pip install 'tailrace[redis,worker]'"
        )
    console = render.console()
    console.print("Starting a Redis, two servers and two workers …", style="dim")
    async with _cluster() as (cluster, front, servers):
        books = cluster.folder / "ledger.db"
        count = Count()
        async with Client(front.url) as client:
            given = {"path": str(books), "count": INVOICES, "pause_s": PAUSE_S}
            execution_id = await client.start("ledger", given)
            console.rule(f"[bold]ledger[/]  {execution_id}", style="dim")
            async for event in client.follow(execution_id):
                console.print(render.line(event))
                count.add(event)
                victim = _victim(event, count, cluster, front, servers)
                if victim is not None:
                    console.print(f"⚡ kill -9 {victim}", style="bold red")
                    cluster.kill(victim)
                    count.killed(victim, _goes_on(victim, front))
            log = await client.get(execution_id)
        rows = await anyio.to_thread.run_sync(_rows, books)
    return _report(count, int(log["head"]), int(log["attempt"]), rows)


def _victim(
    event: Event, count: Count, cluster: Cluster, front: Front, servers: list[str]
) -> str | None:
    """Whom to kill now, if anybody."""
    if event.type != "log.line":
        return None
    if count.booked == KILL_SERVER_AT:
        return f"server {servers.index(front.last) + 1}"
    if count.booked == KILL_WORKER_AT and len(count.workers) == 1:
        return cluster.named(count.workers[0])
    return None


def _goes_on(victim: str, front: Front) -> Callable[[Event], bool]:
    """What shows that the watcher has its stream again, or the execution a worker."""
    before = front.connections
    if victim.startswith("server"):
        return lambda event: front.connections > before
    return lambda event: event.type == "execution.started"


def _rows(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(path)) as book:
        found: tuple[int, int] = book.execute(
            "SELECT count(*), count(DISTINCT key) FROM booking"
        ).fetchone()
    return found


def _report(count: Count, head: int, attempts: int, rows: tuple[int, int]) -> int:
    lost = [number for number in range(1, head + 1) if number not in count.ids]
    twice = [number for number, times in count.ids.items() if times > 1]
    checks = [
        ("events in the log", str(head), True),
        ("events that the watcher was given", str(len(count.ids)), len(count.ids) == head),
        ("lost", str(len(lost)), not lost),
        ("given twice", str(len(twice)), not twice),
        ("terminal events", str(count.ends), count.ends == 1),
        ("attempts", str(attempts), attempts == 2),
        (f"invoices booked, of {INVOICES}", str(rows[0]), rows == (INVOICES, INVOICES)),
    ]
    for name, wait_s in count.waits.items():
        what = "the stream went on" if name.startswith("server") else "another worker went on"
        checks.append((f"{name} killed; {what} after", f"{wait_s:.2f} s", True))
    table = Table(box=None, pad_edge=False, show_header=False)
    for what, found, good in checks:
        table.add_row("✓" if good else "✗", what, found, style="" if good else "red")
    render.console().print("", table)
    killed_both = len(count.waits) == 2
    return DONE if killed_both and all(good for _, _, good in checks) else FAILED
