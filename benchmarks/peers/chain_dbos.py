"""DBOS: a workflow of N steps that do nothing, with its SQLite system database.

    python benchmarks/peers/chain_dbos.py NODES

Each step's result is checkpointed, as DBOS does by design (docs.dbos.dev, "Steps").
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from dbos import DBOS

ROUNDS = 3


@DBOS.step()
async def step(n: int) -> int:
    return n


@DBOS.workflow()
async def chain(nodes: int) -> int:
    value = 0
    for _ in range(nodes):
        value = await step(value)
    return value


async def measure(nodes: int) -> float:
    """Microseconds a node, the best of ROUNDS."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        await chain(nodes)
        best = min(best, time.perf_counter() - began)
    return best / nodes * 1e6


def main() -> None:
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[2]) as folder:
        url = f"sqlite:///{folder}/dbos.sqlite"
        DBOS(config={"name": "bench", "system_database_url": url, "log_level": "ERROR"})
        DBOS.launch()
        print(json.dumps({"dbos": asyncio.run(measure(nodes=int(sys.argv[1])))}))
        DBOS.destroy()


if __name__ == "__main__":
    main()
