"""uvicorn's HTTP protocol, which can hand a connection over to a stream.

The law of this file: it is the only one that knows uvicorn's protocol class, and it does no more
to it than uvicorn's own hand-over to WebSockets does (`handle_websocket_upgrade`).

`tailrace serve` runs with it. In an app of your own: `uvicorn.run(app, http=HttpProtocol)`,
unless a middleware of that app rewrites response bodies: a stream's would pass it by.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tailrace.http.direct import EXTENSION, Direct
from tailrace.http.stalls import TRANSPORT

HEAD_MAX_BYTES = 131_072  # of a request that is not whole yet; the app's own limits are smaller
REQUEST_S = 30.0  # for a request to be whole: one byte a minute must not hold a connection for ever
_CLOSE = b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large" + _CLOSE
TOO_SLOW = b"HTTP/1.1 408 Request Timeout" + _CLOSE


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, and for each request an offer to hand its connection over.

    Its parser takes a request's head of any size, and tells of it when it is whole; here one that
    does not end is cut. One that does is refused by the app (tailrace.http.bodies). And it waits
    for a request for ever: here it is to be whole in `REQUEST_S`, from the connection's beginning
    or its own.
    """

    _head_bytes = 0  # of a head that has begun and is not whole
    _in_head = True
    _requests = 0  # that were whole
    _patience: asyncio.TimerHandle | None = None  # while a request is awaited that is not whole
    _unanswered: Sequence[RequestResponseCycle] = ()  # pipelined, but for the newest

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._await_request()

    def _await_request(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(REQUEST_S, self._too_slow)

    def _whole(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _too_slow(self) -> None:
        """Cut who has not said what it wants; an app that waits for the rest hears that it left."""
        self._patience = None
        before = cast(RequestResponseCycle | None, self.cycle)
        if not self.transport.is_closing():
            if self._in_head and (before is None or before.response_complete):
                self.transport.write(TOO_SLOW)
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take what came. If it all was of one head, that must not go on for ever."""
        before = self._requests
        super().data_received(data)
        if self._in_head and self._requests == before and self.parser is not None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_MAX_BYTES and not self.transport.is_closing():
                self.transport.write(TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """Begin a request: the offers go into its scope."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._await_request()
        offers = {EXTENSION: self.hand_over, TRANSPORT: self.transport}
        cast(Any, self.scope)["extensions"] = offers

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        before = cast(RequestResponseCycle | None, self.cycle)
        super().on_headers_complete()
        if before is not None and before is not self.cycle and not before.response_complete:
            self._unanswered = [*(c for c in self._unanswered if not c.response_complete), before]

    def on_message_complete(self) -> None:
        """The body is, too."""
        self._requests += 1
        self._whole()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over: said to every request, where uvicorn says it to the newest alone.

        Who pipelines a second request behind a stream and leaves would else leave the stream.
        """
        for cycle in self._unanswered:
            cycle.disconnected = True
            cycle.message_event.set()
        self._whole()
        super().connection_lost(exc)

    def hand_over(self, stream: Direct) -> bool:
        """Give the connection, after its response's head, to a stream; False if it cannot be."""
        cycle = self.cycle
        busy = self.pipeline or self.flow.write_paused or self.transport.is_closing()
        if busy or not cycle.chunked_encoding:
            return False
        cycle.response_complete = True  # for the ASGI task, which may now end
        self.connections.discard(self)
        self.connections.add(cast(Any, stream))  # a shutdown waits for it, as for any other
        stream.connections = self.connections
        self._whole()
        self.transport.set_protocol(stream)
        # The parser and the offer hold this object: cut, or memory waits for the collector.
        self.parser = cast(Any, None)
        del cast(Any, self.scope)["extensions"]
        stream.begin(self.transport)
        return True
