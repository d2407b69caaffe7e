"""The streams, and flows' own routes, in the OpenAPI document: FastAPI sees only what it made.

The law of this file: it describes; the rules themselves are in `asked` and `streams`.
"""

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI

from tailrace.filters import LEVELS
from tailrace.flow.ir import FlowIR
from tailrace.http.faces import NDJSON, PLAIN
from tailrace.http.streams import KIND_PATHS

WORKSPACE_STREAM = "/api/v1/workspaces/{workspace}/stream"
_EXECUTION = "/api/v1/workspaces/{workspace}/executions/{execution_id}"


def describe_routes(app: FastAPI, flows: Iterable[FlowIR]) -> None:
    """Put the streams, and the routes that flows have of their own, into the OpenAPI document."""
    generated = app.openapi

    def openapi() -> dict[str, Any]:
        document = generated()
        for path, operation in _operations().items():
            document["paths"].setdefault(path, {"get": operation})
        for ir in flows:
            if ir.trigger.path is not None:
                method = (ir.trigger.method or "POST").lower()
                document["paths"].setdefault(ir.trigger.path, {})[method] = _trigger(ir, method)
        document["components"]["securitySchemes"] = _CREDENTIALS
        document["security"] = [{name: []} for name in _CREDENTIALS]
        return document

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI documents this as the way


def _operations() -> dict[str, dict[str, Any]]:
    one = [_parameter("execution_id", "path", "The execution.")]
    many = _EVENTS + _LINE_CHOICE + _ALL
    events, lines = one + many, one + _LINE_CHOICE + _ALL
    workspace = _parameter("workspace", "path", "The workspace that owns the execution.")
    made = {
        f"{_EXECUTION}/stream": _operation(
            "stream", "Follow an execution, live or finished", [workspace, *events]
        ),
        f"{_EXECUTION}/logs": _operation("logs", "Follow its log lines", [workspace, *lines]),
    }
    made[WORKSPACE_STREAM] = _operation(
        "workspace_stream", "Follow many executions on one connection", [workspace, *_MANY, *many]
    )
    for kind, path in KIND_PATHS.items():
        if kind == "workload":
            made[path] = _operation("workload_logs", "Follow a command's log lines", lines)
        else:
            text = "" if kind == "workflow" else "; as text where it has no output schema"
            made[path] = _operation(f"{kind}_stream", f"Follow a {kind}{text}", events)
    return made


def _trigger(ir: FlowIR, method: str) -> dict[str, Any]:
    """A flow's own route: its input is the body, of a GET the query."""
    schema = ir.trigger.input_schema
    # A definition is looked up from the document's root, and there it is not.
    whole: dict[str, Any] = {"type": "object"} if "$defs" in schema else schema
    operation: dict[str, Any] = {
        "tags": ["flows"],
        "summary": ir.summary or ir.name,
        "operationId": f"flow_{ir.name}",
        "responses": _TRIGGERED,
    }
    if method != "get":
        body = {"content": {"application/json": {"schema": whole}}}
        return operation | {"requestBody": body}
    needed = whole.get("required", [])
    return operation | {
        "parameters": [
            {"name": name, "in": "query", "required": name in needed, "schema": one}
            for name, one in whole.get("properties", {}).items()
        ]
    }


def _operation(name: str, summary: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "tags": ["streams"],
        "summary": summary,
        "operationId": name,
        "description": "Replays from the position asked for, then follows to the terminal event.",
        "parameters": parameters,
        "responses": _RESPONSES,
    }


def _parameter(name: str, where: str, description: str, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": description,
        "schema": {"type": "string", **schema},
    }


_CREDENTIALS = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key or a JWT; docs/access.md. None where the server asks nobody.",
    },
    "session": {"type": "apiKey", "in": "cookie", "name": "tailrace_session"},
}
_MANY = [
    _parameter("execution", "query", "Only this one; repeated: these. Else all that run, and come.")
]
_ALL = [
    _parameter("Last-Event-ID", "header", "A position; exclusive; wins over `after`."),
    _parameter("after", "query", "A position: `<seq>` or `<seq>@<epoch>`; exclusive."),
    _parameter("since", "query", "Without a position: begin at this time, or so long ago (`10m`)."),
    _parameter("tail", "query", "Without a position: begin with so many of the newest chosen."),
    _parameter("follow", "query", "`false`: what is there, then close.", default="true"),
    _parameter("batch_ms", "query", "At most one delivery in this time, 0 to 2000.", default="0"),
    _parameter("heartbeat", "query", "How silence is filled.", enum=["comment", "event"]),
    _parameter("format", "query", "What it is by itself, overridden.", enum=["json", "text"]),
]
_LINE_CHOICE = [
    _parameter("node", "query", "Only what is of these nodes."),
    _parameter("level", "query", "Log lines of this level or above.", enum=list(LEVELS)),
    _parameter("source", "query", "Log lines of these: `stdout`, `stderr`, a logger's name."),
    _parameter("search", "query", "Log lines with this text in them, in any case."),
]
_EVENTS = [
    _parameter("events", "query", "Only these: `node.*,log.line`; the terminal event always."),
    _parameter(
        "compact",
        "query",
        "Join neighbouring pieces of text; `finished`: if it has ended.",
        enum=["false", "true", "finished"],
    ),
]
_TRIGGERED: dict[str, Any] = {
    "200": {"description": "What it gives: as JSON, or as a stream if it gives one value by one."},
    "422": {"description": "The input does not fit."},
    "500": {"description": "It failed, before there was anything to give."},
    "504": {"description": "It passed its deadline, before there was anything to give."},
}
_RESPONSES: dict[str, Any] = {
    "200": {
        "description": "What was asked for, in order, each once.",
        "content": {
            media: {"schema": {"type": "string"}} for media in ("text/event-stream", NDJSON, PLAIN)
        },
    },
    "204": {"description": "The position is the terminal event's: there is nothing left."},
    "400": {"description": "The position or a parameter is malformed."},
    "404": {"description": "There is no such execution here, or it is of another kind."},
    "503": {"description": "The server is shutting down; resume at another."},
}
