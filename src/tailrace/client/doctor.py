"""Examines the way to a server: opens probes, and lets `verdicts` judge what came.

The law of this file: transport and time only; it keeps what came and when it came, and buffers
nothing, so that what is late was late on the way. It never judges.
"""

import json
import ssl
import zlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio
import httpx
from anyio.streams.tls import TLSAttribute

from tailrace import sse
from tailrace.client import silence, verdicts
from tailrace.client.answers import Token, api_url, bearer
from tailrace.client.observations import Frame, Seen
from tailrace.client.verdicts import POSITION, Finding
from tailrace.clock import Clock, SystemClock, within
from tailrace.errors import InvalidRequest

Query = Mapping[str, str | int | float]
TICKS: Query = {"count": 8, "every_ms": 250}
PACKED: Query = {**TICKS, "pad_bytes": 2048}  # large at first: else many compressors do not begin
HELLO: Query = {"count": 1, "every_ms": 0}
SLACK_S = 15.0  # for connecting, and for what is late: more is no answer
HEARTBEAT_S = 15.0  # of a server that does not say
HEARTBEATS = (0.1, 120.0)  # what a probe takes; none is longer silent than that
BODY_MAX = 65_536  # a probe is far smaller; something else may never end


async def examine(
    url: str,
    *,
    idle_s: float = 20.0,
    token: Token = None,
    report: Callable[[Finding], None],
    progress: Callable[[str], None] = lambda _: None,
    clock: Clock | None = None,
) -> None:
    """Make all checks on the way to a server, and report each finding as it is made.

    `progress` is told what is waited for. Raises InvalidRequest if the URL is none.
    """
    base = _checked(url)
    async with httpx.AsyncClient(timeout=SLACK_S + idle_s, headers=bearer(token)) as http:
        look = partial(_Look, http, clock or SystemClock(), base)
        progress("asking the server for a probe")
        hello = await look(HELLO).seen()
        shown = str(base.copy_with(userinfo=b""))  # a password is nobody's who reads the report
        report(reached := verdicts.reach(hello, shown))
        if reached.level == "problem":
            return
        opening = hello.opening or {}
        report(verdicts.response_headers(hello))
        report(verdicts.request_headers(hello))
        if found := verdicts.upstream(hello):
            report(found)
        progress("watching 8 ticks come, 2 s")
        plain, packed = await _both(look(TICKS), look(PACKED, "gzip, deflate, br"))
        if verdicts.buffering(plain).level == "problem":
            # A machine that stood still for a second looks like a proxy that collects: a proxy
            # does it again.
            progress("they came in lumps: watching once more, 2 s")
            plain = await look(TICKS).seen()
        report(verdicts.buffering(plain))
        report(verdicts.complete(plain))
        report(verdicts.compression(packed))
        report(verdicts.ending(await look({"after": "end"}, position=None).seen()))
        report(verdicts.multiplexing(base.scheme, await _agreed(base)))
        if idle_s:
            progress(f"keeping silent for {idle_s:g} s, to see whether that is cut")
            bare: Query = {**HELLO, "idle_s": idle_s}
            heartbeat_s = float(opening.get("heartbeat_s", HEARTBEAT_S))
            often = min(max(heartbeat_s, HEARTBEATS[0]), HEARTBEATS[1])
            awake, silent = await _both(look({**bare, "heartbeat_s": often}), look(bare))
            for finding in silence.idle(awake, silent, idle_s, heartbeat_s):
                report(finding)


def _checked(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InvalidRequest(f"{url!r} is not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        hint = "For example http://127.0.0.1:8787, or https://example.org/live"
        raise InvalidRequest(f"{url!r} is not the URL of a server", hint=hint)
    return parsed


class _Look:
    """One request, as a browser's EventSource makes it, and what came of it."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        clock: Clock,
        base: httpx.URL,
        query: Query,
        accept_encoding: str = "identity",
        position: str | None = POSITION,
    ) -> None:
        self._http, self._clock = http, clock
        self._url, self._query = api_url(str(base), "probe"), query
        self._headers = {
            "Accept": sse.MEDIA_TYPE,
            "Accept-Encoding": accept_encoding,
            "Cache-Control": "no-cache",
        } | ({"Last-Event-ID": position} if position else {})
        self._decoder = sse.Decoder()
        self._unzip = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # of either kind, by its head
        self._began = clock.monotonic()
        self.found = Seen()

    async def seen(self) -> Seen:
        """Ask, and return what came; whatever goes wrong on the way is in it."""
        planned = float(self._query.get("count", 0)) * float(self._query.get("every_ms", 0)) / 1000
        limit_s = planned + float(self._query.get("idle_s", 0)) + SLACK_S
        self._began = self._clock.monotonic()
        try:
            await within(self._clock, round(limit_s * 1000), self._ask)
        except TimeoutError:
            self.found.error = f"it did not end within {limit_s:g} s"
        except (httpx.TransportError, zlib.error) as error:
            self.found.error = str(error) or type(error).__name__
        self.found.ended_ms = self._elapsed()
        return self.found

    def _elapsed(self) -> float:
        return (self._clock.monotonic() - self._began) * 1000

    async def _ask(self) -> None:
        found = self.found
        async with self._http.stream(
            "GET", self._url, params=dict(self._query), headers=self._headers
        ) as response:
            found.status, found.headers = response.status_code, response.headers
            async for chunk in response.aiter_raw():
                found.last_ms = self._elapsed()
                found.body += chunk
                self._take(chunk)
                if len(found.body) > BODY_MAX:
                    found.error = f"it is longer than {BODY_MAX} bytes"
                    return

    def _take(self, chunk: bytes) -> None:
        if self.found.encoding in ("gzip", "deflate"):
            chunk = self._unzip.decompress(chunk, BODY_MAX)
        for message in self._decoder.feed(chunk):
            if message.event.startswith("probe."):
                data = _object(message.data)
                self.found.frames.append(Frame(message.event, data, self.found.last_ms))


async def _both(first: _Look, second: _Look) -> tuple[Seen, Seen]:
    """Two probes at once."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first.seen)
        tasks.start_soon(second.seen)
    return first.found, second.found


def _object(text: str) -> dict[str, Any]:
    """A frame's data; of something that is no probe of ours, nothing."""
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


async def _agreed(url: httpx.URL) -> str | None:
    """The protocol that TLS settles on: "h2", "http/1.1", or None if there is no TLS."""
    if url.scheme != "https":
        return None
    offer = httpx.create_ssl_context()
    offer.set_alpn_protocols(["h2", "http/1.1"])
    try:
        stream = await anyio.connect_tcp(
            url.host, url.port or 443, ssl_context=offer, tls_standard_compatible=False
        )
    except (OSError, ssl.SSLError):
        return None
    async with stream:
        return stream.extra(TLSAttribute.alpn_protocol)  # noqa: S610 - not Django's
