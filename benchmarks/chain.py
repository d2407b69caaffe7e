"""What an engine adds to a node that does nothing: a chain of 1,000 of them.

    python benchmarks/chain.py NODES

Tailrace with SQLite (two durable events for each node) and plain asyncio, one JSON line.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import uvloop

from tailrace import Tailrace, flow, node
from tailrace.cli.serving import tune_collector

ROUNDS = 3


@node(effects="pure", determinism="strict")
async def step(n: int) -> int:
    return n


async def _plain(n: int) -> int:
    return n


async def measure(nodes: int, folder: Path) -> dict[str, float]:
    """Microseconds a node, the best of ROUNDS."""

    @flow
    def chain(n: int = 0) -> object:
        for _ in range(nodes):
            n = step(n)
        return n

    ours = plain = float("inf")
    async with Tailrace(f"sqlite:///{folder}/log.db", flows=[chain]) as tailrace:
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await (await tailrace.start(chain))
            ours = min(ours, time.perf_counter() - began)
    for _ in range(ROUNDS):
        began = time.perf_counter()
        value = 0
        for _ in range(nodes):
            value = await asyncio.create_task(_plain(value))
        plain = min(plain, time.perf_counter() - began)
    return {"tailrace": ours / nodes * 1e6, "plain asyncio": plain / nodes * 1e6}


def main() -> None:
    """Print the figures."""
    tune_collector()
    with tempfile.TemporaryDirectory(dir=Path(__file__).parents[1]) as folder:
        print(json.dumps(uvloop.run(measure(int(sys.argv[1]), Path(folder)))))


if __name__ == "__main__":
    main()
