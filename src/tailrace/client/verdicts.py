"""What probes say about the way to a server: observations in, findings out.

The law of this file: pure. A finding says what was measured, with numbers, and what to do about
it; it never says more than was seen. Its `code` names the check and never changes.

The server's own times are the yardstick: a frame that was sent at 500 ms and came 1,500 ms after
the first was held on the way for a second, however slow the way is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from tailrace import sse

Level = Literal["ok", "note", "problem"]
DOCUMENT = "docs/proxies.md"
POSITION = "7@doctor"  # the Last-Event-ID that is sent, to see whether it arrives
HEARTBEAT = sse.comment("heartbeat")
_CLUMP_SHARE = 0.2  # of the time between two ticks: frames that come closer came together
_AGAIN = "Mend what was found above, then run it again."
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found."""

    code: str
    level: Level
    measured: str
    advice: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As one JSON object."""
        return {
            "code": self.code,
            "level": self.level,
            "measured": self.measured,
            "advice": self.advice,
        }


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a probe: when the server sent it, by its clock, and when it came, by ours."""

    event: str
    data: Mapping[str, Any]
    at_ms: float

    @property
    def sent_ms(self) -> float:
        """Milliseconds since the probe began."""
        sent = self.data.get("elapsed_ms")
        return float(sent) if isinstance(sent, int | float) else 0.0


@dataclass(slots=True)
class Seen:
    """What came of one request. Times are milliseconds since it was sent."""

    status: int = 0  # 0: no answer
    headers: Mapping[str, str] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    body: bytes = b""
    last_ms: float = 0.0  # when the last bytes came
    ended_ms: float = 0.0  # when the answer ended, however it did
    error: str | None = None  # why it broke off; None: the connection closed in good order

    @property
    def opening(self) -> Mapping[str, Any] | None:
        """What the server said at the beginning of the probe."""
        frame = self.frames[0] if self.frames else None
        return frame.data if frame and frame.event == "probe.open" and frame.data else None

    @property
    def end(self) -> Mapping[str, Any] | None:
        """What it said at its end."""
        frame = self.frames[-1] if self.frames else None
        return frame.data if frame and frame.event == "probe.end" else None

    @property
    def encoding(self) -> str | None:
        """How the bytes are compressed, by the header or by what they are."""
        named = self.headers.get("content-encoding", "identity")
        if named != "identity":
            return named
        return "gzip" if self.body.startswith(_GZIP) else None

    def how_it_broke(self) -> str:
        """Why there is no end, in words."""
        if self.end and self.end.get("reason") == "shutdown":
            return "the server shut down meanwhile"
        return self.error or "the answer ended early, as if it were whole"


def reach(seen: Seen, url: str) -> Finding:
    """Whether something answers, and is a Tailrace."""
    code, opening = "reach", seen.opening
    if opening is not None:
        ways = f"HTTP/{opening.get('http_version')} and {opening.get('scheme')}"
        came = f"Tailrace {opening.get('version')} answered after {seen.frames[0].at_ms:.0f} ms"
        return Finding(code, "ok", f"{came}; the last step to it is {ways}")
    if not seen.status:
        advice = "Check the address, and that `tailrace serve` runs there."
        return Finding(code, "problem", f"{url} does not answer: {seen.error}", advice)
    problem = _problem(seen.body)
    if problem == "route_not_found":
        said = f"A Tailrace answers, but has no probe under {url}"
        advice = "Leave away what does not belong to the prefix; or the server is too old: upgrade."
        return Finding(code, "problem", said, advice)
    if problem is not None:
        return Finding(code, "problem", f"The server refused the probe: {problem}", "Try again.")
    return Finding(code, "problem", f"{url} {_answered(seen)}", _who_answered(seen))


def _is_stream(seen: Seen) -> bool:
    return seen.headers.get("content-type", "").startswith(sse.MEDIA_TYPE)


def _problem(body: bytes) -> str | None:
    """The code of a problem document of ours."""
    try:
        document = json.loads(body)
    except ValueError:
        return None
    ours = isinstance(document, dict) and "urn:tailrace:" in str(document.get("type"))
    return str(document.get("code")) if ours else None


def _answered(seen: Seen) -> str:
    kind = seen.headers.get("content-type", "").partition(";")[0] or "no content type"
    if seen.status == 200:
        broke = f" and {seen.error}" if seen.error else ""
        return f"answered 200 with {kind}{broke}, but with no probe: it is not a Tailrace"
    return f"answered {seen.status} with {kind}: it is not a Tailrace, or something stands before"


def _who_answered(seen: Seen) -> str:
    if seen.status in (502, 503, 504) or 520 <= seen.status <= 530:
        return "A proxy answers, but cannot reach the server behind it: check its upstream address."
    if seen.status in (401, 403, 407):
        return "Something asks for credentials: let /api/v1/probe through, or test from behind it."
    if 300 <= seen.status < 400:
        return f"It leads elsewhere: try {seen.headers.get('location', 'where it leads')}."
    return "Give the base URL: what stands before /api/v1, with the prefix it is mounted under."


def response_headers(seen: Seen) -> Finding:
    """Whether the headers arrive that keep streams whole."""
    code, wrong = "response_headers", []
    kind = seen.headers.get("content-type", "")
    if not _is_stream(seen):
        wrong.append(f"content-type is {kind or 'missing'}: a browser refuses the stream")
    elif "charset=utf-8" not in kind.lower():
        wrong.append("content-type lost its charset: some clients then take it for Latin-1")
    control = seen.headers.get("cache-control", "")
    lost = [word for word in ("no-cache", "no-transform") if word not in control.lower()]
    if lost:
        wrong.append(f"cache-control is {control or 'missing'}, without {' and '.join(lost)}")
    if not wrong:
        return Finding(code, "ok", f"content-type is {kind}; cache-control is {control}")
    advice = (
        "nginx: no `proxy_hide_header`, `expires` or `add_header Cache-Control` here. Cloudflare: "
        "Browser Cache TTL on `Respect Existing Headers`."
    )
    return Finding(code, "problem", "; ".join(wrong), advice)


def request_headers(seen: Seen) -> Finding:
    """Whether the headers arrive by which a client resumes and chooses."""
    code, came = "request_headers", (seen.opening or {}).get("request") or {}
    position = came.get("last-event-id")
    if position != POSITION:
        what = "did not arrive" if position is None else f"arrived as {position!r}"
        said = f"Last-Event-ID: {POSITION} {what}: a client that reconnects begins anew"
        advice = (
            'nginx: remove `proxy_set_header Last-Event-ID ""` and `proxy_pass_request_headers '
            "off`. A CDN: put Last-Event-ID on the list of forwarded headers."
        )
        return Finding(code, "problem", said, advice)
    if not came.get("accept"):
        said = "Last-Event-ID arrived, Accept did not: clients cannot ask for NDJSON"
        return Finding(code, "note", said, "Let the proxy pass Accept on.")
    return Finding(code, "ok", f"Last-Event-ID: {POSITION} and Accept arrived")


def upstream(seen: Seen) -> Finding | None:
    """Whether a proxy speaks HTTP/1.0 to the server; nothing is said where none does."""
    if (seen.opening or {}).get("http_version") != "1.0":
        return None
    said = (
        "A proxy speaks HTTP/1.0 to the server, which knows no chunks: where that is honoured, a "
        "proxy fills whole buffers, and a break looks like an end"
    )
    advice = 'nginx: `proxy_http_version 1.1; proxy_set_header Connection "";`'
    return Finding("upstream", "note", said, advice)


@dataclass(frozen=True, slots=True)
class Pace:
    """How the frames of a probe came, measured by when they were sent."""

    frames: int
    arrivals: int  # frames that come close together arrive once
    sent_ms: float
    came_ms: float
    held_ms: float  # the longest that one was held back, against the one that was held least

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> "Pace":
        """Measure at least one frame."""
        sent = frames[-1].sent_ms - frames[0].sent_ms
        together = sent / len(frames) * _CLUMP_SHARE
        late = [frame.at_ms - frame.sent_ms for frame in frames]
        return cls(
            frames=len(frames),
            arrivals=1 + sum(b.at_ms - a.at_ms > together for a, b in pairwise(frames)),
            sent_ms=sent,
            came_ms=frames[-1].at_ms - frames[0].at_ms,
            held_ms=max(late) - min(late),
        )

    @property
    def uneven(self) -> bool:
        """Whether some frame came well after its time."""
        return self.held_ms > 1.5 * self.sent_ms / self.frames

    @property
    def clumped(self) -> bool:
        """Whether frames were collected. A client that paused has late frames, but not all over."""
        return self.uneven and self.arrivals <= self.frames / 2

    def __str__(self) -> str:
        pieces = "one piece" if self.arrivals == 1 else f"{self.arrivals} pieces"
        return (
            f"{self.frames} frames that were sent over {self.sent_ms:.0f} ms came over "
            f"{self.came_ms:.0f} ms, in {pieces}; the longest held back {self.held_ms:.0f} ms"
        )


def buffering(seen: Seen) -> Finding:
    """Whether each frame comes when it was sent."""
    code = "buffering"
    if len(seen.frames) < 3:
        said = f"Only {len(seen.frames)} frames came: {seen.how_it_broke()}"
        return Finding(code, "problem", said, "Look at the proxy's error log.")
    pace = Pace.of(seen.frames)
    said = f"The first frame came after {seen.frames[0].at_ms:.0f} ms; {pace}"
    if pace.clumped:
        advice = (
            "Something collects the stream before it passes it on. nginx: `proxy_buffering off;` "
            "on each of them, if there are several. Caddy: no `response_buffers`. Cloudflare: a Cache "
            "Rule `Bypass cache`, and a named tunnel instead of a quick one."
        )
        return Finding(code, "problem", said, advice)
    if pace.uneven:
        return Finding(code, "note", said, "The way is uneven, or this machine busy: run it again.")
    return Finding(code, "ok", said)


def complete(seen: Seen) -> Finding:
    """Whether a stream comes to its own end."""
    code = "complete"
    if seen.end is not None and seen.end.get("reason") == "done" and seen.error is None:
        took = f"{len(seen.frames)} frames, {len(seen.body)} bytes, {seen.ended_ms:.0f} ms"
        return Finding(code, "ok", f"The stream came to its end: {took}")
    said = f"The stream broke off after {seen.ended_ms:.0f} ms: {seen.how_it_broke()}"
    advice = (
        "Clients resume, but each break costs a reconnect: look at the proxy's error log, and for a "
        "limit on the time or size of a response."
    )
    return Finding(code, "problem", said, advice)


def compression(seen: Seen) -> Finding:
    """Whether the bytes come as they are, also to a client that could unpack them."""
    code = "compression"
    if seen.opening is None and seen.encoding is None:
        said = f"With compression offered, no probe came: {seen.error or seen.status}"
        return Finding(code, "problem", said, "Look at the proxy's error log.")
    if seen.encoding is None:
        return Finding(code, "ok", "gzip, deflate and br were offered, and not used")
    said = f"The stream came compressed ({seen.encoding}), against no-transform"
    if seen.frames:
        said = f"{said}. {Pace.of(seen.frames)}"
    advice = (
        "A compressor holds small frames back and keeps memory for every stream. nginx: `gzip off;` "
        "here, or no text/event-stream (and no `*`) in gzip_types. Caddy: keep `encode` off this "
        "route. In the app: no compressing middleware around it."
    )
    return Finding(code, "problem", said, advice)


def ending(seen: Seen) -> Finding:
    """Whether 204 arrives, by which an EventSource knows that nothing is left."""
    code = "ending"
    if seen.status == 204 and not seen.body:
        return Finding(code, "ok", "204 arrived, so browsers stop at the end of a stream")
    got = f"{seen.status} with {len(seen.body)} bytes" if seen.status else str(seen.error)
    said = f"Instead of 204 came {got}: browsers will reconnect to finished streams for ever"
    return Finding(code, "problem", said, "Let the proxy pass 204 on: no error page, no rewriting.")


def idle(with_heartbeats: Seen, without: Seen, seconds: float, heartbeat_s: float) -> list[Finding]:
    """Whether silence gets a connection cut: with the heartbeats of a real stream, and without.

    `heartbeat_s`: how often this server's streams fill silence.
    """
    return [
        _kept_awake(with_heartbeats, seconds, heartbeat_s),
        _bare(without, seconds, heartbeat_s),
    ]


def _survived(seen: Seen) -> bool:
    return seen.end is not None and seen.end.get("reason") == "done"


def _unmeasured(seen: Seen) -> str | None:
    """Why nothing can be said about silence, if nothing can."""
    if not seen.frames:
        return f"Not measured, for the stream did not begin: {seen.error or seen.status}"
    return None if seen.end is None else f"Not measured: {seen.how_it_broke()}"


def _cut(seen: Seen) -> str:
    return f"Cut after {(seen.ended_ms - seen.last_ms) / 1000:.1f} s of silence"


def _kept_awake(seen: Seen, seconds: float, heartbeat_s: float) -> Finding:
    code = "idle"
    if not _survived(seen):
        if why := _unmeasured(seen):
            return Finding(code, "problem", why, _AGAIN)
        advice = (
            f"This server's streams are silent for up to {heartbeat_s:g} s. nginx: "
            "`proxy_read_timeout 1h;`. A load balancer: its idle timeout. Else let the server speak more often: `tailrace serve --heartbeat-s 5`."
        )
        return Finding(code, "problem", f"{_cut(seen)}, with heartbeats", advice)
    sent = int((seen.end or {}).get("heartbeats", 0))
    came = seen.body.count(HEARTBEAT)
    said = f"{seconds:g} s without events passed; {came} of {sent} heartbeats came"
    if came < sent:
        advice = "Something removes comments: ask for events instead, with `?heartbeat=event`."
        return Finding(code, "note", said, advice)
    return Finding(code, "ok", said)


def _bare(seen: Seen, seconds: float, heartbeat_s: float) -> Finding:
    code = "idle_without_heartbeats"
    if _survived(seen):
        return Finding(code, "ok", f"{seconds:g} s of complete silence passed")
    if why := _unmeasured(seen):
        return Finding(code, "note", why, _AGAIN)
    advice = (
        f"Heartbeats are what keeps streams alive here: keep them on, and more frequent than that "
        f"(this server's: every {heartbeat_s:g} s)."
    )
    return Finding(code, "note", f"{_cut(seen)}, without heartbeats", advice)


def multiplexing(scheme: str, agreed: str | None) -> Finding:
    """Whether a browser can have many streams at once; `agreed` is what TLS settled on."""
    code = "multiplexing"
    if agreed == "h2":
        return Finding(code, "ok", "HTTP/2 is offered: a browser's streams share one connection")
    tls = "TLS is not used, and browsers speak HTTP/2 only over it" if scheme == "http" else ""
    said = (
        f"{tls or 'HTTP/2 is not offered'}: a browser opens at most six HTTP/1.1 connections to a "
        "host, so a seventh stream, or request, waits"
    )
    return Finding(
        code, "note", said, "nginx: `listen 443 ssl http2;`. Caddy offers it by itself with TLS."
    )
