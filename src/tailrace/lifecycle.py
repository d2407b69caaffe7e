"""What may follow what: the life of an execution and of its nodes.

Rule 1: everything that decides a status lives here, in two tables and one fold. There is no
second copy of a status anywhere; whoever wants to know it folds the events.
Rule 2: no await, no clock, no I/O. docs/lifecycle.md draws its diagrams from these tables.

A move that is not in the table raises IllegalTransition, which names state and event. Events of
other groups (log.line, output.item, custom.* …) may come in any state but a terminal one. Of a
state that is `partial` nobody knows what went before: there an event says itself what it leads to.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from tailrace.errors import (
    ExecutionCancelled,
    ExecutionError,
    ExecutionFailed,
    ExecutionLost,
    ExecutionTimedOut,
    IllegalTransition,
)
from tailrace.events import TERMINAL, Event

NEW = "new"  # before the first event

_ENDS = {
    "execution.cancelled": "cancelled",
    "execution.failed": "failed",
    "execution.timed_out": "timed_out",
    "execution.lost": "lost",
}

EXECUTION: dict[str, dict[str, str]] = {
    NEW: {"execution.queued": "queued"},
    "queued": {
        "execution.started": "running",
        "execution.cancelling": "cancelling",
        "execution.completed": "completed",  # an engine outside may report nothing in between
        **_ENDS,
    },
    "running": {
        "execution.started": "running",  # a new attempt takes over
        "execution.progress": "running",
        "execution.cancelling": "cancelling",
        "execution.completed": "completed",
        **_ENDS,
    },
    # A cancel may lose the race against the end: then the end that came first stands.
    "cancelling": {
        "execution.started": "cancelling",
        "execution.progress": "cancelling",
        "execution.cancelling": "cancelling",
        "execution.completed": "completed",
        **_ENDS,
    },
    "completed": {},
    "failed": {},
    "cancelled": {},
    "timed_out": {},
    "lost": {},
}

NODE: dict[str, dict[str, str]] = {
    NEW: {"node.queued": "queued", "node.started": "running", "node.skipped": "skipped"},
    "queued": {
        "node.started": "running",
        "node.skipped": "skipped",
        "node.cancelled": "cancelled",
    },
    "running": {
        "node.progress": "running",
        "node.completed": "completed",
        "node.failed": "failed",
        "node.retrying": "retrying",
        "node.cancelled": "cancelled",
    },
    "retrying": {
        "node.queued": "queued",
        "node.started": "running",
        "node.cancelled": "cancelled",
    },
    "completed": {},
    "failed": {},
    "skipped": {},
    "cancelled": {},
}

EXECUTION_ERRORS: dict[str, type[ExecutionError]] = {
    "failed": ExecutionFailed,
    "cancelled": ExecutionCancelled,
    "timed_out": ExecutionTimedOut,
    "lost": ExecutionLost,
}


def status_after(event_type: str) -> str:
    """The execution's status after its newest status event, whichever state it came from.

    For a store's index: it keeps the type of the last status event, never a status.
    """
    found = _leads_to(EXECUTION, event_type)
    if found is None:
        raise KeyError(event_type)
    return found


def _leads_to(table: dict[str, dict[str, str]], event_type: str) -> str | None:
    # Of several states the first: of one that is cancelling, an event says no more than that.
    return next((moves[event_type] for moves in table.values() if event_type in moves), None)


STATUS_EVENTS = frozenset(
    name for moves in EXECUTION.values() for name in moves if name != "execution.progress"
)


@dataclass(slots=True)
class NodeState:
    """One node, folded."""

    id: str
    status: str = NEW
    attempt: int = 1
    started_at: str | None = None
    ended_at: str | None = None
    duration_ms: int | None = None
    output_summary: dict[str, Any] | None = None
    item_count: int | None = None
    error: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    execution_attempt: int = 1  # in which it moved last


@dataclass(slots=True)
class ExecutionState:
    """One execution, folded from its events; `apply` moves it on by one event."""

    id: str = ""
    status: str = NEW
    kind: str = ""
    flow: str = ""
    workspace: str = ""
    input: Any = None
    graph: dict[str, Any] | None = None
    graph_digest: str | None = None  # of one that is too large for an event: it was put aside
    queued_at: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    total_duration_ms: int | None = None
    output: Any = None
    error: dict[str, Any] | None = None
    end: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    item_count: int = 0
    head: int = 0
    attempt: int = 1
    lease_ms: int | None = None
    nodes: dict[str, NodeState] = field(default_factory=dict)
    partial: bool = False  # events are missing before its head, and what they did is not known

    @property
    def ended(self) -> bool:
        """Whether the terminal event has come."""
        return self.status in EXECUTION and self.status != NEW and not EXECUTION[self.status]

    def apply(self, event: Event) -> None:
        """Move on by one event, in place.

        Raises IllegalTransition, and stays as it was, if the event cannot follow.
        """
        if self.ended:
            raise IllegalTransition(f"{event.type} after the execution {self.status}")
        group = event.type.partition(".")[0]
        if group == "execution":
            self._apply_execution(event)
        elif group == "node":
            self._apply_node(event)
        elif event.type == "output.item":
            self.item_count += 1
        self.head = event.id or self.head

    def _apply_execution(self, event: Event) -> None:
        started = event.type == "execution.started"
        if started and self.started_at is not None and event.attempt <= self.attempt:
            raise IllegalTransition(
                f"{event.type} of attempt {event.attempt} while attempt {self.attempt} runs it"
            )
        self.status = self._move(EXECUTION, self.status, event.type, "execution")
        data = event.data
        if event.type == "execution.queued":
            self.id, self.queued_at = event.execution_id, event.ts
            self.kind, self.flow = data.get("kind", ""), data.get("flow", "")
            self.workspace, self.input = data.get("workspace", "default"), data.get("input")
            self.graph, self.lease_ms = data.get("graph"), data.get("lease_ms")
            self.graph_digest = (data.get("graph_summary") or {}).get("digest")
        elif started:
            self.started_at, self.attempt = self.started_at or event.ts, event.attempt
            self.item_count = 0  # a streaming capture begins anew in each attempt
        elif event.type == "execution.progress":
            self.progress = dict(data)
        elif event.type in TERMINAL:
            self.ended_at, self.end = event.ts, dict(data)
            self.total_duration_ms = data.get("total_duration_ms")
            self.output, self.error = data.get("output"), data.get("error")

    def _apply_node(self, event: Event) -> None:
        name = event.node or ""
        node = self.nodes.get(name)
        # What an earlier attempt did of a node does not bind this one: it may begin it anew.
        anew = node is None or (node.execution_attempt < self.attempt and event.type in NODE[NEW])
        before = NEW if node is None or anew else node.status
        status = self._move(NODE, before, event.type, f"node {name!r}")
        if node is None or anew:
            node = self.nodes[name] = NodeState(name)
        node.status, node.attempt = status, event.attempt
        node.execution_attempt = self.attempt
        data = event.data
        if event.type == "node.started":
            node.started_at = event.ts
        elif event.type == "node.progress":
            node.progress = dict(data)
        elif not NODE[status]:
            node.ended_at, node.duration_ms = event.ts, data.get("duration_ms")
            node.output_summary, node.item_count = (
                data.get("output_summary"),
                data.get("item_count"),
            )
        node.error = data.get("error", node.error)

    def _move(self, table: dict[str, dict[str, str]], state: str, type_: str, what: str) -> str:
        found = table[state].get(type_)
        if found is None and self.partial:
            if type_ == "execution.progress":
                return state  # it may be on its way to its end, or not
            found = _leads_to(table, type_)
        if found is None:
            raise IllegalTransition(f"{type_} is not possible while the {what} is {state}")
        return found

    def dump(self) -> dict[str, Any]:
        """All of it as JSON: what `load` reads."""
        body = asdict(self)
        body["execution_id"] = body.pop("id")
        body["nodes"] = list(body["nodes"].values())
        return body

    @classmethod
    def load(cls, body: Mapping[str, Any]) -> "ExecutionState":
        """Read what `dump` or `to_dict` gave; what else is there is not looked at."""
        nodes = {node["id"]: NodeState(**_known(NodeState, node)) for node in body["nodes"]}
        return cls(**_known(cls, body) | {"id": body["execution_id"], "nodes": nodes})

    def to_dict(self) -> dict[str, Any]:
        """The execution as JSON resources show it."""
        body = self.dump()
        del body["partial"]
        return body

    def raise_for_end(self) -> None:
        """Raise the ExecutionError that fits, unless the execution completed or still runs."""
        error = EXECUTION_ERRORS.get(self.status)
        if error is None:
            return
        end = self.end or {}
        message = (self.error or {}).get("message") or end.get("reason")
        raise error(message, execution_id=self.id, **end)


def _known(made: type[ExecutionState | NodeState], body: Mapping[str, Any]) -> dict[str, Any]:
    return {one.name: body[one.name] for one in fields(made) if one.name in body}


def digest_of(end: Mapping[str, Any]) -> str | None:
    """By what an output is fetched that was too large for the terminal event, if it was."""
    digest = (end.get("output_summary") or {}).get("digest")
    return None if digest is None else str(digest)


def outcome(end: Event) -> Any:
    """Return the output that a terminal event tells of, or raise the ExecutionError that it is."""
    data = dict(end.data)
    ended = ExecutionState(id=end.execution_id, status=status_after(end.type), end=data)
    ended.output, ended.error = data.get("output"), data.get("error")
    ended.raise_for_end()
    return ended.output


def fold(events: Iterable[Event], state: ExecutionState | None = None) -> ExecutionState:
    """Fold events, in order, into a state; raises IllegalTransition where one cannot follow."""
    state = state or ExecutionState()
    for event in events:
        state.apply(event)
    return state
