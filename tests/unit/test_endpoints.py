"""Streams over plain ASGI, where a test holds the client's side of it."""

from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from tailrace import Settings
from tailrace.http.streams import StreamEndpoint
from tailrace.http.workspace import WorkspaceEndpoint
from tailrace.runtime import Runtime
from tailrace.signals import Signal
from tailrace.testing.contract.tools import begin, line

ENDPOINTS = [StreamEndpoint, WorkspaceEndpoint]
PATH = {"workspace": "default", "execution_id": "X1"}


class Client:
    """One request; `after` so many events it does something, once."""

    def __init__(self, after: int, what: Callable[[], None]) -> None:
        self._after, self._what = after, what
        self.body, self.open, self.left = b"", True, anyio.Event()

    async def get(self, app: Any) -> None:
        scope = {"type": "http", "method": "GET", "query_string": b"", "headers": []}
        await app(scope | {"path_params": PATH}, self._receive, self._send)

    @property
    def events(self) -> int:
        return self.body.count(b"event: log.line")

    async def _receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        before = self.events
        self.body += message.get("body", b"")
        self.open = message.get("more_body", True)
        if before < self._after <= self.events:
            self._what()
        await anyio.lowlevel.checkpoint()


async def opened(runtime: Runtime) -> None:
    await begin(runtime.log)
    await runtime.log.append("X1", [line(n) for n in range(100)])


@pytest.mark.parametrize("made", ENDPOINTS)
@pytest.mark.parametrize("signal", [Signal.CLOSING, Signal.EXPIRED])
async def test_who_is_behind_ends_when_it_has_to(made: Any, signal: Signal) -> None:
    """Found by reading: one that never caught up outlived its lifetime, and held a shutdown."""
    async with Runtime(Settings(store="memory:", page_events=5)) as runtime:
        await opened(runtime)

        def tell() -> None:
            for stream in runtime.hub.streams():
                stream.wake(signal)

        client = Client(after=20, what=tell)
        await client.get(made(runtime))
        assert client.events < 30
        assert not client.open
        assert b'"reason":"%b"' % signal.reason.encode() in client.body
        assert runtime.hub.watching == 0


@pytest.mark.parametrize("made", ENDPOINTS)
async def test_who_left_is_not_read_for(made: Any) -> None:
    async with Runtime(Settings(store="memory:", page_events=5)) as runtime:
        await opened(runtime)
        client = Client(after=20, what=lambda: client.left.set())
        await client.get(made(runtime))
        assert client.events < 40
        assert runtime.hub.watching == 0
