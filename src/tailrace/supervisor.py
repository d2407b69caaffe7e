"""Running one execution's work, from its first event to its one terminal event.

The law of this file: every exit path ends in exactly one terminal event. `supervise` is the
only place that writes one for work of this process: it runs the work, stops it for a cancel,
a deadline or a shutdown, and says in the log how it ended and who wanted it so.

A cancel comes through the log (`execution.cancelling`), so it reaches the work in whichever
process it runs, by the same feed that serves watchers.
"""

from collections.abc import Callable, Sequence

import anyio
from anyio.abc import TaskGroup

from tailrace import events
from tailrace.endings import Ending, describe
from tailrace.errors import AttemptFenced, ExecutionNotFound, LogSealed, TailraceError, UsageError
from tailrace.events import Record
from tailrace.invoke import contained
from tailrace.recorder import Recorder, Work

Terminal = Ending | events.ExecutionCancelled | events.ExecutionTimedOut


class _Stop:
    """Why the work is being stopped, if it is: the first reason stands."""

    def __init__(self, scope: anyio.CancelScope, recorder: Recorder) -> None:
        self.scope, self.recorder = scope, recorder
        self.cause: Callable[[int], Terminal] | None = None
        self.unwatch: Callable[[], None] = lambda: None

    def because(self, cause: Callable[[int], Terminal]) -> None:
        if self.cause is None:
            self.cause = cause
            self.scope.cancel()

    def listen(self, records: Sequence[Record]) -> None:
        """Stop the work when its log says that somebody asked for it."""
        if not records:
            self.overtaken()  # ended by another process, and even removed: as below
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
                self.overtaken()
            elif record.type == "execution.started" and self.is_later(record):
                self.overtaken()  # likewise: a later attempt has taken over

    def is_later(self, started: Record) -> bool:
        return started.event().attempt > self.recorder.attempt

    def overtaken(self) -> None:
        self.recorder.overtaken = True
        self.scope.cancel()

    def watch(self, recorder: Recorder, tasks: TaskGroup, after: int) -> None:
        """Listen to the log, again when what was not heard yet is gone from it."""

        def lost() -> None:
            tasks.start_soon(self.at_loss, recorder, tasks)

        self.unwatch = recorder.log.watch(recorder.execution_id, after, self.listen, lost)

    async def at_loss(self, recorder: Recorder, tasks: TaskGroup) -> None:
        try:
            entry = await recorder.log.entry(recorder.execution_id)
        except ExecutionNotFound:
            self.scope.cancel()  # there is no log any more to write an end to
        except TailraceError as error:
            told = describe(error)
            self.because(lambda ms: events.ExecutionFailed(error=told, total_duration_ms=ms))
        else:
            self.unwatch()
            self.watch(recorder, tasks, entry.floor - 1)

    async def at_outbox(self, recorder: Recorder) -> None:
        """Append what is posted; what the store refuses of it is the execution's end."""
        try:
            await recorder.keep_posting()
        except TailraceError as error:
            told = describe(error)
            self.because(lambda ms: events.ExecutionFailed(error=told, total_duration_ms=ms))

    async def at_deadline(self, recorder: Recorder, deadline_ms: int) -> None:
        await recorder.clock.sleep(max(deadline_ms - recorder.spent_ms, 0) / 1000)
        self.because(
            lambda ms: events.ExecutionTimedOut(deadline_ms=deadline_ms, total_duration_ms=ms)
        )


async def supervise(
    recorder: Recorder, work: Work, deadline_ms: int | None = None, *, hand_over: bool = False
) -> None:
    """Run work under its log and write the terminal event, whatever happens.

    Cancelling this (a shutdown) cancels the work, ends the log with `execution.cancelled` and
    then goes on as a cancellation; with `hand_over`, the log stays open for another attempt.
    Raises StoreError if the log cannot take the end; the execution's lease then ends it as lost.
    """
    ending: Terminal | None = None
    scope = anyio.CancelScope()
    stop = _Stop(scope, recorder)
    try:
        with scope:
            ending = await _watched(recorder, work, deadline_ms, stop)
    except BaseException as error:
        # A store that refuses a watch, a library that panics: that must not take down the others.
        if _leaves(error):
            raise
        ending = _failed(recorder, error)
    finally:
        cause = stop.cause or (None if hand_over else _shutdown)
        if ending is None and cause is not None:
            ending = cause(recorder.elapsed_ms())
        await _end(recorder, ending)


def _shutdown(total_duration_ms: int) -> Terminal:
    return events.ExecutionCancelled(
        by="tailrace", reason="shutdown", total_duration_ms=total_duration_ms
    )


async def _watched(recorder: Recorder, work: Work, deadline_ms: int | None, stop: _Stop) -> Ending:
    try:
        async with anyio.create_task_group() as tasks:
            # From the first event on: a cancel may have come before the work could start.
            stop.watch(recorder, tasks, 1)
            tasks.start_soon(stop.at_outbox, recorder)
            if deadline_ms is not None:
                tasks.start_soon(stop.at_deadline, recorder, deadline_ms)
            ending = await _attempt(recorder, work)
            tasks.cancel_scope.cancel()
        return ending
    finally:
        stop.unwatch()


async def _attempt(recorder: Recorder, work: Work) -> Ending:
    try:
        if not recorder.begun:
            await recorder.begin()
        with contained():
            return await work(recorder)
    except Exception as error:  # noqa: BLE001 - whatever fails, it is the execution's end
        return _failed(recorder, error)


def _leaves(error: BaseException) -> bool:
    """Whether it ends more than an execution: a cancellation, or the process."""
    through = (anyio.get_cancelled_exc_class(), KeyboardInterrupt, SystemExit, GeneratorExit)
    if isinstance(error, BaseExceptionGroup):
        return error.subgroup(through) is not None
    return isinstance(error, through)


def _failed(recorder: Recorder, error: BaseException) -> events.ExecutionFailed:
    return events.ExecutionFailed(error=describe(error), total_duration_ms=recorder.elapsed_ms())


async def _end(recorder: Recorder, ending: Terminal | None) -> None:
    """Write the terminal event; shielded, because a cancellation must not stop this."""
    with anyio.CancelScope(shield=True):
        try:
            await (recorder.flush() if ending is None else recorder.emit(ending))
        except (LogSealed, ExecutionNotFound, AttemptFenced):
            pass  # ended or taken over by another process, or removed: there is no second end
        except UsageError as error:
            # The end itself is what the log refuses (an output that is no JSON, or too large).
            await recorder.emit(_failed(recorder, error))
