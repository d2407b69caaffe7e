"""A real server on a free port, in the test's own event loop: in-process clients buffer streams."""

import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
import uvicorn
from starlette.types import ASGIApp

from tailrace import Event, Settings, Tailrace, sse
from tailrace.http.handover import HttpProtocol
from tailrace.startable import Startable

BASE = "/api/v1/workspaces/default/executions"


@dataclass
class Served:
    """A server, a client on it, and the Tailrace behind it."""

    tailrace: Tailrace
    http: httpx.AsyncClient
    url: str

    def stream(
        self, execution_id: str, query: str = "", **headers: str
    ) -> AbstractAsyncContextManager[httpx.Response]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.stream("GET", f"{BASE}/{execution_id}/stream{query}", headers=names)

    async def frames(
        self, execution_id: str, query: str = "", **headers: str
    ) -> list[tuple[str, Event]]:
        """Every message of a stream to its end: (its id field's value, the event)."""
        async with self.stream(execution_id, query, **headers) as response:
            assert response.status_code == 200, await response.aread()
            return [frame async for frame in messages(response)]


async def messages(response: httpx.Response) -> AsyncIterator[tuple[str, Event]]:
    decoder = sse.Decoder()
    async for chunk in response.aiter_raw():
        for message in decoder.feed(chunk):
            yield message.id, Event.parse(message.data)


@asynccontextmanager
async def serving(app: ASGIApp, protocol: Any = HttpProtocol) -> AsyncIterator[str]:
    """Serve an app on a free port; on leaving, the server shuts down as on SIGTERM."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app, log_level="error", lifespan="on", timeout_graceful_shutdown=3, http=protocol
    )
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server._serve, [listener])
        while not server.started:
            await anyio.lowlevel.checkpoint()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
    listener.close()


Serve = Callable[..., AbstractAsyncContextManager[Served]]


@pytest.fixture
def protocol() -> Any:
    """What `tailrace serve` runs; test_streams also runs uvicorn as it is."""
    return HttpProtocol


@pytest.fixture
def serve(protocol: Any) -> Serve:
    @asynccontextmanager
    async def start(
        tailrace: Tailrace | None = None,
        *,
        flows: Sequence[Startable] = (),
        workloads: Mapping[str, Sequence[str]] | None = None,
        **settings: object,
    ) -> AsyncIterator[Served]:
        made = tailrace or Tailrace(
            settings=Settings.model_validate({"store": "memory:"} | settings),
            flows=flows,
            workloads=workloads,
        )
        async with serving(made.asgi(), protocol) as url, httpx.AsyncClient(base_url=url) as http:
            try:
                yield Served(made, http, url)
            finally:
                made.hub.close()

    return start


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    async with serve() as running:
        yield running
