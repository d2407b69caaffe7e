"""What a watch is given, of a log's events and of new logs, wherever they were written.

The law of this file: once each, in order, and not silence in place of what it cannot have.
(`Listening` and `Learning` check the order of all that they are given.)
"""

from collections.abc import Sequence

import anyio
import anyio.lowlevel

from tailrace.events import Record
from tailrace.log.base import Entry, EventLog, Listener
from tailrace.testing.contract.bench import Bench, check
from tailrace.testing.contract.tools import Learning, Listening, begin, ended, line, lines, seqs


@check
async def a_watch_is_given_what_comes_and_what_was_there(bench: Bench) -> None:
    """Everything after its position, once, in order, wherever it joins."""
    log = await bench.log()
    await begin(log)
    await log.append("X1", [line(n) for n in range(2, 6)])
    behind, ahead = Listening(log, "X1", 2), Listening(log, "X1", 5)
    await log.append("X1", [line(6), line(7)])
    await log.append("X1", [line(8)])
    assert seqs(await behind.until(8)) == [3, 4, 5, 6, 7, 8]
    assert seqs(await ahead.until(8)) == [6, 7, 8]


@check
async def watches_that_join_at_any_moment_lose_nothing(bench: Bench) -> None:
    """Joins between appends of two handles: no hole and no repeat (`Listening` checks it)."""
    log, other = await bench.log(), await bench.other()
    await begin(log)
    watches: list[Listening] = []

    async def write(target: EventLog) -> None:
        for number in range(30):
            await target.append("X1", [line(number)])

    async def join() -> None:
        for _ in range(20):
            head = (await log.entry("X1")).head
            watches.append(Listening(log, "X1", max(head - 2, 0)))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(write, log)
        tasks.start_soon(write, other)
        tasks.start_soon(join)
    for watch in watches:
        await watch.until(61)


@check
async def who_stops_and_comes_again_is_given_nothing_twice(bench: Bench) -> None:
    """What was under way to the first watch of a listener is not for its second."""
    log = await bench.log()
    await begin(log)
    given: list[Record] = []
    learned: list[Entry] = []
    ways_out = [log.watch("X1", 1, given.extend), log.watch_new("default", 1, learned.extend)]
    await log.append("X1", [line(2)])
    await begin(log, "X2")
    for stop in ways_out:
        stop()
    given.clear()
    learned.clear()
    log.watch("X1", 2, given.extend)
    log.watch_new("default", 2, learned.extend)
    await log.append("X1", [line(3)])
    await begin(log, "X3")
    await Listening(log, "X1", 1).until(3)
    await Learning(log, "default", 1).until(2)
    assert seqs(given) == [3]
    assert [entry.execution_id for entry in learned] == ["X3"]


@check
async def a_watch_sees_the_appends_of_another_process(bench: Bench) -> None:
    """Also mixed with those of its own."""
    log, other = await bench.log(), await bench.other()
    await begin(log)
    watch = Listening(log, "X1", 1)
    await other.append("X1", [line("theirs")])
    await watch.until(2)
    await log.append("X1", [line("ours")])
    await other.append("X1", [line("theirs again"), ended()])
    assert lines(await watch.until(5))[:3] == ["theirs", "ours", "theirs again"]


@check
async def a_watch_can_be_far_behind(bench: Bench) -> None:
    """More than any page, while more comes."""
    log = await bench.log()
    await begin(log)
    for _ in range(5):
        await log.append("X1", [line(n) for n in range(1000)])
    watch = Listening(log, "X1", 0)
    await log.append("X1", [line("last")])
    assert len(await watch.until(5002)) == 5002


@check
async def a_watch_that_a_trim_overtook_is_told(bench: Bench) -> None:
    """Nothing is left out without a word; who asks again, from where the log begins, goes on."""
    log, other = await bench.log(), await bench.other()
    await begin(log)
    await log.append("X1", [line(n) for n in range(2, 10)])
    await other.trim("X1", 8)
    lost = anyio.Event()
    stop = log.watch("X1", 1, lambda _: None, lost.set)
    await lost.wait()
    stop()
    again = Listening(log, "X1", 7)
    await other.append("X1", [line(10)])
    assert seqs(await again.until(10)) == [8, 9, 10]


@check
async def a_watch_is_told_that_its_log_was_removed(bench: Bench) -> None:
    """By an empty batch, whoever removed it."""
    log, other = await bench.log(), await bench.other()
    told = anyio.Event()
    await begin(log, "X1")
    stop = log.watch("X1", 1, lambda records: None if records else told.set())
    await other.append("X1", [ended()])
    await other.remove("X1")
    await told.wait()
    stop()


@check
async def a_stopped_watch_is_given_nothing_more(bench: Bench) -> None:
    """And stopping one leaves the others; stopping twice is allowed."""
    log = await bench.log()
    await begin(log)
    stopped, stays = Listening(log, "X1", 1), Listening(log, "X1", 1)
    await log.append("X1", [line("a")])
    await stopped.until(2)
    stopped.stop()
    stopped.stop()
    await log.append("X1", [line("b")])
    await stays.until(3)
    assert lines(stopped.records) == ["a"]


@check
async def new_logs_are_told_once_and_in_order(bench: Bench) -> None:
    """From a number on: those that are there, and those that come, from whichever handle."""
    log, other = await bench.log(), await bench.other()
    await begin(log, "before")
    learning = Learning(log, "default", (await log.entry("before")).number)
    whole = Learning(other, "default", 0)
    await begin(log, "elsewhere", workspace="other")
    async with anyio.create_task_group() as tasks:
        for number in range(300):
            tasks.start_soon(begin, other if number % 2 else log, f"X{number}")
    expected = sorted(f"X{number}" for number in range(300))
    assert sorted(await learning.until(300)) == expected
    assert await whole.until(301) == ["before", *learning.ids]
    learning.stop()
    learning.stop()
    await begin(log, "later")
    assert len(await whole.until(302)) == 302
    assert len(learning.ids) == 300


@check
async def a_watch_of_what_was_removed_hears_no_more(bench: Bench) -> None:
    """It is told once, in this process and in others; another log of that name is not its own."""
    log, other = await bench.log(), await bench.other()
    await begin(log)
    await log.append("X1", [line(2), ended()])
    given: dict[EventLog, list[int]] = {log: [], other: []}
    told = {handle: anyio.Event() for handle in given}

    def listener(handle: EventLog) -> Listener:
        def take(records: Sequence[Record]) -> None:
            given[handle] += [record.seq for record in records] or [-1]
            if not records:
                told[handle].set()

        return take

    for handle in given:
        handle.watch("X1", 2, listener(handle))
    await log.remove("X1")
    for heard in told.values():
        await heard.wait()
    await begin(log)
    for _ in range(5):
        await log.append("X1", [line(), line()])
    for handle in given:
        await Listening(handle, "X1", 1).until(11)
    assert all(numbers in ([3, -1], [-1]) for numbers in given.values())
