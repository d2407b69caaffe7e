"""Runs a flow: nodes as tasks, values through slots, streams through bounded edges.

The law of this file: append, then act. A node's start is in the log before it runs, its end
before anything that depends on it begins. Every task lives in one task group, so however the
flow ends, nothing of it is left.

- A node runs when all its inputs are there: parallel branches need no declaration.
- A streaming node hands each value to every consumer through an edge of `buffer` items and
  waits when one is behind (backpressure); values of a streaming capture go to the log as
  `output.item`, each acknowledged before the next is asked for.
- The first node that fails ends the flow: the others are cancelled, then the flow has failed.

This module never imports the hub: they meet at the log.
"""

import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from itertools import chain
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from pydantic_core import PydanticSerializationError, to_json

from tailrace import events
from tailrace.clock import Clock, elapsed_ms, within
from tailrace.errors import TailraceError
from tailrace.flow.build import Call, Flow
from tailrace.flow.ir import TRIGGER
from tailrace.recorder import Ending, Recorder, describe

OUTPUT_MAX_BYTES = 262_144  # a larger output is summarised: the terminal event stays a small one
PREVIEW_CHARS = 200

_Send = MemoryObjectSendStream[Any]
_Receive = MemoryObjectReceiveStream[Any]


def flow_work(
    flow: Flow[Any], arguments: dict[str, Any]
) -> Callable[[Recorder], Awaitable[Ending]]:
    """The work of a flow, for `supervise`."""

    async def work(recorder: Recorder) -> Ending:
        return await _Running(flow, arguments, recorder).run()

    return work


def summary(value: Any) -> events.OutputSummary:
    """What an output looks like: its keys, its size and its beginning as JSON."""
    keys = [str(key) for key in value] if isinstance(value, dict) else []
    if fields := getattr(type(value), "model_fields", None):
        keys = list(fields)
    try:
        text = to_json(value, inf_nan_mode="null", fallback=_opaque)
    except (PydanticSerializationError, ValueError, RecursionError):
        text = to_json(_opaque(value))
    preview = text[: PREVIEW_CHARS * 4].decode(errors="ignore")[:PREVIEW_CHARS]
    return events.OutputSummary(keys=keys[:50], size_bytes=len(text), preview=preview)


def _opaque(value: Any) -> str:
    return f"<{type(value).__name__}>"  # between nodes any object may pass; only its name is told


class _Slot:
    """A value that will come, once."""

    def __init__(self) -> None:
        self.ready = anyio.Event()
        self.value: Any = None

    def put(self, value: Any) -> None:
        self.value = value
        self.ready.set()

    async def get(self) -> Any:
        await self.ready.wait()
        return self.value


class _Running:
    """One run of one flow."""

    def __init__(self, flow: Flow[Any], arguments: dict[str, Any], recorder: Recorder) -> None:
        self.flow, self.arguments, self.recorder = flow, arguments, recorder
        self.clock: Clock = recorder.clock
        self.done = {call.id: _Slot() for call in flow.calls}
        self.began = {call.id: anyio.Event() for call in flow.calls}
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
        if self.failure:
            node, error = self.failure
            return events.ExecutionFailed(
                error=describe(error, node), total_duration_ms=self.recorder.elapsed_ms()
            )
        return self._completed()

    def _completed(self) -> Ending:
        fields: dict[str, Any] = {
            "total_duration_ms": self.recorder.elapsed_ms(),
            "node_count": self.completed,
        }
        if self.items is not None:
            return events.ExecutionCompleted(output=None, item_count=self.items, **fields)
        output = self.done[self.flow.capture].value
        size = summary(output)
        if size.size_bytes > OUTPUT_MAX_BYTES:
            return events.ExecutionCompleted(output=None, output_summary=size, **fields)
        return events.ExecutionCompleted(output=output, **fields)

    def _open_edges(self) -> None:
        for edge in self.flow.ir.edges:
            if edge.buffer is not None and edge.param is not None:
                send, receive = anyio.create_memory_object_stream[Any](edge.buffer)
                self.sends[edge.from_].append(send)
                self.receives[edge.to, edge.param] = receive

    async def _node(self, call: Call) -> None:
        values = await self._values(call)
        started = self.clock.monotonic()
        attempt = 1
        try:
            while True:
                await self.recorder.emit(events.NodeStarted(), node=call.id, attempt=attempt)
                self.began[call.id].set()
                try:
                    timeout_ms = call.node.options.timeout_ms
                    value, items = await within(
                        self.clock, timeout_ms, partial(self._invoke, call, values)
                    )
                    break
                except Exception as error:
                    delay_ms = _retry_delay(call, attempt)
                    if delay_ms is None:
                        raise
                    retrying = events.NodeRetrying(error=describe(error), delay_ms=delay_ms)
                    await self.recorder.emit(retrying, node=call.id, attempt=attempt)
                    await self.clock.sleep(delay_ms / 1000)
                    attempt += 1
            end = {"duration_ms": elapsed_ms(self.clock, started)}
            await self._complete(call, value, items, end, attempt)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                cancelled = events.NodeCancelled(duration_ms=elapsed_ms(self.clock, started))
                await self._emit_if_open(cancelled, call, attempt)
            raise
        except Exception as error:  # noqa: BLE001 - the flow fails with it
            await self._fail(call, error, elapsed_ms(self.clock, started), attempt)
        finally:
            self._close_inputs(call)

    async def _complete(
        self, call: Call, value: Any, items: int | None, end: dict[str, Any], attempt: int
    ) -> None:
        if items is None:
            completed = events.NodeCompleted(output_summary=summary(value), **end)
        else:
            completed = events.NodeCompleted(item_count=items, **end)
        await self.recorder.emit(completed, node=call.id, attempt=attempt)
        self.completed += 1
        if call.id == self.flow.capture:
            self.items = items
        self.done[call.id].put(value)

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

    async def _values(self, call: Call) -> dict[str, Any]:
        """Wait for the inputs: single values when done, streams when their node began."""
        for first, then in self.flow.orders:
            if then == call.id:
                await self.done[first].get()
        values = dict(call.constants)
        for param, ref in call.inputs.items():
            if ref.node == TRIGGER:
                assert ref.param is not None
                values[param] = self.arguments[ref.param]
            elif (call.id, param) in self.receives:
                await self.began[ref.node].wait()
                values[param] = self.receives[call.id, param]
            else:
                values[param] = await self.done[ref.node].get()
        return values

    async def _invoke(self, call: Call, values: dict[str, Any]) -> tuple[Any, int | None]:
        """Run one try; returns the output and, for a streaming node, how many values it gave."""
        fn = call.node.fn
        if call.node.streaming:
            return None, await self._stream(call, fn(**values))
        if inspect.iscoroutinefunction(fn):
            return await fn(**values), None
        # A thread cannot be interrupted: a cancel waits for it, so that nothing is left running.
        return await anyio.to_thread.run_sync(partial(fn, **values)), None

    async def _stream(self, call: Call, generator: AsyncGenerator[Any, None]) -> int:
        capture = call.id == self.flow.capture
        wanted = set(self.sends[call.id])
        count = 0
        async with aclosing(generator):
            async for value in generator:
                if capture:
                    item = events.OutputItem(index=count, value=value)
                    await self.recorder.emit(item, node=call.id)
                for send in tuple(wanted):
                    try:
                        await send.send(value)
                    except anyio.BrokenResourceError:
                        wanted.discard(send)  # that consumer has had enough
                count += 1
                if self.sends[call.id] and not wanted and not capture:
                    break
        # Only here: after an error the consumers must not take the end for a good one.
        for send in self.sends[call.id]:
            send.close()
        return count

    def _close_inputs(self, call: Call) -> None:
        for param in call.inputs:
            if stream := self.receives.get((call.id, param)):
                stream.close()


def _retry_delay(call: Call, attempt: int) -> int | None:
    """Milliseconds before the next try, or None if there is none."""
    retry = call.node.options.retry
    if retry is None or attempt >= retry.attempts:
        return None
    return round(retry.delay_ms * retry.backoff ** (attempt - 1))
