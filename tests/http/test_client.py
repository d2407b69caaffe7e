"""Both clients against a real server, and against one that cuts, lies and dies."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest
from anyio.abc import SocketStream

from tailrace import Client, Event, SyncClient, Tailrace, errors, flow, node, task
from tailrace.clock import SystemClock
from tailrace.signals import Signal
from tailrace.testing.contract.tools import begin, ended, line
from tailrace.watcher import Watcher
from tests.http.conftest import Serve, Served
from tests.proxies import head_of, joined, listening


@node
async def double(n: int) -> int:
    return 2 * n


@node
async def forever(n: int) -> int:
    await anyio.sleep_forever()
    return n


@node
async def broken(n: int) -> int:
    raise RuntimeError("broken")


@flow
def doubled(n: int = 1) -> object:
    return double(n)


@flow
def failing(n: int = 1) -> object:
    return broken(n)


@flow
def endless(n: int = 1) -> object:
    return forever(n)


class Impatient(SystemClock):
    """Reconnects at once."""

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    async with serve(Tailrace("memory:", flows=[doubled, failing, endless])) as running:
        yield running


@pytest.fixture
async def client(served: Served) -> AsyncIterator[Client]:
    async with Client(served.url, clock=Impatient()) as made:
        yield made


async def test_it_starts_follows_and_gives_the_result(client: Client) -> None:
    execution_id = await client.start("doubled", {"n": 4})
    ids = [event.id async for event in client.follow(execution_id)]
    assert ids == [1, 2, 3, 4, 5]
    assert await client.result(execution_id) == 8
    assert (await client.get(execution_id))["status"] == "completed"
    assert (await client.list(limit=1))["executions"][0]["execution_id"] == execution_id


async def test_it_resumes_where_it_was_told(client: Client) -> None:
    execution_id = await client.start("doubled")
    follow = client.follow(execution_id)
    async for event in follow:
        if event.id == 3:
            break
    assert follow.position is not None
    rest = [event.id async for event in client.follow(execution_id, follow.position)]
    assert rest == [4, 5]
    assert [event.id async for event in client.follow(execution_id, 5)] == []


async def test_a_follow_that_is_left_by_break_leaves_nothing_behind(served: Served) -> None:
    """In a script, whose loop ends right after: asyncio complains of what is still open then."""
    complaints: list[object] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: complaints.append(context))
        async with Client(served.url) as client:
            follow = client.follow(await client.start("endless"))
            async for _ in follow:
                break  # and it is held until the end
            async for _ in client.follow_many():
                break  # and nobody holds it

    await anyio.to_thread.run_sync(asyncio.run, main())
    assert complaints == []


async def test_a_failed_execution_is_an_event_and_its_result_an_exception(client: Client) -> None:
    execution_id = await client.start("failing")
    events = [event async for event in client.follow(execution_id)]
    assert events[-1].type == "execution.failed"
    with pytest.raises(errors.ExecutionFailed, match="broken"):
        await client.result(execution_id)


async def test_it_cancels(client: Client) -> None:
    execution_id = await client.start("endless")
    await client.cancel(execution_id, "enough")
    with pytest.raises(errors.ExecutionCancelled):
        await client.result(execution_id)


async def test_the_servers_errors_are_ours(client: Client) -> None:
    with pytest.raises(errors.FlowNotFound):
        await client.start("nope")
    with pytest.raises(errors.InvalidInput):
        await client.start("doubled", {"n": "x"})
    with pytest.raises(errors.ExecutionNotFound):
        await client.get("nope")
    with pytest.raises(errors.ExecutionNotFound):
        await anext(client.follow("nope"))
    with pytest.raises(errors.InvalidPosition):
        await anext(client.follow("nope", "x"))


async def test_a_gap_is_an_event(client: Client, served: Served) -> None:
    await begin(served.tailrace.log)
    await served.tailrace.log.append("X1", [line(), line(), ended()])
    await served.tailrace.log.trim("X1", 3)
    events = [event async for event in client.follow("X1")]
    assert [(e.id, e.type) for e in events][:2] == [(None, "stream.gap"), (3, "log.line")]


async def test_what_is_there_without_following(client: Client, served: Served) -> None:
    await begin(served.tailrace.log)
    assert [event.id async for event in client.follow("X1", live=False)] == [1]


async def test_a_server_that_is_not_there_is_a_lost_connection() -> None:
    async with Client("http://127.0.0.1:9", attempts=3, clock=Impatient()) as client:
        with pytest.raises(errors.ConnectionLost) as caught:
            await anext(client.follow("X1", after=7))
        assert caught.value.details["position"] == "7"
        with pytest.raises(errors.ConnectionLost):
            await client.get("X1")


@asynccontextmanager
async def cutting_proxy(url: str, after_bytes: Callable[[], int]) -> AsyncIterator[str]:
    """A TCP proxy that cuts each answer after so many bytes."""
    upstream = httpx.URL(url)

    async def serve(asking: SocketStream) -> None:
        async with await anyio.connect_tcp(upstream.host, upstream.port or 0) as answering:
            await joined(asking, answering, after_bytes())

    async with listening(serve) as port:
        yield f"http://127.0.0.1:{port}"


async def test_cuts_at_any_byte_lose_and_repeat_nothing(served: Served) -> None:
    """Each connection is cut a little later than the last, inside frames and between them."""
    await begin(served.tailrace.log)
    await served.tailrace.log.append("X1", [line("ü" * 50) for _ in range(60)])
    await served.tailrace.log.append("X1", [ended()])
    cuts = iter(range(1, 100_000, 37))
    async with (
        cutting_proxy(served.url, lambda: 700 + next(cuts)) as url,
        Client(url, clock=Impatient(), attempts=50) as client,
    ):
        ids = [event.id async for event in client.follow("X1")]
    assert ids == list(range(1, 63))


async def test_a_restart_in_between_is_not_noticed(serve: Serve, served: Served) -> None:
    """The connection ends with `stream.closing`; the next goes on with the next event."""
    await begin(served.tailrace.log)
    got: list[int | None] = []
    async with Client(served.url, clock=Impatient()) as client:
        async for event in client.follow("X1"):
            got.append(event.id)
            if event.id == 1:
                for tail in served.tailrace.hub._tails.values():
                    for watcher in tail.watchers:
                        assert isinstance(watcher, Watcher)
                        watcher.expires_at = 0
                        watcher.tick(1)
                await served.tailrace.log.append("X1", [line(), ended()])
    assert got == [1, 2, 3]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n<html>", errors.ProtocolError),
        (b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno", errors.ProtocolError),
        (b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 2\r\n\r\nno", errors.ConnectionLost),
        (b"not even http\r\n\r\n", errors.ConnectionLost),
        (b"", errors.ConnectionLost),
    ],
)
async def test_something_else_at_the_address_is_said(
    answer: bytes, error: type[errors.TailraceError]
) -> None:
    async def serve(asking: SocketStream) -> None:
        await head_of(asking)
        await asking.send(answer)

    async with (
        listening(serve) as port,
        Client(f"http://127.0.0.1:{port}", attempts=2, clock=Impatient()) as client,
    ):
        with pytest.raises(error):
            await anext(client.follow("X1"))


# --- the blocking twin --------------------------------------------------------------------------


async def in_thread(work: Callable[[], object]) -> object:
    return await anyio.to_thread.run_sync(work)


async def test_the_blocking_client_does_the_same(served: Served) -> None:
    def work() -> None:
        with SyncClient(served.url, pause=lambda _: None) as client:
            execution_id = client.start("doubled", {"n": 4})
            follow = client.follow(execution_id)
            assert [event.id for event in follow] == [1, 2, 3, 4, 5]
            assert follow.position is not None
            assert client.result(execution_id) == 8
            assert client.get(execution_id)["status"] == "completed"
            assert client.list(limit=1)["executions"][0]["execution_id"] == execution_id
            endless_id = client.start("endless")
            events: list[Event] = []
            for event in client.follow(endless_id):
                events.append(event)
                if event.type == "node.started":
                    client.cancel(endless_id)
            assert events[-1].type == "execution.cancelled"
            with pytest.raises(errors.ExecutionNotFound):
                next(client.follow("nope"))

    await in_thread(work)


async def test_the_blocking_client_survives_cuts(served: Served) -> None:
    await begin(served.tailrace.log)
    await served.tailrace.log.append("X1", [line("x" * 50) for _ in range(30)])
    await served.tailrace.log.append("X1", [ended()])
    cuts = iter(range(1, 100_000, 53))
    async with cutting_proxy(served.url, lambda: 700 + next(cuts)) as url:

        def work() -> list[int | None]:
            with SyncClient(url, pause=lambda _: None, attempts=50) as client:
                return [event.id for event in client.follow("X1")]

        assert await in_thread(work) == list(range(1, 33))


async def test_the_blocking_client_says_a_lost_connection() -> None:
    def work() -> None:
        with SyncClient("http://127.0.0.1:9", attempts=3, pause=lambda _: None) as client:
            follow = client.follow("X1")
            with pytest.raises(errors.ConnectionLost):
                next(follow)
            follow.close()
            with pytest.raises(errors.ConnectionLost):
                client.get("X1")

    await in_thread(work)


async def test_many_are_followed_on_one_connection(served: Served) -> None:
    log = served.tailrace.log
    for name in ("X1", "X2"):
        await begin(log, name)
    async with Client(served.url) as client:
        every = client.follow_many()
        got = [(event.execution_id, event.id) for event in [await anext(every) for _ in range(2)]]
        await begin(log, "X3")
        event = await anext(every)
        assert sorted([*got, (event.execution_id, event.id)]) == [("X1", 1), ("X2", 1), ("X3", 1)]
        await every.aclose()
        for name in ("X1", "X2", "X3"):
            await log.append(name, [line(), ended()])
        rest = client.follow_many(after=every.position, live=False)
        seen = [(event.execution_id, event.id) async for event in rest]
        assert sorted(seen) == [(name, n) for name in ("X1", "X2", "X3") for n in (2, 3)]
        named = [event async for event in client.follow_many("X1", "X3", events="log.*")]
        assert sorted((e.execution_id, e.id) for e in named) == [
            (name, n) for name in ("X1", "X3") for n in (2, 3)
        ]
    here = served.tailrace.follow_many("X1", "X2")
    assert len([event async for event in here]) == 6
    assert here.position == "0"


async def test_an_output_that_was_put_aside_is_the_result(serve: Serve) -> None:
    @task
    async def large() -> dict[str, str]:
        return {"body": "x" * 100_000}

    async with serve(flows=[large]) as made, Client(made.url) as client:
        execution_id = await client.start("large")
        assert await client.result(execution_id) == {"body": "x" * 100_000}
        end = (await client.get(execution_id))["end"]
        assert end["output"] is None
        assert end["output_summary"]["keys"] == ["body"]
        with pytest.raises(errors.PayloadNotFound):
            await client.payload(execution_id, "0" * 64)
        run = await made.tailrace.start("large")
        assert await run == {"body": "x" * 100_000}
        assert (await run.wait()).output == {"body": "x" * 100_000}


@pytest.mark.parametrize("many", [False, True])
async def test_a_cut_before_the_first_event_loses_nothing(
    served: Served, client: Client, many: bool
) -> None:
    """Found by reading: it asked for the newest events, or for what ran, once more."""
    log, hub = served.tailrace.log, served.tailrace.hub
    await begin(log, "X1")
    follow = client.follow_many() if many else client.follow("X1", tail=0)
    types: list[str] = []

    async def take() -> None:
        async for event in follow:
            types.append(event.type)
            if event.terminal:
                return

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take)
        while follow.position is None:
            await anyio.lowlevel.checkpoint()
        for stream in hub.streams():
            stream.wake(Signal.EXPIRED)
        execution_id = await begin(log, "X2") if many else "X1"
        await log.append(execution_id, [line("meanwhile"), ended()])
    assert types[-2:] == ["log.line", "execution.completed"]
    await follow.aclose()
