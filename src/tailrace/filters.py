"""What of a log a watcher wants: by type, by node, by level. Pure.

The law of this file: a filter chooses, it never renumbers. An event that is left out still moves
the watcher's position, so that a filter may change on every reconnect and nothing comes twice.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from tailrace.errors import InvalidRequest
from tailrace.events import CATALOG, TERMINAL, Record

LEVELS = ("debug", "info", "warning", "error")
_GROUPS = sorted({name.partition(".")[0] for name in CATALOG})


@dataclass(frozen=True)
class Filter:
    """A choice of events. The terminal event is always chosen: a stream must say its end."""

    types: tuple[str, ...] = ()
    nodes: frozenset[str] = frozenset()
    level: str | None = None

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(name for name in self.types if not name.endswith(".*"))

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        return tuple(name[:-1] for name in self.types if name.endswith(".*"))

    def chooses(self, record: Record) -> bool:
        """Whether a record is wanted."""
        if record.type in TERMINAL:
            return True
        if self.types and not (
            record.type in self._names or record.type.startswith(self._prefixes)
        ):
            return False
        if not self.nodes and (self.level is None or record.type != "log.line"):
            return True
        body: dict[str, Any] = json.loads(record.json())
        if self.nodes and body.get("node") not in self.nodes:
            return False
        if self.level is not None and record.type == "log.line":
            return _rank(body["data"].get("level")) >= LEVELS.index(self.level)
        return True


def parse(events: Iterable[str], nodes: Iterable[str], level: str | None) -> Filter | None:
    """Make a filter of what a client asked for; None if it asked for everything.

    Names may be types, groups (`node.*`) or `custom.*` names; each argument may hold several,
    separated by commas. Raises InvalidRequest for a name that no event can have.
    """
    types = tuple(dict.fromkeys(_split(events)))
    for name in types:
        _require_known(name)
    if level is not None and level not in LEVELS:
        raise InvalidRequest(f"{level!r} is no level", hint=f"One of: {', '.join(LEVELS)}.")
    wanted = frozenset(_split(nodes))
    return Filter(types, wanted, level) if types or wanted or level else None


def _split(values: Iterable[str]) -> list[str]:
    return [part for value in values for part in value.split(",") if part]


def _require_known(name: str) -> None:
    group, _, rest = name.partition(".")
    known = name in CATALOG or (rest == "*" and group in (*_GROUPS, "custom"))
    if not known and not (group == "custom" and rest):
        raise InvalidRequest(
            f"{name!r} is no event type",
            hint=f"A type such as node.completed, or a group: {', '.join(_GROUPS)}, custom, with .*",
        )


def _rank(level: object) -> int:
    """A level's place; one that is not known counts as info."""
    return LEVELS.index(level) if isinstance(level, str) and level in LEVELS else 1
