"""Every store against every check of the contract."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
from anyio.to_thread import run_sync as in_thread

from tailrace.log.base import EventLog
from tailrace.log.memory import MemoryLog
from tailrace.log.redis import RedisLog
from tailrace.log.sqlite import SqliteLog
from tailrace.testing import contract
from tailrace.testing.contract import CHECKS, Bench, Check
from tests.contract.conftest import Redis


class MemoryBench:
    """One object: another handle on it is itself."""

    def __init__(self) -> None:
        self._log = MemoryLog()

    async def log(self) -> EventLog:
        await self._log.open()
        return self._log

    other = log

    async def reopen(self) -> EventLog:
        await self._log.aclose()
        return await self.log()

    async def close(self) -> None:
        await self._log.aclose()


class HandlesBench:
    """Handles on one store, as several processes have; for Redis also on several machines."""

    def __init__(self, made: Callable[[], SqliteLog | RedisLog]) -> None:
        self._made = made
        self._handles: list[SqliteLog | RedisLog] = []

    async def log(self) -> EventLog:
        log = self._made()
        await log.open()
        self._handles.append(log)
        return log

    other = log

    async def reopen(self) -> EventLog:
        await self.close()
        return await self.log()

    async def close(self) -> None:
        for handle in self._handles:
            await handle.aclose()
        self._handles.clear()


STORES = ["memory", "sqlite-os", "sqlite-disk", "redis-server", "redis-cluster"]


@pytest.fixture(params=STORES)
async def bench(
    request: pytest.FixtureRequest, tmp_path: Path, redis: Redis
) -> AsyncIterator[Bench]:
    kind, _, how = str(request.param).partition("-")
    made: MemoryBench | HandlesBench
    if kind == "memory":
        made = MemoryBench()
    elif kind == "sqlite":
        made = HandlesBench(partial(SqliteLog, tmp_path / "log.db", durability=how))
    else:
        made = HandlesBench(partial(RedisLog, await in_thread(redis.fresh, how == "cluster")))
    yield made
    await made.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Check, bench: Bench) -> None:
    await check(bench)


def test_every_topic_is_in_the_contract() -> None:
    """A file of checks that the package does not import would be promised, and run by nobody."""
    files = {path.stem for path in Path(str(contract.__file__)).parent.glob("*.py")}
    topics = {check.__module__.rpartition(".")[2] for check in CHECKS}
    assert topics == files - {"__init__", "bench", "tools"}
