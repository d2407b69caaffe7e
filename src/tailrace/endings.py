"""How an execution's end is told.

The law of this file: pure, and it never fails: whatever code raises can be told.
"""

from typing import Any

from tailrace import events
from tailrace.errors import TailraceError
from tailrace.lines import wellformed

Ending = events.ExecutionCompleted | events.ExecutionFailed
MESSAGE_MAX_CHARS = 8192  # of an error: a person reads it, and the terminal event must be written


def describe(error: BaseException, node: str | None = None) -> events.Error:
    """What an event says of an exception: its name or stable code, and its message."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # a task group's wrapping says nothing to a reader
    name = error.code if isinstance(error, TailraceError) else type(error).__name__
    message = _message(error) or name
    if len(message) > MESSAGE_MAX_CHARS:
        message = f"{message[:MESSAGE_MAX_CHARS]} … [cut]"
    fields: dict[str, Any] = {"type": name, "message": message}
    return events.Error(**fields, node=node) if node else events.Error(**fields)


def _message(error: BaseException) -> str:
    try:
        return wellformed(str(error))
    except Exception:  # noqa: BLE001 - an exception's own code fails, too
        return ""
