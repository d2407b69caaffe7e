"""Starting a flow: a form from its schema, its JSON, and what the server has against it."""

import json
import re
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.web.conftest import HERE, Complaints, Server, Shot

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

SHAPES = str(HERE / "shapes.py")


def _input(server: Server, page: "Page") -> dict[str, Any]:
    """What the execution whose page is shown was started with."""
    expect(page).to_have_url(re.compile(r"/executions/\w+"))
    execution_id = re.findall(r"/executions/(\w+)", page.url)[0]
    answer = httpx.get(server.executions(execution_id)).raise_for_status().json()
    return dict(answer["input"])


def test_a_form_starts_a_flow_with_an_input_of_every_kind(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin("etl", SHAPES)
    page.goto(server.page())
    page.get_by_role("button", name="Start a flow").click()
    page.get_by_role("dialog").get_by_label("Flow").select_option("shape")
    start = page.get_by_role("button", name="Start", exact=True)
    start.click()
    expect(page.get_by_label("Title")).to_be_focused()  # the first that is wrong
    expect(page.get_by_text("This is needed")).to_be_visible()
    page.get_by_label("Title").fill("bridge")
    page.get_by_role("button", name="+ Add to parts").click()
    page.get_by_label("Name").fill("deck")
    page.get_by_label("Width").fill("501")
    page.get_by_label("Scale").fill("1.50")
    page.get_by_label("Copies").fill("2.5")
    start.click()
    for said in ("It has to match ^[A-Z]", "At most 500", "A whole number is needed"):
        expect(page.get_by_text(said)).to_be_visible()
    for dark, phone in ((False, False), (True, False), (False, True)):
        shot("start", dark=dark, phone=phone)
    page.get_by_label("Title").fill("Bridge")
    page.get_by_label("Width").fill("40")
    page.get_by_label("Copies").fill("3")
    page.get_by_role("dialog").get_by_label("Colour").select_option("blue")
    page.get_by_label("Glossy").check()
    page.get_by_label("Due").fill("2026-11-22T10:30:00")
    page.get_by_role("button", name="+ Add to tags").click()
    page.get_by_role("textbox", name="Tags 1", exact=True).fill("steel")
    page.get_by_label("Api Key").fill("hidden-from-others")
    expect(page.get_by_label("Api Key")).to_have_attribute("type", "password")
    start.click()
    given = _input(server, page)
    assert given["due"].startswith("2026-11-2")  # in UTC, from the browser's own zone
    assert {name: given[name] for name in ("title", "scale", "copies", "colour", "glossy")} == {
        "title": "Bridge", "scale": 1.5, "copies": 3, "colour": "blue", "glossy": True,
    }  # fmt: skip
    assert given["parts"] == [{"name": "deck", "width": 40, "note": None}]
    assert given["tags"] == ["steel"]


def test_the_last_input_is_remembered_without_its_secrets(server: Server, page: "Page") -> None:
    server.begin(SHAPES)
    page.goto(server.page("?start=shape"))
    page.get_by_role("button", name="JSON").click()
    given = {"title": "Arch", "parts": [{"name": "keystone"}], "api_key": "hidden-from-others"}
    page.get_by_label("Input as JSON").fill(json.dumps(given))
    page.keyboard.press("Control+Enter")
    assert _input(server, page)["title"] == "Arch"
    kept = str(page.evaluate("JSON.stringify({...localStorage})"))
    assert "keystone" in kept
    assert "hidden" not in kept
    page.goto(server.page("?start=shape"))
    expect(page.get_by_label("Title")).to_have_value("Arch")
    expect(page.get_by_label("Name")).to_have_value("keystone")
    expect(page.get_by_label("Api Key")).to_have_value("")
    page.get_by_role("button", name="Use the presets").click()
    expect(page.get_by_label("Title")).to_have_value("")


def test_what_the_server_refuses_is_said_at_its_field(
    server: Server, page: "Page", complaints: Complaints
) -> None:
    complaints.allow("422")
    server.begin(SHAPES)

    def strict(route: Any) -> None:
        """The catalog of a server whose schema says less than it checks."""
        body = route.fetch().json()
        for flow in body["flows"]:
            flow["trigger"]["input_schema"].get("$defs", {}).get("Part", {}).get(
                "properties", {}
            ).get("width", {}).pop("maximum", None)
        route.fulfill(json=body)

    page.route("**/api/v1/catalog", strict)
    page.goto(server.page("?start=shape"))
    page.get_by_label("Title").fill("Bridge")
    page.get_by_role("button", name="+ Add to parts").click()
    page.get_by_label("Name").fill("deck")
    page.get_by_label("Width").fill("9000")
    page.get_by_role("button", name="Start", exact=True).click()
    field = page.locator("[data-field='parts.0.width']")
    expect(field).to_contain_text("less than or equal to 500")
    expect(page.get_by_label("Width")).to_be_focused()
    expect(page.get_by_role("alert")).to_contain_text("invalid_input")
    page.get_by_label("Width").fill("90")
    expect(field).not_to_contain_text("less than")
    page.get_by_role("button", name="JSON").click()
    page.get_by_label("Input as JSON").fill('{"title": ')
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("This is no JSON")).to_be_visible()
    page.get_by_label("Input as JSON").fill('{"title": "Bridge", "parts": [], "colour": "pink"}')
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_text("colour: Input should be").first).to_be_visible()


def test_a_deadline_is_under_more(server: Server, page: "Page") -> None:
    server.begin(SHAPES)
    page.goto(server.page("?start=percent"))
    page.get_by_text("More", exact=True).click()
    page.get_by_label("Deadline").fill("0.2")
    page.get_by_label("Remove it soon").check()
    page.get_by_role("button", name="Start", exact=True).click()
    shown = page.locator("main [data-execution]")
    expect(shown).to_have_attribute("data-status", "timed_out")
    expect(page.get_by_text("Stopped at its deadline of 200 ms")).to_be_visible()
    page.get_by_role("navigation").get_by_role("link", name="Executions").click()
    expect(page.locator("[data-execution]")).to_contain_text("ephemeral")


def test_a_server_without_flows_says_how_to_get_them(server: Server, page: "Page") -> None:
    server.begin()
    page.goto(server.page("?start=new"))
    expect(page.get_by_text("tailrace serve etl answer")).to_be_visible()
