"""Flags from the settings table, and how a command runs and fails.

The law of this file: a setting's flag, environment name, help and default come from `Settings`;
an error is one line on stderr with its code and what to do. Exit status: 0 done, 1 failed,
2 usage, 130 cancelled.
"""

import functools
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, ParamSpec, TypeVar

import anyio
import rich_click as click

from tailrace.errors import TailraceError, UsageError
from tailrace.settings import Settings, environment_name, from_environment, load

P = ParamSpec("P")
T = TypeVar("T")
DONE, FAILED, USAGE, CANCELLED = 0, 1, 2, 130


def settings_options(*names: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command the flags of some settings; it gets one `settings` argument."""

    def decorate(command: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(command)
        def with_settings(**arguments: Any) -> T:
            given = {name: arguments.pop(name) for name in names}
            flags = {name: value for name, value in given.items() if value is not None}
            settings = load(from_environment(os.environ) | flags)
            return command(settings=settings, **arguments)

        wrapped: Callable[..., T] = with_settings
        for name in reversed(names):
            wrapped = _option(name)(wrapped)
        return wrapped

    return decorate


def _option(name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    field = Settings.model_fields[name]
    shown = "the user's data folder" if name == "store" else field.get_default()
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        default=None,
        metavar=name.rpartition("_")[2].upper(),
        help=f"{field.description} Default: {shown}. Environment: {environment_name(name)}.",
    )


store_option = settings_options("store")


def fail(error: TailraceError) -> NoReturn:
    """Say an error in one line and exit."""
    style = sys.stderr.isatty()
    label = (
        click.style(f"error[{error.code}]", fg="red", bold=True)
        if style
        else (f"error[{error.code}]")
    )
    message = " ".join(str(error.message).split())
    hint = f" — {error.hint}" if error.hint else ""
    print(f"{label}: {message}{hint}", file=sys.stderr)
    sys.exit(USAGE if isinstance(error, UsageError) else FAILED)


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a command's coroutine; Ctrl-C ends it as cancelled."""
    options = {"use_uvloop": True} if sys.platform != "win32" else {}
    try:
        return anyio.run(main, backend_options=options)
    except KeyboardInterrupt:
        sys.exit(CANCELLED)
    except BaseExceptionGroup as group:
        if error := _only(group):
            fail(error)
        raise


def _only(group: BaseExceptionGroup[BaseException]) -> TailraceError | None:
    """The one error of ours in a task group's bundle."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error if isinstance(error, TailraceError) else None


def status_exit(status: str) -> int:
    """The exit status for an execution's end."""
    return {"completed": DONE, "cancelled": CANCELLED}.get(status, FAILED)
