"""Cuts connections whose other side takes nothing: dead, asleep, or not reading.

The law of this file: who takes anything at all is let live, however slow; who takes nothing for
`write_timeout_s` is cut, and can resume. One ticker looks (the hub's), and only at those that
something waits for: a healthy stream costs nothing.

There are three ways to such a peer, and each has its own sight of it:

    Stall      a stream that owns its transport (tailrace.http.direct): the transport's buffer
    patient    a stream over plain ASGI: a `send` that does not return
    the system `tailrace serve` sets TCP_USER_TIMEOUT where there is one, which also sees what was
               handed to the kernel, ordinary answers, and peers that vanished without a word
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.types import Message, Scope, Send

from tailrace.hub import Signal
from tailrace.runtime import Runtime

CUT = "tailrace.cut"  # in the scope's extensions: a call that cuts the connection, and all in it


class Stall:
    """A transport that something waits in. It is looked at until it moves, or is cut."""

    __slots__ = ("_left", "_limit_s", "_since", "_transport")
    holder: Any = None  # the stream has one, this has not

    def __init__(self, transport: asyncio.WriteTransport, limit_s: float, now: float) -> None:
        self._transport, self._limit_s, self._since = transport, limit_s, now
        self._left = transport.get_write_buffer_size()

    def tick(self, now: float) -> None:
        """Look at the time."""
        left = self._transport.get_write_buffer_size()
        if left != self._left:
            self._left, self._since = left, now
        elif now - self._since >= self._limit_s:
            self._transport.abort()

    def wake(self, signal: Signal) -> None:
        """Hear a signal: what ends the stream does not make its client read."""


class _Patient:
    """A `send` that is looked at while it waits."""

    holder: Any = None

    def __init__(self, send: Send, limit_s: float, cut: Callable[[], None]) -> None:
        self._send, self._limit_s, self._cut = send, limit_s, cut
        self._sent = 0
        self._waiting = False
        self._seen: tuple[int, float] | None = None  # a message that was waiting, and since when

    async def __call__(self, message: Message) -> None:
        self._waiting = True
        await self._send(message)
        self._waiting = False
        self._sent += 1

    def tick(self, now: float) -> None:
        """Look at the time."""
        if not self._waiting:
            self._seen = None
        elif self._seen is None or self._seen[0] != self._sent:
            self._seen = self._sent, now
        elif now - self._seen[1] >= self._limit_s:
            self._cut()

    def wake(self, signal: Signal) -> None:
        """Hear a signal: the stream's own watcher hears it, too."""


@asynccontextmanager
async def patient(runtime: Runtime, scope: Scope, send: Send) -> AsyncIterator[Send]:
    """Give a `send` for a block; the block is left without an error if its client takes nothing.

    Where the server offers it, the connection is cut; else only the block ends.
    """
    ending = asyncio.timeout(None)

    def cut() -> None:
        offered = (scope.get("extensions") or {}).get(CUT)
        if offered is not None:
            offered()  # the client is gone then, and the stream ends as whenever it leaves
        else:
            ending.reschedule(asyncio.get_running_loop().time())

    made = _Patient(send, runtime.settings.write_timeout_s, cut)
    runtime.hub.timed.add(made)
    try:
        async with ending:
            yield made
    except TimeoutError:
        if not ending.expired():
            raise
    finally:
        runtime.hub.timed.discard(made)
