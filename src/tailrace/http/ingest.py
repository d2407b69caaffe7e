"""What engines outside send: batches of events, jobs, and signed callbacks.

The law of this file: read the body, call `Ingest` or `Jobs`, render. 202 means that the log has it.
"""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Header, Request
from pydantic import BaseModel, ValidationError
from starlette.responses import JSONResponse

from tailrace.http.asked import holder
from tailrace.http.executions import links
from tailrace.http.faces import NDJSON
from tailrace.http.problems import ANSWERS
from tailrace.ingest import Ingest, Taken
from tailrace.jobs import Job, Jobs, Progress, malformed
from tailrace.reported import Batch, Report
from tailrace.runtime import Runtime


class Accepted(BaseModel):
    """What became of a batch."""

    execution_id: str
    status: str
    attempt: int
    first: int
    last: int
    duplicate: bool


def _body(model: type[BaseModel], *media_types: str) -> dict[str, Any]:
    """The request body of a route that reads it itself."""
    schema = model.model_json_schema()
    schema = _inlined(schema, schema.pop("$defs", {}))
    content: dict[str, Any] = {"application/json": {"schema": schema}}
    content |= {media: {"schema": {"type": "string"}} for media in media_types}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema that stands by itself: FastAPI collects the definitions of its own models only."""
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(part, definitions) for name, part in schema.items()}


def router(runtime: Runtime) -> APIRouter:
    """The routes."""
    ingest = Ingest(runtime)
    jobs = Jobs(runtime, ingest)
    answers: dict[int | str, dict[str, Any]] = {
        200: {"model": Accepted, "description": "The log had it already."},
        **ANSWERS,
    }
    api = APIRouter(prefix="/api/v1", tags=["ingest"], responses=answers)

    @api.post(
        "/workspaces/{workspace}/executions/{execution_id}/events",
        status_code=202,
        response_model=Accepted,
        summary="Report events: each batch is in the log whole and once, or not at all",
        openapi_extra=_body(Batch, NDJSON),
    )
    async def report(workspace: str, execution_id: str, request: Request) -> JSONResponse:
        body = await request.body()
        lines = request.headers.get("content-type", "").startswith(NDJSON)
        batch, who = _batch(body, lines=lines), holder(request.scope)
        by = None if who is None else who.credential
        return _answer(await ingest.take(workspace, execution_id, batch, by=by))

    @api.post(
        "/jobs/progress",
        status_code=202,
        response_model=Accepted,
        summary="Report events of a job, signed with its token",
        openapi_extra=_body(Progress),
    )
    async def progress(
        request: Request,
        x_tailrace_job: str = Header("", description="The job's execution id."),
        x_tailrace_timestamp: str = Header("", description="The time of sending, Unix seconds."),
        x_tailrace_signature: str = Header(
            "", description="`v1=` and HMAC-SHA256 over `<timestamp>.<body>`, in hex."
        ),
    ) -> JSONResponse:
        body = await request.body()
        return _answer(
            await jobs.progress(x_tailrace_job, x_tailrace_timestamp, x_tailrace_signature, body)
        )

    @api.post(
        "/workspaces/{workspace}/jobs",
        status_code=201,
        summary="Announce an execution that an engine outside will run and report",
    )
    async def create(workspace: str, job: Job, request: Request) -> JSONResponse:
        taken, token = await jobs.create(workspace, job)
        root = request.scope.get("root_path", "")
        where = links(request, workspace, taken.execution_id)
        made = {
            "execution_id": taken.execution_id,
            "token": token,
            "url": f"{root}/api/v1/jobs/progress",
            "links": where,
        }
        headers = {"Location": where["self"], "Cache-Control": "no-store"}
        return JSONResponse(made, 200 if taken.duplicate else 201, headers)

    return api


def _answer(taken: Taken) -> JSONResponse:
    return JSONResponse(asdict(taken), 200 if taken.duplicate else 202)


def _batch(body: bytes, *, lines: bool) -> Batch:
    """Read a batch: one JSON object, or as lines: the batch without its events, then each event."""
    try:
        if not lines:
            return Batch.model_validate_json(body)
        head, *rest = [line for line in body.splitlines() if line.strip()] or [b"{}"]
        batch = Batch.model_validate_json(head)
        batch.events += [Report.model_validate_json(line) for line in rest]
        return batch
    except ValidationError as error:
        raise malformed(error) from error
