"""What pages of other sites may not do, and what no log may hold."""

import pytest
from starlette.datastructures import Headers

from tailrace.errors import CrossSite, InvalidSetting
from tailrace.http.access import without_secrets
from tailrace.http.origins import Origins, host_name, is_loopback, origins_of

APP = "https://app.example.org"


@pytest.mark.parametrize(
    ("headers", "sure", "passes"),
    [
        # With a cookie, the browser has to say that the page is ours.
        ({"sec-fetch-site": "same-origin"}, True, True),
        ({"sec-fetch-site": "none"}, True, True),
        ({"sec-fetch-site": "same-site"}, True, False),
        ({"sec-fetch-site": "cross-site"}, True, False),
        ({"sec-fetch-site": ""}, True, False),
        ({"origin": "http://here:80"}, True, True),
        ({"origin": "https://here:80"}, True, True),  # TLS may end at a proxy
        ({"origin": "http://here"}, True, False),
        ({"origin": "http://here.evil:80"}, True, False),
        ({"origin": "http://evil#here:80"}, True, False),
        ({"origin": "null"}, True, False),
        ({}, True, False),
        # The origin that the settings name, wherever the browser says it is.
        ({"origin": APP, "sec-fetch-site": "cross-site"}, True, True),
        ({"origin": f"{APP}.evil"}, True, False),
        ({"origin": APP.upper()}, True, False),
        # Both: what browsers say of the site counts.
        ({"origin": "http://here:80", "sec-fetch-site": "cross-site"}, True, False),
        # Without a cookie, what is no browser says nothing.
        ({}, False, True),
        ({"origin": "https://evil"}, False, False),
        ({"sec-fetch-site": "cross-site"}, False, False),
        ({"origin": "null"}, False, False),
    ],
)
def test_who_may_change_something(headers: dict[str, str], sure: bool, passes: bool) -> None:
    asked = Headers({"host": "here:80"} | headers)
    if passes:
        Origins(APP).check(asked, sure=sure)
    else:
        with pytest.raises(CrossSite):
            Origins(APP).check(asked, sure=sure)


def test_origins_are_exact_and_there_is_no_wildcard() -> None:
    assert origins_of("") == frozenset()
    assert origins_of(f"{APP}, http://localhost:5173") == {APP, "http://localhost:5173"}
    for wrong in ("*", "https://*.example.org/", f"{APP}/", "app.example.org", "null", "file://"):
        with pytest.raises(InvalidSetting):
            origins_of(wrong)


def test_only_a_named_origin_sees_answers() -> None:
    assert Origins("").headers(APP) == []
    assert Origins(APP).headers(None) == [(b"vary", b"Origin")]
    assert Origins(APP).headers("https://evil") == [(b"vary", b"Origin")]
    assert dict(Origins(APP).headers(APP))[b"access-control-allow-origin"] == APP.encode()


@pytest.mark.parametrize(
    ("host", "name", "local"),
    [
        ("127.0.0.1:8787", "127.0.0.1", True),
        ("127.9.9.9", "127.9.9.9", True),
        ("localhost", "localhost", True),
        ("[::1]:8787", "::1", True),
        ("evil.example:8787", "evil.example", False),
        ("127.0.0.1.evil.example", "127.0.0.1.evil.example", False),
        ("localhost.evil.example", "localhost.evil.example", False),
        ("0.0.0.0", "0.0.0.0", False),
        ("", "", False),
        ("[", "", False),
        ("user@127.0.0.1", "127.0.0.1", True),
    ],
)
def test_this_machine_and_no_other(host: str, name: str, local: bool) -> None:
    assert host_name(host) == name
    assert is_loopback(name) is local


@pytest.mark.parametrize(
    ("target", "logged"),
    [
        ("/stream?ticket=abc", "/stream?ticket=_"),
        ("/stream?after=3&ticket=abc&tail=2", "/stream?after=3&ticket=_&tail=2"),
        ("/stream?tick%65t=abc", "/stream?ticket=_"),
        ("/stream?ticket=a&ticket=b", "/stream?ticket=_&ticket=_"),
        ("/stream?ticket", "/stream?ticket=_"),
        ("/stream?after=3", "/stream?after=3"),
        ("/stream", "/stream"),
    ],
)
def test_no_log_has_a_ticket(target: str, logged: str) -> None:
    assert without_secrets(target) == logged
