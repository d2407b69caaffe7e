"""What the doctor concludes from what came: pure, on made-up observations."""

from collections.abc import Sequence
from typing import Any

import pytest

from tailrace.client import silence, verdicts
from tailrace.client.observations import Frame, Pace, Seen
from tailrace.client.verdicts import POSITION, Finding

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
}
OPENING: dict[str, Any] = {
    "version": "0.1.0",
    "http_version": "1.1",
    "scheme": "https",
    "heartbeat_s": 15.0,
    "request": {"last-event-id": POSITION, "accept": True},
}
URL = "http://server"


def probe(
    sent: Sequence[float] = (0, 100, 200, 300, 400, 500, 500),
    came: Sequence[float] | None = None,
    *,
    end: bool = True,
    reason: str = "done",
    heartbeats: int = 0,
    **seen: Any,
) -> Seen:
    """A probe whose frames were sent and came at these times; by default 40 ms later."""
    arrivals = came if came is not None else [moment + 40 for moment in sent]
    names = ["probe.open", *["probe.tick"] * (len(sent) - 2), "probe.end" if end else "probe.tick"]
    frames = [
        Frame(name, {"elapsed_ms": at}, when)
        for name, at, when in zip(names, sent, arrivals, strict=True)
    ]
    frames[0] = Frame("probe.open", OPENING | {"elapsed_ms": sent[0]} | seen.pop("opening", {}), arrivals[0])  # fmt: skip
    if end:
        said = {"elapsed_ms": sent[-1], "reason": reason, "heartbeats": heartbeats}
        frames[-1] = Frame("probe.end", said, arrivals[-1])
    given: dict[str, Any] = {
        "status": 200,
        "headers": HEADERS,
        "frames": frames,
        "body": b"event: probe.open\n",
    }
    return Seen(**given | {"last_ms": arrivals[-1], "ended_ms": arrivals[-1]} | seen)


def judged(finding: Finding | None) -> tuple[str, str]:
    assert finding is not None
    assert finding.measured
    assert finding.level == "ok" or finding.advice, (
        "whoever is told of a problem is told what to do"
    )
    return finding.code, finding.level


# --- reach ------------------------------------------------------------------------------------


def test_a_tailrace_is_recognised() -> None:
    finding = verdicts.reach(probe(), URL)
    assert judged(finding) == ("reach", "ok")
    assert "Tailrace 0.1.0 answered after 40 ms" in finding.measured
    assert "HTTP/1.1 and https" in finding.measured


@pytest.mark.parametrize(
    ("seen", "measured", "advice"),
    [
        (Seen(error="refused"), "http://server does not answer: refused", "Check the address"),
        (Seen(200, {"content-type": "text/html"}, body=b"<p>"), "text/html", "the base URL"),
        (Seen(200, HEADERS, body=b": hi\n\n"), "text/event-stream, but with no probe", "base URL"),
        (Seen(404), "answered 404 with no content type", "Give the base URL"),
        (Seen(502), "answered 502", "cannot reach the server behind it"),
        (Seen(524), "answered 524", "cannot reach the server behind it"),
        (Seen(403), "answered 403", "asks for credentials"),
        (Seen(302, {"location": "/login"}), "answered 302", "try /login"),
        (
            Seen(404, body=b'{"type": "urn:tailrace:error:x", "code": "route_not_found"}'),
            "has no probe under http://server",
            "upgrade",
        ),
        (
            Seen(503, body=b'{"type": "urn:tailrace:error:x", "code": "overloaded"}'),
            "refused the probe: overloaded",
            "again",
        ),
        (Seen(503, body=b'{"type": "about:blank", "code": "no"}'), "answered 503", "behind it"),
        (Seen(200, body=b"[1]", error="too long"), "answered 200", "base URL"),
    ],
)
def test_what_is_no_tailrace_is_named(seen: Seen, measured: str, advice: str) -> None:
    finding = verdicts.reach(seen, URL)
    assert judged(finding) == ("reach", "problem")
    assert measured in finding.measured
    assert advice in str(finding.advice)


# --- headers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "measured"),
    [
        ({"content-type": "text/plain"}, "content-type is text/plain"),
        ({"content-type": ""}, "content-type is missing"),
        ({"content-type": "text/event-stream"}, "lost its charset"),
        ({"cache-control": "no-cache"}, "without no-transform"),
        ({"cache-control": "max-age=60"}, "without no-cache and no-transform"),
        ({"cache-control": ""}, "cache-control is missing"),
    ],
)
def test_changed_response_headers_are_problems(changed: dict[str, str], measured: str) -> None:
    finding = verdicts.response_headers(probe(headers=HEADERS | changed))
    assert judged(finding) == ("response_headers", "problem")
    assert measured in finding.measured


def test_headers_in_another_spelling_are_fine() -> None:
    spelt = {
        "content-type": "text/event-stream;charset=UTF-8",
        "cache-control": "No-Transform, no-cache, private",
    }
    assert judged(verdicts.response_headers(probe(headers=spelt)))[1] == "ok"
    assert judged(verdicts.response_headers(probe()))[1] == "ok"


@pytest.mark.parametrize(
    ("came", "level", "measured"),
    [
        ({"last-event-id": POSITION, "accept": True}, "ok", "arrived"),
        ({"last-event-id": POSITION, "accept": False}, "note", "NDJSON"),
        ({"last-event-id": None, "accept": True}, "problem", "did not arrive"),
        ({"last-event-id": "7", "accept": True}, "problem", "arrived as '7'"),
        ({}, "problem", "did not arrive"),
    ],
)
def test_dropped_request_headers(came: dict[str, Any], level: str, measured: str) -> None:
    finding = verdicts.request_headers(probe(opening={"request": came}))
    assert judged(finding) == ("request_headers", level)
    assert measured in finding.measured


def test_http_1_0_to_the_server_is_a_note_and_else_nothing_is_said() -> None:
    assert verdicts.upstream(probe()) is None
    old = probe(opening={"http_version": "1.0"})
    assert judged(verdicts.upstream(old)) == ("upstream", "note")


# --- pace -------------------------------------------------------------------------------------

SENT = tuple(range(0, 2001, 250))  # nine frames


@pytest.mark.parametrize(
    ("came", "level"),
    [
        ([at + 5 for at in SENT], "ok"),  # a fast way
        ([at + 2000 for at in SENT], "ok"),  # a slow way holds nothing back
        ([at + 40 + 60 * (at % 500 > 0) for at in SENT], "ok"),  # jitter
        ([2005] * 9, "problem"),  # all at the end
        ([755, 755, 755, 755, 1505, 1505, 1505, 2005, 2005], "problem"),  # in clumps
        ([5, *[2005] * 8], "problem"),  # the head at once, the rest at the end
        ([at + 5 for at in SENT[:4]] + [1505, 1505, 1505, 1755, 2005], "note"),  # one pause
    ],
)
def test_a_buffer_is_told_from_a_slow_way(came: list[float], level: str) -> None:
    assert judged(verdicts.buffering(probe(SENT, came))) == ("buffering", level)


def test_the_measure_is_against_the_servers_own_times() -> None:
    pace = Pace.of(probe(SENT, [2005] * 9).frames)
    assert (pace.frames, pace.arrivals, pace.sent_ms, pace.came_ms) == (9, 1, 2000, 0)
    assert pace.held_ms == 2000
    # A server that paused itself is not the way's fault.
    paused = (0, 250, 1500, 1750, 2000)
    assert Pace.of(probe(paused, [at + 9 for at in paused]).frames).held_ms == 0


def test_too_few_frames_to_judge_are_a_problem() -> None:
    finding = verdicts.buffering(probe((0, 100), end=False, error="ReadError"))
    assert judged(finding) == ("buffering", "problem")
    assert "ReadError" in finding.measured


@pytest.mark.parametrize(
    ("seen", "measured"),
    [
        (probe(end=False, error="peer closed"), "peer closed"),
        (probe(end=False), "as if it were whole"),
        (probe(reason="shutdown"), "the server shut down"),
        (probe(error="incomplete chunk"), "incomplete chunk"),
    ],
)
def test_a_stream_that_breaks_off_is_a_problem(seen: Seen, measured: str) -> None:
    finding = verdicts.complete(seen)
    assert judged(finding) == ("complete", "problem")
    assert measured in finding.measured
    assert judged(verdicts.complete(probe())) == ("complete", "ok")


# --- compression, ending, connections ---------------------------------------------------------


def test_compression_is_seen_in_the_header_or_in_the_bytes() -> None:
    assert judged(verdicts.compression(probe())) == ("compression", "ok")
    named = verdicts.compression(probe(headers=HEADERS | {"content-encoding": "br"}, frames=[]))
    assert judged(named) == ("compression", "problem")
    assert "(br)" in named.measured
    assert judged(verdicts.compression(probe(body=b"\x1f\x8b\x08")))[1] == "problem"
    identity = HEADERS | {"content-encoding": "identity"}
    assert judged(verdicts.compression(probe(headers=identity)))[1] == "ok"


def test_a_compressor_that_holds_frames_back_is_measured() -> None:
    packed = probe(SENT, [2005] * 9, headers=HEADERS | {"content-encoding": "gzip"})
    assert "9 frames that were sent over 2000 ms" in verdicts.compression(packed).measured
    assert "in one piece" in verdicts.compression(packed).measured


def test_no_answer_where_compression_is_offered_is_a_problem() -> None:
    assert judged(verdicts.compression(Seen(error="cut")))[1] == "problem"
    assert judged(verdicts.compression(Seen(406)))[1] == "problem"


@pytest.mark.parametrize(
    ("seen", "level"),
    [
        (Seen(204), "ok"),
        (Seen(204, body=b"<html>"), "problem"),
        (Seen(200), "problem"),
        (Seen(error="refused"), "problem"),
    ],
)
def test_204_must_arrive(seen: Seen, level: str) -> None:
    assert judged(verdicts.ending(seen)) == ("ending", level)


def test_http2_is_good_and_its_absence_a_note() -> None:
    assert judged(verdicts.multiplexing("https", "h2")) == ("multiplexing", "ok")
    for scheme, agreed in (("https", "http/1.1"), ("https", None), ("http", None)):
        finding = verdicts.multiplexing(scheme, agreed)
        assert judged(finding) == ("multiplexing", "note")
        assert ("TLS is not used" in finding.measured) == (scheme == "http")


# --- silence ----------------------------------------------------------------------------------

WHOLE = probe((0, 0, 20_000))
AWAKE = probe((0, 0, 20_000), heartbeats=1, body=b"x" + silence.HEARTBEAT)
CUT = probe((0, 0), end=False, last_ms=10.0, ended_ms=1010.0)


def test_silence_that_passes_is_fine() -> None:
    awake, silent = silence.idle(AWAKE, WHOLE, 20, 15)
    assert judged(awake) == ("idle", "ok")
    assert "1 of 1 heartbeats" in awake.measured
    assert judged(silent) == ("idle_without_heartbeats", "ok")


def test_a_cut_that_heartbeats_prevent_is_a_note_and_one_that_they_do_not_a_problem() -> None:
    awake, silent = silence.idle(AWAKE, CUT, 20, 15)
    assert (judged(awake)[1], judged(silent)[1]) == ("ok", "note")
    assert "Cut after 1.0 s" in silent.measured
    awake, _ = silence.idle(CUT, CUT, 20, 15)
    assert judged(awake) == ("idle", "problem")
    assert "silent for up to 15 s" in str(awake.advice)


def test_removed_heartbeats_are_a_note() -> None:
    filtered, _ = silence.idle(probe((0, 0, 20_000), heartbeats=1), WHOLE, 20, 15)
    assert judged(filtered) == ("idle", "note")
    assert "0 of 1" in filtered.measured
    assert "?heartbeat=event" in str(filtered.advice)


def test_what_was_not_measured_is_not_called_a_cut() -> None:
    stopped = probe((0, 0, 500), reason="shutdown")
    for finding in silence.idle(stopped, Seen(error="refused"), 20, 15):
        assert finding.measured.startswith("Not measured")
        assert "again" in str(finding.advice)
