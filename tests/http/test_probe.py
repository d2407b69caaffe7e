"""The probe on the wire: what it says, its bounds, its end at a shutdown."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tailrace import Settings, sse
from tailrace.http.probe import ECHO_MAX, PROBES_MAX, Probe
from tailrace.runtime import Runtime
from tailrace.testing import FakeClock
from tests.http.conftest import Served

PROBE = "/api/v1/probe"


async def frames(response: httpx.Response) -> AsyncIterator[tuple[str, str, dict[str, Any]]]:
    decoder = sse.Decoder()
    async for chunk in response.aiter_raw():
        for message in decoder.feed(chunk):
            yield message.event, message.id, json.loads(message.data)


async def whole(
    served: Served, query: str, **headers: str
) -> list[tuple[str, str, dict[str, Any]]]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    async with served.http.stream("GET", f"{PROBE}?{query}", headers=names) as response:
        assert response.status_code == 200
        return [frame async for frame in frames(response)]


async def test_it_opens_ticks_and_ends_with_ids_that_end_a_reconnect(served: Served) -> None:
    found = await whole(served, "count=3&every_ms=0", last_event_id="5@x")
    assert [(event, id_) for event, id_, _ in found] == [
        ("probe.open", ""),
        ("probe.tick", "1"),
        ("probe.tick", "2"),
        ("probe.tick", "3"),
        ("probe.end", "end"),
    ]
    opening, end = found[0][2], found[-1][2]
    assert opening["http_version"] == "1.1"
    assert opening["heartbeat_s"] == 15.0
    assert opening["request"]["last-event-id"] == "5@x"
    assert (end["reason"], end["heartbeats"]) == ("done", 0)
    for back in ({"headers": {"Last-Event-ID": "end"}}, {"params": {"after": "end"}}):
        response = await served.http.get(PROBE, **back)  # type: ignore[arg-type]
        assert (response.status_code, response.content) == (204, b"")


async def test_it_has_the_headers_of_every_stream(served: Served) -> None:
    response = await served.http.get(PROBE, params={"count": 1, "every_ms": 0})
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"


async def test_it_never_says_a_secret_back_and_what_it_says_is_bounded(served: Served) -> None:
    found = await whole(
        served,
        "count=1&every_ms=0",
        authorization="Bearer s3cret",
        cookie="session=s3cret",
        x_forwarded_for="s3cret",
        last_event_id="9" * 1000,
    )
    assert "s3cret" not in json.dumps(found)
    assert found[0][2]["request"] == {
        "accept": True,
        "accept-encoding": True,
        "cache-control": False,
        "last-event-id": "9" * ECHO_MAX,
    }


async def test_its_times_are_the_runtimes_own(clock: FakeClock) -> None:
    runtime = Runtime(Settings(store="memory:"), clock=clock)
    probe = Probe(runtime, count=2, every_ms=500, idle_s=3, heartbeat_s=1)
    came: list[tuple[float, bytes]] = []

    async def read() -> None:
        coming = probe.frames({}, b": pad\n\n")
        came.extend([(clock.monotonic(), frame) async for frame in coming])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await clock.advance(10)
    assert [moment for moment, _ in came] == [0, 0.5, 1, 2, 3, 4]
    assert came[0][1].endswith(b'data: {"elapsed_ms":0}\n\n: pad\n\n')
    assert came[2][1] == b'id: 2\nevent: probe.tick\ndata: {"elapsed_ms":1000}\n\n'
    assert came[3][1] == came[4][1] == b": heartbeat\n\n"
    assert b'"elapsed_ms":4000,"reason":"done","heartbeats":2' in came[5][1]


@pytest.mark.parametrize(
    "query",
    [
        *("count=0", "count=51", "every_ms=-1", "every_ms=5001", "idle_s=121", "idle_s=-1"),
        *("heartbeat_s=0", "heartbeat_s=nan", "idle_s=nan", "idle_s=inf", "count=x"),
        *("pad_bytes=8193",),
    ],
)
async def test_everything_is_bounded(served: Served, query: str) -> None:
    response = await served.http.get(f"{PROBE}?{query}")
    assert response.status_code == 400
    assert response.json()["code"] == "invalid_request"


@asynccontextmanager
async def opened(served: Served) -> AsyncIterator[AsyncIterator[tuple[str, str, dict[str, Any]]]]:
    """A probe in its silence."""
    query = f"{PROBE}?count=1&every_ms=0&idle_s=120"
    async with served.http.stream("GET", query) as response:
        coming = frames(response)
        assert (await anext(coming))[0] == "probe.open"
        yield coming


async def test_too_many_at_once_are_refused_and_places_come_free(served: Served) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(PROBES_MAX):
            await stack.enter_async_context(opened(served))
        refused = await served.http.get(PROBE)
        assert refused.status_code == 503
        assert refused.json()["code"] == "overloaded"
        assert "retry-after" in refused.headers
    while (await served.http.get(f"{PROBE}?count=1&every_ms=0")).status_code == 503:
        await anyio.lowlevel.checkpoint()


async def test_a_shutdown_ends_open_probes_and_refuses_new_ones(served: Served) -> None:
    async with opened(served) as coming:
        served.tailrace.hub.close()
        rest = [frame async for frame in coming]
    assert rest[-1][0] == "probe.end"
    assert rest[-1][2]["reason"] == "shutdown"
    refused = await served.http.get(PROBE)
    assert (refused.status_code, refused.json()["code"]) == (503, "shutting_down")


async def test_it_is_described(served: Served) -> None:
    document = (await served.http.get("/openapi.json")).json()
    operation = document["paths"][PROBE]["get"]
    assert "text/event-stream" in operation["responses"]["200"]["content"]
    assert {"count", "every_ms", "idle_s"} <= {found["name"] for found in operation["parameters"]}
