"""Executions that wait for a worker: kept, submitted, taken up again, ended.

The law of this file: what is to be run is kept beside the log, before the log begins, until it
ends; whoever finds its lease over submits it again. So no crash between two steps loses one, and
a queue that was emptied is filled again.
"""

import json
import logging
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from tailrace import events
from tailrace.clock import Clock, moment_of, rfc3339
from tailrace.errors import LogSealed, Overloaded, PositionConflict, QueueUnavailable
from tailrace.events import draft
from tailrace.log.base import Entry, EventLog, Producer
from tailrace.settings import Settings
from tailrace.work.base import DEFAULT, Job, Priority, WorkQueue

_KIND = "work"  # of the facts
KEEP_S = 30 * 86_400  # how long an execution may wait and run; a fact must not stay for ever
WAIT_S = 60.0  # how long a job may wait before somebody makes sure that the queue still has it
_logger = logging.getLogger("tailrace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a worker needs to know, whatever the log's first event hides of it."""

    flow: str
    input: Any
    deadline_ms: int | None = None
    queue: str = DEFAULT
    priority: Priority = "normal"
    at: str | None = None  # not before
    deaths: tuple[int, ...] = ()  # the attempts whose worker died; a hand-over is none
    left: int = 0  # the newest attempt whose worker handed it over

    def job(self, execution_id: str, attempt: int) -> Job:
        """Word of it. Only the first attempt waits for its time."""
        at_s = moment_of(self.at).timestamp() if self.at and attempt == 1 else 0.0
        return Job(
            execution_id=execution_id,
            attempt=attempt,
            queue=self.queue,
            priority=self.priority,
            at_s=at_s,
        )

    def waits(self, attempt: int) -> bool:
        """Whether nobody runs an attempt that is the newest: none has begun, or it was given up."""
        return attempt in (0, self.left, *self.deaths)


_FIELDS = frozenset(field.name for field in fields(Spec))


class Dispatch:
    """What one process does of it; without a queue of its own it leaves the work to others."""

    def __init__(
        self, log: EventLog, clock: Clock, settings: Settings, queue: WorkQueue | None
    ) -> None:
        self._log, self._clock, self._settings, self.queue = log, clock, settings, queue

    async def require_room(self, spec: Spec) -> None:
        """Raise Overloaded if as many executions wait in its queue as may."""
        limit = self._settings.queue_max
        if self.queue is not None and limit and await self.queue.waiting(spec.queue) >= limit:
            raise Overloaded(f"{limit} executions wait for a worker", retry_after_s=5)

    async def keep(self, execution_id: str, spec: Spec, *, new: bool = True) -> bool:
        """Keep what is to be run; of several that begin under one id (`new`), the first stands.

        Returns whether it was kept.
        """
        now = self._clock.now()
        until = rfc3339(max(now, _moment(spec, now)) + timedelta(seconds=KEEP_S))
        value = json.dumps(asdict(spec))
        return await self._log.facts.put(
            _KIND, execution_id, value, now=rfc3339(now), until=until, new=new
        )

    async def spec(self, execution_id: str) -> Spec | None:
        """What is to be run, if that is for a worker."""
        value = await self._log.facts.get(_KIND, execution_id, now=rfc3339(self._clock.now()))
        if value is None:
            return None
        # What another version of this code has added is not for this one.
        said = {name: of for name, of in json.loads(value).items() if name in _FIELDS}
        return Spec(**said | {"deaths": tuple(said["deaths"])})

    async def forget(self, execution_id: str) -> None:
        """It has ended: nobody has to run it again."""
        await self._log.facts.take(_KIND, execution_id, now=rfc3339(self._clock.now()))

    def patience(self, spec: Spec) -> str:
        """Until when nobody asks whether the queue still has it."""
        now = self._clock.now()
        wait_s = max(WAIT_S, self._settings.lease_s)
        return rfc3339(max(now, _moment(spec, now)) + timedelta(seconds=wait_s))

    async def submit(self, execution_id: str, spec: Spec, attempt: int = 1) -> None:
        """Tell the workers; what cannot be told now is told when its lease ends."""
        if self.queue is None:
            return
        job, told = spec.job(execution_id, attempt), ""
        for _ in range(2):  # a connection that was cut is noticed by the first command on it
            try:
                await self.queue.submit(job)
            except QueueUnavailable as error:
                told = error.message
            else:
                return
        _logger.warning("execution %s waits: %s", execution_id, told)

    async def leave(self, execution_id: str, spec: Spec, attempt: int) -> None:
        """Let another worker go on with an attempt that this process leaves; raises StoreError.

        However long it then waits for one: that is no death.
        """
        await self._log.beat([execution_id], self.patience(spec))
        await self.keep(execution_id, replace(spec, left=attempt), new=False)
        await self.submit(execution_id, spec, attempt + 1)

    async def withdraw(self, execution_id: str, *, by: str, reason: str | None) -> None:
        """End one that was cancelled while no worker had it."""
        while True:
            spec, entry = await self.spec(execution_id), await self._log.entry(execution_id)
            if spec is None or entry.sealed or not spec.waits(entry.attempt):
                return
            told = events.ExecutionCancelled(by=by, reason=reason)
            made = draft(told, self._clock.now(), attempt=max(entry.attempt, 1))
            try:
                await self._log.append(execution_id, [made], expected=entry.head)
            except (LogSealed, PositionConflict):
                continue  # a worker was faster, and hears of it; or something else was said
            break
        await self.forget(execution_id)
        if self.queue is not None:
            with suppress(QueueUnavailable):  # who takes it finds that it has ended
                await self.queue.cancel(spec.job(execution_id, entry.attempt + 1))

    async def revive(self, execution_id: str) -> bool:
        """Take up one whose lease is over: of a dead worker, or of nobody yet.

        False if that is nothing for a worker, or has been tried as often as it may be: then it is
        lost.
        """
        spec = await self.spec(execution_id)
        if spec is None:
            return False
        if self.queue is None:
            return True  # it is for those who have one
        entry = await self._log.entry(execution_id)
        if entry.sealed or (entry.attempt and not await self._is_over(execution_id)):
            return True
        if entry.attempt and entry.attempt != spec.left:
            spec = replace(spec, deaths=tuple({*spec.deaths, entry.attempt}))
            if len(spec.deaths) >= self._settings.attempts_max:
                return False
            await self.keep(execution_id, spec, new=False)
            await self._tell(entry, spec)
        await self._log.beat([execution_id], self.patience(spec))
        await self.submit(execution_id, spec, entry.attempt + 1)
        return True

    async def _is_over(self, execution_id: str) -> bool:
        """Whether its lease is over even now that an attempt was seen to have begun.

        A worker beats first and begins then: the lease that was over may have been the waiting's.
        """
        expired = await self._log.expired(rfc3339(self._clock.now()))
        return execution_id in dict(expired)

    async def _tell(self, entry: Entry, spec: Spec) -> None:
        """Say in the log, once, that an attempt was given up."""
        words = (
            f"the worker of attempt {entry.attempt} stopped without a word: killed, crashed, or cut "
            f"off; attempt {entry.attempt + 1} waits for another "
            f"({len(spec.deaths)} of {self._settings.attempts_max} workers lost)"
        )
        warning = draft(events.WarningEvent(code="worker_lost", message=words), self._clock.now())
        once = Producer(f"tailrace.attempt/{entry.attempt}", 1)
        with suppress(LogSealed):
            await self._log.append(entry.execution_id, [warning], producer=once)


def _moment(spec: Spec, now: datetime) -> datetime:
    return moment_of(spec.at) if spec.at else now
