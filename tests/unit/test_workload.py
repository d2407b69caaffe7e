"""Commands as executions: real processes, their output, their end, and killing them."""

import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.abc import Process

from tailrace import Event, errors
from tailrace.events import ExecutionQueued
from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.testing.clock import settle
from tailrace.workload import Command, command_work, exit_status


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    async with Runtime(Settings(store="memory:")) as opened:
        yield opened


async def start(runtime: Runtime, *command: str, line_max_bytes: int = 65_536) -> Run:
    work = command_work(Command(argv=command, line_max_bytes=line_max_bytes))
    return await runtime.begin(ExecutionQueued(kind="workload", flow=command[0]), work)


async def events_of(run: Run) -> list[Event]:
    return [event async for event in run.follow()]


def said(events: list[Event], source: str) -> list[str]:
    lines = [e.data for e in events if e.type == "log.line"]
    return [str(data["line"]) for data in lines if data["source"] == source]


async def test_lines_have_their_source_and_the_end_its_status(runtime: Runtime) -> None:
    run = await start(runtime, "sh", "-c", "echo a; echo b >&2; echo c; exit 3")
    events = await events_of(run)
    assert said(events, "stdout") == ["a", "c"]
    assert said(events, "stderr") == ["b"]
    sealed = [event.data["source"] for event in events if event.type == "log.sealed"]
    assert sorted(sealed) == ["stderr", "stdout"]
    assert events[-1].type == "execution.failed"
    assert events[-1].data["exit_status"] == 3


async def test_a_good_end_completes(runtime: Runtime) -> None:
    run = await start(runtime, "true")
    assert await run == {"exit_status": 0}


async def test_output_comes_unchanged_and_while_it_runs(runtime: Runtime) -> None:
    passed: list[tuple[str, bytes]] = []

    async def keep(source: str, chunk: bytes) -> None:
        passed.append((source, chunk))

    code = "import sys; sys.stdout.buffer.write(b'a\\r\\n\\xff\\x1b[31mred'); sys.stdin.read()"
    work = command_work(Command(argv=[sys.executable, "-c", code], line_max_bytes=1000), keep)
    run = await runtime.begin(ExecutionQueued(kind="workload", flow="x"), work)
    events = await events_of(run)
    assert b"".join(chunk for _, chunk in passed) == b"a\r\n\xff\x1b[31mred"
    assert said(events, "stdout") == ["a", "\ufffd\x1b[31mred"]


async def test_a_line_over_the_limit_is_cut_and_marked(runtime: Runtime) -> None:
    code = "print('x' * 10_000_000); print('short')"
    events = await events_of(await start(runtime, sys.executable, "-c", code, line_max_bytes=100))
    lines = [event.data for event in events if event.type == "log.line"]
    assert lines[0] == {"line": "x" * 100, "source": "stdout", "truncated": True}
    assert lines[1] == {"line": "short", "source": "stdout"}


async def test_many_lines_come_whole_and_in_order(runtime: Runtime) -> None:
    events = await events_of(await start(runtime, "seq", "1", "50000"))
    assert said(events, "stdout") == [str(number) for number in range(1, 50_001)]


async def test_a_command_that_does_not_exist_fails_as_in_a_shell(runtime: Runtime) -> None:
    events = await events_of(await start(runtime, "no-such-command"))
    assert events[-1].data["exit_status"] == 127
    assert "no-such-command" in events[-1].data["error"]["message"]


async def test_a_file_that_is_no_program_fails_as_in_a_shell(runtime: Runtime) -> None:
    events = await events_of(await start(runtime, "/etc/passwd"))
    assert events[-1].data["exit_status"] == 126


async def test_a_command_killed_by_a_signal_fails_with_its_number(runtime: Runtime) -> None:
    events = await events_of(await start(runtime, "sh", "-c", "kill -9 $$"))
    assert events[-1].data["exit_status"] == 137


def test_statuses_are_those_of_shells() -> None:
    assert [exit_status(code) for code in (0, 3, -9, -15)] == [0, 3, 137, 143]


async def first_line(run: Run) -> str:
    async for event in run.follow():
        if event.type == "log.line":
            return str(event.data["line"])
    raise AssertionError("it said nothing")


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_cancel_kills_the_whole_group_and_keeps_its_last_words(runtime: Runtime) -> None:
    script = "trap 'echo bye; exit 0' TERM; sleep 1000 & echo $!; wait"
    run = await start(runtime, "sh", "-c", script)
    grandchild = int(await first_line(run))
    assert alive(grandchild)
    await run.cancel(by="me")
    events = await events_of(run)
    assert events[-1].type == "execution.cancelled"
    assert said(events, "stdout")[1:] == ["bye"]
    await gone(grandchild)


async def gone(pid: int) -> None:
    while alive(pid):  # its new parent has to reap it
        await anyio.lowlevel.checkpoint()


async def test_a_command_that_ignores_the_polite_signal_is_killed(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace.workload.KILL_GRACE_MS", 100)
    run = await start(runtime, "sh", "-c", "trap '' TERM; echo $$; while true; do sleep 1; done")
    pid = int(await first_line(run))
    await run.cancel()
    assert (await run.wait()).status == "cancelled"
    await gone(pid)


async def test_a_grandchild_that_keeps_the_pipe_does_not_keep_the_execution(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tailrace.workload.STRAGGLER_MS", 100)
    run = await start(runtime, "sh", "-c", "sleep 1000 & echo $!; exit 0")
    pid = int(await first_line(run))
    try:
        state = await run.wait()
        assert state.status == "completed"
    finally:
        os.kill(pid, 9)


# --- workloads: commands by name ----------------------------------------------------------------


@pytest.fixture
async def allowing() -> AsyncIterator[Runtime]:
    settings = Settings(store="memory:", workload_output_max_bytes=10_000, workload_timeout_s=60)
    cat = [sys.executable, "-c", "import sys; print(sys.stdin.read())"]
    workloads = {"cat": cat, "yes": ["yes"], "deaf": ["sleep", "0"], "sleep": ["sleep", "60"]}
    async with Runtime(settings, workloads=workloads) as opened:
        yield opened


async def test_a_workload_reads_its_input_as_json(allowing: Runtime) -> None:
    run = await allowing.start_workload("cat", {"n": 1})
    assert said(await events_of(run), "stdout") == ['{"n":1}']
    assert said(await events_of(await allowing.start_workload("cat")), "stdout") == [""]
    big = await allowing.start_workload("deaf", "x" * 1_000_000)  # it ends without reading it
    assert (await big.wait()).status == "completed"


async def test_a_name_that_was_not_allowed_is_refused(allowing: Runtime) -> None:
    with pytest.raises(errors.WorkloadNotFound, match="cat, deaf"):
        await allowing.start_workload("rm")


async def test_one_that_writes_too_much_is_stopped(allowing: Runtime) -> None:
    run = await allowing.start_workload("yes")
    state = await run.wait()
    assert state.status == "failed"
    assert (state.error or {})["type"] == "output_too_large"


async def test_one_that_takes_too_long_is_stopped(allowing: Runtime) -> None:
    run = await allowing.start_workload("sleep", deadline_ms=50)
    assert (await run.wait()).status == "timed_out"
    assert (await events_of(run))[0].data["deadline_ms"] == 50
    unlimited = await allowing.start_workload("sleep", deadline_ms=10_000_000)
    assert (await anext(aiter(unlimited.follow()))).data["deadline_ms"] == 60_000
    await unlimited.cancel()
    assert (await unlimited.wait()).status == "cancelled"


async def test_one_that_is_cancelled_while_it_begins_is_killed(
    allowing: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Process] = []
    really, go_on = anyio.open_process, anyio.Event()

    async def slowly(*command: Any, **options: Any) -> Process:
        opened.append(await really(*command, **options))
        await go_on.wait()
        return opened[0]

    monkeypatch.setattr(anyio, "open_process", slowly)
    run = await allowing.start_workload("sleep")
    while not opened:
        await anyio.lowlevel.checkpoint()
    await run.cancel()
    await settle()
    go_on.set()
    assert (await run.wait()).status == "cancelled"
    assert opened[0].returncode is not None
