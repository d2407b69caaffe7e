"""Commands over HTTP: `POST /workloads`.

The law of this file: a request names a command and never is one. What may run was said when the
server was started; without that, nothing may.
"""

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from tailrace.http.executions import links
from tailrace.http.problems import ANSWERS
from tailrace.runtime import Runtime


class StartWorkload(BaseModel):
    """Which command to run."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(description="One of the names that the server was started with.")
    input: Any = Field(default=None, description="What it reads from stdin, as JSON.")
    idempotency_key: str | None = Field(
        default=None, min_length=1, max_length=200, description="Repeating it starts nothing new."
    )
    deadline_ms: int | None = Field(default=None, gt=0, description="The time it may take.")


def workloads_router(runtime: Runtime) -> APIRouter:
    """The route that starts a command; its lines are at `…/workloads/{id}/logs`."""
    api = APIRouter(prefix="/api/v1", responses=ANSWERS)

    @api.post(
        "/workloads", status_code=202, tags=["workloads"], summary="Start a command by its name"
    )
    async def start(body: StartWorkload, request: Request) -> JSONResponse:
        run = await runtime.start_workload(
            body.name,
            body.input,
            idempotency_key=body.idempotency_key,
            deadline_ms=body.deadline_ms,
        )
        entry = await runtime.log.entry(run.id)
        where = links(request, entry.workspace, run.id)
        root = request.scope.get("root_path", "")
        where["logs"] = f"{root}/api/v1/workloads/{run.id}/logs"
        return JSONResponse(
            entry.to_dict() | {"links": where},
            status_code=202,
            headers={"Location": where["self"]},
        )

    return api
