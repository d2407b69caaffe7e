"""Tailrace itself, as `tailrace serve` runs it: durable append to SQLite, uvicorn, one process.

    python benchmarks/ours.py PORT STREAMS [--store URL] [--durability disk]

The same contract as every peer (benchmarks/harness.py). Events are `custom.bench` in executions
that run here, and each is in the log before anybody sees it.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from tailrace import Settings, Tailrace, events
from tailrace.cli.serving import server_config, tune_collector
from tailrace.clock import SystemClock, rfc3339
from tailrace.endings import Ending
from tailrace.events import Draft
from tailrace.recorder import Recorder

TICK_S = 0.002
MOST_AT_ONCE = 20_000
MOST_IN_APPEND = 5_000
PAD = "x" * 10


class Producer:
    """Appends events at a rate, round robin over all executions, one append for each in a tick."""

    def __init__(self, tailrace: Tailrace, ids: list[str]) -> None:
        self.tailrace, self.ids, self.clock = tailrace, ids, SystemClock()
        self.counters: Counter[str] = Counter()
        self.turn = self.produced = 0
        self.seconds, self.done = 0.0, True

    async def run(self, rate: float, seconds: float, most: int) -> None:
        self.produced, self.done, began = 0, False, time.monotonic()
        try:
            await self._produce(rate, seconds, most, began)
        finally:
            self.seconds, self.done = time.monotonic() - began, True

    async def _produce(self, rate: float, seconds: float, most: int, began: float) -> None:
        at_once = min(MOST_AT_ONCE, MOST_IN_APPEND * len(self.ids))
        while (elapsed := time.monotonic() - began) < seconds and self.produced < most:
            due = min(int(elapsed * rate) - self.produced, at_once)
            if due > 0:
                await self.append(due)
                self.produced += due
            # Until the next is due, but in steps of a tick where many are: each wake-up costs.
            early = (self.produced + 1) / rate - (time.monotonic() - began)
            await asyncio.sleep(max(early, TICK_S) if early > 0 else 0)

    async def append(self, due: int) -> None:
        batches: dict[str, list[Draft]] = defaultdict(list)
        ts = rfc3339(self.clock.now())
        for _ in range(due):
            execution_id = self.ids[self.turn % len(self.ids)]
            self.turn += 1
            data = {"n": self.counters[execution_id], "t": time.monotonic_ns(), "p": PAD}
            self.counters[execution_id] += 1
            batches[execution_id].append(Draft(type="custom.bench", ts=ts, data=data))
        log = self.tailrace.log
        await asyncio.gather(*[log.append(key, batch) for key, batch in batches.items()])


async def _never_ends(recorder: Recorder) -> Ending:
    await anyio.sleep_forever()
    raise AssertionError


def application(settings: Settings, streams: int) -> Starlette:
    """Tailrace with the three paths of the contract beside it."""
    tailrace = Tailrace(settings=settings)
    ids: list[str] = []
    producer = Producer(tailrace, ids)
    tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with tailrace:
            for _ in range(streams):
                queued = events.ExecutionQueued(kind="task", flow="bench", workspace="default")
                ids.append((await tailrace.begin(queued, _never_ends)).id)
            print("ready", flush=True)
            yield

    async def paths(request: Request) -> JSONResponse:
        base = "/api/v1/workspaces/default/executions"
        return JSONResponse([f"{base}/{execution_id}/stream" for execution_id in ids])

    async def go(request: Request) -> JSONResponse:
        rate, seconds = (float(request.query_params[name]) for name in ("rate", "seconds"))
        producer.done = False
        most = int(request.query_params.get("most", sys.maxsize))
        tasks.add(asyncio.create_task(producer.run(rate, seconds, most)))
        return JSONResponse({}, 202)

    async def done(request: Request) -> JSONResponse:
        fields = ("produced", "done", "seconds")
        return JSONResponse({name: getattr(producer, name) for name in fields})

    routes = [
        Route("/paths", paths),
        Route("/go", go, methods=["POST"]),
        Route("/done", done),
        Mount("/", tailrace.asgi()),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def main() -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("streams", type=int)
    parser.add_argument("--store")
    parser.add_argument("--durability", default="os")
    parser.add_argument("--heartbeat", type=float, default=15.0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            store=asked.store or f"sqlite:///{folder}/bench.db",
            durability=asked.durability,
            executions_max=100_000,
            lifetime_s=86_400,
            heartbeat_s=asked.heartbeat,
        )
        config = server_config(application(settings, asked.streams), settings)
        config.port = asked.port
        tune_collector()
        uvicorn.Server(config).run()


if __name__ == "__main__":
    main()
