"""The page's ground: the list, an execution, how the connection stands, who may see what."""

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.conftest import until
from tests.e2e.test_clients import MINUTE
from tests.web.conftest import Complaints, Server, Shot

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytest.importorskip("playwright")
from playwright.sync_api import expect


def test_the_list_shows_what_starts_as_it_happens(server: Server, page: "Page", shot: Shot) -> None:
    server.begin("etl", MINUTE)
    page.goto(server.page())
    expect(page.get_by_text("tailrace run etl")).to_be_visible()  # nothing is there: what to type
    shot("empty")
    running = server.start("minute", seconds=60)
    row = page.locator(f"[data-execution='{running}']")
    expect(row).to_have_attribute("data-status", "running")
    done = server.start("etl")
    expect(page.locator(f"[data-execution='{done}']")).to_have_attribute("data-status", "completed")
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    shot("list")
    shot("list", dark=True)
    shot("list", phone=True)
    row.get_by_role("link").click()
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel execution").click()
    expect(page.locator("main [data-execution]")).to_have_attribute("data-status", "cancelled")
    page.go_back()
    expect(row).to_have_attribute("data-status", "cancelled")


def test_an_execution_is_followed_to_its_end(server: Server, page: "Page", shot: Shot) -> None:
    server.begin("etl", MINUTE)
    execution_id = server.start("minute", seconds=2)
    page.goto(server.page(f"executions/{execution_id}"))
    shown = page.locator("[data-execution]")
    expect(shown).to_have_attribute("data-status", "completed")
    expect(page.get_by_test_id("connection")).to_have_text("Complete")
    expect(shown).to_have_attribute("data-count", str(server.head(execution_id)))
    etl = server.start("etl", wait=True)
    page.goto(server.page(f"executions/{etl}"))
    for node in ("extract", "parse", "by_country", "by_hemisphere", "verify", "report"):
        expect(page.locator(f"[data-node='{node}']")).to_have_attribute("data-status", "completed")
    shot("etl")
    shot("etl", dark=True)
    shot("etl", phone=True)


def test_a_position_of_the_log_is_in_the_address(server: Server, page: "Page") -> None:
    server.begin("etl")
    execution_id = server.start("etl", wait=True)
    page.goto(server.page(f"executions/{execution_id}?at=3"))
    expect(page.locator("[data-node='extract']")).to_have_attribute("data-status", "running")
    expect(page.locator("[data-node='report']")).to_have_attribute("data-status", "new")
    page.get_by_role("button", name="End").click()
    expect(page.locator("[data-node='report']")).to_have_attribute("data-status", "completed")
    expect(page).to_have_url(re.compile(r"/ui/executions/[^?]+$"))


def test_what_there_is_not_is_said(server: Server, page: "Page") -> None:
    server.begin()
    page.goto(server.page("executions/01NONE"))
    expect(page.get_by_role("alert")).to_contain_text("execution_not_found")
    page.goto(server.page("elsewhere"))
    expect(page.get_by_text("There is no such page")).to_be_visible()


def test_ten_tabs_use_two_connections_and_catch_up_with_a_server_that_restarts(
    server: Server, context: "BrowserContext"
) -> None:
    server.begin("etl", MINUTE)
    watched = [server.start("minute", seconds=60) for _ in range(3)]
    done = server.start("etl", wait=True)
    tabs = [context.new_page() for _ in range(10)]
    for number, tab in enumerate(tabs):
        places = ("", *(f"executions/{one}" for one in (*watched, done)))
        tab.goto(server.page(places[number % len(places)]))
    for tab in tabs:
        expect(tab.get_by_test_id("connection")).to_have_text(re.compile("Live|Complete"))
    until(lambda: server.streams() == 2)  # the list, and all that is watched
    server.stop()  # what ran on it is cancelled: it ends in its terminal event
    expect(tabs[0].get_by_test_id("connection")).to_contain_text("Reconnecting")
    server.again()
    later = server.start("minute", seconds=1)
    for number, tab in enumerate(tabs):
        if number % 5 == 0:
            row = tab.locator(f"[data-execution='{later}']")
            expect(row).to_have_attribute("data-status", "completed")
            continue
        expect(tab.get_by_test_id("connection")).to_have_text(re.compile("Complete"))
        shown = tab.locator("[data-execution]")
        execution_id = shown.get_attribute("data-execution")
        assert execution_id is not None
        expect(shown).to_have_attribute("data-count", str(server.head(execution_id)))
    until(lambda: server.streams() == 1)  # the list: what was watched has ended


def test_who_is_asked_signs_in_first_and_comes_back_to_where_they_were(
    server: Server, page: "Page", complaints: Complaints, shot: Shot
) -> None:
    complaints.allow("401")  # the browser logs each refusal
    key = server.shell.run("token", "create", "--role", "operator").stdout.strip()
    server.begin("etl", "--auth")
    page.goto(server.page("?status=failed"))
    page.get_by_label("API key or token").fill("tlr_no_key")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("token_invalid")
    shot("login")
    page.get_by_label("API key or token").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    expect(page).to_have_url(server.page("?status=failed"))
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def hidden(page: "Page", *, yes: bool) -> None:
    """Let a page believe that its tab is in the background, or back: headless tabs never are."""
    page.evaluate(
        """(state) => {
          Object.defineProperty(document, 'visibilityState', { value: state, configurable: true });
          document.dispatchEvent(new Event('visibilitychange'));
        }""",
        "hidden" if yes else "visible",
    )


def test_a_tab_in_the_background_follows_nothing_and_catches_up(
    server: Server, page: "Page"
) -> None:
    server.begin(MINUTE)
    execution_id = server.start("minute", seconds=60)
    page.goto(server.page(f"executions/{execution_id}"))
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    hidden(page, yes=True)
    expect(page.get_by_test_id("connection")).to_have_text("Paused")
    until(lambda: server.streams() == 0)
    httpx.post(server.executions(execution_id, "cancel"), json={}).raise_for_status()
    hidden(page, yes=False)
    shown = page.locator("[data-execution]")
    expect(shown).to_have_attribute("data-status", "cancelled")
    expect(shown).to_have_attribute("data-count", str(server.head(execution_id)))


def test_without_a_worker_to_share_a_tab_follows_by_itself(server: Server, page: "Page") -> None:
    page.add_init_script("delete globalThis.SharedWorker")
    server.begin("etl")
    execution_id = server.start("etl", wait=True)
    page.goto(server.page(f"executions/{execution_id}"))
    expect(page.locator("[data-execution]")).to_have_attribute("data-status", "completed")


MOUNTED = """
from contextlib import asynccontextmanager
from starlette.applications import Starlette
from starlette.routing import Mount
from tailrace import Tailrace
from tailrace.cli.targets import load_flow

tailrace = Tailrace("memory:", flows=[load_flow("etl")])

@asynccontextmanager
async def lifespan(app):
    async with tailrace:
        yield

app = Starlette(routes=[Mount("/some/where", tailrace.asgi())], lifespan=lifespan)
"""


def test_the_page_works_where_the_server_is_mounted(
    built: None, page: "Page", tmp_path: Path
) -> None:
    (tmp_path / "mounted.py").write_text(MOUNTED)
    command = [sys.executable, "-m", "uvicorn", "--port", "0", "mounted:app"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = next(filter(None, (re.search(r"http://[\d.:]+", x) for x in process.stderr)))
            page.goto(f"{found[0]}/some/where/")
            expect(page).to_have_url(f"{found[0]}/some/where/ui/")
            page.get_by_role("button", name="Start a flow").click()
            page.get_by_role("dialog").get_by_role("button", name="Start").click()
            shown = page.locator("[data-execution]")
            expect(shown).to_have_attribute("data-status", "completed")
            page.reload()
            expect(shown).to_have_attribute("data-status", "completed")
        finally:
            process.terminate()


def test_the_first_load_is_small(server: Server, page: "Page") -> None:
    server.begin()
    sizes: dict[str, int] = {}
    page.on(
        "response",
        lambda got: sizes.update({got.url: int(got.headers.get("content-length", 0))}),
    )
    page.goto(server.page())
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    loaded = {url: size for url, size in sizes.items() if "/ui/" in url}
    assert len(loaded) > 4
    assert 50_000 < sum(loaded.values()) < 250_000, loaded
    assert all(url.startswith(server.url) for url in sizes)  # nothing is asked of anybody else


def test_a_key_for_one_workspace_sees_that_one_and_stays_in_it(
    server: Server, page: "Page", complaints: Complaints
) -> None:
    complaints.allow("401")
    key = server.shell.run("token", "create", "--workspace", "night", "--role", "operator")
    server.begin("etl", "--auth")
    page.goto(server.page())
    page.get_by_label("API key or token").fill(key.stdout.strip())
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Start a flow").click()
    page.get_by_role("dialog").get_by_role("button", name="Start").click()
    expect(page.locator("[data-execution]")).to_have_attribute("data-status", "completed")
    page.reload()
    expect(page.locator("[data-execution]")).to_have_attribute("data-status", "completed")
    page.get_by_role("link", name="Executions", exact=True).click()
    expect(page.locator("[role=row][data-execution]")).to_have_count(1)


def test_what_is_not_ours_does_not_run_and_a_test_hears_of_it(
    server: Server, page: "Page", complaints: Complaints
) -> None:
    server.begin()
    page.goto(server.page())
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    assert not complaints.said
    page.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = 'globalThis.ran = true';
          document.body.append(script);
          document.body.insertAdjacentHTML('beforeend', '<p style="color: red">no</p>');
        }"""
    )
    until(lambda: page.evaluate("1") and len(complaints.said) >= 2)  # it tells while it is asked
    assert all("Content Security Policy" in said for said in complaints.said)
    assert page.evaluate("globalThis.ran") is None
    complaints.allow("Content Security Policy")
