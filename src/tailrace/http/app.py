"""The ASGI app: routes, limits and the life of the runtime behind them.

The law of this file: it composes. Streams are plain ASGI routes beside FastAPI's JSON routes,
so nothing wraps them; the runtime opens with the app's lifespan, unless its owner opened it.
"""

import asyncio
import contextlib
import re
import signal
import threading
from collections.abc import AsyncIterator
from functools import partial
from types import FrameType
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailrace.errors import PayloadTooLarge, StoreClosed, TailraceError
from tailrace.filters import LEVELS
from tailrace.flow.build import Flow
from tailrace.http import executions, probe, problems
from tailrace.http.faces import NDJSON
from tailrace.http.streams import StreamEndpoint
from tailrace.http.triggers import TriggerEndpoint
from tailrace.runtime import Runtime
from tailrace.version import __version__

STREAM = "/api/v1/workspaces/{workspace}/executions/{execution_id}/stream"
_STREAM_PATH = re.compile(STREAM.replace("{", "(?P<").replace("}", ">[^/]+)"))


def create_app(runtime: Runtime) -> ASGIApp:
    """Make the ASGI app of a runtime. Serve it, or mount it in any ASGI app under any prefix.

    Mounted, its lifespan does not run: open the runtime with `async with` in your own.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if runtime.is_open:
            yield
        else:
            async with runtime:
                yield

    app = FastAPI(
        title="Tailrace",
        version=__version__,
        description="Live, durable, resumable execution streaming.",
        lifespan=lifespan,
    )
    problems.install(app)
    app.include_router(executions.router(runtime))
    app.include_router(probe.router(runtime))
    app.include_router(executions.health(runtime))
    app.router.routes.append(Route(STREAM, StreamEndpoint(runtime), methods=["GET"]))
    for flow in runtime.flows.values():
        if isinstance(flow, Flow) and flow.ir.trigger.path is not None:
            methods = [flow.ir.trigger.method or "POST"]
            trigger = Route(flow.ir.trigger.path, TriggerEndpoint(runtime, flow), methods=methods)
            app.router.routes.append(trigger)
    app.add_middleware(_BodyLimit, limit=runtime.settings.body_max_bytes)
    _describe_stream(app)
    return _Gate(app, runtime)


class _Gate:
    """Refuses requests while the runtime is closed; learns of a shutdown before the server acts.

    Streams leave the way to FastAPI here: each of its layers would keep a coroutine's frame for
    as long as the stream lasts.
    """

    def __init__(self, app: ASGIApp, runtime: Runtime) -> None:
        self.app, self.runtime, self.streams = app, runtime, StreamEndpoint(runtime)
        self._listening = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if not self.runtime.is_open:
            closed = StoreClosed(hint="A mounted Tailrace is opened by its owner: `async with`")
            return await problems.problem(closed)(scope, receive, send)
        if not self._listening:
            self._listening = True
            close_on_signal(self.runtime)
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        found = _STREAM_PATH.fullmatch(path) if scope["method"] in ("GET", "HEAD") else None
        if found is None:
            return await self.app(scope, receive, send)
        scope["path_params"] = found.groupdict()
        try:
            return await self.streams(scope, receive, send)
        except TailraceError as error:
            return await problems.problem(error)(scope, receive, send)


class _BodyLimit:
    """Reads a request body whole, up to a limit, so that no handler ever meets a larger one."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app, self.limit = app, limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD", "OPTIONS"):
            return await self.app(scope, receive, send)
        body = bytearray()
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self.limit:
                error = PayloadTooLarge(f"The body is larger than {self.limit} bytes")
                return await problems.problem(error)(scope, receive, send)
        replayed = False

        async def replay() -> Message:
            nonlocal replayed
            if replayed:
                return await receive()
            replayed = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        await self.app(scope, replay, send)
        return None


def close_on_signal(runtime: Runtime) -> None:
    """Close the hub on SIGTERM and SIGINT, before the server's own handler runs.

    A server waits for open streams before it tells the app of a shutdown, so the app must
    hear of it by itself. The handler that was there is called after ours and put back at the
    end. Only in the main thread: elsewhere Python allows no handlers, and the embedder calls
    `runtime.hub.close()`.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(received: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(runtime.hub.close)
            if callable(before):
                before(received, frame)
            elif before is signal.SIG_DFL:
                signal.signal(received, signal.SIG_DFL)
                signal.raise_signal(received)

        signal.signal(number, handle)
        runtime.at_exit(partial(signal.signal, number, before))


def _describe_stream(app: FastAPI) -> None:
    """Put the stream into the OpenAPI document: FastAPI sees only its own routes."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        document = generated()
        document["paths"].setdefault(STREAM, {"get": _STREAM_OPERATION})
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI documents this as the way


def _parameter(name: str, where: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": {"type": "string", **schema},
    }


_STREAM_OPERATION: dict[str, Any] = {
    "tags": ["streams"],
    "summary": "Follow an execution, live or finished",
    "operationId": "stream",
    "description": "Replays from the position asked for, then follows to the terminal event.",
    "parameters": [
        _parameter("workspace", "path", "The workspace that owns the execution."),
        _parameter("execution_id", "path", "The execution."),
        _parameter("Last-Event-ID", "header", "A position; exclusive; wins over `after`."),
        _parameter("after", "query", "A position: `<seq>` or `<seq>@<epoch>`; exclusive."),
        _parameter("events", "query", "Only these: `node.*,log.line`; the terminal event always."),
        _parameter("node", "query", "Only events of these nodes."),
        _parameter("level", "query", "Log lines of this level or above.", enum=list(LEVELS)),
        _parameter("tail", "query", "Without a position: begin with this many of the newest."),
        _parameter("follow", "query", "`false`: what is there, then close.", default="true"),
        _parameter("heartbeat", "query", "How silence is filled.", enum=["comment", "event"]),
    ],
    "responses": {
        "200": {
            "description": "The events, in order, each once.",
            "content": {
                "text/event-stream": {"schema": {"type": "string"}},
                NDJSON: {"schema": {"type": "string"}},
            },
        },
        "204": {"description": "The position is the terminal event's: there is nothing left."},
        "400": {"description": "The position or a parameter is malformed."},
        "404": {"description": "There is no such execution in this workspace."},
        "503": {"description": "The server is shutting down; resume at another."},
    },
}
