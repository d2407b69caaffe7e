"""What many writers of one log may count on, in one process or in several.

The law of this file: of those that race for one place, one gets it and the others are told; the
log has one order, and everybody sees that.
"""

import asyncio
from contextlib import suppress

import anyio
import anyio.lowlevel

from tailrace.errors import AttemptFenced, LogSealed, PositionConflict
from tailrace.log.base import Appended, EventLog
from tailrace.testing.contract.bench import Bench, check
from tailrace.testing.contract.tools import (
    begin,
    ended,
    line,
    lines,
    read_all,
    refuses,
    seqs,
    started,
)


@check
async def racing_writers_leave_no_hole_and_keep_their_own_order(bench: Bench) -> None:
    """Sixteen writers on two handles: dense numbers, each writer's events in its order."""
    log, other = await bench.log(), await bench.other()
    await begin(log)

    async def write(writer: int) -> None:
        target = log if writer % 2 else other
        for number in range(10):
            await target.append("X1", [line(f"{writer}:{number}"), line(f"{writer}:{number}+")])

    async with anyio.create_task_group() as tasks:
        for writer in range(16):
            tasks.start_soon(write, writer)
    records = await read_all(log, "X1")
    assert seqs(records) == list(range(1, 322))
    for writer in range(16):
        said = [text for text in lines(records) if text.startswith(f"{writer}:")]
        assert said == [f"{writer}:{n}{plus}" for n in range(10) for plus in ("", "+")]


@check
async def an_event_is_visible_only_after_all_before_it(bench: Bench) -> None:
    """Whoever saw sequence N can never later find something new below N."""
    log, other = await bench.log(), await bench.other()
    await begin(log)
    done = False

    async def write(target: EventLog) -> None:
        for number in range(40):
            await target.append("X1", [line(number)])

    async def look() -> None:
        while not done:
            records = await read_all(other, "X1")
            assert seqs(records) == list(range(1, len(records) + 1))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(look)
        async with anyio.create_task_group() as writers:
            for target in (log, other, log):
                writers.start_soon(write, target)
        done = True


@check
async def an_expected_position_must_be_the_head(bench: Bench) -> None:
    """Of two writers that expect the same head, one wins and the other is told."""
    log = await bench.log()
    await begin(log)
    results = await asyncio.gather(
        *[log.append("X1", [line(n)], expected=1) for n in range(5)], return_exceptions=True
    )
    assert sum(isinstance(result, Appended) for result in results) == 1
    assert sum(isinstance(result, PositionConflict) for result in results) == 4
    assert (await log.entry("X1")).head == 2


@check
async def a_later_attempt_fences_off_the_earlier(bench: Bench) -> None:
    """What a worker says that was taken for dead is refused, wherever it runs."""
    log = await bench.log()
    first = await begin(log)
    await log.append(first, [started(1)], attempt=1)
    await log.append(first, [line(1)], attempt=1)
    other = await bench.other()
    await other.append(first, [started(2), line(2)], attempt=2)
    assert (await log.entry(first)).attempt == 2
    for drafts in ([line("late")], [ended()]):
        await refuses(AttemptFenced, log.append(first, drafts, attempt=1))
    await log.append(first, [line(3)], attempt=2)
    await log.append(first, [line(4)])  # what is of no attempt: a cancel, the end as lost
    assert lines(await read_all(log, first))[-3:] == ["2", "3", "4"]


@check
async def of_racing_attempts_one_begins(bench: Bench) -> None:
    """Two workers that were given the same attempt: the head decides."""
    log, other = await bench.log(), await bench.other()
    first = await begin(log)
    begun: list[EventLog] = []

    async def begin_attempt(handle: EventLog) -> None:
        with suppress(PositionConflict):
            await handle.append(first, [started(1)], attempt=1, expected=1)
            begun.append(handle)

    async with anyio.create_task_group() as tasks:
        for handle in (log, other, log, other):
            tasks.start_soon(begin_attempt, handle)
    assert len(begun) == 1
    assert (await log.entry(first)).head == 2


@check
async def of_racing_ends_one_stands(bench: Bench) -> None:
    """Exactly one terminal event, whoever writes it."""
    log, other = await bench.log(), await bench.other()
    await begin(log)
    results = await asyncio.gather(
        *[target.append("X1", [ended()]) for target in (log, other, log, other)],
        return_exceptions=True,
    )
    assert sum(isinstance(result, Appended) for result in results) == 1
    assert sum(isinstance(result, LogSealed) for result in results) == 3
