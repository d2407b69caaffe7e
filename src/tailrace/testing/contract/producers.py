"""What a producer may count on that numbers its batches and repeats what was not acknowledged.

The law of this file: each of its batches is in the log once, however often it was sent.
"""

import asyncio

from tailrace.errors import ExecutionNotFound, PositionConflict, ProducerGap
from tailrace.log.base import Appended, Opening, Producer
from tailrace.testing.contract.bench import Bench, check
from tailrace.testing.contract.tools import begin, ended, line, lines, queued, refuses


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
