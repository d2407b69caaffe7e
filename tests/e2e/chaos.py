"""Many executions on two workers that are killed at random: what is left of them?

    python -m tests.e2e.chaos --executions 200 --seconds 60

Each must end once; what a node did under an idempotency key must be there once, and anything else
at most once more for each attempt that was killed.
"""

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx

from tailrace.events import TERMINAL
from tests.e2e.conftest import COMMAND, start_flow, until
from tests.servers import RedisServer, free_port

FLOW = str(Path(__file__).with_name("chaos_flow.py"))
LEASE_S = 2.0
SLOTS = 20  # of two workers


@dataclass(frozen=True)
class Result:
    """What was found, when all had ended."""

    kills: int
    statuses: Counter[str]
    ends: Counter[int]  # terminal events in a log → logs
    attempts: Counter[int]
    keyed_twice: int
    keyed_missing: int
    unkeyed_twice: int
    unkeyed_more_than_attempts: int
    took_s: float


class Chaos:
    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.random = folder, random.Random(seed)
        self.redis = RedisServer(folder / "redis")
        self.env = os.environ | {
            "TAILRACE_STORE": self.redis.url("chaos"),
            "TAILRACE_QUEUE": "store",
            "TAILRACE_LEASE_S": str(LEASE_S),
            "TAILRACE_ATTEMPTS_MAX": "100",
        }
        self.effects = str(folder / "effects.db")
        with closing(sqlite3.connect(self.effects)) as book, book:
            book.execute("PRAGMA journal_mode = WAL")
            book.execute("CREATE TABLE effect (kind TEXT, key TEXT UNIQUE, execution TEXT)")
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        made = subprocess.Popen(
            [COMMAND, *arguments], stderr=subprocess.PIPE, text=True, env=self.env
        )
        assert made.stderr is not None
        made.stderr.readline()
        self.processes.append(made)
        return made

    def run(self, executions: int, seconds: float) -> Result:
        began = time.monotonic()
        port = free_port()
        self.start("serve", FLOW, "--port", str(port))
        url = f"http://127.0.0.1:{port}"
        workers = [self.start("worker", FLOW) for _ in range(2)]
        # So long that without any kill the two would be busy for all that time.
        pause_s = seconds * SLOTS / executions / 2
        given = {"path": self.effects, "pause_s": pause_s}
        ids = [start_flow(url, "chaos", **given, number=n) for n in range(executions)]
        kills = 0
        killing = time.monotonic()
        while time.monotonic() - killing < seconds:
            time.sleep(self.random.uniform(0.5, 2.0))
            victim = self.random.randrange(2)
            workers[victim].send_signal(signal.SIGKILL)
            workers[victim].wait()
            workers[victim] = self.start("worker", FLOW)
            kills += 1
        until(lambda: not _open(url))
        return self._result(url, ids, kills, time.monotonic() - began)

    def _result(self, url: str, ids: list[str], kills: int, took_s: float) -> Result:
        found = [_look(url, execution_id) for execution_id in ids]
        with closing(sqlite3.connect(self.effects)) as book:
            rows = book.execute("SELECT kind, key, execution FROM effect").fetchall()
        keyed = Counter(execution for kind, _, execution in rows if kind == "keyed")
        unkeyed = Counter(execution for kind, _, execution in rows if kind == "unkeyed")
        return Result(
            kills=kills,
            statuses=Counter(status for status, _, _ in found),
            ends=Counter(ends for _, ends, _ in found),
            attempts=Counter(attempt for _, _, attempt in found),
            keyed_twice=sum(keyed[str(n)] > 2 for n in range(len(ids))),
            keyed_missing=sum(keyed[str(n)] < 2 for n in range(len(ids))),
            unkeyed_twice=sum(count - 1 for count in unkeyed.values()),
            unkeyed_more_than_attempts=sum(
                unkeyed[str(n)] > attempt for n, (_, _, attempt) in enumerate(found)
            ),
            took_s=took_s,
        )

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()
        self.redis.kill()


def _base(url: str) -> str:
    return f"{url}/api/v1/workspaces/default/executions"


def _open(url: str) -> bool:
    found = [
        httpx.get(_base(url), params={"status": status, "limit": 1}).json()["executions"]
        for status in ("queued", "running", "cancelling")
    ]
    return any(found)


def _look(url: str, execution_id: str) -> tuple[str, int, int]:
    """Its status, how many terminal events its log has, and its last attempt."""
    execution = httpx.get(f"{_base(url)}/{execution_id}").json()
    page = httpx.get(f"{_base(url)}/{execution_id}/events", params={"limit": 1000}).json()
    kinds = [event["type"] for event in page["events"]]
    assert [event["id"] for event in page["events"]] == list(range(1, len(kinds) + 1))
    return execution["status"], sum(kind in TERMINAL for kind in kinds), execution["attempt"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--executions", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60, help="how long workers are killed")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "redis").mkdir()
        chaos = Chaos(Path(folder), given.seed)
        try:
            result = chaos.run(given.executions, given.seconds)
        finally:
            chaos.end()
    for name, value in vars(result).items():
        print(f"{name:28} {dict(value) if isinstance(value, Counter) else value}")


if __name__ == "__main__":
    main()
