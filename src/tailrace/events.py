"""The event envelope and the catalog of everything an execution can say.

The law of this file: an event type exists once, as a payload class here. JSON Schema,
docs/events.md and the validation of ingested events are made from `CATALOG`. Readers pass
unknown types and unknown fields through untouched, so old readers survive new writers.

How an event becomes bytes: a `Draft` is an event without a place. `Draft.encode()` writes all of
the envelope that follows the id, once. The log assigns the sequence number and stores that
tail; `Record.json()` puts `{"id":N,` in front. Nothing is ever encoded a second time.
"""

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from tailrace.clock import rfc3339
from tailrace.errors import InvalidEvent

SCHEMA_VERSION = 1
CUSTOM = "custom."
KINDS = ("workflow", "agent", "task", "workload")  # of executions
_CUSTOM_NAME = re.compile(r"custom\.[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

CATALOG: dict[str, type["Payload"]] = {}


class Payload(BaseModel):
    """What an event says; a subclass names its type and is thereby in the catalog."""

    # Extra fields pass through: a newer writer may say more than this reader knows.
    model_config = ConfigDict(frozen=True, extra="allow")
    type: ClassVar[str]
    terminal: ClassVar[bool] = False
    control: ClassVar[bool] = False
    names: ClassVar[tuple[tuple[str, str], ...]] = ()  # of its fields, here and on the wire

    def __init_subclass__(cls, *, type: str, terminal: bool = False, control: bool = False) -> None:  # noqa: A002 - the envelope's own word
        cls.type, cls.terminal, cls.control = type, terminal, control
        CATALOG[type] = cls

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        fields = cls.model_fields.items()
        cls.names = tuple((name, field_.alias or name) for name, field_ in fields)

    def data(self) -> dict[str, Any]:
        """Return the fields that were set, as they go on the wire; values are not converted."""
        data = dict(self.__pydantic_extra__ or {})
        said = self.model_fields_set
        for name, on_wire in self.names:
            if name in said:
                data[on_wire] = getattr(self, name)
        return data


class Error(BaseModel):
    """Why something failed, without a stack trace."""

    model_config = ConfigDict(frozen=True, extra="allow")
    type: str = Field(description="The exception's class name, or a stable code.")
    message: str = Field(description="What a person should read.")
    node: str | None = Field(default=None, description="The node it came from.")


class OutputSummary(BaseModel):
    """What a value looks like, in place of the value: a node's output, or one that is large.

    `altered: true` beside these says that the value itself was another: something in it was
    redacted, or JSON has not its type.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    keys: list[str] = Field(default_factory=list, description="The keys, when it is an object.")
    size_bytes: int = Field(description="Its size as JSON.")
    preview: str = Field(description="The beginning of its JSON.")
    digest: str | None = Field(
        default=None, description="Where the preview is not all: fetch it by this (`…/payloads/`)."
    )


class ExecutionQueued(Payload, type="execution.queued"):
    """The execution exists; the first event of every log."""

    kind: str = Field(description="`workflow`, `agent`, `task` or `workload`.")
    flow: str = Field(description="The flow's name, or the command's.")
    workspace: str = Field(default="default", description="The workspace that owns it.")
    input: Any = Field(default=None, description="The input, as validated.")
    graph: dict[str, Any] | None = Field(default=None, description="The flow's IR.")
    output_schema: dict[str, Any] | None = Field(
        default=None, description="JSON Schema of an agent's or task's output; text without one."
    )
    deadline_ms: int | None = Field(default=None, description="The time it may take in all.")
    lease_ms: int | None = Field(
        default=None,
        description="Of one that an engine outside reports: the silence after which it is lost.",
    )
    traceparent: str | None = Field(
        default=None, description="The trace that started it (W3C Trace Context)."
    )
    ephemeral: bool = Field(default=False, description="It is removed soon after its end.")


class ExecutionStarted(Payload, type="execution.started"):
    """A worker began to run it."""

    worker: str = Field(description="Which worker: host and process id.")


class ExecutionProgress(Payload, type="execution.progress"):
    """How far it is, as far as it knows."""

    percent: float | None = Field(default=None, ge=0, le=100, description="0 to 100.")
    message: str | None = Field(default=None, description="What it is doing.")
    eta_ms: int | None = Field(default=None, description="Its guess of the time left.")


class ExecutionCancelling(Payload, type="execution.cancelling"):
    """Somebody asked for a cancel; the worker has yet to stop."""

    by: str = Field(description="Who asked.")
    reason: str | None = Field(default=None, description="Why.")


class ExecutionCompleted(Payload, type="execution.completed", terminal=True):
    """It ended well."""

    output: Any = Field(default=None, description="The capture's output; null when it streamed.")
    total_duration_ms: int = Field(description="From started to the end.")
    node_count: int = Field(default=0, description="Nodes that completed.")
    item_count: int | None = Field(default=None, description="Values a streaming capture gave.")
    output_summary: OutputSummary | None = Field(
        default=None, description="In place of an output that is too large for an event."
    )


class ExecutionFailed(Payload, type="execution.failed", terminal=True):
    """It ended with an error."""

    error: Error
    total_duration_ms: int = Field(default=0, description="From started to the end.")
    exit_status: int | None = Field(default=None, description="A command's exit status.")


class ExecutionCancelled(Payload, type="execution.cancelled", terminal=True):
    """It was stopped on purpose."""

    by: str = Field(description="Who stopped it.")
    reason: str | None = Field(default=None, description="Why.")
    total_duration_ms: int = Field(default=0, description="From started to the end.")


class ExecutionTimedOut(Payload, type="execution.timed_out", terminal=True):
    """It passed its deadline and was stopped."""

    deadline_ms: int = Field(description="The deadline it had.")
    total_duration_ms: int = Field(default=0, description="From started to the end.")


class ExecutionLost(Payload, type="execution.lost", terminal=True):
    """Its worker died or went silent past its lease; written by another process."""

    reason: str = Field(description="What is known of the end.")
    last_seen: str | None = Field(default=None, description="When its lease ran out.")


class NodeQueued(Payload, type="node.queued"):
    """Its inputs are there; it waits for a place to run."""

    queued_at: str | None = Field(default=None, description="RFC 3339.")


class NodeStarted(Payload, type="node.started"):
    """It runs."""

    started_at: str | None = Field(default=None, description="RFC 3339.")


class NodeProgress(Payload, type="node.progress"):
    """How far the node is."""

    percent: float | None = Field(default=None, ge=0, le=100, description="0 to 100.")
    message: str | None = Field(default=None, description="What it is doing.")


class NodeCompleted(Payload, type="node.completed"):
    """It ended well."""

    duration_ms: int = Field(description="From its start to its end.")
    output_summary: OutputSummary | None = Field(default=None, description="What it gave.")
    item_count: int | None = Field(default=None, description="Values a streaming node gave.")
    completed_at: str | None = Field(default=None, description="RFC 3339.")


class NodeFailed(Payload, type="node.failed"):
    """It raised."""

    error: Error
    duration_ms: int = Field(default=0, description="From its start to its end.")
    failed_at: str | None = Field(default=None, description="RFC 3339.")


class NodeRetrying(Payload, type="node.retrying"):
    """It failed and will be tried again."""

    error: Error
    delay_ms: int = Field(default=0, description="The wait before the next attempt.")


class NodeSkipped(Payload, type="node.skipped"):
    """It will not run."""

    reason: str = Field(description="Why not.")


class NodeCancelled(Payload, type="node.cancelled"):
    """It was stopped while it ran."""

    duration_ms: int = Field(default=0, description="From its start to its end.")


class OutputItem(Payload, type="output.item"):
    """One value of a streaming capture."""

    index: int = Field(ge=0, description="0, 1, 2 …")
    value: Any = Field(description="The value.")


class LlmChunk(Payload, type="llm.chunk"):
    """A piece of generated text."""

    text: str = Field(description="The piece; concatenated, the pieces are the text.")
    offset: int = Field(ge=0, description="Code points of the text before this piece.")


class LlmUsage(Payload, type="llm.usage"):
    """Tokens used."""

    input_tokens: int | None = None
    output_tokens: int | None = None


class ToolCall(Payload, type="tool.call"):
    """An agent calls a tool."""

    call_id: str = Field(description="Joins the call and its result.")
    name: str = Field(description="The tool.")
    input: Any = Field(default=None, description="Redacted.")


class ToolResult(Payload, type="tool.result"):
    """A tool answered."""

    call_id: str = Field(description="Joins the call and its result.")
    name: str = Field(description="The tool.")
    output: Any = Field(default=None, description="Redacted.")
    error: Error | None = None
    duration_ms: int = Field(default=0, description="From call to answer.")


class StructuredDelta(Payload, type="structured.delta"):
    """A change to a structured output under construction."""

    patch: list[dict[str, Any]] = Field(description="JSON Patch, RFC 6902.")


class LogLine(Payload, type="log.line"):
    """One line of a log."""

    line: str = Field(description="The line, without its line break.")
    level: str = Field(
        default="info",
        description="`debug`, `info`, `warning` or `error`; `critical`, `fatal`, `warn` and `trace` count as the nearest.",
    )
    source: str = Field(description="`stdout`, `stderr` or a logger's name.")
    truncated: bool | None = Field(default=None, description="The line was longer and was cut.")


class LogSealed(Payload, type="log.sealed"):
    """Nothing more comes from this source."""

    source: str = Field(description="`stdout`, `stderr` or a logger's name.")


class WarningEvent(Payload, type="warning"):
    """Something a person should know; the execution goes on."""

    code: str = Field(description="A stable name.")
    message: str = Field(description="What a person should read.")


class StreamGap(Payload, type="stream.gap", control=True):
    """Events are missing from here: said, never silent."""

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True)
    from_: int = Field(
        alias="from",
        description="The first missing id; without an execution, in a stream of many, the number of "
        "the first missing execution.",
    )
    to: int = Field(description="The last missing id.")
    cause: str = Field(
        description="`retention`: trimmed or removed. `lost`: the log was lost or re-created."
    )


class StreamOpen(Payload, type="stream.open", control=True):
    """The first frame of every stream: where the watcher stands."""

    execution_id: str | None = Field(default=None, description="The execution, of a stream of one.")
    workspace: str | None = Field(default=None, description="The workspace, of a stream of many.")
    executions: int | None = Field(default=None, description="How many such a stream begins with.")
    status: str | None = Field(default=None, description="The execution's status now.")
    position: str = Field(description="Where this stream starts, exclusive.")
    head: int | None = Field(default=None, description="The newest id now.")
    epoch: str | None = Field(
        default=None, description="The life of this log; another epoch is another log."
    )
    resumed: bool = Field(description="The client named a position and the log could serve it.")
    gap: dict[str, Any] | None = Field(
        default=None, description="As in stream.gap, if one follows."
    )


class StreamClosing(Payload, type="stream.closing", control=True):
    """The server is about to end this stream; the execution goes on."""

    reason: str = Field(
        description="`lifetime`, `shutdown`, `lost` (a gap follows when you resume), or of the "
        "credential: `expired` or `revoked`."
    )
    retry_ms: int = Field(description="Reconnect after about this long.")


class Heartbeat(Payload, type="heartbeat", control=True):
    """The stream is alive; sent with `?heartbeat=event`."""


TERMINAL = frozenset(name for name, payload in CATALOG.items() if payload.terminal)
CONTROL = frozenset(name for name, payload in CATALOG.items() if payload.control)


@dataclass(slots=True, kw_only=True)
class Draft:
    """An event that has no place in a log yet.

    Not frozen, and neither is Record: that would triple the cost of making one, and one is made
    for each event. Treat them as immutable.
    """

    type: str
    ts: str
    data: Mapping[str, Any]
    node: str | None = None
    attempt: int = 1
    encoded: bytes | None = None  # by whoever has encoded it already, for its execution
    aside: Mapping[str, bytes] | None = None  # digest → value: what is kept beside its log

    def encode(self, execution_id: str) -> bytes:
        """Write the envelope from after its id to its end.

        Raises InvalidEvent if the data cannot be JSON.
        """
        if self.encoded is not None:
            return self.encoded
        envelope: dict[str, Any] = {"type": self.type, "ts": self.ts, "execution_id": execution_id}
        if self.node is not None:
            envelope["node"] = self.node
        envelope["attempt"] = self.attempt
        envelope["data"] = self.data
        try:
            return to_json(envelope, inf_nan_mode="null")[1:]
        except (PydanticSerializationError, RecursionError) as error:
            raise InvalidEvent(
                f"{self.type}: its data cannot be written as JSON: {error}"
            ) from error


def draft(payload: Payload, now: datetime, *, node: str | None = None, attempt: int = 1) -> Draft:
    """Make a draft of a catalogued payload."""
    return Draft(
        type=payload.type, ts=rfc3339(now), data=payload.data(), node=node, attempt=attempt
    )


def check(type_: str, data: Mapping[str, Any]) -> Payload | None:
    """Check data from outside against the catalog; a `custom.*` event gives None.

    Raises InvalidEvent for an unknown or control type and for data that does not fit.
    """
    if _CUSTOM_NAME.fullmatch(type_):
        return None
    payload = CATALOG.get(type_)
    if payload is None or payload.control:
        raise InvalidEvent(f"{type_!r} is not an event type that a log can hold")
    try:
        return payload.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidEvent(f"{type_}: {where}: {first['msg']}") from error


@dataclass(slots=True)
class Record:
    """An event in its place: the sequence number, and the encoded tail of its envelope."""

    seq: int
    type: str
    tail: bytes

    def json(self) -> bytes:
        """Return the whole envelope."""
        return b'{"id":%d,%b' % (self.seq, self.tail)

    def event(self) -> "Event":
        """Return the event, parsed."""
        return Event.parse(self.json())


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """An event as readers get it. Control events have no id."""

    id: int | None
    type: str
    ts: str = ""
    execution_id: str = ""
    node: str | None = None
    attempt: int = 1
    data: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str | bytes) -> "Event":
        """Read an envelope; fields it does not know are ignored.

        Raises InvalidEvent if it is no envelope.
        """
        try:
            raw = json.loads(text)
            return cls(
                id=raw.get("id"),
                type=raw["type"],
                ts=raw.get("ts", ""),
                execution_id=raw.get("execution_id", ""),
                node=raw.get("node"),
                attempt=raw.get("attempt", 1),
                data=raw.get("data") or {},
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise InvalidEvent("This is not an event's envelope") from error

    @property
    def terminal(self) -> bool:
        """Whether this is the event that ends its execution."""
        return self.type in TERMINAL

    def payload(self) -> Payload | None:
        """Return the data as its typed payload, or None for a type this version does not know."""
        known = CATALOG.get(self.type)
        return known.model_validate(self.data) if known else None

    def to_dict(self) -> dict[str, Any]:
        """Return the envelope as it is on the wire."""
        envelope: dict[str, Any] = {"id": self.id, "type": self.type, "ts": self.ts}
        envelope["execution_id"] = self.execution_id
        if self.node is not None:
            envelope["node"] = self.node
        return envelope | {"attempt": self.attempt, "data": dict(self.data)}


def new_execution_id(now: datetime) -> str:
    """Make a ULID: 48 bits of milliseconds, 80 random bits; sorts by time, safe in URLs."""
    value = (int(now.timestamp() * 1000) << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))
