"""A proxy that cuts connections, and counts what is asked through it.

The law of this file: one request for each connection, every one recorded, so that a test can say
what a client did after a cut. A cut is a reset (RST) at any byte: inside an event, inside a line,
inside the answer's head.
"""

import json
import random
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.proxies import resets


@dataclass
class Exchange:
    """One request for a stream, and what became of it."""

    watcher: str  # `watcher` in the URL's query: who asked
    last_event_id: str | None
    status: int = 0
    writes: int = 0  # of its answer, so far
    condemned: bool = False  # its next bytes are cut
    cut: bool = False
    mid_write: bool = False  # some of those bytes had gone through


class Proxy(ThreadingHTTPServer):
    """Forwards to `upstream`; serves `files` itself; keeps what is posted to /result."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str, files: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.files = upstream, dict(files)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.exchanges: list[Exchange] = []
        self.results: list[Any] = []
        self.refuse = 0  # so many stream requests are answered 503, as a proxy does in a restart
        self.changed = threading.Condition()
        self._chance = random.Random(1)
        self._ended = threading.Event()
        self._running = [threading.Thread(target=self.serve_forever, args=(0.05,))]
        self._running[0].start()

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until what was posted, or relayed, makes something so."""
        with self.changed:
            return self.changed.wait_for(condition)

    def cut(self) -> None:
        """Cut every stream that is open, within its next bytes."""
        for exchange in list(self.exchanges):
            exchange.condemned = True

    def cut_every(self, seconds: float) -> None:
        """From now on, cut again and again."""
        self._running.append(threading.Thread(target=self._cut_on, args=(seconds,)))
        self._running[-1].start()

    def _cut_on(self, seconds: float) -> None:
        while not self._ended.wait(seconds):
            self.cut()

    def part(self, data: bytes) -> bytes:
        """Some of these bytes from the beginning, not all."""
        return data[: self._chance.randrange(len(data))]

    def of(self, watcher: str) -> list[Exchange]:
        """What one watcher asked, in order."""
        return [exchange for exchange in self.exchanges if exchange.watcher == watcher]

    def shutdown_request(self, request: Any) -> None:
        """Close without the FIN that socketserver sends first: a cut must be a reset."""
        request.close()

    def end(self) -> None:
        """Stop; open connections end with their server."""
        self._ended.set()
        self.shutdown()
        for thread in self._running:
            thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        file = self.server.files.get(urlsplit(self.path).path)
        if file is not None:
            return self._answer(200, file.read_bytes(), "text/html; charset=utf-8")
        if not urlsplit(self.path).path.endswith("/stream"):
            return self._forward(None)
        watcher = parse_qs(urlsplit(self.path).query).get("watcher", [""])[0]
        exchange = Exchange(watcher, self.headers.get("Last-Event-ID"))
        self.server.exchanges.append(exchange)
        if self.server.refuse > 0:
            self.server.refuse -= 1
            exchange.status = 503
            return self._answer(503, b"", "text/plain")
        return self._forward(exchange)

    def do_HEAD(self) -> None:
        self._forward(None)

    def do_POST(self) -> None:
        if self.path != "/result":
            return self._forward(None)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(204, b"", "text/plain")
        with self.server.changed:
            self.server.results.append(json.loads(body))
            self.server.changed.notify_all()
        return None

    def _answer(self, status: int, body: bytes, media_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _forward(self, exchange: Exchange | None) -> None:
        where = urlsplit(self.server.upstream)
        try:
            upstream = socket.create_connection((where.hostname, where.port))
        except OSError:
            return self._answer(502, b"", "text/plain")
        with upstream, suppress(ConnectionError):  # either side may leave at any time
            head = [f"{self.command} {self.path} HTTP/1.1", "Connection: close"]
            head += [f"{k}: {v}" for k, v in self.headers.items() if k.lower() != "connection"]
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream.sendall("\r\n".join([*head, "", ""]).encode("latin-1") + body)
            self._relay(upstream, exchange)
        return None

    def _relay(self, upstream: socket.socket, exchange: Exchange | None) -> None:
        while True:
            readable, _, _ = select.select([upstream, self.connection], [], [])
            if upstream not in readable:
                return  # the client has left: it sends nothing after its request
            data = upstream.recv(65_536)
            if not data:
                return
            if exchange is not None:
                if not exchange.writes:
                    exchange.status = int(data.split(b" ", 2)[1])
                    # Told that the connection ends with the answer, Node takes a reset for its end.
                    data = data.replace(b"connection: close\r\n", b"", 1)
                with self.server.changed:
                    exchange.writes += 1
                    self.server.changed.notify_all()
            if exchange is not None and exchange.condemned:
                part = self.server.part(data)
                self.connection.sendall(part)
                exchange.cut, exchange.mid_write = True, bool(part)
                resets(self.connection)
                return
            self.connection.sendall(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing: the exchanges are the record."""
