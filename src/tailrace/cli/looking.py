"""`tailrace tail`, `ls` and `show`: what is in the log, here or on a server.

The law of this file: what is shown comes from the log, or from a server that has it; it starts
nothing and changes nothing.
"""

import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import rich_click as click

from tailrace.cli import render
from tailrace.cli.completion import ExecutionId
from tailrace.cli.options import (
    DONE,
    Server,
    examples,
    json_option,
    print_json,
    run_async,
    server_options,
    status_exit,
    store_option,
    workspace_option,
)
from tailrace.cli.views import View, print_summary, view_for
from tailrace.client import Client
from tailrace.errors import ExecutionNotFound
from tailrace.events import Event
from tailrace.filters import LEVELS
from tailrace.lifecycle import ExecutionState
from tailrace.runtime import Runtime
from tailrace.settings import Settings, shown


@click.command(
    epilog=examples(
        "tailrace tail",
        "tailrace tail 01KA8Y4QZ8W3V5N7M2K4T6Y8PA --after 120",
        "tailrace tail --last 20 --events 'node.*,log.line' --level warning",
        "tailrace tail --raw --source stderr --search error --since 10m",
        "tailrace tail --all --url http://127.0.0.1:8787 --json",
    )
)
@click.argument("execution_id", required=False, type=ExecutionId())
@click.option("--all", "every", is_flag=True, help="Follow all executions, those to come too.")
@click.option("--after", metavar="POSITION", help="Begin after this position.")
@click.option("--since", metavar="TIME", help="Begin at this time, or so long ago: `10m`.")
@click.option("--last", type=click.IntRange(min=0), help="Begin with this many of the newest.")
@click.option("--events", metavar="TYPES", help="Only these: `node.*,log.line`.")
@click.option("--node", metavar="NODES", help="Only events of these nodes.")
@click.option("--level", type=click.Choice(LEVELS), help="Log lines of this level or above.")
@click.option("--source", metavar="SOURCES", help="Log lines of these: `stdout`, a logger's name.")
@click.option("--search", metavar="TEXT", help="Log lines with this text in them, in any case.")
@click.option("--no-follow", is_flag=True, help="Print what is there and stop.")
@click.option(
    "--raw", is_flag=True, help="Only log lines and generated text, as they were written."
)
@workspace_option
@server_options
@json_option
@store_option
def tail(
    execution_id: str | None,
    every: bool,
    after: str | None,
    last: int | None,
    no_follow: bool,
    raw: bool,
    workspace: str,
    server: Server | None,
    as_json: bool,
    settings: Settings,
    **chosen: str | None,
) -> None:
    """Follow an execution, live or finished, from its first event to its last.

    Without an id: the newest one. Reads the store's file, or a server with --url. Exit status:
    0 completed, 1 failed, 130 cancelled.
    """
    choice: dict[str, Any] = {"live": not no_follow, "tail": last, **chosen}
    if raw:
        choice["events"] = choice["events"] or "log.line,llm.chunk"
    view = view_for(as_json=as_json, stream=True, raw=raw, many=every)
    source = partial(_source, settings, server, workspace)
    sys.exit(run_async(lambda: _tail(source, workspace, view, execution_id, after, choice, every)))


async def _tail(
    opened: Callable[[], AbstractAsyncContextManager[Runtime | Client]],
    workspace: str,
    view: View,
    execution_id: str | None,
    after: str | None,
    choice: Mapping[str, Any],
    every: bool,
) -> int:
    """Show the events of an execution, or of all until interrupted; returns the exit status.

    That is the one that the execution's end stands for.
    """
    last: Event | None = None
    async with opened() as source:
        if isinstance(source, Client):
            await _reach(source, execution_id)
        if not every:
            name = execution_id or await _newest(source, workspace)
            found: AsyncIterator[Event] = source.follow(name, after, **choice)
        elif isinstance(source, Client):
            found = source.follow_many(after=after, **choice)
        else:
            found = source.follow_many(workspace=workspace, after=after, **choice)
        with view:
            async for event in found:
                view.show(event)
                last = event if event.id is not None else last
    if every or last is None or not last.terminal:
        return DONE
    return status_exit(last.type.partition(".")[2])


@click.command(epilog=examples("tailrace ls", "tailrace ls --status running --json"))
@click.option(
    "--limit", default=20, type=click.IntRange(1, 200), show_default=True, help="The most to list."
)
@click.option("--status", help="Only executions that are running, failed, …")
@workspace_option
@server_options
@json_option
@store_option
def ls(
    limit: int,
    status: str | None,
    workspace: str,
    server: Server | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """List executions, newest first."""

    async def rows() -> list[dict[str, Any]]:
        if server is not None:
            async with server.client(workspace) as client:
                query: dict[str, str | int] = {"limit": limit}
                page = await client.list(**query | ({"status": status} if status else {}))
                return list(page["executions"])
        async with Runtime(settings) as runtime:
            entries = await runtime.entries(workspace, limit=limit, status=status)
            return [entry.to_dict() for entry in entries]

    found = run_async(rows)
    if as_json:
        for row in found:
            print_json(row)
    elif found:
        render.console().print(render.table(found))
    else:
        which = f"{status} executions" if status else "executions"
        where = server.url if server else shown(settings.store)
        print(f"No {which} in workspace {workspace} of {where}", file=sys.stderr)
        if not status:
            print("Start one: tailrace run etl", file=sys.stderr)


@click.command(
    epilog=examples(
        "tailrace show 01KA8Y4QZ8W3V5N7M2K4T6Y8PA",
        "tailrace show 01KA8Y4QZ8W3V5N7M2K4T6Y8PA --at 12 --json | jq .status",
    )
)
@click.argument("execution_id", type=ExecutionId())
@click.option("--at", type=click.IntRange(0), help="As it was after the event with this id.")
@workspace_option
@server_options
@json_option
@store_option
def show(
    execution_id: str,
    at: int | None,
    workspace: str,
    server: Server | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Show one execution: its nodes, how long they took, and how it ended."""
    state = run_async(lambda: _look(_source(settings, server, workspace), execution_id, at))
    if as_json:
        print_json(state.to_dict())
    else:
        print_summary(state)


async def _look(
    opened: AbstractAsyncContextManager[Runtime | Client], execution_id: str, at: int | None
) -> ExecutionState:
    """Fold an execution, from the file or from a server."""
    async with opened as source:
        if isinstance(source, Runtime):
            await source.log.entry(execution_id)
            return await source.view(execution_id, at)
        return ExecutionState.load(await source.get(execution_id, at))


def _source(
    settings: Settings, server: Server | None, workspace: str
) -> AbstractAsyncContextManager[Runtime | Client]:
    return Runtime(settings) if server is None else server.client(workspace)


async def _reach(server: Client, execution_id: str | None) -> None:
    """Find out whether a server is there, and has what is asked for, before waiting for it.

    A stream that is cut later is taken up again, and what that waits for is said on stderr.
    """
    # Of one, as it was before its first event: so nothing is read of its log.
    await (server.list(limit=1) if execution_id is None else server.get(execution_id, at=0))
    told = logging.StreamHandler()
    told.setFormatter(logging.Formatter("tailrace: %(message)s"))
    logger = logging.getLogger("tailrace.client")
    logger.addHandler(told)
    logger.setLevel(logging.INFO)


async def _newest(source: Runtime | Client, workspace: str) -> str:
    if isinstance(source, Client):
        found = [row["execution_id"] for row in (await source.list(limit=1))["executions"]]
    else:
        found = [entry.execution_id for entry in await source.entries(workspace, limit=1)]
    if not found:
        raise ExecutionNotFound("There are no executions yet", hint="Start one: tailrace run etl")
    return str(found[0])
