"""As somebody on call, tired, who has to know what happened: at first sight, and in one click."""

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.web.conftest import HERE, PHONE, ROOT, WIDE, Server, Shot
from tests.web.engine import Engine, completed, event, graph, started

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

expect.set_options(timeout=15_000)
pytestmark = pytest.mark.timeout(60)  # a browser starts, beside a server
SHAPES = str(HERE / "shapes.py")
LOUD = f"{HERE / 'loud.py'}:orders"


def test_where_it_failed_is_above_everything_and_one_click_away(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin("etl")
    execution_id = server.start("etl", wait=True, fail=True)
    page.goto(server.page(f"executions/{execution_id}?panel=logs"))
    said = page.get_by_role("status").filter(has_text="ValueError: asked to fail")
    expect(said).to_be_in_viewport()
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    expect(said).to_be_in_viewport()
    said.get_by_role("button", name="in verify").click()
    inspector = page.get_by_role("complementary", name="Inspector")
    expect(inspector.get_by_role("heading", name="verify")).to_be_in_viewport()
    expect(page).to_have_url(re.compile("panel=logs&node=verify"))
    page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
    page.get_by_role("tab", name="Graph").click()
    # What comes after it waits for nothing any more.
    report = page.locator("[data-node='report']")
    expect(report).to_have_attribute("data-status", "not_run")
    expect(report).to_contain_text("not run")
    shot("oncall-failed")


def test_what_never_said_its_end_does_not_run_on_in_what_has_ended(
    server: Server, page: "Page"
) -> None:
    server.begin()
    job = Engine(server, graph(["fetch", "load"], [("fetch", "load")]))
    page.goto(server.page(f"executions/{job.id}?panel=graph"))
    job.tell(started("fetch", 1))
    fetch = page.locator("[data-node='fetch']")
    expect(fetch).to_have_attribute("data-status", "running")
    error = {"type": "OutOfMemory", "message": "the pod was killed"}
    job.tell(event("execution.failed", None, 5, error=error))
    expect(fetch).to_have_attribute("data-status", "unfinished")
    expect(page.get_by_role("complementary")).to_contain_text("1 unfinished")
    page.get_by_role("tab", name="Waterfall").click()
    expect(page.locator("[data-bar='fetch']")).to_have_attribute("data-status", "unfinished")


def test_what_went_well_in_the_end_shows_no_error(server: Server, page: "Page") -> None:
    server.begin(SHAPES)
    execution_id = server.start("trial", wait=True)
    page.goto(server.page(f"executions/{execution_id}?node=shaky"))
    beside = page.get_by_role("complementary", name="Inspector")
    expect(beside.get_by_role("listitem").filter(has_text="ConnectionError: try")).to_have_count(2)
    expect(beside.get_by_role("button", name="Copy the error")).to_have_count(0)


def test_the_past_is_said_to_be_the_past(server: Server, page: "Page") -> None:
    server.begin("etl")
    execution_id = server.start("etl", wait=True)
    page.goto(server.page(f"executions/{execution_id}?at=8"))
    shown = page.locator("[data-execution]")
    expect(shown).to_have_attribute("data-status", "running")
    page.get_by_role("button", name="as of event 8 of 15").click()
    expect(shown).to_have_attribute("data-status", "completed")
    expect(page).to_have_url(re.compile(f"{execution_id}$"))
    expect(page.get_by_role("button", name="as of event")).to_have_count(0)


def test_it_is_run_again_with_its_input_or_another(server: Server, page: "Page") -> None:
    server.begin("etl", LOUD)
    execution_id = server.start("etl", wait=True, fail=True)
    page.goto(server.page(f"executions/{execution_id}"))
    page.get_by_role("button", name="Run again").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Flow")).to_have_value("etl")
    expect(dialog.get_by_label("Flow")).to_be_focused()
    fail = dialog.get_by_role("checkbox", name="Fail")
    expect(fail).to_be_checked()  # as it was started, not as it is preset
    fail.uncheck()
    dialog.get_by_role("button", name="Start", exact=True).click()
    shown = page.locator("[data-execution]")
    expect(shown).to_have_attribute("data-status", "completed")
    assert shown.get_attribute("data-execution") != execution_id


def test_what_this_server_cannot_run_again_is_said(server: Server, page: "Page") -> None:
    server.begin("etl")
    execution_id = server.start("etl", wait=True)
    server.stop()
    server.begin(LOUD)
    page.goto(server.page(f"executions/{execution_id}"))
    page.get_by_role("button", name="Run again").click()
    expect(page.get_by_role("dialog")).to_contain_text("This server does not run etl")


def test_choosing_a_flow_by_keyboard_keeps_the_focus(server: Server, page: "Page") -> None:
    server.begin("etl", LOUD)
    page.goto(server.page())
    page.get_by_role("button", name="Start a flow").click()
    flow = page.get_by_role("dialog").get_by_label("Flow")
    expect(flow).to_be_focused()
    flow.select_option("orders")
    expect(page.get_by_role("dialog").get_by_label("Lines")).to_be_visible()
    expect(flow).to_be_focused()


def test_logs_are_followed_when_one_comes_to_them(server: Server, page: "Page") -> None:
    server.begin(LOUD)
    execution_id = server.start("orders", wait=True, lines=300)
    page.goto(server.page(f"executions/{execution_id}?panel=graph"))
    expect(page.get_by_role("tab", name="Logs")).to_contain_text("305")
    page.get_by_role("tab", name="Logs").click()
    log = page.get_by_role("log")
    expect(log.locator("[data-line='305']")).to_be_in_viewport()
    expect(log).to_have_attribute("data-following", "true")


def test_it_is_copied_where_the_browser_has_no_clipboard_for_pages(
    server: Server, page: "Page"
) -> None:
    # So it is over plain HTTP from another machine.
    page.add_init_script("Object.defineProperty(Navigator.prototype, 'clipboard', { get() {} })")
    server.begin(LOUD)
    execution_id = server.start("orders", wait=True, lines=3)
    page.goto(server.page(f"executions/{execution_id}?panel=logs"))
    page.get_by_role("button", name="Copy the id").click()
    expect(page.get_by_role("button", name="Copy the id")).to_contain_text("Copied")
    expect(page.get_by_role("button", name="Copy the id")).to_be_focused()
    page.get_by_role("searchbox").focus()
    page.keyboard.press("Control+V")
    expect(page.get_by_role("searchbox")).to_have_value(execution_id)


def filled(server: Server, *arguments: str) -> str:
    """What `tests.web.filled` says, in the store that is served next."""
    file = str(server.shell.folder / "log.db")
    command = [sys.executable, "-m", "tests.web.filled", file, *arguments]
    ran = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return ran.stdout.strip()


def test_what_retention_has_cut_still_has_its_name_and_opens_where_something_is(
    server: Server, page: "Page", shot: Shot
) -> None:
    execution_id = filled(server, "3000", "1000")
    server.begin()
    page.goto(server.page(f"executions/{execution_id}"))
    expect(page.get_by_role("heading", level=1)).to_have_text("archive")
    expect(page).to_have_title("archive · Tailrace")
    expect(page.get_by_role("tab", name="Logs")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_role("log").locator("[data-line]").last).to_be_in_viewport()
    shot("oncall-trimmed")
    page.get_by_role("tab", name="Graph").click()
    expect(page.get_by_text("None of its nodes is kept")).to_be_visible()


def test_what_retention_has_cut_is_drawn_as_the_server_kept_it(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin("etl")
    execution_id = server.start("etl", wait=True)
    server.stop()
    filled(server, "trim", execution_id, "6")
    server.begin()
    page.goto(server.page(f"executions/{execution_id}?panel=waterfall"))
    expect(page.locator("[data-bar='report']")).to_have_attribute("data-status", "completed")
    expect(page.locator("[data-execution]")).to_have_attribute("data-status", "completed")
    expect(page.get_by_role("heading", level=1)).to_have_text("etl")
    page.get_by_role("tab", name="Graph").click()
    for name in ("extract", "report"):  # the first ended before what is kept
        expect(page.locator(f"[data-node='{name}']")).to_have_attribute("data-status", "completed")
    shot("oncall-trimmed-graph")
    page.get_by_role("slider").press("ArrowLeft")
    expect(page.locator("[data-execution]")).to_have_attribute("data-status", "running")


def test_what_waits_says_since_when_and_for_what(server: Server, page: "Page") -> None:
    server.begin()
    job = Engine(server, graph(["fetch"], []), begun=False)
    page.goto(server.page(f"executions/{job.id}"))
    expect(page.get_by_role("status").filter(has_text="It waits for a worker")).to_be_visible()
    expect(page.get_by_role("complementary")).to_contain_text(re.compile(r"Queued.*\d\d:\d\d"))
    job.tell(event("execution.started", None, 2, worker="tests"))
    job.tell(started("fetch", 2), completed("fetch", 3))
    expect(page.get_by_text("It waits for a worker")).to_be_hidden()


def test_a_server_that_is_back_is_asked_at_once(server: Server, page: "Page", shot: Shot) -> None:
    server.begin("etl", "--retry-ms", "3600000")
    page.goto(server.page())
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    server.stop()
    expect(page.get_by_test_id("connection")).to_contain_text(re.compile("Reconnecting.*in"))
    shot("oncall-gone", phone=True)
    server.again()
    page.get_by_role("button", name="Try now").click()
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    expect(page.get_by_role("button", name="Try now")).to_have_count(0)
    # And so is one that a network comes back to.
    server.stop()
    expect(page.get_by_test_id("connection")).to_contain_text("Reconnecting")
    server.again()
    page.evaluate("dispatchEvent(new Event('online'))")
    expect(page.get_by_test_id("connection")).to_have_text("Live")
