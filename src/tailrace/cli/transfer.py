"""`tailrace export` and `tailrace import`, as commands.

The law of this file: parse, call, print. What reads and writes files is imported when it is asked
for, not at every command's start.
"""

import sys

import rich_click as click

from tailrace.cli.completion import ExecutionId
from tailrace.cli.options import examples, run_async, store_option
from tailrace.settings import Settings


@click.command(
    epilog=examples(
        "tailrace export 01KA8Y4QZ8W3V5N7M2K4T6Y8PA > run.ndjson",
        "tailrace export 01KA8Y4QZ8W3V5N7M2K4T6Y8PA | jq -r 'select(.type == \"log.line\").data.line'",
    )
)
@click.argument("execution_id", type=ExecutionId())
@store_option
def export(execution_id: str, settings: Settings) -> None:
    """Write one execution as NDJSON to stdout: all its events, and what was kept aside of them."""
    from tailrace.cli import archive

    run_async(lambda: archive.write(settings, execution_id, sys.stdout.buffer))


@click.command(
    name="import",
    epilog=examples("tailrace import run.ndjson", "tailrace import run.ndjson --as copy-of-it"),
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
