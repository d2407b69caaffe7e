"""The log task's seven scenarios by name (seeds/log-streaming-task.md), and what threads do.

Those of HTTP, `sse_endpoint` and the rest, are in tests/http/test_logs.py.
"""

import asyncio
import threading
from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest

from tailrace import LogBroker, Tailrace, errors


@pytest.fixture
async def tailrace() -> AsyncIterator[Tailrace]:
    async with Tailrace("memory:") as opened:
        yield opened


@pytest.fixture
async def broker(tailrace: Tailrace) -> LogBroker:
    return LogBroker(tailrace)


async def heard(lines: AsyncIterator[str]) -> list[str]:
    return [line async for line in lines]


async def test_single_subscriber(broker: LogBroker) -> None:
    async with broker.subscribe("w1") as lines:
        for line in ("one", "two", "three"):
            broker.publish("w1", line)
        assert [await anext(lines) for _ in range(3)] == ["one", "two", "three"]


async def test_multiple_subscribers(broker: LogBroker) -> None:
    async with broker.subscribe("w1") as first, broker.subscribe("w1") as second:
        broker.publish("w1", "a")
        broker.publish("w1", "b\nc")
        broker.close("w1")
        assert await heard(first) == ["a", "b", "c"]
        assert await heard(second) == ["a", "b", "c"]


async def test_close(broker: LogBroker) -> None:
    async with broker.subscribe("w1") as lines:
        broker.close("w1")
        assert await heard(lines) == []
    broker.close("w1")  # twice is once
    with pytest.raises(errors.LogSealed):
        broker.publish("w1", "too late")


async def test_late_subscriber(broker: LogBroker) -> None:
    broker.publish("w1", "before")
    async with broker.subscribe("w1") as lines, broker.subscribe("w1", replay=True) as every:
        broker.publish("w1", "after")
        broker.close("w1")
        assert await heard(lines) == ["after"]
        assert await heard(every) == ["before", "after"]


async def test_completed_workload(broker: LogBroker) -> None:
    broker.publish("w1", "said")
    broker.close("w1")
    async with broker.subscribe("w1") as lines, broker.subscribe("w1", replay=True) as every:
        assert await heard(lines) == []
        assert await heard(every) == ["said"]


async def test_what_is_published_is_an_execution_like_any_other(
    tailrace: Tailrace, broker: LogBroker
) -> None:
    broker.publish("w1", "to out", source="stdout")
    broker.publish("w1", "to err", source="stderr", level="error")
    broker.close("w1")
    async with broker.subscribe("w1") as lines:
        assert await heard(lines) == []
    events = [event async for event in tailrace.follow("w1")]
    assert [event.type for event in events] == [
        "execution.queued",
        "execution.started",
        "log.line",
        "log.line",
        "log.sealed",
        "log.sealed",
        "execution.completed",
    ]
    assert events[3].data == {"line": "to err", "source": "stderr", "level": "error"}
    assert (await tailrace.log.entry("w1")).kind == "workload"


async def test_threads_publish_in_order_and_wait_where_too_much_is_on_its_way(
    broker: LogBroker,
) -> None:
    count, threads = 12_000, 3

    def publish(number: int) -> None:
        for line in range(count // threads):
            broker.publish("w1", f"{number} {line}")

    async with broker.subscribe("w1") as lines, anyio.create_task_group() as tasks:
        for number in range(threads):
            tasks.start_soon(anyio.to_thread.run_sync, publish, number)
        got = [await anext(lines) for _ in range(count)]
    for number in range(threads):
        own = [line for line in got if line.startswith(f"{number} ")]
        assert own == [f"{number} {line}" for line in range(count // threads)]


async def test_the_first_word_and_the_close_may_come_from_a_thread(broker: LogBroker) -> None:
    def work() -> None:
        broker.publish("w1", "from a thread")
        broker.close("w1")

    thread = threading.Thread(target=work)
    thread.start()
    await anyio.to_thread.run_sync(thread.join)
    async with broker.subscribe("w1", replay=True) as lines:
        assert await heard(lines) == ["from a thread"]


async def test_on_the_loop_too_much_at_once_is_refused(broker: LogBroker) -> None:
    def speak() -> None:
        for _ in range(100_000):
            broker.publish("w1", "x")

    with pytest.raises(errors.Overloaded):
        speak()


async def test_an_id_of_another_broker_is_heard_but_not_spoken_to(tailrace: Tailrace) -> None:
    first, second = LogBroker(tailrace), LogBroker(tailrace)
    async with first.subscribe("w1") as own:
        first.publish("w1", "a")
        assert await anext(own) == "a"
    async with second.subscribe("w1") as lines:
        first.publish("w1", "b")
        first.close("w1")
        assert await heard(lines) == ["b"]
    with pytest.raises(errors.LogSealed):
        second.publish("w1", "mine")


@pytest.mark.parametrize("bad", ["", "a/b", "../x", "a b", "é", "x" * 129, "-"])
async def test_an_id_that_no_url_could_hold_is_refused(broker: LogBroker, bad: str) -> None:
    with pytest.raises(errors.InvalidRequest):
        broker.publish(bad, "x")


async def test_a_subscriber_that_leaves_leaves_nothing(
    tailrace: Tailrace, broker: LogBroker
) -> None:
    async with broker.subscribe("w1"):
        pass
    before = len(asyncio.all_tasks())
    for _ in range(50):
        async with broker.subscribe("w1") as lines:
            broker.publish("w1", "x")
            assert await anext(lines) == "x"
    assert tailrace.hub.watching == 0
    assert len(asyncio.all_tasks()) == before
