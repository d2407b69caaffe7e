"""Starting, looking, listing and cancelling over HTTP."""

from collections.abc import AsyncIterator

import anyio
import pytest

from tailrace import Settings, Tailrace, flow, node, snapshots
from tailrace.errors import all_errors
from tailrace.testing.clock import EPOCH
from tests.http.conftest import BASE, Serve, Served, messages


@node
async def double(n: int) -> int:
    return 2 * n


@node
async def broken(n: int) -> int:
    raise RuntimeError("secret path /etc/x")


@node
async def forever(n: int) -> int:
    await anyio.sleep_forever()
    return n


@flow
def doubled(n: int = 1) -> object:
    return double(n)


@flow
def failing(n: int = 1) -> object:
    return broken(n)


@flow
def endless(n: int = 1) -> object:
    return forever(n)


@pytest.fixture
async def served(serve: Serve) -> AsyncIterator[Served]:
    settings = Settings(store="memory:", body_max_bytes=10_000)
    async with serve(Tailrace(settings=settings, flows=[doubled, failing, endless])) as running:
        yield running


async def test_a_start_is_accepted_with_its_links(served: Served) -> None:
    response = await served.http.post(BASE, json={"flow": "doubled", "input": {"n": 4}})
    body = response.json()
    assert response.status_code == 202
    assert response.headers["location"] == body["links"]["self"]
    stream = await served.http.get(body["links"]["stream"])
    assert "event: execution.completed" in stream.text
    one = (await served.http.get(body["links"]["self"])).json()
    assert (one["status"], one["output"], one["nodes"][0]["id"]) == ("completed", 8, "double")


async def test_a_stream_opened_at_once_misses_nothing(served: Served) -> None:
    for _ in range(20):
        body = (await served.http.post(BASE, json={"flow": "doubled"})).json()
        frames = await served.frames(body["execution_id"])
        assert [event.id for _, event in frames[1:]] == [1, 2, 3, 4, 5]


async def test_prefer_wait_answers_with_the_output(served: Served) -> None:
    response = await served.http.post(
        BASE, json={"flow": "doubled", "input": {"n": 5}}, headers={"Prefer": "wait=10"}
    )
    assert (response.status_code, response.json()["output"]) == (200, 10)
    assert response.headers["preference-applied"] == "wait=10"


async def test_prefer_wait_answers_202_when_it_takes_longer(served: Served) -> None:
    response = await served.http.post(BASE, json={"flow": "endless"}, headers={"Prefer": "wait=0"})
    assert response.status_code == 202


async def test_an_idempotency_key_starts_once(served: Served) -> None:
    body = {"flow": "doubled", "idempotency_key": "k"}
    first, again = [(await served.http.post(BASE, json=body)).json() for _ in range(2)]
    assert first["execution_id"] == again["execution_id"]
    other = await served.http.post(BASE, json=body | {"input": {"n": 2}})
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


async def test_a_failure_names_the_node_and_shows_no_trace(served: Served) -> None:
    response = await served.http.post(BASE, json={"flow": "failing"}, headers={"Prefer": "wait=10"})
    body = response.json()
    assert (body["status"], body["error"]["node"]) == ("failed", "broken")
    assert "Traceback" not in response.text


async def test_a_cancel_stops_it_and_says_why(served: Served) -> None:
    body = (await served.http.post(BASE, json={"flow": "endless"})).json()
    cancel = body["links"]["cancel"]
    async with served.stream(body["execution_id"]) as response:
        types = []
        async for _, event in messages(response):
            types.append(event.type)
            if event.type == "node.started":
                answer = await served.http.post(cancel, json={"reason": "enough"})
                assert (answer.status_code, answer.json()["status"]) == (202, "cancelling")
    assert types[-3:] == ["execution.cancelling", "node.cancelled", "execution.cancelled"]
    assert event.data["reason"] == "enough"
    again = await served.http.post(cancel)
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


async def test_an_execution_is_shown_as_it_was_at_any_position(served: Served) -> None:
    body = (await served.http.post(BASE, json={"flow": "doubled"})).json()
    name = body["execution_id"]
    ids = [event.id for _, event in (await served.frames(name))[1:]]
    seen = [(await served.http.get(f"{BASE}/{name}", params={"at": at})).json() for at in ids]
    assert [one["status"] for one in seen] == ["queued", *["running"] * 3, "completed"]
    assert [one["head"] for one in seen] == ids
    await snapshots.keep(served.tailrace.log, await served.tailrace.view(name, 3), EPOCH)
    await served.tailrace.log.trim(name, 4)
    assert (await served.http.get(f"{BASE}/{name}")).json()["links"] == body["links"]
    assert (await served.http.get(f"{BASE}/{name}", params={"at": 3})).json() == seen[2]
    gone = await served.http.get(f"{BASE}/{name}", params={"at": 2})
    assert (gone.status_code, gone.json()["code"]) == (404, "position_trimmed")
    wrong = await served.http.get(f"{BASE}/{name}", params={"at": -1})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_request")


async def test_lists_have_pages_and_filters(served: Served) -> None:
    started = []
    for _ in range(3):
        body = (await served.http.post(BASE, json={"flow": "doubled"})).json()
        await served.frames(body["execution_id"])
        started.append(body["execution_id"])
    page = (await served.http.get(BASE, params={"limit": 2})).json()
    assert [row["execution_id"] for row in page["executions"]] == started[:0:-1]
    rest = (await served.http.get(BASE, params={"before": page["before"]})).json()
    assert [row["execution_id"] for row in rest["executions"]] == started[:1]
    assert rest["before"] is None
    failed = (await served.http.get(BASE, params={"status": "failed"})).json()
    assert failed["executions"] == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"flow": "nope"}, 404, "flow_not_found"),
        ({"flow": "doubled", "input": {"n": "x"}}, 422, "invalid_input"),
        ({"flow": "doubled", "input": {"m": 1}}, 422, "invalid_input"),
        ({"flow": "doubled", "kind": "song"}, 400, "invalid_request"),
        ({"flow": "doubled", "deadline_ms": 0}, 400, "invalid_request"),
        ({"flow": "doubled", "extra": 0}, 400, "invalid_request"),
        ({}, 400, "invalid_request"),
        ([], 400, "invalid_request"),
    ],
)
async def test_a_bad_start_is_a_problem_with_a_code(
    served: Served, body: object, status: int, code: str
) -> None:
    response = await served.http.post(BASE, json=body)
    assert response.headers["content-type"] == "application/problem+json"
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert (await served.http.get(BASE)).json()["executions"] == []


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused(served: Served, chunked: bool) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    content = body() if chunked else b" " * 20_000
    headers = {"content-type": "application/json"}
    response = await served.http.post(BASE, content=content, headers=headers)
    assert (response.status_code, response.json()["code"]) == (413, "payload_too_large")


async def test_a_body_that_is_no_json_is_refused(served: Served) -> None:
    headers = {"content-type": "application/json"}
    response = await served.http.post(BASE, content=b'{"flow": ', headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "invalid_request")


async def test_unknown_routes_are_problems_too(served: Served) -> None:
    response = await served.http.get("/nope")
    assert (response.status_code, response.json()["code"]) == (404, "route_not_found")
    response = await served.http.delete(BASE)
    assert (response.status_code, response.json()["code"]) == (405, "method_not_allowed")


async def test_an_unexpected_error_tells_nothing_of_the_inside(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(served.tailrace, "entries", fails)
    response = await served.http.get(BASE)
    assert (response.status_code, response.json()["code"]) == (500, "internal")
    assert "secret" not in response.text


async def test_health_and_readiness_are_apart(served: Served) -> None:
    assert (await served.http.get("/healthz")).json()["status"] == "ok"
    assert (await served.http.get("/readyz")).json()["status"] == "ready"
    served.tailrace.hub.close()
    assert (await served.http.get("/healthz")).status_code == 200
    assert (await served.http.get("/readyz")).status_code == 503


async def test_the_catalog_lists_flows_and_events(served: Served) -> None:
    catalog = (await served.http.get("/api/v1/catalog")).json()
    assert [made["name"] for made in catalog["flows"]] == ["doubled", "failing", "endless"]
    assert {"type": "execution.lost", "terminal": True, "control": False} in catalog["events"]


async def test_openapi_has_every_route(served: Served) -> None:
    document = (await served.http.get("/openapi.json")).json()
    one = "/api/v1/workspaces/{workspace}/executions/{execution_id}"
    assert {
        "/api/v1/workspaces/{workspace}/executions",
        one,
        f"{one}/cancel",
        f"{one}/events",
        f"{one}/stream",
        f"{one}/logs",
        f"{one}/payloads/{{digest}}",
        "/api/v1/executions/workflows/{execution_id}/stream",
        "/api/v1/executions/agents/{execution_id}/stream",
        "/api/v1/executions/tasks/{execution_id}/stream",
        "/api/v1/workloads",
        "/api/v1/workloads/{execution_id}/logs",
        "/api/v1/workspaces/{workspace}/stream",
        f"{one}/tickets",
        "/api/v1/workspaces/{workspace}/tickets",
        "/api/v1/session",
        "/api/v1/workspaces/{workspace}/jobs",
        "/api/v1/jobs/progress",
        "/api/v1/catalog",
        "/api/v1/probe",
        "/healthz",
        "/readyz",
        "/metrics",
    } == set(document["paths"])
    assert (
        "text/event-stream"
        in document["paths"][f"{one}/stream"]["get"]["responses"]["200"]["content"]
    )


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in all_errors()]
    assert len(codes) == len(set(codes))
