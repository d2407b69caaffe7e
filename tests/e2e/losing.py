"""A way to a server on which requests and answers get lost.

The law of this file: what happens to which request is said beforehand, so that a test can say what
must have come of it.
"""

import threading
from collections.abc import Callable, Mapping
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.proxies import resets

REQUEST, ANSWER, REFUSED = "the request is lost", "the answer is lost", "503"


class Losing(ThreadingHTTPServer):
    """Forwards what is posted to `upstream`; `faults` says what befalls the 1st, 2nd … of it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str, faults: Mapping[int, str | Callable[[], None]]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream, self.faults = upstream, faults
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.bodies: list[bytes] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    def shutdown_request(self, request: Any) -> None:
        """Close without the FIN that socketserver sends first: a loss must be a reset."""
        request.close()

    def end(self) -> None:
        """Stop."""
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Losing

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        fault = self.server.faults.get(len(self.server.bodies))
        if fault == REQUEST:
            return self._reset()
        if fault == REFUSED:
            return self._answer(503, b"busy")
        status, text = self._forward(body)
        if callable(fault):
            fault()
        if fault is not None:
            return self._reset()
        return self._answer(status, text)

    def _forward(self, body: bytes) -> tuple[int, bytes]:
        where = urlsplit(self.server.upstream)
        connection = HTTPConnection(where.hostname or "", where.port)
        headers = {name: value for name, value in self.headers.items() if name != "Host"}
        connection.request("POST", self.path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def _answer(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _reset(self) -> None:
        resets(self.connection)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base's name
        """Say nothing: the bodies are the record."""
