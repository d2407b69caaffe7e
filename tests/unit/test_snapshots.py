"""What an execution was, at every position of the golden logs and with every beginning gone."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from tailrace import snapshots
from tailrace.errors import ExecutionNotFound, PositionTrimmed
from tailrace.events import Draft, Event
from tailrace.lifecycle import ExecutionState, fold
from tailrace.log.base import EventLog, Opening
from tailrace.log.memory import MemoryLog
from tailrace.retention import Retention
from tailrace.settings import Settings
from tailrace.snapshots import state_at
from tailrace.testing import FakeClock
from tailrace.testing.clock import EPOCH

FOLDER = Path(__file__).parents[2] / "schemas/golden"
GOLDEN: dict[str, list[Event]] = {
    path.stem: [Event(**event) for event in json.loads(path.read_text())["events"]]
    for path in sorted(FOLDER.glob("*.json"))
}


async def logged(log: EventLog, events: Sequence[Event]) -> str:
    drafts = [
        Draft(type=e.type, ts=e.ts, data=e.data, node=e.node, attempt=e.attempt) for e in events
    ]
    first = events[0]
    opening = Opening(
        execution_id=first.execution_id,
        kind=first.data["kind"],
        flow=first.data["flow"],
        workspace="default",
        lease_until="2100",
    )
    await log.create(opening, drafts)
    return first.execution_id


async def at(log: EventLog, name: str, position: int | None = None) -> ExecutionState:
    return await state_at(log, name, position, page=7, now=EPOCH)


@pytest.mark.parametrize("name", GOLDEN)
async def test_it_is_the_fold_of_what_is_there_and_what_is_gone(name: str) -> None:
    events = GOLDEN[name]
    async with MemoryLog() as log:
        execution = await logged(log, events)
        for floor in range(1, len(events) + 1):
            await snapshots.keep(log, await at(log, execution, floor - 1), EPOCH)
            await log.trim(execution, floor)
            assert await at(log, execution) == fold(events)
            for position in range(max(floor - 1, 1), len(events) + 1):
                assert await at(log, execution, position) == fold(events[:position])
            for position in range(1, floor - 1):
                with pytest.raises(PositionTrimmed):
                    await at(log, execution, position)
        assert floor > 2


@pytest.mark.parametrize("name", GOLDEN)
async def test_where_nobody_kept_it_the_rest_says_what_it_can(name: str) -> None:
    events = GOLDEN[name]
    async with MemoryLog() as log:
        execution = await logged(log, events)
        whole = fold(events)
        for floor in range(2, len(events) + 1):
            await log.trim(execution, floor)
            state = await at(log, execution)
            assert (state.flow, state.kind, state.status) == (whole.flow, whole.kind, whole.status)
            for node in state.nodes.values():
                assert node.status == whole.nodes[node.id].status
            assert state.to_dict().keys() == whole.to_dict().keys()


async def test_an_execution_that_is_not_there() -> None:
    async with MemoryLog() as log:
        with pytest.raises(ExecutionNotFound):
            await at(log, "X")


async def test_retention_keeps_what_it_takes_away_until_the_execution_goes(
    clock: FakeClock,
) -> None:
    events = GOLDEN["etl"]
    settings = Settings(store="memory:", retention_running_bytes="1500", retention_age_s="60")
    async with MemoryLog() as log:
        execution = await logged(log, events[:-1])
        retention = Retention(log, clock, settings)
        while await retention.turn():
            pass
        assert (await log.entry(execution)).floor > 5
        assert await at(log, execution) == fold(events[:-1])
        end = events[-1]
        await log.append(execution, [Draft(type=end.type, ts=end.ts, data=end.data)])
        assert await at(log, execution) == fold(events)
        await clock.advance(400 * 86400)
        while await retention.turn():
            pass
        assert not await log.facts.find("trimmed", now="2100")
        with pytest.raises(ExecutionNotFound):
            await at(log, execution)
