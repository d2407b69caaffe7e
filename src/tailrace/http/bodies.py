"""What a request may look like before anybody reads it: its URL, its headers, its JSON.

The law of this file: what passes here harms no parser behind it, and means the same to each: no
nesting that recurses too deep, no number that some read as infinity, no text that is none.
"""

import math
import re
from typing import Any

from pydantic_core import from_json
from starlette.types import Scope

from tailrace.errors import HeadersTooLarge, InvalidRequest, TailraceError, UrlTooLong
from tailrace.settings import Settings

JSON_DEPTH_MAX = 64
NUMBER_MAX_CHARS = 64
INTEGERS = range(-(2**63), 2**64)  # what 64 bits hold, with or without a sign
# Linear, whatever comes: no step back (`*+`), and a string that does not end is one, too.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_SAME = bytes.maketrans(b"{}", b"[]")
# Only these can be out of range; most bodies have none.
_ODD = re.compile(rb"[-+0-9.]++[eE][-+0-9.eE]*+|[-+0-9.]{17,}+|NaN|Infinity")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def head_refusal(scope: Scope, settings: Settings) -> TailraceError | None:
    """Why a request's head is refused, if it is."""
    url = len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"])
    if url > settings.url_max_bytes:
        return UrlTooLong(f"A URL has at most {settings.url_max_bytes} bytes")
    size = sum([len(name) + len(value) for name, value in scope["headers"]])
    if size > settings.headers_max_bytes:
        return HeadersTooLarge(f"Headers have at most {settings.headers_max_bytes} bytes")
    return None


def json_body(body: bytes) -> Any:
    """Read a body as JSON. Raises InvalidRequest."""
    require_json(body)
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidRequest(f"The body is not JSON: {error}") from None


def require_json(body: bytes) -> None:
    """Raise InvalidRequest for a body that no parser should meet: JSON, or lines of JSON."""
    if b"\0" in body:
        raise InvalidRequest("The body is not JSON in UTF-8")
    try:
        body.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The body is not JSON in UTF-8") from None
    bare = _STRING.sub(b"", body)
    if _deep(bare):
        raise InvalidRequest(f"The body is nested deeper than {JSON_DEPTH_MAX}")
    for odd in _ODD.finditer(bare):
        _require_number(odd[0])
    if _SURROGATE.search(body):
        _require_text(body)


def _deep(bare: bytes) -> bool:
    """Whether brackets nest too deep. Each turn takes the innermost away."""
    brackets = bare.translate(_SAME, _BRACKETS)
    for _ in range(JSON_DEPTH_MAX):
        inner = brackets.replace(b"[]", b"")
        if len(inner) == len(brackets):
            break
        brackets = inner
    # What is left was never closed (a parser refuses that, and recurses first), or is too deep.
    return brackets.count(b"[") > JSON_DEPTH_MAX or b"[]" in brackets


def _require_number(odd: bytes) -> None:
    try:
        if len(odd) > NUMBER_MAX_CHARS:
            raise ValueError(odd)
        fits = int(odd) in INTEGERS if odd.lstrip(b"-").isdigit() else math.isfinite(float(odd))
    except ValueError:
        fits = False
    if not fits:
        shown = odd[:20].decode() + ("…" if len(odd) > 20 else "")
        raise InvalidRequest(f"{shown} is not a number that 64 bits hold")


def _require_text(body: bytes) -> None:
    """Half of a surrogate pair is no character: what has one cannot be written as UTF-8."""
    for string in _STRING.finditer(body):
        if _SURROGATE.search(string[0]):
            try:
                from_json(string[0])
            except ValueError as error:
                raise InvalidRequest(f"The body has text that is none: {error}") from None
