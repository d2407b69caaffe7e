"""Plain code as executions: `@agent` and `@task`. Their nodes are learned while they run.

The law of this file: what the code yields is what watchers get, in that order: a `str` (or bytes of
one) is a piece of text, a `Result` the output, anything else a value of the output stream.

    @agent
    async def answer(question: str) -> AsyncIterator[str]:
        async with step("search"):
            found = await search(question)
        async for token in llm(question, found):
            yield token
"""

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, ParamSpec, overload

import anyio

from tailrace import events
from tailrace.ambient import chunk, speaking
from tailrace.endings import Ending
from tailrace.flow.ir import Schema
from tailrace.flow.schemas import (
    annotations,
    input_model,
    item_annotation,
    schema_of,
    validate_arguments,
)
from tailrace.recorder import Recorder, Work
from tailrace.voice import Voice

TURN_CHARS = 16_384  # of a text that is there at once, said before others have their turn

P = ParamSpec("P")


@dataclass(frozen=True, slots=True)
class Result:
    """Yielded by an agent or a task: its output."""

    value: Any


class Agent(Generic[P]):
    """A function that can be started as an execution. Made by `@agent` and `@task`."""

    def __init__(
        self,
        fn: Callable[P, object],
        *,
        kind: str,
        name: str | None = None,
        deadline_ms: int | None = None,
        queue: str = "default",
    ) -> None:
        self.fn, self.kind, self.deadline_ms, self.queue = fn, kind, deadline_ms, queue
        self.name = name or str(getattr(fn, "__name__", kind))
        hints = annotations(fn)
        self.input_model = input_model(self.name, inspect.signature(fn), hints)
        returned = hints.get("return")
        if inspect.isasyncgenfunction(fn):
            returned = item_annotation(returned)
        # Without an output schema (result unannotated or text) a stream of it is text.
        self.out_schema: Schema | None = None if returned in (None, str) else schema_of(returned)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> object:
        """Call the plain function: outside a run it says nothing."""
        return self.fn(*args, **kwargs)

    def arguments(self, value: Any) -> dict[str, Any]:
        """Validate an input and return it as arguments. Raises InvalidInput."""
        return validate_arguments(self.name, self.input_model, value)

    def work(self, arguments: dict[str, Any]) -> Work:
        """What an execution of it does, for `supervise`."""

        async def work(recorder: Recorder) -> Ending:
            with speaking(recorder) as voice:
                output, items = await _run(self.fn, arguments, recorder)
                output = voice.settle(output)
                if isinstance(output, str) and self.out_schema is None and not voice.text_length:
                    await _tell(output, voice)  # for who follows the text of it
            nodes = recorder.node_count
            took = recorder.elapsed_ms()
            count = {} if items is None else {"item_count": items}
            return events.ExecutionCompleted(
                output=output, total_duration_ms=took, node_count=nodes, **count
            )

        return work


async def _run(
    fn: Callable[..., Any], arguments: dict[str, Any], recorder: Recorder
) -> tuple[Any, int | None]:
    if inspect.isasyncgenfunction(fn):
        return await _stream(fn(**arguments), recorder)
    if inspect.iscoroutinefunction(fn):
        result = await fn(**arguments)
    else:
        result = await anyio.to_thread.run_sync(partial(fn, **arguments))
    return (result.value if isinstance(result, Result) else result), None


async def _tell(text: str, voice: Voice) -> None:
    """Say a whole text: in turns, for the look for secrets takes 0.4 s for a megabyte."""
    for start in range(0, len(text), TURN_CHARS):
        voice.text(text[start : start + TURN_CHARS])
        await voice.recorder.room()


async def _stream(
    generator: AsyncGenerator[Any, None], recorder: Recorder
) -> tuple[Any, int | None]:
    output, items = None, 0
    async with aclosing(generator):
        async for value in generator:
            if isinstance(value, Result):
                output = value.value
            elif isinstance(value, str | bytes):
                chunk(value)
            else:
                recorder.post(events.OutputItem(index=items, value=value))
                items += 1
            await recorder.room()
    return output, items or None


@overload
def agent(fn: Callable[P, object], /) -> Agent[P]: ...
@overload
def agent(
    *, name: str | None = None, deadline_ms: int | None = None, queue: str = "default"
) -> Callable[[Callable[P, object]], Agent[P]]: ...
def agent(fn: Callable[..., object] | None = None, /, **options: Any) -> Any:
    """Make a function an agent: start it by name, and watch it speak.

    An async generator streams: text as `llm.chunk`, other values as `output.item`, and `Result(x)`
    sets the output. An `async def` is awaited, a plain `def` runs in a worker thread; what they
    return is the output. `queue` is where it waits for a worker, if there are any.
    """
    return _decorate("agent", fn, options)


@overload
def task(fn: Callable[P, object], /) -> Agent[P]: ...
@overload
def task(
    *, name: str | None = None, deadline_ms: int | None = None, queue: str = "default"
) -> Callable[[Callable[P, object]], Agent[P]]: ...
def task(fn: Callable[..., object] | None = None, /, **options: Any) -> Any:
    """Make a function a task; in all else as `agent`."""
    return _decorate("task", fn, options)


def _decorate(kind: str, fn: Callable[..., object] | None, options: dict[str, Any]) -> Any:
    return Agent(fn, kind=kind, **options) if fn else lambda fn: Agent(fn, kind=kind, **options)
