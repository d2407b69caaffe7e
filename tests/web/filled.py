"""Fill a store with one execution of very many log lines: `python -m tests.web.filled FILE LINES`.
`… FILE many N` fills it with N executions that failed, of a minute each;
`… FILE trim ID N` takes the events before N from one that is there, as retention does.

Nobody would wait for a flow that says a million lines; the log takes them much faster. Every third
source and thousandth level is another, and one line in ten thousand says `needle`. Some were lost
to retention: the first `trimmed` events.
"""

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tailrace import snapshots
from tailrace.clock import rfc3339
from tailrace.events import Draft, new_execution_id
from tailrace.log.base import Opening
from tailrace.log.sqlite import SqliteLog

BATCH = 500


async def fill(file: Path, lines: int, trimmed: int) -> str:
    """Write an execution that has ended; returns its id."""
    began = datetime.now(UTC) - timedelta(hours=1)
    ts = rfc3339(began)
    execution_id = new_execution_id(began)
    async with SqliteLog(file) as log:
        opening = Opening(execution_id=execution_id, kind="workload", flow="archive")
        queued = Draft(type="execution.queued", ts=ts, data={"kind": "workload", "flow": "archive"})
        started = Draft(type="execution.started", ts=ts, data={"worker": "test"})
        await log.create(opening, [queued, started])
        for first in range(1, lines + 1, BATCH):
            numbers = range(first, min(first + BATCH, lines + 1))
            at = rfc3339(began + timedelta(milliseconds=first))
            await log.append(execution_id, [said(number, at) for number in numbers])
        at = rfc3339(began + timedelta(milliseconds=lines))
        ends = [
            Draft(type="log.sealed", ts=at, data={"source": "stdout"}),
            Draft(type="log.sealed", ts=at, data={"source": "stderr"}),
            Draft(type="execution.failed", ts=at, data={
                "error": {"type": "ExitStatus", "message": "exit status 3"},
                "total_duration_ms": lines, "exit_status": 3,
            }),
        ]  # fmt: skip
        await log.append(execution_id, ends)
        if trimmed:
            await _cut(log, execution_id, trimmed)
    return execution_id


def said(number: int, at: str) -> Draft:
    """One line."""
    what = "a needle in the hay" if number % 10_000 == 0 else f"entry {number:07} of the archive"
    data: dict[str, object] = {"line": what, "source": "stderr" if number % 3 == 0 else "stdout"}
    if number % 1000 == 0:
        data |= {"level": "error", "truncated": True}
    return Draft(type="log.line", ts=at, data=data)


async def many(file: Path, count: int) -> str:
    """Write executions that have failed, a minute apart; returns how many."""
    async with SqliteLog(file) as log:
        for number in range(count):
            began = datetime.now(UTC) - timedelta(minutes=count - number)
            ts, flow = rfc3339(began), f"night {number}"
            execution_id = new_execution_id(began)
            error = {"type": "ValueError", "message": f"row {number} is none"}
            events = [
                Draft(type="execution.queued", ts=ts, data={"kind": "workflow", "flow": flow}),
                Draft(type="execution.started", ts=ts, data={"worker": "test"}),
                Draft(type="execution.failed", ts=ts, data={"error": error}),
            ]
            await log.create(Opening(execution_id=execution_id, kind="workflow", flow=flow), events)
    return str(count)


async def trim(file: Path, execution_id: str, before: int) -> str:
    """Take its first events; returns its id."""
    async with SqliteLog(file) as log:
        await _cut(log, execution_id, before)
    return execution_id


async def _cut(log: SqliteLog, execution_id: str, floor: int) -> None:
    now = datetime.now(UTC)
    state = await snapshots.state_at(log, execution_id, floor - 1, page=BATCH, now=now)
    await snapshots.keep(log, state, now)
    await log.trim(execution_id, floor)


if __name__ == "__main__":
    path, given = Path(sys.argv[1]), sys.argv[2:]
    if given[0] == "many":
        print(asyncio.run(many(path, int(given[1]))))
    elif given[0] == "trim":
        print(asyncio.run(trim(path, given[1], int(given[2]))))
    else:
        print(asyncio.run(fill(path, int(given[0]), int(given[1]) if len(given) > 1 else 0)))
