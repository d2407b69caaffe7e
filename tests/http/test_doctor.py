"""The doctor's own side of the wire: a good server, and servers that answer nonsense."""

import zlib
from collections.abc import Awaitable, Callable

import anyio
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailrace import Tailrace
from tailrace.client.doctor import BODY_MAX, examine
from tailrace.client.verdicts import Finding
from tailrace.clock import SystemClock
from tailrace.errors import InvalidRequest
from tests.http.conftest import Serve, Served, serving

Body = Callable[[Callable[[bytes], Awaitable[None]]], Awaitable[None]]


class Impatient(SystemClock):
    """Time limits are over at once."""

    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()


class Answers:
    """Answers everything with an event stream of this body."""

    def __init__(self, body: Body, **headers: str) -> None:
        self._body = body
        named = {"content-type": "text/event-stream"} | headers
        self._headers = [(k.replace("_", "-").encode(), v.encode()) for k, v in named.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            for phase in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{phase}.complete"})
            return

        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await self._body(write)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def found_at(url: str, *, hurry: bool = False) -> list[Finding]:
    found: list[Finding] = []
    clock = Impatient() if hurry else None
    await examine(url, idle_s=0, report=found.append, clock=clock)
    return found


async def test_a_good_way_has_no_problem_and_progress_is_told(served: Served) -> None:
    found: list[Finding] = []
    told: list[str] = []
    await examine(served.url, idle_s=0.1, report=found.append, progress=told.append)
    assert not [finding for finding in found if finding.level == "problem"]
    assert [finding.code for finding in found] == [
        *("reach", "response_headers", "request_headers", "buffering", "complete"),
        *("compression", "ending", "multiplexing", "idle", "idle_without_heartbeats"),
    ]
    assert len(told) == 3


class LumpsOnce:
    """An app whose first answer of ticks comes in one piece, as if something had stood still."""

    def __init__(self, app: ASGIApp) -> None:
        self._app, self._done = app, False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope.get("query_string", b"")
        if self._done or b"every_ms=250" not in asked or b"pad_bytes" in asked:
            await self._app(scope, receive, send)
            return
        self._done = True
        held: list[Message] = []

        async def hold(message: Message) -> None:
            held.append(message)

        await self._app(scope, receive, hold)
        for message in held:
            await send(message)


async def test_nobody_is_accused_of_what_happened_once() -> None:
    told: list[str] = []
    found: list[Finding] = []
    async with serving(LumpsOnce(Tailrace("memory:").asgi())) as url:
        await examine(url, idle_s=0, report=found.append, progress=told.append)
    assert [f.level for f in found if f.code == "buffering"] == ["ok"]
    assert any("once more" in line for line in told)


async def test_a_shutdown_during_the_examination_is_not_called_a_proxys_fault(
    served: Served,
) -> None:
    found: list[Finding] = []

    def report(finding: Finding) -> None:
        found.append(finding)
        if finding.code == "multiplexing":
            served.tailrace.hub.close()

    await examine(served.url, idle_s=30, report=report)
    idle = next(finding for finding in found if finding.code == "idle")
    assert idle.level == "problem"
    assert idle.measured.startswith("Not measured")
    assert "proxy" not in str(idle.advice)


async def _garbage(write: Callable[[bytes], Awaitable[None]]) -> None:
    await write(b"event: probe.open\ndata: {\n\nevent: probe.tick\ndata: [1]\n\n\xff\xfe")


async def _endless(write: Callable[[bytes], Awaitable[None]]) -> None:
    for _ in range(2 * BODY_MAX // 1000):
        await write(b"." * 1000)


async def _not_gzip(write: Callable[[bytes], Awaitable[None]]) -> None:
    await write(b"event: probe.open\ndata: {}\n\n")


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (_garbage, {}, "with no probe"),
        (_endless, {}, f"longer than {BODY_MAX} bytes"),
        (_not_gzip, {"content_encoding": "gzip"}, "incorrect header check"),
    ],
)
async def test_nonsense_is_no_tailrace(body: Body, headers: dict[str, str], said: str) -> None:
    async with serving(Answers(body, **headers)) as url:
        (finding,) = await found_at(url)
    assert (finding.code, finding.level) == ("reach", "problem")
    assert said in finding.measured


async def test_a_password_in_the_url_is_not_reported() -> None:
    (finding,) = await found_at("http://me:s3cret@127.0.0.1:1/live")
    assert finding.measured.startswith("http://127.0.0.1:1/live does not answer")
    assert "s3cret" not in str(finding)


@pytest.mark.parametrize("heartbeat_s", [0.05, 300])
async def test_a_server_with_any_heartbeat_is_examined(serve: Serve, heartbeat_s: float) -> None:
    found: list[Finding] = []
    async with serve(heartbeat_s=heartbeat_s) as served:
        await examine(served.url, idle_s=0.15, report=found.append)
    assert [finding.level for finding in found if finding.code.startswith("idle")] == ["ok", "ok"]


async def test_what_never_ends_is_given_up(served: Served) -> None:
    (finding,) = await found_at(served.url, hurry=True)
    assert (finding.code, finding.level) == ("reach", "problem")
    assert "did not end within 15 s" in finding.measured


async def test_what_is_compressed_unasked_is_understood(served: Served) -> None:
    """A stream is read also through what may not be there; the finding is about that."""
    opening = b'event: probe.open\ndata: {"version": "9", "elapsed_ms": 0}\n\n'

    async def packed(write: Callable[[bytes], Awaitable[None]]) -> None:
        await write(zlib.compress(opening, wbits=31))

    async with serving(Answers(packed, content_encoding="gzip")) as url:
        found = {finding.code: finding for finding in await found_at(url)}
    assert "Tailrace 9" in found["reach"].measured
    assert found["compression"].level == "problem"
    assert found["complete"].level == "problem"


@pytest.mark.parametrize("url", ["nowhere", "ftp://host", "http://", "http://h:x", "http://[::1"])
async def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest):
        await found_at(url)
