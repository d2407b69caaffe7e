"""A flow as data: the intermediate representation (IR), which is also its JSON form.

The law of this file: only shapes, no behaviour. The IR is complete before the flow runs; it is
in the first event of every execution, so a watcher can draw the graph without the code.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

IR_VERSION = 1
TRIGGER = "trigger"  # the node that stands for the flow's input

Effects = Literal["pure", "read_only", "effectful"]
Determinism = Literal["strict", "stable", "best_effort", "nondeterministic"]
NodeKind = Literal["trigger", "inline", "activity", "subflow", "capture"]
Schema = dict[str, Any]


class _Shape(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class RetryIR(_Shape):
    """How often, and how patiently, a failing node is tried again."""

    attempts: int = Field(default=1, ge=1, description="Tries in all.")
    delay_ms: int = Field(default=1000, ge=0, description="Wait before the second try.")
    backoff: float = Field(default=2.0, ge=1, description="Factor on each further wait.")
    jitter: float = Field(
        default=0.0, ge=0, le=1, description="Share by which a wait is longer, at random."
    )
    on: tuple[str, ...] = Field(default=("Exception",), description="Errors that are retried.")


class IdempotencyIR(_Shape):
    """Why running the node again does no harm."""

    key: str | None = Field(default=None, description="What makes two calls the same.")


class MapIR(_Shape):
    """The node runs once for each item of a list, or of a stream."""

    param: str = Field(description="The parameter that takes the item.")
    concurrency: int = Field(ge=1, description="Items at once.")


class NodeIR(_Shape):
    """One step."""

    id: str
    kind: NodeKind
    summary: str | None = None
    streaming: bool = Field(default=False, description="It yields many values.")
    map: MapIR | None = None
    in_schema: Schema | None = Field(default=None, description="JSON Schema of its parameters.")
    out_schema: Schema | None = Field(
        default=None, description="JSON Schema of its output, of one value when streaming."
    )
    effects: Effects = "effectful"
    determinism: Determinism = "best_effort"
    idempotency: IdempotencyIR | None = None
    resources: tuple[str, ...] = Field(default=(), description="`resource::http` and the like.")
    retry: RetryIR | None = None
    timeout_ms: int | None = Field(default=None, gt=0)


class EdgeIR(_Shape):
    """One value's way, or, with `param` null, only an order: `to` after `from`."""

    from_: str = Field(alias="from")
    to: str
    param: str | None = Field(default=None, description="The parameter that takes the value.")
    buffer: int | None = Field(
        default=None, ge=0, description="Streaming: values that may wait; 0 hands over directly."
    )
    timeout_ms: int | None = Field(
        default=None, gt=0, description="Streaming: the longest a value may wait for its consumer."
    )
    when: str | None = Field(
        default=None, description="`to` runs only if the value of `from` is this case."
    )


class TriggerIR(_Shape):
    """What starts the flow, and with what."""

    method: str | None = None
    path: str | None = None
    input_schema: Schema


class FlowIR(_Shape):
    """The whole graph."""

    ir_version: int = IR_VERSION
    name: str
    summary: str | None = None
    trigger: TriggerIR
    capture: str = Field(description="The node whose output is the flow's answer.")
    deadline_ms: int | None = Field(default=None, gt=0)
    nodes: tuple[NodeIR, ...]
    edges: tuple[EdgeIR, ...]

    def node(self, node_id: str) -> NodeIR | None:
        """Find a node."""
        return next((node for node in self.nodes if node.id == node_id), None)
