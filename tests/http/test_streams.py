"""The stream on the wire: replay, live, resume, gaps, ends, heartbeats, closing."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from fastapi import FastAPI

from tailrace import Client, Settings, Tailrace, sse
from tailrace.events import Draft
from tailrace.http.handover import HttpProtocol
from tailrace.log.base import EventLog
from tailrace.testing.contract.tools import begin, ended, line
from tests.http.conftest import BASE, Serve, Served, messages, serving

TS = "2026-11-21T00:00:00.000000Z"


@pytest.fixture(params=["direct", "asgi"])
def protocol(request: pytest.FixtureRequest) -> Any:
    """Both ways of delivery: a client must not see which one it got."""
    return HttpProtocol if request.param == "direct" else "httptools"


async def begin_with(log: EventLog, events: int, *, end: bool = False) -> None:
    """An execution X1 with so many events, the terminal one included."""
    await begin(log)
    await log.append("X1", [line(n) for n in range(2, events + (not end))])
    if end:
        await log.append("X1", [ended()])


def ids(frames: Sequence[tuple[str, object]]) -> list[str]:
    return [id_ for id_, _ in frames]


async def test_a_finished_execution_replays_whole_and_ends(served: Served) -> None:
    await begin_with(served.tailrace.log, 5, end=True)
    frames = await served.frames("X1")
    assert frames[0][1].type == "stream.open"
    assert [(id_, event.id) for id_, event in frames[1:]] == [(str(n), n) for n in range(1, 6)]
    assert frames[-1][1].type == "execution.completed"


async def test_a_running_execution_is_followed_to_its_end(served: Served) -> None:
    log = served.tailrace.log
    await begin_with(log, 3)
    got: list[int] = []
    async with served.stream("X1") as response:
        async for _, event in messages(response):
            if event.id is not None:
                got.append(event.id)
                if event.id == 3:
                    await log.append("X1", [line(), line()])
                if event.id == 5:
                    await log.append("X1", [ended()])
    assert got == [1, 2, 3, 4, 5, 6]


async def test_the_first_frame_says_where_the_stream_stands(served: Served) -> None:
    await begin_with(served.tailrace.log, 4, end=True)
    epoch = (await served.tailrace.log.entry("X1")).epoch
    _, event = (await served.frames("X1", last_event_id="2"))[0]
    assert event.id is None
    assert event.data == {
        "execution_id": "X1",
        "status": "completed",
        "position": f"2@{epoch}",
        "head": 4,
        "epoch": epoch,
        "resumed": True,
        "gap": None,
    }


async def test_headers_keep_proxies_from_buffering(served: Served) -> None:
    await begin_with(served.tailrace.log, 3, end=True)
    async with served.stream("X1") as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        assert response.headers["x-accel-buffering"] == "no"
        first = await anext(response.aiter_raw())
    assert first.startswith(b"retry: 1000\n\nevent: stream.open\n")


@pytest.mark.parametrize("how", ["header", "query", "both"])
async def test_resuming_gives_exactly_what_follows(served: Served, how: str) -> None:
    await begin_with(served.tailrace.log, 6, end=True)
    headers = {"last_event_id": "4"} if how != "query" else {}
    query = {"header": "", "query": "?after=4", "both": "?after=1"}[how]
    frames = await served.frames("X1", query, **headers)
    assert ids(frames[1:]) == ["5", "6"]


async def test_a_position_with_its_epoch_resumes(served: Served) -> None:
    await begin_with(served.tailrace.log, 4, end=True)
    epoch = (await served.tailrace.log.entry("X1")).epoch
    assert ids((await served.frames("X1", last_event_id=f"3@{epoch}"))[1:]) == ["4"]


async def test_a_reconnect_at_the_end_is_204(served: Served) -> None:
    await begin_with(served.tailrace.log, 3, end=True)
    response = await served.http.get(f"{BASE}/X1/stream", headers={"Last-Event-ID": "3"})
    assert (response.status_code, response.content) == (204, b"")


async def test_a_position_of_another_life_is_a_gap_and_a_full_replay(served: Served) -> None:
    await begin_with(served.tailrace.log, 3, end=True)
    frames = await served.frames("X1", last_event_id="2@0000beef")
    assert [event.type for _, event in frames[:2]] == ["stream.open", "stream.gap"]
    assert frames[1][1].data == {"from": 1, "to": 2, "cause": "lost"}
    assert [event.id for _, event in frames[2:]] == [1, 2, 3]


async def test_a_position_ahead_is_a_gap_and_the_end_is_told_again(served: Served) -> None:
    await begin_with(served.tailrace.log, 3, end=True)
    frames = await served.frames("X1", last_event_id="9")
    assert frames[1][1].data == {"from": 4, "to": 9, "cause": "lost"}
    assert [event.id for _, event in frames[2:]] == [3]


async def test_a_trimmed_beginning_is_a_gap(served: Served) -> None:
    await begin_with(served.tailrace.log, 6, end=True)
    await served.tailrace.log.trim("X1", 4)
    for headers in ({}, {"last_event_id": "1"}):
        frames = await served.frames("X1", **headers)
        first = 2 if headers else 1
        assert frames[1][1].data == {"from": first, "to": 3, "cause": "retention"}
        assert frames[0][1].data["gap"] == frames[1][1].data
        assert [event.id for _, event in frames[2:]] == [4, 5, 6]


async def test_control_frames_do_not_move_the_resume_position(served: Served) -> None:
    await begin_with(served.tailrace.log, 3, end=True)
    await served.tailrace.log.trim("X1", 2)
    frames = await served.frames("X1")
    assert ids(frames[:2]) == ["", ""]


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("nope/stream", {}, 404, "execution_not_found"),
        ("X1/stream", {"Last-Event-ID": "x"}, 400, "invalid_position"),
        ("X1/stream", {"Last-Event-ID": "1@"}, 400, "invalid_position"),
        ("X1/stream", {"Last-Event-ID": "-1"}, 400, "invalid_position"),
        ("X1/stream?after=1.5", {}, 400, "invalid_position"),
        ("X1/stream?follow=maybe", {}, 400, "invalid_request"),
        ("X1/stream?heartbeat=often", {}, 400, "invalid_request"),
        ("X1/events?after=x", {}, 400, "invalid_position"),
        ("X1/events?limit=0", {}, 400, "invalid_request"),
    ],
)
async def test_what_is_wrong_is_said_before_the_first_byte(
    served: Served, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    await begin_with(served.tailrace.log, 2)
    response = await served.http.get(f"{BASE}/{path}", headers=headers)
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.json()["code"]) == (status, code)


async def test_another_workspaces_execution_does_not_exist(served: Served) -> None:
    await begin(served.tailrace.log, workspace="theirs")
    for path in ("X1", "X1/stream", "X1/events"):
        response = await served.http.get(f"{BASE}/{path}")
        assert (response.status_code, response.json()["code"]) == (404, "execution_not_found")


async def test_head_answers_without_opening_a_stream(served: Served) -> None:
    await begin_with(served.tailrace.log, 2)
    response = await served.http.head(f"{BASE}/X1/stream")
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert served.tailrace.hub.watching == 0


async def test_posting_to_a_stream_is_refused(served: Served) -> None:
    response = await served.http.post(f"{BASE}/X1/stream")
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


async def test_what_is_there_without_following(served: Served) -> None:
    await begin_with(served.tailrace.log, 3)
    frames = await served.frames("X1", "?follow=false")
    assert [event.id for _, event in frames[1:]] == [1, 2, 3]


async def test_ndjson_has_the_same_events(served: Served) -> None:
    await begin_with(served.tailrace.log, 3, end=True)
    async with served.stream("X1", accept="application/x-ndjson") as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        lines = [line_ async for line_ in response.aiter_lines()]
    wire = [event.to_dict() | {"ts": ""} for _, event in await served.frames("X1")]
    parsed = [httpx.Response(200, text=line_).json() for line_ in lines]
    assert [event["id"] for event in parsed] == [None, 1, 2, 3]
    assert [event["type"] for event in parsed] == [event["type"] for event in wire]


@pytest.mark.parametrize(
    ("query", "expected"), [("", b": "), ("?heartbeat=event", b"event: heart")]
)
async def test_silence_is_filled(serve: Serve, query: str, expected: bytes) -> None:
    async with serve(heartbeat_s=0.05) as served:
        await begin_with(served.tailrace.log, 2)
        async with served.stream("X1", query) as response:
            text = b""
            async for chunk in response.aiter_raw():
                text += chunk
                if text.count(expected) >= 2:
                    break
        dispatched = [message.event for message in sse.Decoder().feed(text)]
        assert dispatched.count("message") == 0  # a comment is no event


async def test_a_lifetime_ends_cleanly_and_can_be_resumed(serve: Serve) -> None:
    async with serve(lifetime_s=0.1, heartbeat_s=0.1) as served:
        await begin_with(served.tailrace.log, 3)
        frames = await served.frames("X1")
        assert frames[-1][1].type == "stream.closing"
        assert frames[-1][1].data == {"reason": "lifetime", "retry_ms": 1000}
        await served.tailrace.log.append("X1", [ended()])
        resumed = await served.frames("X1", last_event_id=frames[-2][0])
        assert [event.id for _, event in resumed[1:]] == [4]


async def test_a_shutdown_tells_every_stream_and_resuming_loses_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    """Fifty streams on one server; after it has gone, all go on at the next, on the same file."""
    store = f"sqlite:///{tmp_path / 'log.db'}"
    last: list[str] = []
    closed: list[str] = []

    async def follow(served: Served, opened: anyio.Semaphore) -> None:
        async with served.stream("X1") as response:
            async for id_, event in messages(response):
                if event.id == 4:
                    opened.release()
                if event.type == "stream.closing":
                    closed.append(str(event.data["reason"]))
                    last.append(id_)

    async with serve(store=store) as served:
        await begin_with(served.tailrace.log, 4)
        opened = anyio.Semaphore(0)
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(follow, served, opened)
            for _ in range(50):
                await opened.acquire()
            served.tailrace.hub.close()
        refused = await served.http.get(f"{BASE}/X1/stream")
        assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")
        assert refused.headers["retry-after"]
        assert (await served.http.get("/readyz")).status_code == 503
    assert closed == ["shutdown"] * 50
    assert last == ["4"] * 50
    async with serve(store=store) as served:
        await served.tailrace.log.append("X1", [line(), ended()])
        for position in last[:5]:
            frames = await served.frames("X1", last_event_id=position)
            assert [event.id for _, event in frames[1:]] == [5, 6]


async def test_clients_that_vanish_leave_nothing(served: Served) -> None:
    await begin_with(served.tailrace.log, 3)
    before = len(asyncio.all_tasks())
    for _ in range(100):
        async with served.stream("X1") as response:
            await anext(response.aiter_raw())
    while served.tailrace.hub.watching or len(asyncio.all_tasks()) > before + 5:
        await anyio.lowlevel.checkpoint()
    await served.tailrace.log.append("X1", [ended()])
    assert (await served.tailrace.log.entry("X1")).sealed


async def test_a_stalled_client_does_not_hold_the_others(served: Served) -> None:
    """It reads nothing; the log grows by megabytes; the other gets all of it."""
    log = served.tailrace.log
    await begin(log)
    async with served.stream("X1") as stalled, served.stream("X1") as reading:
        stalled_frames, frames = messages(stalled), messages(reading)
        await anext(stalled_frames)
        count = 0
        for _ in range(40):
            await log.append("X1", [line("x" * 100_000)])
        await log.append("X1", [ended()])
        async for _, event in frames:
            count += event.id is not None
        assert count == 42
        # And when it wakes up, it has missed nothing.
        rest = [event.id async for _, event in stalled_frames]
        assert rest == list(range(1, 43))


async def test_a_large_event_arrives_whole(served: Served) -> None:
    await begin(served.tailrace.log)
    text = "ü\u2028😀\r\n\0" * 50_000
    await served.tailrace.log.append("X1", [line(text), ended()])
    frames = await served.frames("X1")
    assert frames[2][1].data["line"] == text


async def test_pages_have_positions_and_an_end(served: Served) -> None:
    await begin_with(served.tailrace.log, 5, end=True)
    position, got = None, []
    while True:
        query = {"limit": "2"} | ({"after": position} if position else {})
        page = (await served.http.get(f"{BASE}/X1/events", params=query)).json()
        got += [event["id"] for event in page["events"]]
        position = page["position"]
        if page["ended"]:
            break
    assert got == [1, 2, 3, 4, 5]
    empty = (await served.http.get(f"{BASE}/X1/events", params={"after": position})).json()
    assert (empty["events"], empty["ended"], empty["head"], empty["gap"]) == ([], True, 5, None)


async def test_a_page_says_its_gap(served: Served) -> None:
    await begin_with(served.tailrace.log, 5, end=True)
    await served.tailrace.log.trim("X1", 4)
    page = (await served.http.get(f"{BASE}/X1/events")).json()
    assert page["gap"] == {"from": 1, "to": 3, "cause": "retention"}


async def test_it_works_under_a_prefix_in_another_app(protocol: Any) -> None:
    tailrace = Tailrace(settings=Settings(store="memory:"))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with tailrace:
            yield

    app = FastAPI(lifespan=lifespan)
    app.mount("/live", tailrace.asgi())
    async with (
        serving(app, protocol) as url,
        httpx.AsyncClient(base_url=f"{url}/live") as http,
    ):
        await begin(tailrace.log)
        await tailrace.log.append("X1", [ended()])
        response = await http.get(f"{BASE}/X1")
        assert response.status_code == 200, response.text
        answer = response.json()
        assert answer["links"]["stream"] == f"/live{BASE}/X1/stream"
        stream = await http.get(f"{BASE}/X1/stream")
        assert stream.text.count("\nid: ") == 2


async def test_a_mounted_app_that_nobody_opened_says_so() -> None:
    app = FastAPI()
    app.mount("/live", Tailrace(settings=Settings(store="memory:")).asgi())
    async with serving(app) as url, httpx.AsyncClient() as http:
        response = await http.get(f"{url}/live/healthz")
        assert (response.status_code, response.json()["code"]) == (503, "store_closed")
        assert "async with" in response.json()["hint"]


async def mixed(log: EventLog) -> None:
    """X1: queued, two lines, a node, a line, the end."""
    await begin(log)
    node = [Draft(type=f"node.{what}", ts=TS, data={"duration_ms": 1}, node="a") for what in
            ("started", "completed")]  # fmt: skip
    loud = Draft(type="log.line", ts=TS, data={"line": "!", "source": "s", "level": "error"})
    await log.append("X1", [line(), *node, loud, line(), ended()])


@pytest.mark.parametrize(
    ("query", "chosen"),
    [
        ("?events=node.*", ["3", "4", "7"]),
        ("?events=log.line&level=error", ["5", "7"]),
        ("?node=a", ["3", "4", "7"]),
        ("?tail=2", ["6", "7"]),
        ("?tail=0", ["7"]),
        ("?tail=2&events=log.*", ["5", "6", "7"]),  # of what it chooses, and the end
        ("?tail=9&level=error", ["1", "3", "4", "5", "7"]),
        ("?since=2000-01-01", ["1", "2", "3", "4", "5", "6", "7"]),
        ("?since=1s", ["7"]),
        ("?tail=100", ["1", "2", "3", "4", "5", "6", "7"]),
        ("?after=4&tail=100", ["5", "6", "7"]),  # a position is more than a wish
    ],
)
async def test_a_filter_gives_what_it_chooses(
    served: Served, query: str, chosen: list[str]
) -> None:
    await mixed(served.tailrace.log)
    frames = await served.frames("X1", query)
    assert [id_ for id_, event in frames if event.id is not None] == chosen


@pytest.mark.parametrize("query", ["?events=nope", "?level=loud", "?tail=x", "?tail=-1"])
async def test_a_filter_that_makes_no_sense_is_refused(served: Served, query: str) -> None:
    await begin_with(served.tailrace.log, 2)
    answer = await served.http.get(f"{BASE}/X1/stream{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_what_was_left_out_is_not_sent_after_a_resume(served: Served) -> None:
    log = served.tailrace.log
    await begin_with(log, 6)
    async with served.stream("X1", "?events=custom.*") as response:
        decoder = sse.Decoder()
        async for chunk in response.aiter_raw():
            decoder.feed(chunk)
            if decoder.last_event_id == "6":
                break  # it was sent no event, and knows where it stands
    await log.append("X1", [line(), ended()])
    frames = await served.frames("X1", last_event_id="6")  # and now without a filter
    assert [id_ for id_, event in frames if event.id is not None] == ["7", "8"]


async def test_clients_choose_too(served: Served) -> None:
    await mixed(served.tailrace.log)
    async with Client(served.url) as client:
        remote = client.follow("X1", events="log.line", level="error")
        assert [event.id async for event in remote] == [5, 7]
        assert remote.position is not None
        assert remote.position.startswith("7@")
        assert [event.id async for event in client.follow("X1", tail=2)] == [6, 7]
    local = served.tailrace.follow("X1", events="node.*", node="a")
    assert [event.id async for event in local] == [3, 4, 7]
