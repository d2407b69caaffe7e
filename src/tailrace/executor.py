"""Runs a flow: nodes as tasks, values through slots, streams through bounded edges.

The law of this file: append, then act. A node's start is in the log before it runs, its end
before anything that depends on it begins. Every task lives in one task group, so however the
flow ends, nothing of it is left.

- A node runs when all its inputs are there: parallel branches need no declaration.
- A node whose condition is not met, or that needs one that is skipped, is skipped.
- A streaming node hands each value to every consumer through an edge of `buffer` items and
  waits when one is behind (backpressure); values of a streaming capture go to the log as
  `output.item`, each acknowledged before the next is asked for.
- The first node that fails ends the flow: the others are cancelled, then the flow has failed.

This module never imports the hub: they meet at the log.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from itertools import chain
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from tailrace import events
from tailrace.ambient import speaking
from tailrace.clock import Clock, elapsed_ms, within
from tailrace.endings import Ending, describe
from tailrace.errors import TailraceError
from tailrace.flow.build import Flow
from tailrace.flow.graph import Call, Ref, case_of
from tailrace.flow.ir import TRIGGER
from tailrace.invoke import contained, invoke
from tailrace.recorder import Recorder
from tailrace.takeover import NOTHING, Earlier, checked

_Send = MemoryObjectSendStream[Any]
_Receive = MemoryObjectReceiveStream[Any]


def flow_work(
    flow: Flow[Any], arguments: dict[str, Any], earlier: Earlier | None = None
) -> Callable[[Recorder], Awaitable[Ending]]:
    """The work of a flow, for `supervise`.

    With what earlier attempts have done, it goes on from there, and a later one can from here.
    """

    async def work(recorder: Recorder) -> Ending:
        return await _Running(flow, arguments, recorder, earlier).run()

    return work


class _Skipped(Exception):
    """A node will not run, and neither will what needs it."""


class _Slot:
    """A value that will come, once, or never."""

    def __init__(self) -> None:
        self.ready = anyio.Event()
        self.value: Any = None
        self.skipped = False

    def put(self, value: Any) -> None:
        self.value = value
        self.ready.set()

    def skip(self) -> None:
        self.skipped = True
        self.ready.set()

    async def get(self, node: str) -> Any:
        await self.ready.wait()
        if self.skipped:
            raise _Skipped(f"it needs {node}, which was skipped")
        return self.value


class _Outlet:
    """Where the values of a streaming node go: the log, if it is the capture, and its edges."""

    def __init__(self, running: "_Running", call: Call) -> None:
        self.running, self.call = running, call
        self.sends = running.sends[call.id]
        self.wanted = list(self.sends)
        self.capture = call.id == running.flow.capture
        self.count = 0

    async def give(self, value: Any) -> bool:
        """Hand a value to all; False when nobody wants another."""
        running, timeout_ms = self.running, self.call.node.options.edge_timeout_ms
        if self.capture:
            item = events.OutputItem(index=self.count, value=value)
            await running.recorder.emit(item, node=self.call.id)
        for send in tuple(self.wanted):
            try:
                await within(running.clock, timeout_ms, partial(send.send, value))
            except anyio.BrokenResourceError:
                self.wanted.remove(send)  # that consumer has had enough
        self.count += 1
        return bool(self.capture or self.wanted or not self.sends)

    def end(self) -> None:
        """Only after a good end: after an error the consumers must not take it for one."""
        for send in self.sends:
            send.close()


class _Running:
    """One run of one flow."""

    def __init__(
        self,
        flow: Flow[Any],
        arguments: dict[str, Any],
        recorder: Recorder,
        earlier: Earlier | None,
    ) -> None:
        self.flow, self.arguments, self.recorder = flow, arguments, recorder
        self.resumable, self.earlier = earlier is not None, earlier or NOTHING
        self.clock: Clock = recorder.clock
        self.done = {call.id: _Slot() for call in flow.calls}
        self.began: dict[str, anyio.Event] = {}  # of the nodes that stream to others
        self.sends: dict[str, list[_Send]] = {call.id: [] for call in flow.calls}
        self.receives: dict[tuple[str, str], _Receive] = {}
        self.completed = 0
        self.items: int | None = None
        self.failure: tuple[str, Exception] | None = None
        self.scope = anyio.CancelScope()

    async def run(self) -> Ending:
        self._open_edges()
        try:
            with self.scope:
                async with anyio.create_task_group() as tasks:
                    for call in self.flow.calls:
                        tasks.start_soon(self._node, call)
        finally:
            for receive in self.receives.values():
                receive.close()
            for send in chain.from_iterable(self.sends.values()):
                send.close()
        fields: dict[str, Any] = {"total_duration_ms": self.recorder.elapsed_ms()}
        if self.failure:
            node, error = self.failure
            return events.ExecutionFailed(error=describe(error, node), **fields)
        if not self.done[self.flow.capture].ready.is_set():
            raise RuntimeError("a node cancelled the task that it ran in")
        fields["node_count"] = self.completed
        if self.items is not None:
            return events.ExecutionCompleted(output=None, item_count=self.items, **fields)
        return events.ExecutionCompleted(output=self.done[self.flow.capture].value, **fields)

    def _open_edges(self) -> None:
        for edge in self.flow.ir.edges:
            if edge.buffer is not None and edge.param is not None:
                send, receive = anyio.create_memory_object_stream[Any](edge.buffer)
                self.sends[edge.from_].append(send)
                self.began.setdefault(edge.from_, anyio.Event())
                self.receives[edge.to, edge.param] = receive

    # --- one node -----------------------------------------------------------------------------

    async def _node(self, call: Call) -> None:
        if call.id in self.earlier.outputs:
            self.completed += 1
            self.done[call.id].put(self.earlier.outputs[call.id])
            self._close_inputs(call)
            return
        try:
            values = await self._values(call)
        except _Skipped as skipped:
            await self._skip(call, str(skipped))
            return
        started = self.clock.monotonic()
        attempt = first = self.earlier.tries.get(call.id, 0) + 1
        try:
            while True:
                await self.recorder.emit(events.NodeStarted(), node=call.id, attempt=attempt)
                self._begun(call)
                try:
                    value, items = await self._try(call, values, attempt)
                    break
                except Exception as error:
                    delay_ms = _retry_delay(call, attempt - first + 1, error)
                    if delay_ms is None:
                        raise
                    retrying = events.NodeRetrying(error=describe(error), delay_ms=delay_ms)
                    await self.recorder.emit(retrying, node=call.id, attempt=attempt)
                    await self.clock.sleep(delay_ms / 1000)
                    attempt += 1
            end = {"duration_ms": elapsed_ms(self.clock, started)}
            self._complete(call, value, items, end, attempt)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                cancelled = events.NodeCancelled(duration_ms=elapsed_ms(self.clock, started))
                await self._emit_if_open(cancelled, call, attempt)
            raise
        except Exception as error:  # noqa: BLE001 - the flow fails with it
            await self._fail(call, error, elapsed_ms(self.clock, started), attempt)
        finally:
            self._close_inputs(call)

    def _begun(self, call: Call) -> None:
        """Let those begin that it streams to."""
        if began := self.began.get(call.id):
            began.set()

    def _complete(
        self, call: Call, value: Any, items: int | None, end: dict[str, Any], attempt: int
    ) -> None:
        if items is None:
            summary = self.recorder.summary(value)
            if self.resumable:
                summary = checked(call, value, summary)
            told = events.NodeCompleted(output_summary=summary, **end)
        else:
            told = events.NodeCompleted(item_count=items, **end)
        # Not awaited: whatever depends on it begins by emitting, and that takes this along.
        self.recorder.post(told, node=call.id, attempt=attempt)
        self.completed += 1
        if call.id == self.flow.capture:
            self.items = items
        self.done[call.id].put(value)

    async def _skip(self, call: Call, reason: str) -> None:
        self._close_inputs(call)
        try:
            await self.recorder.emit(events.NodeSkipped(reason=reason), node=call.id)
        except TailraceError as error:
            self.failure = self.failure or (call.id, error)
            self.scope.cancel()
        self.done[call.id].skip()
        self._begun(call)

    async def _fail(self, call: Call, error: Exception, duration_ms: int, attempt: int) -> None:
        with anyio.CancelScope(shield=True):
            failed = events.NodeFailed(error=describe(error), duration_ms=duration_ms)
            await self._emit_if_open(failed, call, attempt)
        if self.failure is None:
            self.failure = (call.id, error)
        self.scope.cancel()

    async def _emit_if_open(self, payload: events.Payload, call: Call, attempt: int) -> None:
        """Say how a node ended, unless the log itself is what failed."""
        try:
            await self.recorder.emit(payload, node=call.id, attempt=attempt)
        except TailraceError as error:
            self.failure = self.failure or (call.id, error)

    # --- its inputs ---------------------------------------------------------------------------

    async def _values(self, call: Call) -> dict[str, Any]:
        """Wait for the inputs: single values when done, streams when their node began.

        Raises _Skipped if a condition is not met or an input will never come.
        """
        for guard in call.guards:
            case = case_of(await self._value(guard.condition), guard.cases)
            if case != guard.case:
                name = guard.condition.param or guard.condition.node
                raise _Skipped(f"{name} is {case}, not {guard.case}")
        for first, then in self.flow.orders:
            if then == call.id:
                await self.done[first].get(first)
        if call.cases:
            case = case_of(await self._value(call.inputs["condition"]), call.cases)
            taken = call.inputs.get(case)
            value = call.constants[case] if taken is None else await self._value(taken)
            return {"taken": value}
        values = dict(call.constants)
        for param, ref in call.inputs.items():
            if (call.id, param) in self.receives:
                await self.began[ref.node].wait()
                if self.done[ref.node].skipped:
                    raise _Skipped(f"it needs {ref.node}, which was skipped")
                values[param] = self.receives[call.id, param]
            else:
                values[param] = await self._value(ref)
        return values

    async def _value(self, ref: Ref) -> Any:
        if ref.node == TRIGGER:
            assert ref.param is not None
            return self.arguments[ref.param]
        return await self.done[ref.node].get(ref.node)

    def _close_inputs(self, call: Call) -> None:
        for param in call.inputs:
            if stream := self.receives.get((call.id, param)):
                stream.close()

    # --- its work -----------------------------------------------------------------------------

    async def _try(
        self, call: Call, values: dict[str, Any], attempt: int
    ) -> tuple[Any, int | None]:
        """Run one try; returns the output and, for a streaming node, how many values it gave."""
        with speaking(self.recorder, call.id, attempt):
            work = partial(self._work, call, values)
            return await within(self.clock, call.node.options.timeout_ms, work)

    async def _work(self, call: Call, values: dict[str, Any]) -> tuple[Any, int | None]:
        if call.cases:
            return values["taken"], None
        if call.mapped and call.streaming:
            return None, await self._map_stream(call, values)
        if call.mapped:
            return await self._map_list(call, values), None
        if call.streaming:
            return None, await self._stream(call, values)
        return await invoke(call.node.fn, values, cpu=call.node.options.cpu), None

    async def _stream(self, call: Call, values: dict[str, Any]) -> int:
        outlet = _Outlet(self, call)
        with contained():
            async with aclosing(call.node.fn(**values)) as generator:
                async for value in generator:
                    if not await outlet.give(value):
                        break
        outlet.end()
        return outlet.count

    async def _map_list(self, call: Call, values: dict[str, Any]) -> list[Any]:
        """Run a node for each item of a list; the results are in the items' order."""
        items = list(values[call.mapped or ""])
        results: list[Any] = [None] * len(items)
        room = anyio.Semaphore(call.node.options.concurrency)
        done = 0

        async def one(index: int) -> None:
            nonlocal done
            results[index] = await self._item(call, values, index, items[index])
            room.release()
            done += 1
            if done * 100 // len(items) > (done - 1) * 100 // len(items):
                percent, told = round(done * 100 / len(items), 2), f"{done} of {len(items)}"
                self.recorder.post(events.NodeProgress(percent=percent, message=told), node=call.id)

        async with anyio.create_task_group() as tasks:
            for index in range(len(items)):
                await room.acquire()  # before the task: a long list must not become as many tasks
                tasks.start_soon(one, index)
        return results

    async def _map_stream(self, call: Call, values: dict[str, Any]) -> int:
        """Run a node for each value of a stream; what it gives keeps the values' order."""
        outlet, concurrency = _Outlet(self, call), call.node.options.concurrency
        send, receive = anyio.create_memory_object_stream[_Slot](concurrency - 1)
        source: _Receive = values[call.mapped or ""]

        async def one(slot: _Slot, index: int, value: Any) -> None:
            slot.put(await self._item(call, values, index, value))

        async def read() -> None:
            index = 0
            async with send:
                async for value in source:
                    slot = _Slot()
                    await send.send(slot)  # waits while as many as may are on their way
                    tasks.start_soon(one, slot, index, value)
                    index += 1

        async with anyio.create_task_group() as tasks, receive:
            tasks.start_soon(read)
            async for slot in receive:
                if not await outlet.give(await slot.get(call.id)):
                    tasks.cancel_scope.cancel()
                    break
        outlet.end()
        return outlet.count

    async def _item(self, call: Call, values: dict[str, Any], index: int, item: Any) -> Any:
        """Run a mapped node for one item, with the tries that it has."""
        arguments = values | {call.mapped or "": item}
        attempt = 1
        while True:
            try:
                return await invoke(call.node.fn, arguments, cpu=call.node.options.cpu)
            except Exception as error:
                delay_ms = _retry_delay(call, attempt, error)
                if delay_ms is None:
                    raise
                words = f"item {index}: {describe(error).message}; again in {delay_ms} ms"
                warning = events.WarningEvent(code="item_retried", message=words)
                self.recorder.post(warning, node=call.id)
                await self.clock.sleep(delay_ms / 1000)
                attempt += 1


def _retry_delay(call: Call, attempt: int, error: Exception) -> int | None:
    """Milliseconds before the next try, or None if there is none."""
    options = call.node.options
    retry = options.retry
    if retry is None or attempt >= retry.attempts or not isinstance(error, options.retry_on):
        return None
    jitter = 1 + random.random() * retry.jitter  # noqa: S311 - to spread load, not a secret
    return round(retry.delay_ms * retry.backoff ** (attempt - 1) * jitter)
