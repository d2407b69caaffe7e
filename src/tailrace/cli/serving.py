"""`tailrace serve` and `tailrace demo`: a server, and one that shows itself.

The law of this file: uvicorn serves; the only thing added to it is a last resort, so that the
process is gone after a shutdown even where a node's thread does not end.
"""

import gc
import os
import socket
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import uvicorn

from tailrace import journal
from tailrace.access import asks
from tailrace.api import Tailrace
from tailrace.cli import render
from tailrace.cli.listening import Child, address, listen
from tailrace.cli.options import DONE, FAILED, redactor
from tailrace.cli.targets import load_flow
from tailrace.client import Client
from tailrace.errors import AddressUnavailable, AuthRequired, InvalidSetting
from tailrace.http.origins import LocalOnly, is_loopback
from tailrace.lifecycle import ExecutionState
from tailrace.settings import Settings, shown
from tailrace.startable import Startable

EXIT_SLACK_S = 2.0  # after the drain time, for lifespan shutdown and the store's last commit


class _Server(uvicorn.Server):
    """uvicorn, which says where it is when it listens, and cannot hang when it ends.

    It opens the Tailrace that it serves by itself: of an error in an app's lifespan uvicorn makes a
    traceback, and here it stays an error of ours.
    """

    def __init__(self, config: uvicorn.Config, settings: Settings, tailrace: Tailrace) -> None:
        super().__init__(config)
        self.settings, self.tailrace = settings, tailrace
        self.listening = anyio.Event()
        self.child: Child | None = None  # of a parent, which says for all where they are

    async def _serve(self, sockets: list[socket.socket] | None = None) -> None:
        async with self.tailrace:
            await super()._serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()
        if not self.started:
            return
        if self.child is not None:
            self.child.listens(self._orphaned)
        else:
            store, url = shown(self.settings.store), address(self.settings)
            print(f"tailrace: {url}  store {store}", file=sys.stderr, flush=True)

    def _orphaned(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        limit = self.settings.drain_s + EXIT_SLACK_S
        last_resort = threading.Timer(limit, os._exit, (FAILED,))
        last_resort.daemon = True
        last_resort.start()
        await super().shutdown(sockets)


def tune_collector() -> None:
    """Let the cycle collector run seldom: only the owner of a process may decide that.

    Its default, every 700 objects, costs a quarter of the time of a server with 1,000 executions
    that each write 30 events a second, and finds nothing: events are not cyclic.
    """
    gc.collect()
    gc.freeze()  # what was imported stays: it is never looked at again
    gc.set_threshold(10_000, 10, 10)


def server_config(app: Any, settings: Settings) -> uvicorn.Config:
    """How uvicorn is set up for streams; benchmarks measure this very set-up."""
    return uvicorn.Config(
        app,
        log_config=None,  # tailrace.journal says how
        access_log=False,
        timeout_graceful_shutdown=max(round(settings.drain_s), 1),
        lifespan="on",
        backlog=4096,
        http=_protocol(),
    )


def _protocol() -> Any:
    """The protocol that hands streams their connections, where httptools exists."""
    if sys.platform == "win32":
        return "auto"
    from tailrace.http.handover import HttpProtocol

    return HttpProtocol


def _server(
    settings: Settings,
    flows: Sequence[Startable],
    workloads: Mapping[str, Sequence[str]] | None = None,
    child: Child | None = None,
) -> _Server:
    journal.configure(settings.log_format, access=settings.access_log)
    tailrace = Tailrace(
        settings=settings, flows=flows, workloads=workloads, redactor=redactor(settings)
    )
    app = tailrace.asgi()
    if settings.auth is None and not asks(settings):
        app = LocalOnly(app)
    if child is not None:
        app = child.without_shared_metrics(app)
    server = _Server(server_config(app, settings), settings, tailrace)
    server.child = child
    return server


def refuse_exposed(settings: Settings) -> None:
    """Refuse to serve other machines without asking who is there. Raises AuthRequired."""
    if settings.auth is None and not asks(settings) and not is_loopback(settings.host):
        raise AuthRequired(f"{settings.host!r} is reached from other machines, and nobody is asked")


def require_keys(settings: Settings) -> None:
    """Raise InvalidSetting for a file of keys that is none: no JWT would ever be good."""
    keys = settings.jwt_keys
    if keys is not None and "://" not in keys and not Path(keys).expanduser().is_file():
        raise InvalidSetting(
            f"jwt_keys: there is no file {keys}", hint="Name a file, or the URL of a key set."
        )


def serve(
    settings: Settings,
    flows: Sequence[Startable],
    workloads: Mapping[str, Sequence[str]],
    child: Child | None = None,
) -> int:
    """Serve until a signal, alone or as one of several; returns the exit status."""
    if child is None:
        listener, settings = listen(settings)
        sockets = [listener]
    else:
        sockets = child.listen(settings)
    server = _server(settings, flows, workloads, child)
    tune_collector()
    # uvicorn hands the signal on after it has shut down in good order.
    with suppress(KeyboardInterrupt):
        server.run(sockets)
    return DONE if server.started else FAILED


async def demo(settings: Settings, updates: int) -> int:
    """Serve, run two flows on the server over HTTP, and show both; stay up on a terminal."""
    auth = False if settings.auth is False else None  # it is its own client, without a key
    settings = settings.model_copy(update={"auth": auth, "jwt_keys": None})
    refuse_exposed(settings)
    try:
        listener, settings = listen(settings)
    except AddressUnavailable as error:
        print(f"tailrace: {error.message}; taking a free port", file=sys.stderr)
        listener, settings = listen(settings.model_copy(update={"port": 0}))
    server = _server(settings, [load_flow("s2_site"), load_flow("etl")])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        await server.listening.wait()
        if not server.started:
            return FAILED
        url = address(settings)
        try:
            ok = await _show(url, updates)
        except (BrokenPipeError, SystemExit):  # the latter is rich's: who read this has left
            ok = False
        if sys.stdout.isatty():
            print(f"\nStill serving at {url}/ui/ — Ctrl-C ends it. In another shell:")
            print("  tailrace ls\n  tailrace tail\n  tailrace run etl")
            return DONE  # the task group waits for the server, which ends with Ctrl-C
        server.should_exit = True
    return DONE if ok else FAILED


async def _show(url: str, updates: int) -> bool:
    render.console().print(f"The live page: {url}/ui/")
    async with Client(url) as client:
        site = {"site": f"{url}/healthz", "updates": updates}
        good = await _watch(client, "s2_site", site)
        return await _watch(client, "etl", {}) and good


async def _watch(client: Client, flow: str, given: dict[str, Any]) -> bool:
    console = render.console()
    execution_id = await client.start(flow, given)
    url = client.url("executions", execution_id, "stream")
    console.rule(f"[bold]{flow}[/]  {execution_id}", style="dim")
    console.print(f"curl -N {url}", style="dim")
    state = ExecutionState()
    async for event in client.follow(execution_id):
        console.print(render.line(event))
        if event.id is not None:
            state.apply(event)
    console.print(render.tree(state))
    return state.status == "completed"
