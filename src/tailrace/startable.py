"""What can be started by its name, and what a start of it says: its first event, and its work.

The law of this file: pure. Whether it runs here or in a worker elsewhere, a start says the same.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from tailrace import events
from tailrace.agent import Agent
from tailrace.clock import rfc3339
from tailrace.dispatch import Spec
from tailrace.errors import InvalidInput
from tailrace.executor import flow_work
from tailrace.flow.build import Flow
from tailrace.recorder import Work
from tailrace.settings import Settings
from tailrace.takeover import Earlier
from tailrace.work.base import Priority
from tailrace.workload import Command, command_work

Startable = Flow[Any] | Agent[Any]


def queued(
    found: Startable,
    arguments: dict[str, Any],
    *,
    kind: str | None,
    workspace: str,
    deadline_ms: int | None,
    ephemeral: bool,
    traceparent: str | None,
) -> events.ExecutionQueued:
    """The first event of an execution, with what can be said of the code."""
    return events.ExecutionQueued(
        kind=kind or (found.kind if isinstance(found, Agent) else "workflow"),
        flow=found.name,
        workspace=workspace,
        input=to_jsonable_python(arguments, fallback=repr),
        deadline_ms=deadline_ms or _deadline_ms(found),
        **({"ephemeral": True} if ephemeral else {}),
        **({"traceparent": traceparent} if traceparent else {}),
        **_described(found),
    )


def _deadline_ms(found: Startable) -> int | None:
    return found.deadline_ms if isinstance(found, Agent) else found.ir.deadline_ms


def _described(found: Startable) -> dict[str, Any]:
    """A flow's graph, an agent's output schema."""
    if isinstance(found, Agent):
        return {"output_schema": found.out_schema}
    return {"graph": found.ir.model_dump(by_alias=True, exclude_none=True, mode="json")}


def spec(
    found: Startable,
    arguments: dict[str, Any],
    *,
    deadline_ms: int | None,
    priority: Priority,
    at: datetime | None,
) -> Spec:
    """What a worker elsewhere is told. Raises InvalidInput."""
    return Spec(
        flow=found.name,
        input=_sendable(arguments),
        deadline_ms=deadline_ms,
        queue=found.queue,
        priority=priority,
        at=rfc3339(at.astimezone(UTC)) if at else None,
    )


def _sendable(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as a worker elsewhere gets them. Raises InvalidInput."""
    try:
        sent: dict[str, Any] = to_jsonable_python(arguments)
    except PydanticSerializationError as error:
        raise InvalidInput(f"This cannot be sent to a worker as JSON: {error}") from None
    return sent


def work(found: Startable, arguments: dict[str, Any], earlier: Earlier | None = None) -> Work:
    """What is run; a flow goes on from what earlier attempts have done."""
    if isinstance(found, Agent):
        return found.work(arguments)
    return flow_work(found, arguments, earlier)


def command(
    settings: Settings,
    name: str,
    argv: Sequence[str],
    given: Any,
    *,
    workspace: str,
    deadline_ms: int | None,
) -> tuple[events.ExecutionQueued, Work]:
    """The first event and the work of a command, within the limits that the settings name."""
    limit_ms = round(settings.workload_timeout_s * 1000)
    said = events.ExecutionQueued(
        kind="workload",
        flow=name,
        workspace=workspace,
        input={"command": list(argv), "input": given},
        deadline_ms=min(deadline_ms or limit_ms, limit_ms),
    )
    made = Command(
        argv=argv,
        line_max_bytes=settings.line_max_bytes,
        output_max_bytes=settings.workload_output_max_bytes,
        stdin=None if given is None else to_json(given),
    )
    return said, command_work(made)
