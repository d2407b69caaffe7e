"""`tailrace serve`, `worker`, `demo` and `doctor`, as commands.

The law of this file: parse, call, exit. What serves, works and examines is imported when it is
asked for: a server's imports are not every command's price.
"""

import re
import shlex
import sys

import rich_click as click

from tailrace.cli.completion import Target
from tailrace.cli.options import (
    OF_REDIS,
    examples,
    json_option,
    run_async,
    settings_options,
    token_option,
)
from tailrace.cli.targets import load_flows
from tailrace.errors import InvalidSetting
from tailrace.settings import LIMITS, Settings


@click.command(
    epilog=examples(
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
@click.argument("targets", nargs=-1, type=Target())
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
    serving.require_keys(settings)
    if settings.workers > 1 and child is None:
        sys.exit(workers.keep(settings))
    flows = [flow for target in targets for flow in load_flows(target)]
    told = None if child is None else Child.parse(child)
    sys.exit(serving.serve(settings, flows, workloads, told))


def _workload(text: str) -> tuple[str, list[str]]:
    name, _, command = text.partition("=")
    argv = shlex.split(command)
    if not (re.fullmatch(r"[A-Za-z0-9._-]{1,64}", name) and argv):
        raise InvalidSetting(
            f"--allow-workload {text!r} is not NAME=COMMAND",
            hint="For example --allow-workload backup='./backup.sh --all'.",
        )
    return name, argv


@click.command(
    epilog=examples(
        "tailrace worker etl --store redis://127.0.0.1:6379/0",
        "tailrace worker flows.py --concurrency 20 --queues default,reports",
        "tailrace worker flows.py --store sqlite:///runs.db --queue redis://127.0.0.1:6379/1",
    )
)
@click.argument("targets", nargs=-1, required=True, type=Target())
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


@click.command(
    epilog=examples("tailrace demo", "tailrace demo --port 9000", "tailrace demo --cluster")
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


@click.command(
    epilog=examples(
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
@json_option
def doctor(url: str, idle_s: float, token: str | None, as_json: bool) -> None:
    """Find out whether something on the way to a server breaks streams.

    Whether it buffers or compresses them, cuts silent ones, or drops headers; each finding says
    what was measured and what to set. Exit status: 0 nothing does, 1 a problem was found.
    """
    from tailrace.cli import doctor as examination

    sys.exit(run_async(lambda: examination.check(url, idle_s, token, as_json=as_json)))
