"""The promises of `tailrace.log.base`, as checks that every store must pass.

The law of this file: a check is a plain coroutine function over a `Bench`; no test framework,
no knowledge of a store. Whoever writes a store runs all of `CHECKS` against it:

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    async def test_contract(check): await check(MyBench())

A check waits for what it expects, never for time; give it a timeout of your own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import anyio
import anyio.lowlevel

from tailrace.errors import (
    AttemptFenced,
    ExecutionExists,
    ExecutionNotFound,
    ExecutionRunning,
    InvalidEvent,
    LogSealed,
    PayloadNotFound,
    PayloadTooLarge,
    PositionConflict,
    ProducerGap,
    StoreClosed,
    TailraceError,
)
from tailrace.events import Draft, Record
from tailrace.log.base import (
    EVENT_MAX_BYTES,
    PAGE_MAX_BYTES,
    Appended,
    Entry,
    EventLog,
    Opening,
    Producer,
)

TS = "2026-01-01T00:00:00.000000Z"
Check = Callable[["Bench"], Awaitable[None]]
CHECKS: list[Check] = []


class Bench(Protocol):
    """Gives a check its store."""

    async def log(self) -> EventLog:
        """Return the store, open and empty."""
        ...

    async def other(self) -> EventLog:
        """Return a second handle on the same data, as another process has; may be the same."""
        ...

    async def reopen(self) -> EventLog:
        """Close every handle and return a new one on the same data."""
        ...


def check(function: Check) -> Check:
    """Put a check into the contract."""
    CHECKS.append(function)
    return function


# --- what checks are written with ---------------------------------------------------------------


def line(text: object = "", type_: str = "log.line") -> Draft:
    """A draft that says something."""
    return Draft(type=type_, ts=TS, data={"line": str(text), "source": "stdout"})


def queued() -> Draft:
    """A log's first event."""
    return Draft(type="execution.queued", ts=TS, data={"kind": "task", "flow": "f"})


def started(attempt: int) -> Draft:
    """An attempt's first event."""
    return Draft(type="execution.started", ts=TS, data={"worker": "w"}, attempt=attempt)


def ended() -> Draft:
    """A log's last event."""
    return Draft(type="execution.completed", ts=TS, data={"total_duration_ms": 1})


async def begin(log: EventLog, execution_id: str = "X1", **options: Any) -> str:
    """Create a log; its head is 1 then."""
    opening = Opening(execution_id=execution_id, kind="task", flow="f", **options)
    await log.create(opening, [queued()])
    return execution_id


async def refuses(error: type[TailraceError], attempt: Awaitable[object]) -> None:
    """Await something that must raise exactly that error."""
    try:
        await attempt
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


async def read_all(log: EventLog, execution_id: str, after: int = 0) -> list[Record]:
    """Read page by page to the head."""
    found: list[Record] = []
    while page := await log.read(execution_id, found[-1].seq if found else after, 100):
        found += page
    return found


def seqs(records: Sequence[Record]) -> list[int]:
    """Their sequence numbers."""
    return [record.seq for record in records]


def lines(records: Sequence[Record]) -> list[str]:
    """What they say."""
    return [str(record.event().data.get("line")) for record in records]


class Listening:
    """A watch that keeps what it was given, and checks the order of it."""

    def __init__(self, log: EventLog, execution_id: str, after: int) -> None:
        self.records: list[Record] = []
        self._more = asyncio.Event()
        self._position = after
        self.stop = log.watch(execution_id, after, self._take)

    def _take(self, records: Sequence[Record]) -> None:
        assert records, "a watch was given an empty batch"
        for record in records:
            assert record.seq == self._position + 1, f"{record.seq} after {self._position}"
            self._position = record.seq
        self.records += records
        self._more.set()

    async def until(self, seq: int) -> list[Record]:
        """Wait until it has been given that sequence."""
        while self._position < seq:
            self._more.clear()
            await self._more.wait()
        return self.records


# --- appending ----------------------------------------------------------------------------------


@check
async def sequences_are_dense_from_one(bench: Bench) -> None:
    """The store numbers 1, 2, 3 …, and says where each batch stands."""
    log = await bench.log()
    assert await log.create(
        Opening(execution_id="X1", kind="task", flow="f"), [queued(), line("a")]
    ) == Appended(1, 2)
    assert await log.append("X1", [line("b")]) == Appended(3, 3)
    assert await log.append("X1", [line("c"), line("d")]) == Appended(4, 5)
    assert seqs(await read_all(log, "X1")) == [1, 2, 3, 4, 5]


@check
async def each_execution_has_its_own_sequence(bench: Bench) -> None:
    """Executions do not share numbers."""
    log = await bench.log()
    await begin(log, "X1")
    await begin(log, "X2")
    await log.append("X1", [line("one")])
    assert (await log.append("X2", [line("two")])).first == 2
    assert lines(await log.read("X2", 1, 10)) == ["two"]


@check
async def what_was_appended_is_read_back_exactly(bench: Bench) -> None:
    """Every field of the envelope survives, whatever characters it holds."""
    log = await bench.log()
    await begin(log)
    text = "Ünï \u2028 \x00 \r\n 😀 \\ \" '"
    draft = Draft(
        type="custom.x", ts=TS, node="n 1", attempt=3, data={"line": text, "n": None, "f": 1.5}
    )
    await log.append("X1", [draft])
    event = (await log.read("X1", 1, 1))[0].event()
    assert (event.id, event.type, event.ts, event.execution_id) == (2, "custom.x", TS, "X1")
    assert (event.node, event.attempt) == ("n 1", 3)
    assert event.data == {"line": text, "n": None, "f": 1.5}


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
async def a_batch_is_whole_or_not_at_all(bench: Bench) -> None:
    """One event that cannot be written keeps the whole batch out, and only that batch."""
    log = await bench.log()
    await begin(log)
    bad = Draft(type="log.line", ts=TS, data={"line": object()})
    results = await asyncio.gather(
        log.append("X1", [line("a")]),
        log.append("X1", [line("lost"), bad]),
        log.append("X1", [line("b")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], InvalidEvent)
    assert sorted(lines(await log.read("X1", 1, 10))) == ["a", "b"]


@check
async def an_empty_batch_is_refused(bench: Bench) -> None:
    """There is nothing to acknowledge."""
    log = await bench.log()
    await begin(log)
    await refuses(InvalidEvent, log.append("X1", []))


@check
async def an_event_over_the_limit_is_refused(bench: Bench) -> None:
    """And nothing of it is written."""
    log = await bench.log()
    await begin(log)
    await refuses(PayloadTooLarge, log.append("X1", [line("x" * EVENT_MAX_BYTES)]))
    assert (await log.entry("X1")).head == 1


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
async def a_cancelled_append_is_whole_or_not_at_all(bench: Bench) -> None:
    """Cancelling the wait never leaves half a batch, nor a store that stops."""
    log = await bench.log()
    await begin(log)
    for _ in range(10):
        task = asyncio.ensure_future(log.append("X1", [line("a"), line("b")]))
        await anyio.lowlevel.checkpoint()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await log.append("X1", [line("end")])
    said = lines(await read_all(log, "X1", 1))
    assert said[-1] == "end"
    assert said[:-1] == ["a", "b"] * (len(said) // 2)


# --- producers ----------------------------------------------------------------------------------


@check
async def a_repeated_batch_is_recognised(bench: Bench) -> None:
    """The same (producer, number) again changes nothing and names the same place."""
    log, other = await bench.log(), await bench.other()
    await begin(log)
    first = await log.append("X1", [line("a"), line("b")], producer=Producer("p", 1))
    again = await other.append("X1", [line("a"), line("b")], producer=Producer("p", 1))
    assert (again.first, again.last, again.duplicate) == (first.first, first.last, True)
    await log.append("X1", [line("c")], producer=Producer("p", 2))
    older = await log.append("X1", [line("a"), line("b")], producer=Producer("p", 1))
    assert older.duplicate
    assert lines(await log.read("X1", 1, 10)) == ["a", "b", "c"]


@check
async def a_producers_hole_is_refused(bench: Bench) -> None:
    """A batch that comes too early must not make the missing one look like a repeat."""
    log = await bench.log()
    await begin(log)
    await refuses(ProducerGap, log.append("X1", [line()], producer=Producer("p", 2)))
    await log.append("X1", [line()], producer=Producer("p", 1))
    await refuses(ProducerGap, log.append("X1", [line()], producer=Producer("p", 3)))
    await log.append("X1", [line()], producer=Producer("q", 1))
    assert (await log.entry("X1")).head == 3


@check
async def a_log_may_begin_with_a_producers_batch(bench: Bench) -> None:
    """A repeat of the batch that created the log is recognised as such."""
    log, other = await bench.log(), await bench.other()
    opening = Opening(execution_id="X1", kind="task", flow="f")
    await refuses(ProducerGap, log.create(opening, [queued()], producer=Producer("p", 2)))
    await refuses(ExecutionNotFound, log.entry("X1"))
    await log.create(opening, [queued(), line("a")], producer=Producer("p", 1))
    again = await other.append("X1", [queued(), line("a")], producer=Producer("p", 1))
    assert (again.first, again.last, again.duplicate) == (1, 2, True)
    await refuses(ProducerGap, log.append("X1", [line()], producer=Producer("p", 3)))
    await log.append("X1", [line("b")], producer=Producer("p", 2))
    assert lines(await log.read("X1", 1, 10)) == ["a", "b"]


@check
async def a_repeat_that_can_append_nothing_asks_only(bench: Bench) -> None:
    """Whether a batch is a repeat is answered before all else, so a position of -1 asks just that."""
    log = await bench.log()
    await begin(log)
    await log.append("X1", [line("a")], producer=Producer("p", 1))
    asked = await log.append("X1", [line("x")], expected=-1, producer=Producer("p", 1))
    assert asked == Appended(2, 2, duplicate=True)
    await refuses(
        PositionConflict, log.append("X1", [line("x")], expected=-1, producer=Producer("p", 2))
    )
    assert (await log.entry("X1")).head == 2


@check
async def racing_repeats_are_appended_once(bench: Bench) -> None:
    """A client that retries before the first answer came."""
    log, other = await bench.log(), await bench.other()
    await begin(log)
    results = await asyncio.gather(
        *[
            target.append("X1", [line("once")], producer=Producer("p", 1))
            for target in (log, other, log, other)
        ]
    )
    assert sum(not result.duplicate for result in results) == 1
    assert lines(await log.read("X1", 1, 10)) == ["once"]


@check
async def a_repeat_after_the_end_succeeds(bench: Bench) -> None:
    """The answer to the last batch may be lost too."""
    log = await bench.log()
    await begin(log)
    await log.append("X1", [ended()], producer=Producer("p", 1))
    assert (await log.append("X1", [ended()], producer=Producer("p", 1))).duplicate


# --- the end ------------------------------------------------------------------------------------


@check
async def nothing_follows_a_terminal_event(bench: Bench) -> None:
    """Not later, and not in the same batch."""
    log = await bench.log()
    await begin(log)
    await refuses(InvalidEvent, log.append("X1", [ended(), line()]))
    await log.append("X1", [line("last words"), ended()])
    await refuses(LogSealed, log.append("X1", [line()]))
    await refuses(LogSealed, log.append("X1", [ended()]))
    entry = await log.entry("X1")
    assert (entry.head, entry.sealed, entry.status) == (3, True, "completed")


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


# --- reading ------------------------------------------------------------------------------------


@check
async def reading_is_exclusive_and_bounded(bench: Bench) -> None:
    """After a position, at most a limit; nothing at the head and beyond it."""
    log = await bench.log()
    await begin(log)
    await log.append("X1", [line(n) for n in range(2, 8)])
    assert seqs(await log.read("X1", 0, 3)) == [1, 2, 3]
    assert seqs(await log.read("X1", 3, 100)) == [4, 5, 6, 7]
    assert seqs(await log.read("X1", 7, 100)) == []
    assert seqs(await log.read("X1", 99, 100)) == []


@check
async def a_page_is_bounded_in_bytes(bench: Bench) -> None:
    """Large events come in smaller pages, at least one in each, and none is left out."""
    log = await bench.log()
    await begin(log)
    for _ in range(4):
        await log.append("X1", [line("x" * (PAGE_MAX_BYTES // 2 + 1))])
    await log.append("X1", [line("y" * (PAGE_MAX_BYTES * 2))])
    assert seqs(await log.read("X1", 1, 100)) == [2, 3]
    assert seqs(await log.read("X1", 5, 100)) == [6]
    assert seqs(await read_all(log, "X1")) == [1, 2, 3, 4, 5, 6]


@check
async def an_unknown_execution_is_not_found(bench: Bench) -> None:
    """By every method."""
    log = await bench.log()
    await refuses(ExecutionNotFound, log.entry("nope"))
    await refuses(ExecutionNotFound, log.read("nope", 0, 1))
    await refuses(ExecutionNotFound, log.append("nope", [line()]))
    await refuses(ExecutionNotFound, log.trim("nope", 1))


@check
async def a_log_from_elsewhere_is_put_in_as_it_was(bench: Bench) -> None:
    """Its numbers, its floor, its epoch, its end and what was put aside; as one more log here."""
    log, other = await bench.log(), await bench.other()
    await begin(log, "X1")
    records = [
        Record(seq, draft.type, draft.encode("X2"))
        for seq, draft in enumerate([line("a"), line("b"), ended()], start=7)
    ]
    entry = Entry(
        execution_id="X2",
        workspace="w",
        kind="task",
        flow="f",
        epoch="e1",
        created_at=TS,
        head=9,
        floor=7,
        updated_at=TS,
        last_status_event="execution.completed",
    )
    put = await log.restore(entry, records, {"d": b"1"})
    assert put == replace(entry, number=put.number)
    assert put.number > (await log.entry("X1")).number
    for handle in (log, other):
        assert await handle.entry("X2") == put
        assert await read_all(handle, "X2") == records
        assert await handle.payload("X2", "d") == b"1"
        assert [found.execution_id for found in await handle.entries("w", limit=9)] == ["X2"]
        assert not await handle.unfinished("w")
    await refuses(LogSealed, other.append("X2", [line()]))
    await refuses(ExecutionExists, other.restore(entry, records, {}))
    await refuses(ExecutionExists, other.restore(replace(entry, execution_id="X1"), records, {}))
    assert lines(await read_all(log, "X1")) == ["None"]


@check
async def a_log_is_created_once(bench: Bench) -> None:
    """Of racing creations of one id, one wins."""
    log, other = await bench.log(), await bench.other()
    results = await asyncio.gather(
        *[begin(target, "X1") for target in (log, other, log)], return_exceptions=True
    )
    assert sum(isinstance(result, str) for result in results) == 1
    assert sum(isinstance(result, ExecutionExists) for result in results) == 2
    assert (await log.entry("X1")).head == 1


@check
async def the_index_follows_the_log(bench: Bench) -> None:
    """Head, status and times are those of the events."""
    log = await bench.log()
    await begin(log, workspace="w")
    before = await log.entry("X1")
    assert (before.workspace, before.kind, before.flow, before.created_at) == ("w", "task", "f", TS)
    assert (before.status, before.sealed, before.floor) == ("queued", False, 1)
    later = TS.replace("00:00:00", "01:00:00")
    started = Draft(type="execution.started", ts=later, data={"worker": "w"})
    await log.append("X1", [started, line()])
    await log.append("X1", [Draft(type="execution.progress", ts=later, data={"percent": 5})])
    after = await log.entry("X1")
    assert (after.status, after.head, after.epoch) == ("running", 4, before.epoch)
    await log.append("X1", [Draft(type="execution.cancelling", ts=later, data={"by": "me"})])
    entry = await log.entry("X1")
    assert (entry.status, entry.updated_at) == ("cancelling", later)


@check
async def lists_are_newest_first_by_pages(bench: Bench) -> None:
    """One workspace at a time; the cursor is the last id; the status filters."""
    log = await bench.log()
    for number in range(5):
        await begin(log, f"X{number}")
    await begin(log, "Y", workspace="other")
    await log.append("X3", [ended()])
    await log.append("X1", [ended()])

    async def ids(**query: Any) -> list[str]:
        found = await log.entries(query.pop("workspace", "default"), **query)
        return [entry.execution_id for entry in found]

    assert await ids(limit=2) == ["X4", "X3"]
    assert await ids(limit=9, before="X3") == ["X2", "X1", "X0"]
    assert await ids(limit=9, status_events=["execution.completed"]) == ["X3", "X1"]
    both = ["execution.queued", "execution.completed"]
    assert await ids(limit=3, status_events=both) == ["X4", "X3", "X2"]
    assert await ids(limit=9, workspace="other") == ["Y"]
    assert await ids(limit=9, workspace="nobody") == []


@check
async def the_unfinished_are_listed_oldest_first(bench: Bench) -> None:
    """Of one workspace, in the order of their numbers, until their ends."""
    log = await bench.log()
    for number in range(4):
        await begin(log, f"X{number}")
    await begin(log, "Y", workspace="other")
    await log.append("X1", [line(), ended()])
    found = await log.unfinished("default")
    assert [entry.execution_id for entry in found] == ["X0", "X2", "X3"]
    numbers = [entry.number for entry in found]
    assert numbers == sorted(set(numbers))
    assert found[0] == await log.entry("X0")
    ended_since = (await log.entry("X1")).number
    named = await log.numbered("default", [numbers[1], ended_since, 999])
    assert {entry.execution_id for entry in named} == {"X1", "X2"}
    assert await log.numbered("other", numbers) == []
    log = await bench.reopen()
    assert [entry.execution_id for entry in await log.unfinished("default")] == ["X0", "X2", "X3"]
    assert await log.unfinished("nobody") == []


class Learning:
    """A watch for new logs that keeps their ids, and checks the order of their numbers."""

    def __init__(self, log: EventLog, workspace: str, after: int) -> None:
        self.ids: list[str] = []
        self._position, self._more = after, asyncio.Event()
        self.stop = log.watch_new(workspace, after, self._take)

    def _take(self, entries: Sequence[Entry]) -> None:
        assert entries, "a watch was given an empty list"
        for entry in entries:
            assert entry.number > self._position, f"{entry.number} after {self._position}"
            self._position = entry.number
            self.ids.append(entry.execution_id)
        self._more.set()

    async def until(self, count: int) -> list[str]:
        """Wait until it has been given so many."""
        while len(self.ids) < count:
            self._more.clear()
            await self._more.wait()
        return self.ids


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
async def what_is_put_aside_is_kept_with_its_log(bench: Bench) -> None:
    """Once for each log, from the append that names it, also after a reopening."""
    log = await bench.log()
    await begin(log)
    await begin(log, "X2")
    draft = line("see aside")
    draft.aside = {"d1": b"x" * 3_000_000, "d2": b"{}"}
    await log.append("X1", [draft, draft])
    assert await log.payload("X1", "d1") == b"x" * 3_000_000
    log = await bench.reopen()
    assert await log.payload("X1", "d2") == b"{}"
    await refuses(PayloadNotFound, log.payload("X2", "d1"))
    await refuses(PayloadNotFound, log.payload("X1", "d3"))
    await refuses(ExecutionNotFound, log.payload("nope", "d1"))
    refused = line("not in the log")
    refused.aside = {"d4": b"4"}
    await refuses(PositionConflict, log.append("X1", [refused], expected=99))
    await refuses(PayloadNotFound, log.payload("X1", "d4"))


# --- trimming -----------------------------------------------------------------------------------


@check
async def trimming_leaves_a_visible_floor(bench: Bench) -> None:
    """What is gone shows; what is left keeps its numbers; the head stays."""
    log = await bench.log()
    await begin(log)
    await log.append("X1", [line(n) for n in range(2, 11)])
    assert (await log.trim("X1", 6)).floor == 6
    assert seqs(await log.read("X1", 0, 100)) == [6, 7, 8, 9, 10]
    assert seqs(await log.read("X1", 7, 100)) == [8, 9, 10]
    assert (await log.trim("X1", 3)).floor == 6
    assert (await log.trim("X1", 99)).floor == 10
    assert (await log.append("X1", [line()])).first == 11
    assert seqs(await log.read("X1", 0, 100)) == [10, 11]


@check
async def the_index_knows_the_sizes(bench: Bench) -> None:
    """Of the events that are held, and of what was put aside; trimming gives bytes back."""
    log = await bench.log()
    await begin(log)
    draft = line("see aside")
    draft.aside = {"d1": b"x" * 1000}
    await log.append("X1", [draft])
    await log.append("X1", [line(n) for n in range(3, 8)])
    for floor in (1, 4):
        await log.trim("X1", floor)
        entry = await log.entry("X1")
        assert entry.bytes == sum([len(record.tail) for record in await read_all(log, "X1")])
        assert entry.size == entry.bytes + 1000
    assert await (await bench.reopen()).entry("X1") == entry


# --- removing -----------------------------------------------------------------------------------


@check
async def what_is_removed_is_gone_with_all_that_was_kept_with_it(bench: Bench) -> None:
    """And an execution of that id, should one be made, is another life with another number."""
    log, other = await bench.log(), await bench.other()
    await begin(log, "X1")
    draft = line()
    draft.aside = {"d1": b"{}"}
    await log.append("X1", [draft], producer=Producer("p", 1))
    await refuses(ExecutionRunning, log.remove("X1"))
    await other.append("X1", [ended()])
    before = await log.entry("X1")
    await log.remove("X1")
    for handle in (log, other):
        await refuses(ExecutionNotFound, handle.entry("X1"))
        await refuses(ExecutionNotFound, handle.read("X1", 0, 10))
        await refuses(ExecutionNotFound, handle.append("X1", [line()]))
        await refuses(ExecutionNotFound, handle.remove("X1"))
        assert not await handle.entries("default", limit=10)
        assert not await handle.unfinished("default")
        assert not await handle.numbered("default", [before.number])
        assert await handle.newest() == before.number
    await begin(other, "X1")
    again = await log.entry("X1")
    assert again.number > before.number
    assert again.epoch != before.epoch
    await refuses(PayloadNotFound, log.payload("X1", "d1"))
    assert (await log.append("X1", [line()], producer=Producer("p", 1))).first == 2


@check
async def a_number_is_never_used_again(bench: Bench) -> None:
    """Positions of many logs name them by it, and outlive them."""
    log = await bench.log()
    numbers = list[int]()
    for removed in ("X1", "X2", "X3"):
        await begin(log, removed)
        numbers.append((await log.entry(removed)).number)
        await log.append(removed, [ended()])
        await log.remove(removed)
        log = await bench.reopen()
        assert await log.newest() == numbers[-1]
    assert numbers == [1, 2, 3]


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
async def the_ended_are_listed_by_kind_oldest_end_first(bench: Bench) -> None:
    """Whatever their workspace; with how many there are, and how large."""
    log = await bench.log()
    for name, second in (("X1", 3), ("X2", 1), ("X3", 2)):
        await begin(log, name, workspace=name)
        end = ended()
        end.ts = f"2026-01-01T00:00:0{second}.000000Z"
        await log.append(name, [end])
    await begin(log, "running")
    await begin(log, "brief", ephemeral=True)
    await log.append("brief", [ended()])

    async def found(limit: int = 9, *, kind: str = "task", ephemeral: bool = False) -> list[str]:
        entries = await log.ended(kind, ephemeral=ephemeral, limit=limit)
        return [entry.execution_id for entry in entries]

    assert await found() == ["X2", "X3", "X1"]
    assert await found(1) == ["X2"]
    assert await found(ephemeral=True) == ["brief"]
    assert await found(kind="agent") == []
    kept = await log.kept("task", ephemeral=False)
    sizes = [(await log.entry(name)).size for name in ("X1", "X2", "X3")]
    assert (kept.count, kept.bytes) == (3, sum(sizes))
    assert (await log.entry("brief")).ephemeral


@check
async def the_large_that_run_are_listed(bench: Bench) -> None:
    """By the bytes of their events; one that has ended is not among them."""
    log = await bench.log()
    for name in ("small", "large", "ended"):
        await begin(log, name, lease_until=TS)
        await log.append(name, [line("x" * (10 if name == "small" else 1000))])
    await log.append("ended", [ended()])
    assert [entry.execution_id for entry in await log.large("task", 900)] == ["large"]
    assert await log.large("agent", 0) == []


# --- watching -----------------------------------------------------------------------------------


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


# --- leases -------------------------------------------------------------------------------------


@check
async def a_lease_that_is_not_extended_expires(bench: Bench) -> None:
    """Beats extend it; an ended execution and one without a lease never expire."""
    log = await bench.log()
    times = [TS.replace("00:00:00", f"00:00:{second:02}") for second in range(10)]
    for execution_id in ("X1", "X2", "X3"):
        await begin(log, execution_id, lease_until=times[3])
    await begin(log, "X4")
    await log.beat(["X2", "X4"], times[6])
    await log.append("X3", [ended()])
    assert list(await log.expired(times[3])) == []
    assert list(await log.expired(times[4])) == [("X1", times[3])]
    await log.append("X1", [ended()])
    assert list(await log.expired(times[9])) == [("X2", times[6])]


# --- facts ----------------------------------------------------------------------------------------


def at(second: int) -> str:
    """A time."""
    return TS.replace("00:00:00", f"00:00:{second:02}")


@check
async def facts_are_kept_until_their_time_is_over(bench: Bench) -> None:
    """By kind and key, from every handle, also after a reopening."""
    facts, other = (await bench.log()).facts, (await bench.other()).facts
    assert await facts.put("key", "a/1", "one", now=at(0))
    assert await facts.put("key", "a/2", "two", now=at(0), until=at(5))
    assert await facts.put("ticket", "a/1", "other kind", now=at(0))
    assert await other.get("key", "a/1", now=at(1)) == "one"
    assert await facts.find("key", "a/", now=at(4)) == [("a/1", "one"), ("a/2", "two")]
    assert await facts.find("key", "a/", now=at(5)) == [("a/1", "one")]
    assert await facts.find("key", "b", now=at(0)) == []
    assert await facts.get("key", "a/2", now=at(5)) is None
    await facts.sweep(now=at(5))
    assert await facts.get("key", "a/2", now=at(4)) is None
    facts = (await bench.reopen()).facts
    assert await facts.get("key", "a/1", now=at(9)) == "one"


@check
async def what_must_happen_once_happens_once(bench: Bench) -> None:
    """A fact that must be new, and one that is taken, whoever asks at the same time."""
    facts, other = (await bench.log()).facts, (await bench.other()).facts
    won: list[bool] = []
    took: list[str | None] = []

    async def put(number: int) -> None:
        handle = other if number % 2 else facts
        won.append(await handle.put("nonce", "n", str(number), now=at(0), until=at(5), new=True))

    async def take(number: int) -> None:
        took.append(await (other if number % 2 else facts).take("nonce", "n", now=at(1)))

    for function in (put, take):
        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(function, number)
    assert sum(won) == 1
    assert sum(value is not None for value in took) == 1
    assert await facts.put("nonce", "n", "again", now=at(1), until=at(5), new=True)
    assert await facts.put("nonce", "n", "when over", now=at(5), new=True)
    assert await facts.take("nonce", "none", now=at(1)) is None


@check
async def places_are_limited(bench: Bench) -> None:
    """All names or none; given back, or over; the same count for every handle."""
    facts, other = (await bench.log()).facts, (await bench.other()).facts
    limits = {"workspace/w": 3, "all": 5}

    async def occupy(handle: Any, holder: str, second: int = 0, **names: int) -> str | None:
        asked = names or limits
        full: str | None = await handle.occupy(
            "stream", asked, holder, now=at(second), until=at(second + 10)
        )
        return full

    assert [await occupy(facts, f"p1:{n}") for n in range(4)] == [None] * 3 + ["workspace/w"]
    assert await occupy(other, "p2:1") == "workspace/w"
    assert await occupy(other, "p2:1", w2=9, all=5) is None
    assert await occupy(other, "p2:2", w2=9, all=5) is None
    assert await occupy(other, "p2:3", w2=9, all=5) == "all"
    assert await occupy(facts, "p1:0") is None  # who has a place keeps it
    await facts.vacate("stream", "p1:0")
    await facts.vacate("stream", "p1:0")
    assert await occupy(other, "p2:4") is None
    await facts.stay("stream", "p1:", until=at(30))
    assert await occupy(facts, "p3:1", second=20, all=3) is None  # those of p2 are over
    assert await occupy(facts, "p3:2", second=20, all=3) == "all"
    await facts.sweep(now=at(20))
    assert await occupy(facts, "p3:2", second=20, all=4) is None


@check
async def the_last_place_is_taken_once(bench: Bench) -> None:
    """Of many who ask at the same time."""
    facts, other = (await bench.log()).facts, (await bench.other()).facts
    refused: list[str | None] = []

    async def occupy(number: int) -> None:
        handle = other if number % 2 else facts
        refused.append(
            await handle.occupy("stream", {"w": 5}, f"h{number}", now=at(0), until=at(9))
        )

    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(occupy, number)
    assert refused.count(None) == 5


# --- opening and closing ------------------------------------------------------------------------


@check
async def everything_survives_a_reopening(bench: Bench) -> None:
    """Events, numbers, epoch, floor, producers and the seal."""
    log = await bench.log()
    await begin(log)
    await log.append("X1", [line("a"), line("b")], producer=Producer("p", 1))
    await log.trim("X1", 2)
    before = await log.entry("X1")
    log = await bench.reopen()
    assert await log.entry("X1") == before
    assert (await log.append("X1", [line("a"), line("b")], producer=Producer("p", 1))).duplicate
    assert (await log.append("X1", [ended()])).first == 4
    log = await bench.reopen()
    await refuses(LogSealed, log.append("X1", [line()]))


@check
async def a_closed_store_says_so(bench: Bench) -> None:
    """To every call; closing twice is allowed."""
    log = await bench.log()
    await begin(log)
    await log.aclose()
    await log.aclose()
    await refuses(StoreClosed, log.append("X1", [line()]))
    await refuses(StoreClosed, log.read("X1", 0, 1))
    await refuses(StoreClosed, log.entry("X1"))
    await refuses(StoreClosed, log.entries("default", limit=1))


@check
async def logs_have_different_epochs(bench: Bench) -> None:
    """So that a position can never be taken for one of another life."""
    log = await bench.log()
    epochs = set()
    for number in range(20):
        await begin(log, f"X{number}")
        epochs.add((await log.entry(f"X{number}")).epoch)
    assert len(epochs) == 20
