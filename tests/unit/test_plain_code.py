"""Agents, tasks and blocks: plain code as executions, and what it says from inside."""

import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
import anyio.to_thread
import pytest
from pydantic import BaseModel

from tailrace import (
    Event,
    Result,
    Tailrace,
    agent,
    chunk,
    emit,
    errors,
    flow,
    flush,
    log,
    node,
    progress,
    step,
    task,
    tool_call,
    usage,
)
from tailrace.agent import TURN_CHARS, Agent
from tailrace.events import TERMINAL
from tailrace.lifecycle import fold
from tailrace.recorder import OUTBOX_MAX_EVENTS


async def ran(made: Agent[Any] | Any, **given: Any) -> list[Event]:
    """Run to the end and check what holds for every execution."""
    async with Tailrace("memory:") as tailrace:
        run = await tailrace.start(made, given)
        await run.wait()
        events = [event async for event in run.follow()]
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert [event.type in TERMINAL for event in events] == [False] * (len(events) - 1) + [True]
    fold(events)
    return events


def types(events: list[Event]) -> list[str]:
    return [event.type for event in events[2:]]


class Fact(BaseModel):
    name: str


@agent
async def speaks(question: str) -> AsyncIterator[str]:
    """Says the question back, a word at a time."""
    for word in question.split(" "):
        yield f"{word} "


async def test_an_agent_that_yields_text_speaks() -> None:
    events = await ran(speaks, question="naïve 😀 cafés are nice")
    chunks = [event for event in events if event.type == "llm.chunk"]
    text = "".join(event.data["text"] for event in chunks)
    assert text == "naïve 😀 cafés are nice "
    for event in chunks:  # a late reader can verify what it has
        assert text[event.data["offset"] :].startswith(event.data["text"])
    assert events[0].data["kind"] == "agent"
    assert events[0].data["output_schema"] is None


async def test_an_agent_can_yield_values_and_a_result() -> None:
    @agent
    async def mixed() -> AsyncIterator[object]:
        yield "thinking"
        yield Fact(name="a")
        yield {"name": "b"}
        yield Result({"answer": 42})

    events = await ran(mixed)
    assert types(events) == ["llm.chunk", "output.item", "output.item", "execution.completed"]
    assert [e.data["index"] for e in events if e.type == "output.item"] == [0, 1]
    assert events[-1].data["output"] == {"answer": 42}
    assert events[-1].data["item_count"] == 2


async def test_a_task_returns_and_a_plain_function_runs_in_a_thread() -> None:
    @task
    async def total(ns: list[int]) -> int:
        return sum(ns)

    @task(name="blocking", deadline_ms=5000)
    def blocking(n: int) -> Fact:
        log(f"from a thread: {n}")
        progress(0.5)
        return Fact(name=str(n))

    events = await ran(total, ns=[1, 2, 3])
    assert (events[0].data["kind"], events[-1].data["output"]) == ("task", 6)
    events = await ran(blocking, n=7)
    assert types(events) == ["log.line", "execution.progress", "execution.completed"]
    assert events[-1].data["output"] == {"name": "7"}
    assert total.out_schema == {"type": "integer"}
    assert speaks.out_schema is None
    assert blocking(3) == Fact(name="3")  # outside a run it is the plain function, and silent


async def test_everything_that_can_be_said_is_said_in_order() -> None:
    @agent
    async def talkative() -> None:
        log("one\ntwo", level="warning")
        progress(0.25, "a quarter", eta_ms=100)
        emit("order.paid", total=3)
        chunk("text")
        chunk("")
        usage(10, 20)
        with tool_call("search", {"q": "x"}) as call:
            call.output = ["found"]
        async with step("fetch") as made:
            log("inside")
            progress(1)
            made.output = {"rows": 2}
        async with step("fetch"):
            pass

    events = await ran(talkative)
    assert types(events) == [
        "log.line", "log.line", "execution.progress", "custom.order.paid", "llm.chunk",
        "llm.usage", "tool.call", "tool.result", "node.started", "log.line", "node.progress",
        "node.completed", "node.started", "node.completed", "execution.completed",
    ]  # fmt: skip
    assert [e.node for e in events if e.type == "node.started"] == ["fetch", "fetch_2"]
    inside = next(e for e in events if e.data.get("line") == "inside")
    assert inside.node == "fetch"
    call, result = (e.data for e in events if e.type.startswith("tool."))
    assert call["call_id"] == result["call_id"]
    assert result["output"] == ["found"]
    assert events[-1].data["node_count"] == 2


async def test_nodes_of_a_flow_speak_for_themselves_and_before_they_end() -> None:
    @node(effects="pure")
    async def talk(n: int) -> int:
        log("async")
        chunk("a")
        return n

    @node(effects="pure")
    def thread(n: int) -> int:
        log("thread")
        return n

    @flow
    def both(n: int = 1) -> object:
        return thread(talk(n))

    events = await ran(both)
    said = [(e.type, e.node) for e in events if e.node]
    assert said == [
        ("node.started", "talk"), ("log.line", "talk"), ("llm.chunk", "talk"),
        ("node.completed", "talk"), ("node.started", "thread"), ("log.line", "thread"),
        ("node.completed", "thread"),
    ]  # fmt: skip


async def test_outside_a_run_nothing_is_said_and_nothing_breaks() -> None:
    log("nobody hears")
    emit("nothing")
    progress(0.1)
    chunk("x")
    usage(1)
    await flush()
    with tool_call("search") as call:
        call.output = 1
    async with step("alone") as made:
        made.output = 2
    logging.getLogger("somewhere").warning("not in a run")


async def test_the_standard_librarys_logging_is_in_the_log() -> None:
    @task
    async def logs() -> None:
        logging.getLogger("shop.cart").warning("low %s", "stock")
        try:
            raise ValueError("wrong")
        except ValueError:
            logging.getLogger("shop").exception("failed")

    events = await ran(logs)
    lines = [event.data for event in events if event.type == "log.line"]
    assert (lines[0]["line"], lines[0]["level"], lines[0]["source"]) == (
        "low stock",
        "warning",
        "shop.cart",
    )
    assert lines[1]["line"] == "failed"
    assert lines[-1]["line"] == "ValueError: wrong"


async def test_a_tools_block_may_be_awaited_like_all_others() -> None:
    @agent
    async def asks() -> None:
        async with tool_call("good") as call:
            call.output = 1
        with suppress(LookupError):
            async with tool_call("bad"):
                raise LookupError("nothing there")

    events = await ran(asks)
    assert types(events) == [*["tool.call", "tool.result"] * 2, "execution.completed"]
    assert events[3].data["output"] == 1
    assert events[5].data["error"]["message"] == "nothing there"


async def test_an_exception_ends_the_step_the_tool_and_the_run() -> None:
    @agent
    async def breaks() -> None:
        async with step("outer"):
            with tool_call("search"):
                raise LookupError("nothing there")

    events = await ran(breaks)
    assert types(events) == [
        "node.started", "tool.call", "tool.result", "node.failed", "execution.failed",
    ]  # fmt: skip
    assert events[4].data["error"]["type"] == "LookupError"
    assert events[-1].data["error"]["message"] == "nothing there"


async def test_what_cannot_be_an_event_fails_where_it_is_said() -> None:
    found: list[str] = []

    @task
    async def wrong() -> None:
        for name, data in (("", {}), ("a b", {}), ("x", {"o": object()})):
            try:
                emit(name, **data)
            except errors.InvalidEvent as error:
                found.append(error.code)

    assert types(await ran(wrong)) == ["execution.completed"]
    assert found == ["invalid_event"] * 3


async def test_who_says_too_much_without_a_pause_is_refused() -> None:
    @task
    async def floods() -> None:
        for number in range(OUTBOX_MAX_EVENTS + 1):
            log(str(number))

    events = await ran(floods)
    assert events[-1].data["error"]["type"] == "overloaded"
    assert len(events) == OUTBOX_MAX_EVENTS + 3  # and nothing that was accepted is lost

    @task
    async def pauses() -> None:
        for number in range(2 * OUTBOX_MAX_EVENTS):
            log(str(number))
            if number % 1000 == 0:
                await flush()

    assert (await ran(pauses))[-1].type == "execution.completed"


async def test_a_thread_hears_of_a_cancel_when_it_speaks() -> None:
    spoke = 0

    @task
    def endless() -> None:
        nonlocal spoke
        while True:
            progress(0.5)
            spoke += 1
            if spoke == 3:
                anyio.from_thread.run_sync(started.set)
            flush_from_thread()

    def flush_from_thread() -> None:
        anyio.from_thread.run(flush)

    started = anyio.Event()
    async with Tailrace("memory:") as tailrace:
        run = await tailrace.start(endless)
        await started.wait()
        await run.cancel(by="test", reason="enough")
        assert (await run.wait()).status == "cancelled"


# --- blocks -----------------------------------------------------------------------------------


async def test_a_block_is_an_execution() -> None:
    async with Tailrace("memory:") as tailrace:
        async with tailrace.execution("import", input={"file": "a"}) as run:
            run.log("starting")
            run.progress(0.4)
            async with run.node("fetch"):
                run.log("fetching")
            run.output = {"rows": 3}
        events = [event async for event in tailrace.follow(run.id)]
    assert types(events) == [
        "log.line", "execution.progress", "node.started", "log.line", "node.completed",
        "execution.completed",
    ]  # fmt: skip
    assert events[-1].data["output"] == {"rows": 3}
    assert events[0].data["input"] == {"file": "a"}


async def test_a_block_that_raises_fails_its_execution() -> None:
    async with Tailrace("memory:") as tailrace:
        with pytest.raises(ValueError, match="broken"):
            async with tailrace.execution("import") as run:
                raise ValueError("broken")
        state = await tailrace.view(run.id)
    assert (state.status, state.error and state.error["message"]) == ("failed", "broken")


async def test_cancelling_the_execution_cancels_the_block() -> None:
    async with Tailrace("memory:") as tailrace:
        left: list[str] = []

        async def block() -> None:
            async with tailrace.execution("import") as run:
                try:
                    await tailrace.cancel(run.id, by="somebody", reason="wrong file")
                    await anyio.sleep_forever()
                finally:
                    left.append(run.id)

        with pytest.raises(errors.ExecutionCancelled):
            await block()
        state = await tailrace.view(left[0])
    assert (state.status, (state.end or {})["by"]) == ("cancelled", "somebody")


async def test_cancelling_the_block_cancels_the_execution() -> None:
    async with Tailrace("memory:") as tailrace:
        ids: list[str] = []
        with anyio.CancelScope() as scope:
            async with tailrace.execution("import") as run:
                ids.append(run.id)
                scope.cancel()
                await anyio.sleep_forever()
        state = await tailrace.view(ids[0])
    assert (state.status, (state.end or {})["by"]) == ("cancelled", "caller")


async def test_a_text_that_is_there_at_once_is_said_in_turns() -> None:
    text = "some words " * TURN_CHARS

    @task
    async def writes() -> str:
        return text

    events = await ran(writes)
    said = [event.data["text"] for event in events if event.type == "llm.chunk"]
    assert len(said) >= len(text) // TURN_CHARS
    assert "".join(said) == text


async def test_a_flood_of_logging_fails_nothing_and_says_what_is_missing() -> None:
    """Found by trying: the end of the node that had logged was refused, and so it failed."""
    logger = logging.getLogger("flood")
    logger.setLevel(logging.INFO)

    @node
    async def loud() -> int:
        for number in range(OUTBOX_MAX_EVENTS + 500):
            logger.info("line %d", number)
        async with step("inner"):
            logger.info("and more")
        return 1

    @flow
    def floods() -> object:
        return loud()

    events = await ran(floods)
    assert events[-1].type == "execution.completed"
    said = [event.data["line"] for event in events if event.type == "log.line"]
    assert said == [*(f"line {number}" for number in range(OUTBOX_MAX_EVENTS)), "and more"]
    assert [event.data["code"] for event in events if event.type == "warning"] == ["overloaded"]
