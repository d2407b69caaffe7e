"""The composition root: one process's log, hub, executions and leases, built from one Settings.

The law of this file: everything that runs in the background runs in this one task group, from
`async with` to its end; nothing outlives it.
"""

import base64
import hashlib
import logging
from collections.abc import (
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Self, Unpack

import anyio
from anyio.abc import TaskGroup
from pydantic_core import from_json, to_json, to_jsonable_python

from tailrace import events
from tailrace.access import Access, Authorize
from tailrace.agent import Agent
from tailrace.ambient import LogHandler
from tailrace.clock import Clock, SystemClock, elapsed_ms, rfc3339
from tailrace.errors import (
    ExecutionExists,
    ExecutionNotFound,
    FlowNotFound,
    IdempotencyConflict,
    InvalidRequest,
    InvalidSetting,
    LogSealed,
    Overloaded,
    ShuttingDown,
    StoreError,
    TailraceError,
    TooManyExecutions,
    WorkloadNotFound,
)
from tailrace.events import Draft, Event, Record, draft
from tailrace.executor import flow_work
from tailrace.filters import Choice
from tailrace.flow.build import Flow
from tailrace.following import Follow, FollowMany
from tailrace.hub import Hub
from tailrace.intake import Intake
from tailrace.lifecycle import STATUS_EVENTS, ExecutionState, digest_of, outcome, status_after
from tailrace.limits import Leave, Limits
from tailrace.log.base import Entry, EventLog, Opening
from tailrace.metrics import Metrics, NoMetrics
from tailrace.recorder import Recorder, Work, supervise
from tailrace.redact import Redactor
from tailrace.retention import EVERY_S, SOON_S, Retention
from tailrace.settings import Settings, shown, sqlite_path
from tailrace.workload import Command, command_work

_logger = logging.getLogger("tailrace")
Startable = Flow[Any] | Agent[Any]
KINDS = events.KINDS


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


class Run:
    """An execution, wherever it runs. It does not depend on this object or on any watcher."""

    def __init__(self, runtime: "Runtime", execution_id: str) -> None:
        self.id = execution_id
        self._runtime = runtime
        self._here: anyio.Event | None = None  # set at its end, if this process runs it
        self._error: TailraceError | None = None

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
        else:
            await self._here.wait()
        if self._error is not None:
            raise self._error

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
    ) -> None:
        self.settings = settings or Settings()
        self.clock: Clock = clock or SystemClock()
        self.log = log or open_log(self.settings)
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
        self.metrics: Metrics = NoMetrics()
        self.retention = Retention(self.log, self.clock, self.settings)
        self.workloads = dict(workloads or {})
        self.flows: dict[str, Startable] = {}
        self._running: dict[str, Run] = {}
        self._stack = AsyncExitStack()
        self._tasks: TaskGroup
        self.is_open = False
        for flow in flows:
            self.add(flow)

    @property
    def running(self) -> int:
        """How many executions run in this process."""
        return len(self._running)

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
        self._opened = self.clock.monotonic()
        self._stack.push_async_callback(self.limits.aclose)
        try:
            await self.sweep()
            self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        except BaseException:
            await self._stack.aclose()
            raise
        self._capture_logging()
        self._tasks.start_soon(self.hub.run)
        if self.access.on:
            self._tasks.start_soon(self.access.keep_looking, self.hub.streams)
        self._tasks.start_soon(self._keep_leases)
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
    ) -> Run:
        """Start a flow, an agent or a task and return at once; its first event is in the log.

        With an idempotency key, repeating the call gives the first call's execution. An ephemeral
        one is removed soon after its end (the setting `ephemeral_s`). `traceparent` is the trace
        that it belongs to (W3C Trace Context).
        Raises FlowNotFound, InvalidInput, IdempotencyConflict, Overloaded, StoreError.
        """
        found = self._flow(flow) if isinstance(flow, str) else flow
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

    def _flow(self, name: str) -> Startable:
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
        if len(self._running) >= self.settings.executions_max:
            raise Overloaded(f"{len(self._running)} executions run in this process")
        now = self.clock.now()
        if queued.kind not in KINDS:
            raise InvalidRequest(f"{queued.kind!r} is no kind", hint=f"One of: {', '.join(KINDS)}.")
        if key is not None:
            execution_id = _keyed_id(queued.workspace, key)
        execution_id = execution_id or events.new_execution_id(now)
        opening = Opening(
            execution_id=execution_id,
            kind=queued.kind,
            flow=queued.flow,
            workspace=queued.workspace,
            lease_until=self._lease_end(),
            ephemeral=queued.ephemeral,
        )
        first = self.intake.prepare(execution_id, draft(queued, now))
        try:
            leave = await self._created(opening, first)
        except (ExecutionExists, TooManyExecutions):
            if key is None:
                raise
            with suppress(ExecutionNotFound):
                return await self._repeated(execution_id, first)
            raise
        run = self._running[execution_id] = Run(self, execution_id)
        run._here = anyio.Event()
        self._tasks.start_soon(self._run, run, work, queued.deadline_ms, leave)
        return run

    async def _created(self, opening: Opening, first: Draft) -> Leave:
        """Create an execution in its workspace's place; returns the way to give that back."""
        leave = await self.limits.execution(opening.workspace)
        try:
            await self.log.create(opening, [first])
        except BaseException:
            leave()
            raise
        return leave

    async def _repeated(self, execution_id: str, asked: Draft) -> Run:
        """The execution an idempotency key made before, if it was asked for the same thing."""
        before = (await self.log.read(execution_id, 0, 1))[0]
        # Compared as the log has it: what was redacted or put aside looks the same in both.
        now = Record(1, asked.type, asked.encode(execution_id))
        same = ("flow", "input", "input_summary")
        told = [[r.event().data.get(name) for name in same] for r in (before, now)]
        if told[0] != told[1]:
            raise IdempotencyConflict
        return self._running.get(execution_id) or Run(self, execution_id)

    async def _run(self, run: Run, work: Work, deadline_ms: int | None, leave: Leave) -> None:
        try:
            recorder = Recorder(self.log, self.clock, run.id, self.intake)
            await supervise(recorder, work, deadline_ms)
        except TailraceError as error:
            # One execution's store trouble must not take down the others: its lease tells.
            _logger.error(
                "execution %s: its end could not be written: %s",
                run.id,
                error,
                extra={"execution_id": run.id},
            )
            run._error = error
        finally:
            self._running.pop(run.id, None)
            leave()
            assert run._here is not None
            run._here.set()

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
        entry = await self.log.entry(execution_id)
        if not entry.sealed and entry.status != "cancelling":
            cancelling = events.ExecutionCancelling(by=by, reason=reason)
            made = self.intake.prepare(execution_id, draft(cancelling, self.clock.now()))
            with suppress(LogSealed):  # it ended in between: that is what was wanted
                await self.log.append(execution_id, [made])
            entry = await self.log.entry(execution_id)
        return entry

    async def sweep(self) -> None:
        """End the executions whose worker is dead, whichever process had them."""
        now = self.clock.now()
        for execution_id, until in await self.log.expired(rfc3339(now)):
            if await self._unheard(execution_id):
                continue
            lost = events.ExecutionLost(
                reason="its worker stopped without a word: killed, crashed, or cut off",
                last_seen=until,
            )
            with suppress(LogSealed):  # another process swept first, or it ended after all
                await self.log.append(execution_id, [draft(lost, now)])

    async def _unheard(self, execution_id: str) -> bool:
        """Whether its engine may have spoken while nobody was here: then it has a lease to do so."""
        first = await self.log.read(execution_id, 0, 1)
        lease_ms = first[0].event().data.get("lease_ms") if first else None
        return lease_ms is not None and elapsed_ms(self.clock, self._opened) < lease_ms

    async def _keep_leases(self) -> None:
        """Say that this process lives, and look for those that no longer do."""
        while True:
            await self.clock.sleep(self.settings.lease_s / 3)
            try:
                if self._running:
                    await self.log.beat(tuple(self._running), self._lease_end())
                await self.limits.keep()
                await self.sweep()
            except StoreError as error:
                # A store that is full or busy now may not be at the next beat.
                _logger.warning("leases could not be kept: %s", error)

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

    def _lease_end(self) -> str:
        return rfc3339(self.clock.now() + timedelta(seconds=self.settings.lease_s))


def _deadline_ms(found: Startable) -> int | None:
    return found.deadline_ms if isinstance(found, Agent) else found.ir.deadline_ms


def _described(found: Startable) -> dict[str, Any]:
    """What the first event says of the code: a flow's graph, an agent's output schema."""
    if isinstance(found, Agent):
        return {"output_schema": found.out_schema}
    return {"graph": found.ir.model_dump(by_alias=True, exclude_none=True, mode="json")}


def _keyed_id(workspace: str, key: str) -> str:
    """The execution id of an idempotency key: the same for every process and store.

    So the store's own uniqueness of ids makes the key idempotent, without an index for it.
    """
    digest = hashlib.sha256(f"{workspace}\0{key}".encode()).digest()
    return "K" + base64.b32encode(digest)[:25].decode()
