"""What a client asks of a stream: its query and headers, checked.

The law of this file: everything that can be refused is refused here, before the first byte, and
nothing here waits. The face of the answer follows from a table (`Asked.face`).
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.types import Scope

from tailrace.auth import Identity
from tailrace.errors import InvalidRequest
from tailrace.filters import Choice, Filter, chosen, moment
from tailrace.http.faces import (
    EVENTS,
    EVENTS_NDJSON,
    LINES,
    LINES_PLAIN,
    LOG_TYPES,
    NDJSON,
    PLAIN,
    TEXT,
    TEXT_PLAIN,
    Face,
)
from tailrace.seek import Begin

IDENTITY = "tailrace.identity"  # in the ASGI scope, from http.access: who asks
View = Literal["events", "logs", "workspace"]
BATCH_MAX_MS = 2000
_COUNT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asked for."""

    view: View
    place: str | None  # where it stands, as it names it
    follow: bool
    heartbeat_event: bool
    batch_s: float
    compact: str
    accept: str
    form: str | None
    choice: Choice
    since: str | None

    def face(self, *, speaks_text: bool) -> Face:
        """How the answer looks; `speaks_text`: text is what this stream is by itself."""
        ndjson, plain = (type_ in self.accept for type_ in (NDJSON, PLAIN))
        if self.form == "json" or (ndjson and self.form is None):
            return EVENTS_NDJSON if ndjson else EVENTS
        if self.view == "logs":
            return LINES_PLAIN if plain else LINES
        if self.form == "text" or plain or speaks_text:
            return TEXT_PLAIN if plain else TEXT
        return EVENTS

    def wanted(self, face: Face) -> Filter | None:
        """What of the log goes into that face. Raises InvalidRequest for what it cannot show."""
        types = LOG_TYPES if self.view == "logs" else face.types
        if types and self.choice.get("events"):
            raise InvalidRequest(
                "events= chooses among events, and this is a stream of lines or text",
                hint="Leave it out, or ask the stream for ?format=json.",
            )
        choice = self.choice.copy()
        if types:
            choice["events"] = ",".join(types)
        return chosen(choice)

    def begin(self, wanted: Filter | None) -> Begin | None:
        """Where it begins, if it names no position."""
        newest = self.choice.get("tail")
        asked = self.since is not None or newest is not None
        return Begin(self.since, newest, wanted) if asked else None

    def compacted(self, *, sealed: bool) -> bool:
        """Whether neighbouring pieces of text are joined."""
        return self.compact == "true" or (self.compact == "finished" and sealed)


def holder(scope: Scope) -> Identity | None:
    """Who a stream is opened for: it ends when they may no longer. None: nobody was asked."""
    identity: Identity | None = scope.get(IDENTITY)
    return identity


def asked(request: Request, view: View, now: datetime) -> Asked:
    """Read a stream request. Raises InvalidRequest."""
    query = request.query_params
    batch_ms = _count(query, "batch_ms") or 0
    if batch_ms > BATCH_MAX_MS:
        raise InvalidRequest(f"batch_ms is at most {BATCH_MAX_MS}")
    choice = Choice(
        events=",".join(query.getlist("events")),
        node=",".join(query.getlist("node")),
        level=query.get("level"),
        source=",".join(query.getlist("source")),
        search=query.get("search"),
        tail=_count(query, "tail"),
    )
    chosen(choice)  # what cannot be is refused, even where this view does not use it
    since = query.get("since")
    return Asked(
        view=view,
        # The header wins: a browser sends it on every reconnect, to the same URL.
        place=request.headers.get("last-event-id") or query.get("after") or None,
        follow=_one_of(query, "follow", "true", "false") == "true",
        heartbeat_event=_one_of(query, "heartbeat", "comment", "event") == "event",
        batch_s=batch_ms / 1000,
        compact=_one_of(query, "compact", "false", "true", "finished"),
        accept=request.headers.get("accept", ""),
        form=_one_of(query, "format", "", "json", "text") or None,
        choice=choice,
        since=moment(since, now) if since else None,
    )


def _one_of(query: QueryParams, name: str, *allowed: str) -> str:
    """A parameter's value; the first that is allowed is the default."""
    value = query.get(name, allowed[0])
    if value not in allowed:
        raise InvalidRequest(f"{name} is one of: {', '.join(filter(None, allowed))}")
    return value


def _count(query: QueryParams, name: str) -> int | None:
    text = query.get(name)
    if text is not None and not _COUNT.fullmatch(text):
        raise InvalidRequest(f"{name} is a number, 0 or more")
    return None if text is None else int(text)
