"""What an agent says, uses and gives, as a person watches it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.web.conftest import Server, Shot
from tests.web.test_accessibility import in_every_way

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

SPEAKER = str(Path(__file__).with_name("speaker.py"))


def test_an_agent_is_watched_as_it_speaks(
    server: Server, page: "Page", shot: Shot, tmp_path: Path
) -> None:
    server.begin(SPEAKER)
    execution = server.start("tides", hold=str(tmp_path), pause_s=0.01)
    page.goto(server.page(f"executions/{execution}"))  # what speaks is shown speaking
    constants = page.locator("[data-tool='constants']")
    expect(constants).to_have_attribute("data-status", "running")
    expect(page.get_by_text("Let me look at the constants of Brest.")).to_be_visible()
    (tmp_path / "constants").touch()
    expect(constants).to_have_attribute("data-status", "completed")
    figures = page.locator("[data-figure='tokens out']")
    expect(figures).to_contain_text("31")
    expect(page.locator("[data-figure='characters/s']")).to_be_visible()
    expect(page.locator("[data-speaking]")).to_be_visible()
    shot("text-live")
    (tmp_path / "text").touch()
    expect(figures).to_contain_text("245")  # they are summed
    final = page.get_by_role("region", name="Final output")
    expect(final).to_contain_text("completed")
    expect(page.locator("[data-speaking]")).to_have_count(0)


def test_markdown_tools_and_notes(server: Server, page: "Page", shot: Shot) -> None:
    server.begin(SPEAKER)
    execution = server.start("tides", wait=True)
    page.goto(server.page(f"executions/{execution}"))
    expect(page.get_by_role("cell", name="6.81 m")).to_be_visible()
    expect(page.get_by_role("heading", name="High water")).to_be_visible()
    shot("text")
    shot("text", dark=True)
    shot("text", phone=True)
    page.set_viewport_size({"width": 1280, "height": 800})
    said = page.get_by_role("region", name="Output", exact=True)
    expect(said).to_contain_text("<script>document.title")  # shown, and never done
    assert page.title() == "tides · Tailrace"
    link = page.get_by_role("link", name="More")
    expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")

    # A tool: what went in, what came out, what went wrong.
    weather = page.locator("[data-tool='weather']")
    expect(weather).to_have_attribute("data-status", "failed")
    expect(weather).to_contain_text("the weather service does not answer")
    constants = page.locator("[data-tool='constants']")
    constants.locator("summary").nth(1).focus()
    page.keyboard.press("Enter")
    value = constants.get_by_role("group", name="Output")
    expect(value).to_contain_text("{name, amplitude}")
    value.get_by_role("button", name="0:").click()
    expect(value).to_contain_text('"M2"')
    expect(said).to_contain_text("weather.skipped")
    expect(said).to_contain_text("reason=no answer")
    expect(page.get_by_role("region", name="check")).to_contain_text("almanac")
    shot("text-tool")
    assert in_every_way(page) == []
    page.set_viewport_size({"width": 1280, "height": 800})

    # As it was said, and so it stays.
    page.get_by_role("button", name="Markdown").click()
    expect(said).to_contain_text("## High water")
    page.reload()
    expect(said).to_contain_text("| 04:12 | 6.81 m | 5.20 m |")
    page.get_by_role("button", name="Markdown").click()
    expect(page.get_by_role("cell", name="6.81 m")).to_be_visible()

    # The scrubber: as it stood then.
    page.goto(server.page(f"executions/{execution}?at=5"))
    expect(page.get_by_text("Let me look at the constants of Brest.")).to_be_visible()
    expect(page.get_by_role("cell", name="6.81 m")).to_have_count(0)


def test_an_output_is_seen_as_it_is_made(server: Server, page: "Page", shot: Shot) -> None:
    server.begin("outline")
    execution = server.start("outline", wait=True)
    page.goto(server.page(f"executions/{execution}?panel=text&at=9"))
    document = page.get_by_test_id("document")
    expect(document).to_contain_text('"Tides"')
    expect(document).not_to_contain_text('"Sun"')
    shot("structured")
    page.get_by_role("button", name="End").click()
    final = page.get_by_role("region", name="Final output")
    expect(final).to_contain_text('"Sun"')
    expect(document).to_have_count(0)


def test_values_are_seen_as_they_come(
    server: Server, page: "Page", shot: Shot, tmp_path: Path
) -> None:
    server.begin(SPEAKER)
    execution = server.start("levels", count=150, hold=str(tmp_path), pause_s=0.02)
    page.goto(server.page(f"executions/{execution}?panel=text"))
    values = page.get_by_role("region", name="Values")
    expect(values).to_contain_text(re.compile(r"\d+/s"))
    shot("items")
    (tmp_path / "last").touch()
    expect(page.get_by_role("region", name="Final output")).to_contain_text("completed")
    newest = values.get_by_role("listitem").first
    expect(newest).to_contain_text("149")
    newest.get_by_role("button").first.click()
    expect(newest.get_by_role("group", name="Value 149")).to_contain_text('station: "Brest"')
    expect(values.get_by_role("listitem")).to_have_count(100)
    values.get_by_role("button", name="Show 50 more").click()
    expect(values.get_by_role("listitem")).to_have_count(150)


def test_what_is_large_is_asked_for(server: Server, page: "Page") -> None:
    server.begin(SPEAKER)
    execution = server.start("charts", wait=True)
    page.goto(server.page(f"executions/{execution}?panel=text"))
    newest = page.get_by_role("region", name="Values").get_by_role("listitem").first
    newest.get_by_role("button").click()
    newest.get_by_role("button", name="Load all of it").click()
    value = newest.get_by_role("group", name="Value 1")
    expect(value).to_contain_text("20,000 items")
    expect(value).to_contain_text('"seabed"')
    tool = page.locator("[data-tool='draw']").first
    tool.locator("summary").nth(1).click()
    tool.get_by_role("button", name="Load all of it").click()
    value = tool.get_by_role("group", name="Output")
    expect(value.get_by_role("button", name="99:")).to_be_visible()
    value.get_by_role("button", name="5,900 more").click()
    expect(value.get_by_role("button", name="1099:")).to_be_visible()
