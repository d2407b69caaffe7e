"""`tailrace token`: API keys of a store.

The law of this file: a key is printed once, when it is made, alone on stdout; afterwards there is
nothing here that could print it.
"""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import rich_click as click
from rich.table import Table

from tailrace.auth import RIGHTS, ROLES, Rights, rights_of
from tailrace.cli import render
from tailrace.cli.options import examples, json_option, print_json, run_async, store_option
from tailrace.clock import SystemClock, rfc3339
from tailrace.errors import InvalidRequest
from tailrace.runtime import Runtime
from tailrace.settings import Settings

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


@click.group(
    epilog=examples(
        "tailrace token create --workspace default --role viewer --name ann", "tailrace token list"
    )
)
def token() -> None:
    """API keys: who may use a server that asks."""


@token.command(
    epilog=examples(
        "tailrace token create --workspace default --role viewer --name ann",
        "tailrace token create --workspace '*' --role viewer --expires never --name prometheus",
        "tailrace token create --role operator --expires 12h --json | jq -r .token",
    )
)
@click.option(
    "--workspace",
    "workspaces",
    multiple=True,
    default=("default",),
    show_default=True,
    help="Where it is good: a workspace, or '*' for all and the server. May be repeated.",
)
@click.option(
    "--role",
    type=click.Choice([*ROLES, *(right for right in RIGHTS if right not in ROLES)]),
    default="viewer",
    show_default=True,
    help="What it may: viewer looks, reporter writes, operator looks and runs; or one right.",
)
@click.option(
    "--expires", default="90d", show_default=True, help="30m, 12h, 90d, a time, or never."
)
@click.option("--name", help="Whose it is; shown in lists.")
@json_option
@store_option
def create(
    workspaces: tuple[str, ...],
    role: str,
    expires: str,
    name: str | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Make a key and print it. Nobody can print it again."""
    rights: dict[str, Rights] = dict.fromkeys(workspaces, rights_of(role))
    until = expiry(expires, SystemClock().now())

    async def make() -> tuple[str, str]:
        async with Runtime(settings) as runtime:
            key, identity = await runtime.access.make_key(rights, name=name, expires_at=until)
            return key, identity.credential.removeprefix("key:")

    key, key_id = run_async(make)
    if as_json:
        shown = {"id": key_id, "token": key, "expires_at": rfc3339(until) if until else None}
        print_json(shown)
    else:
        where = ", ".join(workspaces)
        print(f"tailrace: key {key_id}, {role} in {where}; it is shown only now", file=sys.stderr)
        print(key)


def expiry(text: str, now: datetime) -> datetime | None:
    """Read when a key ends. Raises InvalidRequest."""
    if text == "never":
        return None
    span = re.fullmatch(r"([0-9]{1,6})([mhd])", text)
    try:
        if span:
            return now + timedelta(**{_UNITS[span[2]]: int(span[1])})
        read = datetime.fromisoformat(text)
        until = read.astimezone(UTC) if read.tzinfo else read.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        until = now
    if until <= now:
        raise InvalidRequest(
            f"--expires {text[:40]!r} is no time to come",
            hint="For example 12h, 90d, 2027-01-31, or never.",
        )
    return until


@token.command(
    name="list", epilog=examples("tailrace token list", "tailrace token list --json | jq .state")
)
@json_option
@store_option
def list_(as_json: bool, settings: Settings) -> None:
    """List keys: whose they are, what they may, and whether they are still good."""

    async def keys() -> list[dict[str, Any]]:
        async with Runtime(settings) as runtime:
            return await runtime.access.keys()

    found = run_async(keys)
    if as_json:
        for key in found:
            print_json(key)
    elif found:
        render.console().print(_table(found))
    else:
        print("No keys yet. Make one: tailrace token create --role viewer", file=sys.stderr)


def _table(keys: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("id", "name", "state", "rights", "expires"):
        table.add_column(heading)
    for key in keys:
        rights = "; ".join(f"{where}: {' '.join(may)}" for where, may in key["workspaces"].items())
        table.add_row(key["id"], key["name"], key["state"], rights, key["expires_at"] or "never")
    return table


@token.command(
    epilog=examples("tailrace token revoke 5e87b380630c", "tailrace token revoke subject:ann")
)
@click.argument("key_id")
@store_option
def revoke(key_id: str, settings: Settings) -> None:
    """Let a key be good no longer; its streams end within seconds, in every process.

    KEY_ID is a key's id. `jwt:JTI` and `subject:SUB` revoke JWTs: one, or all of one subject.
    """

    async def end() -> None:
        async with Runtime(settings) as runtime:
            if key_id.startswith(("jwt:", "subject:")):
                await runtime.access.revoke(key_id)
            else:
                await runtime.access.revoke_key(key_id.removeprefix("key:"))

    run_async(end)
    print(f"{key_id} revoked")
