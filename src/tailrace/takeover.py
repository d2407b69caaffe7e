"""What an attempt finds of the earlier ones: which nodes it need not run again.

The law of this file: an output is taken from the log only if reading it back gave an equal value
when it was written, and only for the very graph that wrote it. Everything else runs again.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from tailrace.clock import Clock, moment_of
from tailrace.errors import PayloadNotFound
from tailrace.events import OutputSummary
from tailrace.flow.build import Flow
from tailrace.flow.graph import Call
from tailrace.lifecycle import ExecutionState, NodeState
from tailrace.log.base import EventLog

Outputs = Mapping[str, Any]  # node → output; of a streaming node that nobody needs again, None


@dataclass(frozen=True, slots=True)
class Earlier:
    """What the earlier attempts have done; nothing, for the first."""

    outputs: Outputs = field(default_factory=dict)
    tries: Mapping[str, int] = field(default_factory=dict)  # node → its newest attempt
    running: tuple[tuple[str, int], ...] = ()  # nodes whose worker died, and their attempts
    spent_ms: int = 0  # since the first one began


NOTHING = Earlier()


async def earlier(log: EventLog, clock: Clock, state: ExecutionState, flow: Any) -> Earlier:
    """What the attempts in a log have done of a flow; of other code only what was running."""
    if state.started_at is None:
        return NOTHING
    spent = clock.now() - moment_of(state.started_at)
    nodes = state.nodes.values()
    return Earlier(
        outputs=await _outputs(log, state, flow) if isinstance(flow, Flow) else {},
        tries={node.id: node.attempt for node in nodes},
        running=tuple((n.id, n.attempt) for n in nodes if n.status == "running"),
        spent_ms=max(round(spent.total_seconds() * 1000), 0),
    )


async def _outputs(log: EventLog, state: ExecutionState, flow: Flow[Any]) -> Outputs:
    graph = state.graph
    if state.graph_digest:
        graph = from_json(await log.payload(state.id, state.graph_digest))
    if graph != flow.ir.model_dump(by_alias=True, exclude_none=True, mode="json"):
        return {}  # another version of the code: its nodes may mean something else
    outputs: dict[str, Any] = {}
    for call in flow.calls:
        node = state.nodes.get(call.id)
        if node is None or node.status != "completed" or call.streaming:
            continue
        # What does not come back, after all, is made again.
        with suppress(PayloadNotFound, ValidationError):
            text = await _text(log, state.id, node)
            if text is not None:
                outputs[call.id] = adapter(call).validate_json(text)
    for call in flow.calls:
        consumers = {edge.to for edge in flow.ir.edges if edge.from_ == call.id}
        node = state.nodes.get(call.id)
        ended = node is not None and node.status == "completed"
        if call.streaming and ended and call.id != flow.capture and consumers <= outputs.keys():
            outputs[call.id] = None
    return outputs


async def _text(log: EventLog, execution_id: str, node: NodeState) -> bytes | None:
    """A node's output as JSON, if the log has it as it was."""
    summary = node.output_summary
    if summary is None or summary.get("altered"):
        return None
    if digest := summary.get("digest"):
        return await log.payload(execution_id, str(digest))
    preview = str(summary["preview"]).encode()
    return preview if len(preview) == summary["size_bytes"] else None


def checked(call: Call, value: Any, summary: OutputSummary) -> OutputSummary:
    """The summary, marked where reading the value back would give another one."""
    try:
        same = bool(adapter(call).validate_json(to_json(value)) == value)
    except Exception:  # noqa: BLE001 - whatever its type does there, it is no value of the log's
        same = False
    return summary if same else summary.model_copy(update={"altered": True})


def adapter(call: Call) -> TypeAdapter[Any]:
    """Reads a node's output from JSON."""
    hint = call.node.hints.get("return", Any)
    return _adapter(list[hint] if call.mapped else hint)  # type: ignore[valid-type]


@cache
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)
