"""Durable appends of 200-byte events to SQLite, by writers that each await every one.

    python benchmarks/append.py WRITERS BATCH os|disk

The file lies beside the repository, since a folder for temporary files may be in memory.
"""

import asyncio
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from tailrace.cli.serving import tune_collector
from tailrace.clock import rfc3339
from tailrace.events import Draft, new_execution_id
from tailrace.log.base import Opening
from tailrace.log.sqlite import SqliteLog

SECONDS = 1.5


async def measure(writers: int, batch: int, durability: str, folder: Path) -> int:
    """Events appended in SECONDS."""
    ts = rfc3339(datetime.now(UTC))
    count = 0
    async with SqliteLog(folder / "log.db", durability=durability) as log:

        async def write(execution_id: str, end: float) -> None:
            nonlocal count
            while time.monotonic() < end:
                data = {"n": count, "t": time.monotonic_ns(), "p": "x" * 10}
                draft = Draft(type="custom.bench", ts=ts, data=data)
                await log.append(execution_id, [draft] * batch)
                count += batch

        ids = [new_execution_id(datetime.now(UTC)) for _ in range(writers)]
        for execution_id in ids:
            opening = Opening(execution_id=execution_id, kind="task", flow="bench")
            await log.create(opening, [Draft(type="execution.queued", ts=ts, data={})])
        end = time.monotonic() + SECONDS
        await asyncio.gather(*[write(execution_id, end) for execution_id in ids])
    return count


def main() -> None:
    """Print what was appended, and in how long."""
    writers, batch, durability = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    tune_collector()
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[1]) as folder:
        count = uvloop.run(measure(writers, batch, durability, Path(folder)))
    print(json.dumps({"events": count, "seconds": SECONDS}))


if __name__ == "__main__":
    main()
