"""Running and following from a terminal: `run`, `exec`, `tail`, `show`.

The law of this file: what is shown comes from the log, like everywhere else; a view is fed
events and knows nothing of where they come from.
"""

import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import anyio
from rich.live import Live

from tailrace import events
from tailrace.cli import render
from tailrace.cli.options import DONE, FAILED, Server, redactor, status_exit
from tailrace.client import Client
from tailrace.clock import SystemClock
from tailrace.errors import ExecutionNotFound
from tailrace.events import Event
from tailrace.lifecycle import ExecutionState
from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.startable import Startable
from tailrace.workload import Command, command_work

REDRAWS_A_SECOND = 10


class View(Protocol):
    """Shows an execution's events as they come."""

    def show(self, event: Event) -> None:
        """Take the next event."""
        ...

    def __enter__(self) -> "View": ...

    def __exit__(self, *_: object) -> None: ...


class LineView:
    """One event a line, as `write` prints it."""

    def __init__(self, write: Callable[[Event], None]) -> None:
        self._write = write

    def show(self, event: Event) -> None:
        """Print it."""
        self._write(event)

    def __enter__(self) -> "View":
        return self

    def __exit__(self, *_: object) -> None:
        return None


class TreeView:
    """The nodes as a tree that lights up; where there is no terminal, the tree at the end."""

    def __init__(self) -> None:
        self.state = ExecutionState()
        self.console = render.console()
        self.live: Live | None = None

    def show(self, event: Event) -> None:
        """Fold it; the next redraw shows it."""
        if event.id is not None:
            self.state.apply(event)

    def __enter__(self) -> "View":
        if self.console.is_terminal:
            now = SystemClock().now
            self.live = Live(
                console=self.console,
                refresh_per_second=REDRAWS_A_SECOND,
                get_renderable=lambda: render.tree(self.state, now()),
            )
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live is not None:
            self.live.stop()
        else:
            self.console.print(render.tree(self.state))
        if self.state.status == "completed" and self.state.output is not None:
            print(json.dumps(self.state.output, ensure_ascii=False, indent=2))


def view_for(*, as_json: bool, stream: bool, raw: bool = False, many: bool = False) -> View:
    """The view that the flags ask for."""
    if as_json:
        return LineView(
            lambda event: print(json.dumps(event.to_dict(), ensure_ascii=False), flush=True)
        )
    if raw:
        return LineView(_raw)
    if stream:
        console = render.console()
        return LineView(lambda event: console.print(render.line(event, many=many)))
    return TreeView()


def _raw(event: Event) -> None:
    """What was said, and nothing else: for pipes."""
    if event.type == "log.line":
        print(event.data.get("line", ""), flush=True)
    elif event.type == "llm.chunk":
        print(event.data.get("text", ""), end="", flush=True)


def print_summary(state: ExecutionState) -> None:
    """An execution that nobody waits for: its tree and how it ended."""
    console = render.console()
    console.print(render.tree(state))
    if state.error:
        print(f"{state.error.get('type')}: {state.error.get('message')}")
    if state.output is not None:
        print(json.dumps(state.output, ensure_ascii=False, indent=2))


def _own(settings: Settings) -> Settings:
    """What somebody typed runs here, and is not ended for saying much unless they said so."""
    bounded = "events_per_execution_max" in settings.model_fields_set
    return settings.model_copy(
        update={"queue": ""} | ({} if bounded else {"events_per_execution_max": 0})
    )


async def run_flow(
    settings: Settings,
    flow: Startable,
    given: Any,
    deadline_ms: int | None,
    limit: int | None,
    view: View,
) -> int:
    """Run a flow in this process and show it; returns the exit status."""
    async with Runtime(_own(settings), flows=[flow], redactor=redactor(settings)) as runtime:
        run = await runtime.start(flow, given, deadline_ms=deadline_ms)
        _say(f"execution {run.id}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_signal, run)
            items, limited = 0, False
            with view:
                async for event in run.follow():
                    items += event.type == "output.item"
                    if limit is not None and items > limit and event.type == "output.item":
                        continue  # given between the last that was wanted and the stop
                    view.show(event)
                    if items == limit and not limited:
                        limited = True
                        await run.cancel(by="terminal", reason=f"--limit {limit}")
            tasks.cancel_scope.cancel()
        status = (await run.wait()).status
        return DONE if limited and status == "cancelled" else status_exit(status)


async def run_command(settings: Settings, command: Sequence[str], name: str | None) -> int:
    """Run a command as an execution, its output passed through; returns its exit status."""
    async with Runtime(_own(settings), redactor=redactor(settings)) as runtime:
        queued = events.ExecutionQueued(
            kind="workload", flow=name or command[0], input={"command": list(command)}
        )
        made = Command(
            argv=command,
            line_max_bytes=settings.line_max_bytes,
            # A command in a session of its own cannot read a terminal; a pipe or a file it can.
            inherit_stdin=not sys.stdin.isatty(),
        )
        work = command_work(made, _Echo())
        run = await runtime.begin(queued, work)
        _say(f"execution {run.id}")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_cancel_on_signal, run)
            state = await run.wait()
            tasks.cancel_scope.cancel()
        if state.status == "failed":
            end = state.end or {}
            if (state.error or {}).get("type") != "exit_status":
                _say(str((state.error or {}).get("message")))
            return int(end.get("exit_status") or FAILED)
        return status_exit(state.status)


class _Echo:
    """Passes a command's output on, unchanged. Its reader may leave: then it is only recorded."""

    def __init__(self) -> None:
        self._streams = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}

    async def __call__(self, source: str, chunk: bytes) -> None:
        if source in self._streams:
            try:
                # In a thread: a slow reader must slow the command, not stop our leases.
                await anyio.to_thread.run_sync(self._write, source, chunk)
            except BrokenPipeError:
                del self._streams[source]

    def _write(self, source: str, chunk: bytes) -> None:
        self._streams[source].write(chunk)
        self._streams[source].flush()


async def _cancel_on_signal(run: Run) -> None:
    """The first signal cancels the execution, which ends as one should; Python takes the next."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            await run.cancel(by="terminal", reason=signal.Signals(number).name)
            return


def _say(text: str) -> None:
    """Tell the person, not the pipe."""
    print(f"tailrace: {text}", file=sys.stderr, flush=True)


async def tail(
    settings: Settings,
    server: Server | None,
    view: View,
    execution_id: str | None,
    after: str | None,
    choice: Mapping[str, Any],
    *,
    every: bool,
) -> int:
    """Show the events of an execution, or of all until interrupted; returns the exit status.

    That is the one that the execution's end stands for.
    """
    last: Event | None = None
    async with _source(settings, server) as source:
        found = (
            source.follow_many(after=after, **choice)
            if every
            else source.follow(execution_id or await _newest(source), after, **choice)
        )
        with view:
            async for event in found:
                view.show(event)
                last = event if event.id is not None else last
    if every or last is None or not last.terminal:
        return DONE
    return status_exit(last.type.partition(".")[2])


async def look(settings: Settings, execution_id: str, server: Server | None) -> ExecutionState:
    """Fold an execution, from the file or from a server."""
    async with _source(settings, server) as source:
        if isinstance(source, Runtime):
            await source.log.entry(execution_id)
            return await source.view(execution_id)
        state = ExecutionState(id=execution_id)
        async for event in source.follow(execution_id, live=False):
            if event.id is not None:
                state.apply(event)
        return state


def _source(
    settings: Settings, server: Server | None
) -> AbstractAsyncContextManager[Runtime | Client]:
    return Runtime(settings) if server is None else server.client()


async def _newest(source: Runtime | Client) -> str:
    if isinstance(source, Client):
        found = [row["execution_id"] for row in (await source.list(limit=1))["executions"]]
    else:
        found = [entry.execution_id for entry in await source.entries(limit=1)]
    if not found:
        raise ExecutionNotFound("There are no executions yet", hint="Start one: tailrace run etl")
    return str(found[0])
