"""Random producers, and watchers that join, leave, resume and change filters, on every store.

What must hold (issue 5): what a watcher receives between two of its positions is exactly what its
filter selects there, once and in order; so the union over its connections is all it asked for.
That holds whichever server it comes back to: here there are two, and it never stays at one.
"""

import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tailrace import sse
from tailrace.clock import SystemClock
from tailrace.compact import compact
from tailrace.events import Draft, Record
from tailrace.filters import Filter
from tailrace.http.faces import EVENTS, writer
from tailrace.hub import Hub
from tailrace.log.base import EventLog
from tailrace.log.memory import MemoryLog
from tailrace.log.redis import RedisLog
from tailrace.log.sqlite import SqliteLog
from tailrace.positions import Position
from tailrace.testing.contract.tools import begin, ended, read_all
from tests.contract.conftest import Redis

TS = "2026-01-01T00:00:00.000000Z"
KINDS = ("log.line", "llm.chunk", "node.progress", "custom.x")


def said(type_: str, node: str, level: str) -> Draft:
    data: dict[str, dict[str, Any]] = {
        "log.line": {"line": f"{node} says", "source": "s", "level": level},
        "llm.chunk": {"text": node, "offset": 0},
    }
    return Draft(type=type_, ts=TS, data=data.get(type_, {}), node=node)


SAID = st.builds(
    said, st.sampled_from(KINDS), st.sampled_from("ab"), st.sampled_from(["info", "error"])
)
PRODUCER = st.lists(st.lists(SAID, min_size=1, max_size=8), max_size=6)
FILTER = st.none() | st.builds(
    Filter,
    types=st.sampled_from([(), ("log.line",), ("llm.*", "custom.*"), ("node.*",)]),
    nodes=st.sampled_from([frozenset(), frozenset("a")]),
    level=st.sampled_from([None, "error"]),
    search=st.sampled_from([None, "B says"]),
)
# One connection: what it asks for, whether it compacts, after how many writes it is cut, and how
# many turns it stays away then.
CONNECTION = st.tuples(FILTER, st.booleans(), st.integers(1, 4), st.integers(0, 6))
WATCHER = st.tuples(st.integers(0, 12), st.lists(CONNECTION, min_size=1, max_size=6))


Connection = tuple[Filter | None, bool, int, int]
Given = list[tuple[int, str]]


@asynccontextmanager
async def opened(
    store: str, folder: Path, redis: Redis
) -> AsyncIterator[tuple[EventLog, EventLog]]:
    """Two handles on one store: producers may be elsewhere."""
    if store == "memory":
        async with MemoryLog() as log:
            yield log, log
    elif store == "redis":
        url = await to_thread.run_sync(redis.fresh)
        async with RedisLog(url) as first, RedisLog(url) as second:
            yield first, second
    else:
        async with SqliteLog(folder / "l.db") as log, SqliteLog(folder / "l.db") as other:
            yield log, other


class Reader:
    """One watcher across its connections, and what each of them gave."""

    def __init__(self, hubs: Sequence[Hub]) -> None:
        self.hubs = itertools.cycle(hubs)  # the servers, behind a proxy that takes turns
        self.position = 0
        self.ended = False
        self.got: list[tuple[Filter | None, bool, int, int, Given]] = []

    async def connect(self, wanted: Filter | None, compacted: bool, writes: int) -> None:
        """Read as the HTTP face writes, up to so many writes."""
        frames, decoder = writer(EVENTS, wanted, compacted=compacted), sse.Decoder()
        start, received = self.position, Given()
        async with next(self.hubs).watch("X1", Position(self.position)) as watcher:
            for _ in range(writes):
                batch = await watcher.read()
                while not batch.records and not watcher.opening.nothing_left:
                    await watcher.wait()
                    batch = await watcher.read()
                messages = decoder.feed(frames(batch))
                received += [(int(message.id), message.data) for message in messages]
                self.position = max(int(decoder.last_event_id or 0), self.position)
                self.ended = batch.ended or watcher.opening.nothing_left
                if self.ended:
                    break
        self.got.append((wanted, compacted, start, self.position, received))


async def scenario(
    log: EventLog,
    other: EventLog,
    producers: list[list[list[Draft]]],
    watchers: list[tuple[int, list[Connection]]],
) -> None:
    await begin(log)
    hubs = [Hub(handle, SystemClock(), page=7, ring=10) for handle in (log, other)]
    readers: list[Reader] = []

    async def produce(number: int, batches: list[list[Draft]]) -> None:
        for batch in batches:
            await (other if number % 2 else log).append("X1", batch)

    async def watch(turns: int, connections: list[Connection]) -> None:
        reader = Reader(hubs[len(readers) % 2 :] + hubs[: len(readers) % 2])
        readers.append(reader)
        for _ in range(turns):
            await anyio.lowlevel.checkpoint()
        for wanted, compacted, writes, away in connections:
            if not reader.ended:
                await reader.connect(wanted, compacted, writes)
            for _ in range(away):
                await anyio.lowlevel.checkpoint()
        if not reader.ended:
            await reader.connect(None, False, 1000)

    async with anyio.create_task_group() as tasks:
        for hub in hubs:
            tasks.start_soon(hub.run)
        async with anyio.create_task_group() as watching:
            for turns, connections in watchers:
                watching.start_soon(watch, turns, connections)
            async with anyio.create_task_group() as producing:
                for number, batches in enumerate(producers):
                    producing.start_soon(produce, number, batches)
            await log.append("X1", [ended()])
        tasks.cancel_scope.cancel()
    every = await read_all(log, "X1")
    assert [hub.watching for hub in hubs] == [0, 0]
    for reader in readers:
        check(every, reader)


def check(every: Sequence[Record], reader: Reader) -> None:
    position = 0
    for wanted, compacted, start, end, received in reader.got:
        assert start == position, "a connection begins where the last one stood"
        chosen = [r for r in every[start:end] if wanted is None or wanted.chooses(r)]
        if compacted:
            # Joined or not, the same words by the same speakers up to the same ids.
            assert words(compact(chosen)) == words(compact(parsed(received)))
            assert {number for number, _ in received} <= {record.seq for record in chosen}
        else:
            assert [number for number, _ in received] == [record.seq for record in chosen]
        position = end
    assert reader.ended
    assert position == len(every)


def parsed(received: Given) -> list[Record]:
    return [
        Record(number, json.loads(data)["type"], data.partition(",")[2].encode())
        for number, data in received
    ]


def words(records: Sequence[Record]) -> list[tuple[object, ...]]:
    told = [record.event() for record in records]
    return [(e.type, e.node, e.data.get("text", e.data.get("line"))) for e in told]


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    producers=st.lists(PRODUCER, min_size=1, max_size=3),
    watchers=st.lists(WATCHER, min_size=1, max_size=4),
)
def test_each_gets_exactly_what_it_asked_for(
    store: str,
    redis: Redis,
    producers: list[list[list[Draft]]],
    watchers: list[tuple[int, list[Connection]]],
) -> None:
    async def run(folder: Path) -> None:
        async with opened(store, folder, redis) as (log, other):
            await scenario(log, other, producers, watchers)

    with TemporaryDirectory() as folder:
        anyio.run(run, Path(folder))
