"""Writing one execution's log: what is said of it, in the order in which it is said.

The law of this file: what no log takes fails where it is said; all else is appended in the order
in which it was given, whether anybody waits for it or not. Who waits while the store fails is told,
and what was given is kept: it comes with what is said next.
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

from tailrace import events
from tailrace.clock import Clock, elapsed_ms, rfc3339
from tailrace.endings import Ending
from tailrace.errors import Overloaded, StoreError, TooManyEvents
from tailrace.events import Draft, Payload, check, draft
from tailrace.intake import Intake
from tailrace.limits import full_warning, is_full
from tailrace.log.base import Appended, EventLog

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
        self.overtaken = False  # by a later attempt, or an end, that somebody else wrote
        self.spent_ms = spent_ms  # since the first attempt began
        self.started, self.begun = clock.monotonic(), False
        self.node_count = 0  # of nodes learned live
        self._count, self._told_full = 1, False  # of events, with the queued one
        self._names: Counter[str] = Counter()
        self._late: list[Draft] = []  # what a failed append may not have brought into the log
        self._late_after = 0  # it can only be there after this position
        self._last = 1  # up to here it is known what is in the log
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
        self._count = self._last = appended.last

    async def emit(
        self, *payloads: Payload, node: str | None = None, attempt: int | None = None
    ) -> Appended:
        """Append payloads as one batch, after what was posted.

        `attempt` is a node's, without one the execution's. Raises LogSealed when the execution
        has been ended elsewhere, AttemptFenced when it was taken over, TooManyEvents, and
        StoreError: then they come with what is said next, if that comes.
        """
        if len(self._late) >= OUTBOX_MAX_EVENTS and not any(p.terminal for p in payloads):
            raise self._overloaded()
        now, of = self.clock.now(), attempt or self.attempt
        drafts = [draft(payload, now, node=node, attempt=of) for payload in payloads]
        # First: what no log takes must not take with it what was posted before.
        drafts = [self._prepared(made) for made in drafts]
        return await self._append([*self._take(), *drafts])

    async def _append(self, drafts: Sequence[Draft]) -> Appended:
        late, self._late = self._late, []
        after = self._late_after if late else self._last
        missing: list[Draft] = []
        try:
            if late:
                missing, after = await self._missing(late, after)
                self._last = max(self._last, after)
            batch = [*missing, *drafts]
        except BaseException:
            self._keep([*late, *drafts], after)
            raise
        if not batch:
            return Appended(self._last, self._last, duplicate=True)
        try:
            appended = await self.log.append(self.execution_id, batch, attempt=self.attempt)
        except StoreError:
            self._keep(batch, after)
            raise
        self._last = max(self._last, appended.last)
        return appended

    def _keep(self, late: list[Draft], after: int) -> None:
        self._late_after = min(after, self._late_after) if self._late else after
        self._late = [*late, *self._late]

    async def _missing(self, late: Sequence[Draft], position: int) -> tuple[list[Draft], int]:
        """What of a failed append is not in the log: its answer may have been lost, not itself.

        And how far it was looked for: what is said next, even if alike, can only come after that.
        """
        there = Counter[bytes | None]()
        while records := await self.log.read(self.execution_id, position, len(late)):
            there.update([record.tail for record in records])
            position = records[-1].seq
        missing = []
        for made in late:
            if there[made.encoded]:
                there[made.encoded] -= 1
            else:
                missing.append(made)
        return missing, position

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
        # Before it is prepared: what is refused here counts for nothing, and takes nothing with it.
        self._require_room()
        # Here, so that what cannot be an event fails where it was said.
        made = self._prepared(made)
        foreign = threading.get_ident() != self._thread
        if foreign:
            # A thread cannot be interrupted; this is where it hears of a cancellation.
            with suppress(RuntimeError, anyio.NoEventLoopError):
                anyio.from_thread.check_cancelled()
        with self._lock:
            self._outbox.append(made)
            self._outbox_bytes += len(made.encoded or b"")
            self._outbox_bytes += sum(map(len, (made.aside or {}).values()))
        if foreign:
            self._loop.call_soon_threadsafe(self._wake)
        elif not self._waking:
            self._waking = True
            self._loop.call_soon(self._loop.call_soon, self._wake)

    def _require_room(self) -> None:
        many = len(self._outbox) + len(self._late) >= OUTBOX_MAX_EVENTS
        if many or self._outbox_bytes >= OUTBOX_MAX_BYTES:
            raise self._overloaded()

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{len(self._outbox) + len(self._late)} events of {self.execution_id} wait for the store",
            hint="`await flush()` now and then, where so much is said.",
        )

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
        made = self.intake.prepare(self.execution_id, made)
        self._admit(made.type)
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
        drafts = self._take()
        if drafts or self._late:
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
