"""Runs a command as an execution of kind `workload`: its lines are events, its end is the end.

The law of this file: killing means killed. The command gets a session of its own; a cancel
sends SIGTERM to all of it and, after a grace, SIGKILL; only then is the terminal event written.
"""

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import anyio
from anyio.abc import ByteReceiveStream, Process

from tailrace import events
from tailrace.clock import Clock, within
from tailrace.endings import Ending
from tailrace.errors import LogSealed
from tailrace.lines import Line, LineSplitter
from tailrace.recorder import Recorder, Work

KILL_GRACE_MS = 5000
STRAGGLER_MS = 1000  # how long output of a grandchild is awaited after the command's own end
APPEND_LINES = 1000  # in one append: a chunk may hold more lines than a batch may events
Echo = Callable[[str, bytes], Awaitable[None]]
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as POSIX shells report them


def command_work(
    command: Sequence[str], *, line_max_bytes: int, echo: Echo, inherit_stdin: bool = False
) -> Work:
    """The work of a command, for `supervise`; `echo` gets its output as it comes, unchanged."""

    async def work(recorder: Recorder) -> Ending:
        stdin = None if inherit_stdin else subprocess.DEVNULL
        try:
            process = await anyio.open_process(command, stdin=stdin, start_new_session=True)
        except OSError as error:
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            message = f"{command[0]}: {error.strerror}"
            return _failed(recorder, status, "command_not_started", message)
        async with process:
            await _record(process, recorder, line_max_bytes, echo)
        status = exit_status(process.returncode or 0)
        if status:
            return _failed(recorder, status, "exit_status", f"exit status {status}")
        return events.ExecutionCompleted(
            output={"exit_status": 0}, total_duration_ms=recorder.elapsed_ms()
        )

    return work


def exit_status(returncode: int) -> int:
    """A return code as shells tell it: 128 + n for a command that signal n killed."""
    return 128 - returncode if returncode < 0 else returncode


def _failed(recorder: Recorder, status: int, code: str, message: str) -> Ending:
    return events.ExecutionFailed(
        error=events.Error(type=code, message=message),
        exit_status=status,
        total_duration_ms=recorder.elapsed_ms(),
    )


async def _record(process: Process, recorder: Recorder, line_max_bytes: int, echo: Echo) -> None:
    """Read all output until the command has ended; a cancel kills it and reads its last words."""
    assert process.stdout is not None
    assert process.stderr is not None
    streams = {"stdout": process.stdout, "stderr": process.stderr}
    reading = anyio.CancelScope(shield=True)  # a cancel goes to the command, not to its readers
    read = anyio.Event()

    async def read_all() -> None:
        with reading:
            async with anyio.create_task_group() as pumps:
                for source, stream in streams.items():
                    splitter = LineSplitter(line_max_bytes)
                    pumps.start_soon(_pump, stream, source, splitter, recorder, echo)
        read.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read_all)
        try:
            await process.wait()
        except anyio.get_cancelled_exc_class():
            await _kill(process, recorder.clock)
            raise
        finally:
            with anyio.CancelScope(shield=True), suppress(TimeoutError):
                await within(recorder.clock, STRAGGLER_MS, read.wait)
            reading.cancel()


async def _pump(
    stream: ByteReceiveStream, source: str, splitter: LineSplitter, recorder: Recorder, echo: Echo
) -> None:
    try:
        async for chunk in stream:
            await echo(source, chunk)
            await _emit_lines(splitter.feed(chunk), source, recorder)
    finally:
        with anyio.CancelScope(shield=True), suppress(LogSealed):
            await _emit_lines(splitter.end(), source, recorder)
            await recorder.emit(events.LogSealed(source=source))


async def _emit_lines(lines: list[Line], source: str, recorder: Recorder) -> None:
    """A few appends for all lines of a chunk; waiting for them slows a command too fast."""
    for start in range(0, len(lines), APPEND_LINES):
        batch = lines[start : start + APPEND_LINES]
        await recorder.emit(*[_event(line, source) for line in batch])


def _event(line: Line, source: str) -> events.LogLine:
    if line.truncated:
        return events.LogLine(line=line.text, source=source, truncated=True)
    return events.LogLine(line=line.text, source=source)


async def _kill(process: Process, clock: Clock) -> None:
    """End the whole process group: first politely, then for certain."""
    with anyio.CancelScope(shield=True):
        _signal_group(process, signal.SIGTERM)
        with suppress(TimeoutError):
            await within(clock, KILL_GRACE_MS, process.wait)
        _signal_group(process, signal.SIGKILL)
        await process.wait()


def _signal_group(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
