"""One connection for many executions: `GET /workspaces/{ws}/stream`.

The law of this file: the same frames as a stream of one, but that an event's `id:` is a position
in all of them. A reader that resumes from it gets every event of every execution once.
"""

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from tailrace import events, sse
from tailrace.compact import shown
from tailrace.errors import InvalidRequest, ShuttingDown
from tailrace.events import Record
from tailrace.http.asked import Asked, asked, holder
from tailrace.http.faces import EVENTS, EVENTS_NDJSON, Words
from tailrace.http.observe import NOTE, StreamNote
from tailrace.http.places import take_place
from tailrace.http.stalls import patient
from tailrace.http.streams import begin, gather, listen, stream_headers, write
from tailrace.many import Many, ManyWatcher, Piece
from tailrace.runtime import Runtime
from tailrace.signals import Signal


class WorkspaceEndpoint:
    """The stream of a workspace, or of those executions of it that are named."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, for as long as it lasts."""
        request = Request(scope)
        ask = asked(request, "workspace", self.runtime.clock.now())
        face = ask.face(speaks_text=False)
        if face not in (EVENTS, EVENTS_NDJSON):
            raise InvalidRequest("A stream of many executions has events, not text")
        if self.runtime.hub.closing:
            raise ShuttingDown
        workspace = request.path_params["workspace"]
        position = Many.parse(ask.place) if ask.place else None
        wanted = ask.wanted(face)
        watcher = ManyWatcher(
            self.runtime.hub,
            workspace,
            begin=ask.begin(wanted),
            lifetime_s=self.runtime.settings.lifetime_s,
        )
        watcher.holder = holder(scope)
        try:
            await watcher.start(request.query_params.getlist("execution"), position)
            note: StreamNote | None = scope.get(NOTE)
            if watcher.over:
                if note is not None:
                    note.complete()
                await Response(status_code=204)(scope, receive, send)
                return
            watcher.at_close = await take_place(self.runtime, scope, workspace)
            words = Words(
                self.runtime, face, None, heartbeat_event=ask.heartbeat_event, wanted=wanted
            )
            if note is not None:
                note.opened(workspace, None, resumes=position is not None)
                watcher.note, send = note, note.sending(send)
                watcher.first = note.first if watcher.reading else None
            async with (
                patient(self.runtime, scope, send) as send_in_time,
                asyncio.TaskGroup() as tasks,
            ):
                stream = _Stream(watcher, words, ask, send_in_time)
                await stream.begin(workspace, resumed=position is not None)
                listener = tasks.create_task(listen(watcher, receive))
                try:
                    await stream.deliver()
                finally:
                    listener.cancel()
        finally:
            watcher.close()


class _Stream:
    """One answer, from its head to its end."""

    def __init__(self, watcher: ManyWatcher, words: Words, ask: Asked, send: Send) -> None:
        self.watcher, self.words, self.ask, self.send = watcher, words, ask, send

    async def begin(self, workspace: str, *, resumed: bool) -> None:
        opened = events.StreamOpen(
            workspace=workspace,
            executions=self.watcher.count,
            position=self.watcher.position(),
            resumed=resumed,
        )
        said = [self.words.first(opened), *self._gaps(), self._passed(self.watcher.position())]
        await begin(self.send, stream_headers(self.words.face), b"".join(said))

    def _gaps(self) -> list[bytes]:
        return [self.words.control(gap, of) for of, gap in self.watcher.gaps()]

    async def deliver(self) -> None:
        """Replay and live, one loop, to the end: its own, or the connection's."""
        while True:
            if (why := self.watcher.final) is not None:
                self.watcher.ending = why.reason
                goodbye = b"" if why is Signal.GONE else self.words.closing(why)
                return await write(self.send, goodbye, more=False)
            piece = await self.watcher.read()
            for said in self._gaps():
                await write(self.send, said)
            if piece is not None:
                await write(self.send, self._frames(piece))
                if self.watcher.round_over:
                    clock = self.words.runtime.clock
                    await gather(clock, self.watcher.stopped, self.ask.batch_s)
                continue
            if self.watcher.over or (self.watcher.caught_up and not self.ask.follow):
                self.watcher.ending = "ended" if self.watcher.over else "caught_up"
                return await write(self.send, b"", more=False)
            if await self.watcher.wait() is Signal.IDLE:
                await write(self.send, self.words.heartbeat())

    def _frames(self, piece: Piece) -> bytes:
        compacted = self.ask.compacted(sealed=piece.entry.sealed)
        chosen = shown(piece.batch.records, self.words.wanted, compacted=compacted)
        frame = _line if self.words.face is EVENTS_NDJSON else _event
        frames = [frame(record, piece.position(record.seq)) for record in chosen]
        if not chosen or chosen[-1].seq != piece.batch.last:
            frames.append(self._passed(piece.position(piece.batch.last)))
        return b"".join(frames)

    def _passed(self, position: str) -> bytes:
        return b"" if self.words.face is EVENTS_NDJSON else sse.id_frame(position)


def _event(record: Record, position: str) -> bytes:
    return sse.placed_frame(position, record.type, record.json())


def _line(record: Record, position: str) -> bytes:
    return b'%b,"position":"%b"}\n' % (record.json()[:-1], position.encode())
