"""A scanner's worth of bad input: only 2xx and 4xx, no hang, and the log is as whole as before."""

import asyncio
import logging
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import pytest

from tailrace import Settings, Tailrace, flow, node, task
from tailrace.events import TERMINAL
from tailrace.http import probe
from tailrace.testing.clock import settle
from tailrace.testing.contract.tools import begin, ended, line
from tests.http.conftest import BASE, Serve, Served
from tests.http.fuzz import Fuzzer, Request
from tests.proxies import resets

SEED = 20261121
RAW_REQUESTS, CLIENT_REQUESTS, AT_ONCE = 9_000, 1_500, 8
HTTP_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE")
STREAMS = ("text/event-stream", "application/x-ndjson", "text/plain")


@node(effects="pure")
async def same(n: Any) -> Any:
    return n


@flow
def quick(n: Any = None) -> object:
    return same(n)


@task
async def words(text: str = "a b") -> Any:
    for word in text.split():
        yield word


@task
async def nap(n: float = 0) -> float:
    await anyio.lowlevel.checkpoint()
    return n


@node(effects="read_only")
async def counting(n: int) -> AsyncIterator[int]:
    for number in range(min(n, 5)):
        yield number


@flow(http="POST /own/stream")
def own(n: int = 3) -> object:
    return counting(n)


async def exchange(url: str, request: Request) -> int | None:
    """Send it as it is; the status, or None where nothing can come. Never waits for a body."""
    where = httpx.URL(url)
    reader, writer = await asyncio.open_connection(where.host, where.port)
    try:
        with suppress(ConnectionError):
            writer.write(request.encode())
            await writer.drain()
            if request.cut:
                # What comes back, comes soon; nothing may, since the request may have no end.
                await settle(10)
                return _status(reader._buffer) if reader._buffer else None  # type: ignore[attr-defined]
            head = await reader.readuntil(b"\r\n\r\n")
            while head.startswith(b"HTTP/1.1 1"):
                head = await reader.readuntil(b"\r\n\r\n")
            return _status(head)
        return None
    except asyncio.IncompleteReadError as error:
        return None if not error.partial else _status(error.partial)  # closed without an answer
    finally:
        abandon(writer)


def _status(head: bytes | bytearray) -> int:
    found = re.match(rb"HTTP/1\.1 ([0-9]{3}) ", head)
    assert found, bytes(head[:100])
    assert b"\nx-injected" not in head.lower()
    return int(found[1])


def abandon(writer: asyncio.StreamWriter) -> None:
    """Leave at once, without a port that waits for a minute."""
    made = writer.get_extra_info("socket")
    if made.fileno() >= 0:
        resets(made)
    writer.transport.abort()


async def in_turn(served: Served, fuzzer: Fuzzer, numbers: range, counts: Counter[Any]) -> None:
    for number in numbers:
        request = fuzzer.request(number)
        with anyio.fail_after(15):
            status = await exchange(served.url, request)
        assert status is None or 200 <= status < 500, (number, status, request)
        counts[status] += 1
        if status is None:
            assert request.cut or request.method == "RAW" or request.method == "", request


async def by_client(served: Served, fuzzer: Fuzzer, numbers: range, counts: Counter[Any]) -> None:
    """What a well-behaved library makes of it: whole answers, over connections that are kept."""
    async with httpx.AsyncClient(base_url=served.url, timeout=15) as http:
        for number in numbers:
            request = fuzzer.request(number)
            if request.raw is not None or request.method not in HTTP_METHODS:
                continue
            headers = [(n, v) for n, v in request.headers if n not in ("Content-Length", "Host")]
            try:
                made = http.build_request(
                    request.method,
                    request.target,
                    headers=[(n.encode(), v.encode()) for n, v in headers],
                    content=request.body,
                )
                answer = await http.send(made, stream=True)
            except (httpx.LocalProtocolError, httpx.InvalidURL):
                continue  # it will not send such a thing
            assert 200 <= answer.status_code < 500, (number, answer.status_code, request)
            if not answer.headers.get("content-type", "").startswith(STREAMS):
                await answer.aread()
            if answer.status_code >= 400 and request.method != "HEAD":
                assert answer.headers["content-type"] == "application/problem+json", request
                assert answer.json()["code"]
            await answer.aclose()
            counts[answer.status_code] += 1


@pytest.fixture
async def target(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Served]:
    monkeypatch.setattr(probe, "PROBES_MAX", 1000)  # too many at once are refused with a 503
    tailrace = Tailrace(
        settings=Settings(
            store=f"sqlite:///{tmp_path / 'log.db'}",
            executions_max=100_000,
            streams_per_workspace_max=50,
            drain_s=1,
        ),
        flows=[quick, words, nap, own],
        workloads={"noop": ["true"]},
    )
    async with serve(tailrace) as served:
        await begin(tailrace.log, "X1")
        await begin(tailrace.log, "X2")
        await tailrace.log.append("X2", [line(n) for n in range(10)])
        await tailrace.log.append("X2", [ended()])
        yield served


async def document_of(served: Served) -> dict[str, Any]:
    document: dict[str, Any] = (await served.http.get("/openapi.json")).json()
    # A flow's own route is not in the document: it is of the flow, not of the API.
    document["paths"]["/own/stream"] = {"post": {"responses": {}, "requestBody": {}}}
    return document


@pytest.mark.timeout(240)  # ten thousand requests: a quarter of a minute where nothing else runs
async def test_ten_thousand_bad_requests(
    target: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    fuzzer = Fuzzer(await document_of(target), SEED)
    counts: Counter[Any] = Counter()
    raw = range(RAW_REQUESTS)
    rest = range(RAW_REQUESTS, RAW_REQUESTS + CLIENT_REQUESTS)
    async with anyio.create_task_group() as tasks:
        for first in range(AT_ONCE):
            tasks.start_soon(in_turn, target, fuzzer, raw[first::AT_ONCE], counts)
            tasks.start_soon(by_client, target, fuzzer, rest[first::AT_ONCE], counts)

    assert sum(counts.values()) >= 10_000, counts
    assert counts[200] > 100  # it is not all refused at the door
    assert counts[202] > 20
    assert not caplog.records, caplog.text
    assert (await target.http.get("/readyz")).status_code == 200
    assert (await target.http.post(BASE, json={"flow": "quick"})).status_code == 202
    while target.tailrace.limits.held or target.tailrace.hub.watching:
        await settle()
    await intact(target, tmp_path / "log.db")


async def intact(served: Served, file: Path) -> None:
    """Every execution folds, its events are dense, and nothing follows an end."""

    def ids() -> list[str]:
        with sqlite3.connect(file) as connection:
            return [row[0] for row in connection.execute("SELECT execution_id FROM execution")]

    log = served.tailrace.log
    names = await anyio.to_thread.run_sync(ids)
    assert len(names) > 50
    for name in names:
        entry, seen = await log.entry(name), list[str]()
        while records := await log.read(name, len(seen), 500):
            assert [r.seq for r in records] == list(
                range(len(seen) + 1, len(seen) + len(records) + 1)
            )
            seen += [record.event().type for record in records]
        assert len(seen) >= entry.head
        assert not TERMINAL & set(seen[:-1]), name
        state = await served.tailrace.view(name)
        assert state.head == len(seen)
