"""How results and errors are told in events: in full where they are small, else in summary.

The law of this file: pure, and it never fails: whatever code returns or raises can be told.
"""

from typing import Any

from pydantic_core import PydanticSerializationError, to_json

from tailrace import events
from tailrace.errors import TailraceError

Ending = events.ExecutionCompleted | events.ExecutionFailed
OUTPUT_MAX_BYTES = 262_144  # a larger output is summarised: the terminal event stays a small one
PREVIEW_CHARS = 200


def describe(error: BaseException, node: str | None = None) -> events.Error:
    """What an event says of an exception: its name or stable code, and its message."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # a task group's wrapping says nothing to a reader
    name = error.code if isinstance(error, TailraceError) else type(error).__name__
    fields: dict[str, Any] = {"type": name, "message": str(error) or name}
    return events.Error(**fields, node=node) if node else events.Error(**fields)


def summary(value: Any) -> events.OutputSummary:
    """What an output looks like: its keys, its size and its beginning as JSON."""
    keys = [str(key) for key in value] if isinstance(value, dict) else []
    if fields := getattr(type(value), "model_fields", None):
        keys = list(fields)
    try:
        text = to_json(value, inf_nan_mode="null", fallback=_opaque)
    except (PydanticSerializationError, ValueError, RecursionError):
        text = to_json(_opaque(value))
    preview = text[: PREVIEW_CHARS * 4].decode(errors="ignore")[:PREVIEW_CHARS]
    return events.OutputSummary(keys=keys[:50], size_bytes=len(text), preview=preview)


def _opaque(value: Any) -> str:
    return f"<{type(value).__name__}>"  # between nodes any object may pass; only its name is told


def completed(output: Any, **fields: Any) -> events.ExecutionCompleted:
    """The good end, with the output, or its summary where that is too large for an event."""
    size = summary(output)
    if size.size_bytes > OUTPUT_MAX_BYTES:
        return events.ExecutionCompleted(output=None, output_summary=size, **fields)
    return events.ExecutionCompleted(output=output, **fields)
