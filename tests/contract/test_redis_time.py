"""Machines whose clocks differ: who lives, and what is over, is the same for all of them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from anyio.to_thread import run_sync as in_thread

from tailrace.clock import rfc3339
from tailrace.log.redis import RedisLog
from tailrace.log.redis_time import SAME_US, ServerTime
from tailrace.testing import FakeClock
from tailrace.testing.contract.tools import begin
from tests.contract.conftest import Redis

OFF_S = (-3600.0, -60.0, 60.0)


class Machine:
    """A handle on the log, and what the machine that it is on says of the time."""

    def __init__(self, url: str, off_s: float) -> None:
        self._off = timedelta(seconds=off_s)
        self.log = RedisLog(url)
        itself: Any = self
        self.log._link.time._clock = itself

    def now(self) -> datetime:
        return datetime.now(UTC) + self._off

    def in_(self, seconds: float) -> str:
        return rfc3339(self.now() + timedelta(seconds=seconds))


@pytest.fixture(params=[False, True], ids=["server", "cluster"])
async def machines(redis: Redis, request: pytest.FixtureRequest) -> AsyncIterator[list[Machine]]:
    """The first has the server's time, the others another."""
    url = await in_thread(redis.fresh, request.param)
    made = [Machine(url, off_s) for off_s in (0.0, *OFF_S)]
    async with AsyncExitStack() as stack:
        for machine in made:
            await stack.enter_async_context(machine.log)
        yield made


async def test_nobody_is_dead_for_having_another_time(machines: list[Machine]) -> None:
    for number, machine in enumerate(machines):
        await begin(machine.log, f"X{number}", lease_until=machine.in_(15))
    for machine in machines:
        assert await machine.log.expired(machine.in_(0)) == []
        assert len(await machine.log.expired(machine.in_(30))) == len(machines)
    for number, machine in enumerate(machines):
        await machine.log.beat([f"X{number}"], machine.in_(115))
    for machine in machines:
        assert await machine.log.expired(machine.in_(100)) == []
        over = dict(await machine.log.expired(machine.in_(130)))
        assert len(over) == len(machines)
        # When it ended is told in the time of who asks.
        assert machine.in_(110) < over["X0"] < machine.in_(120)


async def test_what_one_keeps_is_not_over_for_another(machines: list[Machine]) -> None:
    for maker in machines:
        now, until = maker.in_(0), maker.in_(30)
        await maker.log.facts.put("ticket", "t", "x", now=now, until=until)
        for asker in machines:
            assert await asker.log.facts.get("ticket", "t", now=asker.in_(20)) == "x"
            assert await asker.log.facts.get("ticket", "t", now=asker.in_(40)) is None
        assert await maker.log.facts.occupy("s", {"w": 1}, "h", now=now, until=until) is None
        for asker in machines:
            now, until = asker.in_(20), asker.in_(30)
            assert await asker.log.facts.occupy("s", {"w": 1}, "i", now=now, until=until) == "w"
        await maker.log.facts.vacate("s", "h")


def test_an_answer_that_came_late_proves_little() -> None:
    """The event loop was blocked, or the server stood still: no clock is off for that."""
    clock = FakeClock()
    time, asked = ServerTime(clock), clock.now()
    at = round(asked.timestamp())
    clock._elapsed = 20.0  # that long until the answer was read
    time.heard(asked, at, 0)
    assert time.score(rfc3339(asked)) == at * 1_000_000
    time.heard(asked, at + 20, 0)
    assert time.score(rfc3339(asked)) == at * 1_000_000
    time.heard(asked, at + 80, 0)  # at least a minute ahead
    assert time.score(rfc3339(asked)) == (at + 60) * 1_000_000
    assert time.moment((at + 60) * 1_000_000) == rfc3339(asked)
    time.heard(clock.now(), at + 20, SAME_US - 1)  # somebody has set it right, nearly
    assert time.score(rfc3339(asked)) == at * 1_000_000
