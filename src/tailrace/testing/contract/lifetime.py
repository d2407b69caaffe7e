"""From the making of a log, over the closing of its store, to its removal.

The law of this file: a log lives once, with one number and one epoch, and is gone whole or not
at all.
"""

import asyncio

from tailrace.errors import (
    ExecutionExists,
    ExecutionNotFound,
    ExecutionRunning,
    LogSealed,
    PayloadNotFound,
    StoreClosed,
)
from tailrace.events import Record
from tailrace.log.base import Entry, Producer
from tailrace.testing.contract.bench import Bench, check
from tailrace.testing.contract.tools import TS, begin, ended, line, lines, read_all, refuses


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
async def logs_have_different_epochs(bench: Bench) -> None:
    """So that a position can never be taken for one of another life."""
    log = await bench.log()
    epochs = set()
    for number in range(20):
        await begin(log, f"X{number}")
        epochs.add((await log.entry(f"X{number}")).epoch)
    assert len(epochs) == 20


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
    assert put == entry._replace(number=put.number)
    assert put.number > (await log.entry("X1")).number
    for handle in (log, other):
        assert await handle.entry("X2") == put
        assert await read_all(handle, "X2") == records
        assert await handle.payload("X2", "d") == b"1"
        assert [found.execution_id for found in await handle.entries("w", limit=9)] == ["X2"]
        assert not await handle.unfinished("w")
    await refuses(LogSealed, other.append("X2", [line()]))
    await refuses(ExecutionExists, other.restore(entry, records, {}))
    await refuses(ExecutionExists, other.restore(entry._replace(execution_id="X1"), records, {}))
    assert lines(await read_all(log, "X1")) == ["None"]


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
