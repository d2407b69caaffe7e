"""What no parser should meet: linear in the body's size, and right about every JSON."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.errors import HeadersTooLarge, InvalidRequest, UrlTooLong
from tailrace.http.bodies import JSON_DEPTH_MAX, head_refusal, json_body, require_json
from tailrace.settings import Settings

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner)),
    max_leaves=20,
)


@given(value=JSON, escaped=st.booleans())
def test_every_json_that_is_not_too_much_passes_and_means_the_same(
    value: Any, escaped: bool
) -> None:
    body = json.dumps(value, ensure_ascii=escaped).encode()
    assert json_body(body) == value


def test_nesting_has_an_end() -> None:
    require_json(b"[" * JSON_DEPTH_MAX + b"]" * JSON_DEPTH_MAX)
    require_json(b"[" + b"[],{}," * 1000 + b"0]")
    for deep in (JSON_DEPTH_MAX + 1, JSON_DEPTH_MAX + 2, 100_000):
        for body in (b"[" * deep + b"]" * deep, b'{"a":' * deep + b"1" + b"}" * deep, b"[" * deep):
            with pytest.raises(InvalidRequest, match="nested deeper"):
                require_json(body)


def test_brackets_in_text_are_no_nesting() -> None:
    require_json(json.dumps({"log": '["\\"' * 1000}).encode())


@pytest.mark.parametrize(
    "number",
    [
        "1" + "0" * 400,
        "-1" + "0" * 400,
        str(2**64),
        str(-(2**63) - 1),
        "1e400",
        "-1E+999",
        "1" * 30 + "e300",
        "NaN",
        "Infinity",
        "-Infinity",
        "0." + "1" * 100,
        "9" * 1_000_000,
    ],
)
def test_what_64_bits_do_not_hold_is_refused(number: str) -> None:
    for body in (number, f'{{"deadline_ms":{number}}}', f'["NaN",1,{number},2]'):
        with pytest.raises(InvalidRequest, match="not a number"):
            require_json(body.encode())


@pytest.mark.parametrize(
    "number", [str(2**64 - 1), str(-(2**63)), "1e300", "0.1234567890123456789"]
)
def test_what_they_hold_passes(number: str) -> None:
    require_json(f'{{"a":[{number},true,false,null,"1e999"]}}'.encode())


@pytest.mark.parametrize("text", ["\\ud800", "x\\udc00y", "\\ud800\\ud800", "\\udfff\\ud800"])
def test_half_a_surrogate_is_no_text(text: str) -> None:
    with pytest.raises(InvalidRequest, match="text that is none"):
        require_json(f'{{"a":"{text}"}}'.encode())


def test_a_whole_pair_and_an_escaped_backslash_are_text() -> None:
    assert json_body(b'"\\ud83d\\ude00"') == "😀"
    assert json_body(b'"\\\\ud800"') == "\\ud800"


@pytest.mark.parametrize(
    "body", [b"\xff\xfe[\0]\0", b'"\xff"', "[]".encode("utf-16"), b'"\xed\xa0\x80"']
)
def test_only_utf_8(body: bytes) -> None:
    with pytest.raises(InvalidRequest, match="UTF-8"):
        require_json(body)


@pytest.mark.parametrize(
    "piece",
    [b'\\"', b'"', b"[]", b"1e1", b"e1", b"1.", b"-", b"[{", b"\\ud800", b'"\\ud83d\\ude00",'],
)
def test_the_worst_megabyte_is_checked_in_linear_time(piece: bytes) -> None:
    """A check whose time grows with the square of the size would meet the test's timeout."""
    body = piece * (1_048_576 // len(piece))
    for given_ in (body, b'"' + body):
        with contextlib.suppress(InvalidRequest):
            require_json(given_)


def test_heads_have_limits() -> None:
    settings = Settings(store="memory:", url_max_bytes=256, headers_max_bytes=1024)
    scope: dict[str, Any] = {"path": "/x", "raw_path": b"/x", "query_string": b"", "headers": []}
    assert head_refusal(scope, settings) is None
    assert isinstance(head_refusal(scope | {"query_string": b"q" * 255}, settings), UrlTooLong)
    headers = [(b"x", b"y" * 30)] * 40
    assert isinstance(head_refusal(scope | {"headers": headers}, settings), HeadersTooLarge)
