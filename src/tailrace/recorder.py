"""Writing one execution's log, from its first event to its one terminal event.

The law of this file: every exit path ends in exactly one terminal event. `supervise` is the
only place that writes one for work of this process: it runs the work, stops it for a cancel,
a deadline or a shutdown, and says in the log how it ended and who wanted it so.

A cancel comes through the log (`execution.cancelling`), so it reaches the work in whichever
process it runs, by the same feed that serves watchers.
"""

import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio

from tailrace import events
from tailrace.clock import Clock, elapsed_ms
from tailrace.errors import ExecutionNotFound, LogSealed, TailraceError, UsageError
from tailrace.events import Payload, Record, draft
from tailrace.log.base import Appended, EventLog

Ending = events.ExecutionCompleted | events.ExecutionFailed
Terminal = Ending | events.ExecutionCancelled | events.ExecutionTimedOut
Work = Callable[["Recorder"], Awaitable[Ending]]


def worker_name() -> str:
    """Who runs it, for people: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


def describe(error: BaseException, node: str | None = None) -> events.Error:
    """What an event says of an exception: its name or stable code, and its message."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]  # a task group's wrapping says nothing to a reader
    name = error.code if isinstance(error, TailraceError) else type(error).__name__
    fields: dict[str, Any] = {"type": name, "message": str(error) or name}
    return events.Error(**fields, node=node) if node else events.Error(**fields)


class Recorder:
    """Appends the events of one execution. Each append waits until the log has it."""

    def __init__(self, log: EventLog, clock: Clock, execution_id: str) -> None:
        self.log, self.clock, self.execution_id = log, clock, execution_id
        self.started = clock.monotonic()

    async def emit(self, *payloads: Payload, node: str | None = None, attempt: int = 1) -> Appended:
        """Append payloads as one batch.

        Raises LogSealed when the execution has been ended elsewhere, and StoreError.
        """
        now = self.clock.now()
        drafts = [draft(payload, now, node=node, attempt=attempt) for payload in payloads]
        return await self.log.append(self.execution_id, drafts)

    def elapsed_ms(self) -> int:
        """Milliseconds since it was started."""
        return elapsed_ms(self.clock, self.started)


class _Stop:
    """Why the work is being stopped, if it is: the first reason stands."""

    def __init__(self, scope: anyio.CancelScope) -> None:
        self.scope = scope
        self.cause: Callable[[int], Terminal] | None = None

    def because(self, cause: Callable[[int], Terminal]) -> None:
        if self.cause is None:
            self.cause = cause
            self.scope.cancel()

    def listen(self, records: Sequence[Record]) -> None:
        """Stop the work when its log says that somebody asked for it."""
        for record in records:
            if record.type == "execution.cancelling":
                data = record.event().data
                by, reason = str(data.get("by", "unknown")), data.get("reason")
                self.because(
                    lambda ms, by=by, reason=reason: events.ExecutionCancelled(  # type: ignore[misc]
                        by=by, reason=reason, total_duration_ms=ms
                    )
                )
            elif record.type in events.TERMINAL:
                # Sealed by another process, which took this one for dead: its word stands.
                self.scope.cancel()

    async def at_deadline(self, clock: Clock, deadline_ms: int) -> None:
        await clock.sleep(deadline_ms / 1000)
        self.because(
            lambda ms: events.ExecutionTimedOut(deadline_ms=deadline_ms, total_duration_ms=ms)
        )


async def supervise(recorder: Recorder, work: Work, deadline_ms: int | None = None) -> None:
    """Run work under its log and write the terminal event, whatever happens.

    Cancelling this (a shutdown) cancels the work, ends the log with `execution.cancelled` and
    then goes on as a cancellation. Raises StoreError if the log cannot take the end; the
    execution's lease then ends it as lost.
    """
    ending: Terminal | None = None
    scope = anyio.CancelScope()
    stop = _Stop(scope)
    try:
        with scope:
            ending = await _watched(recorder, work, deadline_ms, stop)
    finally:
        if ending is None:
            ending = (stop.cause or _shutdown)(recorder.elapsed_ms())
        await _end(recorder, ending)


def _shutdown(total_duration_ms: int) -> Terminal:
    return events.ExecutionCancelled(
        by="tailrace", reason="shutdown", total_duration_ms=total_duration_ms
    )


async def _watched(recorder: Recorder, work: Work, deadline_ms: int | None, stop: _Stop) -> Ending:
    # From the first event on: a cancel may have come before the work could start.
    unwatch = recorder.log.watch(recorder.execution_id, 1, stop.listen)
    try:
        async with anyio.create_task_group() as tasks:
            if deadline_ms is not None:
                tasks.start_soon(stop.at_deadline, recorder.clock, deadline_ms)
            ending = await _attempt(recorder, work)
            tasks.cancel_scope.cancel()
        return ending
    finally:
        unwatch()


async def _attempt(recorder: Recorder, work: Work) -> Ending:
    try:
        await recorder.emit(events.ExecutionStarted(worker=worker_name()))
        recorder.started = recorder.clock.monotonic()
        return await work(recorder)
    except Exception as error:  # noqa: BLE001 - whatever fails, it is the execution's end
        return events.ExecutionFailed(
            error=describe(error), total_duration_ms=recorder.elapsed_ms()
        )


async def _end(recorder: Recorder, ending: Terminal) -> None:
    """Write the terminal event; shielded, because a cancellation must not stop this."""
    with anyio.CancelScope(shield=True):
        try:
            await recorder.emit(ending)
        except (LogSealed, ExecutionNotFound):
            pass  # ended by another process, or removed: there is no second end
        except UsageError as error:
            # The end itself is what the log refuses (an output that is no JSON, or too large).
            failed = events.ExecutionFailed(
                error=describe(error), total_duration_ms=recorder.elapsed_ms()
            )
            await recorder.emit(failed)
