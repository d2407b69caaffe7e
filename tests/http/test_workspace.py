"""Many executions on one connection: each event once, from wherever a reader resumes."""

import json
import random
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from tailrace import many, sse
from tailrace.errors import InvalidPosition
from tailrace.events import Draft
from tailrace.log.base import EventLog
from tailrace.many import Many
from tailrace.testing.contract.tools import begin, ended, line
from tests.http.conftest import Serve, Served

STREAM = "/api/v1/workspaces/default/stream"
Got = dict[str, list[int]]


async def heard(response: httpx.Response) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Each message's last event id, and its envelope."""
    decoder = sse.Decoder()
    async for chunk in response.aiter_raw():
        for message in decoder.feed(chunk):
            yield message.id, json.loads(message.data)


async def reading(
    served: Served, query: str, got: Got, place: str | None = None, *, upto: int | None = None
) -> str | None:
    """Read until `upto` events came, or the stream ends; returns where it stands, None at 204."""
    headers = {"Last-Event-ID": place} if place else {}
    async with served.http.stream("GET", STREAM + query, headers=headers) as response:
        if response.status_code == 204:
            return None
        assert response.status_code == 200, await response.aread()
        count = 0
        if upto == 0:
            return place
        async for id_, event in heard(response):
            if event["id"] is not None:
                got[event["execution_id"]].append(event["id"])
                place, count = id_, count + 1
                if count == upto:
                    break
    return place


async def test_all_that_run_and_all_that_come(served: Served) -> None:
    log = served.tailrace.log
    await begin(log, "ended")
    await log.append("ended", [ended()])
    await begin(log, "running")
    await begin(log, "elsewhere", workspace="other")
    got: Got = defaultdict(list)
    async with served.http.stream("GET", STREAM) as response:
        messages = heard(response)
        _, opened = await anext(messages)
        assert opened["type"] == "stream.open"
        assert (opened["data"]["workspace"], opened["data"]["executions"]) == ("default", 1)
        await take(messages, got, 1)
        await begin(log, "new")
        await take(messages, got, 1)
        await log.append("running", [line(), ended()])
        await log.append("new", [line()])
        await take(messages, got, 3)
    assert got == {"running": [1, 2, 3], "new": [1, 2]}


async def take(messages: AsyncIterator[tuple[str, dict[str, Any]]], got: Got, count: int) -> str:
    place = ""
    for _ in range(count):
        place, event = await anext(messages)
        got[event["execution_id"]].append(event["id"])
    return place


async def test_named_executions_end_with_the_last_of_them(served: Served) -> None:
    log = served.tailrace.log
    for name in ("X1", "X2", "X3"):
        await begin(log, name)
        await log.append(name, [line(), ended()])
    got: Got = defaultdict(list)
    query = "?execution=X1&execution=X3"
    place = await reading(served, query, got)
    assert got == {"X1": [1, 2, 3], "X3": [1, 2, 3]}
    assert await reading(served, query, got, place) is None  # 204: an EventSource stops
    lost = await served.http.get(f"{STREAM}?execution=nope")
    assert (lost.status_code, lost.json()["code"]) == (404, "execution_not_found")


@pytest.mark.parametrize("query", ["?execution=X1&execution=X2&execution=X3", ""])
async def test_every_id_resumes_all_of_them(served: Served, query: str) -> None:
    log = served.tailrace.log
    for name in ("X1", "X2", "X3"):
        await begin(log, name)
        await log.append(name, [line() for _ in range(4)])
    whole: Got = defaultdict(list)
    places: list[str] = []
    seen: list[Got] = []
    async with served.http.stream("GET", f"{STREAM}{query}") as response:
        messages = heard(response)
        await anext(messages)
        for _ in range(15):
            places.append(await take(messages, whole, 1))
            seen.append({name: list(ids) for name, ids in whole.items()})
    for name in ("X1", "X2", "X3"):
        await log.append(name, [ended()])
    for place, before in zip(places, seen, strict=True):
        got: Got = defaultdict(list, {name: list(ids) for name, ids in before.items()})
        await reading(served, f"{query}{'&' if query else '?'}follow=false", got, place)
        assert got == {name: [1, 2, 3, 4, 5, 6] for name in ("X1", "X2", "X3")}


async def test_cut_anywhere_nothing_is_lost_and_nothing_comes_twice(served: Served) -> None:
    """Executions come, speak and end while a reader is cut at random and resumes."""
    log, chance = served.tailrace.log, random.Random(7)
    expected: Got = {}
    place: str | None = None
    got: Got = defaultdict(list)
    async with served.http.stream("GET", STREAM) as response:
        place = (await anext(heard(response)))[1]["data"]["position"]

    async def produce() -> None:
        running: list[str] = []
        for number in range(60):
            if chance.random() < 0.5:
                running.append(f"X{number}")
                await begin(log, running[-1])
                expected[running[-1]] = [1]
            for name in list(running):
                over = chance.random() < 0.3
                await log.append(name, [line(), *([ended()] if over else [])])
                seqs = expected[name]
                seqs += range(len(seqs) + 1, len(seqs) + (3 if over else 2))
                if over:
                    running.remove(name)
        for name in running:
            await log.append(name, [ended()])
            expected[name].append(len(expected[name]) + 1)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(produce)
        for _ in range(30):
            place = await reading(served, "", got, place, upto=chance.randrange(1, 4))
    await reading(served, "?follow=false", got, place)
    assert got == expected


async def test_where_more_run_than_one_stream_reads_the_next_ones_wait(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "AT_ONCE", 3)
    log = served.tailrace.log
    for number in range(8):
        await begin(log, f"X{number}")
    got: Got = defaultdict(list)
    async with served.http.stream("GET", STREAM) as response:
        messages = heard(response)
        await anext(messages)
        await take(messages, got, 3)
        assert set(got) == {"X0", "X1", "X2"}
        for number in range(8):
            await log.append(f"X{number}", [ended()])
        place = await take(messages, got, 8 * 2 - 3)
    assert got == {f"X{number}": [1, 2] for number in range(8)}
    assert place == str((await log.entry("X7")).number)


async def test_from_position_0_comes_all_that_is_there(served: Served) -> None:
    log = served.tailrace.log
    for number in range(5):
        await begin(log, f"X{number}")
        await log.append(f"X{number}", [ended()])
    await begin(log, "running")
    got: Got = defaultdict(list)
    await reading(served, "?follow=false&after=0", got)
    assert got == {f"X{number}": [1, 2] for number in range(5)} | {"running": [1]}
    here = served.tailrace.follow_many(after="0", live=False)
    assert len([event async for event in here]) == 11


async def test_filters_leave_out_and_still_move_on(served: Served) -> None:
    log = served.tailrace.log
    for name in ("X1", "X2"):
        await begin(log, name)
        await log.append(name, [line("a"), Draft(type="node.started", ts="t", data={}, node="n")])
    got: Got = defaultdict(list)
    query = "?execution=X1&execution=X2&events=log.line&follow=false"
    async with served.http.stream("GET", STREAM + query) as response:
        decoder = sse.Decoder()
        async for chunk in response.aiter_raw():
            for message in decoder.feed(chunk):
                event = json.loads(message.data)
                if event["id"]:
                    got[event["execution_id"]].append(event["id"])
    assert got == {"X1": [2], "X2": [2]}
    rest: Got = defaultdict(list)
    await reading(served, query.replace("log.line", "node.*"), rest, decoder.last_event_id)
    assert rest == {}  # what another filter left out is passed, too


async def test_ndjson_has_the_position_in_each_line(served: Served) -> None:
    log = served.tailrace.log
    await begin(log, "X1")
    await log.append("X1", [line(), ended()])
    answer = await served.http.get(
        f"{STREAM}?execution=X1", headers={"Accept": "application/x-ndjson"}
    )
    events = [json.loads(text) for text in answer.text.splitlines()]
    assert [event["id"] for event in events] == [None, 1, 2, 3]
    got: Got = defaultdict(list)
    await reading(served, "?execution=X1", got, events[1]["position"])
    assert got == {"X1": [2, 3]}


async def test_a_trimmed_log_is_a_gap_of_that_log(served: Served) -> None:
    log = served.tailrace.log
    await begin(log, "X1")
    await log.append("X1", [line(), line(), ended()])
    await log.trim("X1", 3)
    async with served.http.stream("GET", f"{STREAM}?execution=X1") as response:
        events = [event async for _, event in heard(response)]
    assert [event["type"] for event in events[:2]] == ["stream.open", "stream.gap"]
    assert events[1]["execution_id"] == "X1"
    assert events[1]["data"] == {"from": 1, "to": 2, "cause": "retention"}


async def test_a_position_of_another_store_is_a_gap(served: Served) -> None:
    await begin(served.tailrace.log, "X1")
    async with served.http.stream("GET", STREAM, headers={"Last-Event-ID": "900"}) as response:
        messages = heard(response)
        await anext(messages)
        _, gap = await anext(messages)
    assert (gap["type"], gap["data"]) == ("stream.gap", {"from": 2, "to": 900, "cause": "lost"})


async def test_silence_is_filled_and_a_shutdown_is_said(serve: Serve) -> None:
    async with serve(heartbeat_s=0.05) as served:
        async with served.http.stream("GET", f"{STREAM}?heartbeat=event") as response:
            messages = heard(response)
            assert [(await anext(messages))[1]["type"] for _ in range(3)] == [
                "stream.open",
                "heartbeat",
                "heartbeat",
            ]
            served.tailrace.hub.close()
            rest = [event["type"] async for _, event in messages]
        assert rest[-1] == "stream.closing"
    assert not served.tailrace.hub.timed


@pytest.mark.parametrize("query", ["?format=text", "?after=nope", "?after=1_2", "?events=x"])
async def test_what_cannot_be_is_refused(served: Served, query: str) -> None:
    response = await served.http.get(STREAM + query)
    assert response.status_code == 400


@pytest.mark.parametrize("text", ["", "x", "1_", "1_2", "1_2.3", "1_2.3.zzzz", "-1", "1" * 16])
def test_a_position_that_is_none(text: str) -> None:
    with pytest.raises(InvalidPosition):
        Many.parse(text)


def test_a_position_reads_back() -> None:
    assert Many.parse("17_18.5.3fa9_20.1.77b0") == Many(17, {18: (5, "3fa9"), 20: (1, "77b0")})
    assert Many.parse("0") == Many(0, {})


async def test_two_processes_of_one_file_are_one_workspace(serve: Serve, tmp_path: Any) -> None:
    from tailrace.log.sqlite import SqliteLog

    async with (
        serve(store=f"sqlite:///{tmp_path / 'log.db'}") as served,
        SqliteLog(tmp_path / "log.db") as other,
    ):
        got: Got = defaultdict(list)
        async with served.http.stream("GET", STREAM) as response:
            messages = heard(response)
            await anext(messages)
            await speak(other)
            await take(messages, got, 3)
    assert got == {"X1": [1, 2, 3]}


async def speak(log: EventLog) -> None:
    await begin(log, "X1")
    await log.append("X1", [line(), ended()])
