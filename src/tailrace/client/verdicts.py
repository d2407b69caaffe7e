"""What probes say about the way to a server: observations in, findings out.

The law of this file: pure. A finding says what was measured, with numbers, and what to do about
it; it never says more than was seen. Its `code` names the check and never changes.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from tailrace import sse
from tailrace.client.observations import Pace, Seen

Level = Literal["ok", "note", "problem"]
DOCUMENT = "docs/proxies.md"
POSITION = "7@doctor"  # the Last-Event-ID that is sent, to see whether it arrives


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
