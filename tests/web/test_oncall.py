"""As somebody on call, tired, who has to know what happened: at first sight, and in one click."""

import re
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from tests.web.conftest import HERE, PHONE, ROOT, WIDE, Server, Shot
from tests.web.engine import Engine, completed, event, graph, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

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
    expect(page.get_by_role("tab", name="Graph")).to_have_text("Graph6")  # what did not run too
    page.get_by_role("tab", name="Graph").click()
    # What comes after it waits for nothing any more.
    report = page.locator("[data-node='report']")
    expect(report).to_have_attribute("data-status", "not_run")
    expect(report).to_contain_text("not run")
    shot("oncall-failed")


def test_a_telephone_tells_when_and_why_and_nothing_lies_on_anything(
    server: Server, page: "Page"
) -> None:
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    server.begin("etl")
    server.start("etl", wait=True, fail=True)
    page.goto(server.page())
    row = page.locator("[role=row][data-execution]")
    expect(row).to_contain_text("ValueError: asked to fail")
    expect(row.locator("time")).to_be_visible()
    row.get_by_role("link").click()
    views = page.get_by_role("group", name="View")
    expect(page.locator("[data-node='trigger']")).to_be_visible()
    room, first = views.bounding_box(), page.locator("[data-node='trigger']").bounding_box()
    assert room is not None
    assert first is not None
    assert first["y"] + first["height"] < room["y"]
    play, end = (
        page.get_by_role("button", name=name, exact=True).bounding_box() for name in ("Play", "End")
    )
    assert play is not None
    assert end is not None
    assert play["y"] < end["y"] + end["height"] < play["y"] + 2 * play["height"]  # one row
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


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


def test_it_is_cancelled_with_a_reason_by_keyboard_alone(server: Server, page: "Page") -> None:
    server.begin(SHAPES)
    execution_id = server.start("percent")
    page.goto(server.page(f"executions/{execution_id}"))
    page.get_by_role("button", name="Cancel", exact=True).focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_label("Reason")).to_be_focused()
    page.keyboard.type("the wrong customers")
    page.keyboard.press("Enter")
    expect(page.locator("[data-execution]")).to_have_attribute("data-status", "cancelled")
    expect(page.get_by_text("Cancelled by api: the wrong customers")).to_be_visible()


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


def test_a_secret_is_not_given_again(server: Server, page: "Page") -> None:
    server.begin(SHAPES)
    execution_id = server.start(
        "shape", wait=True, title="House", parts=[{"name": "roof"}], api_key="sesame"
    )
    page.goto(server.page(f"executions/{execution_id}"))
    page.get_by_role("button", name="Run again").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Title")).to_have_value("House")
    expect(dialog.get_by_label("Api Key")).to_have_value("")
    expect(dialog.get_by_role("note")).to_have_text("Secrets are not kept. Fill in again: api_key.")


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
    expect(page.get_by_text("It has no nodes")).to_be_visible()


def test_what_runs_on_though_its_beginning_is_gone_runs_and_can_be_stopped(
    server: Server, page: "Page"
) -> None:
    server.begin(f"{HERE / 'loud.py'}:flood", "--retention-running-bytes", "4000")
    execution_id = server.start("flood", lines=1_000_000, per_second=200)
    page.goto(server.page(f"executions/{execution_id}?panel=logs"))
    while page.get_by_role("note").count() == 0:  # until retention has been there
        page.reload()
        expect(page.get_by_test_id("connection")).to_have_text("Live")
    shown = page.locator("[data-execution]")
    expect(page.get_by_role("heading", level=1)).to_have_text("flood")
    expect(shown).to_have_attribute("data-status", "running")
    expect(page.locator("main header").first).to_contain_text(re.compile(r"running\d+ s"))
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Cancel execution").click()
    expect(shown).to_have_attribute("data-status", "cancelled")


def test_a_link_leads_to_its_line_after_retention_has_taken_others(
    server: Server, page: "Page"
) -> None:
    server.begin(LOUD)
    execution_id = server.start("orders", wait=True)
    page.goto(server.page(f"executions/{execution_id}?panel=logs"))
    log = page.get_by_role("log")
    line = log.locator("[data-line='190']")
    words = line.inner_text().split()[-2:]
    line.get_by_role("link").click()
    expect(page).to_have_url(re.compile(r"line=190\.\d+"))
    link = page.url
    server.stop()
    filled(server, "trim", execution_id, "100")
    server.again()
    page.goto(link)
    linked = log.locator("[data-linked]")
    expect(linked).to_be_in_viewport()
    expect(linked).to_contain_text(" ".join(words))
    expect(linked).not_to_have_attribute("data-line", "190")
    server.stop()
    filled(server, "trim", execution_id, "205")
    server.again()
    page.goto(link)
    expect(page.get_by_text("The line that this link is of is no longer kept")).to_be_visible()


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


def test_who_comes_back_to_the_list_is_where_they_were(server: Server, page: "Page") -> None:
    filled(server, "many", "300")
    server.begin("etl")
    page.goto(server.page("?status=failed"))
    table = page.get_by_role("table", name="Executions")
    row = page.get_by_role("row").filter(has_text="night 80")
    table.hover()
    while table.get_attribute("aria-rowcount") != "301":  # older pages are read on the way
        page.mouse.wheel(0, 1000)
    table.evaluate("(it) => it.scrollTo(0, 217 * 40)")
    row.scroll_into_view_if_needed()
    row.get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("night 80")
    page.go_back()
    expect(row).to_be_in_viewport()
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    expect(row).to_be_in_viewport()  # also when the newest were read again
    # By a link one comes to the newest, at the top.
    row.get_by_role("link").click()
    page.get_by_role("link", name="Executions", exact=True).click()
    expect(page.get_by_role("row").filter(has_text="night 299")).to_be_in_viewport()


def test_every_clock_is_of_one_zone(server: Server, browser: "Browser") -> None:
    server.begin(f"{HERE / 'speaker.py'}:tides")
    execution_id = server.start("tides", wait=True)
    context = browser.new_context(timezone_id="Asia/Kolkata", locale="en-GB")
    page = context.new_page()
    page.goto(server.page(f"executions/{execution_id}?panel=text"))
    for shown in (page.get_by_role("complementary"), page.get_by_role("region", name="Output")):
        time = shown.locator("time").first
        expect(time).to_be_visible()
        written = datetime.fromisoformat(time.get_attribute("datetime") or "")
        there = written.astimezone(timezone(timedelta(hours=5, minutes=30)))
        expect(time).to_contain_text(f"{there:%H:%M:%S}")
    context.close()
