"""Errors as RFC 9457 problem documents.

The law of this file: every error answer has the same shape and a stable `code`; what a person
can do about it is in `hint`. A stack trace never leaves the server.
"""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from tailrace.errors import InvalidRequest, TailraceError

_logger = logging.getLogger("tailrace.http")
RETRY_AFTER_S = 1
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


def problem(error: TailraceError) -> Response:
    """Write an error down."""
    body: dict[str, Any] = {
        "type": f"urn:tailrace:error:{error.code}",
        "title": type(error).__name__,
        "status": error.status,
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
    headers = {"Retry-After": str(wait_s)} if error.retryable else None
    return _ProblemResponse(body, status_code=error.status, headers=headers)


def _known(_: Request, error: Exception) -> Response:
    assert isinstance(error, TailraceError)
    return problem(error)


def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [
        {"at": ".".join(str(part) for part in found["loc"]), "message": found["msg"]}
        for found in error.errors()
    ]
    first = problems[0]
    return problem(InvalidRequest(f"{first['at']}: {first['message']}", problems=problems))


def http_problem(request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no route, wrong method."""
    assert isinstance(error, HTTPException)
    code = {404: "route_not_found", 405: "method_not_allowed"}.get(error.status_code, "http")
    body = {
        "type": f"urn:tailrace:error:{code}",
        "title": str(error.detail),
        "status": error.status_code,
        "code": code,
        "detail": f"{request.method} {request.url.path}: {error.detail}",
        "retryable": False,
        "hint": "GET /openapi.json lists every route.",
    }
    return _ProblemResponse(body, status_code=error.status_code, headers=error.headers)


def _unknown(_: Request, error: Exception) -> Response:
    _logger.error("unexpected error", exc_info=error)
    return problem(TailraceError("The server failed; its log says why"))


def install(app: FastAPI) -> None:
    """Make all errors of an app problem documents."""
    app.add_exception_handler(TailraceError, _known)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, http_problem)
    app.add_exception_handler(Exception, _unknown)
