"""What of a log a watcher wants: by type and node, and of log lines by level, source and text.

The law of this file: a filter chooses, it never renumbers. An event that is left out still moves
the watcher's position, so that a filter may change on every reconnect and nothing comes twice.
Pure.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypedDict

from tailrace.clock import moment_of, rfc3339
from tailrace.errors import InvalidRequest
from tailrace.events import CATALOG, TERMINAL, Record

LEVELS = ("debug", "info", "warning", "error")
# What others call them: a critical line must not hide among those of level info.
_MEANT = {"trace": "debug", "warn": "warning", "critical": "error", "fatal": "error"}
LINE = "log.line"
_GROUPS = sorted({name.partition(".")[0] for name in CATALOG})
_AGO = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Choice(TypedDict, total=False):
    """What `follow` may be asked for: the arguments of every reader, in Python and over HTTP.

    `events` (`"node.*,log.line"`) and `node` choose events; `level`, `source` and `search` choose
    among log lines. Without a position, `since` (a time, or `10m`: so long ago) and `tail` (so
    many of the newest that are chosen) say where to begin. `compact` joins neighbouring pieces of
    text.
    """

    events: str | None
    node: str | None
    level: str | None
    source: str | None
    search: str | None
    since: str | None
    tail: int | None
    compact: bool | None


@dataclass(frozen=True)
class Filter:
    """A choice of events. The terminal event is always chosen: a stream must say its end.

    `level`, `sources` and `search` (any case) are about log lines; they leave other events alone.
    """

    types: tuple[str, ...] = ()
    nodes: frozenset[str] = frozenset()
    level: str | None = None
    sources: frozenset[str] = frozenset()
    search: str | None = None

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(name for name in self.types if not name.endswith(".*"))

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        return tuple(name[:-1] for name in self.types if name.endswith(".*"))

    @cached_property
    def _of_lines(self) -> bool:
        return bool(self.level or self.sources or self.search)

    def chooses(self, record: Record) -> bool:
        """Whether a record is wanted."""
        if record.type in TERMINAL:
            return True
        if self.types and not (
            record.type in self._names or record.type.startswith(self._prefixes)
        ):
            return False
        of_lines = self._of_lines and record.type == LINE
        if not (self.nodes or of_lines):
            return True
        body: dict[str, Any] = json.loads(record.json())
        if self.nodes and body.get("node") not in self.nodes:
            return False
        return not of_lines or self._chooses_line(body["data"])

    def _chooses_line(self, data: dict[str, Any]) -> bool:
        if self.level is not None and _rank(data.get("level")) < LEVELS.index(self.level):
            return False
        if self.sources and data.get("source") not in self.sources:
            return False
        return not self.search or self.search.casefold() in str(data.get("line", "")).casefold()


def parse(
    events: Iterable[str] = (),
    nodes: Iterable[str] = (),
    level: str | None = None,
    *,
    sources: Iterable[str] = (),
    search: str | None = None,
) -> Filter | None:
    """Make a filter of what a client asked for; None if it asked for everything.

    Names may be types, groups (`node.*`) or `custom.*` names; each argument may hold several,
    separated by commas. Raises InvalidRequest for what no event can have.
    """
    types = tuple(dict.fromkeys(_split(events)))
    for name in types:
        _require_known(name)
    if level is not None and level not in LEVELS:
        raise InvalidRequest(f"{level!r} is no level", hint=f"One of: {', '.join(LEVELS)}.")
    made = Filter(
        types,
        frozenset(_split(nodes)),
        level,
        frozenset(_split(sources)),
        search or None,
    )
    return None if made == Filter() else made


def chosen(choice: Choice) -> Filter | None:
    """Make the filter of a choice. Raises InvalidRequest."""
    return parse(
        [choice.get("events") or ""],
        [choice.get("node") or ""],
        choice.get("level"),
        sources=[choice.get("source") or ""],
        search=choice.get("search"),
    )


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


def moment(text: str, now: datetime) -> str:
    """Read a time, or how long ago (`10m`), as events have it. Raises InvalidRequest."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return rfc3339(now - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        return rfc3339(moment_of(text))
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"since: {text[:40]!r} is no time",
            hint="A time such as 2026-02-18T10:30:00Z, or how long ago: 90s, 10m, 2h.",
        ) from None


def _rank(level: object) -> int:
    """A level's place; one that is not known counts as info."""
    name = _MEANT.get(level, level) if isinstance(level, str) else None
    return LEVELS.index(name) if name in LEVELS else 1
