"""What an execution was at a position, also where its log no longer holds the events before it.

The law of this file: a log's beginning goes only after what it came to has been kept, beside the
log. So what a flow is called, its graph and how far its nodes were is known for as long as the
execution is, whatever of its events is gone.
"""

from collections.abc import Iterable
from datetime import datetime

from pydantic_core import from_json, to_json

from tailrace.clock import rfc3339
from tailrace.errors import PositionTrimmed
from tailrace.events import Record
from tailrace.lifecycle import ExecutionState
from tailrace.log.base import Entry, EventLog

_KIND = "trimmed"
_FOLDED = ("execution.", "node.", "output.")  # what moves more of a state than its head


def advance(state: ExecutionState, records: Iterable[Record]) -> None:
    """Move on by events that follow. Raises IllegalTransition."""
    for record in records:
        if record.type.startswith(_FOLDED):
            state.apply(record.event())
        state.head = record.seq


async def state_at(
    log: EventLog, execution_id: str, at: int | None, *, page: int, now: datetime
) -> ExecutionState:
    """Fold a log up to a position, or to its end.

    Raises ExecutionNotFound, and PositionTrimmed if what it was there is no longer known.
    """
    state = ExecutionState(id=execution_id)
    while at is None or state.head < at:
        limit = page if at is None else min(page, at - state.head)
        records = await log.read(execution_id, state.head, limit)
        if not records:
            break
        if records[0].seq == state.head + 1:
            advance(state, records)
            continue
        state = await before(log, await log.entry(execution_id), now)
        if at is not None and state.head > at:
            raise PositionTrimmed(
                f"What {execution_id} was at {at} is no longer kept", kept=state.head
            )
    return state


async def before(log: EventLog, entry: Entry, now: datetime) -> ExecutionState:
    """What an execution was before the oldest event that is held, or somewhat later.

    Partial where nobody kept it: of a log that was brought here without its beginning.
    """
    kept = await log.facts.get(_KIND, entry.execution_id, now=rfc3339(now))
    if kept is not None:
        state = ExecutionState.load(from_json(kept))
        if state.head >= entry.floor - 1:
            return state
    return ExecutionState(
        id=entry.execution_id,
        kind=entry.kind,
        flow=entry.flow,
        workspace=entry.workspace,
        queued_at=entry.created_at,
        head=entry.floor - 1,
        partial=entry.floor > 1,
    )


async def keep(log: EventLog, state: ExecutionState, now: datetime) -> None:
    """Keep what an execution is at a position, in place of what was kept of it."""
    await log.facts.put(_KIND, state.id, to_json(state.dump()).decode(), now=rfc3339(now))


async def forget(log: EventLog, execution_id: str, now: datetime) -> None:
    """It is removed, and its events with it."""
    await log.facts.take(_KIND, execution_id, now=rfc3339(now))
