"""Redis pub/sub behind sse-starlette: the usual hand-rolled way to reach many processes.

    python benchmarks/peers/redis_sse.py PORT STREAMS

Follows https://redis.io/docs/latest/develop/clients/redis-py/async/ ("Pub/Sub"): a subscription, so
a connection to Redis, for each client, read with listen(). The pool of redis-py 8 ends at 100
connections and redis-server at 10,000 clients, so both limits are raised. Without hiredis, as
`pip install redis` gives it. Pub/sub keeps nothing, so there is no event id to send.

A redis-server of this machine is started on a free port, without persistence (--save ''), and ended
with the program. Produced in the server's own loop: one awaited PUBLISH for each event.
"""

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator

import redis.asyncio as redis
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
from redis.asyncio.client import PubSub
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

CLIENTS_MAX = 60_000
FRAMING = len("event: custom.bench\r\ndata: \r\n\r\n")


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """A server on a free port until the block ends."""
    program = shutil.which("redis-server")
    if program is None:
        sys.exit("there is no redis-server; install it (apt-get install redis-server)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--appendonly", "no", "--maxclients", str(CLIENTS_MAX), "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.02)
            yield port
        finally:
            process.terminate()
            process.wait()


def application(streams: int, redis_port: int) -> Starlette:
    state = State(streams, pad(FRAMING))
    client = redis.Redis(port=redis_port, decode_responses=True, max_connections=CLIENTS_MAX)

    async def publish(stream: int, event: Event) -> None:
        await client.publish(f"stream:{stream}", encode(event))

    async def messages(pubsub: PubSub) -> AsyncIterator[ServerSentEvent]:
        try:
            async for message in pubsub.listen():
                if message["type"] == "message":
                    yield ServerSentEvent(message["data"], event="custom.bench")
        finally:
            await pubsub.aclose()  # type: ignore[no-untyped-call]

    async def events(request: Request) -> EventSourceResponse:
        pubsub = client.pubsub()
        await pubsub.subscribe(f"stream:{request.path_params['stream']}")
        return EventSourceResponse(messages(pubsub))

    async def go(rate: float, seconds: float) -> None:
        await produce(state, rate, seconds, publish)

    def paths() -> list[str]:
        return [f"/events/{stream}" for stream in range(streams)]

    routes = [Route("/events/{stream:int}", events), *control_routes(state, paths, go)]
    return Starlette(routes=routes)


if __name__ == "__main__":
    port, streams = arguments()
    exit_on_sigterm()
    with redis_server() as redis_port:
        serve(application(streams, redis_port), port)
