"""sse-starlette 3.7: its EventSourceResponse on Starlette and uvicorn.

    python benchmarks/peers/starlette_sse.py PORT STREAMS

(The file is not called sse_starlette.py: it would hide the package from every peer in the folder.)

Set up as the project's own example of broadcasting does, examples/02_message_broadcasting.py in
https://github.com/sysid/sse-starlette: an asyncio.Queue for each client, one ServerSentEvent made
for all of them and given with put_nowait, and a client whose queue is full is taken off the list.
Two things the example does are left out, both in the peer's favour: its wait_for around each get()
and the is_disconnected() in each turn (the response itself watches for the disconnect and pings).

Produced in the server's own loop; the JSON is encoded once for each event. Nothing is stored.
"""

import asyncio
from collections.abc import AsyncIterator

from _producer import Event, State, arguments, control_routes, encode, pad, produce, serve
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

QUEUE_MAX = 10_000
FRAMING = len("id: 1234\r\nevent: custom.bench\r\ndata: \r\n\r\n")


def application(streams: int) -> Starlette:
    state = State(streams, pad(FRAMING))
    clients: list[list[asyncio.Queue[ServerSentEvent]]] = [[] for _ in range(streams)]

    def broadcast(stream: int, event: Event) -> None:
        message = ServerSentEvent(encode(event), id=str(event["n"]), event="custom.bench")
        full = []
        for queue in clients[stream]:
            try:
                queue.put_nowait(message)
            except asyncio.QueueFull:
                full.append(queue)
        for queue in full:
            clients[stream].remove(queue)

    async def messages(
        stream: int, queue: asyncio.Queue[ServerSentEvent]
    ) -> AsyncIterator[ServerSentEvent]:
        try:
            while True:
                yield await queue.get()
        finally:
            if queue in clients[stream]:
                clients[stream].remove(queue)

    async def events(request: Request) -> EventSourceResponse:
        stream = int(request.path_params["stream"])
        queue: asyncio.Queue[ServerSentEvent] = asyncio.Queue(QUEUE_MAX)
        clients[stream].append(queue)
        return EventSourceResponse(messages(stream, queue))

    async def go(rate: float, seconds: float) -> None:
        await produce(state, rate, seconds, broadcast)

    def paths() -> list[str]:
        return [f"/events/{stream}" for stream in range(streams)]

    routes = [Route("/events/{stream:int}", events), *control_routes(state, paths, go)]
    return Starlette(routes=routes)


if __name__ == "__main__":
    port, streams = arguments()
    serve(application(streams), port)
