"""Streams on a bare transport: each event once and in order, whatever the socket does."""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace import Settings
from tailrace.errors import StoreError
from tailrace.events import Record
from tailrace.http.direct import LAST_CHUNK, Direct
from tailrace.http.faces import EVENTS, Face, Words
from tailrace.hub import Hub
from tailrace.log.base import EventLog
from tailrace.log.memory import MemoryLog
from tailrace.positions import Position
from tailrace.runtime import Runtime
from tailrace.tail import HOT_BYTES
from tailrace.testing import FakeClock
from tailrace.testing.clock import settle
from tailrace.testing.contract.tools import begin, ended, line


class Socket(asyncio.Transport):
    """A transport whose buffer is full when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = False
        self.left = 0  # in its buffer

    def get_write_buffer_size(self) -> int:
        return self.left

    def write(self, data: Any) -> None:
        assert not self.closed, "written after its end"
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True

    def is_closing(self) -> bool:
        return self.closed

    def ids(self) -> list[int]:
        return [int(number) for number in re.findall(rb"^id: (\d+)$", self.written, re.MULTILINE)]

    def told(self) -> list[int]:
        """The ids that came and those that were said to be missing, in their order."""
        found = re.findall(
            rb'^id: (\d+)$|"data":{"from":(\d+),"to":(\d+)', self.written, re.MULTILINE
        )
        numbers: list[int] = []
        for came, first, last in found:
            numbers += [int(came)] if came else range(int(first), int(last) + 1)
        return numbers


async def stream(
    hub: Hub, after: int = 0, *, follow: bool = True, batch_s: float = 0, face: Face = EVENTS
) -> tuple[Direct, Socket]:
    runtime = Runtime(Settings(store="memory:"), log=hub.log, clock=hub.clock)
    words = Words(runtime, face, "X1")
    watcher = await hub.open("X1", Position(after) if after else None)
    made, socket = Direct(hub, watcher, words, follow=follow, batch_s=batch_s), Socket()
    made.connections = {made}
    made.begin(socket)
    return made, socket


async def test_a_replay_is_not_paced_and_what_comes_is() -> None:
    clock = FakeClock()
    async with MemoryLog() as log, anyio.create_task_group() as tasks:
        hub = Hub(log, clock, page=5, ring=4)
        tasks.start_soon(hub.run)
        await settle()
        await begin(log)
        await log.append("X1", [line(n) for n in range(22)])
        _, socket = await stream(hub, batch_s=60)
        await settle(100)
        assert socket.ids() == list(range(1, 24))
        await log.append("X1", [line("one")])
        await settle(50)
        await log.append("X1", [line("two")])
        await settle(50)
        assert socket.ids()[-1] < 25  # it waits for company
        await clock.advance(61)
        await settle(50)
        assert socket.ids() == list(range(1, 26))
        tasks.cancel_scope.cancel()


STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 6)),
    st.tuples(st.just("join"), st.integers(0, 40)),
    st.tuples(st.just("full"), st.integers(0, 9)),
    st.tuples(st.just("drained"), st.integers(0, 9)),
    st.tuples(st.just("turn"), st.integers(0, 3)),
    st.tuples(st.just("trim"), st.integers(0, 40)),
)


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEP, max_size=60))
def test_every_stream_gets_each_event_once_in_order(steps: Sequence[tuple[str, int]]) -> None:
    """Streams that join anywhere, and whose clients read when they like."""
    anyio.run(_interleave, steps)


async def _interleave(steps: Sequence[tuple[str, int]]) -> None:
    async with MemoryLog() as log, anyio.create_task_group() as tasks:
        hub = Hub(log, FakeClock(), page=5, ring=4)
        tasks.start_soon(hub.run)
        await settle()
        await begin(log)
        head, streams, starts = 1, list[tuple[Direct, Socket]](), list[int]()
        for kind, number in steps:
            if kind == "append":
                await log.append("X1", [line(n) for n in range(number)])
                head += number
            elif kind == "join":
                streams.append(await stream(hub, min(number, head)))
                starts.append(streams[-1][0]._watcher.opening.after)
            elif kind == "trim":
                await log.trim("X1", number)
            elif kind == "turn":
                await settle(number)
            elif streams:
                made = streams[number % len(streams)][0]
                made.pause_writing() if kind == "full" else made.resume_writing()
        await log.append("X1", [ended()])
        for made, _ in streams:
            made.resume_writing()
        await settle(50)
        for (_, socket), start in zip(streams, starts, strict=True):
            assert socket.told() == list(range(start + 1, head + 2))
            assert socket.closed
            assert socket.written.endswith(LAST_CHUNK)
            assert socket.written.count(LAST_CHUNK) == 1
        tasks.cancel_scope.cancel()


@pytest.fixture
async def log() -> Any:
    async with MemoryLog() as opened:
        await begin(opened)
        yield opened


async def test_a_full_socket_costs_a_position(log: EventLog, clock: FakeClock) -> None:
    hub = Hub(log, clock, ring=4)
    made, socket = await stream(hub, 1)
    made.pause_writing()
    for _ in range(100):
        await log.append("X1", [line("x" * 1000)])
    await settle()
    assert socket.written == b""
    assert hub.hot_bytes < 20_000  # not the hundred kilobytes that it has not taken


async def test_the_hot_tail_is_empty_where_all_are_up_to_date(
    log: EventLog, clock: FakeClock
) -> None:
    hub = Hub(log, clock)
    _, socket = await stream(hub, 1)
    for _ in range(100):
        await log.append("X1", [line("x" * 1000)])
        await settle()
    assert len(socket.ids()) == 100
    assert hub.hot_bytes < 3000


async def test_all_tails_together_have_a_bound(log: EventLog, clock: FakeClock) -> None:
    hub = Hub(log, clock)
    hub.hot_bytes = HOT_BYTES  # as if others held that much
    made, socket = await stream(hub, 1)
    made.pause_writing()
    await log.append("X1", [line("x" * 1000)])
    await settle()
    assert hub.hot_bytes == HOT_BYTES
    async with anyio.create_task_group() as tasks:  # and it reads the store instead
        tasks.start_soon(hub.run)
        await settle()
        made.resume_writing()
        await settle(20)
        tasks.cancel_scope.cancel()
    assert socket.ids() == [2]


async def test_who_catches_up_together_reads_the_store_once(
    log: EventLog, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(log, clock, page=10)
    for _ in range(9):
        await log.append("X1", [line(n) for n in range(10)])
    reads: list[int] = []
    real = log.read

    async def counted(execution_id: str, after: int, limit: int) -> Any:
        reads.append(after)
        return await real(execution_id, after, limit)

    monkeypatch.setattr(log, "read", counted)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        await settle()
        sockets = [(await stream(hub))[1] for _ in range(50)]
        await settle(1000)
        tasks.cancel_scope.cancel()
    assert all(socket.ids() == list(range(1, 92)) for socket in sockets)
    assert reads == list(range(0, 100, 10))


async def test_a_store_that_fails_cuts_the_stream_without_an_end(
    log: EventLog,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = Hub(log, clock)

    async def broken(*_: object) -> Any:
        raise StoreError("the disk is gone")

    monkeypatch.setattr(log, "read", broken)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        await settle()
        made, socket = await stream(hub)
        await settle(20)
        tasks.cancel_scope.cancel()
    assert socket.aborted
    assert LAST_CHUNK not in socket.written
    assert "the disk is gone" in caplog.text
    made.connection_lost(None)
    assert hub.watching == 0


async def test_each_that_retention_overtook_is_told(log: EventLog, clock: FakeClock) -> None:
    """Found by reading: who took the page that another had read did not hear what was missing."""
    hub = Hub(log, clock, page=5, ring=4)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        await settle()
        streams = [await stream(hub, 1) for _ in range(3)]
        for made, _ in streams:
            made.pause_writing()
        await log.append("X1", [line(n) for n in range(20)])
        await settle()
        await log.trim("X1", 10)
        for made, _ in streams:
            made.resume_writing()
            await settle(50)
        tasks.cancel_scope.cancel()
    for _, socket in streams:
        assert socket.told() == list(range(2, 22))


@pytest.mark.parametrize("live", [False, True])
async def test_an_event_that_cannot_be_written_cuts_that_stream_alone(
    log: EventLog, clock: FakeClock, caplog: pytest.LogCaptureFixture, live: bool
) -> None:
    """Found by reading: it ended the hub, or kept the event from all who came after."""

    def broken(_: Sequence[Record]) -> bytes:
        raise ValueError("half a surrogate pair")

    hub = Hub(log, clock, page=5, ring=4)
    face = replace(EVENTS, frames=broken, whole=None, chunk=None)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hub.run)
        await settle()
        pairs = [await stream(hub, int(live), face=f) for f in (EVENTS, face, EVENTS, face)]
        await settle(20)
        await log.append("X1", [line(), ended()])
        await settle(20)
        assert not tasks.cancel_scope.cancel_called
        tasks.cancel_scope.cancel()
    for socket in (pairs[1][1], pairs[3][1]):
        assert socket.aborted
        assert LAST_CHUNK not in socket.written
    for socket in (pairs[0][1], pairs[2][1]):
        assert socket.ids()[-2:] == [2, 3]
        assert socket.written.endswith(LAST_CHUNK)
    assert "half a surrogate pair" in caplog.text


async def test_what_a_client_says_during_its_answer_is_ignored(
    log: EventLog, clock: FakeClock
) -> None:
    made, socket = await stream(Hub(log, clock), 1)
    made.data_received(b"GET / HTTP/1.1\r\n\r\n")
    assert socket.written == b""
    made.shutdown()
    made.shutdown()
    assert socket.written.count(b"stream.closing") == 2  # its event line and its data
    assert socket.closed
    made.connection_lost(None)
    assert not made.connections
