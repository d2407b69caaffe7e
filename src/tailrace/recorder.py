"""Writing one execution's log, from its first event to its one terminal event.

The law of this file: every exit path ends in exactly one terminal event. `supervise` is the
only place that writes one for work of this process: it runs the work, stops it for a cancel,
a deadline or a shutdown, and says in the log how it ended and who wanted it so.

A cancel comes through the log (`execution.cancelling`), so it reaches the work in whichever
process it runs, by the same feed that serves watchers.
"""

import asyncio
import os
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
from anyio.abc import TaskGroup

from tailrace import events
from tailrace.clock import Clock, elapsed_ms, rfc3339
from tailrace.endings import Ending, describe
from tailrace.errors import (
    AttemptFenced,
    ExecutionNotFound,
    LogSealed,
    Overloaded,
    TailraceError,
    TooManyEvents,
    UsageError,
)
from tailrace.events import Draft, Payload, Record, check, draft
from tailrace.intake import Intake
from tailrace.limits import full_warning, is_full
from tailrace.log.base import Appended, EventLog

Terminal = Ending | events.ExecutionCancelled | events.ExecutionTimedOut
Work = Callable[["Recorder"], Awaitable[Ending]]
OUTBOX_MAX_EVENTS = 5000  # posted and not yet handed to the store
OUTBOX_MAX_BYTES = 67_108_864  # of the same; one larger event still fits into an empty one
OUTBOX_HIGH = 200  # from here on a streaming producer waits


def worker_name() -> str:
    """Who runs it, for people: host and process."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Recorder:
    """Appends the events of one execution, in the order in which it is given them.

    `emit` waits until the log has them; `post` does not: what was posted is appended in the
    background, or with what is emitted next. Bound: OUTBOX_MAX_EVENTS and OUTBOX_MAX_BYTES, then
    refuse.
    """

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        execution_id: str,
        intake: Intake | None = None,
        *,
        attempt: int = 1,
        spent_ms: int = 0,
    ) -> None:
        self.log, self.clock, self.execution_id = log, clock, execution_id
        self.intake = intake or Intake()
        self.attempt = attempt  # a later one that begins fences this one off
        self.spent_ms = spent_ms  # since the first attempt began
        self.started, self.begun = clock.monotonic(), False
        self.node_count = 0  # of nodes learned live
        self._count, self._told_full = 1, False  # of events, with the queued one
        self._names: Counter[str] = Counter()
        self._outbox: list[Draft] = []
        self._outbox_bytes = 0
        self._aside: dict[str, bytes] = {}  # goes with what is said next
        self._lock = threading.Lock()  # threads of sync nodes post too
        self._thread = threading.get_ident()
        self._posted, self._waking = anyio.Event(), False
        self._loop = asyncio.get_running_loop()

    async def begin(self, expected: int | None = None) -> None:
        """Say that this attempt has begun: from here on, no earlier one is heard.

        With `expected`, only if that is the log's head: of several that would begin, one does.
        Raises as `emit` does, and PositionConflict.
        """
        told = draft(
            events.ExecutionStarted(worker=worker_name()), self.clock.now(), attempt=self.attempt
        )
        appended = await self.log.append(
            self.execution_id, [self._prepared(told)], expected=expected, attempt=self.attempt
        )
        self.started, self.begun = self.clock.monotonic(), True
        self._count = appended.last

    async def emit(
        self, *payloads: Payload, node: str | None = None, attempt: int | None = None
    ) -> Appended:
        """Append payloads as one batch, after what was posted.

        `attempt` is a node's, without one the execution's. Raises LogSealed when the execution
        has been ended elsewhere, AttemptFenced when it was taken over, TooManyEvents, StoreError.
        """
        now, of = self.clock.now(), attempt or self.attempt
        drafts = [draft(payload, now, node=node, attempt=of) for payload in payloads]
        # First: what no log takes must not take with it what was posted before.
        drafts = [self._prepared(made) for made in drafts]
        return await self._append([*self._take(), *drafts])

    async def _append(self, drafts: Sequence[Draft]) -> Appended:
        return await self.log.append(self.execution_id, drafts, attempt=self.attempt)

    def summary(self, value: Any) -> events.OutputSummary:
        """What an output looks like; the output itself is put aside with what is said next."""
        told, aside = self.intake.summary(value)
        with self._lock:
            self._aside |= aside
        return told

    def post(
        self, payload: Payload, *, node: str | None = None, attempt: int | None = None
    ) -> None:
        """Hand a payload in without waiting; from any thread.

        Raises InvalidEvent or PayloadTooLarge for one that no log takes, Overloaded when too
        many wait, TooManyEvents when the execution has all it may.
        """
        self._put(draft(payload, self.clock.now(), node=node, attempt=attempt or self.attempt))

    def post_custom(
        self,
        name: str,
        data: dict[str, Any],
        *,
        node: str | None = None,
        attempt: int | None = None,
    ) -> None:
        """Hand in an event of the user's own, as `post` does."""
        type_, ts = f"custom.{name}", rfc3339(self.clock.now())
        check(type_, data)
        self._put(Draft(type=type_, ts=ts, data=data, node=node, attempt=attempt or self.attempt))

    def _put(self, made: Draft) -> None:
        # Here, so that what cannot be an event fails where it was said.
        made = self._prepared(made)
        foreign = threading.get_ident() != self._thread
        if foreign:
            # A thread cannot be interrupted; this is where it hears of a cancellation.
            with suppress(RuntimeError, anyio.NoEventLoopError):
                anyio.from_thread.check_cancelled()
        with self._lock:
            if len(self._outbox) >= OUTBOX_MAX_EVENTS or self._outbox_bytes >= OUTBOX_MAX_BYTES:
                raise Overloaded(
                    f"{len(self._outbox)} events of {self.execution_id} wait for the store",
                    hint="`await flush()` now and then, where so much is said.",
                )
            self._outbox.append(made)
            self._outbox_bytes += len(made.encoded or b"")
            self._outbox_bytes += sum(map(len, (made.aside or {}).values()))
        if foreign:
            self._loop.call_soon_threadsafe(self._wake)
        elif not self._waking:
            self._waking = True
            self._loop.call_soon(self._loop.call_soon, self._wake)

    def _wake(self) -> None:
        """Wake `keep_posting`, unless what is emitted in the meantime has taken all along.

        That comes in the same turn of the loop or the next; waking a task for it would cost more.
        """
        self._waking = False
        if self._outbox:
            self._posted.set()

    def _admit(self, type_: str) -> None:
        """Count an event. Raises TooManyEvents; the log says so once, whoever catches that."""
        limit = self.intake.events_max
        with self._lock:
            if not is_full(limit, self._count, type_):
                self._count += 1
                return
            told, self._told_full = self._told_full, True
        if not told:
            self.post(full_warning(limit))
        raise TooManyEvents(f"It has {limit} events, as many as it may")

    def _prepared(self, made: Draft) -> Draft:
        self._admit(made.type)
        made = self.intake.prepare(self.execution_id, made)
        if self._aside:
            with self._lock:
                aside, self._aside = self._aside, {}
            made.aside = {**(made.aside or {}), **aside}
        return made

    def _take(self) -> list[Draft]:
        with self._lock:
            taken, self._outbox = self._outbox, []
            self._outbox_bytes = 0
        return taken

    async def flush(self) -> None:
        """Wait until what was posted is in the log."""
        if drafts := self._take():
            await self._append(drafts)

    async def room(self) -> None:
        """Wait if much was posted: the backpressure of a producer that only posts."""
        if len(self._outbox) >= OUTBOX_HIGH:
            await self.flush()
        else:
            await anyio.lowlevel.checkpoint()

    async def keep_posting(self) -> None:
        """Append what is posted, for ever."""
        while True:
            await self._posted.wait()
            self._posted = anyio.Event()
            await self.flush()

    def new_node(self, name: str) -> str:
        """Name a node that is learned live: `name`, then `name_2` and so on."""
        self._names[name] += 1
        self.node_count += 1
        count = self._names[name]
        return name if count == 1 else f"{name}_{count}"

    def elapsed_ms(self) -> int:
        """Milliseconds since it was started, by whichever attempt."""
        return self.spent_ms + elapsed_ms(self.clock, self.started)


class _Stop:
    """Why the work is being stopped, if it is: the first reason stands."""

    def __init__(self, scope: anyio.CancelScope, attempt: int) -> None:
        self.scope, self.attempt = scope, attempt
        self.cause: Callable[[int], Terminal] | None = None
        self.unwatch: Callable[[], None] = lambda: None

    def because(self, cause: Callable[[int], Terminal]) -> None:
        if self.cause is None:
            self.cause = cause
            self.scope.cancel()

    def listen(self, records: Sequence[Record]) -> None:
        """Stop the work when its log says that somebody asked for it."""
        if not records:
            self.scope.cancel()  # ended by another process, and even removed: as below
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
            elif record.type == "execution.started" and record.event().attempt > self.attempt:
                self.scope.cancel()  # likewise: a later attempt has taken over

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
    stop = _Stop(scope, recorder.attempt)
    try:
        with scope:
            ending = await _watched(recorder, work, deadline_ms, stop)
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
        return await work(recorder)
    except Exception as error:  # noqa: BLE001 - whatever fails, it is the execution's end
        return events.ExecutionFailed(
            error=describe(error), total_duration_ms=recorder.elapsed_ms()
        )


async def _end(recorder: Recorder, ending: Terminal | None) -> None:
    """Write the terminal event; shielded, because a cancellation must not stop this."""
    with anyio.CancelScope(shield=True):
        try:
            await (recorder.flush() if ending is None else recorder.emit(ending))
        except (LogSealed, ExecutionNotFound, AttemptFenced):
            pass  # ended or taken over by another process, or removed: there is no second end
        except UsageError as error:
            # The end itself is what the log refuses (an output that is no JSON, or too large).
            failed = events.ExecutionFailed(
                error=describe(error), total_duration_ms=recorder.elapsed_ms()
            )
            await recorder.emit(failed)
