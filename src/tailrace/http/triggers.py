"""A flow's own route, such as `POST /site/stream`: the request is the execution's first viewer.

The law of this file: the execution is in the log like any other, and anyone allowed can follow or
resume it elsewhere; the answer says where. What fails before the first byte is a real status;
after it, the terminal event says so. A client that leaves cancels, unless the flow says otherwise.
"""

import json
from contextlib import aclosing
from typing import Any

import anyio
from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tailrace.errors import PayloadTooLarge, ShuttingDown, TailraceError
from tailrace.flow.build import Flow
from tailrace.http.asked import holder
from tailrace.http.bodies import json_body
from tailrace.http.faces import EVENTS, EVENTS_NDJSON, NDJSON, Face, Words
from tailrace.http.observe import NOTE, OBSERVER, Observer, traceparent
from tailrace.http.places import take_place
from tailrace.http.problems import problem
from tailrace.http.stalls import patient
from tailrace.http.streams import noted, pump, stream_headers
from tailrace.limits import no_place
from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.signals import Signal

COLLECT_MAX_ITEMS = 10_000
COLLECT_MAX_BYTES = 8_388_608
WORKSPACE = "default"  # whose the executions are that a route of a flow's own starts
FIRST_BYTE_S = 10.0  # how long a failure may still become a status; then the stream begins


class TriggerEndpoint:
    """The ASGI endpoint of one flow with a route of its own."""

    def __init__(self, runtime: Runtime, flow: Flow[Any]) -> None:
        self.runtime, self.flow = runtime, flow
        capture = flow.ir.node(flow.capture)
        self.streaming = capture is not None and capture.streaming

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the flow for one request, and answer with what it gives."""
        request = Request(scope, receive)
        face = _face(request) if self.streaming else None
        given = await _input(request)
        if self.runtime.hub.closing:
            raise ShuttingDown
        # Here the place comes before the work: what cannot be watched is not begun.
        leave = no_place if face is None else await take_place(self.runtime, scope, WORKSPACE)
        try:
            run = await self.runtime.start(self.flow, given, traceparent=traceparent(scope))
            async with patient(self.runtime, scope, send) as send_in_time:
                await self._answer(run, face, scope, receive, send_in_time)
        finally:
            leave()

    async def _answer(
        self, run: Run, face: Face | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        left = anyio.Event()
        answer: Response | None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_until_left, receive, left)
            tasks.start_soon(self._cancel_when_left, run, left)
            if face is None:
                answer = await self._whole(run)
                tasks.cancel_scope.cancel()
            else:
                answer = await self._failed_early(run)
                if answer is None:
                    await self._stream(run, face, left, scope, send)
                tasks.cancel_scope.cancel()
        if answer is not None:
            answer.headers["content-location"] = self._location(run)
            await answer(scope, receive, send)

    async def _cancel_when_left(self, run: Run, left: anyio.Event) -> None:
        await left.wait()
        if self.flow.on_disconnect == "cancel":
            # What other servers log as 499: the client closed the request. Shielded: the stream
            # ends for the same reason, and its end must not stop this.
            with anyio.CancelScope(shield=True):
                await run.cancel(by="client", reason="the client left the request")

    async def _whole(self, run: Run) -> Response:
        """Wait for the end; the output, or a list of all values, as JSON."""
        items: list[Any] = []
        size = 0
        # Closed: a generator that is left half-way keeps its watcher until memory is collected.
        async with aclosing(run.follow()) as events:
            async for event in events:
                if event.type == "output.item":
                    items.append(event.data["value"])
                    size += len(to_json(event.data["value"]))
                if len(items) > COLLECT_MAX_ITEMS or size > COLLECT_MAX_BYTES:
                    await run.cancel(by="tailrace", reason="too much to collect for one answer")
                    hint = "Ask for it as a stream: Accept: text/event-stream."
                    words = f"{self.flow.name} gives more than one answer holds"
                    return problem(PayloadTooLarge(words, hint=hint))
        state = await run.wait()
        try:
            state.raise_for_end()
        except TailraceError as error:
            return problem(error)
        body = items if self.streaming else state.output
        return Response(json.dumps(body, ensure_ascii=False), media_type="application/json")

    async def _failed_early(self, run: Run) -> Response | None:
        """Wait for the first value; an end without one is a status, not a stream."""
        with anyio.move_on_after(FIRST_BYTE_S):
            async with aclosing(run.follow()) as events:
                async for event in events:
                    if event.type == "output.item":
                        return None
            state = await run.wait()
            try:
                state.raise_for_end()
            except TailraceError as error:
                return problem(error)
        return None

    async def _stream(
        self, run: Run, face: Face, left: anyio.Event, scope: Scope, send: Send
    ) -> None:
        async with self.runtime.hub.watch(run.id) as watcher:
            watcher.holder = holder(scope)
            words = Words(self.runtime, face, run.id)
            observer: Observer | None = scope.get(OBSERVER)
            if observer is not None:
                scope[NOTE] = note = observer.stream(scope, "trigger", run.id)
                send = noted(note, watcher, send, resumes=False)

            async def leave() -> None:
                await left.wait()
                watcher.wake(Signal.GONE)

            headers = stream_headers(face) | {"content-location": self._location(run)}
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(leave)
                await pump(watcher, words, headers, send)
                tasks.cancel_scope.cancel()

    def _location(self, run: Run) -> str:
        return f"/api/v1/workspaces/{WORKSPACE}/executions/{run.id}"


async def _until_left(receive: Receive, left: anyio.Event) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    left.set()


def _face(request: Request) -> Face | None:
    """What a client wants of a stream: events, lines, or (None) all of it as JSON."""
    accept = request.headers.get("accept", "*/*")
    if NDJSON in accept:
        return EVENTS_NDJSON
    return None if "application/json" in accept else EVENTS


async def _input(request: Request) -> Any:
    """The flow's input: the body as JSON, or the query where there is no body."""
    body = await request.body()
    if not body:
        return dict(request.query_params) or None
    return json_body(body)
