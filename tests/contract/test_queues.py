"""SAQ against every check of a work queue, and what only it can do wrong."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable

import anyio
import pytest
from anyio.abc import SocketStream
from anyio.to_thread import run_sync as in_thread

from tailrace.errors import QueueUnavailable
from tailrace.testing.queues import CHECKS, QueueBench, taken
from tailrace.work import saq
from tailrace.work.base import Job
from tailrace.work.saq import SaqQueue
from tests.contract.conftest import Redis
from tests.proxies import listening

PATIENCE_S = 15


class SaqBench:
    """Handles on one Redis, as several processes have; `later` is SAQ's next whole second."""

    def __init__(self, url: str) -> None:
        self._url, self._handles = url, list[SaqQueue]()

    async def queue(self) -> SaqQueue:
        made = await SaqQueue(self._url, patience_s=PATIENCE_S).__aenter__()
        self._handles.append(made)
        return made

    other = queue

    def later(self) -> float:
        return time.time() + 1

    async def pass_time(self) -> None:
        """It passes by itself: whoever takes waits for it."""

    async def close(self) -> None:
        for handle in self._handles:
            await handle.__aexit__(None, None, None)


@pytest.fixture
async def bench(redis: Redis) -> AsyncIterator[SaqBench]:
    made = SaqBench(await in_thread(redis.fresh))
    yield made
    await made.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Callable[[QueueBench], Awaitable[None]], bench: SaqBench) -> None:
    await check(bench)


async def test_what_a_dead_worker_had_is_put_back(
    bench: SaqBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, other = await bench.queue(), await bench.other()
    await queue.submit(Job(execution_id="X1"))
    await queue.submit(Job(execution_id="X2"))
    dead, alive = await queue.take(["default"]), await queue.take(["default"])
    later = time.time() + PATIENCE_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    await queue.beat([alive])
    await other.waiting("default")  # it knows of this queue
    await other.sweep()
    assert await taken(other) == [dead.key]
    assert await other.waiting("default") == 0


async def test_nothing_stays_of_what_is_done(bench: SaqBench, redis: Redis) -> None:
    queue = await bench.queue()
    await queue.submit(Job(execution_id="X1"))
    await queue.done(await queue.take(["default"]))
    for at_s in (0.0, time.time() + 1000):
        cancelled = Job(execution_id="X2", at_s=at_s)
        await queue.submit(cancelled)
        await queue.cancel(cancelled)
    assert await in_thread(lambda: redis.server().cli("KEYS", "saq:abort:X2/1")) == ""
    prefix = bench._url.partition("prefix=")[2]
    left = await in_thread(lambda: redis.server().cli("KEYS", f"saq:job:{prefix}.*"))
    assert left == ""


async def test_a_job_that_the_server_evicted_can_be_put_in_again(
    bench: SaqBench, redis: Redis
) -> None:
    """Its record is gone, its name is still in SAQ's lists: the log submits it anew."""
    queue = await bench.queue()
    await queue.submit(Job(execution_id="X1"))
    await queue.submit(Job(execution_id="X2"))
    prefix = bench._url.partition("prefix=")[2]
    record = f"saq:job:{prefix}.default.normal:X1/1"
    assert await in_thread(lambda: redis.server().cli("DEL", record)) == "1"
    assert await taken(queue) == ["X2/1"]
    await queue.submit(Job(execution_id="X1"))
    assert await taken(queue) == ["X1/1"]


@pytest.mark.parametrize("text", ["no JSON", "[]", '{"queue": "another"}', '{"new_field": 1}'])
async def test_a_job_that_this_saq_cannot_read_stops_no_worker(
    bench: SaqBench, redis: Redis, text: str
) -> None:
    """A newer one has made it, say. It is put in anew by the log, as any that was lost."""
    queue, other = await bench.queue(), await bench.other()
    prefix = bench._url.partition("prefix=")[2]
    for name in ("X1", "X2"):
        await queue.submit(Job(execution_id=name))
        if name == "X1":
            held = await queue.take(["default"])
        record = f"saq:job:{prefix}.default.normal:{name}/1"
        assert await in_thread(redis.server().cli, "SET", record, text) == "OK"
    await queue.submit(Job(execution_id="X3"))
    assert await taken(other) == ["X3/1"]
    await other.sweep()
    for name in ("X1", "X2"):
        await queue.submit(Job(execution_id=name))
    assert sorted(await taken(other, 2)) == [held.key, "X2/1"]


async def test_a_server_that_is_not_there_is_said(bench: SaqBench) -> None:
    async with SaqQueue("redis://127.0.0.1:1/0", patience_s=PATIENCE_S) as queue:
        with pytest.raises(QueueUnavailable):
            await queue.submit(Job(execution_id="X1"))


async def test_a_server_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine lost its power: nobody is left to say that the connection is over."""
    monkeypatch.setattr(saq, "ANSWER_S", 0.1)
    monkeypatch.setattr(saq, "BELL_S", 0.0)
    job = Job(execution_id="X1")

    async def silent(connection: SocketStream) -> None:
        await anyio.sleep_forever()

    async with listening(silent) as port:
        url = f"redis://127.0.0.1:{port}/0"
        async with SaqQueue(url, patience_s=PATIENCE_S) as queue:
            for asked in (
                queue.submit(job),
                queue.cancel(job),
                queue.take(["default"]),
                queue.sweep(),
                queue.waiting("default"),
            ):
                with pytest.raises(QueueUnavailable, match="no answer"):
                    await asked


async def test_none_is_taken_in_the_second_before_its_time(bench: SaqBench, redis: Redis) -> None:
    queue = await bench.queue()
    whole = float(int(time.time()) + 1000)
    await queue.submit(Job(execution_id="X1", at_s=whole + 0.4))
    prefix = bench._url.partition("prefix=")[2]
    due = f"saq:{prefix}.default.normal:incomplete"
    score = await in_thread(lambda: redis.server().cli("ZRANGE", due, "0", "-1", "WITHSCORES"))
    assert float(score.split()[-1]) >= whole + 0.4


async def test_a_wrong_password_is_said_without_it(redis: Redis) -> None:
    url = (await in_thread(redis.fresh)).replace("redis://:", "redis://:wrong-")
    async with SaqQueue(url, patience_s=PATIENCE_S) as queue:
        with pytest.raises(QueueUnavailable) as raised:
            await queue.waiting("default")
    assert "wrong-" not in str(raised.value)
