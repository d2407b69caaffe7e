"""The `tailrace` command: all commands, and what becomes of an error.

The law of this file: an error of ours is one line on stderr and an exit status, never a traceback.
Results go to stdout, everything about them to stderr.
"""

import sys

import rich_click as click

from tailrace.cli import graph, looking, running, services, tokens, transfer
from tailrace.cli.options import CANCELLED, FAILED, USAGE, fail
from tailrace.errors import TailraceError, UsageError
from tailrace.version import __version__

click.rich_click.MAX_WIDTH = 100
click.rich_click.TEXT_MARKUP = "ansi"


def main() -> None:
    """Run the command line; every error of ours is one line and an exit status."""
    try:
        sys.exit(cli(prog_name="tailrace", standalone_mode=False))
    except TailraceError as error:
        fail(error)
    except click.UsageError as error:
        if len(sys.argv) == 1:  # nothing was asked: its message is the help
            error.show()
            sys.exit(USAGE)
        command = error.ctx.command_path if error.ctx else "tailrace"
        hint = f"`{command} --help` shows how."
        fail(UsageError(error.format_message().rstrip("."), hint=hint))
    except click.ClickException as error:
        fail(TailraceError(error.format_message()))
    except click.Abort:
        sys.exit(CANCELLED)
    except BrokenPipeError:
        # The reader of our output left (`| head`): not an error, and nothing more to say.
        sys.stderr.close()
        sys.exit(FAILED)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    commands=[
        running.run,
        running.exec_,
        running.cancel,
        looking.tail,
        looking.ls,
        looking.show,
        graph.graph,
        transfer.export,
        transfer.import_,
        services.serve,
        services.worker,
        services.demo,
        services.doctor,
        tokens.token,
    ],
)
@click.version_option(__version__, prog_name="tailrace")
def cli() -> None:
    """Live, durable, resumable execution streaming: run something, and follow it from anywhere."""
