"""Durable appends of 200-byte events by writers that each await every one, to SQLite by default.

    python benchmarks/append.py WRITERS BATCH os|disk [--store URL] [--seconds S] [--at MOMENT]

The file lies beside the repository, since a folder for temporary files may be in memory. Several
processes that share a store begin at the same moment of the machine's monotonic clock.
"""

import argparse
import asyncio
import json
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import uvloop

from tailrace.adapters import open_log
from tailrace.cli.serving import tune_collector
from tailrace.clock import rfc3339
from tailrace.events import Draft, new_execution_id
from tailrace.log.base import Opening
from tailrace.settings import Settings

SECONDS = 1.5


async def measure(asked: argparse.Namespace, settings: Settings) -> dict[str, float]:
    """What was appended in the time, and the CPU time that this process took for it."""
    ts = rfc3339(datetime.now(UTC))
    count = 0
    async with open_log(settings) as log:

        async def write(execution_id: str, end: float) -> None:
            nonlocal count
            while time.monotonic() < end:
                data = {"n": count, "t": time.monotonic_ns(), "p": "x" * 10}
                draft = Draft(type="custom.bench", ts=ts, data=data)
                await log.append(execution_id, [draft] * asked.batch)
                count += asked.batch

        ids = [new_execution_id(datetime.now(UTC)) for _ in range(asked.writers)]
        for execution_id in ids:
            opening = Opening(execution_id=execution_id, kind="task", flow="bench")
            await log.create(opening, [Draft(type="execution.queued", ts=ts, data={})])
        await asyncio.sleep(max(asked.at - time.monotonic(), 0))
        spent, began = time.process_time(), time.monotonic()
        end = began + asked.seconds
        await asyncio.gather(*[write(execution_id, end) for execution_id in ids])
        spent, took = time.process_time() - spent, time.monotonic() - began
    return {"events": count, "seconds": took, "cpu_s": spent}


def main() -> None:
    """Print what was appended, and in how long."""
    parser = argparse.ArgumentParser()
    parser.add_argument("writers", type=int)
    parser.add_argument("batch", type=int)
    parser.add_argument("durability")
    parser.add_argument("--store")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--at", type=float, default=0.0)
    asked = parser.parse_args()
    tune_collector()
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[1]) as folder:
        store = asked.store or f"sqlite:///{folder}/log.db"
        settings = Settings(store=store, durability=asked.durability)
        print(json.dumps(uvloop.run(measure(asked, settings))))


if __name__ == "__main__":
    main()
