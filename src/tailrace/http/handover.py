"""uvicorn's HTTP protocol, which can hand a connection over to a stream.

The law of this file: it is the only one that knows uvicorn's protocol class, and it does no more
to it than uvicorn's own hand-over to WebSockets does (`handle_websocket_upgrade`).

`tailrace serve` runs with it. In an app of your own: `uvicorn.run(app, http=HttpProtocol)`,
unless a middleware of that app rewrites response bodies: a stream's would pass it by.
"""

from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from tailrace.http.direct import EXTENSION, Direct


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, and for each request an offer to hand its connection over."""

    def on_message_begin(self) -> None:
        """Begin a request: the offer goes into its scope."""
        super().on_message_begin()
        cast(Any, self.scope)["extensions"] = {EXTENSION: self.hand_over}

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
        self.transport.set_protocol(stream)
        # The parser and the offer hold this object: cut, or memory waits for the collector.
        self.parser = cast(Any, None)
        del cast(Any, self.scope)["extensions"]
        stream.begin(self.transport)
        return True
