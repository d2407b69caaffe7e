"""The live page's files: who gets them, how they are kept, and what a browser may do with them."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tailrace import Settings, Tailrace, flow, node
from tailrace.http import ui
from tests.http.conftest import serving

INDEX = '<!doctype html><base href="./" /><script type="module" src="./assets/a-1.js"></script>'
SCRIPT = "export const a = 1;" * 100
BROWSER = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture(autouse=True)
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A page that was built: small, and whether or not there is one here."""
    (tmp_path.parent / "secret").write_text("hushed")
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text(INDEX)
    (tmp_path / ".built").write_text("not served")
    (tmp_path / "mark.svg").write_text("<svg/>")
    (tmp_path / "assets/a-1.js").write_text(SCRIPT)
    (tmp_path / "assets/a-1.js.gz").write_bytes(gzip.compress(SCRIPT.encode()))
    monkeypatch.setattr(ui, "FOLDER", tmp_path)
    return tmp_path


@asynccontextmanager
async def client(tailrace: Tailrace, prefix: str = "") -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Mount(prefix, tailrace.asgi())]) if prefix else tailrace.asgi()
    async with tailrace, serving(app) as url, httpx.AsyncClient(base_url=f"{url}{prefix}") as http:
        yield http
        tailrace.hub.close()


@pytest.mark.parametrize("prefix", ["", "/live"])
async def test_the_page_finds_its_folder_from_any_depth_under_any_prefix(prefix: str) -> None:
    async with client(Tailrace("memory:"), prefix) as http:
        for path, base in {
            "": "./",
            "login": "./",
            "executions/X1": "../",
            "a/b/c": "../../",
        }.items():
            answer = await http.get(f"/ui/{path}")
            assert answer.status_code == 200
            assert answer.text == INDEX.replace('href="./"', f'href="{base}"', 1)
            assert answer.url.join(base).path == f"{prefix}/ui/"
        told = await http.get("/ui?status=failed")
        assert told.status_code == 307
        assert told.url.join(told.headers["location"]).raw_path.decode() == (
            f"{prefix}/ui/?status=failed"
        )


async def test_a_browser_is_led_to_the_page_and_nobody_else() -> None:
    async with client(Tailrace("memory:")) as http:
        led = await http.get("/", headers=BROWSER)
        assert (led.status_code, led.headers["location"]) == (307, "ui/")
        assert (await http.get("/")).json()["code"] == "route_not_found"


async def test_what_a_name_stands_for_never_changes_and_the_page_is_asked_for() -> None:
    async with client(Tailrace("memory:")) as http:
        script = await http.get("/ui/assets/a-1.js")
        assert script.text == SCRIPT
        assert script.headers["content-encoding"] == "gzip"
        assert script.headers["content-type"].startswith("text/javascript")
        assert "immutable" in script.headers["cache-control"]
        assert script.headers["vary"] == "Accept-Encoding"
        plain = await http.get("/ui/assets/a-1.js", headers={"accept-encoding": "identity"})
        assert (plain.text, plain.headers.get("content-encoding")) == (SCRIPT, None)
        for path in ("/ui/", "/ui/index.html", "/ui/mark.svg"):
            assert (await http.get(path)).headers["cache-control"] == "no-cache"
        assert (await http.get("/ui/assets/a-0.js")).status_code == 404  # of an older build
        assert (await http.head("/ui/")).status_code == 200


async def test_nothing_but_our_own_files_may_run_or_be_asked() -> None:
    async with client(Tailrace("memory:")) as http:
        # A worker's policy is that of its own script, not of the page that starts it.
        for path in ("/ui/", "/ui/assets/a-1.js"):
            answer = await http.get(path)
            policy = dict(
                part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
            )
            assert policy["default-src"] == "'none'"
            assert policy["frame-ancestors"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_nothing_outside_the_folder_is_served() -> None:
    async with client(Tailrace("memory:")) as http:
        for path in (
            "/ui/../secret",
            "/ui/%2e%2e/secret",
            "/ui/..%2fsecret",
            "/ui//etc/passwd",
            "/ui/.built",
        ):
            answer = await http.get(path)
            assert "hushed" not in answer.text
            assert "not served" not in answer.text


async def test_a_page_that_is_not_built_says_how_to_build_it(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ui, "FOLDER", page / "assets")
    async with client(Tailrace("memory:")) as http:
        answer = await http.get("/ui/executions/X1")
        assert answer.status_code == 503
        assert "make web" in answer.text
        assert (await http.get("/healthz")).status_code == 200


async def test_the_page_is_everybodys_and_the_data_is_not() -> None:
    settings = Settings(store="memory:", auth=True, public_health=False)
    async with client(Tailrace(settings=settings)) as http:
        for path in ("/ui/", "/ui/login", "/ui/assets/a-1.js", "/ui/executions/X1"):
            assert (await http.get(path)).status_code == 200
        assert (await http.get("/", headers=BROWSER)).status_code == 307
        for path in ("/healthz", "/api/v1/session", "/api/v1/workspaces/default/executions"):
            assert (await http.get(path)).status_code == 401


@node
async def one() -> int:
    return 1


@flow(http="GET /")
def at_the_root() -> object:
    return one()


async def test_a_flows_route_does_not_take_the_place_of_one_of_ours() -> None:
    """Else it would be open to all: the rule of that path is the page's."""
    async with client(
        Tailrace(settings=Settings(store="memory:", auth=True), flows=[at_the_root])
    ) as http:
        answer = await http.get("/", headers=BROWSER)
        assert (answer.status_code, answer.headers["location"]) == (307, "ui/")
