"""What the shell completes: an execution's id, and a target.

The law of this file: completing looks, and never runs what it names.
"""

import os
from pathlib import Path
from typing import Any

import rich_click as click

from tailrace.cli.options import run_async
from tailrace.cli.targets import example_names
from tailrace.errors import TailraceError
from tailrace.runtime import Runtime
from tailrace.settings import from_environment, load


class ExecutionId(click.ParamType[str]):
    """An execution's id, completed from the newest ones in the store."""

    name = "execution"

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        """Those that begin so, newest first, of the store that the command would read."""
        from click.shell_completion import CompletionItem

        flags = {"store": ctx.params["store"]} if ctx.params.get("store") else {}
        settings = load(from_environment(os.environ) | flags)
        workspace = ctx.params.get("workspace") or "default"

        async def newest() -> list[Any]:
            async with Runtime(settings) as runtime:
                return [
                    CompletionItem(entry.execution_id, help=f"{entry.flow} {entry.status}")
                    for entry in await runtime.entries(workspace, limit=200)
                    if entry.execution_id.lower().startswith(incomplete.lower())
                ]

        try:
            return run_async(newest)
        except TailraceError:
            return []  # the command itself says what is wrong


class Target(click.ParamType[str]):
    """A target, completed from the shipped examples and the files here."""

    name = "target"

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[Any]:
        """Those that begin so."""
        from click.shell_completion import CompletionItem

        files = [str(path) for path in Path().glob("*.py")]
        names = [*example_names(), *files]
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]
