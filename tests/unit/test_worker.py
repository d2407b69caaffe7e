"""Workers: one attempt at a time, taken over without a loss, handed over without a death."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import anyio
import pytest

from tailrace import Event, agent, errors, flow, log, metrics, node
from tailrace.lifecycle import fold
from tailrace.log.memory import MemoryLog
from tailrace.metrics import Tally
from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.testing import FakeClock
from tailrace.testing.clock import settle
from tailrace.testing.queues import MemoryQueue
from tailrace.work.base import Job
from tailrace.worker import Worker

LEASE_S = Settings(store="memory:").lease_s


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
        house.gate.set()
        async with house.worker():
            await house.clock.advance(LEASE_S * 2)
            assert await run == 3
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
        return bool(given == value)

    @flow
    def giving() -> object:
        return wait(give())

    house.flows.append(giving)
    async with house.process() as server:
        run = await server.start("giving")
        await house.killed()
        house.gate.set()
        async with house.worker():
            await house.clock.advance(LEASE_S * 2)
            assert await run is True
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
        house.gate.set()
        async with house.worker():
            await house.clock.advance(LEASE_S * 2)
            assert await run == 300
        assert house.ran == ["begin"]


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
        house.gate.set()
        async with house.worker():
            await house.clock.advance(LEASE_S * 2)
            await run
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
