"""What an engine outside says of an execution, and how it becomes events of ours.

The law of this file: pure. A report says what happened; what we can count ourselves (a piece's
offset, a duration, how many nodes completed) it may leave out, and what only we can know (who owns
it, where a large value is kept) it cannot say.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tailrace import events
from tailrace.clock import moment_of, rfc3339
from tailrace.errors import InvalidEvent, InvalidFlow
from tailrace.events import KINDS, TERMINAL, Draft
from tailrace.flow.check import require_valid
from tailrace.flow.ir import FlowIR
from tailrace.intake import Intake
from tailrace.lifecycle import ExecutionState
from tailrace.log.base import Producer

NODE_NAME = r"^[^\x00-\x1f\x7f]{1,200}$"
PRODUCER_NAME = r"^[A-Za-z0-9._:@-]{1,100}$"
# When a node did what the event says; a source document's names.
_TIMES = {
    "node.started": "started_at",
    "node.completed": "completed_at",
    "node.failed": "failed_at",
}
_TIMED = ("node.completed", "node.failed", "node.cancelled")
# What an execution says only when it runs: of one that is queued it says that it has started.
_AT_WORK = ("node.", "output.", "llm.", "tool.", "structured.", "execution.progress")


class Report(BaseModel):
    """One thing that happened."""

    model_config = ConfigDict(extra="forbid")
    type: str = Field(max_length=200, description="An event type of the catalog, or `custom.…`.")
    node: str | None = Field(default=None, pattern=NODE_NAME, description="The node it is about.")
    attempt: int | None = Field(default=None, ge=1, description="Which try of that node it is.")
    ts: str | None = Field(
        default=None, description="When, RFC 3339; by default now. Never later than now."
    )
    data: dict[str, Any] = Field(default_factory=dict, description="As the catalog says.")


class Batch(BaseModel):
    """What a producer reports at once: it is in the log whole and once, or not at all."""

    model_config = ConfigDict(extra="forbid")
    producer: str = Field(
        default="engine", pattern=PRODUCER_NAME, description="Who reports; numbers are per name."
    )
    producer_seq: int | None = Field(
        default=None,
        ge=1,
        le=2**53,
        description="Which batch of this producer in this attempt: 1, 2, 3 … A repeat has the same.",
    )
    attempt: int = Field(
        default=1, ge=1, le=1_000_000, description="Which try at the execution reports."
    )
    events: list[Report] = Field(
        default_factory=list, description="In order; none: only a sign of life."
    )

    @property
    def numbered(self) -> Producer:
        """The batch as the log knows it: an attempt counts anew, it cannot know the last one's."""
        assert self.producer_seq is not None
        return Producer(f"{self.producer}/{self.attempt}", self.producer_seq)


def opening(workspace: str, batch: Batch, lease_ms: int, lease_max_ms: int) -> list[Report]:
    """The reports of a batch that begins an execution: the first says what it is.

    Raises InvalidEvent or InvalidFlow.
    """
    first, rest = batch.events[0], batch.events[1:]
    if first.type == "execution.started":
        told = {"flow": first.data.get("flow", batch.producer)}
        told |= {name: first.data[name] for name in ("kind", "lease_ms") if name in first.data}
        first, rest = Report(type="execution.queued", ts=first.ts, data=told), batch.events
    data = {"kind": "workflow", "workspace": workspace, "lease_ms": lease_ms} | first.data
    if data["kind"] not in KINDS:
        raise InvalidEvent(f"{data['kind']!r} is no kind", hint=f"One of: {', '.join(KINDS)}.")
    if data["workspace"] != workspace:
        raise InvalidEvent(f"{first.type}: its workspace is {workspace!r}, as the path says")
    asked = data["lease_ms"]
    if type(asked) is not int or not 0 < asked <= lease_max_ms:
        raise InvalidEvent(f"{first.type}: lease_ms is a number from 1 to {lease_max_ms}")
    if data.get("graph") is not None:
        data["graph"] = _graph(data["graph"])
    return [first.model_copy(update={"data": data}), *rest]


def _graph(given: Any) -> dict[str, Any]:
    try:
        ir = FlowIR.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidFlow(f"graph: {where}: {first['msg']}") from error
    require_valid(ir)
    return ir.model_dump(by_alias=True, exclude_none=True, mode="json")


def begins_work(report: Report) -> bool:
    """Whether it says, without saying so, that the execution has started."""
    return report.type.startswith(_AT_WORK)


def drafted(
    report: Report,
    batch: Batch,
    state: ExecutionState,
    texts: Mapping[str | None, int],
    intake: Intake,
    now: datetime,
) -> Draft:
    """Make one report a draft, checked against the catalog.

    Raises InvalidEvent, or PayloadTooLarge if no log takes it.
    """
    _check_place(report, batch)
    ts = when(report.ts, now)
    data, aside = _values(report, intake)
    for name, counted in _counted(report, batch, state, texts, ts).items():
        data.setdefault(name, counted)
    payload = events.check(report.type, data)
    if payload is not None:  # as the catalog has it: `"5"` where a number belongs is 5
        data = payload.model_dump(mode="json", by_alias=True, exclude_unset=True)
    attempt = batch.attempt if report.node is None else report.attempt or 1
    made = Draft(type=report.type, ts=ts, data=data, node=report.node, attempt=attempt)
    if aside:
        made.aside = aside
    return intake.prepare(state.id, made)


def _check_place(report: Report, batch: Batch) -> None:
    if report.type.startswith("node.") and report.node is None:
        raise InvalidEvent(f"{report.type} names no node")
    if report.type.startswith("execution.") and report.node is not None:
        raise InvalidEvent(f"{report.type} is of the execution, not of a node")
    if report.node is None and report.attempt not in (None, batch.attempt):
        raise InvalidEvent(f"{report.type}: its attempt is the batch's, {batch.attempt}")


def when(text: str | None, now: datetime) -> str:
    """A reported time as events have it; an engine's clock that is ahead does not get its way.

    Raises InvalidEvent.
    """
    if text is None:
        return rfc3339(now)
    try:
        read = moment_of(text)
    except ValueError:
        raise InvalidEvent(
            f"{text[:40]!r} is no time", hint="RFC 3339, such as 2026-02-18T10:30:00Z."
        ) from None
    return rfc3339(min(read, now))


def _values(report: Report, intake: Intake) -> tuple[dict[str, Any], Mapping[str, bytes]]:
    """The data, a node's output told in summary; and what to put aside of it."""
    data, aside = dict(report.data), {}
    summary = data.get("output_summary")
    if isinstance(summary, dict):
        # A digest is a promise that the value is kept here, which only we can make.
        data["output_summary"] = {name: told for name, told in summary.items() if name != "digest"}
    elif report.type == "node.completed" and "output" in data:
        told, kept = intake.summary(data.pop("output"))
        data["output_summary"], aside = told.model_dump(exclude_none=True), dict(kept)
    return data, aside


def _counted(
    report: Report,
    batch: Batch,
    state: ExecutionState,
    texts: Mapping[str | None, int],
    ts: str,
) -> dict[str, Any]:
    """What a report may leave out."""
    counted: dict[str, Any] = {}
    if name := _TIMES.get(report.type):
        counted[name] = ts
    if report.type in _TIMED:
        known = state.nodes.get(report.node or "")
        counted["duration_ms"] = _between(known.started_at if known else None, ts)
    elif report.type == "llm.chunk":
        counted["offset"] = texts.get(report.node, 0)
    elif report.type == "output.item":
        counted["index"] = state.item_count
    elif report.type == "execution.started":
        counted["worker"] = batch.producer
    elif report.type in TERMINAL:
        counted["total_duration_ms"] = _between(state.started_at or state.queued_at, ts)
        if report.type == "execution.completed":
            done = (node.status == "completed" for node in state.nodes.values())
            counted["node_count"] = sum(done)
    return counted


def _between(start: str | None, end: str) -> int:
    if start is None:
        return 0
    took = datetime.fromisoformat(end) - datetime.fromisoformat(start)
    return max(took // timedelta(milliseconds=1), 0)
