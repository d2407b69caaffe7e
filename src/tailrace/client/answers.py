"""What requests need and what answers mean, for both clients."""

from collections.abc import Callable
from typing import Any

import httpx

from tailrace.errors import (
    ConnectionLost,
    InvalidRequest,
    ProtocolError,
    TailraceError,
    from_code,
)
from tailrace.lifecycle import EXECUTION_ERRORS

Token = str | Callable[[], str] | None
# Reading waits for three heartbeats (3 × 15 s): a connection silent for longer is dead.
TIMEOUT = httpx.Timeout(10.0, read=45.0)


def server_url(text: str) -> httpx.URL:
    """Read the URL of a server. Raises InvalidRequest."""
    try:
        parsed = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise InvalidRequest(f"{text!r} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        hint = "For example http://127.0.0.1:8787, or https://example.org/live"
        raise InvalidRequest(f"{text!r} is not the URL of a server", hint=hint)
    return parsed


def said(error: Exception) -> str:
    """What an error says; some of httpx say nothing but their name."""
    return str(error) or type(error).__name__


def api_url(base: str, *parts: str) -> str:
    """The URL of a resource below a server's base URL."""
    return "/".join((base.rstrip("/"), "api/v1", *parts))


def bearer(token: Token) -> dict[str, str]:
    """The header that says who asks; no token, no header."""
    made = token() if callable(token) else token
    return {"Authorization": f"Bearer {made}"} if made else {}


def unreachable(url: str, error: Exception) -> ConnectionLost:
    """The error for a server that does not answer."""
    return ConnectionLost(
        f"{url} does not answer: {said(error)}", hint="Is `tailrace serve` running there?"
    )


def json_of(response: httpx.Response) -> Any:
    """The body of a good answer; raises the error of a bad one."""
    if response.status_code >= 400:
        raise problem_of(response)
    return _json(response)


def answer_of(response: httpx.Response) -> dict[str, Any]:
    """The body of a good answer that is an object; raises the error of a bad one."""
    body = json_of(response)
    if not isinstance(body, dict):
        raise ProtocolError(f"{response.url} did not answer with a JSON object")
    return body


def output_of(execution: dict[str, Any]) -> Any:
    """The output of an ended execution; raises the ExecutionError that says how it ended."""
    error = EXECUTION_ERRORS.get(str(execution["status"]))
    if error is not None:
        message = (execution.get("error") or {}).get("message")
        raise error(message, execution_id=execution["execution_id"])
    return execution["output"]


def problem_of(response: httpx.Response) -> TailraceError:
    """The error that a server's answer stands for."""
    body, status = _json(response), response.status_code
    if isinstance(body, dict) and isinstance(body.get("code"), str):
        told = from_code(body["code"], str(body.get("detail", "")), body.get("hint"))
    elif status in (429, 502, 503, 504):
        # A proxy's own answer while the server restarts: as good as no connection.
        told = ConnectionLost(f"Something on the way answered {status}")
    else:
        return ProtocolError(f"The server answered {status} without a problem document")
    wait = response.headers.get("retry-after", "")
    if wait.isascii() and wait.isdigit():
        told.details["retry_after_s"] = int(wait[:9])
    return told


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
