"""FastAPI's own Server-Sent Events (fastapi.sse, FastAPI 0.135 and later), on uvicorn.

    python benchmarks/peers/fastapi_sse.py PORT STREAMS

Follows https://fastapi.tiangolo.com/tutorial/server-sent-events/: an `async def` path operation
with response_class=EventSourceResponse that yields ServerSentEvent, with `raw_data` for what is
already encoded. The tutorial says nothing of many clients: as in most applications, each has an
asyncio.Queue, and one ServerSentEvent (validated by Pydantic once) is put into all of them.

Produced in the server's own loop; the JSON is encoded once for each event. Nothing is stored.
"""

import asyncio
from collections.abc import AsyncIterator

from _producer import Event, State, arguments, control_routes, encode, pad, produce, serve
from fastapi import FastAPI
from fastapi.sse import EventSourceResponse, ServerSentEvent

QUEUE_MAX = 10_000
FRAMING = len("event: custom.bench\ndata: \nid: 1234\n\n")


def application(streams: int) -> FastAPI:
    state = State(streams, pad(FRAMING))
    clients: list[list[asyncio.Queue[ServerSentEvent]]] = [[] for _ in range(streams)]

    def broadcast(stream: int, event: Event) -> None:
        message = ServerSentEvent(raw_data=encode(event), id=str(event["n"]), event="custom.bench")
        full = []
        for queue in clients[stream]:
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                full.append(queue)
        for queue in full:
            clients[stream].remove(queue)

    async def go(rate: float, seconds: float) -> None:
        await produce(state, rate, seconds, broadcast)

    def paths() -> list[str]:
        return [f"/events/{stream}" for stream in range(streams)]

    app = FastAPI(routes=list(control_routes(state, paths, go)))

    @app.get("/events/{stream}", response_class=EventSourceResponse)
    async def events(stream: int) -> AsyncIterator[ServerSentEvent]:
        queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue(QUEUE_MAX)
        clients[stream].append(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            if queue in clients[stream]:
                clients[stream].remove(queue)

    return app


if __name__ == "__main__":
    port, streams = arguments()
    serve(application(streams), port)
