"""The live page in a real browser, on a real server.

A test acts as a person would and waits for what a person would see (Playwright's `expect` polls,
the test's own timeout above it). What the browser complains of, a violated policy too, fails the
test. `shot(name)` keeps a picture in out/shots/, for people to look at.
"""

import os
import re
import runpy
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.conftest import needs
from tests.e2e.conftest import Shell
from tests.e2e.test_clients import CHROMIUM

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SHOTS = ROOT / "out" / "shots"
WIDE, PHONE = (1280, 800), (390, 844)
# Loading starts when a test begins; a machine that does other things takes its time.
WAIT_MS = 30_000
Shot = Callable[..., Path]


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """Playwright has an event loop of its own, in which it may do as it likes."""


class Server:
    """`tailrace serve` on a free port, which can be started again on the same one."""

    def __init__(self, shell: Shell) -> None:
        self.shell = shell
        self.url = ""
        self._arguments: tuple[str, ...] = ()
        self._process: Popen[str] | None = None

    def begin(self, *arguments: str) -> str:
        """Serve flows, with the flags of `tailrace serve`; returns the URL."""
        self._arguments = arguments
        self._process, self.url = self.shell.serve(*arguments)
        return self.url

    def stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.communicate()

    def again(self) -> None:
        """Serve again, at the same address."""
        port = self.url.rpartition(":")[2]
        process = self.shell.start("serve", *self._arguments, "--port", port)
        assert process.stderr is not None
        said = process.stderr.readline()
        assert self.url in said, said + process.stderr.read()
        self._process = process

    def page(self, path: str = "") -> str:
        return f"{self.url}/ui/{path}"

    def executions(self, *parts: str) -> str:
        return "/".join([f"{self.url}/api/v1/workspaces/default/executions", *parts])

    def start(self, flow: str, wait: bool = False, **given: Any) -> str:
        """Start a flow by the API; returns its id."""
        headers = {"Prefer": "wait=15"} if wait else {}
        answer = httpx.post(
            self.executions(), json={"flow": flow, "input": given}, headers=headers, timeout=20
        )
        return str(answer.raise_for_status().json()["execution_id"])

    def head(self, execution_id: str) -> int:
        """How many events there are."""
        return int(httpx.get(self.executions(execution_id)).raise_for_status().json()["head"])

    def streams(self) -> int:
        """How many streams are open now."""
        text = httpx.get(f"{self.url}/metrics").text
        counts = re.findall(r"^tailrace_streams_active\{.*\} (\d+)", text, re.MULTILINE)
        assert counts, "no stream was ever counted"
        return sum(map(int, counts))


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    made.end()


@pytest.fixture(scope="session")
def built() -> None:
    """The page, built from what is there now."""
    builder = runpy.run_path(str(ROOT / "web" / "build.py"))
    if not builder["is_fresh"]():
        needs("node", "npm")
        builder["build"]()


@pytest.fixture
def server(shell: Shell, built: None) -> Server:
    return Server(shell)


# Of the package: Playwright keeps an event loop in this thread, and no other may run beside it.
@pytest.fixture(scope="package")
def browser() -> "Iterator[Browser]":
    needs("chromium")
    if not os.environ.get("CI"):
        pytest.importorskip("playwright")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=WAIT_MS)
    flags = [flag for flag in CHROMIUM[1:] if flag != "--headless"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=flags, headless=True
        )
        yield chromium
        chromium.close()


class Complaints:
    """What pages complained of; what a test expects, it allows."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._allowed: list[str] = []

    def allow(self, pattern: str) -> None:
        """Such a complaint is meant: a page that is refused logs the refusal."""
        self._allowed.append(pattern)

    def listen(self, page: "Page") -> None:
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))

    def _console(self, message: "ConsoleMessage") -> None:
        if message.type in ("error", "warning"):
            self.said.append(f"{message.type}: {message.text}")

    def unexpected(self) -> list[str]:
        return [
            said
            for said in self.said
            if not any(re.search(pattern, said) for pattern in self._allowed)
        ]


@pytest.fixture
def complaints() -> Iterator[Complaints]:
    made = Complaints()
    yield made
    assert not made.unexpected()


@pytest.fixture
def context(browser: "Browser", complaints: Complaints) -> "Iterator[BrowserContext]":
    """A browser of one person: its tabs share cookies, and one connection."""
    width, height = WIDE
    made = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
    made.set_default_timeout(WAIT_MS)
    made.on("page", complaints.listen)
    yield made
    made.close()


@pytest.fixture
def page(context: "BrowserContext") -> "Page":
    return context.new_page()


@pytest.fixture
def shot(page: "Page") -> Shot:
    """Keep a picture of what is seen: `shot("list")`, `shot("list", dark=True, phone=True)`."""

    def take(name: str, *, dark: bool = False, phone: bool = False) -> Path:
        SHOTS.mkdir(parents=True, exist_ok=True)
        path = SHOTS / f"{name}{'-dark' if dark else ''}{'-phone' if phone else ''}.png"
        width, height = PHONE if phone else WIDE
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        page.screenshot(path=path)
        return path

    return take
