"""The gate: every route, every credential, every way in; and streams that end with their right."""

import json
import logging
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, cast

import anyio
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.routing import Route as AppRoute

from tailrace import Client, Event, Settings, Tailrace, flow, node
from tailrace.access import LOOK_S, Asking
from tailrace.auth import EVERYWHERE, ROLES, Identity
from tailrace.errors import ExecutionNotFound, Forbidden, TokenRevoked, Unauthenticated
from tailrace.http.access import RULES, Gate, Route, Rule
from tailrace.http.app import create_app
from tailrace.http.handover import HttpProtocol
from tailrace.jwts import REFETCH_S
from tailrace.log.base import EventLog
from tailrace.metrics import ENDS, Tally
from tailrace.runtime import Runtime
from tailrace.testing import FakeClock
from tailrace.testing.contract.tools import begin, line
from tests.http.conftest import Serve, Served, messages, serving

EXECUTION = "/api/v1/workspaces/{workspace}/executions/{execution_id}"
OURS = "/api/v1/workspaces/w/executions"
APP = "https://app.example.org"


@pytest.fixture(params=["direct", "asgi"])
def protocol(request: pytest.FixtureRequest) -> Any:
    """Both ways of delivery: neither is a way around."""
    return HttpProtocol if request.param == "direct" else "httptools"


@node
async def count(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number
    await anyio.sleep_forever()


@flow(http="GET /counting")
def counting(n: int = 1) -> object:
    return count(n)


class Clocked(Tailrace):
    """A Tailrace with access control, whose time the test moves."""

    def __init__(self, clock: FakeClock, **more: Any) -> None:
        settings = Settings.model_validate({"store": "memory:", "auth": True} | more)
        Runtime.__init__(self, settings, flows=[counting], clock=clock)


@pytest.fixture
async def guarded(serve: Serve, clock: FakeClock) -> AsyncIterator[Served]:
    async with serve(Clocked(clock, cors_origins=APP)) as running:
        await started(running.tailrace.log, "X1", "w")
        await started(running.tailrace.log, "Y1", "v")
        yield running


async def started(log: EventLog, execution_id: str, workspace: str) -> None:
    """An execution of two events that runs on."""
    await begin(log, execution_id, workspace=workspace)
    await log.append(execution_id, [line()])


async def key(served: Served, role: str, workspace: str = "w", **more: Any) -> dict[str, str]:
    """The header of somebody with a role."""
    made, _ = await served.tailrace.access.make_key({workspace: ROLES[role]}, **more)
    return {"Authorization": f"Bearer {made}"}


def told(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["code"]


# --- every route ----------------------------------------------------------------------------------


async def described(served: Served) -> list[tuple[str, str]]:
    """Every route but flows' own, whose rule is one and is made with them (`Table`)."""
    document = (await served.http.get("/openapi.json")).json()
    return [
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation.get("tags") != ["flows"]
    ]


def filled(path: str, execution_id: str = "X1") -> str:
    names = {"workspace": "w", "execution_id": execution_id}
    return re.sub(r"{(\w+)}", lambda found: names.get(found[1], "0" * 64), path)


async def test_every_described_route_refuses_a_stranger(guarded: Served) -> None:
    found, before = await described(guarded), await written(guarded)
    assert len(found) > 15
    for method, path in found:
        rule = RULES.get((method, path))
        assert rule is not None, f"{method} {path} has no line in http.access.RULES"
        if rule.where in ("public", "self"):
            continue
        for headers in ({}, {"Authorization": "Bearer tlr_0_0"}, {"Cookie": "tailrace_session=0"}):
            response = await guarded.http.request(method, filled(path), headers=headers)
            assert response.status_code == 401, (method, path, headers)
            assert response.headers["content-type"] == "application/problem+json"
            assert response.headers["www-authenticate"].startswith("Bearer")
    assert await written(guarded) == before


async def written(served: Served) -> list[Any]:
    """What the store has: the logs' heads, and credentials."""
    log = served.tailrace.log
    entries = [
        entry for name in ("w", "v", "default") for entry in await log.entries(name, limit=99)
    ]
    kinds = ("key", "session", "ticket", "revoked")
    facts = [await log.facts.find(kind, now="") for kind in kinds]
    return [(entry.execution_id, entry.head) for entry in entries] + facts


def fastapi_in(app: Any) -> Any:
    """What is behind all that stands before it."""
    while not hasattr(app, "router"):
        app = app.app
    return app


async def test_every_route_of_the_app_is_in_the_table(clock: FakeClock) -> None:
    """Those that FastAPI adds and describes nowhere too."""
    gate = cast(Gate, create_app(Clocked(clock)))
    app = fastapi_in(gate)
    routes = [route for route in app.router.routes if isinstance(route, AppRoute)]
    assert len(routes) > 10
    for route in routes:
        for method in route.methods or ():
            assert isinstance(gate.table.find(method, filled(route.path)), Route), route.path


async def test_a_stranger_learns_nothing_of_what_there_is(guarded: Served) -> None:
    """With a credential for elsewhere: what is not his looks like what is not there."""
    stranger = await key(guarded, "admin", "v")
    before = await written(guarded)
    for method, path in await described(guarded):
        rule = RULES[method, path]
        if rule.where == "path" or rule.where == "execution":
            answers = []
            for execution_id in ("X1", "XX"):
                response = await guarded.http.request(
                    method, filled(path, execution_id), headers=stranger, json={}
                )
                answers.append((response.status_code, response.text.replace(execution_id, "?")))
            assert answers[0][0] == 404, (method, path, answers)
            assert answers[0] == answers[1], (method, path)
        elif rule.where == "default":
            response = await guarded.http.request(method, path, headers=stranger, json={})
            assert told(response) == (403, "forbidden")
    assert await written(guarded) == before


async def test_rights_on_one_execution_are_of_no_use_in_another_workspace(serve: Serve) -> None:
    """Nor before it exists: else they would choose where it is made."""

    async def hook(_: Asking) -> Identity:
        return Identity(subject="ann", executions={"X1": {"admin"}, "XX": {"admin"}})

    async with serve(Tailrace("memory:", authorize=hook)) as served:
        await started(served.tailrace.log, "X1", "w")
        assert (await served.http.get(f"{OURS}/X1")).status_code == 200
        elsewhere = OURS.replace("/w/", "/v/")
        for path in (f"{elsewhere}/X1", f"{elsewhere}/XX", f"{OURS}/XX"):
            assert told(await served.http.get(path)) == (404, "execution_not_found")
            posted = await served.http.post(f"{path}/events", json={"events": []})
            assert told(posted) == (404, "execution_not_found")


async def test_in_a_workspace_of_his_own_another_ones_execution_is_not_there(
    guarded: Served,
) -> None:
    mine = await key(guarded, "admin", "v")
    base = "/api/v1/workspaces/v/executions"
    for suffix in ("", "/stream", "/logs", "/events"):
        answers = [
            await guarded.http.get(f"{base}/{id_}{suffix}", headers=mine) for id_ in ("X1", "XX")
        ]
        assert told(answers[0]) == (404, "execution_not_found")
        assert answers[0].text.replace("X1", "?") == answers[1].text.replace("XX", "?")
    for suffix in ("/cancel", "/tickets"):
        response = await guarded.http.post(f"{base}/X1{suffix}", headers=mine)
        assert told(response) == (404, "execution_not_found")
    for path in (f"{base}?before=X1", "/api/v1/workspaces/v/stream?execution=X1"):
        answers = [
            await guarded.http.get(path.replace("X1", id_), headers=mine) for id_ in ("X1", "XX")
        ]
        assert told(answers[0]) == (404, "execution_not_found")
        assert answers[0].text.replace("X1", "?") == answers[1].text.replace("XX", "?")


@pytest.mark.parametrize("role", ROLES)
async def test_a_member_may_on_each_route_what_his_role_says(guarded: Served, role: str) -> None:
    headers = await key(guarded, role)
    held = Identity(subject="", workspaces={"w": ROLES[role]}).rights("w")
    for method, path in await described(guarded):
        rule = RULES[method, path]
        if rule.where not in ("path", "execution"):
            continue
        query = "?follow=false" if rule.stream else ""
        response = await guarded.http.request(
            method, filled(path) + query, headers=headers, json={}
        )
        if rule.right in held:
            assert response.status_code not in (401, 403), (method, path)
        else:
            assert told(response) == (403, "forbidden"), (method, path)


async def test_what_is_in_no_table_is_refused(guarded: Served, serve: Serve) -> None:
    admin = await key(guarded, "admin", EVERYWHERE)
    assert told(await guarded.http.get("/nothing")) == (401, "unauthenticated")
    assert told(await guarded.http.get("/nothing", headers=admin)) == (404, "route_not_found")
    assert told(await guarded.http.put(OURS, headers=admin)) == (405, "method_not_allowed")
    gate = cast(Any, create_app(guarded.tailrace))
    forgotten = AppRoute("/forgotten", lambda _: None)
    fastapi_in(gate).router.routes.append(forgotten)
    transport = httpx.ASGITransport(app=gate)
    async with httpx.AsyncClient(transport=transport, base_url="http://t") as http:
        assert told(await http.get("/forgotten", headers=admin)) == (404, "route_not_found")


async def test_health_and_the_description_can_be_closed(serve: Serve, clock: FakeClock) -> None:
    async with serve(Clocked(clock, public_health=False)) as served:
        anybody = await key(served, "viewer", "other")
        for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
            assert (await served.http.get(path)).status_code == 401
            assert (await served.http.get(path, headers=anybody)).status_code == 200


async def test_the_catalog_and_a_flows_route(guarded: Served) -> None:
    viewer = await key(guarded, "viewer", "other")
    assert (await guarded.http.get("/api/v1/catalog", headers=viewer)).status_code == 200
    assert told(await guarded.http.get("/counting", headers=viewer)) == (403, "forbidden")
    reporter = await key(guarded, "reporter", "default")
    assert told(await guarded.http.get("/api/v1/catalog", headers=reporter)) == (403, "forbidden")
    probe = "/api/v1/probe?count=1&every_ms=0"
    assert (await guarded.http.get(probe, headers=reporter)).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Basic dGxyOng=",
        "tlr_x",
        "Bearer a b",
        "Bearer \xff",
        "Bearer " + "a" * 9000,
    ],
)
async def test_a_malformed_credential_is_refused(guarded: Served, header: str) -> None:
    headers = [(b"Authorization", header.encode("latin-1"))]
    response = await guarded.http.get(OURS, headers=headers)
    assert told(response) == (401, "token_invalid")


async def test_two_credentials_are_one_too_many(guarded: Served) -> None:
    good = (await key(guarded, "viewer"))["Authorization"]
    headers = [("Authorization", good), ("Authorization", "Bearer tlr_0_0")]
    assert told(await guarded.http.get(OURS, headers=headers)) == (401, "token_invalid")


async def test_a_token_in_the_url_is_no_credential(guarded: Served) -> None:
    made = (await key(guarded, "viewer"))["Authorization"].removeprefix("Bearer ")
    for name in ("token", "access_token", "ticket", "authorization"):
        response = await guarded.http.get(f"{OURS}?{name}={made}")
        assert told(response) == (401, "unauthenticated")


# --- watching -------------------------------------------------------------------------------------


async def take(events: AsyncIterator[tuple[str, Event]], until: str) -> list[Event]:
    """Events of a stream up to one of a type."""
    got = []
    async for _, event in events:
        got.append(event)
        if event.type == until:
            return got
    pytest.fail(f"the stream ended without {until}: {[event.type for event in got]}")


@asynccontextmanager
async def opened(
    served: Served, path: str, headers: Any
) -> AsyncIterator[AsyncIterator[tuple[str, Event]]]:
    """A stream, read up to its first log line."""
    async with served.http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        events = messages(response)
        await take(events, "log.line")
        yield events


async def closing(events: AsyncIterator[tuple[str, Event]]) -> str:
    """Why a stream was closed; it does end."""
    last = (await take(events, "stream.closing"))[-1]
    assert [event async for event in events] == []
    return str(last.data["reason"])


async def test_two_members_watch_and_a_stranger_does_not(guarded: Served) -> None:
    ann, bob = await key(guarded, "viewer"), await key(guarded, "operator")
    stranger = await key(guarded, "admin", "v")
    path = f"{OURS}/X1/stream"
    async with opened(guarded, path, ann) as one, opened(guarded, path, bob) as two:
        assert told(await guarded.http.get(path, headers=stranger)) == (404, "execution_not_found")
        assert told(await guarded.http.get(path)) == (401, "unauthenticated")
        await guarded.tailrace.log.append("X1", [line()])
        assert [(await anext(events))[0] for events in (one, two)] == ["3", "3"]


WATCHED = [f"{OURS}/X1/stream", "/api/v1/workspaces/w/stream"]


@pytest.mark.parametrize("path", WATCHED)
async def test_a_revoked_key_ends_its_streams_and_no_others(
    guarded: Served, clock: FakeClock, path: str
) -> None:
    ann, bob = await key(guarded, "viewer", name="ann"), await key(guarded, "viewer")
    async with opened(guarded, path, ann) as one, opened(guarded, path, bob) as two:
        key_id = ann["Authorization"].split("_")[1]
        await guarded.tailrace.access.revoke_key(key_id)
        await clock.advance(LOOK_S)
        assert await closing(one) == "revoked"
        assert told(await guarded.http.get(path, headers=ann)) == (401, "token_revoked")
        await guarded.tailrace.log.append("X1", [line()])
        assert (await anext(two))[1].type == "log.line"
    # Whoever ends, nothing of it stays.
    await gone(guarded)


@pytest.mark.parametrize("path", WATCHED)
async def test_a_stream_ends_with_its_credential(
    guarded: Served, clock: FakeClock, path: str
) -> None:
    ann = await key(guarded, "viewer", expires_at=clock.now() + timedelta(seconds=60))
    async with opened(guarded, path, ann) as events:
        await clock.advance(59)
        await guarded.tailrace.log.append("X1", [line()])
        assert (await anext(events))[1].type == "log.line"
        await clock.advance(2)
        assert await closing(events) == "expired"
    assert told(await guarded.http.get(path, headers=ann)) == (401, "token_expired")
    await gone(guarded)
    assert counted(guarded.tailrace) == {"expired"}


async def test_a_flows_own_stream_ends_with_its_credential(
    guarded: Served, clock: FakeClock
) -> None:
    until = clock.now() + timedelta(seconds=60)
    ann = await key(guarded, "operator", "default", expires_at=until)
    async with guarded.http.stream("GET", "/counting", headers=ann) as response:
        events = messages(response)
        await take(events, "output.item")
        await clock.advance(61)
        assert await closing(events) == "expired"


def counted(tailrace: Runtime) -> set[str]:
    """Why streams have ended, as /metrics says it."""
    assert isinstance(tailrace.metrics, Tally)
    return {reason for _, _, reason in tailrace.metrics.values[ENDS]}


async def gone(served: Served) -> None:
    """Wait until the server has noticed that all streams are over."""
    while served.tailrace.hub.watching:
        await anyio.lowlevel.checkpoint()


@pytest.mark.parametrize("path", WATCHED)
async def test_who_is_far_behind_gets_no_more_either(clock: FakeClock, path: str) -> None:
    """Over plain ASGI: a revoked reader that still has a backlog before it is not let through it."""
    tailrace = Clocked(clock, page_events=2)
    async with tailrace:
        await started(tailrace.log, "X1", "w")
        await tailrace.log.append("X1", [line() for _ in range(8)])
        made, identity = await tailrace.access.make_key({"w": ROLES["viewer"]})
        body = b""

        async def send(message: Any) -> None:
            nonlocal body
            body += message.get("body", b"")
            if b"log.line" in body and b"stream.closing" not in body:
                await tailrace.access.revoke(identity.credential)
                await tailrace.access.look(tailrace.hub.streams())

        async def receive() -> Any:
            await anyio.sleep_forever()

        headers = [(b"authorization", f"Bearer {made}".encode())]
        scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
        await tailrace.asgi()(scope | {"query_string": b""}, receive, send)
    assert b'"reason":"revoked"' in body
    assert counted(tailrace) == {"revoked"}
    assert 1 <= body.count(b"event: log.line") <= 2


async def test_resuming_asks_again(guarded: Served) -> None:
    ann = await key(guarded, "viewer")
    async with opened(guarded, WATCHED[0], ann):
        pass
    await guarded.tailrace.access.revoke_key(ann["Authorization"].split("_")[1])
    again = await guarded.http.get(WATCHED[0], headers=ann | {"Last-Event-ID": "1"})
    assert told(again) == (401, "token_revoked")


# --- tickets --------------------------------------------------------------------------------------


async def ticket(served: Served, headers: dict[str, str], path: str = f"{OURS}/X1") -> str:
    response = await served.http.post(f"{path}/tickets", headers=headers)
    assert response.status_code == 201, response.text
    return str(response.json()["ticket"])


async def test_a_ticket_opens_one_stream_once(guarded: Served, clock: FakeClock) -> None:
    ann = await key(guarded, "viewer")
    made = await ticket(guarded, ann)
    async with opened(guarded, f"{OURS}/X1/stream?ticket={made}", {}) as events:
        again = await guarded.http.get(f"{OURS}/X1/stream?ticket={made}")
        assert told(again) == (401, "ticket_invalid")
        # It was made from her key, and ends with it.
        await guarded.tailrace.access.revoke_key(ann["Authorization"].split("_")[1])
        await clock.advance(LOOK_S)
        assert await closing(events) == "revoked"


async def test_a_ticket_is_for_its_execution_and_for_streams(
    guarded: Served, clock: FakeClock
) -> None:
    ann = await key(guarded, "admin")
    await started(guarded.tailrace.log, "X2", "w")
    for path in (f"{OURS}/X2/stream", "/api/v1/workspaces/w/stream"):
        made = await ticket(guarded, ann)
        assert (await guarded.http.get(f"{path}?ticket={made}")).status_code == 404
        assert told(await guarded.http.get(f"{OURS}/X1/stream?ticket={made}"))[0] == 401
    made = await ticket(guarded, ann)
    for path in (OURS, f"{OURS}/X1", f"{OURS}/X1/events", "/api/v1/session"):
        response = await guarded.http.get(f"{path}?ticket={made}")
        assert told(response) == (401, "unauthenticated")
    response = await guarded.http.post(f"{OURS}/X1/cancel?ticket={made}")
    assert told(response) == (401, "unauthenticated")
    async with opened(guarded, f"{OURS}/X1/stream?ticket={made}", {}):
        pass
    late = await ticket(guarded, ann)
    await clock.advance(30)
    response = await guarded.http.get(f"{OURS}/X1/stream?ticket={late}")
    assert told(response) == (401, "ticket_invalid")


async def test_a_ticket_for_a_workspace(guarded: Served) -> None:
    ann = await key(guarded, "viewer")
    made = await ticket(guarded, ann, "/api/v1/workspaces/w")
    async with opened(guarded, f"/api/v1/workspaces/w/stream?ticket={made}", {}):
        pass
    made = await ticket(guarded, ann, "/api/v1/workspaces/w")
    response = await guarded.http.get(f"/api/v1/workspaces/v/stream?ticket={made}")
    assert told(response) == (404, "workspace_not_found")


async def test_nobody_gets_a_ticket_for_what_he_may_not_read(guarded: Served) -> None:
    for role, workspace, status in (("reporter", "w", 403), ("admin", "v", 404)):
        headers = await key(guarded, role, workspace)
        for path in (f"{OURS}/X1", "/api/v1/workspaces/w"):
            response = await guarded.http.post(f"{path}/tickets", headers=headers)
            assert response.status_code == status
    ann = await key(guarded, "viewer")
    response = await guarded.http.post(f"{OURS}/Y1/tickets", headers=ann)
    assert told(response) == (404, "execution_not_found")


async def test_no_access_log_has_a_ticket(
    guarded: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """uvicorn's own is off in `tailrace serve`; who mounts us may have it on."""
    caplog.set_level(logging.INFO, "uvicorn.access")
    logging.getLogger("uvicorn.access").propagate = True
    made = await ticket(guarded, await key(guarded, "viewer"))
    for path in (f"{OURS}/X1/stream", OURS, "/nothing"):
        await guarded.http.get(f"{path}?tail=1&follow=false&ticket={made}")
    assert len({line for line in caplog.text.splitlines() if "ticket=_" in line}) == 3
    assert made not in caplog.text


# --- sessions, and pages of other sites -----------------------------------------------------------


async def session(served: Served, headers: dict[str, str]) -> httpx.Cookies:
    response = await served.http.post("/api/v1/session", headers=headers)
    assert response.status_code == 201, response.text
    return response.cookies


HERE = {"Sec-Fetch-Site": "same-origin"}


async def test_a_session_in_a_cookie(guarded: Served, clock: FakeClock) -> None:
    ann = await key(guarded, "operator", name="ann")
    response = await guarded.http.post("/api/v1/session", headers=ann)
    flags = {part.strip().lower() for part in response.headers["set-cookie"].split(";")[1:]}
    assert flags == {"httponly", "samesite=lax", "path=/", "max-age=43200"}
    guarded.http.cookies.clear()
    cookie = {"Cookie": f"tailrace_session={response.cookies['tailrace_session']}"}
    me = (await guarded.http.get("/api/v1/session", headers=cookie)).json()
    assert (me["subject"], me["kind"]) == ("ann", "session")
    assert me["workspaces"] == {"w": ["read", "run"]}
    async with opened(guarded, WATCHED[0], cookie) as events:
        ended = await guarded.http.delete("/api/v1/session", headers=cookie | HERE)
        assert ended.status_code == 204
        assert 'tailrace_session=""' in ended.headers["set-cookie"]
        await clock.advance(LOOK_S)
        assert await closing(events) == "revoked"
    assert told(await guarded.http.get(OURS, headers=cookie)) == (401, "token_expired")


async def test_a_cookie_that_other_machines_send_is_secure(guarded: Served) -> None:
    ann = await key(guarded, "viewer")
    for host, secure in (("tailrace.example.org", True), ("127.0.0.1", False), ("[::1]:9", False)):
        response = await guarded.http.post("/api/v1/session", headers=ann | {"Host": host})
        assert ("Secure" in response.headers["set-cookie"]) is secure, host


async def test_a_session_cannot_renew_itself(guarded: Served) -> None:
    cookies = await session(guarded, await key(guarded, "viewer"))
    guarded.http.cookies = cookies
    assert told(await guarded.http.post("/api/v1/session", headers=HERE)) == (403, "forbidden")


async def test_pages_of_other_sites_change_nothing_with_our_cookie(guarded: Served) -> None:
    guarded.http.cookies = await session(guarded, await key(guarded, "admin"))
    cancel = f"{OURS}/X1/cancel"
    for evil in (
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        response = await guarded.http.post(cancel, headers=evil)
        assert told(response) == (403, "cross_site"), evil
    assert (await guarded.tailrace.log.entry("X1")).status == "queued"
    assert (await guarded.http.post(cancel, headers=HERE)).status_code == 202


async def test_a_route_that_starts_with_get_is_guarded_like_a_post(guarded: Served) -> None:
    guarded.http.cookies = await session(guarded, await key(guarded, "operator", "default"))
    evil = {"Sec-Fetch-Site": "cross-site"}
    assert told(await guarded.http.get("/counting", headers=evil)) == (403, "cross_site")


async def test_where_nobody_is_asked_other_sites_still_change_nothing(serve: Serve) -> None:
    async with serve(flows=[counting]) as served:
        base = "/api/v1/workspaces/default/executions"
        evil = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        body = {"flow": "counting"}
        assert told(await served.http.post(base, json=body, headers=evil)) == (403, "cross_site")
        assert told(await served.http.get("/counting", headers=evil)) == (403, "cross_site")
        assert (await served.http.post(base, json=body)).status_code == 202
        assert (await served.http.post(base, json=body, headers=HERE)).status_code == 202
        me = (await served.http.get("/api/v1/session")).json()
        assert (me["access"], me["subject"]) == (False, "anybody")
        assert (await served.http.post("/api/v1/workspaces/default/tickets")).status_code == 201


async def test_only_pages_of_named_origins_see_answers(guarded: Served) -> None:
    ann = await key(guarded, "viewer")
    for path in (OURS, f"{WATCHED[0]}?follow=false", "/nothing"):
        named = await guarded.http.get(path, headers=ann | {"Origin": APP})
        assert named.headers["access-control-allow-origin"] == APP
        assert named.headers["access-control-allow-credentials"] == "true"
        other = await guarded.http.get(path, headers=ann | {"Origin": "https://evil.example"})
        assert "access-control-allow-origin" not in other.headers
        assert named.headers["vary"] == other.headers["vary"] == "Origin"


async def test_a_browser_asks_before_it_asks(guarded: Served) -> None:
    asks = {
        "Origin": APP,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization,last-event-id",
    }
    for path in (OURS, WATCHED[0]):
        response = await guarded.http.options(path, headers=asks)
        assert (response.status_code, response.content) == (204, b"")
        assert response.headers["access-control-allow-origin"] == APP
        allowed = response.headers["access-control-allow-headers"].lower()
        assert {"authorization", "last-event-id"} <= set(allowed.split(", "))
        evil = await guarded.http.options(path, headers=asks | {"Origin": "https://evil.example"})
        assert told(evil) == (403, "cross_site")
        assert "access-control-allow-origin" not in evil.headers
    assert (await guarded.http.options(OURS)).status_code == 401


async def test_every_answer_has_the_security_headers(guarded: Served) -> None:
    ann = await key(guarded, "viewer")
    stream = f"{WATCHED[0]}?follow=false"
    for path in (OURS, stream, "/nothing", "/healthz", "/docs", f"{OURS}/X1?limit=x"):
        for headers in (ann, {}):
            found = (await guarded.http.get(path, headers=headers)).headers
            assert found["x-content-type-options"] == "nosniff", path
            assert found["referrer-policy"] == "no-referrer"
            assert "frame-ancestors 'none'" in found["content-security-policy"]
            if "json" in found["content-type"]:
                assert found["cache-control"] == "no-store"
    assert (await guarded.http.get(stream, headers=ann)).headers["cache-control"] == (
        "no-cache, no-transform"
    )


@pytest.mark.parametrize("name", ["a%0d%0aX-Evil:%201", "a%00b", "a%1b%5b31m", "a%e2%80%a8b"])
async def test_nothing_of_a_path_becomes_a_header(guarded: Served, name: str) -> None:
    admin = await key(guarded, "admin", EVERYWHERE)
    response = await guarded.http.post(
        f"/api/v1/workspaces/{name}/executions", headers=admin, json={"flow": "counting"}
    )
    assert told(response) == (400, "invalid_request")


async def test_a_workspace_may_have_any_name(guarded: Served) -> None:
    admin = await key(guarded, "admin", "東 京?#%")
    base = "/api/v1/workspaces/%E6%9D%B1%20%E4%BA%AC%3F%23%25/executions"
    response = await guarded.http.post(base, headers=admin, json={"flow": "counting"})
    assert response.status_code == 202
    assert response.headers["location"].startswith(f"{base}/")
    found = await guarded.http.get(response.headers["location"], headers=admin)
    assert found.json()["flow"] == "counting"


# --- who is there, in other ways ------------------------------------------------------------------


async def test_a_hook_of_the_embedder(serve: Serve) -> None:
    asked: list[Asking] = []

    async def hook(asking: Asking) -> Identity | None:
        asked.append(asking)
        if asking.headers.get("x-user") != "ann":
            return None
        return Identity(subject="ann", workspaces={"default": {"read"}})

    tailrace = Tailrace("memory:", authorize=hook)
    async with serve(tailrace) as served:
        await begin(tailrace.log)
        base = "/api/v1/workspaces/default/executions"
        assert told(await served.http.get(f"{base}/X1")) == (401, "unauthenticated")
        ann = {"X-User": "ann"}
        assert (await served.http.get(f"{base}/X1", headers=ann)).status_code == 200
        assert told(await served.http.post(f"{base}/X1/cancel", headers=ann)) == (403, "forbidden")
        assert (asked[1].right, asked[1].workspace, asked[1].execution) == ("read", "default", "X1")
        assert (asked[2].method, asked[2].right) == ("POST", "run")


async def test_jwts_with_keys_from_a_url(serve: Serve, clock: FakeClock) -> None:
    """The issuer's server is a real one, and its keys change."""
    private = [Ed25519PrivateKey.generate() for _ in range(2)]
    jwks = [
        {**json.loads(OKPAlgorithm.to_jwk(made.public_key())), "kid": str(number)}
        for number, made in enumerate(private)
    ]
    published: Any = {"keys": jwks[:1]}

    async def answer(_: Request) -> JSONResponse:
        return JSONResponse(published)

    def token(number: int, **claims: Any) -> dict[str, str]:
        body = {"sub": "ann", "aud": "me", "exp": clock.now() + timedelta(hours=1), **claims}
        made = jwt.encode(body, private[number], "EdDSA", headers={"kid": str(number)})
        return {"Authorization": f"Bearer {made}"}

    async with serving(Starlette(routes=[AppRoute("/jwks", answer)])) as url:
        tailrace = Clocked(clock, jwt_keys=f"{url}/jwks", jwt_audience="me")
        async with serve(tailrace) as served:
            await started(tailrace.log, "X1", "w")
            await started(tailrace.log, "X2", "w")
            ann, one = token(0, workspaces={"w": "viewer"}), token(0, execution="X1", jti="7")
            assert (await served.http.get(OURS, headers=ann)).status_code == 200
            assert (await served.http.get(f"{OURS}/X1", headers=one)).status_code == 200
            assert told(await served.http.get(f"{OURS}/X2", headers=one))[0] == 404
            assert told(await served.http.get(OURS, headers=one)) == (404, "workspace_not_found")
            late = token(0, exp=clock.now() - timedelta(hours=1))
            assert told(await served.http.get(OURS, headers=late)) == (401, "token_expired")
            new = token(1, workspaces={"w": "viewer"})
            assert told(await served.http.get(OURS, headers=new)) == (401, "token_invalid")
            published["keys"] = jwks[1:]
            await clock.advance(REFETCH_S)
            assert (await served.http.get(OURS, headers=new)).status_code == 200
            assert told(await served.http.get(OURS, headers=ann)) == (401, "token_invalid")
            async with opened(served, WATCHED[0], new) as events:
                await tailrace.access.revoke("subject:ann")
                await clock.advance(LOOK_S)
                assert await closing(events) == "revoked"
            assert told(await served.http.get(OURS, headers=new)) == (401, "token_revoked")


async def test_keys_that_cannot_be_had_are_not_the_askers_fault(
    serve: Serve, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    large = Starlette(routes=[AppRoute("/large", lambda _: Response(b" " * 2_000_000))])
    token = jwt.encode({"sub": "a"}, Ed25519PrivateKey.generate(), "EdDSA")
    async with serving(large) as url:
        for path in ("large", "missing"):
            tailrace = Clocked(clock, jwt_keys=f"{url}/{path}", jwt_audience="me")
            async with serve(tailrace) as served:
                headers = {"Authorization": f"Bearer {token}"}
                response = await served.http.get(OURS, headers=headers)
                assert told(response) == (503, "keys_unavailable")
                assert response.headers["retry-after"]
    assert "longer than" in caplog.text
    assert "answered 404" in caplog.text


async def test_the_client_shows_its_token_on_every_request(guarded: Served) -> None:
    ann = (await key(guarded, "viewer"))["Authorization"].removeprefix("Bearer ")
    async with Client(guarded.url, workspace="w", token=ann) as client:
        assert (await client.get("X1"))["execution_id"] == "X1"
        assert [event.id async for event in client.follow("X1", live=False)] == [1, 2]
        with pytest.raises(Forbidden):
            await client.cancel("X1")
        with pytest.raises(ExecutionNotFound):
            await client.get("Y1")
        await guarded.tailrace.access.revoke_key(ann.split("_")[1])
        with pytest.raises(TokenRevoked):
            await client.list()
    async with Client(guarded.url, workspace="w") as client:
        with pytest.raises(Unauthenticated):
            async for _ in client.follow("X1"):
                pass


async def test_a_client_renews_its_token_and_loses_nothing(
    guarded: Served, clock: FakeClock
) -> None:
    until = clock.now() + timedelta(seconds=60)
    tokens = [
        (await key(guarded, "viewer", **more))["Authorization"].removeprefix("Bearer ")
        for more in cast(Iterable[dict[str, Any]], ({"expires_at": until}, {}))
    ]
    async with Client(guarded.url, workspace="w", token=lambda: tokens.pop(0)) as client:
        follow = client.follow("X1")
        assert [(await anext(follow)).id for _ in range(2)] == [1, 2]
        await clock.advance(61)
        await guarded.tailrace.log.append("X1", [line()])
        assert (await anext(follow)).id == 3
        assert not tokens
        await follow.aclose()


async def test_under_a_prefix_the_gate_is_the_same(clock: FakeClock) -> None:
    tailrace = Clocked(clock)
    async with tailrace, serving(Starlette(routes=[Mount("/live", tailrace.asgi())])) as url:
        await started(tailrace.log, "X1", "w")
        made, _ = await tailrace.access.make_key({"w": ROLES["viewer"]})
        async with httpx.AsyncClient(base_url=f"{url}/live") as http:
            assert told(await http.get(OURS)) == (401, "unauthenticated")
            ann = {"Authorization": f"Bearer {made}"}
            assert (await http.get(OURS, headers=ann)).status_code == 200
            cookie = (await http.post("/api/v1/session", headers=ann)).headers["set-cookie"]
            assert "Path=/live;" in cookie
        tailrace.hub.close()


def test_the_table_says_what_it_means() -> None:
    for (method, path), rule in RULES.items():
        assert method in ("GET", "POST", "DELETE")
        assert isinstance(rule, Rule)
        assert ("{workspace}" in path) == (rule.where == "path")
        assert rule.stream <= (method == "GET")
