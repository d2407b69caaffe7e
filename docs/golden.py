"""Records the golden logs: one for each way an execution can go.

    python docs/golden.py      runs the flows anew, and writes schemas/golden/*.json

The law of this file: what it writes is a log as the server gives it, with times, ids and places
of no particular machine. Both folds, Python's and the page's (web/client/src/fold.ts), are tested
on these; what they fold to is put in by docs/generate.py.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from tailrace import flow, node
from tailrace.cli.targets import load_flow
from tailrace.clock import rfc3339
from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.startable import Startable
from tailrace.testing.clock import EPOCH

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "schemas/golden"
STEP_MS = 40  # between two events
Json = dict[str, Any]


@node(effects="pure", attempts=3, retry_delay_ms=1)
async def flaky(tries: list[int]) -> int:
    """Fails twice."""
    _ATTEMPTS.append(1)
    if len(_ATTEMPTS) < 3:
        raise ConnectionError(f"try {len(_ATTEMPTS)} of {len(tries)}")
    return len(tries)


_ATTEMPTS: list[int] = []


@flow(name="retries")
def retries(tries: list[int] = [1, 2, 3]) -> object:  # noqa: B006 - a default of the input, never changed
    """A node that fails twice and then does not."""
    return flaky(tries)


@node
async def count(upto: int) -> AsyncIterator[int]:
    """A streaming node."""
    for number in range(upto):
        yield number


@flow(name="counting")
def counting(upto: int = 5) -> object:
    """A streaming capture: each value is an event."""
    return count(upto)


@node
async def forever(seconds: float) -> None:
    """Waits to be stopped."""
    await asyncio.sleep(seconds)


@flow(name="waiting")
def waiting(seconds: float = 60.0) -> object:
    """Somebody cancels it."""
    return forever(seconds)


@flow(name="late", deadline_ms=50)
def late(seconds: float = 60.0) -> object:
    """It passes its deadline."""
    return forever(seconds)


async def _end(run: Run) -> None:
    await run.wait()


async def _cancel(run: Run) -> None:
    async for event in run.follow():
        if event.type == "node.started":
            await run.cancel(reason="wrong day")


# name → (flow, input, what is done with it)
LOGS: dict[str, tuple[Startable, Json, Callable[[Run], Awaitable[None]]]] = {
    "etl": (load_flow("etl"), {}, _end),
    "failed": (load_flow("etl"), {"fail": True}, _end),
    "orders": (load_flow("orders"), {}, _end),
    "answer": (load_flow("answer"), {}, _end),
    "outline": (load_flow("outline"), {}, _end),
    "retries": (retries, {}, _end),
    "counting": (counting, {}, _end),
    "cancelled": (waiting, {}, _cancel),
    "timed_out": (late, {}, _end),
}


def of_nowhere(recorded: list[Json], name: str) -> list[Json]:
    """A log without what is of this machine and this minute."""
    began: dict[str | None, int] = {}
    for event in recorded:
        at = event["id"] * STEP_MS
        event["ts"] = rfc3339(EPOCH + timedelta(milliseconds=at))
        event["execution_id"] = f"01GOLDEN{name.upper().replace('_', ''):0>18}"
        data, owner = event["data"], event.get("node")
        if event["type"].endswith(".started"):
            began[owner] = at
        if "worker" in data:
            data["worker"] = "golden:1"
        for name_ in ("queued_at", "started_at", "completed_at", "failed_at"):
            if name_ in data:
                data[name_] = event["ts"]
        for name_ in ("duration_ms", "total_duration_ms"):
            if name_ in data and event["type"] != "tool.result":
                data[name_] = at - began.get(owner, at)
    text = json.dumps(recorded, ensure_ascii=False)
    loaded: list[Json] = json.loads(text.replace(str(ROOT), "/golden"))
    return loaded


async def record(name: str) -> list[Json]:
    """Run one of them."""
    startable, given, then = LOGS[name]
    async with Runtime(Settings(store="memory:"), flows=[startable]) as runtime:
        run = await runtime.start(startable.name, given)
        await then(run)
        return of_nowhere([event.to_dict() async for event in run.follow()], name)


def taken_over(counting: list[Json]) -> list[Json]:
    """A log as it is when the worker is killed after two values, and another goes on."""
    lost: Json = {"type": "worker_lost", "message": "its worker stopped without a word"}
    gone, again = counting[:5], [dict(event) for event in counting[1:]]
    for event in again:
        event["attempt"] = 2
    retrying = again[1] | {"type": "node.retrying", "attempt": 1, "data": {"error": lost}}
    warning = again[0] | {
        "type": "warning",
        "attempt": 1,
        "data": {"code": "worker_lost", "message": "attempt 2 waits for another"},
    }
    log = [*gone, warning, again[0], retrying, *again[1:]]
    for number, event in enumerate(log, start=1):
        event["id"] = number
    return of_nowhere(log, "taken_over")


def main() -> None:
    """Record all."""
    FOLDER.mkdir(exist_ok=True)
    logs = {name: asyncio.run(record(name)) for name in LOGS}
    logs["taken_over"] = taken_over(json.loads(json.dumps(logs["counting"])))
    for name, recorded in logs.items():
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps({"events": recorded}))
        print(f"recorded {path.relative_to(ROOT)}")
    print("now: python docs/generate.py")


if __name__ == "__main__":
    main()
