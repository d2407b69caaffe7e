"""The inspector: nodes, events, errors, attempts, large values, and the list of all events."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.web.conftest import HERE, Server, Shot

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

SHAPES = str(HERE / "shapes.py")
LOOKS = ((False, False), (True, False), (False, True))


def test_a_failed_node_tells_its_error_and_its_attempts(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin(SHAPES)
    execution_id = server.start("trial", wait=True, fail=True)
    page.goto(server.page(f"executions/{execution_id}"))
    beside = page.get_by_role("complementary", name="Inspector")
    expect(beside).to_contain_text("ConnectionError")
    page.locator("[data-node='shaky']").first.click()
    expect(beside.get_by_role("heading", name="shaky")).to_be_visible()
    expect(beside).to_contain_text("the peer closed the connection")
    tries = beside.get_by_role("listitem").filter(has_text="ConnectionError: try")
    expect(tries).to_have_count(3)
    expect(tries.nth(1)).to_contain_text(re.compile(r"2.*\+\d+ ms.*try 2 of 3", re.DOTALL))
    expect(beside).to_contain_text("fail from the input")
    for dark, phone in LOOKS:
        shot("inspector", dark=dark, phone=phone)
    page.set_viewport_size({"width": 1280, "height": 800})
    beside.get_by_role("button", name="begin", exact=True).click()
    expect(beside.get_by_role("heading", name="begin")).to_be_visible()
    expect(page).to_have_url(re.compile("node=begin"))
    page.keyboard.press("Escape")
    expect(page).to_have_url(re.compile(f"{execution_id}$"))


def test_a_large_value_is_fetched_when_somebody_wants_it(server: Server, page: "Page") -> None:
    server.begin(SHAPES)
    execution_id = server.start("trial", wait=True, size=50_000)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.page(f"executions/{execution_id}?node=begin"))
    show = page.get_by_role("button", name="Show all 50 kB")
    expect(show).to_be_visible()
    assert not [url for url in asked if "/payloads/" in url]
    show.click()
    tree = page.get_by_role("tree", name="output of begin")
    expect(tree).to_contain_text("size50000")
    assert len([url for url in asked if "/payloads/" in url]) == 1


def test_json_is_folded_searched_and_copied(server: Server, page: "Page") -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    server.begin(SHAPES)
    execution_id = server.start("trial", wait=True)
    page.goto(server.page(f"executions/{execution_id}?event=4"))
    tree = page.get_by_role("tree", name="data of event 4")
    tree.focus()
    page.keyboard.press("ArrowLeft")
    expect(tree.get_by_role("treeitem")).to_have_count(1)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(tree.get_by_role("treeitem", selected=True)).to_contain_text("duration_ms")
    page.get_by_label("Search in data of event 4").fill("preview")
    expect(page.get_by_text("1 of 1")).to_be_visible()
    expect(tree.get_by_role("treeitem", selected=True)).to_contain_text("preview")
    page.get_by_role("button", name="Copy the path").click()
    assert page.evaluate("navigator.clipboard.readText()") == "$.output_summary.preview"
    page.get_by_role("button", name="Copy the value").click()
    assert "needle" in page.evaluate("navigator.clipboard.readText()")


def test_each_event_is_listed_inspected_and_linked(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin("answer")
    execution_id = server.start("answer", wait=True)
    page.goto(server.page(f"executions/{execution_id}"))
    page.get_by_role("tab", name="Events").click()
    head = server.head(execution_id)
    expect(page.get_by_text(f"{head} events", exact=True)).to_be_visible()
    page.get_by_role("button", name="other", exact=True).click()
    expect(page.locator("[data-event]")).to_have_count(4)
    expect(page.locator("[data-event]").first).to_contain_text("zones")
    page.locator("[data-event]").first.click()
    beside = page.get_by_role("complementary", name="Inspector")
    expect(beside).to_contain_text("call_id")
    page.get_by_role("listbox", name="Events").focus()
    page.keyboard.press("ArrowDown")
    expect(beside).to_contain_text("America/Sao_Paulo")
    event = int(re.findall(r"event=(\d+)", page.url)[0])
    for dark, phone in LOOKS:
        shot("events", dark=dark, phone=phone)
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(server.page(f"executions/{execution_id}?panel=events&event={event}"))  # the link
    expect(beside.get_by_role("heading", name=f"Event {event}")).to_be_visible()
    expect(page.locator(f"[data-event='{event}']")).to_have_attribute("aria-selected", "true")
    beside.get_by_role("button", name="Next").click()
    expect(page).to_have_url(re.compile(f"event={event + 1}"))
    beside.get_by_role("button", name="Show the page at it").click()
    expect(page.get_by_test_id("position")).to_have_text(f"{event + 1} / {head}")
    expect(page.get_by_text(f"{event + 1} events", exact=True)).to_be_visible()
    page.goto(server.page(f"executions/{execution_id}?node=look+up"))
    beside.get_by_role("button", name="Events of look up").click()
    expect(page.locator("[data-event]")).to_have_count(4)
