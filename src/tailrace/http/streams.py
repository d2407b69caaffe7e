"""The stream: one execution's events, live, to one client. Plain ASGI, no framework in between.

The law of this file: everything that can be refused is refused with a real status before the
first byte; from then on the stream says everything in frames. One loop serves replay and live
alike. Nothing here holds an event back or keeps one.

Where the server can hand its connection over (tailrace.http.direct), the loop runs there,
without this task; the bytes are the same.

Why not FastAPI's or sse-starlette's responses: each spends tasks and memory streams on every
connection (45-57 kB, research/hubs.md section 2.1) and neither can end for a shutdown.
"""

import asyncio
import re
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from tailrace.errors import ExecutionNotFound, InvalidRequest, ShuttingDown
from tailrace.filters import Filter, parse
from tailrace.http.direct import EXTENSION, Direct
from tailrace.http.faces import NDJSON, NDJSON_FACE, SSE_FACE, Face, Words, writer
from tailrace.hub import Position, Signal, Watcher
from tailrace.runtime import Runtime

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asked for, checked."""

    position: Position | None
    follow: bool
    heartbeat_event: bool
    face: Face
    wanted: Filter | None
    newest: int | None


def asked(request: Request) -> Asked:
    """Read a stream request. Raises InvalidPosition or InvalidRequest."""
    query = request.query_params
    # The header wins: a browser sends it on every reconnect, to the same URL.
    position = request.headers.get("last-event-id") or query.get("after")
    heartbeat = query.get("heartbeat", "comment")
    if heartbeat not in ("comment", "event"):
        raise InvalidRequest("heartbeat is `comment` or `event`")
    follow = _BOOLEANS.get(query.get("follow", "true"))
    if follow is None:
        raise InvalidRequest("follow is `true` or `false`")
    ndjson = re.search(rf"{re.escape(NDJSON)}\b", request.headers.get("accept", ""))
    return Asked(
        position=Position.parse(position) if position else None,
        follow=follow,
        heartbeat_event=heartbeat == "event",
        face=NDJSON_FACE if ndjson else SSE_FACE,
        wanted=parse(query.getlist("events"), query.getlist("node"), query.get("level")),
        newest=_count(query.get("tail")),
    )


def _count(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise InvalidRequest("tail is how many of the newest events to begin with")
    return int(text)


class StreamEndpoint:
    """`GET …/executions/{id}/stream`."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, for as long as it lasts or until it is handed over."""
        request = Request(scope)
        wanted = asked(request)
        if self.runtime.hub.closing:
            raise ShuttingDown
        path = request.path_params
        lifetime_s = self.runtime.settings.lifetime_s
        watcher = await self.runtime.hub.open(
            path["execution_id"], wanted.position, newest=wanted.newest, lifetime_s=lifetime_s
        )
        handed_over = False
        try:
            if watcher.opening.entry.workspace != path["workspace"]:
                raise ExecutionNotFound(f"There is no execution {path['execution_id']!r} here")
            if watcher.opening.nothing_left:
                # The standard's way to end a stream for good: EventSource stops on 204.
                await Response(status_code=204)(scope, receive, send)
            elif request.method == "HEAD":
                await Response(headers=stream_headers(wanted.face))(scope, receive, send)
            else:
                handed_over = await self._stream(watcher, wanted, scope, receive, send)
        finally:
            if not handed_over:
                watcher.close()

    async def _stream(
        self, watcher: Watcher, wanted: Asked, scope: Scope, receive: Receive, send: Send
    ) -> bool:
        """Stream; returns whether the connection was handed over, and the watcher with it."""
        words = Words(
            self.runtime,
            wanted.face,
            watcher.opening.entry.execution_id,
            heartbeat_event=wanted.heartbeat_event,
            wanted=wanted.wanted,
        )
        headers = stream_headers(wanted.face)
        take_over = scope.get("extensions", {}).get(EXTENSION)
        if take_over is not None:
            await _begin(watcher, words, headers, send)
            if take_over(Direct(self.runtime.hub, watcher, words, follow=wanted.follow)):
                return True
            headers = {}
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(_listen(watcher, receive))
            try:
                await pump(watcher, words, headers, send, follow=wanted.follow)
            finally:
                listener.cancel()
        return False


async def _listen(watcher: Watcher, receive: Receive) -> None:
    """The only reader of `receive`: two would steal the disconnect from each other."""
    while (await receive())["type"] != "http.disconnect":
        pass
    watcher.wake(Signal.GONE)


def stream_headers(face: Face) -> dict[str, str]:
    """The headers of every stream: nothing on the way may keep or rewrite it."""
    return {
        "content-type": face.media_type,
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
    }


async def _begin(watcher: Watcher, words: Words, headers: dict[str, str], send: Send) -> None:
    """The head, and at once the first bytes."""
    raw = [(k.encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    await _write(send, words.preamble(watcher.opening))


async def pump(
    watcher: Watcher, words: Words, headers: dict[str, str], send: Send, *, follow: bool = True
) -> None:
    """Stream over plain ASGI to the end, whatever it is; without headers, one that has begun."""
    if headers:
        await _begin(watcher, words, headers, send)
    await _write(send, await _deliver(watcher, words, send, follow=follow), more=False)


async def _deliver(watcher: Watcher, words: Words, send: Send, *, follow: bool) -> bytes:
    """Replay and live, one loop: what follows the position, else wait. Returns the goodbye."""
    write = writer(words.face, words.wanted, chunked=False)
    while True:
        batch = await watcher.read()
        if batch.gap:
            await _write(send, words.control(batch.gap))
        if batch.records:
            await _write(send, write(batch))
            if batch.ended:
                return b""
            continue
        if not follow:
            return b""
        signal = await watcher.wait()
        if signal is Signal.IDLE:
            await _write(send, words.heartbeat())
        elif signal is Signal.GONE:
            return b""
        elif signal is not Signal.DATA:
            return words.closing(signal)


async def _write(send: Send, data: bytes, *, more: bool = True) -> None:
    message: Message = {"type": "http.response.body", "body": data, "more_body": more}
    await send(message)
