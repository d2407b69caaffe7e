"""What browsers are told, and what pages of other sites may not do.

The law of this file: every answer carries these headers, streams that leave the server's hands
too; and a page that is not ours, nor of an origin that the settings name, changes nothing here.
"""

from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tailrace.errors import CrossSite, InvalidSetting, WrongHost
from tailrace.http.problems import problem

RawHeaders = list[tuple[bytes, bytes]]
ALWAYS: dict[bytes, bytes] = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}
# What is not a page has nothing to load, and no page shows it in a frame.
BARE = b"default-src 'none'; frame-ancestors 'none'"
PAGE = (
    b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    b"form-action 'self'; frame-ancestors 'none'"
)
# FastAPI's pages about the API come from its CDN, with a script in the page.
DOCUMENTATION = (
    b"default-src 'none'; connect-src 'self'; img-src data: https://fastapi.tiangolo.com; "
    b"worker-src blob:; script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    b"style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    b"font-src https://fonts.gstatic.com; base-uri 'none'; frame-ancestors 'none'"
)
DOCUMENTATION_PATHS = ("/docs", "/redoc", "/docs/oauth2-redirect")
METHODS = "GET, POST, DELETE"
SENT = "Authorization, Content-Type, Last-Event-ID, Prefer, Cache-Control, traceparent"
READ = "Location, Content-Location, Retry-After, ETag, Preference-Applied, WWW-Authenticate"
PREFLIGHT_S = 600


def origins_of(setting: str) -> frozenset[str]:
    """Read the setting cors_origins. Raises InvalidSetting."""
    found = frozenset(name.strip() for name in setting.split(",") if name.strip())
    for origin in found:
        url = urlsplit(origin)
        if f"{url.scheme}://{url.netloc}" != origin or url.scheme not in ("http", "https"):
            hint = "An origin is a scheme, a host and a port, such as https://app.example.org"
            raise InvalidSetting(f"cors_origins: {origin!r} is no origin", hint=hint)
    return found


class Origins:
    """The origins whose pages may use a server."""

    def __init__(self, setting: str) -> None:
        self._allowed = origins_of(setting)

    def headers(self, origin: str | None) -> RawHeaders:
        """What a browser has to see before it shows an answer to a page of that origin."""
        if not self._allowed:
            return []
        vary = (b"vary", b"Origin")
        if origin not in self._allowed:
            return [vary]
        return [
            vary,
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", READ.encode()),
        ]

    def preflight(self, origin: str) -> Response:
        """The answer to a browser that asks whether it may ask. Raises CrossSite."""
        if origin not in self._allowed:
            raise CrossSite("Pages of that origin may not use this server")
        return Response(
            status_code=204,
            headers={
                "access-control-allow-methods": METHODS,
                "access-control-allow-headers": SENT,
                "access-control-max-age": str(PREFLIGHT_S),
            },
        )

    def check(self, headers: Headers, *, sure: bool) -> None:
        """Refuse what a page of another site sent. Raises CrossSite.

        Browsers say where a request comes from, and pages cannot change that. `sure`: it has to be
        said, because the browser sends the credential (a cookie) by itself; without, what is no
        browser passes.
        """
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if origin in self._allowed and origin is not None:
            return
        if site is not None:
            ours = site in ("same-origin", "none")  # none: typed, or a bookmark
        elif origin is not None:
            ours = urlsplit(origin).netloc == headers.get("host")
        else:
            ours = not sure
        if not ours:
            raise CrossSite


def protected(send: Send, path: str, more: RawHeaders) -> Send:
    """A `send` that puts these headers on an answer, where it has none of its own."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *more]
            message["headers"] += _missing(dict(message["headers"]), path, message["status"])
        await send(message)

    return sending


def _missing(has: dict[bytes, bytes], path: str, status: int) -> RawHeaders:
    type_ = has.get(b"content-type", b"")
    wanted = dict(ALWAYS)
    if type_.startswith(b"text/html"):
        wanted[b"content-security-policy"] = DOCUMENTATION if path in DOCUMENTATION_PATHS else PAGE
    else:
        wanted[b"content-security-policy"] = BARE
    if b"json" in type_:
        wanted[b"cache-control"] = b"no-store"
    if status == 401:
        wanted[b"www-authenticate"] = b'Bearer realm="tailrace"'
    return [(name, value) for name, value in wanted.items() if name not in has]


class LocalOnly:
    """Serves this machine and no other name: for a server that asks nobody who they are.

    A page on the web can let its own name point to 127.0.0.1; to the browser it is then of the
    same origin as this server, and could read and start everything. The name it asks for tells.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            host = Headers(scope=scope).get("host")
            if host is not None and not is_loopback(name := host_name(host)):  # browsers send one
                return await problem(WrongHost(f"There is no {name!r} here"))(scope, receive, send)
        return await self.app(scope, receive, send)


def host_name(host: str) -> str:
    """The name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(name: str) -> bool:
    """Whether a host's name means this machine, and reaches no other."""
    try:
        return name == "localhost" or ip_address(name).is_loopback
    except ValueError:
        return False
