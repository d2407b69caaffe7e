"""The list of executions: alive, filtered, long, and quiet under a hand."""

import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.e2e.test_clients import MINUTE
from tests.web.conftest import HERE, Complaints, Server, Shot

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

SHAPES = str(HERE / "shapes.py")


def test_each_row_says_how_its_execution_stands(server: Server, page: "Page", shot: Shot) -> None:
    server.begin("etl", "answer", SHAPES, MINUTE)
    done = server.start("etl", wait=True)
    failed = server.start("trial", wait=True, fail=True)
    agent = server.start("answer", wait=True)
    server.start("minute", seconds=60)
    page.goto(server.page())
    row = {one: page.locator(f"[data-execution='{one}']") for one in (done, failed, agent)}
    expect(row[done]).to_contain_text("completed")
    expect(row[failed]).to_contain_text("ConnectionError: try 3 of 3")  # asked for: the row is old
    expect(row[failed]).not_to_contain_text("the peer")  # its first line, and no more
    expect(row[agent]).to_contain_text("agent")
    percent = server.start("percent", until=0.4, message="12 of 30 files")
    running = page.locator(f"[data-execution='{percent}']")
    expect(running.get_by_role("progressbar")).to_have_attribute("value", "40")
    expect(running).to_contain_text("12 of 30 files")
    live = server.start("etl", fail=True)
    expect(page.locator(f"[data-execution='{live}']")).to_contain_text("asked to fail")
    expect(page.get_by_text("2 running")).to_be_visible()
    expect(page.get_by_text("6 started in the last hour")).to_be_visible()
    expect(page.get_by_role("button", name="2 of them failed")).to_be_visible()
    for name, count in (("All", 6), ("Running", 2), ("Completed", 2), ("Failed", 2)):
        button = page.get_by_role("button", name=f"{name} {count}", exact=True)
        expect(button).to_be_visible()
    for dark, phone in ((False, False), (True, False), (False, True)):
        shot("list-all", dark=dark, phone=phone)


def test_filters_are_in_the_address_and_an_empty_list_says_why(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin("etl", "answer")
    etl, answer = server.start("etl", wait=True), server.start("answer", wait=True)
    page.goto(server.page())
    rows = page.locator("[data-execution]")
    expect(rows).to_have_count(2)
    page.get_by_label("Kind").select_option("agent")
    expect(rows).to_have_count(1)
    expect(rows).to_have_attribute("data-execution", answer)
    expect(page).to_have_url(server.page("?kind=agent"))
    page.reload()
    expect(rows).to_have_attribute("data-execution", answer)
    page.get_by_role("button", name="Failed 0").click()
    expect(page.get_by_role("heading", name="No failed agent executions")).to_be_visible()
    shot("list-none-failed")
    page.get_by_role("button", name="Show all").click()
    expect(rows).to_have_count(2)
    page.keyboard.press("/")
    page.keyboard.type("ETL")
    expect(rows).to_have_attribute("data-execution", etl)
    expect(page).to_have_url(server.page("?q=ETL"))
    page.get_by_label("Search").fill("nothing like that")
    expect(page.get_by_role("heading", name="that match “nothing like that”")).to_be_visible()
    page.go_back()  # letters make no history: before them was everything
    expect(page.get_by_role("heading", name="No failed agent executions")).to_be_visible()


def test_the_list_is_walked_by_keyboard(server: Server, page: "Page") -> None:
    server.begin("etl")
    first, second = server.start("etl", wait=True), server.start("etl", wait=True)
    page.goto(server.page())
    page.locator(f"[data-execution='{second}'] a").focus()
    page.keyboard.press("ArrowDown")
    expect(page.locator(f"[data-execution='{first}'] a")).to_be_focused()
    page.keyboard.press("Home")
    expect(page.locator(f"[data-execution='{second}'] a")).to_be_focused()
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/executions/{first}$"))


def test_nothing_moves_under_the_pointer(server: Server, page: "Page", shot: Shot) -> None:
    server.begin("etl")
    first = server.start("etl", wait=True)
    page.goto(server.page())
    row = page.locator(f"[data-execution='{first}']")
    row.hover()
    before = row.bounding_box()
    later = [server.start("etl", wait=True) for _ in range(2)]
    expect(page.get_by_role("button", name="2 new")).to_be_visible()
    expect(page.locator("[data-execution]")).to_have_count(1)
    assert row.bounding_box() == before
    shot("list-waiting")
    page.get_by_role("button", name="2 new").click()
    expect(page.locator("[data-execution]").first).to_be_visible()
    expect(page.locator(f"[data-execution='{later[1]}']")).to_be_visible()
    page.mouse.move(5, 5)  # off the rows: what comes is shown at once
    last = server.start("etl", wait=True)
    expect(page.locator(f"[data-execution='{last}']")).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("new$"))).to_have_count(0)


def test_an_execution_is_cancelled_from_its_row_and_from_its_page(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin(SHAPES)
    first, second = server.start("percent", until=0.2), server.start("percent", until=0.3)
    page.goto(server.page())
    row = page.locator(f"[data-execution='{first}']")
    row.hover()
    row.get_by_role("button", name="Cancel percent").click()
    page.get_by_role("button", name="Keep it running").click()  # one press stops nothing
    expect(row).to_have_attribute("data-status", "running")
    row.get_by_role("button", name="Cancel percent").click()
    page.get_by_label("Reason").fill("not needed any more")
    shot("list-cancel")
    page.get_by_role("button", name="Cancel execution").click()
    expect(row).to_have_attribute("data-status", "cancelled")
    expect(row).to_contain_text("not needed any more")
    page.goto(server.page(f"executions/{second}"))
    page.get_by_role("button", name="Cancel", exact=True).click()
    page.get_by_label("Reason").fill("too slow")
    page.keyboard.press("Enter")
    expect(page.locator("main [data-execution]")).to_have_attribute("data-status", "cancelled")
    expect(page.get_by_text("Cancelled by api: too slow")).to_be_visible()


@pytest.fixture
def many(server: Server, page: "Page") -> int:
    """A list of 10,000, as the server would give it: it is the page that is asked, not the store."""
    count = 10_000

    def answer(route: Any) -> None:
        url = httpx.URL(route.request.url)
        if url.path != "/api/v1/workspaces/default/executions":
            route.continue_()
            return
        status, limit = url.params.get("status"), int(url.params["limit"])
        before = url.params.get("before")
        newest = int(before[-5:]) if before else count
        ids = [n for n in range(newest - 1, -1, -1) if status in (None, _status(n))][:limit]
        entries = [_entry(number) for number in ids]
        more = entries[-1]["execution_id"] if len(entries) == limit else None
        route.fulfill(json={"executions": entries, "before": more})

    page.route("**/api/v1/workspaces/default/executions?*", answer)
    return count


def _status(number: int) -> str:
    return "failed" if number % 1000 == 7 else "completed"


def _entry(number: int) -> dict[str, Any]:
    at = f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000000Z"
    return {
        "execution_id": f"01MANY000000000000000{number:05}", "workspace": "default",
        "kind": "workflow", "flow": f"flow_{number % 7}", "status": _status(number),
        "created_at": at, "updated_at": at, "head": 9, "floor": 1, "bytes": 900,
        "ephemeral": False,
    }  # fmt: skip


@pytest.mark.timeout(120)  # a hundred pages of a list are scrolled through
def test_ten_thousand_rows_are_scrolled_and_a_status_finds_its_own(
    server: Server, page: "Page", complaints: Complaints, many: int
) -> None:
    complaints.allow("404")  # their events are nowhere: why they failed cannot be said
    server.begin("etl")
    page.goto(server.page())
    scroller = page.get_by_role("table")
    expect(page.locator("[data-execution]").first).to_be_visible()
    total = page.get_by_role("button", name=re.compile(r"^All \d+"))
    expect(total).to_have_text("All 100+")
    page.evaluate(
        """async () => {
          const scroller = document.querySelector('[role=table]');
          const all = () => document.querySelector('[aria-label=Status] button').textContent;
          while (all() !== 'All 10,000') {
            scroller.scrollTop = scroller.scrollHeight;
            await new Promise((drawn) => requestAnimationFrame(drawn));
          }
          scroller.scrollTop = scroller.scrollHeight;
        }"""
    )
    expect(page.locator(f"[data-execution='{_entry(0)['execution_id']}']")).to_be_visible()
    assert page.locator("[data-execution]").count() < 100  # only those that are seen exist
    assert many == 10_000
    scroller.evaluate("(at) => at.scrollTo({ top: 0 })")
    page.get_by_role("button", name=re.compile("^Failed 10$")).click()
    expect(page.locator("[data-execution]")).to_have_count(10)


def test_a_status_is_found_without_reading_all_of_the_list(
    server: Server, page: "Page", complaints: Complaints, many: int
) -> None:
    complaints.allow("404")
    server.begin("etl")
    page.goto(server.page("?status=failed"))
    expect(page.locator("[data-execution]")).to_have_count(many // 1000)
    expect(page.get_by_role("button", name="Failed 10", exact=True)).to_be_visible()
    expect(page.get_by_role("button", name="All 110+")).to_be_visible()
