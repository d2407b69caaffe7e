"""The JSON resources: start, list, look, cancel, and pages of events.

The law of this file: parse, call the runtime, render. No rule of the domain lives here.
"""

import re
from typing import Any
from urllib.parse import quote

import anyio
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from tailrace import events
from tailrace.agent import Agent
from tailrace.errors import ExecutionNotFound, ShuttingDown
from tailrace.flow.build import Flow
from tailrace.http.observe import traceparent
from tailrace.log.base import Entry
from tailrace.positions import Position, resolve
from tailrace.runtime import Runtime
from tailrace.version import __version__
from tailrace.work.base import Priority

_WAIT = re.compile(r"\bwait=(\d{1,4})\b")
WAIT_MAX_S = 300  # a longer wait belongs on the stream, which proxies do not cut


class Start(BaseModel):
    """What to run."""

    model_config = ConfigDict(extra="forbid")
    flow: str = Field(description="The flow's name, as the catalog lists it.")
    input: Any = Field(default=None, description="The flow's input; an object.")
    kind: str | None = Field(
        default=None, description="`workflow`, `agent` or `task`; by default what it is."
    )
    idempotency_key: str | None = Field(
        default=None, min_length=1, max_length=200, description="Repeating it starts nothing new."
    )
    deadline_ms: int | None = Field(default=None, gt=0, description="The time it may take.")
    ephemeral: bool = Field(default=False, description="Remove it soon after its end.")
    priority: Priority = Field(
        default="normal", description="Which of those that wait for a worker goes first."
    )
    start_at: AwareDatetime | None = Field(
        default=None, description="Not before this moment; needs workers (docs/scaling.md)."
    )


class Cancel(BaseModel):
    """Why to stop."""

    model_config = ConfigDict(extra="forbid")
    reason: str | None = Field(default=None, max_length=1000)


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    hint: str | None = None


def links(request: Request, workspace: str, execution_id: str) -> dict[str, str]:
    """Where everything of an execution is, under whatever prefix this app is mounted."""
    root = request.scope.get("root_path", "")
    # A name may hold anything; a header, and a URL, may not.
    base = f"{root}/api/v1/workspaces/{quote(workspace, safe='')}/executions/{execution_id}"
    return {
        "self": base,
        "stream": f"{base}/stream",
        "logs": f"{base}/logs",
        "events": f"{base}/events",
        "cancel": f"{base}/cancel",
    }


def router(runtime: Runtime) -> APIRouter:
    """The routes below `/api/v1`."""
    api = APIRouter(
        prefix="/api/v1", responses={"default": {"model": Problem, "description": "An error."}}
    )
    base = "/workspaces/{workspace}/executions"

    async def owned(workspace: str, execution_id: str) -> Entry:
        """Look an execution up; one of another workspace does not exist here."""
        entry = await runtime.log.entry(execution_id)
        if entry.workspace != workspace:
            raise ExecutionNotFound(f"There is no execution {execution_id!r} here")
        return entry

    @api.post(base, status_code=202, tags=["executions"], summary="Start a flow")
    async def start(
        workspace: str, body: Start, request: Request, prefer: str | None = Header(None)
    ) -> Response:
        run = await runtime.start(
            body.flow,
            body.input,
            kind=body.kind,
            workspace=workspace,
            idempotency_key=body.idempotency_key,
            deadline_ms=body.deadline_ms,
            ephemeral=body.ephemeral,
            priority=body.priority,
            at=body.start_at,
            traceparent=traceparent(request.scope),
        )
        where = links(request, workspace, run.id)
        wait = _WAIT.search(prefer or "")
        if wait:
            with anyio.move_on_after(min(int(wait[1]), WAIT_MAX_S)):
                answer = (await run.wait()).to_dict() | {"links": where}
                applied = {"Preference-Applied": wait[0], "Location": where["self"]}
                return JSONResponse(answer, headers=applied)
        entry = await runtime.log.entry(run.id)
        return JSONResponse(
            entry.to_dict() | {"links": where},
            status_code=202,
            headers={"Location": where["self"]},
        )

    @api.get(base, tags=["executions"], summary="List executions, newest first")
    async def list_(
        workspace: str,
        limit: int = Query(50, ge=1, le=200),
        before: str | None = Query(None, description="The last execution id of the page before."),
        status: str | None = Query(None),
    ) -> dict[str, Any]:
        if before is not None:
            await owned(workspace, before)  # else it would tell whether another has that id
        entries = await runtime.entries(workspace, limit=limit, before=before, status=status)
        more = entries[-1].execution_id if len(entries) == limit else None
        return {"executions": [entry.to_dict() for entry in entries], "before": more}

    @api.get(base + "/{execution_id}", tags=["executions"], summary="One execution and its nodes")
    async def get(workspace: str, execution_id: str, request: Request) -> dict[str, Any]:
        await owned(workspace, execution_id)
        state = await runtime.view(execution_id)
        return state.to_dict() | {"links": links(request, workspace, execution_id)}

    @api.post(
        base + "/{execution_id}/cancel", status_code=202, tags=["executions"], summary="Stop it"
    )
    async def cancel(
        workspace: str, execution_id: str, response: Response, body: Cancel | None = None
    ) -> dict[str, Any]:
        await owned(workspace, execution_id)
        reason = body.reason if body else None
        entry = await runtime.cancel(execution_id, by="api", reason=reason)
        response.status_code = 200 if entry.sealed else 202
        return entry.to_dict()

    @api.get(base + "/{execution_id}/events", tags=["streams"], summary="A page of events")
    async def page(
        workspace: str,
        execution_id: str,
        after: str | None = Query(None, description="A position; exclusive."),
        limit: int = Query(500, ge=1, le=1000),
    ) -> Response:
        entry = await owned(workspace, execution_id)
        opening = resolve(entry, Position.parse(after) if after else None)
        records = await runtime.log.read(execution_id, opening.after, limit)
        last = records[-1] if records else None
        seq = last.seq if last else opening.after
        ended = (last.type in events.TERMINAL) if last else entry.sealed and seq >= entry.head
        gap = opening.gap.model_dump_json(by_alias=True) if opening.gap else "null"
        # The events are encoded already: they are joined, not parsed and written again.
        body = b'{"events":[%b],"position":"%d@%b","head":%d,"ended":%b,"gap":%b}' % (
            b",".join([record.json() for record in records]),
            seq,
            entry.epoch.encode(),
            max(entry.head, seq),
            b"true" if ended else b"false",
            gap.encode(),
        )
        return Response(body, media_type="application/json")

    @api.get(
        base + "/{execution_id}/payloads/{digest}",
        tags=["executions"],
        summary="A value that was too large for its event, by the digest in its summary",
    )
    async def payload(workspace: str, execution_id: str, digest: str) -> Response:
        await owned(workspace, execution_id)
        data = await runtime.log.payload(execution_id, digest)
        # Named by what it holds, it can never change.
        headers = {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=31536000, immutable"}
        return Response(data, media_type="application/json", headers=headers)

    @api.get("/catalog", tags=["server"], summary="Flows and event types")
    async def catalog() -> dict[str, Any]:
        found = runtime.flows.values()
        flows = [
            made.ir.model_dump(by_alias=True, exclude_none=True)
            for made in found
            if isinstance(made, Flow)
        ]
        agents = [
            {
                "name": made.name,
                "kind": made.kind,
                "input_schema": made.input_model.model_json_schema(),
                "output_schema": made.out_schema,
            }
            for made in found
            if isinstance(made, Agent)
        ]
        types = [
            {"type": name, "terminal": payload.terminal, "control": payload.control}
            for name, payload in events.CATALOG.items()
        ]
        return {"version": __version__, "flows": flows, "agents": agents, "events": types}

    return api


def health(runtime: Runtime) -> APIRouter:
    """Liveness and readiness, at the root of the app."""
    api = APIRouter(tags=["server"])

    @api.get("/healthz", summary="The process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "ok", "version": __version__}

    @api.get("/readyz", summary="It can serve: the store answers and no shutdown is under way")
    async def readyz() -> dict[str, Any]:
        if runtime.hub.closing:
            raise ShuttingDown
        await runtime.log.entries("default", limit=1)
        return {"status": "ready", "watching": runtime.hub.watching}

    return api
