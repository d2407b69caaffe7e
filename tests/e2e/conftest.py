"""The real command in real processes. Waited is for what they say and for their ends."""

import json
import os
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import pytest

COMMAND = str(Path(sys.executable).with_name("tailrace"))


class Shell:
    """Runs `tailrace` commands that share one store, and ends what it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = os.environ | {
            "TAILRACE_STORE": f"sqlite:///{folder / 'log.db'}",
            "NO_COLOR": "1",
            "PYTHONWARNINGS": "error::ResourceWarning",
        }
        self._processes: list[subprocess.Popen[str]] = []

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=50,
            env=self.env | options.pop("env", {}),
            cwd=self.folder,
            **options,
        )

    def start(self, *arguments: str, **env: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            env=self.env | env,
            cwd=self.folder,
        )
        self._processes.append(process)
        return process

    def serve(self, *arguments: str, **env: str) -> tuple[subprocess.Popen[str], str]:
        """Start a server on a free port; returns it and its URL once it listens."""
        process = self.start("serve", *arguments, "--port", "0", **env)
        assert process.stderr is not None
        first = process.stderr.readline()
        found = re.search(r"http://\S+", first)
        assert found, first + process.stderr.read()
        return process, found[0]

    def watch(self, url: str, *arguments: str) -> subprocess.Popen[str]:
        """Start to follow a stream, with curl."""
        command = ["curl", "-sN", "-m", "18", *arguments, url]
        watcher = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._processes.append(watcher)
        return watcher

    def started_id(self, process: subprocess.Popen[str]) -> str:
        """The id that `run` and `exec` name on stderr."""
        assert process.stderr is not None
        found = re.search(r"execution (\w{26})", process.stderr.readline())
        assert found
        return found[1]

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            if process.stdout is None or not process.stdout.closed:  # else the test has read it
                process.communicate()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.end()


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """These tests have no event loop of their own."""


def heard(output: IO[str] | None, text: str) -> str:
    """Wait for a line with this in it; returns what came, that line included."""
    assert output is not None
    lines = []
    for line in output:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"it ended without {text!r}: {''.join(lines)}")


@contextmanager
def ending(*pids: int) -> Iterator[None]:
    """What this block does ends these processes, whosever they are: leaving it waits for that."""
    with ExitStack() as stack:
        handles = [os.pidfd_open(pid) for pid in pids]
        for handle in handles:
            stack.callback(os.close, handle)
        yield
        for handle in handles:
            select.select([handle], [], [])


def until(condition: Callable[[], Any]) -> Any:
    """Ask again until something is so; the test's timeout is the limit.

    Only for what nobody is told of: a place that is free again, a count, a socket that the kernel
    has let go. What is said, and what ends, is waited for (`heard`, `ending`). The pause leaves
    the processor to whom it depends on.
    """
    while not (found := condition()):
        time.sleep(0.02)
    return found


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def stream_url(url: str, execution_id: str) -> str:
    return f"{url}/api/v1/workspaces/default/executions/{execution_id}/stream"


def curl(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["curl", "-sN", "-m", "15", *arguments, url],
        check=False,
        capture_output=True,
        text=True,
        timeout=18,
    )


def wire_ids(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"^id: (\d+)$", text, re.MULTILINE)]


def start_flow(url: str, flow: str, **given: Any) -> str:
    answer = httpx.post(
        f"{url}/api/v1/workspaces/default/executions", json={"flow": flow, "input": given}
    )
    return str(answer.raise_for_status().json()["execution_id"])
