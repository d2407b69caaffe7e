"""The composition root: one process's log, hub, executions and leases, built from one Settings.

The law of this file: everything that runs in the background runs in this one task group, from
`async with` to its end; nothing outlives it.
"""

import logging
from collections.abc import (
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

import anyio
from anyio.abc import TaskGroup
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from tailrace import events
from tailrace.access import Access, Authorize
from tailrace.agent import Agent
from tailrace.ambient import LogHandler
from tailrace.clock import Clock, SystemClock, rfc3339
from tailrace.dispatch import Dispatch, Spec
from tailrace.errors import (
    FlowNotFound,
    InvalidInput,
    InvalidRequest,
    InvalidSetting,
    ShuttingDown,
    StoreError,
    WorkloadNotFound,
)
from tailrace.events import Event
from tailrace.executions import Executions, Here
from tailrace.executor import flow_work
from tailrace.filters import Choice
from tailrace.flow.build import Flow
from tailrace.following import Follow, FollowMany
from tailrace.hub import Hub
from tailrace.intake import Intake
from tailrace.lifecycle import STATUS_EVENTS, ExecutionState, digest_of, outcome, status_after
from tailrace.limits import Limits
from tailrace.log.base import Entry, EventLog
from tailrace.metrics import Metrics, NoMetrics
from tailrace.recorder import Work
from tailrace.redact import Redactor
from tailrace.retention import EVERY_S, SOON_S, Retention
from tailrace.settings import Settings, shown, sqlite_path
from tailrace.work.base import Priority, WorkQueue
from tailrace.workload import Command, command_work

_logger = logging.getLogger("tailrace")
Startable = Flow[Any] | Agent[Any]


def open_log(settings: Settings) -> EventLog:
    """Make the log that a store URL names. Raises InvalidSetting."""
    if settings.store in ("memory:", "memory://"):
        from tailrace.log.memory import MemoryLog

        return MemoryLog()
    if settings.store.startswith("sqlite:"):
        from tailrace.log.sqlite import SqliteLog

        return SqliteLog(sqlite_path(settings.store), durability=settings.durability)
    if settings.store.startswith(("redis:", "rediss:")):
        try:
            from tailrace.log.redis import RedisLog
        except ModuleNotFoundError as error:
            raise InvalidSetting(
                f"store: {error.name} is not installed", hint="pip install 'tailrace[redis]'"
            ) from error
        return RedisLog(
            settings.store,
            patience_s=settings.redis_patience_s,
            replicas=settings.redis_wait_replicas,
            disk=settings.redis_wait_aof,
        )
    raise InvalidSetting(
        f"store: no store is called {shown(settings.store)!r}",
        hint="Use sqlite:///FILE, redis://HOST:PORT or memory:.",
    )


def open_queue(settings: Settings) -> WorkQueue | None:
    """Make the work queue that the settings name, if they name one. Raises InvalidSetting."""
    url = settings.store if settings.queue == "store" else settings.queue
    if not url:
        return None
    if not url.startswith(("redis:", "rediss:")):
        raise InvalidSetting(
            f"queue: no work queue is called {shown(url)!r}",
            hint="Use redis://HOST:6379/0, or `store` where the store is Redis.",
        )
    try:
        from tailrace.work.saq import SaqQueue
    except ImportError:
        raise InvalidSetting(
            "queue: a part of Tailrace is missing", hint="pip install 'tailrace[worker]'"
        ) from None
    return SaqQueue(url, patience_s=settings.lease_s)


class Run:
    """An execution, wherever it runs. It does not depend on this object or on any watcher."""

    def __init__(self, runtime: "Runtime", execution_id: str, here: Here | None = None) -> None:
        self.id = execution_id
        self._runtime = runtime
        self._here = here  # if this process runs it

    async def wait(self) -> ExecutionState:
        """Wait for the end and return the folded execution, however it ended.

        Raises StoreError if the log could not take the end. A cancelled wait stops nothing.
        """
        await self._ended()
        state = await self._runtime.view(self.id)
        state.output = await self._whole(state.output, state.end or {})
        return state

    async def _whole(self, output: Any, end: Mapping[str, Any]) -> Any:
        """An output that was too large for its event is kept aside."""
        digest = digest_of(end)
        if digest is None:
            return output
        return from_json(await self._runtime.log.payload(self.id, digest))

    async def _ended(self) -> None:
        if self._here is None:
            entry = await self._runtime.log.entry(self.id)
            async for _ in self.follow(max(entry.head - 1, 0)):
                pass
            return
        await self._here.ended.wait()
        if self._here.error is not None:
            raise self._here.error

    async def result(self) -> Any:
        """Wait for the end and return the output (null for one that streamed).

        Raises the ExecutionError that says how it ended otherwise.
        """
        await self._ended()
        log = self._runtime.log
        head = (await log.entry(self.id)).head
        end = (await log.read(self.id, head - 1, 1))[0].event()
        return await self._whole(outcome(end), end.data)

    def __await__(self) -> Generator[Any, None, Any]:
        return self.result().__await__()

    def follow(self, after: str | int | None = None) -> Follow:
        """Follow its events, from the first."""
        return self._runtime.follow(self.id, after)

    async def cancel(self, *, by: str = "api", reason: str | None = None) -> None:
        """Ask it to stop."""
        await self._runtime.cancel(self.id, by=by, reason=reason)


class Runtime:
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
        self.log = log or open_log(self.settings)
        queue = queue or open_queue(self.settings)
        self.hub = Hub(
            self.log,
            self.clock,
            page=self.settings.page_events,
            ring=self.settings.ring_events,
            heartbeat_s=self.settings.heartbeat_s,
        )
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

        Raises InvalidRequest for a second of that name, or on the same route.
        """
        if self.flows.setdefault(flow.name, flow) is not flow:
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
        self._tasks.start_soon(self._keep_retention)
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
        await self._stack.__aexit__(kind, error, traceback)

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
        found = self.flow(flow) if isinstance(flow, str) else flow
        arguments = found.arguments(input)
        queued = events.ExecutionQueued(
            kind=kind or (found.kind if isinstance(found, Agent) else "workflow"),
            flow=found.name,
            workspace=workspace,
            input=to_jsonable_python(arguments, fallback=repr),
            deadline_ms=deadline_ms or _deadline_ms(found),
            **({"ephemeral": True} if ephemeral else {}),
            **({"traceparent": traceparent} if traceparent else {}),
            **_described(found),
        )
        if self.dispatch.queue is not None:
            spec = Spec(
                flow=found.name,
                input=_sendable(arguments),
                deadline_ms=queued.deadline_ms,
                queue=found.queue,
                priority=priority,
                at=rfc3339(at.astimezone(UTC)) if at else None,
            )
            return self._run(await self.executions.submit(queued, spec, key=idempotency_key))
        if at is not None:
            raise InvalidRequest(
                "A later start needs workers", hint="Set `queue`, and start `tailrace worker`."
            )
        work = found.work if isinstance(found, Agent) else partial(flow_work, found)
        return await self.begin(queued, work(arguments), key=idempotency_key)

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
        limit_ms = round(self.settings.workload_timeout_s * 1000)
        queued = events.ExecutionQueued(
            kind="workload",
            flow=name,
            workspace=workspace,
            input={"command": list(argv), "input": input},
            deadline_ms=min(deadline_ms or limit_ms, limit_ms),
        )
        command = Command(
            argv=argv,
            line_max_bytes=self.settings.line_max_bytes,
            output_max_bytes=self.settings.workload_output_max_bytes,
            stdin=None if input is None else to_json(input),
        )
        return await self.begin(queued, command_work(command), key=idempotency_key)

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
        return Run(self, execution_id, self.executions.here.get(execution_id))

    # --- looking ------------------------------------------------------------------------------

    def follow(
        self,
        execution_id: str,
        after: str | int | None = None,
        *,
        live: bool = True,
        **choice: Unpack[Choice],
    ) -> Follow:
        """Follow an execution's events: all of them, then live, to the terminal one.

        With `live=False`: those that are there, without waiting for more. A `Choice` chooses; the
        terminal event always comes.

        Gaps come as `stream.gap` events without an id. Raises InvalidRequest for a choice that
        cannot be, ExecutionNotFound and InvalidPosition when iterated, and ShuttingDown if this
        process ends first.
        """
        return Follow(self.hub, execution_id, after, live=live, choice=choice)

    def follow_many(
        self,
        *execution_ids: str,
        workspace: str = "default",
        after: str | None = None,
        live: bool = True,
        **choice: Unpack[Choice],
    ) -> FollowMany:
        """Follow many executions at once: these, or all of a workspace.

        Of a workspace: those that run now, from their beginning, and each new one as it starts.
        That never ends by itself; with executions named it ends with the last of them.
        Raises as `follow` does.
        """
        return FollowMany(self.hub, workspace, execution_ids, after, live=live, choice=choice)

    async def view(self, execution_id: str) -> ExecutionState:
        """Fold an execution's log. Raises ExecutionNotFound."""
        state = ExecutionState(id=execution_id)
        position, folded = 0, ("execution.", "node.", "output.")
        while records := await self.log.read(execution_id, position, self.settings.page_events):
            for record in records:
                if record.type.startswith(folded):
                    state.apply(record.event())
            position = records[-1].seq
        state.head = position
        return state

    async def page(self, execution_id: str, after: int, limit: int) -> Sequence[Event]:
        """Read a page of events. Raises ExecutionNotFound."""
        return [record.event() for record in await self.log.read(execution_id, after, limit)]

    async def entries(
        self,
        workspace: str = "default",
        *,
        limit: int = 50,
        before: str | None = None,
        status: str | None = None,
    ) -> Sequence[Entry]:
        """List executions, newest first. Raises InvalidRequest for an unknown status."""
        wanted = [name for name in STATUS_EVENTS if status and status_after(name) == status]
        if status and not wanted:
            known = ", ".join(sorted({status_after(name) for name in STATUS_EVENTS}))
            raise InvalidRequest(f"{status!r} is no status", hint=f"One of: {known}.")
        return await self.log.entries(workspace, limit=limit, before=before, status_events=wanted)

    # --- ending -------------------------------------------------------------------------------

    async def cancel(self, execution_id: str, *, by: str, reason: str | None = None) -> Entry:
        """Ask an execution to stop, in whichever process it runs; asking twice is asking once.

        Returns the log's entry after the request. Raises ExecutionNotFound.
        """
        return await self.executions.cancel(execution_id, by=by, reason=reason)

    async def _keep_retention(self) -> None:
        """Remove what nobody keeps, for ever."""
        more = False
        while True:
            await self.clock.sleep(SOON_S if more else EVERY_S)
            try:
                more = await self.retention.turn()
            except StoreError as error:
                _logger.warning("retention could not be kept: %s", error)
                more = False


def _sendable(arguments: dict[str, Any]) -> dict[str, Any]:
    """Arguments as a worker elsewhere gets them. Raises InvalidInput."""
    try:
        sent: dict[str, Any] = to_jsonable_python(arguments)
    except PydanticSerializationError as error:
        raise InvalidInput(f"This cannot be sent to a worker as JSON: {error}") from None
    return sent


def _deadline_ms(found: Startable) -> int | None:
    return found.deadline_ms if isinstance(found, Agent) else found.ir.deadline_ms


def _described(found: Startable) -> dict[str, Any]:
    """What the first event says of the code: a flow's graph, an agent's output schema."""
    if isinstance(found, Agent):
        return {"output_schema": found.out_schema}
    return {"graph": found.ir.model_dump(by_alias=True, exclude_none=True, mode="json")}
