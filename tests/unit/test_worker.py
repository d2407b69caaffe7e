"""Workers: one attempt at a time, taken over without a loss, handed over without a death."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any

import anyio
import pytest
from pydantic import AfterValidator

from tailrace import Event, agent, errors, flow, log, metrics, node
from tailrace.clock import rfc3339
from tailrace.events import WarningEvent, draft
from tailrace.lifecycle import fold
from tailrace.log.memory import MemoryLog
from tailrace.metrics import Tally
from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.testing import FakeClock
from tailrace.testing.clock import EPOCH, settle
from tailrace.testing.contract.tools import ended
from tailrace.testing.queues import MemoryQueue
from tailrace.work.base import Job
from tailrace.worker import Worker

LEASE_S = Settings(store="memory:").lease_s


class Colour(StrEnum):
    """A text that is more than one."""

    RED = "red"


class Line:
    """The way of one process to the log: when it is cut, the process is dead to all others."""

    def __init__(self, inner: MemoryLog) -> None:
        self._inner, self.is_cut = inner, False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in ("append", "beat", "create"):
            return found

        async def write(*arguments: Any, **options: Any) -> Any:
            if self.is_cut:
                raise errors.StoreUnavailable
            return await found(*arguments, **options)

        return write

    async def aclose(self) -> None:
        """It is the others', too."""

    async def __aenter__(self) -> "Line":
        await self._inner.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class House:
    """Processes that share a log and a queue; what their nodes do is told in `ran`."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.log, self.queue = clock, MemoryLog(), MemoryQueue(clock)
        self.ran: list[str] = []
        self.gate = anyio.Event()
        house = self

        @node(effects="pure", determinism="strict")
        async def first(n: int) -> dict[str, int]:
            house.ran.append("first")
            return {"n": n}

        @node
        async def second(d: dict[str, int]) -> str:
            house.ran.append("second")
            await house.gate.wait()
            return "x" * d["n"]

        @node
        async def third(text: str) -> int:
            house.ran.append("third")
            return len(text)

        @flow
        def chain(n: int = 3) -> object:
            return third(second(first(n)))

        self.flows: list[Any] = [chain]

    @asynccontextmanager
    async def process(self, **settings: Any) -> AsyncIterator[Runtime]:
        made = Settings(store="memory:", **settings)
        line: Any = Line(self.log)
        async with Runtime(
            made, log=line, clock=self.clock, queue=self.queue, flows=self.flows
        ) as runtime:
            yield runtime

    @asynccontextmanager
    async def worker(self, **settings: Any) -> AsyncIterator[Worker]:
        """A worker's process; leaving the block is its drain, without any time for it."""
        async with self.process(drain_s=0.001, **settings) as runtime:
            worker = Worker(runtime)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.run)
                await settle(100)
                yield worker
                tasks.cancel_scope.cancel()

    async def killed(self, **settings: Any) -> None:
        """A worker that is killed in the midst of whatever it found to do."""
        async with self.worker(**settings) as worker:
            line: Any = worker._runtime.log
            line.is_cut = True

    async def outcome(self, run: Run) -> Any:
        """What comes of one whose worker was killed, when another takes over."""
        self.gate.set()
        async with self.worker():
            await self.clock.advance(LEASE_S * 2)
            return await run

    async def events(self, run: Run) -> list[Event]:
        return [record.event() for record in await self.log.read(run.id, 0, 1000)]


@pytest.fixture
def house(clock: FakeClock) -> House:
    return House(clock)


def seen(events: list[Event]) -> list[tuple[str, str | None, int]]:
    return [(event.type, event.node, event.attempt) for event in events]


async def test_what_waits_is_run_by_a_worker(house: House) -> None:
    house.gate.set()
    async with house.process() as server:
        run = await server.start("chain")
        assert (await server.view(run.id)).status == "queued"
        async with house.worker():
            assert await run == 3
        assert await house.queue.waiting("default") == 0
        assert await server.dispatch.spec(run.id) is None


async def test_what_a_worker_did_is_counted(house: House) -> None:
    async with house.process() as server, house.worker() as worker:
        tally = worker._runtime.metrics = Tally()
        run = await server.start("chain")
        house.gate.set()
        assert await run == 3
        await server.start("chain", at=house.clock.now() + timedelta(hours=1))
        await house.clock.advance(LEASE_S)
        assert tally.values[metrics.JOBS] == {("done",): 1}
        assert tally.values[metrics.QUEUED] == {("default",): 1}


async def test_another_worker_goes_on_where_a_killed_one_was(house: House) -> None:
    async with house.process() as server:
        run = await server.start("chain")
        await house.killed()
        assert seen(await house.events(run))[-1] == ("node.started", "second", 1)
        house.ran.clear()
        assert await house.outcome(run) == 3
        assert house.ran == ["second", "third"]
        events = await house.events(run)
        assert seen(events)[5:] == [
            ("warning", None, 1),
            ("execution.started", None, 2),
            ("node.retrying", "second", 1),
            ("node.started", "second", 2),
            ("node.completed", "second", 2),
            ("node.started", "third", 1),
            ("node.completed", "third", 1),
            ("execution.completed", None, 2),
        ]
        assert events[5].data["code"] == "worker_lost"
        assert events[-1].data["node_count"] == 3
        assert events[-1].data["total_duration_ms"] >= LEASE_S * 1000
        assert fold(events).attempt == 2


async def test_it_is_lost_when_as_many_workers_died_as_may(house: House) -> None:
    async with house.process(attempts_max=2) as server:
        run = await server.start("chain")
        for _ in range(2):
            await house.killed()
            await house.clock.advance(LEASE_S * 2)
        assert (await house.events(run))[-1].type == "execution.lost"
        assert await server.dispatch.spec(run.id) is None
        async with house.worker():
            pass
        assert house.ran == ["first", "second", "second"]


async def test_to_be_handed_over_is_no_death(house: House) -> None:
    async with house.process(attempts_max=2) as server:
        run = await server.start("chain")
        for _ in range(4):
            async with house.worker():
                pass
        assert [e.type for e in await house.events(run)].count("execution.started") == 4
        house.gate.set()
        async with house.worker():
            assert await run == 3
        events = await house.events(run)
        assert ("node.cancelled", "second", 4) in seen(events)
        assert not [event for event in events if event.type in ("warning", "node.retrying")]
        assert house.ran.count("first") == 1
        fold(events)


async def test_what_was_handed_over_may_wait_for_long(house: House) -> None:
    """Nobody died: neither the log says so, nor is it lost for it."""
    async with house.process(attempts_max=2) as server:
        run = await server.start("chain")
        for _ in range(3):
            async with house.worker():
                pass
            await house.clock.advance(300)
        house.gate.set()
        async with house.worker():
            assert await run == 3
        assert "warning" not in [event.type for event in await house.events(run)]


@pytest.mark.parametrize("how", ["handed over", "died"])
async def test_one_that_waits_for_its_next_worker_is_cancelled_at_once(
    house: House, how: str
) -> None:
    async with house.process() as server:
        run = await server.start("chain")
        if how == "died":
            await house.killed()
            await house.clock.advance(LEASE_S * 2)
        else:
            async with house.worker():
                pass
        await server.cancel(run.id, by="ada")
        end = (await house.events(run))[-1]
        assert (end.type, end.attempt, end.data["by"]) == ("execution.cancelled", 1, "ada")
        assert await server.dispatch.spec(run.id) is None
        async with house.worker():
            assert await house.queue.waiting("default") == 0
        assert house.ran == ["first", "second"]


async def test_a_cancel_that_was_cut_short_is_asked_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server died between the request and the end; or something else was said in between."""
    async with house.process() as server:
        run = await server.start("chain")
        with monkeypatch.context() as patch:
            patch.setattr(server.dispatch, "withdraw", house.gate.wait)
            house.gate.set()
            with pytest.raises(TypeError):  # it takes no such arguments: as if killed there
                await server.cancel(run.id, by="ada")
        assert (await server.view(run.id)).status == "cancelling"
        append, said = house.log.append, [draft(WarningEvent(code="x", message="y"), EPOCH)]

        async def interrupted(*given: Any, **options: Any) -> Any:
            while said:
                await append(run.id, [said.pop()])
            return await append(*given, **options)

        monkeypatch.setattr(house.log, "append", interrupted)
        await server.cancel(run.id, by="bob")
        assert (await server.view(run.id)).status == "cancelled"


async def test_what_ended_is_forgotten_by_whoever_finds_its_job(house: House) -> None:
    """Its worker was killed between the end and the next step: the input must not stay."""
    house.gate.set()
    async with house.process() as server:
        run = await server.start("chain")
        await house.log.append(run.id, [ended()])
        assert await server.dispatch.spec(run.id) is not None
        async with house.worker():
            pass
        assert await server.dispatch.spec(run.id) is None


async def test_what_a_newer_version_keeps_is_read(house: House) -> None:
    house.gate.set()
    async with house.process() as server:
        run = await server.start("chain")
        now = rfc3339(house.clock.now())
        kept = json.loads(await house.log.facts.get("work", run.id, now=now) or "")
        await house.log.facts.put("work", run.id, json.dumps(kept | {"later": 1}), now=now)
        async with house.worker():
            assert await run == 3


async def test_a_worker_that_drains_lets_end_what_can(house: House) -> None:
    async with house.process() as server:
        run = await server.start("chain")
        async with house.process(drain_s=5) as there:
            worker = Worker(there)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.run)
                await settle(100)
                worker.stop()
                late = await server.start("chain")
                await house.clock.advance(4)
                house.gate.set()
        assert (await server.view(run.id)).status == "completed"
        assert (await server.view(late.id)).status == "queued"


@pytest.mark.parametrize("how", ["stop", "leave"])
async def test_what_does_not_stop_is_handed_over_all_the_same(house: House, how: str) -> None:
    """A thread cannot be interrupted; that is no reason to keep its execution, or to die."""

    @node
    async def deaf() -> int:
        house.ran.append("deaf")
        with anyio.CancelScope(shield=True):
            await house.gate.wait()
        return 1

    @flow
    def long() -> object:
        return deaf()

    house.flows = [long]
    async with house.process() as server:
        run = await server.start("long")
        async with house.process(drain_s=5) as there:
            worker = Worker(there)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(worker.run)
                await settle(100)
                getattr(worker, how)()
                await house.clock.advance(8 if how == "stop" else 3)
                assert worker.left.is_set()
                async with house.worker():
                    await house.clock.advance(LEASE_S * 2)
                    assert house.ran == ["deaf"] * 2
                    house.gate.set()
                    assert await run == 1
        events = await house.events(run)
        assert "warning" not in [event.type for event in events]
        assert events[-1].attempt == 2


async def test_what_a_zombie_says_is_not_heard(house: House) -> None:
    """It was taken for dead, for it could not be reached; now it can again."""
    async with house.process() as server, house.worker() as zombie:
        run = await server.start("chain")
        await settle(100)
        line: Any = zombie._runtime.log
        line.is_cut = True
        zombie.stop()
        async with house.worker():
            await house.clock.advance(LEASE_S * 2)
            line.is_cut = False
            assert zombie._runtime.running == 0  # it heard of the other, and stopped
            house.gate.set()
            assert await run == 3
        kinds = [event.type for event in await house.events(run)]
        assert kinds.count("execution.completed") == 1
        assert house.ran == ["first", "second", "second", "third"]


async def test_a_worker_that_was_cut_off_can_go_on_with_its_own_execution(house: House) -> None:
    """The end of the attempt that was given up is not the end of the next, in one process."""
    async with house.process() as server, house.worker() as worker:
        run = await server.start("chain")
        await settle(100)
        line: Any = worker._runtime.log
        line.is_cut = True
        await house.clock.advance(LEASE_S + 7)
        line.is_cut = False
        await house.clock.advance(7)
        assert worker._runtime.running == 1
        await house.clock.advance(LEASE_S * 4)
        house.gate.set()
        assert await run == 3
        started = [e.attempt for e in await house.events(run) if e.type == "execution.started"]
        assert started == [1, 2]


async def test_a_zombie_keeps_no_lease(house: House) -> None:
    """What it cannot stop runs on in it; whether another's attempt lives is not its to say."""
    stubborn = anyio.Event()

    @node
    async def deaf() -> int:
        with anyio.CancelScope(shield=not stubborn.is_set()):
            house.ran.append("deaf")
            await stubborn.wait()
        return 1

    @flow
    def long() -> object:
        return deaf()

    house.flows = [long]
    async with house.process() as server, house.worker() as zombie:
        run = await server.start("long")
        await settle(100)
        line: Any = zombie._runtime.log
        line.is_cut = True
        zombie.stop()
        async with house.worker() as second:
            await house.clock.advance(LEASE_S * 2)
            assert (await server.view(run.id)).attempt == 2
            line.is_cut = False
            second_line: Any = second._runtime.log
            second_line.is_cut = True
            second.stop()
            async with house.worker():
                await house.clock.advance(LEASE_S * 2)
                assert (await server.view(run.id)).attempt == 3
                stubborn.set()
                assert await run == 1
        assert house.ran == ["deaf"] * 3


async def test_nobody_is_taken_for_dead_because_the_store_was_away(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sweeps first when it is back finds the leases of all the others over."""

    async def away(*_: object) -> Any:
        raise errors.StoreUnavailable

    async with house.process() as server, house.worker():
        run = await server.start("chain")
        await settle(100)
        with monkeypatch.context() as patch:
            patch.setattr(house.log, "beat", away)
            patch.setattr(house.log, "expired", away)
            await house.clock.advance(LEASE_S + 3)
        await house.clock.advance(LEASE_S * 3)
        house.gate.set()
        assert await run == 3
        assert "warning" not in [event.type for event in await house.events(run)]


async def test_a_sweep_that_takes_long_does_not_stop_the_beats(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(_: Job) -> None:
        await anyio.sleep_forever()

    async with house.process() as server:
        await server.start("chain")
        await house.killed()
        async with house.worker() as worker:
            alive = await server.start("chain")
            await settle(100)
            assert worker._runtime.running == 1
            with monkeypatch.context() as patch:
                patch.setattr(house.queue, "submit", slow)
                await house.clock.advance(120)
                over = await house.log.expired(rfc3339(house.clock.now()))
            assert alive.id not in dict(over)


async def test_one_that_waits_is_cancelled_at_once(house: House) -> None:
    async with house.process() as server:
        run = await server.start("chain")
        await server.cancel(run.id, by="ada", reason="no more")
        with pytest.raises(errors.ExecutionCancelled):
            await run
        assert await house.queue.waiting("default") == 0
        assert (await house.events(run))[-1].data["by"] == "ada"


async def test_a_cancel_reaches_the_worker(house: House) -> None:
    async with house.process() as server, house.worker() as worker:
        run = await server.start("chain")
        await settle(100)
        await server.cancel(run.id, by="ada")
        await settle(100)
        assert (await server.view(run.id)).status == "cancelled"
        assert worker._runtime.running == 0
        assert await server.dispatch.spec(run.id) is None


async def test_one_whose_worker_died_after_a_cancel_ends_cancelled(house: House) -> None:
    async with house.process() as server:
        run = await server.start("chain")
        await house.killed()
        await server.cancel(run.id, by="ada")
        async with house.worker():
            await house.clock.advance(LEASE_S * 2)
        assert (await house.events(run))[-1].data["by"] == "ada"
        assert house.ran == ["first", "second"]


async def test_none_begins_before_its_time(house: House) -> None:
    house.gate.set()
    async with house.process() as server, house.worker():
        run = await server.start("chain", at=house.clock.now() + timedelta(hours=1))
        await house.clock.advance(3599)
        assert (await server.view(run.id)).status == "queued"
        await house.clock.advance(2)
        assert (await server.view(run.id)).status == "completed"


async def test_a_later_start_needs_workers(clock: FakeClock) -> None:
    async with Runtime(Settings(store="memory:"), clock=clock, flows=House(clock).flows) as alone:
        with pytest.raises(errors.InvalidRequest, match="needs workers"):
            await alone.start("chain", at=clock.now())


async def test_those_of_high_priority_go_first(house: House) -> None:
    house.gate.set()
    async with house.process() as server:
        low = await server.start("chain", {"n": 1}, priority="low")
        high = await server.start("chain", {"n": 1}, priority="high")
        async with house.worker(concurrency=1):
            assert await low == 1
        assert (await house.events(high))[-1].type == "execution.completed"


async def test_a_worker_without_the_flow_leaves_it_to_others_and_says_so_once(
    house: House,
) -> None:
    house.gate.set()
    async with house.process() as server:
        run = await server.start("chain")
        flows, house.flows = house.flows, []
        async with house.worker():
            await house.clock.advance(11)
        house.flows = flows
        kinds = [event.type for event in await house.events(run)]
        assert kinds == ["execution.queued", "warning"]
        async with house.worker():
            await house.clock.advance(6)
            assert await run == 3


async def test_what_the_queue_lost_is_submitted_again(house: House) -> None:
    house.gate.set()
    async with house.process() as server:
        run = await server.start("chain")
        await house.queue.cancel(Job(execution_id=run.id))  # as a Redis does that was emptied
        async with house.worker():
            await house.clock.advance(120)
            assert await run == 3
        assert "warning" not in [event.type for event in await house.events(run)]


async def test_a_process_without_a_queue_leaves_the_work_to_those_who_have_one(
    house: House,
) -> None:
    async with house.process() as server:
        run = await server.start("chain")
        await house.killed()
    line: Any = Line(house.log)
    async with Runtime(Settings(store="memory:"), log=line, clock=house.clock) as elsewhere:
        await house.clock.advance(LEASE_S * 4)
        assert (await elsewhere.view(run.id)).status == "running"


async def test_as_many_wait_as_may(house: House) -> None:
    async with house.process(queue_max=2) as server:
        for _ in range(2):
            await server.start("chain")
        with pytest.raises(errors.Overloaded):
            await server.start("chain")


async def test_a_key_starts_one_execution(house: House) -> None:
    async with house.process() as server:
        runs = [await server.start("chain", idempotency_key="k") for _ in range(2)]
        assert runs[0].id == runs[1].id
        assert await house.queue.waiting("default") == 1
        with pytest.raises(errors.IdempotencyConflict):
            await server.start("chain", {"n": 4}, idempotency_key="k")


async def test_a_key_runs_what_its_log_says(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not what an earlier start by it kept, before the store refused its log."""
    house.gate.set()

    async def full(*_: object, **__: object) -> Any:
        raise errors.StoreFull

    async with house.process() as server:
        with monkeypatch.context() as patch:
            patch.setattr(house.log, "create", full)
            with pytest.raises(errors.StoreFull):
                await server.start("chain", {"n": 9}, idempotency_key="k")
        run = await server.start("chain", {"n": 2}, idempotency_key="k")
        async with house.worker():
            assert await run == 2


async def test_what_is_gone_when_its_lease_is_over_stops_no_sweep(house: House) -> None:
    async with house.process() as server:
        gone, dead = await server.start("chain"), await server.start("chain")
        await house.log.beat([gone.id, dead.id], rfc3339(EPOCH))
        expired = house.log.expired

        async def emptied(now: str) -> Any:
            found = await expired(now)
            if gone.id in dict(found):
                await house.log.append(gone.id, [ended()])
                await house.log.remove(gone.id)
            return found

        house.log.expired = emptied  # type: ignore[method-assign]
        await house.clock.advance(LEASE_S)
        house.gate.set()
        async with house.worker():
            assert await dead == 3


async def test_a_deadline_covers_all_attempts(house: House) -> None:
    async with house.process() as server:
        run = await server.start("chain", deadline_ms=60_000)
        await house.killed()
        async with house.worker():
            await house.clock.advance(59)
            assert (await server.view(run.id)).status == "running"
            await house.clock.advance(2)
            assert (await server.view(run.id)).status == "timed_out"


async def test_those_over_a_workspaces_limit_wait(house: House) -> None:
    async with house.process() as server, house.worker(executions_per_workspace_max=1):
        runs = [await server.start("chain", {"n": 1}), await server.start("chain", {"n": 1})]
        await settle(100)
        states = [(await server.view(run.id)).status for run in runs]
        assert states == ["running", "queued"]
        house.gate.set()
        await house.clock.advance(6)
        assert await runs[1] == 1


@pytest.mark.parametrize(
    ("value", "runs"),
    [
        ([1] * 1000, 1),  # kept beside the log
        ({"a": 1}, 1),
        ((1, 2), 2),  # comes back as a list
        ({"password": "hunter2"}, 2),  # not what the log has
        ({"loss": float("inf")}, 2),  # likewise: JSON has no infinity
        (Counter("aab"), 2),  # comes back as a dict, which is equal to it
        ([{"colour": Colour.RED}], 2),  # likewise, as a text
        ({"n": 1, "x": 1.5, "is": True, "of": [[1], None]}, 1),
        ("x" * 200, 1),
    ],
    ids=str,
)
async def test_an_output_is_taken_from_the_log_if_it_is_there_as_it_was(
    house: House, value: Any, runs: int
) -> None:
    @node
    async def give() -> Any:
        house.ran.append("give")
        return value

    @node
    async def wait(given: Any) -> bool:
        await house.gate.wait()
        return bool(given == value) and repr(given) == repr(value)

    @flow
    def giving() -> object:
        return wait(give())

    house.flows.append(giving)
    async with house.process() as server:
        run = await server.start("giving")
        await house.killed()
        assert await house.outcome(run) is True
        assert house.ran.count("give") == runs


async def test_a_graph_that_is_too_large_for_an_event_is_known_all_the_same(house: House) -> None:
    @node(effects="pure", determinism="strict")
    async def begin(n: int) -> int:
        house.ran.append("begin")
        return n

    @node(effects="pure", determinism="strict")
    async def step(n: int) -> int:
        await house.gate.wait()
        return n + 1

    @flow
    def long(n: int = 0) -> object:
        output = begin(n)
        for _ in range(300):
            output = step(output)
        return output

    house.flows.append(long)
    async with house.process(event_max_bytes=65_536) as server:
        run = await server.start("long")
        await house.killed()
        state = await server.view(run.id)
        assert state.graph is None
        assert state.graph_digest is not None
        graph = json.loads(await house.log.payload(run.id, state.graph_digest))
        assert len(graph["nodes"]) == 302
        assert await house.outcome(run) == 300
        assert house.ran == ["begin"]


async def test_what_can_no_longer_be_read_is_made_again(house: House) -> None:
    """Its type's own code fails, in a way that is none of pydantic's."""
    broken: list[bool] = []

    def read(value: int) -> int:
        if broken:
            raise RuntimeError("not here")
        return value

    @node
    async def give() -> Annotated[int, AfterValidator(read)]:
        house.ran.append("give")
        return 1

    @node
    async def wait(given: int) -> int:
        await house.gate.wait()
        return given

    @flow
    def giving() -> object:
        return wait(give())

    house.flows.append(giving)
    async with house.process() as server:
        run = await server.start("giving")
        await house.killed()
        broken.append(True)
        assert await house.outcome(run) == 1
        assert house.ran == ["give", "give"]


async def test_streams_whose_consumers_are_done_do_not_run_again(house: House) -> None:
    """Nor do those that feed them."""

    @node
    async def numbers() -> AsyncIterator[int]:
        house.ran.append("numbers")
        yield 1

    @node
    async def twice(ns: AsyncIterator[int]) -> AsyncIterator[int]:
        house.ran.append("twice")
        async for n in ns:
            yield 2 * n

    @node
    async def total(ns: AsyncIterator[int]) -> int:
        return sum([n async for n in ns])

    @node
    async def wait(n: int) -> int:
        await house.gate.wait()
        return n

    @flow
    def summing() -> object:
        return wait(total(twice(numbers())))

    house.flows.append(summing)
    async with house.process() as server:
        run = await server.start("summing")
        await house.killed()
        assert await house.outcome(run) == 2
        assert house.ran == ["numbers", "twice"]


async def test_other_code_takes_nothing_from_the_log(house: House) -> None:
    async with house.process() as server:
        run = await server.start("chain")
        await house.killed()
        fresh = House(house.clock)
        fresh.gate.set()

        @node
        async def another(n: int) -> int:
            return n * 100

        @flow
        def chain(n: int = 3) -> object:
            return another(n)

        house.flows = [chain]
        async with house.worker():
            await house.clock.advance(LEASE_S * 2)
            assert await run == 300
        fold(await house.events(run))


async def test_an_agent_begins_anew(house: House) -> None:
    @agent
    async def speak() -> AsyncIterator[str]:
        yield "hello "
        await house.gate.wait()
        log("said")
        yield "world"

    house.flows.append(speak)
    async with house.process() as server:
        run = await server.start("speak")
        await house.killed()
        await house.outcome(run)
        pieces = [(e.attempt, e.data["text"]) for e in await house.events(run) if "text" in e.data]
        assert pieces[-2:] == [(2, "hello "), (2, "world")]


async def test_a_job_that_comes_twice_runs_once(house: House) -> None:
    async with house.process() as server, house.worker() as worker:
        run = await server.start("chain")
        await settle(100)
        await house.queue.give_back(Job(execution_id=run.id), 0)  # as a sweep does that errs
        await settle(100)
        house.gate.set()
        assert await run == 3
        await settle(100)
        assert house.ran == ["first", "second", "third"]
        again = await server.start("chain")
        assert await again == 3
        assert worker._taken == {}


async def test_one_that_cannot_even_begin_does_not_take_down_the_worker(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.gate.set()
    async with house.process() as server, house.worker() as worker:
        with monkeypatch.context() as patch:
            patch.setattr(worker, "_begun", None)
            run = await server.start("chain")
            await settle(100)
        await house.clock.advance(6)
        assert await run == 3


async def test_a_worker_needs_a_queue(clock: FakeClock) -> None:
    async with Runtime(Settings(store="memory:"), clock=clock) as runtime:
        with pytest.raises(errors.InvalidSetting, match="a worker needs one"):
            Worker(runtime)
