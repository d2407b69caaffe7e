"""What every peer shares: events at a rate, the control endpoints, and how uvicorn is run.

The contract is in benchmarks/harness.py. A program here makes `State`, says how one event is given
to its peer, adds `control_routes` beside the peer's own routes and calls `serve`.
"""

import asyncio
import json
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

TICK_S = 0.002
MOST_AT_ONCE = 5000
BLOCK_BYTES = 230  # one event in text/event-stream, blank line included
Event = dict[str, Any]


@dataclass
class State:
    """The streams, and how far the production is."""

    streams: int
    pad: str
    counters: list[int] = field(default_factory=list)
    turn: int = 0
    produced: int = 0
    done: bool = True
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.counters = [0] * self.streams


def arguments() -> tuple[int, int]:
    """PORT and STREAMS."""
    return int(sys.argv[1]), int(sys.argv[2])


def pad(framing: int) -> str:
    """What fills a block to its size; `framing` is what the peer puts around the JSON object."""
    return "x" * (BLOCK_BYTES - framing - len('{"n":1234,"t":12345678901234,"p":""}'))


def encode(event: Event) -> str:
    """Compact JSON, one line."""
    return json.dumps(event, separators=(",", ":"))


def next_event(state: State) -> tuple[int, Event]:
    """The next stream in turn and its event, stamped now."""
    stream = state.turn
    state.turn = (stream + 1) % state.streams
    n = state.counters[stream]
    state.counters[stream] = n + 1
    return stream, {"n": n, "t": time.monotonic_ns(), "p": state.pad}


async def produce(
    state: State,
    rate: float,
    seconds: float,
    give: Callable[[int, Event], Awaitable[object] | None],
) -> None:
    """Give events at `rate` for `seconds`, one call each, awaited where it is asynchronous."""
    state.produced, state.done, began = 0, False, time.monotonic()
    try:
        while (elapsed := time.monotonic() - began) < seconds:
            for _ in range(min(int(elapsed * rate) - state.produced, MOST_AT_ONCE)):
                stream, event = next_event(state)
                if (given := give(stream, event)) is not None:
                    await given
                state.produced += 1
                if time.monotonic() - began >= seconds:
                    break
            # Until the next is due, but in steps of a tick where many are: each wake-up costs.
            early = (state.produced + 1) / rate - (time.monotonic() - began)
            await asyncio.sleep(max(early, TICK_S))
    finally:
        state.seconds, state.done = time.monotonic() - began, True


def control_routes(
    state: State,
    paths: Callable[[], list[str]],
    go: Callable[[float, float], Coroutine[Any, Any, None]],
) -> list[Route]:
    """The three endpoints of the contract."""
    tasks: set[asyncio.Task[None]] = set()

    async def get_paths(request: Request) -> JSONResponse:
        return JSONResponse(paths())

    async def post_go(request: Request) -> JSONResponse:
        rate, seconds = (float(request.query_params[name]) for name in ("rate", "seconds"))
        state.done = False
        task = asyncio.create_task(go(rate, seconds))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return JSONResponse({}, 202)

    async def get_done(request: Request) -> JSONResponse:
        said = {name: getattr(state, name) for name in ("produced", "done", "seconds")}
        return JSONResponse(said)

    return [
        Route("/paths", get_paths),
        Route("/go", post_go, methods=["POST"]),
        Route("/done", get_done),
    ]


def exit_on_sigterm() -> None:
    """Make SIGTERM an ordinary exit, so what the program started is ended by its `with` blocks."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def serve(app: Any, port: int, *, ready: str = "ready") -> None:
    """Run until SIGTERM: one process, HTTP/1.1, uvloop and httptools, no access log."""
    exit_on_sigterm()  # uvicorn raises the signal again when it has shut down
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        backlog=4096,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            if self.started:
                print(ready, flush=True)

        async def shutdown(self, sockets: Any = None) -> None:
            logging.disable()  # streams that are cut off here are no news
            await super().shutdown(sockets)

    Server(config).run()
