"""Cuts connections whose other side takes nothing: dead, asleep, or not reading.

The law of this file: who takes anything at all is let live, however slow; who takes nothing for
`write_timeout_s` is cut, and can resume. One ticker looks (the hub's), and only at those that
something waits for: a healthy stream costs nothing.

There are three ways to such a peer, and each has its own sight of it:

    Direct     a stream that owns its transport: looked at while that is full, or should be closed
    patient    a stream over plain ASGI: looked at while a `send` does not return
    the system `tailrace serve` sets TCP_USER_TIMEOUT where there is one, which also sees ordinary
               answers, and peers that vanished without a word
"""

import asyncio
import sys
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from starlette.types import Message, Scope, Send

from tailrace.runtime import Runtime
from tailrace.signals import Signal

TRANSPORT = "tailrace.transport"  # in the scope's extensions: what the connection is written to


class Stall:
    """Something that waits for a client. It is looked at until it moves, or is cut."""

    __slots__ = ("_cut", "_left", "_limit_s", "_seen", "_since")
    holder: Any = None  # the stream has one, this has not

    def __init__(
        self, left: Callable[[], int], cut: Callable[[], None], limit_s: float, now: float
    ) -> None:
        self._left, self._cut, self._limit_s, self._since = left, cut, limit_s, now
        self._seen = left()

    def tick(self, now: float) -> None:
        """Look at the time."""
        left = self._left()
        if left != self._seen:
            self._seen, self._since = left, now
        elif now - self._since >= self._limit_s:
            self._cut()

    def wake(self, signal: Signal) -> None:
        """Hear a signal: what ends the stream does not make its client read."""


def stall_of(transport: asyncio.WriteTransport, limit_s: float, now: float) -> Stall:
    """Look at a transport that something waits in."""
    return Stall(partial(_waiting, transport), transport.abort, limit_s, now)


def _waiting(transport: asyncio.WriteTransport) -> int:
    """How many bytes wait, here and, where it tells, in the kernel.

    There a client that reads slowly shows at once; here only when a third of the kernel's buffer,
    which may be megabytes, is free again.
    """
    left = transport.get_write_buffer_size()
    if sys.platform == "linux":
        import fcntl
        import termios

        connection, number = transport.get_extra_info("socket"), array("i", [0])
        if connection is not None and connection.fileno() >= 0:
            fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, number)
            left += number[0]
    return left


class _Patient:
    """A `send` that is looked at while it waits."""

    holder: Any = None

    def __init__(self, send: Send, begin: Callable[["_Patient", float], Stall]) -> None:
        self._send, self._begin = send, begin
        self._waiting = False
        self._stall: Stall | None = None
        self.sent = 0

    async def __call__(self, message: Message) -> None:
        self._waiting = True
        await self._send(message)
        self._waiting = False
        self.sent += 1

    def tick(self, now: float) -> None:
        """Look at the time."""
        if not self._waiting:
            self._stall = None
        elif self._stall is None:
            self._stall = self._begin(self, now)
        else:
            self._stall.tick(now)

    def wake(self, signal: Signal) -> None:
        """Hear a signal: the stream's own watcher hears it, too."""


@asynccontextmanager
async def patient(runtime: Runtime, scope: Scope, send: Send) -> AsyncIterator[Send]:
    """Give a `send` for a block; the block is left without an error if its client takes nothing.

    Where the server offers its transport, the connection is cut; else only the block ends.
    """
    ending, limit_s = asyncio.timeout(None), runtime.settings.write_timeout_s
    transport = (scope.get("extensions") or {}).get(TRANSPORT)

    def begin(made: _Patient, now: float) -> Stall:
        if transport is not None:
            # Cut, the client is gone, and the stream ends as whenever it leaves.
            return stall_of(transport, limit_s, now)
        end = partial(ending.reschedule, asyncio.get_running_loop().time())
        return Stall(lambda: made.sent, end, limit_s, now)

    made = _Patient(send, begin)
    runtime.hub.timed.add(made)
    try:
        async with ending:
            yield made
    except TimeoutError:
        if not ending.expired():
            raise
    finally:
        runtime.hub.timed.discard(made)
