"""Reports of engines: their words, their signatures, their leases, and several processes."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace import Settings, ingest
from tailrace.archive import export, parse, restore
from tailrace.errors import (
    AttemptFenced,
    ConflictError,
    ExecutionNotFound,
    IllegalTransition,
    InvalidRequest,
    LogSealed,
    ShuttingDown,
    SignatureInvalid,
    TailraceError,
)
from tailrace.events import CATALOG
from tailrace.ingest import Ingest, Taken
from tailrace.jobs import Job, Jobs, Progress, Told, batch_of, report_of, sign
from tailrace.log.base import EventLog
from tailrace.log.memory import MemoryLog
from tailrace.log.sqlite import SqliteLog
from tailrace.redact import Redactor
from tailrace.reported import Batch, Report
from tailrace.runtime import Runtime
from tailrace.testing import FakeClock

WS = "default"
QUEUED = Report(type="execution.queued", data={"flow": "f", "lease_ms": 10_000})
STARTED = Report(type="execution.started")
LEASE_S = 10.0


def line(text: object) -> Report:
    return Report(type="log.line", data={"line": str(text), "source": "s"})


def batch(seq: int, *reports: Report, producer: str = "e", attempt: int = 1) -> Batch:
    return Batch(producer=producer, producer_seq=seq, attempt=attempt, events=list(reports))


REDACTOR = Redactor()  # making one takes longer than most of what is tested here


def on(log: EventLog, clock: FakeClock, **given: Any) -> Runtime:
    settings = Settings(store="memory:", **given)
    return Runtime(settings, log=log, clock=clock, redactor=REDACTOR)


@pytest.fixture
async def runtime(clock: FakeClock) -> AsyncIterator[Runtime]:
    async with on(MemoryLog(), clock) as running:
        yield running


async def types(runtime: Runtime, execution_id: str = "X") -> list[str]:
    return [record.type for record in await runtime.log.read(execution_id, 0, 1000)]


# --- signatures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "timestamp", "body", "signature"),
    [  # made with: printf '%s.%s' "$timestamp" "$body" | openssl dgst -sha256 -hmac "$token"
        (
            "secret",
            "1771410600",
            b"{}",
            "1f73811a458d7f5a050b066c6d1d9265eeabb1a2922b6fc2f6822939fbf2938b",
        ),
        (
            "0" * 64,
            "1771410600.123456",
            '{"event":"node.started","node_key":"hé"}'.encode(),
            "7350472cffe7a556bc1254d157c0644ef49e9a63a1894b41dd57685f76e4c291",
        ),
        ("k", "0", b"", "6b4a4b8b3c40f1e8f53a3d36682e5f99f7ad2ac1df1c93dfe336f329167641e7"),
    ],
)
def test_signatures_are_those_of_openssl(
    token: str, timestamp: str, body: bytes, signature: str
) -> None:
    assert sign(token, timestamp, body) == f"v1={signature}"


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"status": "completed", "duration_ms": 3}, {"duration_ms": 3}),
        (
            {"output_keys": ["a"], "output_size_bytes": 9},
            {"output_summary": {"keys": ["a"], "size_bytes": 9, "preview": ""}},
        ),
        (
            {"output_summary": {"output_keys": ["a"]}},
            {"output_summary": {"keys": ["a"], "size_bytes": 0, "preview": ""}},
        ),
        (
            {"output_summary": {"keys": ["a"], "size_bytes": 9, "preview": "{"}},
            {"output_summary": {"keys": ["a"], "size_bytes": 9, "preview": "{"}},
        ),
        ({"output_summary": None}, {"output_summary": None}),
        ({"error": "boom"}, {"error": {"type": "engine_error", "message": "boom"}}),
        (
            {"error": {"type": "T", "message": "boom"}},
            {"error": {"type": "T", "message": "boom"}},
        ),
        ({"progress": 40, "message": "m"}, {"percent": 40, "message": "m"}),
    ],
)
def test_the_source_documents_words_are_ours(said: dict[str, Any], told: dict[str, Any]) -> None:
    made = report_of(Told(event="node.completed", node_key="n", data=said, timestamp="t"))
    assert made == Report(type="node.completed", node="n", ts="t", data=told)


def test_a_callback_has_one_report_or_several() -> None:
    one = {"event": "node.started", "node_key": "a"}
    assert len(batch_of(Progress(execution_id="X", **one)).events) == 1
    many = Progress(execution_id="X", events=[Told(event="warning"), Told(event="warning")])
    assert len(batch_of(many).events) == 2
    assert batch_of(Progress(execution_id="X", events=[])).events == []
    for wrong in (Progress(execution_id="X"), many.model_copy(update=one)):
        with pytest.raises(InvalidRequest):
            batch_of(wrong)


# --- leases -------------------------------------------------------------------------------------


async def test_an_engine_that_is_silent_past_its_lease_is_lost(
    runtime: Runtime, clock: FakeClock
) -> None:
    taking = Ingest(runtime)
    await taking.take(WS, "X", batch(1, QUEUED, STARTED))
    for seq in range(2, 8):
        await clock.advance(LEASE_S)
        await taking.take(WS, "X", batch(seq, line(seq)) if seq % 2 else Batch())
        assert (await runtime.log.entry("X")).status == "running"
        if not seq % 2:
            await taking.take(WS, "X", batch(seq, line(seq)))
    await clock.advance(LEASE_S * 1.25 + runtime.settings.lease_s)
    assert (await types(runtime))[-1] == "execution.lost"
    with pytest.raises(LogSealed):
        await taking.take(WS, "X", batch(8, line("late")))
    again = await taking.take(WS, "X", batch(7, line(7)))
    assert (again.duplicate, again.status) == (True, "lost")


async def test_an_engine_is_not_lost_because_nobody_was_there_to_hear_it(tmp_path: Path) -> None:
    clock = FakeClock()
    async with on(SqliteLog(tmp_path / "l.db"), clock) as before:
        await Ingest(before).take(WS, "X", batch(1, QUEUED, STARTED))
    await clock.advance(LEASE_S * 100)
    async with on(SqliteLog(tmp_path / "l.db"), clock) as after:
        await after.executions.sweep()
        assert (await after.log.entry("X")).status == "running"
        await Ingest(after).take(WS, "X", batch(2, line("here I am")))
        await clock.advance(LEASE_S)
        await after.executions.sweep()
        assert (await after.log.entry("X")).status == "running"
    async with on(SqliteLog(tmp_path / "l.db"), clock) as later:
        await clock.advance(LEASE_S * 3)
        await later.executions.sweep()
        assert (await later.log.entry("X")).status == "lost"


async def test_every_kind_of_lease_is_within_the_limits(clock: FakeClock) -> None:
    async with on(MemoryLog(), clock, ingest_lease_s=7.0) as runtime:
        taking = Ingest(runtime)
        await taking.take(WS, "X", batch(1, STARTED))
        assert (await runtime.view("X")).lease_ms == 7000
        job = Report(type="execution.queued", data={"flow": "f", "lease_ms": True})
        with pytest.raises(Exception, match="lease_ms"):
            await taking.take(WS, "Y", batch(1, job))


# --- several processes --------------------------------------------------------------------------


@pytest.fixture
async def pair(tmp_path: Path, clock: FakeClock) -> AsyncIterator[tuple[Runtime, Runtime]]:
    """Two processes on one file."""
    async with AsyncExitStack() as stack:
        made = [on(SqliteLog(tmp_path / "l.db"), clock) for _ in range(2)]
        one, two = [await stack.enter_async_context(runtime) for runtime in made]
        yield one, two


async def test_two_processes_take_reports_of_one_execution(pair: tuple[Runtime, Runtime]) -> None:
    takers = [Ingest(runtime) for runtime in pair]
    await takers[0].take(WS, "X", batch(1, QUEUED, STARTED))

    async def report(number: int) -> None:
        name = f"n{number}"
        said = [Report(type="node.started", node=name), line(name)]
        said.append(Report(type="node.completed", node=name))
        for seq, one in enumerate(said, start=1):
            taken = await takers[(number + seq) % 2].take(WS, "X", batch(seq, one, producer=name))
            assert not taken.duplicate

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(report, number)
    end = await takers[1].take(WS, "X", batch(2, Report(type="execution.completed")))
    assert (end.last, end.status) == (27, "completed")
    for runtime in pair:
        state = await runtime.view("X")
        assert {node.status for node in state.nodes.values()} == {"completed"}
        assert (state.end or {})["node_count"] == 8


async def test_a_takeover_in_another_process_fences(pair: tuple[Runtime, Runtime]) -> None:
    old, new = [Ingest(runtime) for runtime in pair]
    await old.take(WS, "X", batch(1, QUEUED, STARTED, Report(type="node.started", node="a")))
    await new.take(WS, "X", batch(1, STARTED, attempt=2))
    with pytest.raises(AttemptFenced):
        await old.take(WS, "X", batch(2, Report(type="node.completed", node="a")))
    with pytest.raises(AttemptFenced):
        await old.take(WS, "X", batch(2, line("I am still here")))
    assert await types(pair[0]) == [
        "execution.queued",
        "execution.started",
        "node.started",
        "execution.started",
    ]


async def test_an_execution_is_announced_once(pair: tuple[Runtime, Runtime]) -> None:
    takers = [Ingest(runtime) for runtime in pair] * 3
    taken: list[Taken] = []

    async def announce(taker: Ingest) -> None:
        taken.append(await taker.take(WS, "X", batch(1, QUEUED, STARTED)))

    async with anyio.create_task_group() as tasks:
        for taker in takers:
            tasks.start_soon(announce, taker)
    assert sorted(one.duplicate for one in taken) == [False] + [True] * 5
    assert {(one.first, one.last) for one in taken} == {(1, 2)}


# --- what is kept is only a saving ---------------------------------------------------------------


async def test_a_fold_that_was_forgotten_is_made_again(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "KNOWN_MAX", 1)
    taking = Ingest(runtime)
    chunk = Report(type="llm.chunk", node="n", data={"text": "añb"})
    for name in ("X", "Y"):
        await taking.take(WS, name, batch(1, QUEUED, STARTED))
    for seq in (2, 3, 4):
        for name in ("X", "Y"):
            await taking.take(WS, name, batch(seq, chunk))
    for name in ("X", "Y"):
        told = [r.event().data for r in await runtime.log.read(name, 2, 10)]
        assert [data["offset"] for data in told] == [0, 3, 6]


async def test_what_does_not_exist_is_not_remembered(runtime: Runtime) -> None:
    taking = Ingest(runtime)
    for number in range(20):
        with pytest.raises(ExecutionNotFound):
            await taking.take(WS, f"X{number}", batch(1, line("x")))
    assert not taking._known


async def test_a_batch_that_only_came_half_way_is_found_out(runtime: Runtime) -> None:
    """Cancelled while it is appended: what the log has of it, the next batch builds upon."""
    taking = Ingest(runtime)
    await taking.take(WS, "X", batch(1, QUEUED, STARTED))
    scope = anyio.CancelScope()

    async def taken() -> None:
        with scope:
            await taking.take(WS, "X", batch(2, Report(type="node.started", node="a")))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(taken)
        await anyio.lowlevel.checkpoint()
        scope.cancel()
    await taking.take(WS, "X", batch(2, Report(type="node.started", node="a")))
    done = Report(type="node.completed", node="a")
    assert not (await taking.take(WS, "X", batch(3, done))).duplicate


async def test_a_graph_that_no_event_holds_is_taken_and_kept_aside(clock: FakeClock) -> None:
    names = ["trigger", *(f"n{number}" for number in range(1999))]
    kinds = ["trigger", *["inline"] * 1998, "capture"]
    graph = {
        "ir_version": 1,
        "name": "f",
        "trigger": {"input_schema": {}},
        "capture": names[-1],
        "nodes": [{"id": name, "kind": kind} for name, kind in zip(names, kinds, strict=True)],
        "edges": [{"from": one, "to": two, "param": "p"} for one, two in pairwise(names)],
    }
    queued = Report(type="execution.queued", data=QUEUED.data | {"graph": graph})
    async with on(MemoryLog(), clock, event_max_bytes=65_536) as runtime:
        await Ingest(runtime).take(WS, "X", batch(1, queued, STARTED))
        digest = (await runtime.view("X")).graph_digest
        assert len(json.loads(await runtime.log.payload("X", str(digest)))["nodes"]) == 2000


async def test_of_a_log_whose_beginning_is_gone_nothing_is_guessed(
    runtime: Runtime,
) -> None:
    await Ingest(runtime).take(WS, "X", batch(1, QUEUED, STARTED, line("a")))
    await runtime.log.trim("X", 3)
    with pytest.raises(ConflictError, match="trimmed"):
        await Ingest(runtime).take(WS, "X", batch(2, line("b")))


async def test_a_log_whose_beginning_retention_took_goes_on(clock: FakeClock) -> None:
    async with on(MemoryLog(), clock, retention_running_bytes="2000") as runtime:
        said = [line("x" * 100) for _ in range(40)]
        reports = [QUEUED, STARTED, Report(type="node.started", node="a"), *said]
        await Ingest(runtime).take(WS, "X", batch(1, *reports))
        await runtime.retention.turn()
        assert (await runtime.log.entry("X")).floor > 4
        again = Ingest(runtime)  # as after a restart: it knows nothing but what is kept
        with pytest.raises(IllegalTransition, match="while the node 'b' is new"):
            await again.take(WS, "X", batch(2, Report(type="node.completed", node="b")))
        await again.take(WS, "X", batch(2, Report(type="node.completed", node="a")))
        done = Report(type="execution.completed", data={"total_duration_ms": 1})
        assert (await again.take(WS, "X", batch(3, done))).status == "completed"
        state = await runtime.view("X")
        assert (state.flow, state.nodes["a"].status) == ("f", "completed")


async def test_a_server_that_closes_takes_nothing_more(runtime: Runtime) -> None:
    runtime.hub.close()
    with pytest.raises(ShuttingDown):
        await Ingest(runtime).take(WS, "X", batch(1, QUEUED))


async def test_a_token_is_good_for_its_time(clock: FakeClock) -> None:
    async with on(MemoryLog(), clock, job_token_s=60.0) as runtime:
        jobs = Jobs(runtime, Ingest(runtime))
        taken, token = await jobs.create(WS, Job(flow="f"))
        body = f'{{"execution_id":"{taken.execution_id}","events":[]}}'.encode()

        async def send() -> Taken:
            at = str(clock.now().timestamp())
            return await jobs.progress(taken.execution_id, at, sign(token, at, body), body)

        await clock.advance(59)
        assert (await send()).status == "queued"
        await clock.advance(2)
        with pytest.raises(SignatureInvalid):
            await send()


# --- anything at all ----------------------------------------------------------------------------

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from([10**400, -1, 2**63, "2026-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59"])
)  # fmt: skip
NAMES = st.sampled_from(
    [
        *("flow", "kind", "graph", "lease_ms", "error", "output", "output_summary", "output_keys"),
        *("duration_ms", "text", "offset", "line", "source", "index", "value", "progress"),
        *("digest", "keys", "size_bytes", "by", "deadline_ms", "total_duration_ms", "worker"),
    ]
)
DATA = st.dictionaries(
    NAMES | st.text(max_size=3),
    st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)
# Enough for every type of the catalog: what is too much passes through.
GOOD = {
    "line": "l",
    "source": "s",
    "by": "b",
    "reason": "r",
    "call_id": "c",
    "name": "n",
    "text": "t",
    "message": "m",
    "code": "c",
    "patch": [],
    "deadline_ms": 5,
    "value": 1,
    "error": {"type": "T", "message": "m"},
}
NODES = st.sampled_from(["a", "b"])


def report_of_type(type_: str) -> st.SearchStrategy[dict[str, Any]]:
    said = {"event": st.just(type_), "data": DATA.map(lambda data: GOOD | data)}
    return st.fixed_dictionaries(said | ({"node_key": NODES} if type_[:5] == "node." else {}))


LIKELY = ["node.started", "node.completed", "node.failed", "log.line", "llm.chunk", "output.item"]
EVENT = st.sampled_from([*LIKELY * 5, *CATALOG, "custom.a", "no.such"]).flatmap(report_of_type)
BODIES = st.fixed_dictionaries(
    {
        "events": st.lists(EVENT, min_size=1, max_size=3),
        "producer_seq": st.sampled_from([0] * 8 + [-1, 1]),
    },
    optional={
        "attempt": st.sampled_from([1] * 8 + [0, 2]),
        "workspace": st.sampled_from(["default"] * 8 + ["other"]),
        "extra": SCALARS,
    },
)


async def says_no_at_most(bodies: list[dict[str, Any]]) -> None:
    seq = 1
    refusals: list[TailraceError] = []
    async with on(MemoryLog(), FakeClock()) as runtime:
        jobs = Jobs(runtime, Ingest(runtime))
        made, token = await jobs.create(WS, Job(flow="f"))
        for number, body in enumerate(bodies):
            told = body | {"producer_seq": body["producer_seq"] + seq}
            text = json.dumps({"execution_id": made.execution_id} | told).encode()
            at = f"{runtime.clock.now().timestamp() + number:.3f}"
            try:
                await jobs.progress(made.execution_id, at, sign(token, at, text), text)
                seq += told["producer_seq"] == seq
            except TailraceError as error:
                refusals.append(error)
        assert not [refusal for refusal in refusals if refusal.status >= 500]
        records = await runtime.log.read(made.execution_id, 0, 1000)
        assert [record.seq for record in records] == list(range(1, len(records) + 1))
        state = await runtime.view(made.execution_id)  # what was taken folds
        assert state.status != "new"
        copy = on(MemoryLog(), FakeClock())
        async with copy:  # and is what an export takes for good
            lines = [line async for line in export(runtime.log, made.execution_id)]
            await restore(copy, parse(lines))


@settings(max_examples=200, deadline=None)
@given(bodies=st.lists(BODIES, min_size=1, max_size=6))
def test_whatever_is_signed_is_taken_or_refused(bodies: list[dict[str, Any]]) -> None:
    anyio.run(says_no_at_most, bodies)


# --- ids that come and go -----------------------------------------------------------------------


class Gone(MemoryLog):
    """A log that forgets executions, as a retention does."""

    def remove_all(self) -> None:
        self._logs.clear()


async def test_an_id_that_was_removed_can_be_announced_again(clock: FakeClock) -> None:
    log = Gone()
    async with on(log, clock) as runtime:
        taking = Ingest(runtime)
        await taking.take(WS, "X", batch(1, QUEUED, STARTED, line("a")))
        log.remove_all()
        with pytest.raises(ExecutionNotFound):
            await taking.take(WS, "X", batch(2, line("b")))
        taken = await taking.take(WS, "X", batch(1, QUEUED, STARTED))
        assert (taken.last, taken.duplicate) == (2, False)
        log.remove_all()
        await Ingest(runtime).take(WS, "X", batch(1, QUEUED))  # another process announces it
        assert (await taking.take(WS, "X", batch(2, STARTED))).last == 2


async def test_an_id_that_another_process_takes_meanwhile_is_not_written_to(
    pair: tuple[Runtime, Runtime], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the creation: the other's execution is not this engine's."""
    mine, other = pair
    create = mine.log.create

    async def late(*given: Any, **named: Any) -> Any:
        queued = Report(type="execution.queued", data={"flow": "theirs"})
        await Ingest(other).take("theirs", "X", batch(1, queued))
        return await create(*given, **named)

    monkeypatch.setattr(mine.log, "create", late)
    with pytest.raises(ExecutionNotFound):
        await Ingest(mine).take(WS, "X", batch(1, QUEUED, STARTED))
    assert await types(mine) == ["execution.queued"]
