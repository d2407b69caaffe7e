"""The live page: files that were built with the package, at `/ui/`.

The law of this file: what it serves is public and the same for everybody; a page gets its data
from the API, as anybody does, and there it is asked who it is. The page finds its server from its
own address: `index.html` names its folder relative to the path that it is served at, so that no
prefix, and no proxy that changes one, needs to be known here.
"""

import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

FOLDER = Path(__file__).parents[1] / "ui"
PATHS = ("/", "/ui", "/ui/{path:path}")
ENCODINGS = {"br": ".br", "gzip": ".gz"}  # the best first
# No script and no style but our files; a stylesheet's rules, not a page's attributes.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "font-src 'self'; connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
ALWAYS = {"Content-Security-Policy": POLICY}  # scripts too: a worker's policy is its own answer's
NOT_BUILT = """The live page is not built.

In a checkout:   make web                 (needs Node.js 20.19 or newer, or gets one)
Installed:       pip install --force-reinstall tailrace   (without TAILRACE_SKIP_UI)

The API works without it: GET /openapi.json lists every route.
"""
BASE = b'<base href="./" />'  # in index.html; vite leaves it as it is
HASHED = "assets/"  # files whose names change with what they hold


@dataclass(frozen=True, slots=True)
class File:
    """One built file, in each encoding that there is of it."""

    body: bytes
    media_type: str
    encoded: Mapping[str, bytes]


def routes() -> list[Route]:
    """The page's routes; `/` leads a browser to it."""
    return [
        Route("/", _to_page, methods=["GET"]),
        Route("/ui", _to_folder, methods=["GET"]),
        Route("/ui/{path:path}", _Page(), methods=["GET"]),
    ]


async def _to_page(request: Request) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        raise HTTPException(404)
    return RedirectResponse("ui/", status_code=307)


async def _to_folder(request: Request) -> Response:
    # Relative: what is before this path, only the browser knows. The rest of a link is kept.
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"ui/{query}", status_code=307)


class _Page:
    """Serves a file; for a path that is none, the page itself, which has routes of its own."""

    def __init__(self) -> None:
        self._files: Mapping[str, File] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._files is None:
            self._files = await anyio.to_thread.run_sync(load, FOLDER)
        path = scope["path_params"]["path"]
        await _answer(self._files, path, Headers(scope=scope))(scope, receive, send)


def load(folder: Path) -> Mapping[str, File]:
    """Read what was built: about 2 MB with all encodings."""
    encoded = set(ENCODINGS.values())
    found = [p for p in folder.rglob("*") if p.is_file() and p.suffix not in encoded]
    return {p.relative_to(folder).as_posix(): _file(p) for p in found if p.name[0] != "."}


def _file(path: Path) -> File:
    media_type = mimetypes.types_map.get(path.suffix, "application/octet-stream")
    if path.suffix == ".js":
        media_type = "text/javascript"  # some machines' tables say otherwise, and browsers mind
    more = {name: path.with_name(path.name + end) for name, end in ENCODINGS.items()}
    encoded = {name: p.read_bytes() for name, p in more.items() if p.is_file()}
    return File(path.read_bytes(), media_type, encoded)


def _answer(files: Mapping[str, File], path: str, headers: Headers) -> Response:
    index = files.get("index.html")
    if index is None:
        return PlainTextResponse(NOT_BUILT, status_code=503)
    file = files.get(path)
    if file is not None and path != "index.html":
        return _sent(file, headers, immutable=path.startswith(HASHED))
    if path.startswith(HASHED):
        # Of an older build: a page that is open asks for it once, and then reloads itself.
        return PlainTextResponse("There is no such file in this build.\n", status_code=404)
    # A relative base, as deep as the path is: `executions/01K…` has one folder above it.
    base = b'<base href="%b" />' % (b"../" * path.count("/") or b"./")
    return Response(
        index.body.replace(BASE, base, 1),
        media_type="text/html",
        headers=ALWAYS | {"Cache-Control": "no-cache"},
    )


def _sent(file: File, headers: Headers, *, immutable: bool) -> Response:
    accepted = {
        one.partition(";")[0].strip() for one in headers.get("accept-encoding", "").split(",")
    }
    name = next((name for name in ENCODINGS if name in accepted and name in file.encoded), None)
    more = ALWAYS | {
        "Cache-Control": "public, max-age=31536000, immutable" if immutable else "no-cache",
        "Vary": "Accept-Encoding",
    }
    if name is not None:
        more["Content-Encoding"] = name
    body = file.body if name is None else file.encoded[name]
    return Response(body, media_type=file.media_type, headers=more)
