"""The ASGI app: routes, limits and the life of the runtime behind them.

The law of this file: it composes. Streams are plain ASGI routes beside FastAPI's JSON routes,
so nothing wraps them; the runtime opens with the app's lifespan, unless its owner opened it.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import AsyncIterator
from functools import partial
from types import FrameType
from typing import Any

from fastapi import FastAPI
from starlette.routing import Route, compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailrace.errors import InvalidRequest, PayloadTooLarge, StoreClosed, TailraceError
from tailrace.flow.build import Flow
from tailrace.http import about, executions, ingest, probe, problems, prometheus, sessions, ui
from tailrace.http.access import Gate
from tailrace.http.bodies import head_refusal, require_json
from tailrace.http.describe import WORKSPACE_STREAM, describe_routes
from tailrace.http.observe import NOTE, SEND, Observer
from tailrace.http.streams import endpoints
from tailrace.http.triggers import TriggerEndpoint
from tailrace.http.workloads import workloads_router
from tailrace.http.workspace import WorkspaceEndpoint
from tailrace.metrics import Tally
from tailrace.runtime import Runtime
from tailrace.version import __version__


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
    app.include_router(about.catalog(runtime))
    app.include_router(workloads_router(runtime))
    app.include_router(ingest.router(runtime))
    app.include_router(sessions.router(runtime))
    app.include_router(probe.router(runtime))
    app.include_router(about.health(runtime))
    observer = (
        Observer(runtime) if runtime.settings.metrics or runtime.settings.access_log else None
    )
    if observer and runtime.settings.metrics:
        runtime.metrics = tally = Tally()
        app.include_router(prometheus.router(runtime, observer, tally))
    streams = endpoints(runtime) | {WORKSPACE_STREAM: WorkspaceEndpoint(runtime)}
    for path, endpoint in streams.items():
        app.router.routes.append(Route(path, endpoint, methods=["GET"]))
    app.router.routes.extend(ui.routes())
    for flow in runtime.flows.values():
        if isinstance(flow, Flow) and flow.ir.trigger.path is not None:
            methods = [flow.ir.trigger.method or "POST"]
            trigger = Route(flow.ir.trigger.path, TriggerEndpoint(runtime, flow), methods=methods)
            app.router.routes.append(trigger)
    app.add_middleware(_BodyLimit, limit=runtime.settings.body_max_bytes)
    described = (flow.ir for flow in runtime.flows.values() if isinstance(flow, Flow))
    describe_routes(app, list(described))
    inner: ASGIApp = _Gate(app, runtime, streams, observer)
    if observer is None:
        return Gate(inner, runtime)
    return Gate(observer.observed(inner), runtime, observer.observed)


class _Gate:
    """Refuses requests while the runtime is closed; learns of a shutdown before the server acts.

    Streams leave the way to FastAPI here: each of its layers would keep a coroutine's frame for
    as long as the stream lasts.
    """

    def __init__(
        self,
        app: ASGIApp,
        runtime: Runtime,
        streams: dict[str, ASGIApp],
        observer: Observer | None,
    ) -> None:
        self.app, self.runtime, self.observer = app, runtime, observer
        self._streams = [(compile_path(path)[0], endpoint) for path, endpoint in streams.items()]
        self._listening = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if not self.runtime.is_open:
            closed = StoreClosed(hint="A mounted Tailrace is opened by its owner: `async with`")
            return await problems.problem(closed)(scope, receive, send)
        if (refusal := head_refusal(scope, self.runtime.settings)) is not None:
            return await problems.problem(refusal)(scope, receive, send)
        if not self._listening:
            self._listening = True
            close_on_signal(self.runtime)
        endpoint = self._stream(scope) if scope["method"] in ("GET", "HEAD") else None
        if endpoint is None:
            return await self.app(scope, receive, send)
        note = None
        if self.observer is not None:
            view = getattr(endpoint, "view", "workspace")
            note = scope[NOTE] = self.observer.stream(scope, view)
            send = scope.pop(SEND)
        try:
            return await endpoint(scope, receive, send)
        except TailraceError as error:
            if note is not None:
                note.refused(error)
            return await problems.problem(error)(scope, receive, send)

    def _stream(self, scope: Scope) -> ASGIApp | None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        for pattern, endpoint in self._streams:
            if found := pattern.match(path):
                scope["path_params"] = found.groupdict()
                return endpoint
        return None


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
        if body:
            try:
                require_json(bytes(body))
            except InvalidRequest as error:
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
