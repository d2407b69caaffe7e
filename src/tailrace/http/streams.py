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
from tailrace.http.direct import EXTENSION, Direct
from tailrace.http.faces import NDJSON, NDJSON_FACE, SSE_FACE, Face, Words
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
    )


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
            path["execution_id"], wanted.position, lifetime_s=lifetime_s
        )
        handed_over = False
        try:
            if watcher.opening.entry.workspace != path["workspace"]:
                raise ExecutionNotFound(f"There is no execution {path['execution_id']!r} here")
            if watcher.opening.nothing_left:
                # The standard's way to end a stream for good: EventSource stops on 204.
                await Response(status_code=204)(scope, receive, send)
            elif request.method == "HEAD":
                await Response(headers=_headers(wanted.face))(scope, receive, send)
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
        )
        headers = [(k.encode(), v.encode()) for k, v in _headers(wanted.face).items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await _write(send, words.preamble(watcher.opening))
        take_over = scope.get("extensions", {}).get(EXTENSION)
        direct = Direct(self.runtime.hub, watcher, words, follow=wanted.follow)
        if take_over is not None and take_over(direct):
            return True
        await _pump(watcher, words, wanted, receive, send)
        return False


def _headers(face: Face) -> dict[str, str]:
    return {
        "content-type": face.media_type,
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
    }


async def _pump(
    watcher: Watcher, words: Words, wanted: Asked, receive: Receive, send: Send
) -> None:
    async def listen() -> None:
        """The only reader of `receive`: two would steal the disconnect from each other."""
        while (await receive())["type"] != "http.disconnect":
            pass
        watcher.wake(Signal.GONE)

    async with asyncio.TaskGroup() as tasks:
        listener = tasks.create_task(listen())
        try:
            goodbye = await _deliver(watcher, words, wanted, send)
        finally:
            listener.cancel()
    await _write(send, goodbye, more=False)


async def _deliver(watcher: Watcher, words: Words, wanted: Asked, send: Send) -> bytes:
    """Replay and live, one loop: what follows the position, else wait. Returns the goodbye."""
    while True:
        batch = await watcher.read()
        if batch.gap:
            await _write(send, words.control(batch.gap))
        if batch.records:
            await _write(send, words.face.batch(batch))
            if batch.ended:
                return b""
            continue
        if not wanted.follow:
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
