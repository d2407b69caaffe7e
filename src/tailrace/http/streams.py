"""The stream: one execution's events, live, to one client. Plain ASGI, no framework in between.

The law of this file: everything that can be refused is refused with a real status before the
first byte; from then on the stream says everything in frames. One loop serves replay and live
alike. Nothing here holds an event back or keeps one.

Why not FastAPI's or sse-starlette's responses: each spends tasks and memory streams on every
connection (45-57 kB, research/hubs.md section 2.1) and neither can end for a shutdown.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from tailrace import events, sse
from tailrace.clock import rfc3339
from tailrace.errors import ExecutionNotFound, InvalidRequest, ShuttingDown
from tailrace.hub import Batch, Opening, Position, Signal, Watcher
from tailrace.runtime import Runtime

NDJSON = "application/x-ndjson"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Face:
    """How a stream looks on the wire: its media type, and how each thing is written."""

    media_type: str
    batch: Callable[[Batch], bytes]
    control: Callable[[str, bytes], bytes]
    preamble: Callable[[int], bytes]
    comment: bytes


SSE_FACE = Face(
    media_type=f"{sse.MEDIA_TYPE}; charset=utf-8",
    batch=lambda batch: batch.sse,
    control=sse.control_frame,
    preamble=sse.retry,
    comment=sse.comment("heartbeat"),
)
NDJSON_FACE = Face(
    media_type=NDJSON,
    batch=lambda batch: batch.ndjson,
    control=lambda _, json: json + b"\n",
    preamble=lambda _: b"",
    comment=b"\n",  # an empty line: keeps the connection awake, and readers of NDJSON skip it
)


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
        """Answer one request, for as long as it lasts."""
        request = Request(scope)
        wanted = asked(request)
        if self.runtime.hub.closing:
            raise ShuttingDown
        path = request.path_params
        lifetime_s = self.runtime.settings.lifetime_s
        async with self.runtime.hub.watch(
            path["execution_id"], wanted.position, lifetime_s=lifetime_s
        ) as watcher:
            if watcher.opening.entry.workspace != path["workspace"]:
                raise ExecutionNotFound(f"There is no execution {path['execution_id']!r} here")
            if watcher.opening.nothing_left:
                # The standard's way to end a stream for good: EventSource stops on 204.
                await Response(status_code=204)(scope, receive, send)
            elif request.method == "HEAD":
                await Response(headers=_headers(wanted.face))(scope, receive, send)
            else:
                await _Stream(self.runtime, wanted, watcher, send).run(receive)


def _headers(face: Face) -> dict[str, str]:
    return {
        "content-type": face.media_type,
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
    }


class _Stream:
    def __init__(self, runtime: Runtime, wanted: Asked, watcher: Watcher, send: Send) -> None:
        self.runtime, self.wanted, self.watcher, self._send = runtime, wanted, watcher, send
        self.face = wanted.face

    async def run(self, receive: Receive) -> None:
        headers = [(k.encode(), v.encode()) for k, v in _headers(self.face).items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._write(self._preamble(self.watcher.opening))
        async with asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(self._listen(receive))
            try:
                last = await self._pump()
            finally:
                listener.cancel()
        await self._write(last, more=False)

    async def _listen(self, receive: Receive) -> None:
        """The only reader of `receive`: two would steal the disconnect from each other."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self.watcher.wake(Signal.GONE)

    async def _pump(self) -> bytes:
        """Replay and live, one loop: what follows the position, else wait. Returns the goodbye."""
        while True:
            batch = await self.watcher.read()
            if batch.gap:
                await self._write(self._control(batch.gap))
            if batch.records:
                await self._write(self.face.batch(batch))
                if batch.ended:
                    return b""
                continue
            if not self.wanted.follow:
                return b""
            signal = await self.watcher.wait()
            if signal is Signal.IDLE:
                await self._write(self._heartbeat())
            elif signal is Signal.GONE:
                return b""
            elif signal is not Signal.DATA:
                return self._closing("shutdown" if signal is Signal.CLOSING else "lifetime")

    def _preamble(self, opening: Opening) -> bytes:
        gap, entry = opening.gap, opening.entry
        opened = events.StreamOpen(
            execution_id=entry.execution_id,
            status=entry.status,
            position=str(Position(opening.after, entry.epoch)),
            head=entry.head,
            epoch=entry.epoch,
            resumed=opening.resumed,
            gap=gap.data() if gap else None,
        )
        first = self.face.preamble(self.runtime.settings.retry_ms) + self._control(opened)
        return first + self._control(gap) if gap else first

    def _heartbeat(self) -> bytes:
        beat = self.wanted.heartbeat_event
        return self._control(events.Heartbeat()) if beat else self.face.comment

    def _closing(self, reason: str) -> bytes:
        retry_ms = self.runtime.settings.retry_ms
        return self._control(events.StreamClosing(reason=reason, retry_ms=retry_ms))

    def _control(self, payload: events.Payload) -> bytes:
        envelope = {
            "id": None,
            "type": payload.type,
            "ts": rfc3339(self.runtime.clock.now()),
            "execution_id": self.watcher.opening.entry.execution_id,
            "data": payload.data(),
        }
        return self.face.control(payload.type, to_json(envelope))

    async def _write(self, data: bytes, *, more: bool = True) -> None:
        message: Message = {"type": "http.response.body", "body": data, "more_body": more}
        await self._send(message)
