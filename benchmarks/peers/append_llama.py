"""Durable appends of llama-agents-server 0.8 to SQLite: what its store takes, one event a call.

    python benchmarks/peers/append_llama.py WRITERS SECONDS

WRITERS asyncio tasks, each with a run of its own, await SqliteWorkflowStore.append_event: the call
the server itself makes for every event written with ctx.write_event_to_stream (without the
workflow around it, so this is its upper bound). It opens the database, inserts and commits in the
loop's own thread; WAL and synchronous FULL are its defaults. Prints {"events", "seconds"}.
"""

import asyncio
import json
import sys
import tempfile
import time

from _producer import State, next_event, pad
from llama_agents.client.protocol.serializable_events import (  # type: ignore[import-untyped]
    EventEnvelopeWithMetadata,
)
from llama_agents.server import SqliteWorkflowStore
from workflows.events import Event


class Bench(Event):
    n: int
    t: int
    p: str


async def write(store: SqliteWorkflowStore, run_id: str, deadline: float) -> int:
    state = State(1, pad(30))
    while time.monotonic() < deadline:
        event = Bench.model_construct(**next_event(state)[1])
        await store.append_event(run_id, EventEnvelopeWithMetadata.from_event(event))
        await asyncio.sleep(0)
    return state.counters[0]


async def main(writers: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteWorkflowStore(db_path=f"{folder}/workflows.db")
        began = time.monotonic()
        runs = [write(store, f"run-{i}", began + seconds) for i in range(writers)]
        events = sum(await asyncio.gather(*runs))
        print(json.dumps({"events": events, "seconds": time.monotonic() - began}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
