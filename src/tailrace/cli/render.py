"""Events and executions for people: lines, and a tree that lights up.

The law of this file: text in, text out; a line never depends on a line before. Never colour
alone: every state also has a sign and a word.
"""

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from tailrace.events import Event
from tailrace.lifecycle import ExecutionState

_SIGNS = {
    "new": ("·", "dim"),
    "queued": ("○", "dim"),
    "running": ("●", "cyan"),
    "retrying": ("↻", "yellow"),
    "cancelling": ("●", "yellow"),
    "completed": ("✓", "green"),
    "failed": ("✗", "red"),
    "timed_out": ("✗", "red"),
    "lost": ("✗", "red"),
    "cancelled": ("■", "yellow"),
    "skipped": ("–", "dim"),
}
PREVIEW = 100
PIPE_WIDTH = 200  # a file has no width; tables must not be cut to a guess


def duration(milliseconds: int | None) -> str:
    """Milliseconds as people write them."""
    if milliseconds is None:
        return ""
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:.1f} s"
    return f"{milliseconds // 60_000} min {milliseconds // 1000 % 60} s"


def short(value: Any, limit: int = PREVIEW) -> str:
    """A value as one short line of JSON."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def line(event: Event, *, many: bool = False) -> Text:
    """One event as one line: time, id, type, node, and what matters of its data.

    `many`: and whose it is, by the end of the execution's id.
    """
    stamp = event.ts[11:23] if event.ts else " " * 12
    if many:
        stamp = f"{stamp} {event.execution_id[-6:]:>6}"
    number = f"#{event.id}" if event.id is not None else "–"
    if event.type == "log.line":
        source = str(event.data.get("source", ""))
        text = Text(f"{stamp} {number:>6} {source:>8} │ ", style="dim")
        return text.append(Text.from_ansi(str(event.data.get("line", "")), style="not dim"))
    text = Text(f"{stamp} {number:>6} ", style="dim")
    text.append(f"{event.type:<20}", style=f"not dim {_style(event.type)}")
    if event.node:
        text.append(f" {event.node}", style="not dim bold")
    if detail := _detail(event):
        text.append(f"  {detail}", style="not dim")
    return text


def _style(event_type: str) -> str:
    status = event_type.partition(".")[2]
    return _SIGNS.get("running" if status == "started" else status, ("", ""))[1]


def _detail(event: Event) -> str:
    data = event.data
    if event.type == "execution.queued":
        given = "" if data.get("input") is None else f" {short(data['input'])}"
        return f"{data.get('kind')} {data.get('flow')}{given}"
    if event.type == "output.item":
        return short(data.get("value"))
    if error := data.get("error"):
        return f"{error.get('type')}: {error.get('message')}"
    parts = [duration(data.get("duration_ms", data.get("total_duration_ms")))]
    if summary := data.get("output_summary"):
        parts.append(str(summary.get("preview", ""))[:PREVIEW])
    elif data.get("output") is not None:
        parts.append(short(data["output"]))
    rest = {k: v for k, v in data.items() if k not in _SHOWN and v is not None}
    if rest:
        parts.append(short(rest))
    return "  ".join(part for part in parts if part)


# Besides what has been said: times, since a line begins with one.
_SHOWN = {"duration_ms", "total_duration_ms", "output_summary", "output", "node_count"} | {
    f"{what}_at" for what in ("queued", "started", "completed", "failed")
}


def tree(state: ExecutionState, now: datetime | None = None) -> Tree:
    """The execution as a tree of its nodes, each below the first node that it waits for."""
    root = Tree(_label(state.flow or state.id, state.status, _execution_note(state, now)))
    branches: dict[str, Tree] = {}
    for node_id in _order(state):
        parents = [branches[p] for p in _parents(state, node_id) if p in branches]
        parent = parents[0] if parents else root
        branches[node_id] = parent.add(_node_label(state, node_id, now))
    return root


def _order(state: ExecutionState) -> list[str]:
    planned = [node["id"] for node in (state.graph or {}).get("nodes", [])]
    learned = [node_id for node_id in state.nodes if node_id not in planned]
    return [node_id for node_id in (*planned, *learned) if node_id != "trigger"]


def _parents(state: ExecutionState, node_id: str) -> Iterable[str]:
    return [edge["from"] for edge in (state.graph or {}).get("edges", []) if edge["to"] == node_id]


def _node_label(state: ExecutionState, node_id: str, now: datetime | None) -> Text:
    node = state.nodes.get(node_id)
    if node is None:
        return _label(node_id, "new", "")
    notes = [duration(node.duration_ms) or _since(node.started_at, now)]
    graph = {item["id"]: item for item in (state.graph or {}).get("nodes", [])}
    if graph.get(node_id, {}).get("streaming"):
        capture = (state.graph or {}).get("capture") == node_id
        count = (
            node.item_count if node.item_count is not None else state.item_count if capture else 0
        )
        notes.append(f"{count} items")
    if node.attempt > 1:
        notes.append(f"attempt {node.attempt}")
    if node.status == "failed" and node.error:
        notes.append(f"{node.error.get('type')}: {node.error.get('message')}")
    return _label(node_id, node.status, "  ".join(note for note in notes if note))


def _execution_note(state: ExecutionState, now: datetime | None) -> str:
    note = duration(state.total_duration_ms) or _since(state.started_at, now)
    return f"{state.status}  {note}".rstrip()


def _label(name: str, status: str, note: str) -> Text:
    sign, style = _SIGNS.get(status, ("?", ""))
    return Text.assemble((sign, style), " ", (name, "bold"), ("  " + note if note else "", "dim"))


def _since(started_at: str | None, now: datetime | None) -> str:
    if started_at is None or now is None:
        return ""
    started = datetime.fromisoformat(started_at)
    return duration(max(round((now - started).total_seconds() * 1000), 0))


def table(rows: Iterable[dict[str, Any]]) -> Table:
    """Executions as a table."""
    made = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("execution", "status", "kind", "flow", "created", "events"):
        # An id that is cut off cannot be copied, and half a status says nothing: in a narrow
        # terminal the others give way, which is why the time has no seconds.
        made.add_column(title, no_wrap=True, min_width=_WIDTHS.get(title))
    for row in rows:
        sign, style = _SIGNS.get(row["status"], ("?", ""))
        status = Text(f"{sign} {row['status']}", style=style)
        created = row["created_at"][:16].replace("T", " ")
        made.add_row(
            row["execution_id"], status, row["kind"], escape(row["flow"]), created, str(row["head"])
        )
    return made


_WIDTHS = {"execution": 26, "status": 11, "created": 16}


def console(*, error: bool = False) -> Console:
    """A console that knows whether it is a terminal: colours and live trees only there."""
    made = Console(stderr=error, highlight=False, soft_wrap=True)
    if not made.is_terminal:
        made.width = PIPE_WIDTH
    return made
