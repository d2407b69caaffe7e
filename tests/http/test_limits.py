"""Limits over HTTP: the sixth stream, every way out of a place, and peers that take nothing."""

import asyncio
import fcntl
import gc
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from tailrace import Settings, Tailrace, flow, node
from tailrace.client import Client
from tailrace.clock import rfc3339
from tailrace.errors import StoreBusy, TooManyExecutions
from tailrace.http import handover
from tailrace.http.handover import HEAD_MAX_BYTES, HttpProtocol
from tailrace.log.facts import MemoryFacts
from tailrace.testing import FakeClock
from tailrace.testing.clock import settle
from tailrace.testing.contract.tools import begin, ended, line
from tests.http.conftest import BASE, Serve, Served, messages
from tests.proxies import resets

STREAM = f"{BASE}/X1/stream"
WORKSPACE = "/api/v1/workspaces/default/stream"
BOTH_WAYS = pytest.mark.parametrize("protocol", [HttpProtocol, HttpToolsProtocol])


async def until(condition: Callable[[], Any]) -> None:
    """Let the server run until something is so; the test's timeout is the limit."""
    while not condition():
        await anyio.lowlevel.checkpoint()


def places(served: Served) -> int:
    facts = served.tailrace.log.facts
    assert isinstance(facts, MemoryFacts)
    now, taken = rfc3339(served.tailrace.clock.now()), facts._places.items()
    return sum(end > now for (kind, _), of in taken if kind != "sweeper" for end in of.values())


@pytest.fixture
async def five(serve: Serve) -> AsyncIterator[Served]:
    """A server that allows the seed's five streams of a workspace; X1 runs."""
    async with serve(streams_per_workspace_max=5) as served:
        await begin(served.tailrace.log)
        yield served


class Raw:
    """A client that can be killed."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    def kill(self) -> None:
        """As if its process was killed with data unread: the other side gets a reset."""
        resets(self.writer.get_extra_info("socket"))
        self.writer.transport.abort()


async def connect(served: Served, path: str = STREAM, receive_buffer: int | None = None) -> Raw:
    host, port = served.url.removeprefix("http://").split(":")
    made = socket.socket()
    made.setblocking(False)
    if receive_buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    await asyncio.get_running_loop().sock_connect(made, (host, int(port)))
    limit = receive_buffer or 65_536  # what it reads before anybody asks it to
    raw = Raw(*await asyncio.open_connection(sock=made, limit=limit))
    raw.writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return raw


@BOTH_WAYS
@pytest.mark.parametrize("path", [STREAM, WORKSPACE, STREAM.replace("stream", "logs")])
async def test_the_sixth_stream_is_refused_and_admitted_when_one_is_over(
    five: Served, path: str
) -> None:
    async def refused() -> bool:
        async with five.http.stream("GET", path) as answer:
            if answer.status_code == 200:
                return False
            assert answer.status_code == 429
            assert answer.headers["content-type"] == "application/problem+json"
            assert 1 <= int(answer.headers["retry-after"]) <= 60
            await answer.aread()
            assert answer.json()["code"] == "too_many_streams"
            assert answer.json()["retryable"] is True
            return True

    async with AsyncExitStack() as stack:
        clean = [AsyncExitStack() for _ in range(2)]
        for one in clean:
            await stack.enter_async_context(one)
            answer = await one.enter_async_context(five.http.stream("GET", path))
            assert answer.status_code == 200
        raws = [await connect(five, path) for _ in range(3)]
        for raw in raws:
            assert b" 200 " in await raw.head()
        assert await refused()
        assert await refused()

        await clean[0].aclose()  # the client leaves in good order
        await until(lambda: places(five) == 4)
        assert not await refused()
        await until(lambda: places(five) == 4)  # that one is over, too

        for raw in raws:  # three clients are killed
            raw.kill()
        await until(lambda: places(five) == 1)
        assert not await refused()
    await until(lambda: places(five) == 0)


@BOTH_WAYS
async def test_a_stream_that_ends_by_itself_gives_its_place_back(five: Served) -> None:
    async with AsyncExitStack() as stack:
        answers = [await stack.enter_async_context(five.stream("X1")) for _ in range(5)]
        await five.tailrace.log.append("X1", [ended()])
        for answer in answers:
            assert [e.type async for _, e in messages(answer)][-1] == "execution.completed"
    await until(lambda: places(five) == 0)
    # Nothing is left to stream: neither of these is one, so neither needs a place.
    for _ in range(6):
        over = await five.http.get(STREAM, headers={"Last-Event-ID": "2"})
        assert over.status_code == 204
        assert (await five.http.head(STREAM)).status_code == 200
    assert places(five) == 0


async def test_a_request_pipelined_behind_a_stream_does_not_keep_it(five: Served) -> None:
    for number in range(1, 4):
        raw = await connect(five)
        raw.writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n" * number)
        await raw.head()
        raw.kill()
        await until(lambda: five.tailrace.hub.watching == places(five) == 0)


@BOTH_WAYS
async def test_a_refusal_holds_no_place(five: Served) -> None:
    for path in (f"{STREAM}?after=x", f"{BASE}/NOPE/stream", f"{STREAM}?events=no.such"):
        for _ in range(6):
            assert (await five.http.get(path)).status_code in (400, 404)
    assert places(five) == 0


@BOTH_WAYS
async def test_a_shutdown_gives_all_back(serve: Serve) -> None:
    tailrace = Tailrace(settings=Settings(store="memory:", streams_max=9, drain_s=1))
    async with serve(tailrace) as served:
        await begin(tailrace.log)
        raws = [await connect(served, path) for path in (STREAM, WORKSPACE, STREAM)]
        for raw in raws:
            await raw.head()
        assert places(served) == 3
    assert places(served) == 0
    for raw in raws:
        raw.writer.close()


async def test_the_servers_own_limit_is_503(serve: Serve) -> None:
    async with serve(streams_max=1) as served:
        await begin(served.tailrace.log)
        async with served.stream("X1"):
            answer = await served.http.get(STREAM)
            assert (answer.status_code, answer.json()["code"]) == (503, "overloaded")
            assert answer.headers["retry-after"]


async def test_a_store_that_cannot_count_admits_nobody(
    five: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(*_: object, **__: object) -> None:
        raise StoreBusy

    monkeypatch.setattr(five.tailrace.log.facts, "occupy", busy)
    answer = await five.http.get(STREAM)
    assert (answer.status_code, answer.json()["code"]) == (503, "store_busy")
    await until(lambda: five.tailrace.limits.held == 0)
    assert five.tailrace.hub.watching == 0


@node(effects="read_only")
async def ticks() -> AsyncIterator[int]:
    yield 1
    await anyio.sleep_forever()


@flow(http="POST /ticks")
def ticking() -> object:
    return ticks()


async def test_a_flows_own_stream_takes_a_place_before_its_work_begins(serve: Serve) -> None:
    async with serve(flows=[ticking], streams_per_workspace_max=1) as served:
        async with served.http.stream("POST", "/ticks") as answer:
            assert answer.status_code == 200
            refused = await served.http.post("/ticks")
            assert refused.json()["code"] == "too_many_streams"
            assert len(await served.tailrace.entries()) == 1
        await until(lambda: places(served) == served.tailrace.hub.watching == 0)


async def test_a_workspace_with_all_the_executions_it_may_have(serve: Serve) -> None:
    async with serve(flows=[ticking], executions_per_workspace_max=1) as served:
        assert (await served.http.post(BASE, json={"flow": "ticking"})).status_code == 202
        answer = await served.http.post(BASE, json={"flow": "ticking"})
        assert (answer.status_code, answer.json()["code"]) == (429, "too_many_executions")
        assert answer.headers["retry-after"]


# --- nothing stays ------------------------------------------------------------------------------


def descriptors() -> int:
    """How many are open in this process."""
    count = 0
    for number in range(1024):
        with suppress(OSError):
            fcntl.fcntl(number, fcntl.F_GETFD)
            count += 1
    return count


@asynccontextmanager
async def nothing_stays(served: Served) -> AsyncIterator[None]:
    """What is counted before and after: places, watchers, tasks, descriptors and memory."""
    hub, limits = served.tailrace.hub, served.tailrace.limits

    def counted() -> tuple[int, ...]:
        tasks = len(asyncio.all_tasks())
        return places(served), limits.held, hub.watching, len(hub.timed), tasks, descriptors()

    before = counted()
    assert before[:4] == (0, 0, 0, 0)
    gc.collect()
    tracemalloc.start()
    try:
        held = tracemalloc.get_traced_memory()[0]
        yield
        await until(lambda: counted() == before)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - held < 200_000  # less than 200 bytes for each
    finally:
        tracemalloc.stop()


@BOTH_WAYS
@pytest.mark.timeout(120)  # a thousand connections, watched by tracemalloc
async def test_a_thousand_clients_connect_and_are_killed(five: Served) -> None:
    async def cycle(number: int) -> None:
        path = WORKSPACE if number % 5 == 4 else STREAM
        raw = await connect(five, path)
        if number % 3:  # every third is killed before its first byte
            await raw.head()
        raw.kill()
        if number % 4 == 3:
            await until(lambda: places(five) == 0)

    for number in range(50):  # what is made once is made now
        await cycle(number)
    await until(lambda: five.tailrace.limits.held == five.tailrace.hub.watching == 0)
    async with nothing_stays(five):
        for number in range(1000):
            await cycle(number)
    async with five.stream("X1") as answer:
        assert answer.status_code == 200


# --- peers that take nothing --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("protocol", "path"),
    [(HttpProtocol, STREAM), (HttpProtocol, WORKSPACE), (HttpToolsProtocol, STREAM)],
)
async def test_who_takes_nothing_is_cut(
    serve: Serve, clock: FakeClock, path: str, protocol: object
) -> None:
    tailrace = Tailrace(settings=Settings(store="memory:", streams_max=9, write_timeout_s=30.0))
    tailrace.clock = tailrace.hub.clock = tailrace.limits._clock = clock
    async with serve(tailrace) as served:
        await begin(tailrace.log)
        raw = await connect(served, path, receive_buffer=4096)
        await until(lambda: tailrace.hub.watching == 1)
        big = "x" * 500_000
        while not stalled(tailrace):  # more than the kernel takes for it
            await tailrace.log.append("X1", [line(big)])
            await settle(50)
        await clock.advance(20.0)
        assert tailrace.hub.watching == 1  # it is slow; it is not dead yet
        while tailrace.hub.watching:
            # On a busy machine the kernel takes the last of it late: then the time begins anew.
            await clock.advance(20.0)
        await until(lambda: places(served) == 0)
        assert not tailrace.hub.timed
        raw.kill()


def stalled(tailrace: Tailrace) -> bool:
    """Whether something waits for a client: its stream is at a position, and stays there."""
    positions = [w.position for tail in tailrace.hub._tails.values() for w in tail.watchers]
    heads = [tail.head for tail in tailrace.hub._tails.values()]
    return bool(heads) and heads[0] - positions[0] >= 2


async def test_who_takes_a_little_is_let_live(serve: Serve, clock: FakeClock) -> None:
    tailrace = Tailrace(settings=Settings(store="memory:", write_timeout_s=30.0))
    tailrace.clock = tailrace.hub.clock = clock
    async with serve(tailrace) as served:
        await begin(tailrace.log)
        raw = await connect(served, receive_buffer=4096)
        await until(lambda: tailrace.hub.watching == 1)
        while not stalled(tailrace):
            await tailrace.log.append("X1", [line("x" * 500_000)])
            await settle(50)
        for _ in range(5):
            await clock.advance(20.0)
            assert await raw.reader.read(20_000)
            await settle()
        assert tailrace.hub.watching == 1
        await clock.advance(40.0)
        await until(lambda: tailrace.hub.watching == 0)
        raw.kill()


# --- what a request may look like -----------------------------------------------------------------


@BOTH_WAYS
async def test_heads_that_are_too_large(five: Served) -> None:
    for path in (STREAM, BASE, "/nowhere"):
        long = await five.http.get(f"{path}?x={'y' * 9000}")
        assert (long.status_code, long.json()["code"]) == (414, "url_too_long")
        many = await five.http.get(path, headers=[(f"x-{n}", "y" * 100) for n in range(400)])
        assert (many.status_code, many.json()["code"]) == (431, "headers_too_large")


async def test_a_head_that_does_not_end_is_cut(five: Served) -> None:
    host, port = five.url.removeprefix("http://").split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nx-endless: ")
    sent = 0
    while not writer.transport.is_closing():
        writer.write(b"y" * 16_384)
        sent += 16_384
        await settle()
    assert sent < 20 * HEAD_MAX_BYTES
    # A body as large is no head.
    body = b'"' + b"x" * (2 * HEAD_MAX_BYTES) + b'"'
    headers = {"content-type": "application/json"}
    answer = await five.http.post(BASE, content=body, headers=headers)
    assert answer.json()["code"] == "invalid_request"


class Sink(asyncio.Transport):
    """The server's side of a connection, where a test says in which pieces bytes come."""

    written, closed = b"", False

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


@pytest.mark.parametrize(
    ("pieces", "cut"),
    [
        ([b"b" * 200_000 + b"GET / HTTP/1.1\r\nhost: x\r\n"], False),
        ([b"b" * 100_000, b"b" * 100_000 + b"GET / HTTP/1.1\r\nx: "], False),
        ([b"b" * 200_000 + b"GET / HTTP/1.1\r\nx: ", b"y" * 200_000], True),
    ],
)
async def test_a_body_is_no_part_of_the_head_that_comes_with_its_end(
    pieces: list[bytes], cut: bool
) -> None:
    """Found by reading: a pipelined request was refused for the size of the one before."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await anyio.sleep_forever()

    config = uvicorn.Config(app, http=HttpProtocol, lifespan="off")
    config.load()
    protocol = HttpProtocol(config, ServerState(), {})
    transport = Sink()
    protocol.connection_made(transport)
    protocol.data_received(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n")
    for piece in pieces:
        protocol.data_received(piece)
    assert transport.closed is cut
    assert transport.written.startswith(b"HTTP/1.1 431") is cut
    protocol.connection_lost(None)
    await settle()
    for task in protocol.tasks:
        task.cancel()
    await asyncio.gather(*protocol.tasks, return_exceptions=True)


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b"HTTP/1.1 408 "),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx-slow: ", b"HTTP/1.1 408 "),
        (b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{" % BASE.encode(), b""),
        (b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET", b"HTTP/1.1 200 "),  # kept alive
    ],
)
async def test_a_request_that_does_not_become_whole_is_cut(
    five: Served, monkeypatch: pytest.MonkeyPatch, sent: bytes, answer: bytes
) -> None:
    monkeypatch.setattr(handover, "REQUEST_S", 0.02)
    watching = await connect(five)
    await watching.head()
    host, port = five.url.removeprefix("http://").split(":")
    slow = Raw(*await asyncio.open_connection(host, int(port)))
    slow.writer.write(sent)
    assert (await slow.reader.read()).startswith(answer)
    slow.kill()
    # Who has said what it wants is let live: it has waited longer than the other.
    await five.tailrace.log.append("X1", [line("on")])
    assert b'"on"' in await watching.reader.readuntil(b'"on"')
    watching.kill()


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"flow":"x","input":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"flow":"x","deadline_ms":1' + b"0" * 400 + b"}",
        b'{"flow":"x","input":{"n":1e400}}',
        b'{"flow":"x","input":{"n":NaN}}',
        b'{"flow":"x","input":{"s":"\\ud800"}}',
        b'{"flow":"\xff"}',
        '{"flow":"x"}'.encode("utf-16"),
    ],
)
async def test_json_that_no_parser_should_meet(five: Served, body: bytes) -> None:
    for type_ in ("application/json", "text/plain"):
        answer = await five.http.post(BASE, content=body, headers={"content-type": type_})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


# --- the client ------------------------------------------------------------------------------------


async def test_our_client_comes_again_when_it_was_told(five: Served) -> None:
    waited: list[float] = []

    class Waiting(FakeClock):
        async def sleep(self, seconds: float) -> None:
            waited.append(seconds)
            await streams.aclose()  # the places are free by then
            await until(lambda: places(five) == 0)
            await five.tailrace.log.append("X1", [ended()])

    async with AsyncExitStack() as streams:
        for _ in range(5):
            await streams.enter_async_context(five.stream("X1"))
        async with Client(five.url, clock=Waiting()) as client:
            seen = [event.type async for event in client.follow("X1")]
    assert seen[-1] == "execution.completed"
    assert len(waited) == 1
    assert 5.0 <= waited[0] <= 7.5


async def test_a_request_without_a_stream_raises_what_the_server_said(serve: Serve) -> None:
    async with serve(flows=[ticking], executions_per_workspace_max=1) as served:
        async with Client(served.url) as client:
            await client.start("ticking")
            with pytest.raises(TooManyExecutions) as refused:
                await client.start("ticking")
        assert refused.value.details["retry_after_s"] == 5
