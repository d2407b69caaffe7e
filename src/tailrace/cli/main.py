"""The commands, each a few lines over the runtime or the client.

The law of this file: parse, call, print. Results go to stdout, everything about them to stderr.
"""

import json
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import Any

import rich_click as click

from tailrace.cli import follow, render
from tailrace.cli.graph import draw, load_ir, report_problems
from tailrace.cli.options import (
    DONE,
    FAILED,
    OF_REDIS,
    Server,
    fail,
    run_async,
    server_options,
    settings_options,
    store_option,
    token_option,
)
from tailrace.cli.targets import example_names, load_flow, load_flows
from tailrace.cli.tokens import token as token_group
from tailrace.errors import InvalidInput, InvalidSetting, TailraceError
from tailrace.filters import LEVELS
from tailrace.runtime import Runtime
from tailrace.settings import LIMITS, Settings
from tailrace.version import __version__

click.rich_click.MAX_WIDTH = 100
click.rich_click.TEXT_MARKUP = "ansi"

_json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def main() -> None:
    """Run the command line; every error of ours is one line and an exit status."""
    try:
        cli(prog_name="tailrace")
    except TailraceError as error:
        fail(error)
    except BrokenPipeError:
        # The reader of our output left (`| head`): not an error, and nothing more to say.
        sys.stderr.close()
        sys.exit(FAILED)


def _examples(*lines: str) -> str:
    """An epilogue that keeps its lines."""
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines)


class _Id(click.ParamType[str]):
    """An execution's id, completed from the newest ones in the store."""

    name = "execution"

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        async def newest() -> list[Any]:
            async with Runtime(Settings()) as runtime:
                return [
                    CompletionItem(entry.execution_id, help=f"{entry.flow} {entry.status}")
                    for entry in await runtime.entries(limit=50)
                    if entry.execution_id.startswith(incomplete.upper())
                ]

        return run_async(newest)


class _Target(click.ParamType[str]):
    """A target, completed from the shipped examples and the files here."""

    name = "target"

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        files = [str(path) for path in Path().glob("*.py")]
        names = [*example_names(), *files]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]}, commands={"token": token_group}
)
@click.version_option(__version__, prog_name="tailrace")
def cli() -> None:
    """Live, durable, resumable execution streaming: run something, and follow it from anywhere."""


@cli.command(
    epilog=_examples(
        "tailrace run etl",
        'tailrace run flows.py:report --input \'{"day": "2026-01-31"}\'',
        "tailrace run s2_site --stream --limit 3",
        "tailrace run etl --json | jq .type",
    )
)
@click.argument("target", type=_Target())
@click.option("--input", "input_", metavar="JSON|@FILE", help="The flow's input, an object.")
@click.option("--stream", is_flag=True, help="Print events as they come instead of a tree.")
@click.option("--limit", type=click.IntRange(min=1), help="Stop it after this many values.")
@click.option("--deadline-ms", type=click.IntRange(min=1), help="Stop it after this long.")
@_json
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
    view = follow.view_for(as_json=as_json, stream=stream)
    sys.exit(run_async(lambda: follow.run_flow(settings, flow, given, deadline_ms, limit, view)))


def _input(text: str | None) -> Any:
    if text is None:
        return None
    try:
        if text.startswith("@"):
            text = Path(text[1:]).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise InvalidInput(f"{text[1:]}: {error.strerror}") from None
    except ValueError as error:
        hint = "Give a JSON object, or @FILE with one."
        raise InvalidInput(f"--input is not JSON: {error}", hint=hint) from None


@cli.command(
    name="exec",
    context_settings={"ignore_unknown_options": True},
    epilog=_examples(
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
    sys.exit(run_async(lambda: follow.run_command(settings, command, name)))


@cli.command(
    epilog=_examples(
        "tailrace tail",
        "tailrace tail 01KA8Y4Q --after 120",
        "tailrace tail --last 20 --events 'node.*,log.line' --level warning",
        "tailrace tail --raw --source stderr --search error --since 10m",
        "tailrace tail --all --url http://127.0.0.1:8787 --json",
    )
)
@click.argument("execution_id", required=False, type=_Id())
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
@server_options
@_json
@store_option
def tail(
    execution_id: str | None,
    every: bool,
    after: str | None,
    last: int | None,
    no_follow: bool,
    raw: bool,
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
    view = follow.view_for(as_json=as_json, stream=True, raw=raw, many=every)
    watch = partial(follow.tail, settings, server, view, execution_id, after, choice, every=every)
    sys.exit(run_async(watch))


@cli.command(epilog=_examples("tailrace ls", "tailrace ls --status running --json"))
@click.option(
    "--limit", default=20, type=click.IntRange(1, 200), show_default=True, help="The most to list."
)
@click.option("--status", help="Only executions that are running, failed, …")
@click.option("--workspace", default="default", show_default=True, help="Whose executions.")
@server_options
@_json
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
            print(json.dumps(row, ensure_ascii=False))
    elif found:
        render.console().print(render.table(found))
    else:
        print("No executions yet. Start one: tailrace run etl", file=sys.stderr)


@cli.command(epilog=_examples("tailrace show 01KA8Y4Q", "tailrace show 01KA8Y4Q --json"))
@click.argument("execution_id", type=_Id())
@server_options
@_json
@store_option
def show(execution_id: str, server: Server | None, as_json: bool, settings: Settings) -> None:
    """Show one execution: its nodes, how long they took, and how it ended."""
    state = run_async(lambda: follow.look(settings, execution_id, server))
    if as_json:
        print(json.dumps(state.to_dict(), ensure_ascii=False))
    else:
        follow.print_summary(state)


@cli.command(epilog=_examples("tailrace cancel 01KA8Y4Q --reason 'wrong day'"))
@click.argument("execution_id", type=_Id())
@click.option("--reason", help="Why; it is kept in the log.")
@server_options
@store_option
def cancel(
    execution_id: str, reason: str | None, server: Server | None, settings: Settings
) -> None:
    """Stop an execution, in whichever process it runs."""

    async def stop() -> str:
        if server is not None:
            async with server.client() as client:
                return str((await client.cancel(execution_id, reason))["status"])
        async with Runtime(settings) as runtime:
            return (await runtime.cancel(execution_id, by="cli", reason=reason)).status

    print(f"{execution_id} {run_async(stop)}")


@cli.command(
    epilog=_examples(
        "tailrace export 01KA8Y4Q > run.ndjson",
        "tailrace export 01KA8Y4Q | jq -r 'select(.type == \"log.line\").data.line'",
    )
)
@click.argument("execution_id", type=_Id())
@store_option
def export(execution_id: str, settings: Settings) -> None:
    """Write one execution as NDJSON to stdout: all its events, and what was kept aside of them."""
    from tailrace.cli import archive

    run_async(lambda: archive.write(settings, execution_id, sys.stdout.buffer))


@cli.command(
    name="import",
    epilog=_examples("tailrace import run.ndjson", "tailrace import run.ndjson --as 01KA8Y4Q-copy"),
)
@click.argument("file")
@click.option("--as", "as_", metavar="ID", help="Another id for it, where its own is taken.")
@store_option
def import_(file: str, as_: str | None, settings: Settings) -> None:
    """Put an exported execution into the store, exactly as it was; FILE may be `-` for stdin.

    All of it is checked before anything is written. One that had not ended is lost here.
    """
    from tailrace import archive as archives
    from tailrace.cli import archive

    found = archive.read(file)
    found = archives.renamed(found, as_) if as_ is not None else found
    entry = run_async(lambda: archive.put(settings, found))
    print(f"{entry.execution_id} {entry.status}")


@cli.command(
    epilog=_examples("tailrace graph etl", "tailrace graph flows.py:report --mermaid > graph.mmd")
)
@click.argument("target", type=_Target())
@click.option("--json", "form", flag_value="json", help="The IR as JSON.")
@click.option("--mermaid", "form", flag_value="mermaid", help="For Mermaid.")
@click.option("--dot", "form", flag_value="dot", help="For Graphviz.")
@click.option("--check", "form", flag_value="check", help="Check it; exit 1 for problems.")
def graph(target: str, form: str | None) -> None:
    """Show the graph of TARGET's flow without running it. TARGET may also be an IR file (.json)."""
    ir = load_ir(target)
    if form == "check":
        sys.exit(FAILED if report_problems(ir) else DONE)
    draw(ir, form)


@cli.command(
    epilog=_examples(
        "tailrace serve",
        "tailrace serve flows.py s2_site --port 9000",
        "tailrace serve flows.py --workers 4 --workers-port 9100",
        "tailrace serve --allow-workload backup='./backup.sh --all'",
    )
)
@click.option(
    "--allow-workload",
    "allowed",
    multiple=True,
    metavar="NAME=COMMAND",
    help="Let `POST /api/v1/workloads` run this command, by its name. May be repeated.",
)
@click.option("--child", hidden=True, help="One of several: what its parent tells it.")
@click.argument("targets", nargs=-1, type=_Target())
@settings_options(
    "host",
    "port",
    "workers",
    "workers_port",
    "store",
    "durability",
    *OF_REDIS,
    "heartbeat_s",
    "lifetime_s",
    "retry_ms",
    "drain_s",
    "lease_s",
    "page_events",
    "ring_events",
    "body_max_bytes",
    "executions_max",
    "queue",
    "queue_max",
    "attempts_max",
    "ingest_lease_s",
    "ingest_lease_max_s",
    "job_token_s",
    "workload_timeout_s",
    "workload_output_max_bytes",
    "line_max_bytes",
    "redact_keys",
    "redact_env",
    "log_format",
    "access_log",
    "metrics",
    "metrics_workspaces",
    "ephemeral_s",
    "retention_age_s",
    "retention_count",
    "retention_bytes",
    "retention_running_bytes",
    "auth",
    "jwt_keys",
    "jwt_algorithms",
    "jwt_audience",
    "jwt_issuer",
    "jwt_leeway_s",
    "jwt_cache_s",
    "ticket_s",
    "session_s",
    "cors_origins",
    "public_health",
    *LIMITS,
)
def serve(
    targets: tuple[str, ...], allowed: tuple[str, ...], child: str | None, settings: Settings
) -> None:
    """Serve the log over HTTP, and let the flows of the TARGETs be started."""
    from tailrace.cli import serving, workers  # the server's imports are not every command's price
    from tailrace.cli.listening import Child

    workloads = dict(map(_workload, allowed))
    serving.refuse_exposed(settings)
    if settings.workers > 1 and child is None:
        sys.exit(workers.keep(settings))
    flows = [flow for target in targets for flow in load_flows(target)]
    told = None if child is None else Child.parse(child)
    sys.exit(serving.serve(settings, flows, workloads, told))


@cli.command(
    epilog=_examples(
        "tailrace worker etl --store redis://127.0.0.1:6379/0",
        "tailrace worker flows.py --concurrency 20 --queues default,reports",
        "tailrace worker flows.py --store sqlite:///runs.db --queue redis://127.0.0.1:6379/1",
    )
)
@click.argument("targets", nargs=-1, required=True, type=_Target())
@settings_options(
    "concurrency",
    "queues",
    "queue",
    "store",
    "durability",
    *OF_REDIS,
    "drain_s",
    "lease_s",
    "attempts_max",
    "executions_per_workspace_max",
    "events_per_execution_max",
    "event_max_bytes",
    "redact_keys",
    "redact_env",
    "log_format",
    "host",
    "worker_port",
    "metrics",
)
def worker(targets: tuple[str, ...], settings: Settings) -> None:
    """Run what waits in the work queue, with the flows of the TARGETs.

    Where the store is Redis, the queue is there too. SIGTERM drains: it takes nothing more, lets
    what runs end within the drain time, and hands the rest to other workers. If it is killed, its
    executions go on elsewhere when its lease is over.
    """
    from tailrace.cli import working

    flows = [flow for target in targets for flow in load_flows(target)]
    run_async(lambda: working.work(settings, flows))


def _workload(text: str) -> tuple[str, list[str]]:
    name, _, command = text.partition("=")
    argv = shlex.split(command)
    if not (re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) and argv):
        raise InvalidSetting(
            f"--allow-workload {text!r} is not NAME=COMMAND",
            hint="For example --allow-workload backup='./backup.sh --all'.",
        )
    return name, argv


@cli.command(
    epilog=_examples(
        "tailrace doctor http://127.0.0.1:8787",
        "tailrace doctor https://example.org/live --idle-s 120",
        "tailrace doctor https://example.org/live --json | jq 'select(.level == \"problem\")'",
    )
)
@click.argument("url")
@click.option(
    "--idle-s",
    default=20.0,
    type=click.FloatRange(0, 120),
    show_default=True,
    help="How long a silence to try, in seconds; 0: none.",
)
@token_option("Who asks, where the server wants to know: an API key or a JWT.")
@_json
def doctor(url: str, idle_s: float, token: str | None, as_json: bool) -> None:
    """Find out whether something on the way to a server breaks streams.

    Whether it buffers or compresses them, cuts silent ones, or drops headers; each finding says
    what was measured and what to set. Exit status: 0 nothing does, 1 a problem was found.
    """
    from tailrace.cli import doctor as examination

    sys.exit(run_async(lambda: examination.check(url, idle_s, token, as_json=as_json)))


@cli.command(
    epilog=_examples("tailrace demo", "tailrace demo --port 9000", "tailrace demo --cluster")
)
@click.option(
    "--cluster",
    "many",
    is_flag=True,
    help="Show two servers and two workers on a Redis, of which some are killed.",
)
@click.option(
    "--updates",
    default=5,
    type=click.IntRange(1, 100),
    show_default=True,
    help="How many updates the streaming flow gives.",
)
@settings_options("host", "port", "store")
def demo(updates: int, many: bool, settings: Settings) -> None:
    """Start a server, run two real flows on it, and show both streams live."""
    from tailrace.cli import cluster, serving

    if many:
        sys.exit(run_async(cluster.demo))
    sys.exit(run_async(lambda: serving.demo(settings, updates)))
