"""DBOS 3.4 durable streams on its SQLite system database, served as SSE by plain Starlette.

    python benchmarks/peers/dbos_streams.py PORT STREAMS

Follows https://docs.dbos.dev/ai/streaming: a step of a workflow writes with write_stream (from a
step it is one INSERT; from the workflow's own body it is checkpointed as a step besides), and
anybody reads with read_stream. DBOS has no HTTP face: DBOS.read_stream_async is sent by a
StreamingResponse, one reader for each client; any number may read one stream.

On SQLite a reader polls (LISTEN/NOTIFY is for Postgres); the documented default of 1 s
(notification_listener_polling_interval_sec) would make the latency 0.5 s, so it is DBOS_POLL_S,
50 ms unless the environment says otherwise. All else is its default, 10 polling reads at a time
among it.

Each stream is a workflow whose step takes events from an asyncio.Queue and awaits
DBOS.write_stream_async for each; the time is stamped just before. The value is the encoded JSON. A
client reads from where the stream is when it comes, or after its Last-Event-ID.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from _producer import (
    Event,
    State,
    arguments,
    control_routes,
    encode,
    exit_on_sigterm,
    pad,
    produce,
    serve,
)
from dbos import DBOS, SetWorkflowID
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

POLL_S = float(os.environ.get("DBOS_POLL_S", "0.05"))
FRAMING = len("id: 1234\nevent: custom.bench\ndata: \n\n")
queues: list[asyncio.Queue[Event]] = []


@DBOS.step()
async def write_all(stream: int) -> None:
    """Write what the queue of this stream gives, one call each, until the program ends."""
    while True:
        event = await queues[stream].get()
        event["t"] = time.monotonic_ns()
        await DBOS.write_stream_async("events", encode(event))
        queues[stream].task_done()


@DBOS.workflow()
async def stream_workflow(stream: int) -> None:
    await write_all(stream)


def application(streams: int) -> Starlette:
    state = State(streams, pad(FRAMING))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        queues.extend(asyncio.Queue(1) for _ in range(streams))
        for stream in range(streams):
            with SetWorkflowID(f"stream-{stream}"):
                await DBOS.start_workflow_async(stream_workflow, stream)
        yield

    async def messages(stream: int, offset: int) -> AsyncIterator[str]:
        values = DBOS.read_stream_async(
            f"stream-{stream}", "events", offset=offset, polling_interval_sec=POLL_S
        )
        async for value in values:
            yield f"id: {offset}\nevent: custom.bench\ndata: {value}\n\n"
            offset += 1

    async def events(request: Request) -> StreamingResponse:
        stream = int(request.path_params["stream"])
        last = request.headers.get("last-event-id", request.query_params.get("after"))
        offset = state.counters[stream] if last is None else int(last) + 1
        return StreamingResponse(messages(stream, offset), media_type="text/event-stream")

    async def go(rate: float, seconds: float) -> None:
        await produce(state, rate, seconds, lambda stream, event: queues[stream].put(event))

    def paths() -> list[str]:
        return [f"/events/{stream}" for stream in range(streams)]

    routes = [Route("/events/{stream:int}", events), *control_routes(state, paths, go)]
    return Starlette(routes=routes, lifespan=lifespan)


if __name__ == "__main__":
    port, streams = arguments()
    exit_on_sigterm()
    with tempfile.TemporaryDirectory() as folder:
        DBOS(
            config={
                "name": "bench",
                "system_database_url": f"sqlite:///{folder}/dbos.sqlite",
                "log_level": "ERROR",
            }
        )
        DBOS.launch()
        serve(application(streams), port)
