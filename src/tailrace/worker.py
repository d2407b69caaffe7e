"""A worker: takes what waits in a queue and runs it, each attempt under a lease.

The law of this file: a worker says that it lives before it says that it begins, and nothing after
another has begun. What it leaves behind, alive or dead, is another's attempt.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import anyio

from tailrace import events, metrics, startable
from tailrace.dispatch import Spec
from tailrace.endings import Ending
from tailrace.errors import (
    AttemptFenced,
    ExecutionNotFound,
    FlowNotFound,
    InvalidSetting,
    LogSealed,
    PositionConflict,
    QueueUnavailable,
    StoreError,
    TooManyExecutions,
)
from tailrace.events import draft
from tailrace.executions import Here
from tailrace.log.base import Entry, Producer
from tailrace.recorder import Recorder, Work, worker_name
from tailrace.runtime import Runtime
from tailrace.startable import Startable
from tailrace.takeover import Earlier, earlier
from tailrace.work.base import Job

STOP_S = 2.0  # for what was cancelled to end; a thread cannot be interrupted
BACK_S = 5.0  # before a job that cannot run here now is offered again
PAUSE_S = 1.0  # before a queue that could not be reached is asked again
_logger = logging.getLogger("tailrace")


class Worker:
    """Runs executions from the runtime's work queue, `concurrency` at once (see Settings).

    `run` works until `stop` is called: then it takes nothing more, gives what runs the drain time
    to end, and hands the rest to other workers; `leave` does that at once. What does not stop even
    then runs on here, as nobody's: when `left` is set, only that is left.
    """

    def __init__(self, runtime: Runtime) -> None:
        queue = runtime.dispatch.queue
        if queue is None:
            raise InvalidSetting(
                "queue: a worker needs one", hint="Set it to redis://HOST:6379/0, or to `store`."
            )
        self._runtime, self._queue = runtime, queue
        settings = runtime.settings
        self._queues = [name.strip() for name in settings.queues.split(",") if name.strip()]
        self._slots = anyio.Semaphore(settings.concurrency)
        self._taken: dict[str, Job] = {}
        self._taking, self._working = anyio.CancelScope(), anyio.CancelScope()
        self._leaving, self.left = anyio.Event(), anyio.Event()

    async def check(self) -> None:
        """Raise QueueUnavailable if its queues cannot be reached."""
        for name in self._queues:
            await self._queue.waiting(name)

    def stop(self) -> None:
        """Take nothing more."""
        self._taking.cancel()

    def leave(self) -> None:
        """Hand everything over at once."""
        self._taking.cancel()
        self._working.cancel()
        self._leaving.set()

    async def run(self) -> None:
        """Work until `stop` or `leave`; cancelling it is as `leave`, but waits for what runs."""
        async with anyio.create_task_group() as upkeep:
            upkeep.start_soon(self._keep_queue)
            upkeep.start_soon(self._leave_behind)
            with self._working:
                async with anyio.create_task_group() as attempts:
                    with self._taking:
                        while True:
                            await self._slots.acquire()
                            job = await self._take()
                            self._taken[job.key] = job
                            attempts.start_soon(self._handle, job)
                    upkeep.start_soon(self._drain)
            upkeep.cancel_scope.cancel()

    async def _drain(self) -> None:
        """Give what runs a while to end; what has not then is handed over."""
        settings = self._runtime.settings
        _logger.info("draining: %d executions run, up to %g s", len(self._taken), settings.drain_s)
        await self._runtime.clock.sleep(settings.drain_s)
        self.leave()

    async def _leave_behind(self) -> None:
        """Hand over what runs on although it was cancelled."""
        await self._leaving.wait()
        await self._runtime.clock.sleep(STOP_S)
        for here in tuple(self._runtime.executions.here.values()):
            with suppress(StoreError, ExecutionNotFound):
                await self._leave(here.recorder)
        self.left.set()

    async def _leave(self, recorder: Recorder) -> None:
        spec = await self._runtime.dispatch.spec(recorder.execution_id)
        if spec is not None:
            _logger.warning("execution %s does not stop, and is left", recorder.execution_id)
            recorder.overtaken = True  # its lease is for those who wait for it now
            await self._settle(recorder, spec, failed=False)

    async def _take(self) -> Job:
        while True:
            try:
                return await self._queue.take(self._queues)
            except QueueUnavailable as error:
                _logger.warning("%s", error)
                await self._runtime.clock.sleep(PAUSE_S)

    async def _keep_queue(self) -> None:
        """Beat for what runs here, and sweep what others left, for ever."""
        while True:
            await self._runtime.clock.sleep(self._runtime.settings.lease_s / 3)
            try:
                await self._queue.beat(tuple(self._taken.values()))
                await self._queue.sweep()
                for name in self._queues:
                    waiting = await self._queue.waiting(name)
                    self._runtime.metrics.set(metrics.QUEUED, waiting, name)
            except QueueUnavailable as error:
                _logger.warning("%s", error)

    async def _handle(self, job: Job) -> None:
        # If this is cancelled: whoever takes it next finds what has become of it.
        settle: Callable[[Job], Awaitable[None]] = partial(self._queue.give_back, delay_s=0)
        outcome = "back"
        try:
            await self._attempt(job)
            settle, outcome = self._queue.done, "done"
        except (TooManyExecutions, FlowNotFound, StoreError) as error:
            _logger.warning("execution %s goes back: %s", job.execution_id, error)
            settle = partial(self._queue.give_back, delay_s=BACK_S)
        except Exception:
            # What nobody thought of: one execution must not take down the others of this worker.
            _logger.exception("execution %s goes back", job.execution_id)
            settle = partial(self._queue.give_back, delay_s=BACK_S)
        finally:
            with anyio.CancelScope(shield=True):
                # What cannot be told now, the queue finds by its sweep, and the log by the lease.
                with suppress(QueueUnavailable):
                    await settle(job)
            self._taken.pop(job.key, None)  # a queue may bring it a second time meanwhile
            self._slots.release()
            self._runtime.metrics.count(metrics.JOBS, outcome)

    # --- one attempt --------------------------------------------------------------------------

    async def _attempt(self, job: Job) -> None:
        """Run one attempt, unless its time is over.

        Raises StoreError, TooManyExecutions, and FlowNotFound where this worker has not its flow.
        """
        try:
            entry = await self._runtime.log.entry(job.execution_id)
            spec = await self._runtime.dispatch.spec(job.execution_id)
            if entry.sealed and spec is not None:
                await self._runtime.dispatch.forget(job.execution_id)  # who ended it died there
            if spec is None or entry.sealed or entry.attempt >= job.attempt:
                return  # it has ended, or another worker has begun it
            found = await self._found(spec, entry)
            leave = await self._runtime.limits.execution(entry.workspace)
            try:
                begun = await self._begun(job, entry, found)
            except BaseException:
                leave()
                raise
        except ExecutionNotFound:
            return
        if begun is None:
            leave()
        else:
            recorder, before = begun
            await self._run(recorder, spec, _work(found, spec, before), leave)

    async def _found(self, spec: Spec, entry: Entry) -> Startable:
        """Its code. Raises FlowNotFound, and the log says so, once."""
        try:
            return self._runtime.flow(spec.flow)
        except FlowNotFound:
            words = f"{worker_name()} serves its queue and has no flow {spec.flow!r}; it waits on"
            told = events.WarningEvent(code="flow_not_found", message=words)
            once = Producer("tailrace.worker/flow_not_found", 1)
            with suppress(LogSealed):
                made = draft(told, self._runtime.clock.now())
                await self._runtime.log.append(entry.execution_id, [made], producer=once)
            raise

    async def _begun(
        self, job: Job, entry: Entry, found: Startable
    ) -> tuple[Recorder, Earlier] | None:
        """Begin an attempt, knowing all that was before it; None if another worker was faster."""
        log, clock, executions = self._runtime.log, self._runtime.clock, self._runtime.executions
        while not entry.sealed and entry.attempt < job.attempt:
            before = await earlier(log, clock, await self._runtime.view(job.execution_id), found)
            recorder = Recorder(
                log,
                clock,
                job.execution_id,
                self._runtime.intake,
                attempt=job.attempt,
                spent_ms=before.spent_ms,
            )
            # First: whoever sees that it has begun must see that it lives, too.
            await log.beat([job.execution_id], executions.lease_end())
            with suppress(PositionConflict, LogSealed, AttemptFenced):
                await recorder.begin(expected=entry.head)
                return recorder, before
            entry = await log.entry(job.execution_id)
        return None

    async def _run(
        self, recorder: Recorder, spec: Spec, work: Work, leave: Callable[[], None]
    ) -> None:
        executions = self._runtime.executions
        here = executions.here[recorder.execution_id] = Here(recorder)
        try:
            await executions.run(here, work, spec.deadline_ms, leave, hand_over=True)
        finally:
            with anyio.CancelScope(shield=True), suppress(StoreError, ExecutionNotFound):
                await self._settle(recorder, spec, failed=here.error is not None)

    async def _settle(self, recorder: Recorder, spec: Spec, *, failed: bool) -> None:
        """Forget what has ended, hand over what has not, and leave what another took."""
        dispatch, execution_id = self._runtime.dispatch, recorder.execution_id
        entry = await self._runtime.log.entry(execution_id)
        if entry.sealed:
            await dispatch.forget(execution_id)
        elif entry.attempt == recorder.attempt and not failed:
            await dispatch.leave(execution_id, spec, recorder.attempt)


def _work(found: Startable, spec: Spec, before: Earlier) -> Work:
    """What an attempt does, told first what it takes over."""

    async def work(recorder: Recorder) -> Ending:
        for node, attempt in before.running:
            lost = events.Error(type="worker_lost", message="its worker stopped without a word")
            recorder.post(events.NodeRetrying(error=lost), node=node, attempt=attempt)
        arguments = found.arguments(spec.input)
        return await startable.work(found, arguments, before)(recorder)

    return work
