"""What the shell completes: an execution's id, and a target.

The law of this file: completing looks, and never runs what it names.
"""

from pathlib import Path
from typing import Any

import rich_click as click

from tailrace.cli.options import run_async
from tailrace.cli.targets import example_names
from tailrace.runtime import Runtime
from tailrace.settings import Settings


class ExecutionId(click.ParamType[str]):
    """An execution's id, completed from the newest ones in the store."""

    name = "execution"

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        """Those that begin so, newest first."""
        from click.shell_completion import CompletionItem

        async def newest() -> list[Any]:
            async with Runtime(Settings()) as runtime:
                return [
                    CompletionItem(entry.execution_id, help=f"{entry.flow} {entry.status}")
                    for entry in await runtime.entries(limit=50)
                    if entry.execution_id.startswith(incomplete.upper())
                ]

        return run_async(newest)


class Target(click.ParamType[str]):
    """A target, completed from the shipped examples and the files here."""

    name = "target"

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        """Those that begin so."""
        from click.shell_completion import CompletionItem

        files = [str(path) for path in Path().glob("*.py")]
        names = [*example_names(), *files]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
