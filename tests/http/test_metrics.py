"""`/metrics` and the access log, on a real server: what happened is what they say."""

import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_families
from prometheus_client.parser import text_string_to_metric_families as families

from tailrace import flow, node
from tailrace.errors import StoreFull
from tailrace.events import Draft
from tailrace.log.base import Opening
from tailrace.metrics import CATALOG
from tests.http.conftest import BASE, Serve, Served

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def draft(type_: str, **data: object) -> Draft:
    return Draft(type=type_, ts="2026-01-01T00:00:00.000000Z", data=data)


async def begin(served: Served, name: str = "X1", workspace: str = "default") -> None:
    opening = Opening(execution_id=name, kind="task", flow="f", workspace=workspace)
    await served.tailrace.log.create(opening, [draft("execution.queued", kind="task", flow="f")])


async def end(served: Served, name: str = "X1") -> None:
    await served.tailrace.log.append(name, [draft("execution.completed", total_duration_ms=1)])


async def scrape(served: Served) -> dict[str, float]:
    """Every sample: `name{label=value,…}` → its value."""
    made = list(families((await served.http.get("/metrics")).raise_for_status().text))
    found = {}
    for metric in CATALOG:
        for sample in (s for f in made if metric.name.startswith(f.name) for s in f.samples):
            if sample.name in metric.samples():
                values = {name: sample.labels.get(name) for name in (*metric.labels, "le")}
                told = ",".join(f"{name}={value}" for name, value in values.items() if value)
                found[f"{sample.name}{{{told}}}" if told else sample.name] = sample.value
    return found


async def until(served: Served, sample: str, value: float) -> dict[str, float]:
    """Scrape until a sample has a value: a stream's end is noted when its socket has closed."""
    while (found := await scrape(served)).get(sample) != value:
        await anyio.lowlevel.checkpoint()
    return found


async def test_the_names_are_those_of_the_table(served: Served) -> None:
    await begin(served)
    await end(served)
    await served.frames("X1")
    text = (await served.http.get("/metrics")).text
    made = {family.name: family for family in families(text)}
    assert {name + ("_total" if f.type == "counter" else "") for name, f in made.items()} == {
        metric.name for metric in CATALOG
    }
    kinds = {metric.name.removesuffix("_total"): (metric.kind, metric.help) for metric in CATALOG}
    assert {name: (f.type, f.documentation) for name, f in made.items()} == kinds


async def test_a_stream_is_counted_from_its_begin_to_its_end(served: Served) -> None:
    await begin(served)
    async with served.stream("X1") as response:
        lines = response.aiter_lines()
        while await anext(lines) != "id: 1":
            pass
        during = await scrape(served)
        await served.tailrace.log.append("X1", [draft("log.line", line="x" * 1000)])
        await end(served)
        assert [line async for line in lines if line.startswith("id:")] == ["id: 2", "id: 3"]
    after = await until(served, "tailrace_stream_ends_total{view=events,reason=ended}", 1)
    assert during["tailrace_streams_active{view=events}"] == 1
    assert during["tailrace_watchers"] == 1
    assert during["tailrace_watchers_behind"] == 0
    assert during["tailrace_stream_connects_total{view=events,status=200,outcome=open}"] == 1
    assert during["tailrace_delivered_events_total"] == 1
    assert during["tailrace_time_to_first_event_seconds_count"] == 1
    assert after["tailrace_streams_active{view=events}"] == 0
    assert after["tailrace_watchers"] == 0
    assert after["tailrace_delivered_events_total"] == 3
    assert after["tailrace_delivered_bytes_total"] == after["tailrace_appended_bytes_total"]
    assert after["tailrace_stream_seconds_count{view=events}"] == 1
    assert after["tailrace_appends_total"] == 3
    assert after["tailrace_appended_events_total"] == 3
    assert after["tailrace_executions_started_total{kind=task}"] == 1
    assert after["tailrace_executions_ended_total{kind=task,status=completed}"] == 1
    assert after["tailrace_delivery_lag_seconds_count"] >= 1
    assert after["tailrace_delivery_lag_seconds_bucket{le=10.0}"] >= 1


@pytest.mark.parametrize(
    ("query", "reason"), [("?follow=false", "caught_up"), ("", "gone"), ("", "shutdown")]
)
async def test_why_a_stream_ended_is_told(served: Served, query: str, reason: str) -> None:
    await begin(served)
    async with served.stream("X1", query) as response:
        lines = response.aiter_lines()
        while await anext(lines) != "id: 1":
            pass
        if reason == "shutdown":
            served.tailrace.hub.close()
        if reason != "gone":
            assert [line async for line in lines]
    await until(served, f"tailrace_stream_ends_total{{view=events,reason={reason}}}", 1)


async def test_a_stream_that_the_store_cuts_is_an_error(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(page_events=1) as served:
        await begin(served)
        await served.tailrace.log.append("X1", [draft("log.line", line="more")])

        async def broken(*_: Any) -> Any:
            raise StoreFull

        async with served.stream("X1") as response:
            monkeypatch.setattr(served.tailrace.log, "read", broken)
            with pytest.raises(httpx.HTTPError):
                await response.aread()
        await until(served, "tailrace_stream_ends_total{view=events,reason=error}", 1)


async def test_who_watches_a_removed_execution_is_told_and_the_next_gets_404(serve: Serve) -> None:
    async with serve(page_events=1) as served:
        await begin(served)
        await served.tailrace.log.append("X1", [draft("log.line", line="x")] * 100)
        await end(served)
        read = served.tailrace.log.read

        async def read_then_remove(*given: Any) -> Any:
            page = await read(*given)
            if page[0].seq == 3:
                await served.tailrace.log.remove("X1")
            return page

        served.tailrace.log.read = read_then_remove  # type: ignore[method-assign, assignment]
        frames = [(e.type, e.data) for _, e in await served.frames("X1") if e.id is None]
        assert frames[-1] == ("stream.gap", {"from": 4, "to": 102, "cause": "retention"})
        assert (await served.http.get(f"{BASE}/X1/stream")).status_code == 404
        assert (await served.http.get(f"{BASE}/X1")).status_code == 404
        await until(served, "tailrace_stream_ends_total{view=events,reason=removed}", 1)


async def test_connects_and_resumes_by_outcome(served: Served) -> None:
    await begin(served)
    await served.tailrace.log.append("X1", [draft("log.line", line="x")] * 8)
    await served.tailrace.log.trim("X1", 5)
    for after in ("1", "5", "99", "nope"):
        await served.http.get(f"{BASE}/X1/stream?follow=false&after={after}")
    await served.http.get(f"{BASE}/X2/stream")
    await end(served)
    await served.http.get(f"{BASE}/X1/stream?after=10")
    found = await scrape(served)
    outcomes = {
        name.partition("outcome=")[2][:-1]: value
        for name, value in found.items()
        if "resumes" in name
    }
    assert outcomes == {"gap_retention": 1, "gap_lost": 1, "recovered": 1, "complete": 1}
    connects = {name.partition("status=")[2]: v for name, v in found.items() if "connects" in name}
    assert connects == {
        "200,outcome=open}": 3,
        "204,outcome=complete}": 1,
        "400,outcome=invalid_position}": 1,
        "404,outcome=execution_not_found}": 1,
    }


async def test_requests_are_counted_by_route_never_by_path(served: Served) -> None:
    await begin(served)
    for path in (f"{BASE}/X1", f"{BASE}/X2", "/nothing/here", "/healthz"):
        await served.http.get(path)
    await served.http.request("PROPFIND", "/healthz")
    await served.http.post(BASE, content=b"x" * 2_000_000)
    found = await scrape(served)
    requests = {n.partition("{")[2]: v for n, v in found.items() if "http_requests" in n}
    route = "/api/v1/workspaces/{workspace}/executions/{execution_id}"
    assert requests[f"method=GET,route={route},status=200}}"] == 1
    assert requests[f"method=GET,route={route},status=404}}"] == 1
    assert requests["method=GET,route=none,status=404}"] == 1
    assert requests["method=other,route=/healthz,status=405}"] == 1
    assert found["tailrace_limit_hits_total{code=payload_too_large}"] == 1


async def test_workspaces_are_told_apart_only_where_asked_for(serve: Serve) -> None:
    for asked, label in ((False, ""), (True, ",workspace=acme")):
        async with serve(metrics_workspaces=asked) as served:
            await begin(served, workspace="acme")
            path = "/api/v1/workspaces/acme/executions/X1/stream?follow=false"
            await served.http.get(path)
            found = await scrape(served)
            name = f"tailrace_stream_connects_total{{view=events{label},status=200,outcome=open}}"
            assert found[name] == 1


async def test_openmetrics_has_the_trace_of_a_request(served: Served) -> None:
    await begin(served)
    traceparent = f"00-{TRACE}-00f067aa0ba902b7-01"
    await served.http.get(f"{BASE}/X1/stream?follow=false", headers={"traceparent": traceparent})
    await served.http.get(f"{BASE}/X1/stream?follow=false", headers={"traceparent": "00-zz-1-01"})
    accept = "application/openmetrics-text; version=1.0.0"
    response = await served.http.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    exemplars = {
        sample.exemplar.labels["trace_id"]
        for family in open_families(response.text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }
    assert exemplars == {TRACE}


async def test_a_stream_of_many_and_one_of_a_trigger_are_streams_too(serve: Serve) -> None:
    @node
    async def count() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    @flow(http="POST /count")
    def counted() -> object:
        return count()

    async with serve(flows=[counted]) as served:
        answer = await served.http.post("/count", headers={"accept": "text/event-stream"})
        assert answer.status_code == 200
        await begin(served)
        many = await served.http.get("/api/v1/workspaces/default/stream?follow=false")
        assert many.status_code == 200
        found = await until(served, "tailrace_stream_ends_total{view=trigger,reason=ended}", 1)
        assert found["tailrace_stream_ends_total{view=workspace,reason=caught_up}"] == 1
        assert found["tailrace_stream_connects_total{view=trigger,status=200,outcome=open}"] == 1
        assert not any("route=/count" in name for name in found)
        assert found["tailrace_streams_active{view=trigger}"] == 0


async def test_it_can_be_switched_off(serve: Serve) -> None:
    async with serve(metrics=False) as served:
        assert (await served.http.get("/metrics")).status_code == 404
        await begin(served)
        assert len(await served.frames("X1", "?follow=false")) == 2
        assert served.tailrace.log.meter is None


# --- the access log -----------------------------------------------------------------------------


class Kept(logging.Handler):
    """Keeps the fields of what is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.__dict__["fields"])
        self.texts.append(record.getMessage())


@pytest.fixture
def access() -> Iterator[Kept]:
    logger, kept = logging.getLogger("tailrace.access"), Kept()
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    yield kept
    logger.removeHandler(kept)
    logger.setLevel(logging.NOTSET)


async def test_a_line_for_each_request_without_secrets(serve: Serve, access: Kept) -> None:
    async with serve(access_log=True) as served:
        await begin(served)
        secret = {"authorization": "Bearer s3cret", "cookie": "session=s3cret"}
        await served.http.get("/healthz?ticket=s3cret", headers=secret)
        await served.http.get(f"{BASE}/X1/stream?ticket=s3cret&after=x", headers=secret)
        await served.http.head(f"{BASE}/X1/stream")
        await served.http.get(f"{BASE}/%0aforged", headers=secret)
        stream = await served.http.get(f"{BASE}/X1/stream?follow=false&token=s3cret")
        assert "s3cret" not in repr((access.lines, access.texts))
        ok, refused, looked, forged, streamed = access.lines
    assert ok.pop("duration_ms") >= 0
    assert ok == {
        "method": "GET",
        "path": "/healthz",
        "status": 200,
        "client": "127.0.0.1",
        "bytes": 33,
    } | {"bytes": ok["bytes"]}
    assert (refused["status"], refused["code"]) == (400, "invalid_position")
    assert refused["execution_id"] == "X1"
    assert forged["path"].endswith("/%0Aforged")
    assert (looked["method"], looked["status"]) == ("HEAD", 200)
    assert "\n" not in access.texts[3]
    assert streamed["reason"] == "caught_up"
    assert streamed["events"] == 1
    assert streamed["execution_id"] == "X1"
    # Of a stream that was handed over, what frames its chunks is counted too: 12 bytes or so each.
    assert len(stream.content) <= streamed["bytes"] <= len(stream.content) + 40


async def test_who_leaves_before_the_answer_has_a_line_too(serve: Serve, access: Kept) -> None:
    async with serve(access_log=True) as served:
        host, port = served.url.removeprefix("http://").split(":")
        async with await anyio.connect_tcp(host, int(port)) as stream:
            head = f"POST {BASE} HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{{"
            await stream.send(head.encode())
        while not access.lines:
            await anyio.lowlevel.checkpoint()
    assert access.lines[0]["status"] == 499


async def test_without_the_setting_there_is_no_line(served: Served, access: Kept) -> None:
    await served.http.get("/healthz")
    assert not access.lines
