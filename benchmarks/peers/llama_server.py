"""LlamaIndex's llama-agents-server 0.8: its WorkflowServer with the SQLite store.

    python benchmarks/peers/llama_server.py PORT STREAMS

(The file is not called llama_agents.py: it would hide the package.)

Set up as https://developers.llamaindex.ai/python/llamaagents/workflows/deployment/ says for
persistence: WorkflowServer(workflow_store=SqliteWorkflowStore(db_path=...)), here in a temporary
folder (WAL, synchronous FULL: what its migration and SQLite's default give). The heartbeat is off,
which only spares it a timer. Its own ASGI application is served, by our uvicorn settings.

A stream is a run of one workflow, followed at its own GET /events/{handler_id}?sse=true, from now
on (`after_sequence`, default "now"; -1 is from the beginning). Any number of clients may follow one
run: each reads the store from its own position, woken by a condition (0.8 has no `acquire...`
parameters). The server sends no `event:` line; the type is in the envelope around the event.

The runs are started by POST /workflows/bench/run-nowait. The step of each waits, and /go calls ctx.write_event_to_stream of its context: once for each
event, then one turn of the loop, in which the store's INSERT and COMMIT happen. Each event is thus
on disk before the next one is made.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from _producer import Event as BenchEvent
from _producer import State, arguments, control_routes, exit_on_sigterm, pad, produce, serve
from llama_agents.server import SqliteWorkflowStore, WorkflowServer
from starlette.applications import Starlette
from workflows import Context, Workflow, step
from workflows.events import Event, StartEvent, StopEvent

ENVELOPE = '{"value":,"types":null,"type":"Bench","qualified_name":"__main__.Bench"}'
FRAMING = len("id: 1234\ndata: \n\n") + len(ENVELOPE)


class Begin(StartEvent):
    stream: int


class Bench(Event):
    n: int
    t: int
    p: str


class Stream(Workflow):
    """One step, which runs until the server ends and lends its context to the producer."""

    begun: asyncio.Queue[tuple[int, Context]]

    @step
    async def run_until_stopped(self, ctx: Context, ev: Begin) -> StopEvent:
        self.begun.put_nowait((ev.stream, ctx))
        await asyncio.Event().wait()
        return StopEvent()


def application(streams: int, folder: Path) -> Starlette:
    state = State(streams, pad(FRAMING))
    workflow = Stream(timeout=None)
    workflow.begun = asyncio.Queue()
    contexts: dict[int, Context] = {}
    store = SqliteWorkflowStore(db_path=str(folder / "workflows.db"))
    server = WorkflowServer(workflow_store=store, sse_heartbeat_interval=None)
    server.add_workflow("bench", workflow, additional_events=[Bench])

    async def write(stream: int, event: BenchEvent) -> None:
        contexts[stream].write_event_to_stream(Bench.model_construct(**event))
        await asyncio.sleep(0)

    async def go(rate: float, seconds: float) -> None:
        await produce(state, rate, seconds, write)

    def paths() -> list[str]:
        return [f"/events/stream-{stream}?sse=true" for stream in range(streams)]

    app = server.app
    starts = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with starts(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://bench") as client:
                for stream in range(streams):
                    run = {"handler_id": f"stream-{stream}", "start_event": {"stream": stream}}
                    answer = await client.post("/workflows/bench/run-nowait", json=run)
                    answer.raise_for_status()
            for _ in range(streams):
                stream, context = await workflow.begun.get()
                contexts[stream] = context
            yield

    app.router.lifespan_context = lifespan
    app.router.routes[:0] = control_routes(state, paths, go)
    return app


if __name__ == "__main__":
    port, streams = arguments()
    exit_on_sigterm()
    with tempfile.TemporaryDirectory() as folder:
        serve(application(streams, Path(folder)), port)
