"""A proxy that takes its servers in turns, connection by connection, and cuts connections.

The law of this file: bytes pass unchanged or not at all. A cut is a reset after a random number of
bytes: inside an event, inside a line, inside the answer's head. A server that does not answer is
passed by, as every proxy does it.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import cycle
from types import TracebackType
from typing import Self

RESET = struct.pack("ii", 1, 0)  # SO_LINGER, zero seconds: close sends RST, not FIN


class Turns:
    """Use it as an async context manager; `cut_after` bytes, from and to, a connection is cut."""

    def __init__(
        self, ports: Sequence[int], cut_after: tuple[int, int] | None = None, seed: int = 1
    ) -> None:
        self.taken: Counter[int] = Counter()  # port → connections that it got
        self.cuts = 0
        self._turn = cycle(ports)
        self._among = len(ports)
        self._cut_after = cut_after
        self._chance = random.Random(seed)
        self._running: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._taken, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._pass(reader, writer))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, asks = await self._next()
        except ConnectionError:
            writer.transport.abort()
            return
        try:
            asking = asyncio.create_task(self._pump(reader, asks, None))
            budget = self._chance.randrange(*self._cut_after) if self._cut_after else None
            answering = asyncio.create_task(self._pump(answers, writer, budget))
            await asyncio.wait([asking, answering], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (asking, answering):
                task.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            writer.transport.abort()
            asks.transport.abort()

    async def _next(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in range(self._among):
            port = next(self._turn)
            with suppress(ConnectionError):
                made = await asyncio.open_connection("127.0.0.1", port)
                self.taken[port] += 1
                return made
        raise ConnectionRefusedError

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, budget: int | None
    ) -> None:
        """Pass bytes on, to the end of one side or of the budget."""
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if budget is not None and len(data) >= budget:
                    writer.write(data[:budget])
                    await writer.drain()
                    self.cuts += 1
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_LINGER, RESET
                    )
                    return
                budget = None if budget is None else budget - len(data)
                writer.write(data)
                await writer.drain()
