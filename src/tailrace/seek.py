"""Where to begin in a log when a time or a number of newest events is asked for.

The law of this file: index seeks and short reads only. A time is found by halving, the newest N
by stepping back from the head in pages that grow; neither reads the log from its beginning.
"""

from dataclasses import dataclass
from datetime import datetime

from tailrace.events import TERMINAL
from tailrace.filters import Choice, Filter, chosen, moment
from tailrace.log.base import Entry, EventLog

FIRST_STEP = 256  # events stepped back at first; twice as many each time after
PAGE = 500


@dataclass(frozen=True, slots=True)
class Begin:
    """Where a watcher without a position begins: at a time, at the newest N of what it wants."""

    since: str | None = None
    newest: int | None = None
    wanted: Filter | None = None


def begin_of(choice: Choice, now: datetime) -> Begin | None:
    """What a choice says of it; None if nothing. Raises InvalidRequest."""
    since, newest = choice.get("since"), choice.get("tail")
    if since is None and newest is None:
        return None
    return Begin(moment(since, now) if since else None, newest, chosen(choice))


async def position(log: EventLog, entry: Entry, begin: Begin) -> int:
    """Return the position after which it begins. Raises StoreError.

    Of a log that has ended, at least the end is left to tell: else nothing would ever come.
    """
    after = entry.floor - 1
    if begin.since is not None:
        after = await _before(log, entry, begin.since)
    if begin.newest is not None:
        after = max(after, await _newest(log, entry, begin.wanted, begin.newest))
    return min(after, entry.head - 1) if entry.sealed else after


async def _before(log: EventLog, entry: Entry, since: str) -> int:
    """The last position before a time. Times in a log do not go back, but for its clock's jumps."""
    low, high = entry.floor - 1, entry.head  # the answer is in low … high
    while low < high:
        middle = (low + high) // 2
        records = await log.read(entry.execution_id, middle, 1)
        if records and records[0].event().ts < since:
            low = middle + 1
        else:
            high = middle
    return low


async def _newest(log: EventLog, entry: Entry, wanted: Filter | None, count: int) -> int:
    if wanted is None or count == 0:
        return max(entry.head - count, entry.floor - 1)
    found: list[int] = []
    upper, step = entry.head, FIRST_STEP
    while upper >= entry.floor and len(found) < count:
        lower = max(upper - step, entry.floor - 1)
        found = await _chosen(log, entry.execution_id, wanted, lower, upper) + found
        upper, step = lower, step * 2
    return found[-count] - 1 if len(found) >= count else entry.floor - 1


async def _chosen(
    log: EventLog, execution_id: str, wanted: Filter, after: int, upto: int
) -> list[int]:
    """What is chosen between two positions. The end does not count: it comes in any case."""
    found: list[int] = []
    while after < upto:
        records = await log.read(execution_id, after, min(PAGE, upto - after))
        if not records:
            break
        found += [r.seq for r in records if r.type not in TERMINAL and wanted.chooses(r)]
        after = records[-1].seq
    return found
