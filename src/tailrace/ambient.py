"""What code inside a run can say, from anywhere in it: log, emit, progress, chunk, tool, step.

The law of this file: inside a run each call becomes an event of that run, in the order of the
calls; outside of one it does nothing, so that code which speaks can be tested without one.

Nothing here waits for the store: events are in the log before anything that the run does later is
(its next node, its end), and `await flush()` waits for that. A run that speaks faster than its
store takes it is refused (`Overloaded`) at OUTBOX_MAX_EVENTS, never silently cut.
"""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from contextvars import ContextVar
from typing import Any

import anyio

from tailrace import events
from tailrace.clock import elapsed_ms
from tailrace.endings import describe
from tailrace.errors import Overloaded
from tailrace.lines import lines_of
from tailrace.recorder import Recorder
from tailrace.voice import Voice

_LEVELS = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"))


_voice: ContextVar[Voice | None] = ContextVar("tailrace_voice", default=None)


def speaker() -> str | None:
    """The execution that runs here, if one does."""
    voice = _voice.get()
    return voice.recorder.execution_id if voice is not None else None


@contextmanager
def speaking(
    recorder: Recorder, node: str | None = None, attempt: int | None = None
) -> Iterator[Voice]:
    """Let what is called in this block speak for a run, or for a node of it."""
    voice = Voice(recorder, node, attempt)
    token = _voice.set(voice)
    try:
        yield voice
    finally:
        _voice.reset(token)
        voice.end()


def log(line: str, *, level: str = "info", source: str = "run") -> None:
    """Write a line into the run's log; a text with line breaks becomes several lines."""
    if voice := _voice.get():
        for part in lines_of(line):
            voice.say(events.LogLine(line=part, level=level, source=source))


def emit(name: str, **data: Any) -> None:
    """Write an event of your own: `emit("order.paid", total=3)` is `custom.order.paid`.

    Raises InvalidEvent for a name or data that no event can have.
    """
    if voice := _voice.get():
        voice.custom(name, data)


def idempotency_key(*parts: object) -> str:
    """A key for an effect that must happen once: the same in every attempt at this very step.

        await payments.charge(amount, idempotency_key=idempotency_key())

    A worker may die between an effect and the event that tells of it; then the step runs again,
    with the same key. `parts` tell the effects of one step apart, such as the items of a map.
    Outside a run there is only what you name.
    """
    voice = _voice.get()
    of = [] if voice is None else [voice.recorder.execution_id, voice.node or "run"]
    return "/".join([*of, *map(str, parts)])


def progress(
    fraction: float | None = None, message: str | None = None, *, eta_ms: int | None = None
) -> None:
    """Say how far it is: 0.4 is 40 %. Inside a node it is the node's progress."""
    voice = _voice.get()
    if voice is None:
        return
    percent = None if fraction is None else round(min(max(fraction, 0.0), 1.0) * 100, 2)
    if voice.node is not None:
        voice.say(events.NodeProgress(percent=percent, message=message))
    else:
        voice.say(events.ExecutionProgress(percent=percent, message=message, eta_ms=eta_ms))


def chunk(text: str | bytes) -> None:
    """Write a piece of generated text, cut anywhere: bytes even within a character (UTF-8).

    What may be the beginning of a secret or of a character waits for the next piece.
    """
    if voice := _voice.get():
        voice.text(text)


def partial_output(value: Any) -> None:
    """Say how the output under construction looks by now: the changes become `structured.delta`.

    Applied in order, from null on, their patches make the output. A text in it that grows is told
    again when it has grown by an eighth, and at the end.
    """
    if voice := _voice.get():
        voice.structured(value)


def usage(input_tokens: int | None = None, output_tokens: int | None = None) -> None:
    """Say how many tokens a model used."""
    if voice := _voice.get():
        voice.say(events.LlmUsage(input_tokens=input_tokens, output_tokens=output_tokens))


class ToolUse:
    """A call of a tool, until the block ends: set `output`."""

    output: Any = None


class ToolCall(AbstractContextManager[ToolUse], AbstractAsyncContextManager[ToolUse]):
    """A block that `tool_call` made: `async with` does what `with` does, as the other blocks have it."""

    def __init__(self, block: AbstractContextManager[ToolUse]) -> None:
        self._block = block

    def __enter__(self) -> ToolUse:
        return self._block.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._block.__exit__(*error)

    async def __aenter__(self) -> ToolUse:
        return self.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        self.__exit__(*error)


def tool_call(name: str, input: Any = None) -> ToolCall:  # noqa: A002 - the event's own word
    """Tell of a tool's call, and of its result when the block ends.

        with tool_call("search", {"query": q}) as call:
            call.output = await search(q)

    An exception is told as the result's error, and goes on.
    """
    return ToolCall(_told(name, input))


@contextmanager
def _told(name: str, given: Any) -> Iterator[ToolUse]:
    use, voice = ToolUse(), _voice.get()
    if voice is None:
        yield use
        return
    voice.tool_calls += 1
    call_id = f"{voice.node or 'run'}-{voice.tool_calls}"
    clock = voice.recorder.clock
    began = clock.monotonic()
    voice.say(events.ToolCall(call_id=call_id, name=name, input=given))
    error: events.Error | None = None
    try:
        yield use
    except Exception as raised:
        error = describe(raised)
        raise
    finally:
        result: dict[str, Any] = {"output": use.output} if error is None else {"error": error}
        took = elapsed_ms(clock, began)
        voice.say(events.ToolResult(call_id=call_id, name=name, duration_ms=took, **result))


class Step:
    """A step of a run, until the block ends: set `output` for its summary."""

    output: Any = None


@asynccontextmanager
async def step(name: str) -> AsyncIterator[Step]:
    """Make a block a node of the run; a second one of that name is `name_2`.

    An exception ends the node as failed and goes on, a cancellation as cancelled. Nodes of plain
    code are learned live: each appears in the graph when it starts.
    """
    made, outer = Step(), _voice.get()
    if outer is None:
        yield made
        return
    recorder = outer.recorder
    node, began = recorder.new_node(name), recorder.clock.monotonic()
    await recorder.emit(events.NodeStarted(), node=node)
    end: events.Payload | None = None
    try:
        with speaking(recorder, node):
            yield made
    except Exception as error:
        took = elapsed_ms(recorder.clock, began)
        end = events.NodeFailed(error=describe(error), duration_ms=took)
        raise
    except anyio.get_cancelled_exc_class():
        end = events.NodeCancelled(duration_ms=elapsed_ms(recorder.clock, began))
        raise
    finally:
        if end is None:
            took = elapsed_ms(recorder.clock, began)
            told = None if made.output is None else recorder.summary(made.output)
            end = events.NodeCompleted(duration_ms=took, output_summary=told)
        recorder.post(end, node=node)


async def flush() -> None:
    """Wait until what was said is in the log."""
    if voice := _voice.get():
        await voice.recorder.flush()


class LogHandler(logging.Handler):
    """Takes what is logged by the standard library's `logging` inside a run into its log."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; it never raises, as logging promises."""
        voice = _voice.get()
        if voice is None or record.name.partition(".")[0] == "tailrace":
            return
        try:
            level = next((name for least, name in _LEVELS if record.levelno >= least), "debug")
            for line in lines_of(self.format(record)):
                voice.say(events.LogLine(line=line, level=level, source=record.name))
        except Overloaded:
            voice.recorder.say_refused()
        except Exception:  # noqa: BLE001 - a log line must not end the run that writes it
            self.handleError(record)
