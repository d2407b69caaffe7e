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
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailrace.clock import Clock, within
from tailrace.errors import ExecutionNotFound, ShuttingDown, TailraceError, WrongKind
from tailrace.http.asked import Asked, View, asked, holder
from tailrace.http.direct import EXTENSION, Direct
from tailrace.http.faces import Face, Words
from tailrace.http.observe import NOTE, StreamNote
from tailrace.http.places import take_place
from tailrace.http.stalls import patient
from tailrace.log.base import Entry
from tailrace.positions import Position
from tailrace.runtime import Runtime
from tailrace.signals import Signal, Timed
from tailrace.watcher import Watcher

# Where the stream of each kind is; the path of another kind names it.
KIND_PATHS = {
    "workflow": "/api/v1/executions/workflows/{execution_id}/stream",
    "agent": "/api/v1/executions/agents/{execution_id}/stream",
    "task": "/api/v1/executions/tasks/{execution_id}/stream",
    "workload": "/api/v1/workloads/{execution_id}/logs",
}


def endpoints(runtime: Runtime) -> dict[str, ASGIApp]:
    """Every stream's path, and what answers it."""
    execution = "/api/v1/workspaces/{workspace}/executions/{execution_id}"
    made: dict[str, ASGIApp] = {
        f"{execution}/stream": StreamEndpoint(runtime),
        f"{execution}/logs": StreamEndpoint(runtime, "logs"),
    }
    for kind, path in KIND_PATHS.items():
        view: View = "logs" if kind == "workload" else "events"
        made[path] = StreamEndpoint(runtime, view, kind)
    return made


class StreamEndpoint:
    """One execution's stream: of its events, or of its log lines; of any kind, or of one."""

    def __init__(self, runtime: Runtime, view: View = "events", kind: str | None = None) -> None:
        self.runtime, self.view, self.kind = runtime, view, kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, for as long as it lasts or until it is handed over."""
        request = Request(scope)
        ask = asked(request, self.view, self.runtime.clock.now())
        if self.runtime.hub.closing:
            raise ShuttingDown
        path = request.path_params
        face = ask.face(speaks_text=await self._speaks_text(path["execution_id"]))
        wanted = ask.wanted(face)
        watcher = await self.runtime.hub.open(
            path["execution_id"],
            Position.parse(ask.place) if ask.place else None,
            begin=ask.begin(wanted),
            lifetime_s=self.runtime.settings.lifetime_s,
        )
        watcher.holder = holder(scope)
        entry, handed_over = watcher.opening.entry, False
        note: StreamNote | None = scope.get(NOTE)
        try:
            self._require(entry, path.get("workspace"))
            if watcher.opening.nothing_left:
                # The standard's way to end a stream for good: EventSource stops on 204.
                if note is not None:
                    note.complete()
                await Response(status_code=204)(scope, receive, send)
            elif request.method == "HEAD":
                if note is not None:
                    note.looked()
                await Response(headers=stream_headers(face))(scope, receive, send)
            else:
                watcher.at_close = await take_place(self.runtime, scope, entry.workspace)
                words = Words(
                    self.runtime,
                    face,
                    entry.execution_id,
                    heartbeat_event=ask.heartbeat_event,
                    wanted=wanted,
                    compacted=ask.compacted(sealed=entry.sealed),
                )
                if note is not None:
                    send = noted(note, watcher, send, resumes=ask.place is not None)
                handed_over = await self._stream(watcher, words, ask, scope, receive, send)
        finally:
            if not handed_over:
                watcher.close()

    def _require(self, entry: Entry, workspace: str | None) -> None:
        if workspace is not None and entry.workspace != workspace:
            raise ExecutionNotFound(f"There is no execution {entry.execution_id!r} here")
        if self.kind is not None and entry.kind != self.kind:
            right = KIND_PATHS[entry.kind].format(execution_id=entry.execution_id)
            raise WrongKind(
                f"{entry.execution_id} is of kind {entry.kind}", hint=f"Its stream is {right}"
            )

    async def _speaks_text(self, execution_id: str) -> bool:
        """Whether this stream is one of text: an agent's or task's without an output schema."""
        if self.kind not in ("agent", "task"):
            return False
        first = await self.runtime.log.read(execution_id, 0, 1)
        # Where retention took the first event, what it said is not known: JSON is never wrong.
        return bool(first) and first[0].seq == 1 and not first[0].event().data.get("output_schema")

    async def _stream(
        self,
        watcher: Watcher,
        words: Words,
        ask: Asked,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> bool:
        """Stream; returns whether the connection was handed over, and the watcher with it."""
        headers = stream_headers(words.face)
        take_over = scope.get("extensions", {}).get(EXTENSION)
        if take_over is not None:
            await begin(send, headers, words.preamble(watcher.opening))
            hub, batch_s = self.runtime.hub, ask.batch_s
            if take_over(Direct(hub, watcher, words, follow=ask.follow, batch_s=batch_s)):
                return True
            headers = {}
        async with patient(self.runtime, scope, send) as send_in_time, asyncio.TaskGroup() as tasks:
            listener = tasks.create_task(listen(watcher, receive))
            try:
                pace = partial(gather, self.runtime.clock, watcher.stopped, ask.batch_s)
                await pump(watcher, words, headers, send_in_time, follow=ask.follow, pace=pace)
            finally:
                listener.cancel()
        return False


def noted(note: StreamNote, watcher: Watcher, send: Send, *, resumes: bool) -> Send:
    """Let a stream that begins be noted; returns what to send it with."""
    opening = watcher.opening
    note.opened(opening.entry.workspace, opening, resumes=resumes)
    watcher.note = note
    if opening.after < opening.entry.head:
        watcher.first = note.first
    return note.sending(send)


async def listen(watcher: Timed, receive: Receive) -> None:
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


async def begin(send: Send, headers: dict[str, str], first: bytes) -> None:
    """The head, and at once the first bytes."""
    raw = [(k.encode(), v.encode()) for k, v in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    await write(send, first)


async def _no_pause() -> None:
    """Deliver at once."""


async def gather(
    clock: Clock, stopped: Callable[[], Coroutine[Any, Any, None]], seconds: float
) -> None:
    """Let events come together for a while, unless the stream has to end (`stopped`)."""
    if seconds:
        with suppress(TimeoutError):
            await within(clock, round(seconds * 1000), stopped)


async def pump(
    watcher: Watcher,
    words: Words,
    headers: dict[str, str],
    send: Send,
    *,
    follow: bool = True,
    pace: Callable[[], Awaitable[None]] = _no_pause,
) -> None:
    """Stream over plain ASGI to the end, whatever it is; without headers, one that has begun."""
    if headers:
        await begin(send, headers, words.preamble(watcher.opening))
    try:
        goodbye = await _deliver(watcher, words, send, follow, pace)
    except TailraceError:
        watcher.ending = "error"
        raise
    await write(send, goodbye, more=False)


async def _deliver(
    watcher: Watcher, words: Words, send: Send, follow: bool, pace: Callable[[], Awaitable[None]]
) -> bytes:
    """Replay and live, one loop: what follows the position, else wait. Returns the goodbye."""
    frames = words.writer(chunked=False)
    while True:
        # Asked before each read: who is always behind has no other moment to end.
        if (why := watcher.final) is not None:
            watcher.ending = why.reason
            return b"" if why is Signal.GONE else words.closing(why)
        batch = await watcher.read()
        behind = watcher.behind
        if batch.gap:
            await write(send, words.control(batch.gap))
        if batch.records:
            await write(send, frames(batch))
        if batch.ended:
            watcher.ending = batch.ending
            return b""
        if batch.records:
            if not behind:  # a replay is not paced
                await pace()
            continue
        if not follow:
            watcher.ending = "caught_up"
            return b""
        if await watcher.wait() is Signal.IDLE:
            await write(send, words.heartbeat())


async def write(send: Send, data: bytes, *, more: bool = True) -> None:
    """Send a part of the body."""
    message: Message = {"type": "http.response.body", "body": data, "more_body": more}
    await send(message)
