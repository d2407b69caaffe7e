"""`tailrace run`, `exec` and `cancel`: an execution of this terminal's, and the end of any.

The law of this file: what somebody typed runs in this process and ends with it; what is shown of
it comes from the log, like everywhere else.
"""

import json
import signal
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import rich_click as click

from tailrace import events
from tailrace.cli.completion import ExecutionId, Target
from tailrace.cli.options import (
    DONE,
    FAILED,
    OF_REDIS,
    Server,
    examples,
    json_option,
    redactor,
    run_async,
    server_options,
    settings_options,
    status_exit,
    store_option,
    workspace_option,
)
from tailrace.cli.targets import load_flow
from tailrace.cli.views import View, view_for
from tailrace.errors import InvalidInput
from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.startable import Startable
from tailrace.workload import Command, command_work


@click.command(
    epilog=examples(
        "tailrace run etl",
        'tailrace run flows.py:report --input \'{"day": "2026-01-31"}\'',
        "tailrace run s2_site --stream --limit 3",
        "tailrace run etl --json | jq .type",
    )
)
@click.argument("target", type=Target())
@click.option("--input", "input_", metavar="JSON|@FILE", help="The flow's input, an object.")
@click.option("--stream", is_flag=True, help="Print events as they come instead of a tree.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop it after this many values.")
@click.option("--deadline-ms", type=click.IntRange(min=1), help="Stop it after this long.")
@json_option
@settings_options("store", "durability", *OF_REDIS, "redact_keys", "redact_env")
def run(
    target: str,
    input_: str | None,
    stream: bool,
    limit: int | None,
    deadline_ms: int | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Run TARGET's flow here and show it live; others can follow it while it runs.

    Ctrl-C cancels it. Exit status: 0 completed, or stopped by --limit, 1 failed, 130 cancelled.
    """
    flow = load_flow(target)
    given = _input(input_)
    view = view_for(as_json=as_json, stream=stream)
    sys.exit(run_async(lambda: _run_flow(settings, flow, given, deadline_ms, limit, view)))


def _input(text: str | None) -> Any:
    if text is None:
        return None
    hint = "Give a JSON object, or @FILE with one."
    try:
        if text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        given = json.loads(text)
    except OSError as error:
        raise InvalidInput(f"--input {text}: {error.strerror}", hint=hint) from None
    except ValueError as error:
        raise InvalidInput(f"--input is not JSON: {error}", hint=hint) from None
    if not isinstance(given, dict | None):
        raise InvalidInput("--input is JSON, but no object", hint=hint)
    return given


async def _run_flow(
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
            limited = await _show(run, limit, view)
            tasks.cancel_scope.cancel()
        status = (await run.wait()).status
        return DONE if limited and status == "cancelled" else status_exit(status)


async def _show(run: Run, limit: int | None, view: View) -> bool:
    """Show it to its end; returns whether it was stopped after so many values."""
    items, limited = 0, False
    with view:
        async with aclosing(run.follow()) as told:  # also where who reads this has left
            async for event in told:
                items += event.type == "output.item"
                if limit is not None and items > limit and event.type == "output.item":
                    continue  # given between the last that was wanted and the stop
                view.show(event)
                if items == limit and not limited:
                    limited = True
                    await run.cancel(by="terminal", reason=f"--limit {limit}")
    return limited


@click.command(
    name="exec",
    context_settings={"ignore_unknown_options": True},
    epilog=examples(
        "tailrace exec -- make test", "tailrace exec --name nightly -- ./backup.sh /data"
    ),
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--name", help="What to call it in lists; by default the command's name.")
@settings_options("store", "durability", *OF_REDIS, "line_max_bytes", "redact_keys", "redact_env")
def exec_(command: tuple[str, ...], name: str | None, settings: Settings) -> None:
    """Run any COMMAND as an execution: its output passes through and is kept, line by line.

    Follow it from elsewhere with `tailrace tail`. The exit status is the command's own.
    """
    sys.exit(run_async(lambda: _run_command(settings, command, name)))


async def _run_command(settings: Settings, command: Sequence[str], name: str | None) -> int:
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


@click.command(epilog=examples("tailrace cancel 01KA8Y4QZ8W3V5N7M2K4T6Y8PA --reason 'wrong day'"))
@click.argument("execution_id", type=ExecutionId())
@click.option("--reason", help="Why; it is kept in the log.")
@workspace_option
@server_options
@store_option
def cancel(
    execution_id: str,
    reason: str | None,
    workspace: str,
    server: Server | None,
    settings: Settings,
) -> None:
    """Stop an execution, in whichever process it runs."""

    async def stop() -> str:
        if server is not None:
            async with server.client(workspace) as client:
                return str((await client.cancel(execution_id, reason))["status"])
        async with Runtime(settings) as runtime:
            return (await runtime.cancel(execution_id, by="cli", reason=reason)).status

    print(f"{execution_id} {run_async(stop)}")


def _own(settings: Settings) -> Settings:
    """What somebody typed runs here, and is not ended for saying much unless they said so."""
    bounded = "events_per_execution_max" in settings.model_fields_set
    return settings.model_copy(
        update={"queue": ""} | ({} if bounded else {"events_per_execution_max": 0})
    )


async def _cancel_on_signal(run: Run) -> None:
    """The first signal cancels the execution, which ends as one should; Python takes the next."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            await run.cancel(by="terminal", reason=signal.Signals(number).name)
            return


def _say(text: str) -> None:
    """Tell the person, not the pipe."""
    print(f"tailrace: {text}", file=sys.stderr, flush=True)
