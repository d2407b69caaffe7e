"""The probe: a stream about the way to the client, so that `tailrace doctor` can judge that way.

The law of this file: a probe goes out with the headers of every stream and in its own time, says
what of the request arrived, and is bounded in everything; it touches no execution and no store.

    probe.open   at once: what arrived, and when this server's streams fill silence; in the same
                 write a comment of `pad_bytes`: compressors let alone what begins small
    probe.tick   `count` of them, each `every_ms` after the one before
    silence      `idle_s` long; comments every `heartbeat_s`, if asked for
    probe.end    the last: `done`, or `shutdown`

As on every stream, who comes back with the last id gets 204.

FastAPI's response is good enough here: what it costs (tailrace.http.streams) is paid by at most
PROBES_MAX at once.
"""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic_core import to_json
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from tailrace import sse
from tailrace.clock import elapsed_ms
from tailrace.errors import Overloaded, ShuttingDown
from tailrace.http.faces import EVENTS
from tailrace.http.streams import stream_headers
from tailrace.runtime import Runtime
from tailrace.version import __version__

PROBES_MAX = 16  # at once: one doctor has four
LOOK_S = 0.25  # how often a waiting probe looks up whether the server shuts down
LAST_ID = "end"
ECHO_MAX = 200  # characters of a header that are said back
_COMES = ("accept", "accept-encoding", "cache-control")  # only whether; and no other header at all


class Probe:
    """What one probe sends. Its comments are those of a real stream."""

    def __init__(
        self, runtime: Runtime, count: int, every_ms: int, idle_s: float, heartbeat_s: float | None
    ) -> None:
        self.clock, self.hub = runtime.clock, runtime.hub
        self._count, self._every_s = count, every_ms / 1000
        self._idle_s, self._heartbeat_s = idle_s, heartbeat_s
        self._heartbeats = 0

    async def frames(self, opening: dict[str, Any], pad: bytes) -> AsyncIterator[bytes]:
        """The whole probe; each frame with the milliseconds since it began."""
        began = self.clock.monotonic()
        yield self._frame("probe.open", None, began, **opening) + pad
        for number in range(1, self._count + 1):
            await self._pause(self._every_s)
            if self.hub.closing:
                break
            yield self._frame("probe.tick", str(number), began)
        async for comment in self._silence():
            yield comment
        reason = "shutdown" if self.hub.closing else "done"
        yield self._frame("probe.end", LAST_ID, began, reason=reason, heartbeats=self._heartbeats)

    def _frame(self, event: str, id_: str | None, began: float, **data: Any) -> bytes:
        body = {"elapsed_ms": elapsed_ms(self.clock, began)} | data
        return sse.encode(to_json(body).decode(), event=event, id=id_)

    async def _silence(self) -> AsyncIterator[bytes]:
        left = self._idle_s
        while self._heartbeat_s and left > self._heartbeat_s:
            await self._pause(self._heartbeat_s)
            if self.hub.closing:
                return
            self._heartbeats += 1
            left -= self._heartbeat_s
            yield EVENTS.comment
        await self._pause(left)

    async def _pause(self, seconds: float) -> None:
        """Wait, in pieces: the hub tells its closing to watchers, and a probe is none."""
        end = self.clock.monotonic() + seconds
        while not self.hub.closing and (left := end - self.clock.monotonic()) > 0:
            await self.clock.sleep(min(left, LOOK_S))


class _Places:
    """How many probes may run at once."""

    def __init__(self) -> None:
        self.taken = 0

    def __enter__(self) -> None:
        if self.taken >= PROBES_MAX:
            raise Overloaded(f"{PROBES_MAX} probes run already", hint="Try again in a minute.")
        self.taken += 1

    def __exit__(self, *_: object) -> None:
        self.taken -= 1


class _ProbeResponse(StreamingResponse):
    """Takes its place before the first byte, so that it can be refused, and surely gives it back.

    The generator could not: one that was never begun never reaches its `finally`.
    """

    def __init__(self, places: _Places, content: AsyncIterator[bytes]) -> None:
        super().__init__(content, headers=stream_headers(EVENTS))
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._places:
            await super().__call__(scope, receive, send)


def router(runtime: Runtime) -> APIRouter:
    """The route below `/api/v1`."""
    api = APIRouter(prefix="/api/v1", tags=["server"])
    places = _Places()

    @api.get(
        "/probe",
        summary="A stream about the way to the client",
        response_class=Response,
        responses={
            200: {"content": {sse.MEDIA_TYPE: {}}, "description": "Ticks, silence, an end."},
            204: {"description": "The position is the probe's end: there is nothing left."},
            503: {"description": "Too many probes run, or the server is shutting down."},
        },
    )
    async def probe(
        request: Request,
        count: int = Query(8, ge=1, le=50, description="How many ticks."),
        every_ms: int = Query(250, ge=0, le=5000, description="The time before each."),
        idle_s: float = Query(0, ge=0, le=120, description="The silence after them."),
        heartbeat_s: float | None = Query(None, ge=0.1, le=120, description="Break it this often."),
        pad_bytes: int = Query(0, ge=0, le=8192, description="The size of a comment before them."),
        after: str | None = Query(None, description="A position, as `Last-Event-ID`."),
        last_event_id: str | None = Header(None),
    ) -> Response:
        if runtime.hub.closing:
            raise ShuttingDown
        if (last_event_id or after) == LAST_ID:
            return Response(status_code=204)
        opening = {
            "version": __version__,
            "http_version": request.scope.get("http_version"),
            "scheme": request.url.scheme,
            "heartbeat_s": runtime.settings.heartbeat_s,
            "request": {name: name in request.headers for name in _COMES}
            | {"last-event-id": last_event_id and last_event_id[:ECHO_MAX]},
        }
        made = Probe(runtime, count, every_ms, idle_s, heartbeat_s)
        pad = sse.comment("." * pad_bytes) if pad_bytes else b""
        return _ProbeResponse(places, made.frames(opening, pad))

    return api
