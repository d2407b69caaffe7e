"""The executions of one process: begun, kept alive by leases, cancelled, and swept.

The law of this file: every log ends. What this process runs ends by `supervise`; what a process
ran that is dead ends as lost, or is handed to another attempt, by whoever sweeps first.
"""

import base64
import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta

import anyio

from tailrace import events
from tailrace.clock import Clock, elapsed_ms, rfc3339
from tailrace.dispatch import Dispatch, Spec
from tailrace.errors import (
    ExecutionExists,
    ExecutionNotFound,
    IdempotencyConflict,
    InvalidRequest,
    LogSealed,
    Overloaded,
    StoreError,
    TailraceError,
    TooManyExecutions,
)
from tailrace.events import Draft, Record, draft
from tailrace.intake import Intake
from tailrace.limits import Leave, Limits, Spawn
from tailrace.log.base import Entry, EventLog, Opening
from tailrace.recorder import Recorder, Work
from tailrace.settings import Settings
from tailrace.supervisor import supervise

_logger = logging.getLogger("tailrace")


class Here:
    """An execution that this process runs: when it has ended, and what kept its end from the log."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.ended = anyio.Event()
        self.error: TailraceError | None = None


class Executions:
    """Begins, cancels and sweeps executions; `spawn` runs their work in the background."""

    def __init__(
        self,
        log: EventLog,
        clock: Clock,
        settings: Settings,
        intake: Intake,
        limits: Limits,
        dispatch: Dispatch,
        spawn: Spawn,
    ) -> None:
        self._log, self._clock, self._settings = log, clock, settings
        self._intake, self._limits, self._dispatch = intake, limits, dispatch
        self._spawn = spawn
        self._opened = 0.0
        self.here: dict[str, Here] = {}

    async def open(self) -> None:
        """End what died while nobody was here. Raises StoreError."""
        self._opened = self._clock.monotonic()
        await self.sweep()

    async def begin(
        self,
        queued: events.ExecutionQueued,
        work: Work,
        *,
        key: str | None = None,
        execution_id: str | None = None,
    ) -> str:
        """Create an execution and run its work in the background; returns its id.

        With an idempotency key, a repetition begins nothing. Raises ExecutionExists if an id is
        given and taken, TooManyExecutions if the workspace has all it may, Overloaded.
        """
        if len(self.here) >= self._settings.executions_max:
            raise Overloaded(f"{len(self.here)} executions run in this process")
        execution_id = execution_id or self._new_id(queued.workspace, key)
        opening = self._opening(execution_id, queued, self.lease_end())
        first = self._first(execution_id, queued)
        try:
            leave = await self._created(opening, first)
        except (ExecutionExists, TooManyExecutions):
            if key is None:
                raise
            with suppress(ExecutionNotFound):
                await self._require_same(execution_id, first)
                return execution_id
            raise
        recorder = Recorder(self._log, self._clock, execution_id, self._intake)
        self.here[execution_id] = here = Here(recorder)

        async def run() -> None:
            await self.run(here, work, queued.deadline_ms, leave)

        self._spawn(run)
        return execution_id

    def _new_id(self, workspace: str, key: str | None) -> str:
        """The id of a new execution, or the one that an idempotency key always has."""
        return _keyed_id(workspace, key) if key else events.new_execution_id(self._clock.now())

    def _first(self, execution_id: str, queued: events.ExecutionQueued) -> Draft:
        return self._intake.prepare(execution_id, draft(queued, self._clock.now()))

    def _opening(
        self, execution_id: str, queued: events.ExecutionQueued, lease_until: str
    ) -> Opening:
        if queued.kind not in events.KINDS:
            raise InvalidRequest(
                f"{queued.kind!r} is no kind", hint=f"One of: {', '.join(events.KINDS)}."
            )
        return Opening(
            execution_id=execution_id,
            kind=queued.kind,
            flow=queued.flow,
            workspace=queued.workspace,
            lease_until=lease_until,
            ephemeral=queued.ephemeral,
        )

    async def _created(self, opening: Opening, first: Draft) -> Leave:
        """Create an execution in its workspace's place; returns the way to give that back."""
        leave = await self._limits.execution(opening.workspace)
        try:
            await self._log.create(opening, [first])
        except BaseException:
            leave()
            raise
        return leave

    async def _require_same(self, execution_id: str, asked: Draft) -> None:
        """Raise IdempotencyConflict if a key made its execution for something else before."""
        before = (await self._log.read(execution_id, 0, 1))[0]
        # Compared as the log has it: what was redacted or put aside looks the same in both.
        now = Record(1, asked.type, asked.encode(execution_id))
        same = ("flow", "input", "input_summary")
        told = [[r.event().data.get(name) for name in same] for r in (before, now)]
        if told[0] != told[1]:
            raise IdempotencyConflict

    async def run(
        self,
        here: Here,
        work: Work,
        deadline_ms: int | None,
        leave: Callable[[], None],
        *,
        hand_over: bool = False,
    ) -> None:
        """Run an execution to its end, whatever that is; its place is given back."""
        recorder = here.recorder
        try:
            await supervise(recorder, work, deadline_ms, hand_over=hand_over)
        except TailraceError as error:
            # One execution's store trouble must not take down the others: its lease tells.
            _logger.error(
                "execution %s: its end could not be written: %s",
                recorder.execution_id,
                error,
                extra={"execution_id": recorder.execution_id},
            )
            here.error = error
        finally:
            # A later attempt may run in this very process: it stays.
            if self.here.get(recorder.execution_id) is here:
                del self.here[recorder.execution_id]
            leave()
            here.ended.set()

    # --- for a worker elsewhere ---------------------------------------------------------------

    async def submit(
        self, queued: events.ExecutionQueued, spec: Spec, *, key: str | None = None
    ) -> str:
        """Create an execution that waits for a worker; returns its id. Raises as `begin` does."""
        await self._dispatch.require_room(spec)
        execution_id = self._new_id(queued.workspace, key)
        opening = self._opening(execution_id, queued, self._dispatch.patience(spec))
        first = self._first(execution_id, queued)
        kept = await self._dispatch.keep(execution_id, spec)
        try:
            await self._log.create(opening, [first])
        except ExecutionExists:
            if key is None:
                raise
            await self._require_same(execution_id, first)
            return execution_id
        if not kept:  # there was one of an earlier start by this key, which never came to a log
            await self._dispatch.keep(execution_id, spec, new=False)
        await self._dispatch.submit(execution_id, spec)
        return execution_id

    # --- ending -------------------------------------------------------------------------------

    async def cancel(self, execution_id: str, *, by: str, reason: str | None = None) -> Entry:
        """Ask an execution to stop, in whichever process it runs; asking twice is asking once.

        Returns the log's entry after the request. Raises ExecutionNotFound.
        """
        entry = await self._log.entry(execution_id)
        if entry.sealed:
            return entry
        if entry.status != "cancelling":
            cancelling = events.ExecutionCancelling(by=by, reason=reason)
            made = self._intake.prepare(execution_id, draft(cancelling, self._clock.now()))
            with suppress(LogSealed):  # it ended in between: that is what was wanted
                await self._log.append(execution_id, [made])
        # Also what is cancelling: who asked first may have died before this.
        await self._dispatch.withdraw(execution_id, by=by, reason=reason)
        return await self._log.entry(execution_id)

    async def sweep(self) -> None:
        """End the executions whose worker is dead, or hand them on, whoever had them."""
        await self._bury_all(await self._expired())

    async def _expired(self) -> Sequence[tuple[str, str]]:
        return await self._log.expired(rfc3339(self._clock.now()))

    async def _bury_all(self, expired: Sequence[tuple[str, str]]) -> None:
        for execution_id, until in expired:
            with suppress(ExecutionNotFound):  # the store was emptied, or it ended and was removed
                await self._bury(execution_id, until)

    async def _bury(self, execution_id: str, until: str) -> None:
        """End one whose lease is over, or hand it on."""
        if await self._unheard(execution_id) or await self._dispatch.revive(execution_id):
            return
        lost = events.ExecutionLost(
            reason="its worker stopped without a word: killed, crashed, or cut off",
            last_seen=until,
        )
        with suppress(LogSealed):  # another process swept first, or it ended after all
            await self._log.append(execution_id, [draft(lost, self._clock.now())])
        await self._dispatch.forget(execution_id)

    async def _unheard(self, execution_id: str) -> bool:
        """Whether its engine may have spoken while nobody was here: then it has a lease to do so."""
        first = await self._log.read(execution_id, 0, 1)
        lease_ms = first[0].event().data.get("lease_ms") if first else None
        return lease_ms is not None and elapsed_ms(self._clock, self._opened) < lease_ms

    async def keep_leases(self) -> None:
        """Say that this process lives, in time: a sweep may take longer, and is beside this."""
        while True:
            await self._clock.sleep(self._settings.lease_s / 3)
            try:
                # What has been taken over may still have to end here; its lease is another's.
                own = [id_ for id_, here in self.here.items() if not here.recorder.overtaken]
                if own:
                    await self._log.beat(own, self.lease_end())
                await self._limits.keep()
            except StoreError as error:
                # A store that is full or busy now may not be at the next beat.
                _logger.warning("leases could not be kept: %s", error)

    async def keep_sweeping(self) -> None:
        """Look for those that no longer live, for ever.

        But for none where this process was stopped, or the store away, just now: the others were
        perhaps away, too, and have a lease's time to say that they live.
        """
        lease_s = self._settings.lease_s
        seen_at, patient_until = self._clock.monotonic(), 0.0
        while True:
            await self._clock.sleep(lease_s / 3)
            try:
                expired = await self._expired()
                now = self._clock.monotonic()
                if now - seen_at > lease_s * 2 / 3:
                    patient_until = now + lease_s
                if now >= patient_until:
                    await self._bury_all(expired)
                seen_at = self._clock.monotonic()
            except StoreError as error:
                _logger.warning("dead executions could not be looked for: %s", error)

    def lease_end(self) -> str:
        """Until when what this process runs counts as alive without another word."""
        return rfc3339(self._clock.now() + timedelta(seconds=self._settings.lease_s))


def _keyed_id(workspace: str, key: str) -> str:
    """The execution id of an idempotency key: the same for every process and store.

    So the store's own uniqueness of ids makes the key idempotent, without an index for it.
    """
    digest = hashlib.sha256(f"{workspace}\0{key}".encode()).digest()
    return "K" + base64.b32encode(digest)[:25].decode()
