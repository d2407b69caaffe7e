"""How a server process comes to its ports: alone, or as one of several on the same (`--workers`).

The law of this file: a port in use is our one-line error, before anything is served.

Each of several listens with a socket of its own on the port (SO_REUSEPORT), and the kernel deals
new connections out among them. A listener that all share would let one process take a whole burst
of connects: it accepts until the queue is empty, and a stream stays where it was accepted.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from starlette.types import ASGIApp, Receive, Scope, Send

from tailrace.errors import AddressUnavailable, InvalidRequest
from tailrace.http.problems import problem
from tailrace.settings import Settings

LISTENING = b"+"


def address(settings: Settings) -> str:
    """The URL of a server with these settings."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def listen(settings: Settings) -> tuple[socket.socket, Settings]:
    """Take the port now, so that port 0 becomes known. Raises AddressUnavailable."""
    listener = _bound(settings, settings.port)
    return listener, _at(settings, listener)


def hold(settings: Settings) -> tuple[socket.socket, Settings]:
    """Take the port for processes to come, without listening. Raises AddressUnavailable.

    It is bound like any other, so that one in use is found, and is shared only then: those who
    ask for SO_REUSEPORT get in, another server does not.
    """
    held = _bound(settings, settings.port)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return held, _at(settings, held)


def _at(settings: Settings, listener: socket.socket) -> Settings:
    return settings.model_copy(update={"port": listener.getsockname()[1]})


def _bound(settings: Settings, port: int, *, shared: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted connections have it from here
        limit_ms = round(settings.write_timeout_s * 1000)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limit_ms)
    try:
        listener.bind((settings.host, port))
    except OSError as error:
        listener.close()
        raise AddressUnavailable(
            f"{settings.host}:{port} cannot be listened on: {error.strerror}"
        ) from None
    return listener


@dataclass(frozen=True, slots=True)
class Child:
    """What one of several processes knows: the port, its own port (or 0), and its line.

    The line is a socket to the parent. The child says on it that it listens; where the parent is
    gone, whichever way, the line ends, and the child ends as at SIGTERM.
    """

    port: int
    own_port: int
    descriptor: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `argument` wrote."""
        return cls(*map(int, text.split(":")))

    @property
    def argument(self) -> str:
        """For the child's command line."""
        return f"{self.port}:{self.own_port}:{self.descriptor}"

    def listen(self, settings: Settings) -> list[socket.socket]:
        """Take the ports. Raises AddressUnavailable."""
        found = [_bound(settings, self.port, shared=True)]
        if self.own_port:
            found.append(_bound(settings, self.own_port))
        return found

    def listens(self, end: Callable[[], None]) -> None:
        """Tell the parent so; `end` is called when the parent is gone."""
        line = socket.socket(fileno=self.descriptor)
        line.setblocking(False)
        line.set_inheritable(False)  # a command that is run here must not hold it
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(line)
            line.close()
            end()

        loop.add_reader(line, ended)
        with suppress(OSError):  # the parent is gone already: `ended` comes next
            line.send(LISTENING)

    def without_shared_metrics(self, app: ASGIApp) -> ASGIApp:
        """The app, without `/metrics` on the port that all share.

        Who scrapes there meets another process each time: counters that fall and rise look like
        restarts, and give rates that nothing had.
        """

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            asked = scope["type"] == "http" and scope["path"] == "/metrics"
            if asked and scope["server"][1] != self.own_port:
                refused = InvalidRequest(
                    "Several processes answer here, and each counts for itself",
                    hint="--workers-port P gives them ports of their own, P, P + 1 …: scrape those.",
                )
                return await problem(refused)(scope, receive, send)
            return await app(scope, receive, send)

        return serve
