"""What a server says of itself: what can be started on it, whether it lives, whether it is ready.

The law of this file: it reads, and nothing of an execution is told.
"""

from typing import Any

from fastapi import APIRouter

from tailrace import events
from tailrace.agent import Agent
from tailrace.errors import ShuttingDown
from tailrace.flow.build import Flow
from tailrace.http.problems import ANSWERS
from tailrace.runtime import Runtime
from tailrace.version import __version__


def catalog(runtime: Runtime) -> APIRouter:
    """The flows and agents that can be started, and the types of events."""
    api = APIRouter(prefix="/api/v1", responses=ANSWERS)

    @api.get("/catalog", tags=["server"], summary="Flows and event types")
    async def list_() -> dict[str, Any]:
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
