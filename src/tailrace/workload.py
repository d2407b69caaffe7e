"""Runs a command as an execution of kind `workload`: its lines are events, its end is the end.

The law of this file: killing means killed. The command gets a session of its own; a cancel
sends SIGTERM to all of it and, after a grace, SIGKILL; only then is the terminal event written.
"""

import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import anyio
from anyio.abc import ByteReceiveStream, Process

from tailrace import events
from tailrace.clock import Clock, within
from tailrace.endings import Ending
from tailrace.errors import LogSealed, OutputTooLarge
from tailrace.lines import Line, LineSplitter
from tailrace.recorder import Recorder, Work

KILL_GRACE_MS = 5000
STRAGGLER_MS = 1000  # of silence, after the command's own end: what is left is a grandchild's
APPEND_LINES = 1000  # in one append: a chunk may hold more lines than a batch may events
Echo = Callable[[str, bytes], Awaitable[None]]
NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as POSIX shells report them


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command, what it gets to read, and its limits."""

    argv: Sequence[str]
    line_max_bytes: int
    output_max_bytes: int | None = None
    stdin: bytes | None = None  # what it reads; None: nothing
    inherit_stdin: bool = False


async def no_echo(source: str, chunk: bytes) -> None:
    """Its output goes nowhere but into the log."""


def command_work(command: Command, echo: Echo = no_echo) -> Work:
    """The work of a command, for `supervise`; `echo` gets its output as it comes, unchanged."""

    async def work(recorder: Recorder) -> Ending:
        given = subprocess.DEVNULL if command.stdin is None else subprocess.PIPE
        stdin = None if command.inherit_stdin else given
        try:
            # Shielded: a process whose opening was cut short would run on, and nobody has it.
            with anyio.CancelScope(shield=True):
                process = await anyio.open_process(
                    command.argv, stdin=stdin, start_new_session=True
                )
        except OSError as error:
            status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE
            message = f"{command.argv[0]}: {error.strerror}"
            return _failed(recorder, status, "command_not_started", message)
        async with process:
            await _Recording(process, recorder, command, echo).run()
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


class _Recording:
    """A process until its end: what it writes becomes events; a cancel kills it."""

    def __init__(self, process: Process, recorder: Recorder, command: Command, echo: Echo) -> None:
        self.process, self.recorder, self.command, self.echo = process, recorder, command, echo
        self.output_bytes = 0
        self.recording = 0  # chunks that were read and are on their way into the log
        self.reading = anyio.CancelScope(shield=True)  # a cancel goes to the command, not to this
        self.read = anyio.Event()

    async def run(self) -> None:
        """Read all output until the command has ended; of a killed one, its last words too."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_all)
            tasks.start_soon(self._feed)
            try:
                await self.process.wait()
            except anyio.get_cancelled_exc_class():
                await _kill(self.process, self.recorder.clock)
                raise
            finally:
                with anyio.CancelScope(shield=True):
                    await self._read_to_the_end()
                self.reading.cancel()

    async def _read_to_the_end(self) -> None:
        """Take all that the pipes still hold, until they close or stay silent.

        Silent, because a grandchild may hold them open for ever; not for a time, because a busy
        machine needs longer for a full pipe, and what is cut off then was said and is lost.
        """
        seen = -1
        while not self.read.is_set() and (self.output_bytes > seen or self.recording):
            seen = self.output_bytes
            with suppress(TimeoutError):
                await within(self.recorder.clock, STRAGGLER_MS, self.read.wait)

    async def _feed(self) -> None:
        if self.process.stdin is not None:
            with suppress(anyio.BrokenResourceError):  # it need not read it
                await self.process.stdin.send(self.command.stdin or b"")
            await self.process.stdin.aclose()

    async def _read_all(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        try:
            with self.reading:
                async with anyio.create_task_group() as pumps:
                    pumps.start_soon(self._pump, self.process.stdout, "stdout")
                    pumps.start_soon(self._pump, self.process.stderr, "stderr")
        finally:
            self.read.set()

    async def _pump(self, stream: ByteReceiveStream, source: str) -> None:
        splitter = LineSplitter(self.command.line_max_bytes)
        try:
            async for chunk in stream:
                self._count(len(chunk))
                self.recording += 1
                try:
                    await self.echo(source, chunk)
                    await self._emit_lines(splitter.feed(chunk), source)
                finally:
                    self.recording -= 1
        finally:
            with anyio.CancelScope(shield=True), suppress(LogSealed):
                await self._emit_lines(splitter.end(), source)
                await self.recorder.emit(events.LogSealed(source=source))

    def _count(self, size: int) -> None:
        self.output_bytes += size
        limit = self.command.output_max_bytes
        if limit is not None and self.output_bytes > limit:
            raise OutputTooLarge(f"It wrote more than {limit} bytes, and was stopped")

    async def _emit_lines(self, lines: list[Line], source: str) -> None:
        """A few appends for all lines of a chunk; waiting for them slows a command too fast."""
        for start in range(0, len(lines), APPEND_LINES):
            batch = lines[start : start + APPEND_LINES]
            await self.recorder.emit(*[_event(line, source) for line in batch])


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
