"""Who may see the page: signing in, being sent back, workspaces, rights; and a server that goes."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tests.e2e.test_clients import MINUTE
from tests.web.conftest import HERE, Complaints, Server, Shot

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

SHAPES = str(HERE / "shapes.py")


def _key(server: Server, *workspaces: str, role: str = "operator") -> str:
    named = [word for one in workspaces for word in ("--workspace", one)]
    return server.shell.run("token", "create", "--role", role, *named).stdout.strip()


def _sign_in(page: "Page", key: str) -> None:
    page.get_by_label("API key or token").fill(key)
    page.get_by_role("button", name="Sign in").click()


def test_a_session_that_ends_leads_to_the_login_and_back(
    server: Server, page: "Page", context: "BrowserContext", complaints: Complaints, shot: Shot
) -> None:
    complaints.allow("401")  # the browser logs each refusal
    key = _key(server)
    server.begin("etl", "--auth")
    page.goto(server.page("?status=completed&kind=workflow"))
    _sign_in(page, key)
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    other = context.new_page()
    other.goto(server.page())
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("Sign in to go on from where you were")).to_be_visible()
    for dark, phone in ((False, False), (True, False), (False, True)):
        shot("login-again", dark=dark, phone=phone)
    _sign_in(page, "tlr_wrong")
    expect(page.get_by_role("alert")).to_contain_text("token_invalid")
    _sign_in(page, key)
    expect(page).to_have_url(server.page("?status=completed&kind=workflow"))
    expect(page.get_by_test_id("connection")).to_have_text("Live")


def test_a_workspace_is_chosen_where_there_are_several(
    server: Server, page: "Page", complaints: Complaints
) -> None:
    complaints.allow("401")
    key = _key(server, "alpha", "beta")
    server.begin("etl", "--auth")
    page.goto(server.page())
    _sign_in(page, key)
    chosen = page.get_by_role("combobox", name="Workspace")
    expect(chosen).to_have_value("alpha")  # `default` is none of theirs
    page.get_by_role("button", name="Start a flow").click()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator("main [data-execution]")).to_have_attribute("data-status", "completed")
    expect(page).to_have_url(re.compile("workspace=alpha"))
    page.get_by_role("link", name="Tailrace").click()
    expect(page.locator("[data-execution]")).to_have_count(1)
    chosen.select_option("beta")
    expect(page).to_have_url(server.page("?workspace=beta"))
    expect(page.get_by_role("heading", name="Nothing has run here yet")).to_be_visible()


def test_who_only_looks_is_offered_nothing_else(
    server: Server, page: "Page", complaints: Complaints
) -> None:
    complaints.allow("401")
    started = server.shell.start("run", MINUTE, "--input", '{"seconds": 60}')
    running = server.shell.started_id(started)
    key = _key(server, "default", role="viewer")
    server.begin(MINUTE, "--auth")
    page.goto(server.page())
    _sign_in(page, key)
    expect(page.locator(f"[data-execution='{running}']")).to_be_visible()
    expect(page.get_by_role("button", name="Start a flow")).to_have_count(0)
    expect(page.get_by_role("button", name=re.compile("^Cancel"))).to_have_count(0)
    page.locator(f"[data-execution='{running}'] a").click()
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    expect(page.get_by_role("button", name="Cancel", exact=True)).to_have_count(0)


def test_the_connection_is_said_while_a_server_goes_and_comes(
    server: Server, page: "Page", complaints: Complaints, shot: Shot
) -> None:
    complaints.allow("ERR_")
    # It runs elsewhere, on the same store: it goes on while no server is there.
    running = server.shell.start("run", MINUTE, "--input", '{"seconds": 30}')
    execution_id = server.shell.started_id(running)
    server.begin(MINUTE)
    page.goto(server.page(f"executions/{execution_id}"))
    connection = page.get_by_test_id("connection")
    expect(connection).to_have_text("Live")
    server.stop()
    expect(connection).to_contain_text(
        re.compile(r"Reconnecting.*(in [\d.]+ m?s|now) · from event \d+")
    )
    shot("reconnecting")
    server.again()
    expect(connection).to_have_text("Live")
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel execution").click()
    expect(connection).to_have_text("Complete, cancelled")
    shown = page.locator("main [data-execution]")
    expect(shown).to_have_attribute("data-count", str(server.head(execution_id)))


def test_a_gap_is_said_where_it_is(server: Server, page: "Page", shot: Shot) -> None:
    server.begin("etl")
    execution_id = server.start("etl", wait=True)
    head = server.head(execution_id)

    async def trim() -> None:
        async with Runtime(Settings(store=server.shell.env["TAILRACE_STORE"])) as runtime:
            await runtime.log.trim(execution_id, 8)

    with ThreadPoolExecutor() as elsewhere:  # here is Playwright's own loop
        elsewhere.submit(asyncio.run, trim()).result()
    page.goto(server.page(f"executions/{execution_id}?panel=events"))
    expect(page.get_by_text("Events 1 to 7 are no longer kept")).to_be_visible()
    expect(page.locator("[data-event='6']")).to_contain_text("no longer kept (retention)")
    expect(page.locator(f"[data-event='{head}']")).to_contain_text("completed")
    # How it ended is known, whatever is missing before.
    expect(page.locator("main [data-execution]")).to_have_attribute("data-status", "completed")
    shot("gap")
