"""Credentials for browsers: a session in a cookie, and tickets for single streams.

The law of this file: nobody gets more here than what they came with, nor for longer. `EventSource`
cannot send a header; these are its two ways in, and neither puts what lasts into a URL.
"""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.responses import JSONResponse

from tailrace.auth import EVERYWHERE, Identity
from tailrace.clock import rfc3339
from tailrace.errors import ExecutionNotFound, Forbidden
from tailrace.http.access import COOKIE
from tailrace.http.asked import holder
from tailrace.http.origins import host_name, is_loopback
from tailrace.http.problems import ANSWERS
from tailrace.runtime import Runtime

# Who asks where nobody is asked who they are: clients need not know which server they have.
ANYBODY = Identity(subject="anybody", workspaces={EVERYWHERE: ("admin",)})


def router(runtime: Runtime) -> APIRouter:
    """The routes below `/api/v1`."""
    api = APIRouter(
        prefix="/api/v1",
        tags=["access"],
        responses=ANSWERS,
    )
    access = runtime.access

    @api.get("/session", summary="Who you are here, and what you may")
    async def look(request: Request) -> dict[str, Any]:
        return {"access": access.on} | _asker(request).to_dict()

    @api.post("/session", status_code=201, summary="Begin a browser's session")
    async def begin(request: Request) -> Response:
        asker = _asker(request)
        if asker.kind in ("session", "ticket"):
            raise Forbidden(f"A {asker.kind} cannot begin a session: a key or a token can")
        secret, until = await access.begin_session(asker)
        answer = JSONResponse({"expires_at": rfc3339(until)} | _shown(asker), status_code=201)
        seconds = int((until - runtime.clock.now()).total_seconds())
        answer.set_cookie(COOKIE, secret, max_age=seconds, **_cookie(request))
        return answer

    @api.delete("/session", status_code=204, summary="End it, and its streams")
    async def end(request: Request) -> Response:
        if secret := request.cookies.get(COOKIE):
            await access.end_session(secret)
        answer = Response(status_code=204)
        answer.delete_cookie(COOKIE, **_cookie(request))
        return answer

    @api.post(
        "/workspaces/{workspace}/executions/{execution_id}/tickets",
        status_code=201,
        summary="A ticket for one connect of this execution's streams",
    )
    async def execution_ticket(workspace: str, execution_id: str, request: Request) -> Response:
        entry = await runtime.log.entry(execution_id)
        if entry.workspace != workspace:
            raise ExecutionNotFound(f"There is no execution {execution_id!r} here")
        return await ticket(request, workspace, execution_id)

    @api.post(
        "/workspaces/{workspace}/tickets",
        status_code=201,
        summary="A ticket for one connect of a stream of this workspace",
    )
    async def workspace_ticket(workspace: str, request: Request) -> Response:
        return await ticket(request, workspace)

    async def ticket(request: Request, workspace: str, execution_id: str | None = None) -> Response:
        made, until = await access.make_ticket(_asker(request), workspace, execution_id)
        return JSONResponse({"ticket": made, "expires_at": rfc3339(until)}, status_code=201)

    return api


def _asker(request: Request) -> Identity:
    return holder(request.scope) or ANYBODY


def _shown(identity: Identity) -> dict[str, Any]:
    return {name: identity.to_dict()[name] for name in ("subject", "workspaces", "executions")}


def _cookie(request: Request) -> Any:
    """How the cookie is kept: from scripts, from other sites' pages, and off the open network."""
    local = is_loopback(host_name(request.headers.get("host", "")))
    return {
        "path": request.scope.get("root_path") or "/",
        "secure": request.url.scheme == "https" or not local,
        "httponly": True,
        "samesite": "lax",
    }
