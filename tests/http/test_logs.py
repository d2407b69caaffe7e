"""Log lines over HTTP: the log task's scenarios 5 to 7, and what a line may hold."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from tailrace import LogBroker, sse
from tailrace.events import Draft
from tailrace.testing.contract.tools import begin, ended
from tests.http.conftest import BASE, Serve, Served

LOGS = f"{BASE}/X1/logs"
PLAIN = {"Accept": "text/plain"}
MINUTES = [f"2026-01-01T00:{minute:02}:00.000000Z" for minute in range(60)]


def said(line: str, minute: int = 0, node: str | None = None, **data: object) -> Draft:
    given = {"line": line, "source": "stdout"} | data
    return Draft(type="log.line", ts=MINUTES[minute], data=given, node=node)


async def heard(response: httpx.Response) -> AsyncIterator[sse.Message]:
    decoder = sse.Decoder()
    async for chunk in response.aiter_raw():
        for message in decoder.feed(chunk):
            yield message


async def until_message(messages: AsyncIterator[sse.Message]) -> AsyncIterator[sse.Message]:
    """Up to the first line, and that one."""
    async for message in messages:
        yield message
        if message.event == "message":
            return


async def lines(served: Served, path: str = LOGS, **headers: str) -> list[str]:
    async with served.http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        return [m.data async for m in heard(response) if m.event == "message"]


async def log_of(served: Served, drafts: Sequence[Draft], *, end: bool = True) -> None:
    await begin(served.tailrace.log)
    await served.tailrace.log.append("X1", list(drafts))
    if end:
        await served.tailrace.log.append("X1", [ended()])


async def test_sse_endpoint(served: Served) -> None:
    broker = LogBroker(served.tailrace)
    async with broker.subscribe("w1"):
        pass
    path = "/api/v1/workloads/w1/logs"
    async with served.http.stream("GET", path) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        messages = heard(response)
        assert (await anext(messages)).event == "stream.open"
        got = []
        for number in range(3):  # each arrives while the workload runs
            broker.publish("w1", f"line {number}")
            got.append(await anext(messages))
        assert [(m.event, m.data) for m in got] == [("message", f"line {n}") for n in range(3)]
        broker.close("w1")
        assert [m.event async for m in messages] == ["log.sealed", "execution.completed"]


async def test_client_disconnect(served: Served) -> None:
    broker = LogBroker(served.tailrace)
    broker.publish("w1", "x")
    async with broker.subscribe("w1"):
        pass
    tasks = len(asyncio.all_tasks())
    for _ in range(20):
        async with served.http.stream("GET", "/api/v1/workloads/w1/logs") as response:
            async for message in heard(response):
                if message.data == "x":
                    break
    while served.tailrace.hub.watching:
        await anyio.lowlevel.checkpoint()
    assert len(asyncio.all_tasks()) <= tasks + 1  # the kept-alive connection's
    broker.publish("w1", "it goes on")
    async with broker.subscribe("w1", replay=True) as every:
        assert [await anext(every), await anext(every)] == ["x", "it goes on"]


async def test_completed_workload(served: Served) -> None:
    broker = LogBroker(served.tailrace)
    broker.publish("w1", "a\nb")
    broker.close("w1")
    async with broker.subscribe("w1"):
        pass
    path = "/api/v1/workloads/w1/logs"
    assert await lines(served, path) == ["a", "b"]
    async with served.http.stream("GET", path) as response:
        last = [m async for m in heard(response)][-1]
    assert last.event == "execution.completed"
    gone = await served.http.get(path, headers={"Last-Event-ID": last.id})
    assert gone.status_code == 204  # so an EventSource stops


AWKWARD = ["", " leading", "trailing ", "a\u2028b\x0bc\x0cd\x85e", "data: x", ": not a comment", "\x1b[31mred\x1b[0m", "\ufffd", "nul\0", "\ttab", "id: 9", "x" * 60_000]  # fmt: skip


async def test_no_line_is_split_or_joined(served: Served) -> None:
    await log_of(served, [said(line) for line in AWKWARD])
    assert await lines(served) == AWKWARD
    plain = await served.http.get(LOGS, headers=PLAIN)
    assert plain.content == "".join(f"{line}\n" for line in AWKWARD).encode()


async def test_a_progress_bar_is_one_line(served: Served) -> None:
    await log_of(served, [said("10%\r20%\rdone"), said("next")])
    assert await lines(served) == ["10%\n20%\ndone", "next"]  # SSE writes every break as LF
    plain = await served.http.get(LOGS, headers=PLAIN)
    assert plain.text == "10%\r20%\rdone\nnext\n"


async def test_a_cut_line_is_marked(served: Served) -> None:
    await log_of(served, [said("beginning", truncated=True)])
    assert await lines(served) == ["beginning … [the line was longer and was cut]"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["a", "b", "c", "d", "ERROR e"]),
        ("?level=warning", ["c", "ERROR e"]),
        ("?source=stderr", ["b", "ERROR e"]),
        ("?source=stderr,app.db", ["b", "d", "ERROR e"]),
        ("?node=fetch", ["d"]),
        ("?search=error", ["ERROR e"]),
        ("?tail=2", ["d", "ERROR e"]),
        ("?tail=1&level=warning&source=stdout", ["c"]),
        ("?tail=0", []),
        ("?since=2026-01-01T00:02:30Z", ["d", "ERROR e"]),
        ("?since=2026-01-01T01:02:30%2B01:00&tail=1", ["ERROR e"]),
        ("?after=3", ["c", "d", "ERROR e"]),
        ("?after=3&since=2026-01-01T00:04:00Z&tail=1", ["c", "d", "ERROR e"]),
        ("?follow=false", ["a", "b", "c", "d", "ERROR e"]),
    ],
)
async def test_lines_are_chosen(served: Served, query: str, expected: list[str]) -> None:
    drafts = [
        said("a", 0),
        said("b", 1, source="stderr"),
        said("c", 2, level="warning"),
        said("d", 3, source="app.db", node="fetch", level="debug"),
        said("ERROR e", 4, source="stderr", level="error"),
    ]
    await log_of(served, drafts)
    assert await lines(served, LOGS + query) == expected


@pytest.mark.parametrize(
    "query", ["?since=yesterday", "?level=loud", "?tail=x", "?events=node.*", "?since=9999999d"]
)
async def test_what_cannot_be_is_refused(served: Served, query: str) -> None:
    await log_of(served, [said("a")])
    response = await served.http.get(LOGS + query)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_json_and_ndjson_are_the_events(served: Served) -> None:
    await log_of(
        served, [said("a"), Draft(type="warning", ts="t", data={"code": "w", "message": "m"})]
    )
    answer = await served.http.get(LOGS, headers={"Accept": "application/x-ndjson"})
    found = [json.loads(line) for line in answer.text.splitlines()]
    assert [event["type"] for event in found[1:]] == ["log.line", "execution.completed"]
    async with served.http.stream("GET", f"{LOGS}?format=json") as response:
        events = [m.event async for m in heard(response)]
    assert events == ["stream.open", "log.line", "execution.completed"]


async def test_the_newest_of_a_long_log_are_read_from_its_end(served: Served) -> None:
    log = served.tailrace.log
    await begin(log)
    for start in range(0, 20_000, 2000):
        await log.append(
            "X1",
            [said(f"{n}", level="error" if n == 5 else "info") for n in range(start, start + 2000)],
        )
    await log.append("X1", [ended()])
    reads: list[int] = []
    read = log.read

    async def counting(execution_id: str, after: int, limit: int) -> object:
        reads.append(limit)
        return await read(execution_id, after, limit)

    log.read = counting  # type: ignore[method-assign, assignment]
    assert await lines(served, f"{LOGS}?tail=2") == ["19998", "19999"]
    assert sum(reads) < 2000
    assert await lines(served, f"{LOGS}?tail=1&level=error") == ["5"]  # rare: it looks further back


# --- workloads ----------------------------------------------------------------------------------


async def test_a_workload_is_started_by_name_and_followed(serve: Serve) -> None:
    code = "import sys; print('in', sys.stdin.read()); print('err', file=sys.stderr); sys.exit(3)"
    async with serve(workloads={"job": [sys.executable, "-c", code]}) as served:
        answer = await served.http.post("/api/v1/workloads", json={"name": "job", "input": [1]})
        assert answer.status_code == 202
        assert answer.headers["location"] == answer.json()["links"]["self"]
        path = answer.json()["links"]["logs"]
        assert sorted(await lines(served, path)) == ["err", "in [1]"]
        assert await lines(served, f"{path}?source=stderr") == ["err"]
        state = (await served.http.get(answer.headers["location"])).json()
        assert (state["status"], state["end"]["exit_status"]) == ("failed", 3)


async def test_a_command_is_never_taken_from_a_request(serve: Serve) -> None:
    async with serve() as served:
        for body in ({"name": "rm"}, {"name": "/bin/sh"}):
            refused = await served.http.post("/api/v1/workloads", json=body)
            assert (refused.status_code, refused.json()["code"]) == (404, "workload_not_found")
        extra = await served.http.post("/api/v1/workloads", json={"name": "x", "command": "rm"})
        assert extra.status_code == 400


async def test_a_workload_that_is_cancelled_is_killed_with_its_children(serve: Serve) -> None:
    script = "sleep 1000 & echo $!; wait"
    async with serve(workloads={"parent": ["sh", "-c", script]}) as served:
        answer = (await served.http.post("/api/v1/workloads", json={"name": "parent"})).json()
        async with served.http.stream("GET", answer["links"]["logs"]) as response:
            messages = heard(response)
            child = [m async for m in until_message(messages)][-1]
            await served.http.post(answer["links"]["cancel"], json={"reason": "enough"})
            events = [m.event async for m in messages]
    assert events[-1] == "execution.cancelled"
    assert await anyio.to_thread.run_sync(state_of, child.data) in (None, "Z")


def state_of(pid: str) -> str | None:
    """A process's state; Z is dead, and not yet reaped by its new parent."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.read_text().rpartition(")")[2].split()[0] if stat.exists() else None


async def test_the_path_of_workloads_is_for_workloads(served: Served) -> None:
    await log_of(served, [said("a")])
    response = await served.http.get("/api/v1/workloads/X1/logs")
    assert (response.status_code, response.json()["code"]) == (404, "wrong_kind")
    assert "/api/v1/executions/tasks/X1/stream" in response.json()["hint"]
