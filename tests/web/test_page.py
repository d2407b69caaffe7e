"""The page's ground: the list, an execution, how the connection stands, who may see what."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import until
from tests.e2e.test_clients import MINUTE
from tests.web.conftest import Complaints, Server, Shot

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

pytestmark = pytest.mark.timeout(60)  # a browser starts, beside a server
expect.set_options(timeout=15_000)


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
