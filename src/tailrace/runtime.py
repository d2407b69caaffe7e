"""The composition root: one process's log, hub, executions and leases, built from one Settings.

The law of this file: everything that runs in the background runs in this one task group, from
`async with` to its end; nothing outlives it.
"""

import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from tailrace import events, startable
from tailrace.access import Access, Authorize
from tailrace.adapters import open_log, open_queue
from tailrace.agent import Agent
from tailrace.ambient import LogHandler
from tailrace.clock import Clock, SystemClock
from tailrace.dispatch import Dispatch
from tailrace.errors import FlowNotFound, InvalidRequest, ShuttingDown, WorkloadNotFound
from tailrace.executions import Executions
from tailrace.flow.build import Flow
from tailrace.hub import Hub
from tailrace.intake import Intake
from tailrace.limits import Limits
from tailrace.log.base import Entry, EventLog
from tailrace.metrics import Metrics, NoMetrics
from tailrace.reader import Reader
from tailrace.recorder import Work
from tailrace.redact import Redactor
from tailrace.retention import Retention
from tailrace.run import Run
from tailrace.settings import Settings
from tailrace.startable import Startable
from tailrace.work.base import Priority, WorkQueue


class Runtime(Reader):
    """Everything of one process. Use it as an async context manager."""

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        flows: Iterable[Startable] = (),
        log: EventLog | None = None,
        clock: Clock | None = None,
        redactor: Redactor | None = None,
        workloads: Mapping[str, Sequence[str]] | None = None,
        authorize: Authorize | None = None,
        queue: WorkQueue | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.clock: Clock = clock or SystemClock()
        super().__init__(
            Hub(
                log or open_log(self.settings),
                self.clock,
                page=self.settings.page_events,
                ring=self.settings.ring_events,
                heartbeat_s=self.settings.heartbeat_s,
            )
        )
        queue = queue or open_queue(self.settings)
        self.access = Access(self.settings, self.clock, self.log.facts, authorize)
        self.redactor = redactor or Redactor()
        self.intake = Intake(
            self.redactor,
            event_max_bytes=self.settings.event_max_bytes,
            events_max=self.settings.events_per_execution_max,
        )
        self.limits = Limits(self.log, self.clock, self.settings, self.spawn)
        self.dispatch = Dispatch(self.log, self.clock, self.settings, queue)
        self.executions = Executions(
            self.log,
            self.clock,
            self.settings,
            self.intake,
            self.limits,
            self.dispatch,
            self.spawn,
        )
        self.metrics: Metrics = NoMetrics()
        self.retention = Retention(self.log, self.clock, self.settings)
        self.workloads = dict(workloads or {})
        self.flows: dict[str, Startable] = {}
        self._stack = AsyncExitStack()
        self._tasks: TaskGroup
        self.is_open = False
        for flow in flows:
            self.add(flow)

    @property
    def running(self) -> int:
        """How many executions run in this process."""
        return len(self.executions.here)

    def add(self, flow: Startable) -> None:
        """Make a flow, an agent or a task startable by its name.

        Raises InvalidRequest for a second of that name, or on the same route, and for what is none.
        """
        if self.flows.setdefault(_flow(flow).name, flow) is not flow:
            raise InvalidRequest(f"Two flows are called {flow.name!r}")
        routes = [made.http for made in self.flows.values() if isinstance(made, Flow)]
        if isinstance(flow, Flow) and flow.http is not None and routes.count(flow.http) > 1:
            del self.flows[flow.name]
            raise InvalidRequest(
                f"route_taken: another flow has {flow.http}", hint="Give each a route of its own."
            )

    async def __aenter__(self) -> Self:
        """Open the log and start the background work. Raises StoreError."""
        await self._stack.enter_async_context(self.log)
        self._stack.push_async_callback(self.limits.aclose)
        try:
            if self.dispatch.queue is not None:
                await self._stack.enter_async_context(self.dispatch.queue)
            await self.executions.open()
            self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        except BaseException:
            await self._stack.aclose()
            raise
        self._capture_logging()
        self._tasks.start_soon(self.hub.run)
        if self.access.on:
            self._tasks.start_soon(self.access.keep_looking, self.hub.streams)
        self._tasks.start_soon(self.executions.keep_leases)
        self._tasks.start_soon(self.executions.keep_sweeping)
        self._tasks.start_soon(self.retention.keep)
        self.is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the streams, cancel what runs (each ends in its terminal event), close the log."""
        self.is_open = False
        self.hub.close()
        self._tasks.cancel_scope.cancel()
        try:
            await self._stack.__aexit__(kind, error, traceback)
        except BaseExceptionGroup as group:
            # What the block raised leaves it as it is: `except FlowNotFound` around it must work.
            if error is None or group.exceptions != (error,):
                raise

    def at_exit(self, callback: Callable[[], object]) -> None:
        """Call something when this runtime has closed: what was installed for it goes with it."""
        self._stack.callback(callback)

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run something in the background until this closes; it keeps its errors to itself."""
        self._tasks.start_soon(work)

    def _capture_logging(self) -> None:
        """Let what is logged inside a run be in its log, for as long as this is open."""
        handler = LogHandler()
        logging.getLogger().addHandler(handler)
        self.at_exit(partial(logging.getLogger().removeHandler, handler))

    # --- starting -----------------------------------------------------------------------------

    async def start(
        self,
        flow: str | Startable,
        input: Any = None,  # noqa: A002 - the event's own word
        *,
        kind: str | None = None,
        workspace: str = "default",
        idempotency_key: str | None = None,
        deadline_ms: int | None = None,
        ephemeral: bool = False,
        traceparent: str | None = None,
        priority: Priority = "normal",
        at: datetime | None = None,
    ) -> Run:
        """Start a flow, an agent or a task and return at once; its first event is in the log.

        It runs in this process, or with a work queue (the setting `queue`) in a worker: then
        those of high `priority` go first, and none before the moment `at`.
        With an idempotency key, repeating the call gives the first call's execution. An ephemeral
        one is removed soon after its end (the setting `ephemeral_s`). `traceparent` is the trace
        that it belongs to (W3C Trace Context).
        Raises FlowNotFound, InvalidInput, InvalidRequest, IdempotencyConflict, Overloaded,
        StoreError, QueueUnavailable.
        """
        found = self.flow(flow) if isinstance(flow, str) else _flow(flow)
        arguments = found.arguments(input)
        queued = startable.queued(
            found,
            arguments,
            kind=kind,
            workspace=workspace,
            deadline_ms=deadline_ms,
            ephemeral=ephemeral,
            traceparent=traceparent,
        )
        if self.dispatch.queue is not None:
            spec = startable.spec(
                found, arguments, deadline_ms=queued.deadline_ms, priority=priority, at=at
            )
            return self._run(await self.executions.submit(queued, spec, key=idempotency_key))
        if at is not None:
            raise InvalidRequest(
                "A later start needs workers", hint="Set `queue`, and start `tailrace worker`."
            )
        work = startable.work(found, arguments)
        return await self.begin(queued, work, key=idempotency_key)

    async def start_workload(
        self,
        name: str,
        input: Any = None,  # noqa: A002 - the event's own word
        *,
        workspace: str = "default",
        idempotency_key: str | None = None,
        deadline_ms: int | None = None,
    ) -> Run:
        """Start one of the commands that this runtime was given, by its name.

        It reads its input, if any, as JSON from stdin. Raises WorkloadNotFound, and as `start`.
        """
        argv = self.workloads.get(name)
        if argv is None:
            known = ", ".join(sorted(self.workloads)) or "none"
            raise WorkloadNotFound(f"There is no workload {name!r} here; known: {known}")
        queued, work = startable.command(
            self.settings, name, argv, input, workspace=workspace, deadline_ms=deadline_ms
        )
        return await self.begin(queued, work, key=idempotency_key)

    def flow(self, name: str) -> Startable:
        """Find what was added under a name. Raises FlowNotFound."""
        try:
            return self.flows[name]
        except KeyError:
            known = ", ".join(sorted(self.flows)) or "none"
            raise FlowNotFound(f"There is no flow {name!r} here; known: {known}") from None

    async def begin(
        self,
        queued: events.ExecutionQueued,
        work: Work,
        *,
        key: str | None = None,
        execution_id: str | None = None,
    ) -> Run:
        """Create an execution and run its work in the background. For flows and workloads alike.

        Raises ExecutionExists if an id is given and taken, TooManyExecutions if the workspace has
        all it may.
        """
        if self.hub.closing:
            raise ShuttingDown
        return self._run(
            await self.executions.begin(queued, work, key=key, execution_id=execution_id)
        )

    def _run(self, execution_id: str) -> Run:
        return Run(self, self.executions, execution_id)

    # --- ending -------------------------------------------------------------------------------

    async def cancel(self, execution_id: str, *, by: str, reason: str | None = None) -> Entry:
        """Ask an execution to stop, in whichever process it runs; asking twice is asking once.

        Returns the log's entry after the request. Raises ExecutionNotFound.
        """
        return await self.executions.cancel(execution_id, by=by, reason=reason)


def _flow(value: Startable) -> Startable:
    """What was given, if it is what it should be: not every caller's code is checked for types."""
    if not isinstance(value, Flow | Agent):
        hint = "Make it one with @flow, @agent or @task."
        raise InvalidRequest(f"{value!r} is no flow, agent or task", hint=hint)
    return value
