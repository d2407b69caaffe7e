"""Batches of reports from engines outside, on their way into the log.

The law of this file: a batch is in the log whole and once, and only where each of its events can
follow what is there; else nothing of it is. The log alone decides: a batch is checked against the
fold of all events up to a position, and appended only if that position is still the head, so it
holds whichever processes append at the same time. What is kept here is a fold that saves reading;
losing it loses nothing.

A later attempt takes over by saying `execution.started`: from there on, what earlier attempts
report is refused. An engine that is silent for longer than its lease ends as `execution.lost`
(Runtime.sweep); every batch extends the lease, an empty one too.
"""

import re
from collections import OrderedDict
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import anyio
import anyio.lowlevel

from tailrace import snapshots
from tailrace.clock import rfc3339
from tailrace.errors import (
    AttemptFenced,
    ConflictError,
    ExecutionExists,
    ExecutionNotFound,
    IllegalTransition,
    InvalidRequest,
    LogSealed,
    PayloadTooLarge,
    PositionConflict,
    RunsHere,
    ShuttingDown,
    StoreBusy,
    TailraceError,
    TooManyEvents,
)
from tailrace.events import Draft, Event
from tailrace.lifecycle import NEW, ExecutionState
from tailrace.log.base import Appended, Opening, Producer
from tailrace.reported import Batch, Report, begins_work, drafted, opening
from tailrace.runtime import Runtime

KNOWN_MAX = 1000  # folds kept; the one that was used longest ago goes
TRIES_MAX = 100  # of one batch, each lost to another writer's append
TURN_EVENTS = 200  # checked before others get their turn
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_NOTHING = [Draft(type="warning", ts="", data={})]  # for an append that can only ask


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of a batch."""

    execution_id: str
    status: str  # of the execution, after it: `cancelling` asks the engine to stop
    attempt: int
    first: int = 0
    last: int = 0
    duplicate: bool = False


@dataclass(slots=True)
class _Fold:
    """An execution as it is at a position: what a batch is checked against."""

    state: ExecutionState
    texts: dict[str | None, int] = field(default_factory=dict)  # how long each text is by now

    def copy(self) -> "_Fold":
        """One that can be moved on without moving this; of the nodes `apply` makes copies."""
        state = copy(self.state)
        state.nodes = dict(state.nodes)
        return _Fold(state, dict(self.texts))

    def apply(self, event: Event) -> None:
        """Move on by one event. Raises IllegalTransition."""
        if event.node in self.state.nodes:
            self.state.nodes[event.node] = copy(self.state.nodes[event.node])
        self.state.apply(event)
        self.state.input = self.state.output = self.state.graph = None  # large, and not needed
        if event.type == "llm.chunk":
            said = event.data
            self.texts[event.node] = int(said.get("offset", 0)) + len(str(said.get("text", "")))


@dataclass(slots=True, eq=False)
class _Known:
    fold: _Fold
    lock: anyio.Lock = field(default_factory=anyio.Lock)
    beaten: datetime | None = None  # when its lease was extended last


class Ingest:
    """Takes batches. Bound: KNOWN_MAX folds in memory."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._log, self._clock = runtime, runtime.log, runtime.clock
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def take(
        self,
        workspace: str,
        execution_id: str,
        batch: Batch,
        producer: Producer | None = None,
        *,
        by: str | None = None,
    ) -> Taken:
        """Append a batch; a first one, which says what the execution is, creates it.

        `by` is whose rate it counts to: a credential; else the workspace's. Raises
        ExecutionNotFound, RunsHere, AttemptFenced, ProducerGap, LogSealed, IllegalTransition,
        InvalidEvent, InvalidFlow, PayloadTooLarge, RateLimited, TooManyEvents, and StoreError.
        """
        if self._runtime.hub.closing:
            raise ShuttingDown
        most = self._runtime.settings.batch_events_max
        if len(batch.events) > most:
            raise PayloadTooLarge(f"A batch holds at most {most} events")
        self._runtime.limits.ingest(by or f"workspace/{workspace}", len(batch.events))
        if not batch.events:
            producer = None
        elif producer is None:
            if batch.producer_seq is None:
                raise InvalidRequest("producer_seq: a batch of events is numbered: 1, 2, 3 …")
            producer = batch.numbered
        known = self._find(execution_id)
        async with known.lock:
            try:
                if not known.fold.state.head:
                    await self._catch_up(known)
                taken = await self._take(workspace, known, batch, producer)
            except ExecutionNotFound:
                known.fold = _empty(execution_id)  # it was removed, if it was ever there
                raise
            finally:
                if not known.fold.state.head:  # what does not exist takes nobody's place
                    self._known.pop(execution_id, None)
            await self._beat(known)
            return taken

    def _find(self, execution_id: str) -> _Known:
        known = self._known.get(execution_id)
        if known is None:
            while len(self._known) >= KNOWN_MAX:
                self._known.popitem(last=False)
            known = self._known[execution_id] = _Known(_empty(execution_id))
        self._known.move_to_end(execution_id)
        return known

    def _check_owner(self, known: _Known, workspace: str, batch: Batch) -> None:
        state = known.fold.state
        if state.status == NEW:
            named = batch.events[0].type if batch.events else ""
            if named not in ("execution.queued", "execution.started"):
                raise _absent(state.id)
            if not _ID.fullmatch(state.id):
                raise InvalidRequest(
                    f"{state.id[:100]!r} cannot be an execution's id",
                    hint="Letters, digits, `.`, `_` and `-`, at most 100; a ULID or a UUID is one.",
                )
        elif state.workspace != workspace:
            raise _absent(state.id)
        elif state.lease_ms is None:
            raise RunsHere(f"{state.id} runs in a Tailrace process, which alone writes its log")

    async def _take(
        self, workspace: str, known: _Known, batch: Batch, producer: Producer | None
    ) -> Taken:
        """Check and append, again and again while others append in between."""
        if producer is None:
            await self._catch_up(known)
            self._check_owner(known, workspace, batch)
            if known.fold.state.ended:
                raise LogSealed(f"{known.fold.state.id} has ended: {known.fold.state.status}")
            return _taken(known)
        for _ in range(TRIES_MAX):
            self._check_owner(known, workspace, batch)  # each time: it may have come into being
            moved = known.fold.copy()
            try:
                drafts = await self._checked(workspace, moved, batch)
                appended = await self._append(known.fold.state, moved.state, drafts, producer)
            except (PositionConflict, ExecutionExists):
                if not await self._catch_up(known):  # then it is another log of that id by now
                    known.fold = _empty(known.fold.state.id)
                    await self._catch_up(known)
            except (IllegalTransition, AttemptFenced, TooManyEvents) as refusal:
                current = not await self._catch_up(known)
                if current and (taken := await self._repeated(known, producer, refusal)):
                    return taken
            else:
                if appended.duplicate:
                    await self._catch_up(known)
                else:
                    known.fold, moved.state.head = moved, appended.last
                return _taken(known, appended)
        raise StoreBusy(f"{TRIES_MAX} others appended to {known.fold.state.id} in between")

    async def _checked(self, workspace: str, fold: _Fold, batch: Batch) -> list[Draft]:
        """The batch as the log may have it; moves the fold on by it."""
        reports, settings = batch.events, self._runtime.settings
        if fold.state.status == NEW:
            lease_ms, most_ms = settings.ingest_lease_s * 1000, settings.ingest_lease_max_s * 1000
            reports = opening(workspace, batch, round(lease_ms), round(most_ms))
        if batch.attempt < fold.state.attempt:
            raise AttemptFenced(
                f"Attempt {fold.state.attempt} has taken over from {batch.attempt}",
                attempt=fold.state.attempt,
            )
        drafts: list[Draft] = []
        said_for_it = len(reports) - len(batch.events)
        for number, report in enumerate(reports, start=-said_for_it):
            try:
                if fold.state.status == "queued" and begins_work(report):
                    drafts.append(self._add(Report(type="execution.started"), batch, fold))
                drafts.append(self._add(report, batch, fold))
            except TailraceError as error:
                error.message = f"events[{max(number, 0)}]: {error.message}"
                raise
            if number % TURN_EVENTS == TURN_EVENTS - 1:
                await anyio.lowlevel.checkpoint()
        return drafts

    def _add(self, report: Report, batch: Batch, fold: _Fold) -> Draft:
        if report.type == "execution.queued" and fold.state.status != NEW:
            raise IllegalTransition(f"{fold.state.id} has been announced")
        now, intake = self._clock.now(), self._runtime.intake
        made = drafted(report, batch, fold.state, fold.texts, intake, now)
        announces = report.type in ("execution.queued", "execution.started")
        if batch.attempt != fold.state.attempt and not announces:
            raise IllegalTransition(
                f"{report.type} of attempt {batch.attempt}, which has not begun",
                hint="An attempt takes over by reporting execution.started.",
            )
        event = Event(
            id=None,
            type=made.type,
            ts=made.ts,
            execution_id=fold.state.id,
            node=made.node,
            attempt=made.attempt,
            data=made.data,
        )
        fold.apply(event)
        return made

    async def _append(
        self, before: ExecutionState, after: ExecutionState, drafts: list[Draft], by: Producer
    ) -> Appended:
        if before.head:
            types = [draft.type for draft in drafts]
            await self._runtime.limits.room(before.id, before.head, types)
            return await self._log.append(before.id, drafts, expected=before.head, producer=by)
        made = Opening(
            execution_id=before.id,
            kind=after.kind,
            flow=after.flow,
            workspace=after.workspace,
            lease_until=self._lease_end(after),
        )
        return await self._log.create(made, drafts, producer=by)

    async def _repeated(
        self, known: _Known, producer: Producer, refusal: ConflictError
    ) -> Taken | None:
        """What cannot follow may be there already: the log knows. Raises what stands.

        None: the log is not the one that was folded; look again.
        """
        state = known.fold.state
        if not state.head:
            raise refusal
        try:
            appended = await self._log.append(state.id, _NOTHING, expected=-1, producer=producer)
        except PositionConflict as conflict:
            if conflict.details["head"] == state.head:
                raise refusal from None
            known.fold = _empty(state.id)
            await self._catch_up(known)
            return None
        return _taken(known, appended)

    async def _catch_up(self, known: _Known) -> bool:
        """Fold what others appended; returns whether there was anything."""
        fold, page = known.fold.copy(), self._runtime.settings.page_events
        begun = head = fold.state.head
        try:
            while records := await self._log.read(fold.state.id, head, page):
                if records[0].seq != head + 1:
                    fold = await self._before(fold.state.id)
                    head = fold.state.head
                    continue
                for record in records:
                    fold.apply(record.event())
                head = records[-1].seq
        except ExecutionNotFound:
            return False
        known.fold = fold
        return head > begun

    async def _before(self, execution_id: str) -> _Fold:
        """What went before the oldest event that is held. Raises ConflictError if nobody knows."""
        entry = await self._log.entry(execution_id)
        state = await snapshots.before(self._log, entry, self._clock.now())
        if state.partial:
            raise ConflictError(f"{execution_id}: its events up to {state.head} were trimmed")
        return _Fold(state)

    async def _beat(self, known: _Known) -> None:
        """Extend the lease, if that was not done lately."""
        state, now = known.fold.state, self._clock.now()
        lease = timedelta(milliseconds=state.lease_ms or 0)
        if not state.ended and (known.beaten is None or now - known.beaten >= lease / 4):
            await self._log.beat([state.id], self._lease_end(state))
            known.beaten = now

    def _lease_end(self, state: ExecutionState) -> str:
        # A quarter more than promised: so long it may be since the lease was extended.
        return rfc3339(self._clock.now() + timedelta(milliseconds=(state.lease_ms or 0) * 1.25))


def _empty(execution_id: str) -> _Fold:
    return _Fold(ExecutionState(id=execution_id))


def _absent(execution_id: str) -> ExecutionNotFound:
    return ExecutionNotFound(
        f"There is no execution {execution_id!r} here",
        hint="A report of a new one begins with execution.queued or execution.started.",
    )


def _taken(known: _Known, appended: Appended | None = None) -> Taken:
    state = known.fold.state
    stands = appended or Appended(0, 0)
    return Taken(
        execution_id=state.id,
        status=state.status,
        attempt=state.attempt,
        first=stands.first,
        last=stands.last,
        duplicate=stands.duplicate,
    )
