"""Listeners and proxies that tests put before a server.

The law of this file: whatever a listener accepted is closed when its context is left. Asyncio's
own `start_server` leaves open what it accepted in the turn in which it is closed, which a busy
machine met as a ResourceWarning in whatever test came next.
"""

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

import anyio
from anyio.abc import SocketAttribute, SocketStream

Handler = Callable[[SocketStream], Awaitable[None]]

CUT = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream)


@asynccontextmanager
async def listening(handle: Handler) -> AsyncIterator[int]:
    """Hand each connection to `handle`, on a free port of loopback; gives the port."""

    async def handled(stream: SocketStream) -> None:
        async with stream:
            with suppress(*CUT):
                await handle(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, handled)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def head_of(stream: SocketStream) -> bytes:
    """A request's head, as it came. Raises EndOfStream if it does not come."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive()
    return head


async def joined(one: SocketStream, other: SocketStream, budget: int | None = None) -> bool:
    """Pass bytes both ways until one side ends, or `one` was sent as many as the budget.

    Closes neither; returns whether the budget ended it.
    """
    cut = False

    async def passing(source: SocketStream, target: SocketStream, left: int | None = None) -> None:
        nonlocal cut
        with suppress(*CUT):
            async for data in source:
                if left is not None and len(data) >= left:
                    await target.send(data[:left])
                    cut = True
                    break
                left = None if left is None else left - len(data)
                await target.send(data)

    await first_of(partial(passing, one, other), partial(passing, other, one, budget))
    return cut


async def first_of(*works: Callable[[], Awaitable[object]]) -> None:
    """Do all of it until one is done; the others are cancelled."""

    async def done(work: Callable[[], Awaitable[object]]) -> None:
        await work()
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        for work in works:
            tasks.start_soon(done, work)


def resets(made: socket.socket) -> None:
    """Let its close be a reset, not an end: as of a process that was killed with data unread."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # zero seconds
