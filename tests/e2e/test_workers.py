"""Several server processes on one port (`tailrace serve --workers`), on one SQLite file."""

import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import Shell, curl, ending, heard, start_flow, stream_url, until, wire_ids

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux deals connections out")

FLOWS = """
import anyio
from pathlib import Path
from tailrace import flow, log, node

@node(effects="read_only")
async def speaks(until: str) -> int:
    said = 0
    while not Path(until).exists():
        log(f"{said}")
        said += 1
        await anyio.sleep(0.02)
    return said

@flow
def talk(until: str) -> object:
    return speaks(until)
"""


def free_pair() -> int:
    """A port that is free, as is its next one, below those that the kernel gives to anybody."""
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as first, socket.socket() as second, suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 1))
            return port


class Pair:
    """Two processes on one port, each reached alone on a port of its own."""

    def __init__(self, shell: Shell, *arguments: str) -> None:
        path = shell.folder / "flows.py"
        path.write_text(FLOWS)
        base = free_pair()
        given = (str(path), "--workers", "2", "--workers-port", str(base), *arguments)
        self.parent, self.url = shell.serve(*given)
        self.first, self.second = (f"http://127.0.0.1:{port}" for port in (base, base + 1))

    def pid(self, own_url: str) -> int:
        """Which process has that port."""
        mark = f":{own_url.rpartition(':')[2]}:"
        for pid in self.children():
            if mark in Path(f"/proc/{pid}/cmdline").read_text():
                return pid
        raise AssertionError(f"no process has {own_url}")

    def children(self) -> list[int]:
        pid = self.parent.pid
        return [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def watch(shell: Shell, url: str, execution_id: str) -> subprocess.Popen[str]:
    """A watcher whose stream has begun."""
    watcher = shell.watch(stream_url(url, execution_id))
    heard(watcher.stdout, "event: log.line\n")
    return watcher


def last_type(text: str) -> str:
    return str(re.findall(r"^event: (.*)$", text, re.MULTILINE)[-1])


def answers(url: str) -> Callable[[], bool]:
    def asked() -> bool:
        try:
            return httpx.get(f"{url}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    return asked


def test_any_process_serves_what_another_runs(shell: Shell) -> None:
    pair = Pair(shell, "--streams-per-workspace-max", "1")
    running = start_flow(pair.first, "talk", until=str(shell.folder / "never"))
    watcher = watch(shell, pair.second, running)
    refused = curl(stream_url(pair.first, running), "-o", "/dev/null", "-w", "%{http_code}")
    assert refused.stdout == "429"  # they count together
    httpx.post(f"{pair.second}/api/v1/workspaces/default/executions/{running}/cancel")
    rest = watcher.communicate()[0]
    assert last_type(rest) == "execution.cancelled"
    whole = wire_ids(curl(stream_url(pair.url, running)).stdout)
    assert whole == list(range(1, whole[-1] + 1))
    assert wire_ids(rest) == whole[-len(wire_ids(rest)) :]


def test_a_killed_process_is_replaced_and_the_other_goes_on(shell: Shell) -> None:
    pair = Pair(shell, "--lease-s", "1")
    enough = shell.folder / "enough"
    doomed = start_flow(pair.first, "talk", until=str(shell.folder / "never"))
    other = start_flow(pair.second, "talk", until=str(enough))
    watchers = [watch(shell, pair.second, doomed), watch(shell, pair.second, other)]
    pair_pid = pair.pid(pair.first)
    subprocess.run(["kill", "-9", str(pair_pid)], check=True)
    assert last_type(watchers[0].communicate()[0]) == "execution.lost"
    until(answers(pair.first))
    assert pair.pid(pair.first) != pair_pid
    enough.touch()
    assert last_type(watchers[1].communicate()[0]) == "execution.completed"
    whole = curl(stream_url(pair.first, other)).stdout
    assert wire_ids(whole) == list(range(1, wire_ids(whole)[-1] + 1))
    assert pair.parent.stderr is not None
    assert "a server process ended (SIGKILL)" in pair.parent.stderr.readline()


def test_a_signal_ends_all_in_good_order(shell: Shell) -> None:
    pair = Pair(shell)
    running = start_flow(pair.first, "talk", until=str(shell.folder / "never"))
    watchers = [watch(shell, url, running) for url in (pair.first, pair.second)]
    children = pair.children()
    pair.parent.send_signal(signal.SIGTERM)
    assert pair.parent.wait() == 0
    for watcher in watchers:
        assert last_type(watcher.communicate()[0]) in ("stream.closing", "execution.cancelled")
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    _, url = shell.serve()
    assert last_type(curl(stream_url(url, running)).stdout) == "execution.cancelled"


def test_no_process_outlives_a_parent_that_was_killed(shell: Shell) -> None:
    pair = Pair(shell)
    children = pair.children()
    assert len(children) == 2
    with ending(*children):
        pair.parent.kill()


def test_metrics_are_of_each_process_and_never_of_whichever_answers(shell: Shell) -> None:
    pair = Pair(shell)
    start_flow(pair.first, "talk", until=str(shell.folder / "never"))
    running = "tailrace_executions_running 1.0"
    assert running in httpx.get(f"{pair.first}/metrics").text
    assert running not in httpx.get(f"{pair.second}/metrics").text
    shared = httpx.get(f"{pair.url}/metrics")
    assert shared.status_code == 400
    assert "--workers-port" in shared.json()["hint"]


def test_what_is_wrong_is_said_once(shell: Shell) -> None:
    def said(*arguments: str) -> tuple[int, list[str]]:
        done = shell.run("serve", "--workers", "2", *arguments)
        return done.returncode, done.stderr.splitlines()

    status, lines = said("--port", "0", "no_such_target")
    assert status == 2
    assert [line.partition(":")[0] for line in lines] == ["error[target_not_found]"]
    status, lines = said("--store", "memory:")
    assert (status, len(lines)) == (2, 1)
    assert "a log of its own" in lines[0]
    _, url = shell.serve("--workers", "2")
    for workers in ("1", "2"):  # the port is not shared with strangers
        status, lines = said("--workers", workers, "--port", url.rpartition(":")[2])
        assert (status, len(lines)) == (1, 1)
        assert lines[0].startswith("error[address_unavailable]: ")
