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
from tailrace.errors import ExecutionNotFound
from tailrace.http.observe import traceparent
from tailrace.http.problems import ANSWERS
from tailrace.log.base import Entry
from tailrace.positions import Position, resolve
from tailrace.runtime import Runtime
from tailrace.work.base import Priority

_WAIT = re.compile(r"\bwait=(\d{1,4})\b")
BASE = "/workspaces/{workspace}/executions"
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
    """The routes of executions, below `/api/v1`."""
    api = APIRouter(prefix="/api/v1", responses=ANSWERS)
    _control(api, runtime)
    _look(api, runtime)
    _contents(api, runtime)
    return api


async def _owned(runtime: Runtime, workspace: str, execution_id: str) -> Entry:
    """Look an execution up; one of another workspace does not exist there."""
    entry = await runtime.log.entry(execution_id)
    if entry.workspace != workspace:
        raise ExecutionNotFound(f"There is no execution {execution_id!r} here")
    return entry


def _control(api: APIRouter, runtime: Runtime) -> None:
    @api.post(BASE, status_code=202, tags=["executions"], summary="Start a flow")
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

    @api.post(
        BASE + "/{execution_id}/cancel", status_code=202, tags=["executions"], summary="Stop it"
    )
    async def cancel(
        workspace: str, execution_id: str, response: Response, body: Cancel | None = None
    ) -> dict[str, Any]:
        await _owned(runtime, workspace, execution_id)
        reason = body.reason if body else None
        entry = await runtime.cancel(execution_id, by="api", reason=reason)
        response.status_code = 200 if entry.sealed else 202
        return entry.to_dict()


def _look(api: APIRouter, runtime: Runtime) -> None:
    @api.get(BASE, tags=["executions"], summary="List executions, newest first")
    async def list_(
        workspace: str,
        limit: int = Query(50, ge=1, le=200),
        before: str | None = Query(None, description="The last execution id of the page before."),
        status: str | None = Query(None),
    ) -> dict[str, Any]:
        if before is not None:
            await _owned(
                runtime, workspace, before
            )  # else it would tell whether another has that id
        entries = await runtime.entries(workspace, limit=limit, before=before, status=status)
        more = entries[-1].execution_id if len(entries) == limit else None
        return {"executions": [entry.to_dict() for entry in entries], "before": more}

    @api.get(BASE + "/{execution_id}", tags=["executions"], summary="One execution and its nodes")
    async def get(
        workspace: str,
        execution_id: str,
        request: Request,
        at: int | None = Query(
            None, ge=0, description="An event's id: as it was after that; now, if left out."
        ),
    ) -> dict[str, Any]:
        await _owned(runtime, workspace, execution_id)
        state = await runtime.view(execution_id, at)
        return state.to_dict() | {"links": links(request, workspace, execution_id)}


def _contents(api: APIRouter, runtime: Runtime) -> None:
    @api.get(BASE + "/{execution_id}/events", tags=["streams"], summary="A page of events")
    async def page(
        workspace: str,
        execution_id: str,
        after: str | None = Query(None, description="A position; exclusive."),
        limit: int = Query(500, ge=1, le=1000),
    ) -> Response:
        entry = await _owned(runtime, workspace, execution_id)
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
        BASE + "/{execution_id}/payloads/{digest}",
        tags=["executions"],
        summary="A value that was too large for its event, by the digest in its summary",
    )
    async def payload(workspace: str, execution_id: str, digest: str) -> Response:
        await _owned(runtime, workspace, execution_id)
        data = await runtime.log.payload(execution_id, digest)
        # Named by what it holds, it can never change.
        headers = {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=31536000, immutable"}
        return Response(data, media_type="application/json", headers=headers)
