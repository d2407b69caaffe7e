"""Durable appends of DBOS 3.4 to its SQLite system database: one write_stream_async a call.

    python benchmarks/peers/append_dbos.py WRITERS SECONDS

WRITERS workflows at once, each with one step that awaits DBOS.write_stream_async in a loop, as
https://docs.dbos.dev/ai/streaming writes from a step (one INSERT and COMMIT each; from the
workflow's own body each would be checkpointed as a step besides). Each call goes through a thread;
the rollback journal and synchronous FULL are its defaults. Prints {"events", "seconds"}.
"""

import asyncio
import json
import sys
import tempfile
import time

from _producer import State, encode, next_event, pad
from dbos import DBOS

deadline: asyncio.Future[float]


@DBOS.step()
async def write_all() -> tuple[int, float]:
    """How many were written until the deadline, and when the last one was."""
    state, until = State(1, pad(30)), await deadline
    while time.monotonic() < until:
        await DBOS.write_stream_async("events", encode(next_event(state)[1]))
    return state.counters[0], time.monotonic()


@DBOS.workflow()
async def writer() -> tuple[int, float]:
    return await write_all()


async def main(writers: int, seconds: float) -> None:
    global deadline
    deadline = asyncio.get_running_loop().create_future()
    handles = [await DBOS.start_workflow_async(writer) for _ in range(writers)]
    await asyncio.sleep(0.5)  # all of them wait for the deadline now
    began = time.monotonic()
    deadline.set_result(began + seconds)
    results = [await handle.get_result() for handle in handles]
    events = sum(written for written, _ in results)
    print(json.dumps({"events": events, "seconds": max(ended for _, ended in results) - began}))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        DBOS(
            config={
                "name": "bench",
                "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
                "log_level": "ERROR",
            }
        )
        DBOS.launch()
        asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
        DBOS.destroy()
