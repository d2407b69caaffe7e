"""A proxy that takes its servers in turns, connection by connection, and cuts connections.

The law of this file: bytes pass unchanged or not at all. A cut is a reset after a random number of
bytes: inside an event, inside a line, inside the answer's head. A server that does not answer is
passed by, as every proxy does it.
"""

import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import cycle
from typing import Self

import anyio
from anyio.abc import SocketAttribute, SocketStream

from tests.proxies import joined, listening, resets


class Turns:
    """`async with Turns(…).open()`; `cut_after` bytes, from and to, a connection is cut."""

    def __init__(
        self, ports: Sequence[int], cut_after: tuple[int, int] | None = None, seed: int = 1
    ) -> None:
        self.taken: Counter[int] = Counter()  # port → connections that it got
        self.cuts = 0
        self._turn = cycle(ports)
        self._among = len(ports)
        self._cut_after = cut_after
        self._chance = random.Random(seed)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Listen, at `url`."""
        async with listening(self._pass) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    async def _pass(self, asking: SocketStream) -> None:
        for _ in range(self._among):
            port = next(self._turn)
            with suppress(OSError):
                async with await anyio.connect_tcp("127.0.0.1", port) as answering:
                    self.taken[port] += 1
                    budget = self._chance.randrange(*self._cut_after) if self._cut_after else None
                    if await joined(asking, answering, budget):
                        self.cuts += 1
                        resets(asking.extra(SocketAttribute.raw_socket))
                    return
