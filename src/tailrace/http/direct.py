"""The fast path of delivery: a stream that owns its connection, below ASGI.

The law of this file: it may save work, never change bytes. A stream that cannot be handed over
is served by tailrace.http.streams over plain ASGI, and its client sees no difference.

Why: a delivery through ASGI costs a future, a task switch and three calls of the server, about
three times the system call itself; a connection keeps a task, a parser and the request, about
25 kB. Here a wake-up is one loop over the watchers, each of which writes bytes that were framed
once for all, and a connection is about 3 kB (docs/decisions/0009-direct-streams.md).

The server must offer its connections: tailrace.http.handover makes uvicorn do so.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from tailrace.batch import Batch, chunk
from tailrace.http.faces import Words
from tailrace.http.stalls import Stall, stall_of
from tailrace.hub import Hub
from tailrace.signals import Signal
from tailrace.watcher import Watcher

EXTENSION = "tailrace.direct"  # in the ASGI scope: a call that hands the connection over
LAST_CHUNK = b"0\r\n\r\n"
_logger = logging.getLogger("tailrace.http")


class Direct(asyncio.Protocol):
    """One stream on its own transport. Its watcher's signals are calls; nothing here waits.

    Backpressure: while the transport's buffer is full the position stays where it is. Bound: the
    transport's high-water mark and one page.
    """

    __slots__ = ("_batch_s", "_chunk", "_follow", "_full", "_held", "_hub", "_send", "_stall", "_transport", "_waiting", "_watcher",
                 "_words", "connections")  # fmt: skip

    def __init__(
        self, hub: Hub, watcher: Watcher, words: Words, *, follow: bool, batch_s: float = 0.0
    ) -> None:
        self._hub, self._watcher, self._words, self._follow = hub, watcher, words, follow
        self._batch_s = batch_s
        self._chunk = words.writer(chunked=True)
        self._full = self._waiting = self._held = False
        self._stall: Stall | None = None
        self._transport: asyncio.Transport
        self._send: Callable[[bytes], None]
        self.connections: set[Any]

    def begin(self, transport: asyncio.Transport) -> None:
        """Take the connection over."""
        self._transport, self._send = transport, transport.write
        if self._watcher.note is not None:
            self._send = self._watcher.note.counted(transport.write)
        self._watcher.listen(self._signalled)
        self._go_on()

    def _signalled(self, signal: Signal) -> None:
        if signal is Signal.DATA:
            self._advance()
        elif signal is Signal.IDLE:
            if not self._held:
                self._transport.write(chunk(self._words.heartbeat()))
        else:
            self._end(signal.reason, chunk(self._words.closing(signal)))

    def _hold(self) -> None:
        """Stay at this position for now."""
        self._held = True
        self._watcher.sink = None

    def _go_on(self) -> None:
        """Write what follows the position, and from then on what comes, unless something holds it."""
        if not (self._full or self._waiting or self._transport.is_closing()):
            self._held = False
            self._watcher.sink = self._write
            self._advance()

    def _advance(self) -> None:
        while not self._held:
            batch = self._watcher.take()
            if batch is None:
                self._wait(self._fetch)
            elif batch.records:
                self._write(batch)
            else:
                if not self._follow:
                    self._end("caught_up")
                return

    def _write(self, batch: Batch) -> None:
        try:
            if batch.gap is not None:
                self._transport.write(chunk(self._words.control(batch.gap)))
            self._send(self._chunk(batch))
        except Exception:  # noqa: BLE001 - who pushes, and all others, must not fail with it
            self._cut("an event could not be written")
            return
        if batch.ended:
            self._end(batch.ending)
        elif self._batch_s and not self._watcher.behind:  # a replay is not paced
            self._wait(self._gather)

    def _wait(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Stay at this position until some work is done; the task ends with it."""
        self._hold()
        self._waiting = True
        self._hub.spawn(work)

    async def _gather(self) -> None:
        """Let events come together, for as long as the client asked for."""
        await self._hub.clock.sleep(self._batch_s)
        self._waiting = False
        self._go_on()

    async def _fetch(self) -> None:
        """Read a page that memory no longer holds."""
        try:
            batch = await self._watcher.fetch()
        except Exception:  # noqa: BLE001 - it is this stream's alone
            self._cut("its log could not be read")
            return
        self._waiting = False
        if not self._transport.is_closing():
            self._write(batch)
            self._go_on()

    def _cut(self, why: str) -> None:
        """Cut it without an end: the client sees that, and resumes from its last event."""
        extra = {"execution_id": self._words.execution_id}
        _logger.exception("a stream was cut: %s", why, extra=extra)
        self._watcher.ending = "error"
        self._hold()
        self._transport.abort()

    def _end(self, reason: str, goodbye: bytes = b"") -> None:
        if not self._transport.is_closing():
            self._watcher.ending = reason
            self._hold()
            self._transport.write(goodbye + LAST_CHUNK)
            self._transport.close()  # when all is written, which may be never
            if self._transport.get_write_buffer_size():
                self._look()

    def _look(self) -> None:
        """Have the shared ticker look whether the client still takes something."""
        if self._stall is None:
            now, limit_s = self._hub.clock.monotonic(), self._words.runtime.settings.write_timeout_s
            self._stall = stall_of(self._transport, limit_s, now)
            self._hub.timed.add(self._stall)

    def _look_away(self) -> None:
        if self._stall is not None:
            self._hub.timed.discard(self._stall)
            self._stall = None

    # --- what the event loop and uvicorn call -------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """A client that talks during its answer is not listened to; the stream ends with close."""

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self._full = True
        self._hold()
        self._look()

    def resume_writing(self) -> None:
        """It does again."""
        self._full = False
        if not self._transport.is_closing():
            self._look_away()
        # Not now: asyncio's own transport takes a close within this call for two.
        asyncio.get_running_loop().call_soon(self._go_on)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        self.connections.discard(self)
        self._look_away()
        self._watcher.close()

    def shutdown(self) -> None:
        """The server shuts down (uvicorn calls this for every connection)."""
        self._signalled(Signal.CLOSING)
