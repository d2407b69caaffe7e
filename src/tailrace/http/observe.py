"""What is noted of requests and streams: counted for `/metrics`, and a line each in the access log.

The law of this file: a stream is noted at its begin, at its first event and at its end, never in
between; a request once. A line holds no secret: of the target only the path, of the headers none.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailrace import metrics
from tailrace.errors import TailraceError
from tailrace.http.problems import CODE
from tailrace.positions import Opening
from tailrace.runtime import Runtime

NOTE = "tailrace.note"  # in the ASGI scope of a request for a stream
OBSERVER = "tailrace.observer"  # in the scope of every request
SEND = (
    "tailrace.send"  # likewise: the server's own `send`, for streams, which are noted by themselves
)
LEFT = 499  # what servers note where the client left before there was an answer
WORKSPACES_MAX = 1000  # told apart in labels; the others are one
_access = logging.getLogger("tailrace.access")


class Observer:
    """Notes what an app does. One for each app."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.clock = runtime, runtime.clock
        self.access = runtime.settings.access_log
        self.active: Counter[tuple[str, ...]] = Counter()  # (view, workspace) → open streams
        self._workspaces: set[str] = set()

    def stream(self, scope: Scope, view: str, execution_id: str | None = None) -> "StreamNote":
        """Begin to note a request for a stream; of which execution, where its path does not say."""
        return StreamNote(self, scope, view, execution_id)

    def workspace(self, name: str) -> str:
        """A workspace's name as a label has it."""
        if not self.runtime.settings.metrics_workspaces:
            return ""
        if len(self._workspaces) < WORKSPACES_MAX:
            self._workspaces.add(name)
        return name if name in self._workspaces else "other"

    def observed(self, app: ASGIApp) -> ASGIApp:
        """An app whose requests are noted, by whomever they are answered in it."""
        return _Observed(self, app)

    async def note(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let an app answer a request, and note how."""
        began, status, size = self.clock.monotonic(), LEFT, 0
        scope[OBSERVER], scope[SEND] = self, send

        async def sent(message: Message) -> None:
            nonlocal status, size
            status = message.get("status", status)
            size += len(message.get("body", b""))
            await send(message)

        try:
            await app(scope, receive, sent)
        except Exception:
            status = 500 if status == LEFT else status
            raise
        finally:
            scope.pop(SEND, None)  # it holds the scope: memory would wait for the collector
            if NOTE not in scope:  # else it became a stream, which is noted by itself
                self._answered(scope, status)
                self.line(scope, status, began, bytes=size)

    def _answered(self, scope: Scope, status: int) -> None:
        route = str(getattr(scope.get("route"), "path", "none"))
        count = self.runtime.metrics.count
        method = scope["method"] if scope["method"] in _METHODS else "other"
        count(metrics.REQUESTS, method, route, str(status))
        code = scope.get(CODE)
        if code is not None and (status in (413, 429) or code == "overloaded"):
            count(metrics.LIMITS, code)
        if code is not None and method == "POST" and route.endswith(_INGEST):
            count(metrics.REJECTS, code)

    def line(self, scope: Scope, status: int, began: float, **more: Any) -> None:
        """Write a line of the access log, if there is one."""
        if not self.access:
            return
        took = round((self.clock.monotonic() - began) * 1000)
        client = scope.get("client")
        fields = {
            "method": scope["method"],
            "path": quote(scope["path"]),  # a line break in a path must not make a line here
            "status": status,
            "duration_ms": took,
            "client": client[0] if client else None,
            "execution_id": (scope.get("path_params") or {}).get("execution_id"),
            "code": scope.get(CODE),
            **more,
        }
        told = {name: value for name, value in fields.items() if value is not None}
        _access.info("%(method)s %(path)s %(status)d", told, extra={"fields": told})


_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# W3C Trace Context: version, trace, span and flags; a later version may say more after them.
_TRACE = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-|$)"
)
_INGEST = ("/jobs/progress", "/{execution_id}/events")


class StreamNote:
    """One request for a stream, to its end; it outlives the request where that is handed over."""

    __slots__ = ("_began", "_bytes", "_observer", "_scope", "_trace_id", "_view", "_workspace")

    def __init__(
        self, observer: Observer, scope: Scope, view: str, execution_id: str | None
    ) -> None:
        self._observer, self._view, self._workspace = observer, view, ""
        # Of the scope only what a line needs, if there is one: a stream may last for hours.
        wanted = ("method", "path", "client", "path_params") if observer.access else ()
        self._scope: dict[str, Any] = {name: scope.get(name) for name in wanted}
        if execution_id is not None and observer.access:
            self._scope["path_params"] = {"execution_id": execution_id}
        self._began = observer.clock.monotonic()
        self._bytes = 0
        self._trace_id = trace_id(scope)

    def refused(self, error: TailraceError) -> None:
        """It was answered with an error."""
        self._scope[CODE] = error.code
        self._connected(error.status, error.code)
        if error.status in (413, 429) or error.code == "overloaded":
            self._observer.runtime.metrics.count(metrics.LIMITS, error.code)
        self._observer.line(self._scope, error.status, self._began)

    def looked(self) -> None:
        """It was a HEAD: nobody wants the stream."""
        self._observer.line(self._scope, 200, self._began)

    def complete(self) -> None:
        """It was answered with 204: there is nothing left to tell."""
        self._count(metrics.RESUMES, "complete")
        self._connected(204, "complete")
        self._observer.line(self._scope, 204, self._began)

    def opened(self, workspace: str, opening: Opening | None, *, resumes: bool) -> None:
        """It is open; of a stream of many there is no opening."""
        self._workspace = self._observer.workspace(workspace)
        self._connected(200, "open")
        self._observer.active[self._view, self._workspace] += 1
        if resumes:
            gap = opening.gap if opening is not None else None
            self._count(metrics.RESUMES, f"gap_{gap.cause}" if gap else "recovered")

    def first(self) -> None:
        """Its first event was there already, and goes out."""
        took = self._observer.clock.monotonic() - self._began
        self._observer.runtime.metrics.observe(metrics.FIRST, took, trace_id=self._trace_id)

    def ended(self, reason: str, events: int) -> None:
        """It is over."""
        observer = self._observer
        self._count(metrics.ENDS, self._view, self._workspace, reason)
        active = (self._view, self._workspace)
        observer.active[active] -= 1
        took = observer.clock.monotonic() - self._began
        observer.runtime.metrics.observe(
            metrics.STREAM_SECONDS, took, self._view, trace_id=self._trace_id
        )
        observer.line(
            self._scope, 200, self._began, events=events, bytes=self._bytes, reason=reason
        )

    def counted(self, write: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """A transport's `write` that counts bytes, if the access log tells them."""
        if not self._observer.access:
            return write

        def counting(data: bytes) -> None:
            self._bytes += len(data)
            write(data)

        return counting

    def sending(self, send: Send) -> Send:
        """The same for an ASGI server's `send`."""
        if not self._observer.access:
            return send

        async def counting(message: Message) -> None:
            self._bytes += len(message.get("body", b""))
            await send(message)

        return counting

    def _connected(self, status: int, outcome: str) -> None:
        self._count(metrics.CONNECTS, self._view, self._workspace, str(status), outcome)

    def _count(self, metric: metrics.Metric, *labels: str) -> None:
        self._observer.runtime.metrics.count(metric, *labels)


def traceparent(scope: Scope) -> str | None:
    """What a request says of the trace that it is of; what is malformed says nothing."""
    for name, value in scope["headers"]:
        if name == b"traceparent" and _TRACE.match(text := value.decode("latin-1")):
            return str(text[:55])
    return None


def trace_id(scope: Scope) -> str | None:
    """The id of that trace."""
    found = traceparent(scope)
    return found.split("-")[1] if found else None


class _Observed:
    """An app, and who notes its answers."""

    def __init__(self, observer: Observer, app: ASGIApp) -> None:
        self.observer, self.app = observer, app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self.observer.note(self.app, scope, receive, send)
        else:
            await self.app(scope, receive, send)
