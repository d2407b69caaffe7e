"""Starts servers on one core and the load generator on the other, and reads what they cost.

The contract of every server here: `PROGRAM PORT STREAMS` prints `ready` (or `ready control=PORT`)
and answers on 127.0.0.1
    GET  /paths                  a JSON list: the path of each stream
    POST /go?rate=R&seconds=S    202; then appends R events a second in all, round robin
    GET  /done                   {"produced", "done", "seconds"}
An event's data holds "n" (a counter for each stream) and "t" (CLOCK_MONOTONIC ns when it was
handed over), so the load generator can check order and loss, and time each delivery.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SERVER_CPU, CLIENT_CPU = "0", "1"
READY_S = 60.0
TICKS = os.sysconf("SC_CLK_TCK")
Json = dict[str, Any]


class Unavailable(Exception):
    """A peer cannot run here; the message says why."""


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def build(name: str) -> Path:
    """Compile one of the C programs, if it has changed."""
    source, target = HERE / "native" / f"{name}.c", HERE / "native" / "built" / name
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise Unavailable("there is no C compiler; install gcc")
        target.parent.mkdir(exist_ok=True)
        subprocess.run([compiler, "-O2", "-Wall", "-o", target, source], check=True)
    return target


def _children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    own = [int(child) for child in path.read_text().split()] if path.exists() else []
    return own + [grand for child in own for grand in _children(child)]


@dataclass
class Server:
    """A running server and what it has cost so far, its children included."""

    name: str
    process: subprocess.Popen[str]
    port: int
    control: int
    paths: list[str]
    publish: str | None = None  # for servers that are fed over HTTP: the path, with %d for a stream
    extra: Json = field(default_factory=dict)

    def ask(self, path: str, method: str = "GET") -> Any:
        url = f"http://127.0.0.1:{self.control}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
            return json.load(answer)

    @property
    def pids(self) -> list[int]:
        return [self.process.pid, *_children(self.process.pid)]

    def cpu_s(self) -> float:
        """CPU seconds of all its processes."""
        total = 0
        for pid in self.pids:
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def rss_bytes(self) -> int:
        """Resident memory of all its processes."""
        total = 0
        for pid in self.pids:
            with contextlib.suppress(OSError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                total += pages * os.sysconf("SC_PAGE_SIZE")
        return total


@contextlib.contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    *,
    port: int,
    paths: list[str] | None = None,
    publish: str | None = None,
    cwd: Path | None = None,
    env: dict[str, str] | None = None,
    cpus: str = SERVER_CPU,
) -> Iterator[Server]:
    """Run a server pinned to its core until the block ends. Raises Unavailable."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            ["taskset", "-c", cpus, *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=cwd,
            env=os.environ | (env or {}),
            preexec_fn=_many_files,
            start_new_session=True,
        )
        try:
            control = _until_ready(process, port, errors)
            server = Server(name, process, port, control, paths or [], publish)
            if paths is None:
                server.paths = server.ask("/paths")
            yield server
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            assert process.stdout is not None
            process.stdout.close()


def _many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _until_ready(process: subprocess.Popen[str], port: int, errors: Any) -> int:
    """Wait for the ready line, if it says one, and until it accepts. Returns the control port."""
    deadline = time.monotonic() + READY_S
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    silent = "nginx" in str(process.args)
    said, control = "", port if silent else 0
    while time.monotonic() < deadline:
        if process.poll() is not None:
            errors.seek(0)
            last = (errors.read().strip().splitlines() or ["it said nothing"])[-1]
            raise Unavailable(f"exit status {process.returncode}: {last}")
        with contextlib.suppress(TypeError):  # nothing to read yet
            said += process.stdout.read()
        for line in said.splitlines():
            if line.startswith("ready"):
                control = int(line.partition("control=")[2] or port)
        if control:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", control)):
                return control
        time.sleep(0.02)
    raise Unavailable(f"not ready within {READY_S:.0f} s")


class LoadGenerator:
    """The C program on the other core: one command, one answer."""

    def __enter__(self) -> "LoadGenerator":
        self.process = subprocess.Popen(
            ["taskset", "-c", CLIENT_CPU, build("loadgen")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=_many_files,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def command(self, line: str) -> Json:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the load generator died at {line!r}")
        return dict(json.loads(answer))

    def connect(self, server: Server, count: int, *, stalled_per_100: int = 0) -> Json:
        """Open watchers; the i-th watches path i, modulo."""
        with tempfile.NamedTemporaryFile("w", suffix=".paths") as file:
            file.write("\n".join(server.paths))
            file.flush()
            return self.command(f"connect {count} {server.port} {file.name} {stalled_per_100}")


def venv(*packages: str) -> Path:
    """The benchmark's own environment, with what the peers need. Returns its python."""
    folder = HERE.parent / ".venv-bench"
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    listed = folder / ".installed"
    known = set(listed.read_text().split("\n")) if listed.exists() else set()
    missing = [package for package in packages if package not in known]
    if missing:
        quiet = ["--quiet", "--disable-pip-version-check"]
        done = subprocess.run(
            [python, "-m", "pip", "install", *quiet, *missing],
            check=False,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Unavailable(f"pip: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        listed.write_text("\n".join(known | set(missing)))
    return python
