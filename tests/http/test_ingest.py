"""Engines report over HTTP: what is taken, what is refused, and that a refusal writes nothing."""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import httpx
import pytest

from tailrace import Settings, Tailrace, flow, node
from tailrace.clock import rfc3339
from tailrace.jobs import SIGNATURE_MAX_AGE_S, sign
from tests.http.conftest import BASE, Serve, Served

JOBS = "/api/v1/workspaces/default/jobs"
PROGRESS = "/api/v1/jobs/progress"
QUEUED = {"type": "execution.queued", "data": {"flow": "import", "kind": "workflow"}}
STARTED = {"type": "execution.started", "data": {"worker": "w1"}}
COMPLETED = {"type": "execution.completed"}


def begun(name: str) -> dict[str, str]:
    return {"type": "node.started", "node": name}


def done(name: str) -> dict[str, str]:
    return {"type": "node.completed", "node": name}


def line(text: object) -> dict[str, Any]:
    return {"type": "log.line", "data": {"line": str(text), "source": "stdout"}}


@node
async def forever(n: int) -> int:
    await anyio.sleep_forever()
    return n


@flow
def endless(n: int = 1) -> object:
    return forever(n)


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    settings = Settings(store="memory:", body_max_bytes=100_000)
    async with serve(Tailrace(settings=settings, flows=[endless])) as running:
        yield running


class Engine:
    """An engine that reports to one execution by its own numbers."""

    def __init__(
        self, served: Served, id_: str = "job-1", producer: str = "e", workspace: str = "default"
    ) -> None:
        self.served, self.id, self.producer = served, id_, producer
        self.path = f"/api/v1/workspaces/{workspace}/executions/{id_}/events"
        self.seq, self.attempt = 0, 1

    async def post(self, *events: dict[str, Any], **changes: Any) -> httpx.Response:
        body = {
            "producer": self.producer,
            "producer_seq": self.seq + 1,
            "attempt": self.attempt,
            "events": list(events),
        }
        answer = await self.served.http.post(self.path, json=body | changes)
        if answer.status_code == 202 and events:
            self.seq += 1
        return answer

    async def refused(self, *events: dict[str, Any], **changes: Any) -> tuple[int, str]:
        """Post what must be refused: the status and the code; the log is as it was."""
        before = await self.types()
        answer = await self.post(*events, **changes)
        assert answer.headers["content-type"] == "application/problem+json"
        assert await self.types() == before
        return answer.status_code, answer.json()["code"]

    async def types(self) -> list[str]:
        return [event["type"] for event in await self.events()]

    async def events(self) -> list[dict[str, Any]]:
        answer = await self.served.http.get(f"{BASE}/{self.id}/events?limit=1000")
        return list(answer.json().get("events", []))


# --- batches ------------------------------------------------------------------------------------


async def test_an_engine_announces_reports_and_ends_an_execution(served: Served) -> None:
    engine = Engine(served)
    first = await engine.post(QUEUED, STARTED)
    assert (first.status_code, first.json()) == (
        202,
        {
            "execution_id": "job-1",
            "status": "running",
            "attempt": 1,
            "first": 1,
            "last": 2,
            "duplicate": False,
        },
    )
    await engine.post(begun("a"), {"type": "llm.chunk", "node": "a", "data": {"text": "Grüße"}})
    await engine.post(
        {"type": "llm.chunk", "node": "a", "data": {"text": "!"}},
        {**done("a"), "data": {"output": {"body": "x" * 300}}},
    )
    last = await engine.post(COMPLETED)
    assert last.json()["status"] == "completed"
    frames = await served.frames("job-1")
    assert [event.type for _, event in frames[1:]] == [
        "execution.queued",
        "execution.started",
        "node.started",
        "llm.chunk",
        "llm.chunk",
        "node.completed",
        "execution.completed",
    ]
    events = await engine.events()
    assert [event["data"]["offset"] for event in events[3:5]] == [0, 5]
    summary = events[5]["data"]["output_summary"]
    assert (summary["keys"], summary["size_bytes"]) == (["body"], 311)
    assert events[6]["data"]["node_count"] == 1
    kept = await served.http.get(f"{BASE}/job-1/payloads/{summary['digest']}")
    assert kept.json() == {"body": "x" * 300}
    one = (await served.http.get(f"{BASE}/job-1")).json()
    assert (one["status"], one["flow"], one["nodes"][0]["status"]) == (
        "completed",
        "import",
        "completed",
    )


async def test_lines_are_a_batch_too(served: Served) -> None:
    lines = [{"producer": "sh", "producer_seq": 1}, QUEUED, STARTED, line("one"), line("two")]
    answer = await served.http.post(
        f"{BASE}/n1/events",
        content="\n".join(map(json.dumps, lines)) + "\n",
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert (answer.status_code, answer.json()["last"]) == (202, 4)
    broken = await served.http.post(
        f"{BASE}/n1/events",
        content=b'{"producer":"sh","producer_seq":2}\n{"type":',
        headers={"Content-Type": "application/x-ndjson"},
    )
    assert (broken.status_code, broken.json()["code"]) == (400, "invalid_request")


async def test_a_first_report_may_be_that_it_started(served: Served) -> None:
    engine = Engine(served, producer="go-engine")
    assert (await engine.post(STARTED, begun("a"))).status_code == 202
    assert await engine.types() == ["execution.queued", "execution.started", "node.started"]
    assert (await engine.events())[0]["data"]["flow"] == "go-engine"


async def test_work_on_what_is_queued_says_that_it_started(served: Served) -> None:
    engine = Engine(served)
    await engine.post(QUEUED, line("waiting"))
    assert await engine.types() == ["execution.queued", "log.line"]
    await engine.post(begun("a"))
    assert (await engine.types())[2:] == ["execution.started", "node.started"]


async def test_a_repeat_is_told_so_and_writes_nothing(served: Served) -> None:
    engine = Engine(served)
    batches: list[tuple[dict[str, Any], ...]] = [
        (QUEUED, STARTED),
        (begun("a"),),
        (line(1), line(2)),
        (done("a"), COMPLETED),
    ]
    first = [await engine.post(*batch) for batch in batches]
    types = await engine.types()
    for seq, (batch, before) in enumerate(zip(batches, first, strict=True), start=1):
        again = await engine.post(*batch, producer_seq=seq)
        assert (again.status_code, again.json()["duplicate"]) == (200, True)
        if seq == len(batches):
            assert again.json()["last"] == before.json()["last"]
        assert again.json()["status"] == "completed"
    assert await engine.types() == types


async def test_a_repeat_of_the_first_batch_before_any_other(served: Served) -> None:
    engine = Engine(served)
    await engine.post(QUEUED, STARTED)
    again = await engine.post(QUEUED, STARTED, producer_seq=1)
    assert (again.status_code, again.json()["duplicate"], again.json()["last"]) == (200, True, 2)


async def test_a_batch_too_early_is_told_which_is_expected(served: Served) -> None:
    engine = Engine(served)
    assert await engine.refused(QUEUED, producer_seq=2) == (409, "producer_gap")
    await engine.post(QUEUED, STARTED)
    answer = await engine.post(line("x"), producer_seq=4)
    assert (answer.status_code, answer.json()["code"], answer.json()["expected"]) == (
        409,
        "producer_gap",
        2,
    )
    assert (await engine.post(line("x"))).status_code == 202


async def test_what_cannot_follow_is_refused_whole(served: Served) -> None:
    engine = Engine(served)
    assert await engine.refused(begun("a")) == (404, "execution_not_found")
    await engine.post(QUEUED, STARTED, begun("a"))
    for events in ([done("b")], [line("x"), begun("a")], [QUEUED], [STARTED]):
        assert await engine.refused(*events) == (409, "illegal_transition")
    assert (await engine.post(done("a"), COMPLETED)).status_code == 202
    assert await engine.refused(line("late")) == (409, "log_sealed")
    assert await engine.refused() == (409, "log_sealed")


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        ({"type": "no.such"}, 422, "invalid_event"),
        ({"type": "stream.open", "data": {}}, 422, "invalid_event"),
        ({"type": "node.started"}, 422, "invalid_event"),
        ({"type": "execution.progress", "node": "a"}, 422, "invalid_event"),
        ({"type": "log.line", "data": {"line": 1}}, 422, "invalid_event"),
        ({"type": "log.line", "ts": "yesterday", "data": {"line": "", "source": "s"}}, 422, ""),
        ({"type": "log.line", "attempt": 2, "data": {"line": "", "source": "s"}}, 422, ""),
        ({"type": "custom.bad name"}, 422, "invalid_event"),
        ({"type": "log.line", "extra": 1}, 400, "invalid_request"),
        ({"type": "node.started", "node": ""}, 400, "invalid_request"),
        ({"type": "node.started", "node": "a\nb"}, 400, "invalid_request"),
        ({"data": {}}, 400, "invalid_request"),
        ("log.line", 400, "invalid_request"),
    ],
)
async def test_what_is_no_event_is_refused_with_its_place(
    served: Served, event: Any, status: int, code: str
) -> None:
    engine = Engine(served)
    await engine.post(QUEUED, STARTED)
    assert await engine.refused(line("good"), event) == (status, code or "invalid_event")
    answer = await engine.post(line("good"), event)
    assert "events" in answer.json()["detail"]
    assert "1" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ({"flow": "f", "kind": "song"}, 422, "invalid_event"),
        ({"flow": "f", "workspace": "other"}, 422, "invalid_event"),
        ({"flow": "f", "lease_ms": 0}, 422, "invalid_event"),
        ({"flow": "f", "lease_ms": 10**9}, 422, "invalid_event"),
        ({"flow": "f", "graph": {"nodes": 1}}, 422, "invalid_flow"),
        ({}, 422, "invalid_event"),
    ],
)
async def test_an_execution_that_cannot_be_is_not_announced(
    served: Served, data: dict[str, Any], status: int, code: str
) -> None:
    engine = Engine(served)
    assert await engine.refused({"type": "execution.queued", "data": data}) == (status, code)
    assert (await served.http.get(f"{BASE}/job-1")).status_code == 404


async def test_an_announced_graph_is_checked_and_shown(served: Served) -> None:
    graph = {
        "name": "g",
        "trigger": {"input_schema": {}},
        "capture": "a",
        "nodes": [{"id": "trigger", "kind": "trigger"}, {"id": "a", "kind": "activity"}],
        "edges": [{"from": "trigger", "to": "a"}],
    }
    engine = Engine(served)
    cyclic = graph | {"edges": [*graph["edges"], {"from": "a", "to": "a"}]}
    for bad in (cyclic, graph | {"capture": "b"}):
        event = {"type": "execution.queued", "data": {"flow": "g", "graph": bad}}
        assert await engine.refused(event) == (422, "invalid_flow")
    await engine.post({"type": "execution.queued", "data": {"flow": "g", "graph": graph}})
    one = (await served.http.get(f"{BASE}/job-1")).json()
    assert [made["id"] for made in one["graph"]["nodes"]] == ["trigger", "a"]


async def test_an_execution_of_this_server_takes_no_reports(served: Served) -> None:
    started = (await served.http.post(BASE, json={"flow": "endless"})).json()
    engine = Engine(served, started["execution_id"])
    while len(await engine.types()) < 3:
        await anyio.lowlevel.checkpoint()
    assert await engine.refused(line("hello")) == (409, "runs_here")
    assert await engine.refused(COMPLETED) == (409, "runs_here")


async def test_another_workspaces_execution_does_not_exist(served: Served) -> None:
    await Engine(served).post(QUEUED, STARTED)
    stranger = Engine(served, workspace="other")
    absent = await Engine(served, "nobody", workspace="other").post(line("x"))
    theirs = await stranger.post(line("x"))
    assert theirs.status_code == absent.status_code == 404
    assert theirs.text.replace("job-1", "nobody") == absent.text
    assert await stranger.refused(QUEUED) == (404, "execution_not_found")
    assert (await served.http.get(stranger.path)).status_code == 404


async def test_an_id_must_fit_into_a_path(served: Served) -> None:
    for name in ("a%20b", "%2e%2e", "x" * 101, "a%0d%0ab"):
        assert (await Engine(served, name).post(QUEUED)).status_code in (400, 404), name


async def test_a_later_attempt_fences_off_the_earlier_one(served: Served) -> None:
    old, new = Engine(served), Engine(served)
    new.attempt = 2
    await old.post(QUEUED, STARTED, begun("a"))
    assert await new.refused(begun("a")) == (409, "illegal_transition")  # it has not begun
    taken = await new.post(STARTED, begun("a"), done("a"))
    assert (taken.status_code, taken.json()["attempt"]) == (202, 2)
    assert await old.refused(done("a")) == (409, "attempt_fenced")
    assert await old.refused(line("still here")) == (409, "attempt_fenced")
    answer = await old.post(line("still here"))
    assert answer.json()["attempt"] == 2
    repeat = await old.post(QUEUED, STARTED, begun("a"), producer_seq=1)
    assert (repeat.status_code, repeat.json()["duplicate"]) == (200, True)  # it had been accepted
    assert await new.refused(STARTED) == (409, "illegal_transition")
    assert (await new.post(COMPLETED)).status_code == 202
    started = [event for event in await new.events() if event["type"] == "execution.started"]
    assert [event["attempt"] for event in started] == [1, 2]


async def test_a_cancel_is_told_to_the_engine_with_its_next_report(served: Served) -> None:
    engine = Engine(served)
    await engine.post(QUEUED, STARTED)
    await served.http.post(f"{BASE}/job-1/cancel", json={"reason": "enough"})
    assert (await engine.post()).json()["status"] == "cancelling"  # a sign of life asks too
    assert (await engine.post(line("stopping"))).json()["status"] == "cancelling"
    end = {"type": "execution.cancelled", "data": {"by": "api"}}
    assert (await engine.post(end)).json()["status"] == "cancelled"


async def test_producers_that_report_at_once_lose_nothing(served: Served) -> None:
    await Engine(served).post(QUEUED, STARTED)
    engines = [Engine(served, producer=f"p{number}") for number in range(8)]

    async def report(engine: Engine) -> None:
        name = engine.producer
        for events in ([begun(name)], *[[line(f"{name}:{n}")] for n in range(10)], [done(name)]):
            assert (await engine.post(*events)).status_code == 202

    async with anyio.create_task_group() as tasks:
        for engine in engines:
            tasks.start_soon(report, engine)
    events = await engines[0].events()
    assert [event["id"] for event in events] == list(range(1, 99))
    for engine in engines:
        said = [
            event["data"]["line"]
            for event in events
            if event["data"].get("line", "").startswith(f"{engine.producer}:")
        ]
        assert said == [f"{engine.producer}:{n}" for n in range(10)]
    one = (await served.http.get(f"{BASE}/job-1")).json()
    assert {made["status"] for made in one["nodes"]} == {"completed"}


async def test_of_racing_repeats_one_is_written(served: Served) -> None:
    engine = Engine(served)
    answers: list[int] = []

    async def post(*events: dict[str, Any], seq: int) -> None:
        answers.append((await engine.post(*events, producer_seq=seq)).status_code)

    for seq, events in ((1, [QUEUED, STARTED]), (2, [begun("a")])):
        async with anyio.create_task_group() as tasks:
            for _ in range(6):
                tasks.start_soon(lambda s=seq, e=events: post(*e, seq=s))  # type: ignore[misc]
    assert sorted(answers) == [200] * 10 + [202] * 2
    assert await engine.types() == ["execution.queued", "execution.started", "node.started"]


async def test_an_engine_killed_before_the_answer_repeats_and_is_told(served: Served) -> None:
    """The request is on its way, the sender is gone: the log has it, and the repeat says so."""
    engine = Engine(served)
    await engine.post(QUEUED, STARTED)
    body = json.dumps({"producer": "e", "producer_seq": 2, "events": [line("once")]}).encode()
    where = urlsplit(served.url)
    assert where.hostname is not None
    assert where.port is not None
    head = (
        f"POST {engine.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    stream = await anyio.connect_tcp(where.hostname, where.port)
    await stream.send(head.encode() + body)
    await stream.aclose()
    while "log.line" not in await engine.types():
        await anyio.lowlevel.checkpoint()
    again = await engine.post(line("once"))
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert (await engine.types()).count("log.line") == 1


async def test_secrets_are_redacted_and_large_values_put_aside(served: Served) -> None:
    engine = Engine(served)
    await engine.post(QUEUED, STARTED)
    served.tailrace.redactor.add_secret("correct horse battery")
    await engine.post(
        line("it is correct horse battery"),
        {"type": "custom.big", "data": {"value": "y" * 70_000, "password": "hunter22"}},
    )
    events = await engine.events()
    assert "correct horse" not in json.dumps(events)
    assert "hunter22" not in json.dumps(events)
    big = events[-1]["data"]
    assert (big["value"], big["value_summary"]["size_bytes"]) == (None, 70_002)


async def test_a_digest_is_not_the_engines_to_give(served: Served) -> None:
    engine = Engine(served)
    summary = {"keys": ["a"], "size_bytes": 5, "preview": "{", "digest": "0" * 64}
    await engine.post(QUEUED, begun("a"), {**done("a"), "data": {"output_summary": summary}})
    assert "digest" not in (await engine.events())[-1]["data"]["output_summary"]


async def test_an_engines_clock_may_be_behind_but_not_ahead(served: Served) -> None:
    engine = Engine(served)
    past, future = "2026-02-18T11:30:00+01:00", "2999-01-01T00:00:00Z"
    await engine.post({**QUEUED, "ts": past}, {**STARTED, "ts": past}, {**line("x"), "ts": future})
    events = await engine.events()
    assert events[0]["ts"] == "2026-02-18T10:30:00.000000Z"
    assert events[2]["ts"] <= rfc3339(served.tailrace.clock.now())


async def test_a_batch_that_is_too_large_is_refused(served: Served) -> None:
    engine = Engine(served)
    await engine.post(QUEUED, STARTED)
    assert await engine.refused(line("x" * 100_000)) == (413, "payload_too_large")


async def test_an_engine_that_goes_silent_is_lost_before_those_who_watch(serve: Serve) -> None:
    async with serve(lease_s=0.1) as served:
        made = await served.http.post(JOBS, json={"flow": "import", "lease_ms": 1})
        frames = await served.frames(made.json()["execution_id"])
        assert [event.type for _, event in frames[1:]] == ["execution.queued", "execution.lost"]


# --- jobs ---------------------------------------------------------------------------------------


class Signed:
    """An engine with a job's token."""

    def __init__(self, served: Served, made: dict[str, Any]) -> None:
        self.served, self.id, self.token = served, made["execution_id"], made["token"]

    async def send(
        self, body: dict[str, Any] | bytes, *, age_s: float = 0, headers: Any = None
    ) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        at = f"{self.served.tailrace.clock.now().timestamp() - age_s:.6f}"
        given = {
            "X-Tailrace-Job": self.id,
            "X-Tailrace-Timestamp": at,
            "X-Tailrace-Signature": sign(self.token, at, content),
        } | (headers or {})
        return await self.served.http.post(PROGRESS, content=content, headers=given)

    async def report(self, event: str, node_key: str | None = None, **data: Any) -> httpx.Response:
        return await self.send(
            {"execution_id": self.id, "event": event, "node_key": node_key, "data": data}
        )

    async def types(self) -> list[str]:
        return await Engine(self.served, self.id).types()


@pytest.fixture
async def job(served: Served) -> Signed:
    answer = await served.http.post(JOBS, json={"flow": "import", "input": {"day": 1}})
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["url"] == PROGRESS
    return Signed(served, answer.json())


async def test_the_messages_of_the_source_document_come_out_as_events(job: Signed) -> None:
    at = {"timestamp": "2026-02-18T10:30:00Z"}
    both = {"execution_id": job.id, "workspace": "default", "producer": "go"}
    said: list[dict[str, Any]] = [
        {"event": "node.started", "node_key": "http_1", **at},
        {
            "event": "node.completed",
            "node_key": "http_1",
            "data": {
                "status": "completed",
                "duration_ms": 234,
                "output_keys": ["body", "status_code"],
                "output_size_bytes": 1024,
            },
            **at,
        },
        {"event": "node.started", "node_key": "http_2", **at},
        {
            "event": "node.failed",
            "node_key": "http_2",
            "data": {"error": "Connection timeout"},
            "timestamp": "2026-02-18T10:30:01.5Z",
        },
        {"event": "execution.completed", "data": {"total_duration_ms": 1520, "node_count": 5}},
    ]
    for seq, message in enumerate(said, start=1):
        answer = await job.send(both | message | {"producer_seq": seq})
        assert answer.status_code == 202, answer.text
    events = await Engine(job.served, job.id).events()
    told = [(event["type"], event.get("node"), event["data"]) for event in events[1:]]
    assert told == [
        ("execution.started", None, {"worker": "go"}),
        ("node.started", "http_1", {"started_at": "2026-02-18T10:30:00.000000Z"}),
        (
            "node.completed",
            "http_1",
            {
                "duration_ms": 234,
                "output_summary": {
                    "keys": ["body", "status_code"],
                    "size_bytes": 1024,
                    "preview": "",
                },
                "completed_at": "2026-02-18T10:30:00.000000Z",
            },
        ),
        ("node.started", "http_2", {"started_at": "2026-02-18T10:30:00.000000Z"}),
        (
            "node.failed",
            "http_2",
            {
                "error": {"type": "engine_error", "message": "Connection timeout"},
                "duration_ms": 1500,
                "failed_at": "2026-02-18T10:30:01.500000Z",
            },
        ),
        ("execution.completed", None, {"total_duration_ms": 1520, "node_count": 5}),
    ]


async def test_several_reports_are_one_batch(job: Signed) -> None:
    events = [
        {"event": "node.started", "node_key": "a"},
        {"event": "node.completed", "node_key": "b"},
    ]
    body = {"execution_id": job.id, "producer_seq": 1, "events": events}
    assert (await job.send(body)).json()["code"] == "illegal_transition"
    assert await job.types() == ["execution.queued"]
    events[1]["node_key"] = "a"
    answer = await job.send(body | {"events": events})
    assert (answer.status_code, answer.json()["last"]) == (202, 4)


async def test_a_report_without_a_number_is_known_by_its_bytes(job: Signed) -> None:
    body = {"execution_id": job.id, "event": "node.started", "node_key": "a"}
    assert (await job.send(body)).status_code == 202
    again = await job.send(body)  # signed anew: an honest repeat
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert (await job.types()).count("node.started") == 1


async def refused(job: Signed, answer: httpx.Response) -> tuple[int, str]:
    assert await job.types() == ["execution.queued"]
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_a_wrong_signature_is_refused(job: Signed) -> None:
    body = {"execution_id": job.id, "event": "node.started", "node_key": "a"}
    for wrong in ("", "v1=", f"v1={'0' * 64}", "v2=00", "é", sign("other", "0", b"")):
        answer = await job.send(body, headers={"X-Tailrace-Signature": wrong.encode()})
        assert await refused(job, answer) == (401, "signature_invalid")
    for name in ("X-Tailrace-Job", "X-Tailrace-Timestamp"):
        for wrong in ("", "nonsense", "-1", "1e9"):
            answer = await job.send(body, headers={name: wrong})
            assert await refused(job, answer) == (401, "signature_invalid")
    other = (await job.served.http.post(JOBS, json={"flow": "other"})).json()
    answer = await job.send(body, headers={"X-Tailrace-Job": other["execution_id"]})
    assert await refused(job, answer) == (401, "signature_invalid")
    nobodys = Signed(job.served, {"execution_id": "nobody", "token": "0" * 64})
    answer = await nobodys.send(body | {"execution_id": "nobody"})
    assert (answer.status_code, answer.json()["code"]) == (401, "signature_invalid")


async def test_a_changed_body_is_refused(job: Signed) -> None:
    body = json.dumps({"execution_id": job.id, "event": "node.started", "node_key": "a"}).encode()
    at = f"{job.served.tailrace.clock.now().timestamp():.3f}"
    given = {
        "X-Tailrace-Job": job.id,
        "X-Tailrace-Timestamp": at,
        "X-Tailrace-Signature": sign(job.token, at, body),
    }
    changed = body.replace(b'"a"', b'"b"')
    answer = await job.served.http.post(PROGRESS, content=changed, headers=given)
    assert await refused(job, answer) == (401, "signature_invalid")
    given["X-Tailrace-Timestamp"] = f"{float(at) + 1:.3f}"
    answer = await job.served.http.post(PROGRESS, content=body, headers=given)
    assert await refused(job, answer) == (401, "signature_invalid")


async def test_a_stale_timestamp_is_refused(job: Signed) -> None:
    body = {"execution_id": job.id, "event": "node.started", "node_key": "a"}
    for age_s in (SIGNATURE_MAX_AGE_S + 5, -SIGNATURE_MAX_AGE_S - 5, 10**9):
        answer = await job.send(body, age_s=age_s)
        assert await refused(job, answer) == (401, "signature_stale")
    assert (await job.send(body, age_s=SIGNATURE_MAX_AGE_S - 30)).status_code == 202


async def test_a_replayed_request_is_refused_and_an_honest_repeat_is_not(job: Signed) -> None:
    body = {"execution_id": job.id, "event": "node.started", "node_key": "a", "producer_seq": 1}
    first = await job.send(body)
    replay = await job.served.http.post(
        PROGRESS,
        content=first.request.content,
        headers={k: v for k, v in first.request.headers.items() if k.startswith("x-tailrace")},
    )
    assert (replay.status_code, replay.json()["code"]) == (409, "replayed")
    honest = await job.send(body)
    assert (honest.status_code, honest.json()["duplicate"]) == (200, True)
    assert (await job.types()).count("node.started") == 1


async def test_a_request_that_was_refused_is_no_replay_when_it_comes_again(job: Signed) -> None:
    early = {"execution_id": job.id, "event": "log.line", "data": {"line": "b", "source": "s"}}
    answer = await job.send(early | {"producer_seq": 2})
    assert (answer.status_code, answer.json()["expected"]) == (409, 1)
    await job.send(early | {"producer_seq": 1})
    headers = {k: v for k, v in answer.request.headers.items() if k.startswith("x-tailrace")}
    again = await job.served.http.post(PROGRESS, content=answer.request.content, headers=headers)
    assert (again.status_code, again.json()["duplicate"]) == (202, False)


async def test_a_token_speaks_for_its_job_alone(job: Signed) -> None:
    other = (await job.served.http.post(JOBS, json={"flow": "other"})).json()["execution_id"]
    event = {"event": "node.started", "node_key": "a"}
    for wrong in ({"execution_id": other}, {"execution_id": job.id, "workspace": "other"}):
        answer = await job.send(event | wrong)
        assert await refused(job, answer) == (404, "execution_not_found")
    assert await Engine(job.served, other).types() == ["execution.queued"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"execution_id": 1}', b'{"execution_id": "ID"}', b"\xff"],
)
async def test_a_signed_body_that_is_no_report_is_refused(job: Signed, body: bytes) -> None:
    answer = await job.send(body.replace(b"ID", job.id.encode()))
    assert await refused(job, answer) == (400, "invalid_request")


async def test_making_a_job_again_makes_nothing_new(served: Served) -> None:
    body = {"flow": "import", "execution_id": "my-1", "lease_ms": 5000}
    made = await served.http.post(JOBS, json=body)
    again = await served.http.post(JOBS, json=body)
    assert (made.status_code, again.status_code) == (201, 200)
    assert made.json() == again.json()
    assert len(made.json()["token"]) == 64
    assert (await served.http.get(f"{BASE}/my-1")).json()["lease_ms"] == 5000
    theirs = await served.http.post("/api/v1/workspaces/other/jobs", json=body)
    assert theirs.status_code == 404
    for wrong in ({"flow": ""}, {"flow": "f", "lease_ms": 10**9}, {"flow": "f", "kind": "x"}):
        assert (await served.http.post(JOBS, json=wrong)).status_code in (400, 422)


async def test_a_job_of_this_server_cannot_be_had(served: Served) -> None:
    started = (await served.http.post(BASE, json={"flow": "endless"})).json()["execution_id"]
    answer = await served.http.post(JOBS, json={"flow": "x", "execution_id": started})
    assert (answer.status_code, answer.json()["code"]) == (409, "runs_here")


async def test_the_description_of_the_bodies_stands_by_itself(served: Served) -> None:
    document = (await served.http.get("/openapi.json")).json()
    text = json.dumps(document)
    assert "#/$defs/" not in text
    body = document["paths"][PROGRESS]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["properties"]["events"]["anyOf"][0]["items"]["properties"]["event"]


# --- limits -------------------------------------------------------------------------------------


async def test_reports_have_limits_and_a_refusal_can_be_repeated(serve: Serve) -> None:
    async with serve(batch_events_max=5, ingest_events_per_s=5) as served:
        engine = Engine(served)
        assert (await engine.post(QUEUED, STARTED)).status_code == 202
        whole = await engine.refused(*[line(n) for n in range(6)])
        assert whole == (413, "payload_too_large")
        for _ in range(10):  # a batch may take what is left and more; the next ones wait
            answer = await engine.post(*[line(n) for n in range(5)])
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1


async def test_an_execution_that_is_full_says_so_and_can_still_end(serve: Serve) -> None:
    async with serve(events_per_execution_max=4) as served:
        engine = Engine(served)
        assert (await engine.post(QUEUED, STARTED)).status_code == 202
        last = await engine.post(line(1), line(2))
        assert last.status_code == 202
        full = await engine.post(line(3))
        assert (full.status_code, full.json()["code"]) == (409, "too_many_events")
        assert (await engine.types())[-1] == "warning"
        engine.seq -= 1  # an honest repeat of the last one, whose answer was lost
        assert (await engine.post(line(1), line(2))).json()["duplicate"] is True
        engine.seq += 1
        assert (await engine.post(COMPLETED)).status_code == 202
