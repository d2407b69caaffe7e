"""Errors as RFC 9457 problem documents.

The law of this file: every error answer has the same shape and a stable `code`; what a person
can do about it is in `hint`. A stack trace never leaves the server.
"""

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tailrace.errors import InvalidRequest, MethodNotAllowed, RouteNotFound, TailraceError

_logger = logging.getLogger("tailrace.http")
RETRY_AFTER_S = 1
SENT_AS = "Send an object with `Content-Type: application/json`; curl does with --json."
CODE = "tailrace.code"  # in the ASGI scope of a request that was answered with an error


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    hint: str | None = None


# What every route may answer with, for its description.
ANSWERS: dict[int | str, dict[str, Any]] = {
    "default": {"model": Problem, "description": "An error."}
}


class _ProblemResponse(JSONResponse):
    media_type = "application/problem+json"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[CODE] = self.code
        await super().__call__(scope, receive, send)

    def __init__(self, body: dict[str, Any], status_code: int, headers: Any = None) -> None:
        self.code = body["code"]
        super().__init__(body, status_code, headers)


def problem(
    error: TailraceError, headers: Mapping[str, str] | None = None, status: int | None = None
) -> Response:
    """Write an error down; it may have headers and a status of its own."""
    status = status or error.status
    body: dict[str, Any] = {
        "type": f"urn:tailrace:error:{error.code}",
        "title": type(error).__name__,
        "status": status,
        "code": error.code,
        "detail": error.message,
        "retryable": error.retryable,
    }
    if error.hint:
        body["hint"] = error.hint
    for name in ("problems", "expected", "attempt"):
        if name in error.details:
            body[name] = error.details[name]
    wait_s = error.details.get("retry_after_s", RETRY_AFTER_S)
    retry = {"Retry-After": str(wait_s)} if error.retryable else {}
    return _ProblemResponse(body, status_code=status, headers={**retry, **(headers or {})})


def _known(_: Request, error: Exception) -> Response:
    assert isinstance(error, TailraceError)
    return problem(error)


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [
        {"at": ".".join(str(part) for part in found["loc"]), "message": found["msg"]}
        for found in error.errors()
    ]
    message, hint = _first(error.errors()[0], problems[0])
    return problem(InvalidRequest(message, hint=hint, problems=problems))


def _first(found: Mapping[str, Any], said: Mapping[str, str]) -> tuple[str, str | None]:
    """What the first problem is, and what to do about it; of a body, as who sends one sees it."""
    if found["type"] == "json_invalid":
        return (
            f"The body is not JSON: {found['ctx']['error']}, at character {found['loc'][-1]}",
            None,
        )
    if tuple(found["loc"]) == ("body",):
        return "The body is no JSON object, or is not sent as one", SENT_AS
    return f"{said['at']}: {said['message']}", None


def http_problem(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no route, wrong method."""
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.url.path}"
    if error.status_code == 404:
        return problem(RouteNotFound(f"There is no {asked} here"), error.headers)
    if error.status_code == 405:
        return problem(
            MethodNotAllowed(f"There is no {asked}: the path has another method"), error.headers
        )
    known = InvalidRequest if error.status_code < 500 else TailraceError
    return problem(known(f"{asked}: {error.detail}"), error.headers, error.status_code)


def _unknown(_: Request, error: Exception) -> Response:
    _logger.error("unexpected error", exc_info=error)
    return problem(TailraceError("The server failed; its log says why"))


def install(app: FastAPI) -> None:
    """Make all errors of an app problem documents."""
    app.add_exception_handler(TailraceError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(Exception, _unknown)
