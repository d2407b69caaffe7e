"""What a reader may count on: pages in order, what was put aside, and a floor that shows.

The law of this file: nothing is left out without a sign of it.
"""

from tailrace.errors import ExecutionNotFound, PayloadNotFound, PositionConflict
from tailrace.log.rules import PAGE_MAX_BYTES
from tailrace.testing.contract.bench import Bench, check
from tailrace.testing.contract.tools import begin, line, read_all, refuses, seqs


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
