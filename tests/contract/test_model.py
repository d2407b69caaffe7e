"""Random operations on each store, compared with a list."""

import functools
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace.errors import ConflictError
from tailrace.log.base import EventLog, Producer
from tailrace.log.memory import MemoryLog
from tailrace.log.redis import RedisLog
from tailrace.log.sqlite import SqliteLog
from tailrace.testing.contract.tools import Listening, begin, ended, line, lines, read_all, seqs
from tests.contract.conftest import Redis

APPEND = st.tuples(st.just("append"), st.lists(st.text(max_size=5), min_size=1, max_size=4))
EXPECT = st.tuples(st.just("expect"), st.integers(0, 20))
PRODUCE = st.tuples(st.just("produce"), st.integers(1, 5))
TRIM = st.tuples(st.just("trim"), st.integers(0, 20))
WATCH = st.tuples(st.just("watch"), st.integers(0, 3))
END = st.tuples(st.just("end"), st.just(0))
OPERATIONS = st.lists(st.one_of(APPEND, APPEND, EXPECT, PRODUCE, TRIM, WATCH, END), max_size=25)


class Model:
    """The naive log: a list, a floor, and the last batch of one producer."""

    def __init__(self) -> None:
        self.texts = ["None"]
        self.floor, self.batch, self.ended = 1, 0, False

    def visible(self) -> list[str]:
        return self.texts[self.floor - 1 :]


async def apply(log: EventLog, model: Model, kind: str, argument: object) -> None:
    if kind == "append":
        assert isinstance(argument, list)
        await log.append("X1", [line(text) for text in argument])
        model.texts += argument
    elif kind == "expect":
        assert isinstance(argument, int)
        await log.append("X1", [line("e")], expected=argument)
        assert argument == len(model.texts)
        model.texts.append("e")
    elif kind == "produce":
        assert isinstance(argument, int)
        result = await log.append("X1", [line("p")], producer=Producer("p", argument))
        assert result.duplicate == (argument <= model.batch)
        if not result.duplicate:
            model.batch = argument
            model.texts.append("p")
    elif kind == "trim":
        assert isinstance(argument, int)
        model.floor = max(model.floor, min(argument, len(model.texts)))
        assert (await log.trim("X1", argument)).floor == model.floor
    else:
        await log.append("X1", [ended()])
        model.texts.append("None")
        model.ended = True


async def behaves_like_the_model(log: EventLog, operations: list[tuple[str, object]]) -> None:
    model = Model()
    watches: list[Listening] = []
    async with log:
        await begin(log)
        for kind, argument in operations:
            if kind == "watch":
                watches.append(Listening(log, "X1", len(model.texts)))
                continue
            before = list(model.texts)
            try:
                await apply(log, model, kind, argument)
            except ConflictError:
                refused = model.ended or kind in ("expect", "produce")
                assert refused, f"{kind} was refused"
                assert model.texts == before
        records = await read_all(log, "X1")
        assert lines(records) == model.visible()
        assert seqs(records) == list(range(model.floor, len(model.texts) + 1))
        for watch in watches:
            await watch.until(len(model.texts))
            watch.stop()


def made(store: str, folder: Path, redis: Redis) -> EventLog:
    if store == "memory":
        return MemoryLog()
    return RedisLog(redis.fresh()) if store == "redis" else SqliteLog(folder / "l.db")


@pytest.mark.parametrize("store", ["memory", "sqlite", "redis"])
@settings(max_examples=60, deadline=None)
@given(operations=OPERATIONS)
def test_a_store_behaves_like_a_list(
    store: str, redis: Redis, operations: list[tuple[str, object]]
) -> None:
    with TemporaryDirectory() as folder:
        log = made(store, Path(folder), redis)
        anyio.run(functools.partial(behaves_like_the_model, log, operations))
