"""Your own code as an execution: `async with tailrace.execution("import") as run: ...`.

The law of this file: the block is the work. However it is left, its execution ends with it: by
completing, by failing with the block's exception, or cancelled with whoever cancelled it.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import anyio

from tailrace import ambient, events
from tailrace.ambient import Step, speaking
from tailrace.endings import Ending, describe
from tailrace.recorder import Recorder
from tailrace.run import Run
from tailrace.runtime import Runtime


class Reported:
    """What a block can say of itself; the functions of `tailrace` say the same from anywhere.

    `id` is the execution's; set `output` to what came of it.
    """

    log = staticmethod(ambient.log)
    emit = staticmethod(ambient.emit)
    progress = staticmethod(ambient.progress)
    chunk = staticmethod(ambient.chunk)
    usage = staticmethod(ambient.usage)
    tool_call = staticmethod(ambient.tool_call)
    flush = staticmethod(ambient.flush)

    def __init__(self, run: Run) -> None:
        self.run, self.id = run, run.id
        self.output: Any = None

    def node(self, name: str) -> AbstractAsyncContextManager[Step]:
        """Make a block a node of this execution."""
        return ambient.step(name)


class _Block:
    """The work that stands for the block: it waits for the block's end."""

    def __init__(self) -> None:
        self.scope = anyio.CancelScope()
        self.began, self.ended = anyio.Event(), anyio.Event()
        self.recorder: Recorder | None = None
        self.error: Exception | None = None
        self.output: Any = None

    async def work(self, recorder: Recorder) -> Ending:
        self.recorder = recorder
        self.began.set()
        try:
            await self.ended.wait()
        finally:
            self.scope.cancel()  # a cancel of the execution reaches the block; after it, nothing
        took = recorder.elapsed_ms()
        if self.error is not None:
            return events.ExecutionFailed(error=describe(self.error), total_duration_ms=took)
        return events.ExecutionCompleted(
            output=self.output, total_duration_ms=took, node_count=recorder.node_count
        )


@asynccontextmanager
async def execution(
    runtime: Runtime,
    name: str,
    *,
    kind: str = "task",
    input: Any = None,  # noqa: A002 - the event's own word
    workspace: str = "default",
    deadline_ms: int | None = None,
) -> AsyncIterator[Reported]:
    """Report a block as an execution.

    Raises what the block raises, and ExecutionCancelled or ExecutionTimedOut in the block's place
    if the execution was stopped from outside.
    """
    block = _Block()
    queued = events.ExecutionQueued(
        kind=kind, flow=name, workspace=workspace, input=input, deadline_ms=deadline_ms
    )
    run = await runtime.begin(queued, block.work)
    reported = Reported(run)
    try:
        with block.scope:
            await block.began.wait()
            assert block.recorder is not None
            with speaking(block.recorder):
                yield reported
    except Exception as error:
        block.error = error
        raise
    except anyio.get_cancelled_exc_class():
        with anyio.CancelScope(shield=True):
            await run.cancel(by="caller", reason="the block was cancelled")
        raise
    finally:
        block.output = reported.output
        block.ended.set()
        with anyio.CancelScope(shield=True):
            state = await run.wait()
    state.raise_for_end()
