"""What one writer may count on: its events are numbered, kept exactly, and whole or not at all.

The law of this file: what was refused, or given up, has left nothing behind.
"""

import asyncio
from contextlib import suppress

import anyio
import anyio.lowlevel

from tailrace.errors import InvalidEvent, LogSealed, PayloadTooLarge
from tailrace.events import Draft
from tailrace.log.base import Appended, Opening
from tailrace.log.rules import EVENT_MAX_BYTES
from tailrace.testing.contract.bench import Bench, check
from tailrace.testing.contract.tools import (
    TS,
    begin,
    ended,
    line,
    lines,
    queued,
    read_all,
    refuses,
    seqs,
)


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
