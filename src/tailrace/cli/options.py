"""Flags from the settings table, and how a command runs and fails.

The law of this file: a setting's flag, environment name, help and default come from `Settings`;
an error is one line on stderr with its code and what to do. Exit status: 0 done, 1 failed,
2 usage, 130 cancelled.
"""

import functools
import json
import os
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NoReturn, ParamSpec, TypeVar

import anyio
import rich_click as click

from tailrace.client import Client
from tailrace.errors import InvalidSetting, TailraceError, UsageError
from tailrace.redact import Redactor
from tailrace.redact_rules import KEYS
from tailrace.settings import Settings, environment_name, from_environment, load

P = ParamSpec("P")
T = TypeVar("T")
DONE, FAILED, USAGE, CANCELLED = 0, 1, 2, 130
OF_REDIS = (
    "redis_patience_s",
    "redis_wait_replicas",
    "redis_wait_aof",
)  # as `durability` is SQLite's


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
    default = field.get_default()
    shown = (
        "the user's data folder"
        if name == "store"
        else "none"
        if default in (None, "")
        else default
    )
    flag = f"--{name.replace('_', '-')}"
    if field.annotation in (bool, bool | None):
        words = f"{field.description} Environment: {environment_name(name)}."
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=words)
    return click.option(
        flag,
        name,
        default=None,
        metavar=name.rpartition("_")[2].upper(),
        help=f"{field.description} Default: {shown}. Environment: {environment_name(name)}.",
    )


@dataclass(frozen=True, slots=True)
class Server:
    """A server elsewhere, and who asks it."""

    url: str
    token: str | None

    def client(self, workspace: str = "default") -> Client:
        """A client on it. Raises InvalidRequest for a URL that is none."""
        return Client(self.url, workspace=workspace, token=self.token)


def server_options(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command `--url` and `--token`; it gets one `server` argument, None without them."""

    @functools.wraps(command)
    def with_server(url: str | None, token: str | None, **arguments: Any) -> T:
        return command(server=Server(url, token) if url else None, **arguments)

    words = "Who asks there: an API key or a JWT. Better in the environment: TAILRACE_TOKEN."
    decorated = token_option(words)(with_server)
    words = "Ask this server instead of the store's file."
    return click.option("--url", metavar="URL", help=words)(decorated)


def token_option(words: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """A credential as a flag, which everybody sees who lists processes, or in the environment."""
    return click.option("--token", metavar="TOKEN", envvar="TAILRACE_TOKEN", help=words)


workspace_option = click.option(
    "--workspace", default="default", show_default=True, help="Whose executions."
)
store_option = settings_options("store")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def print_json(value: Any) -> None:
    """One object, one line, as compact as on the wire."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)


def examples(*lines: str) -> str:
    """An epilogue that keeps its lines."""
    return "Examples:\n\n" + "\n\n".join(f"  {line}" for line in lines)


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


def redactor(settings: Settings) -> Redactor:
    """What keeps secrets out of the log: the usual, and what the settings name.

    Raises InvalidSetting for an environment variable that is not set: its value would get through.
    """
    keys = [*KEYS, *filter(None, settings.redact_keys.split(","))]
    names = [name for name in settings.redact_env.split(",") if name]
    if missing := [name for name in names if name not in os.environ]:
        raise InvalidSetting(f"redact_env: {', '.join(missing)} is not set")
    return Redactor(keys=keys, secrets=[os.environ[name] for name in names])


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a command's coroutine; Ctrl-C ends it as cancelled."""
    options = {"use_uvloop": True} if sys.platform != "win32" else {}
    try:
        return anyio.run(main, backend_options=options)
    except KeyboardInterrupt:
        sys.exit(CANCELLED)
    except BaseExceptionGroup as group:
        error = _only(group)
        if isinstance(error, TailraceError):
            fail(error)
        # Whoever read our output has left: `print` says so by the one, rich by the other.
        if isinstance(error, BrokenPipeError | SystemExit):
            raise error from None
        raise


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error in a task group's bundle; the bundle, if there are several."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def status_exit(status: str) -> int:
    """The exit status for an execution's end."""
    return {"completed": DONE, "cancelled": CANCELLED}.get(status, FAILED)
