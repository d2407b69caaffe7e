"""Flows on routes of their own: streams, lists, plain answers, statuses, clients that leave."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from pydantic import BaseModel

from tailrace import Settings, Tailrace, flow, node
from tailrace.http import triggers
from tests.http.conftest import Serve, Served, messages

left: list[str] = []


class Update(BaseModel):
    n: int


@node(effects="read_only")
async def first(n: int) -> int:
    if n < 0:
        raise ValueError("below zero")
    return n


@node(effects="read_only")
async def updates(start: int, more: int) -> AsyncIterator[Update]:
    try:
        for number in range(start, start + more):
            if number == 99:
                raise LookupError("no 99")
            yield Update(n=number)
        if more > 1000:
            await anyio.sleep_forever()
    finally:
        left.append("closed")


@flow(http="POST /site/stream", deadline_ms=60_000)
def site(start: int, more: int = 3) -> object:
    return updates(first(start), more)


@flow(http="GET /kept", on_disconnect="continue")
def kept(start: int = 0, more: int = 5000) -> object:
    return updates(first(start), more)


@flow(http="POST /plain")
def plain(n: int) -> object:
    return first(n)


@node(effects="pure")
async def slow() -> int:
    await anyio.sleep_forever()
    return 1


@flow(http="POST /late", deadline_ms=50)
def late() -> object:
    return slow()


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    left.clear()
    settings = Settings(store="memory:", drain_s=1)
    tailrace = Tailrace(settings=settings, flows=[site, kept, plain, late])
    async with serve(tailrace) as running:
        yield running


@asynccontextmanager
async def streaming(
    served: Served, method: str, path: str, body: Any = None
) -> AsyncIterator[httpx.Response]:
    async with served.http.stream(method, path, json=body) as response:
        yield response


async def test_a_route_of_a_flow_is_described(served: Served) -> None:
    paths = (await served.http.get("/openapi.json")).json()["paths"]
    body = paths["/site/stream"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert sorted(body["properties"]) == ["more", "start"]
    assert body["required"] == ["start"]
    asked = {one["name"]: one["required"] for one in paths["/kept"]["get"]["parameters"]}
    assert asked == {"start": False, "more": False}


async def test_a_streaming_capture_answers_events(served: Served) -> None:
    async with streaming(served, "POST", "/site/stream", {"start": 5}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        where = response.headers["content-location"]
        events = [event async for _, event in messages(response)]
    values = [event.data["value"] for event in events if event.type == "output.item"]
    assert values == [{"n": 5}, {"n": 6}, {"n": 7}]
    assert events[-1].type == "execution.completed"
    # It is an execution like any other: it can be looked at, and followed from anywhere.
    assert (await served.http.get(where)).json()["status"] == "completed"


async def test_lines_and_lists_have_the_same_values(served: Served) -> None:
    headers = {"accept": "application/x-ndjson"}
    answer = await served.http.post("/site/stream", json={"start": 1}, headers=headers)
    lines = [json.loads(line) for line in answer.text.splitlines() if line]
    assert [e["data"]["value"] for e in lines if e["type"] == "output.item"] == [
        {"n": 1}, {"n": 2}, {"n": 3},
    ]  # fmt: skip
    headers = {"accept": "application/json"}
    answer = await served.http.post("/site/stream", json={"start": 1}, headers=headers)
    assert answer.json() == [{"n": 1}, {"n": 2}, {"n": 3}]


async def test_a_plain_capture_answers_json(served: Served) -> None:
    answer = await served.http.post("/plain", json={"n": 4})
    assert (answer.status_code, answer.json()) == (200, 4)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/plain", {"n": "x"}, 422, "invalid_input"),
        ("/site/stream", {"start": "x"}, 422, "invalid_input"),
        ("/plain", {"n": -1}, 500, "execution_failed"),
        ("/site/stream", {"start": -1}, 500, "execution_failed"),  # before the first byte
        ("/late", {}, 504, "execution_timed_out"),
    ],
)
async def test_what_fails_before_the_first_byte_is_a_status(
    served: Served, path: str, body: Any, status: int, code: str
) -> None:
    answer = await served.http.post(path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_body_that_is_no_json_is_refused(served: Served) -> None:
    answer = await served.http.post("/plain", content=b"{")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_what_fails_later_is_the_terminal_event(served: Served) -> None:
    async with streaming(served, "POST", "/site/stream", {"start": 98}) as response:
        assert response.status_code == 200
        events = [event async for _, event in messages(response)]
    assert [e.data["value"] for e in events if e.type == "output.item"] == [{"n": 98}]
    assert events[-1].type == "execution.failed"
    assert events[-1].data["error"]["type"] == "LookupError"


async def ended(served: Served, where: str) -> dict[str, Any]:
    """The execution, when it has ended."""
    execution_id = where.rpartition("/")[2]
    async for _ in served.tailrace.follow(execution_id):
        pass
    return dict((await served.http.get(where)).json())


async def test_a_client_that_leaves_cancels_and_the_generator_is_closed(served: Served) -> None:
    async with streaming(served, "POST", "/site/stream", {"start": 1000, "more": 5000}) as response:
        where = response.headers["content-location"]
        frames = messages(response)
        while (await anext(frames))[1].type != "output.item":
            pass
    found = await ended(served, where)
    assert found["status"] == "cancelled"
    assert found["end"]["by"] == "client"
    assert left == ["closed"]


async def test_unless_the_flow_says_that_it_goes_on(served: Served) -> None:
    async with streaming(served, "GET", "/kept?start=1000") as response:
        where = response.headers["content-location"]
        frames = messages(response)
        while (await anext(frames))[1].type != "output.item":
            pass
    execution_id = where.rpartition("/")[2]
    async for event in served.tailrace.follow(execution_id):
        if event.data.get("index") == 4999:
            break  # all of it, though nobody was there
    assert (await served.http.get(where)).json()["status"] == "running"
    await served.tailrace.cancel(execution_id, by="test")
    assert (await ended(served, where))["end"]["by"] == "test"


async def test_a_client_that_leaves_while_it_waits_for_json_cancels_too(served: Served) -> None:
    with pytest.raises(httpx.ReadTimeout):
        await served.http.post(
            "/site/stream",
            json={"start": 1000, "more": 5000},
            headers={"accept": "application/json"},
            timeout=0.5,
        )
    entry = (await served.tailrace.entries(limit=1))[0]
    where = f"/api/v1/workspaces/default/executions/{entry.execution_id}"
    assert (await ended(served, where))["end"]["by"] == "client"


async def test_too_much_for_one_answer_is_refused(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "COLLECT_MAX_ITEMS", 10)
    answer = await served.http.post(
        "/site/stream", json={"start": 1000, "more": 20}, headers={"accept": "application/json"}
    )
    assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
