"""The scrubber: the whole page at any position, by hand, by keys, and played."""

import re
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_clients import MINUTE
from tests.web.conftest import HERE, Server, Shot

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

SHAPES = str(HERE / "shapes.py")
LOOKS = ((False, False), (True, False), (False, True))


def test_keys_go_through_the_log_event_by_event_and_by_moments(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin("answer")
    execution_id = server.start("answer", wait=True)
    head = server.head(execution_id)
    page.goto(server.page(f"executions/{execution_id}?panel=events"))
    position = page.get_by_test_id("position")
    expect(position).to_have_text(f"{head} / {head}")
    slider = page.get_by_role("slider", name="Position in the log")
    slider.focus()
    page.keyboard.press("Home")
    expect(position).to_have_text(f"1 / {head}")
    expect(page.locator("main [data-execution]")).to_have_attribute("data-status", "queued")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(position).to_have_text(f"4 / {head}")
    expect(page).to_have_url(re.compile("at=4"))
    expect(slider).to_have_attribute("aria-valuetext", re.compile(f"^Event 4 of {head}, "))
    page.keyboard.press("PageUp")  # node.completed is next
    expect(position).to_have_text(f"5 / {head}")
    page.keyboard.press("PageUp")
    page.keyboard.press("PageUp")  # over the tool's call and result: they move nothing
    expect(position).to_have_text(f"9 / {head}")
    for dark, phone in LOOKS:
        shot("scrubber", dark=dark, phone=phone)
    page.keyboard.press("PageDown")
    expect(position).to_have_text(f"6 / {head}")
    page.keyboard.press("ArrowLeft")
    expect(position).to_have_text(f"5 / {head}")
    page.keyboard.press("End")
    expect(position).to_have_text(f"{head} / {head}")
    expect(page).to_have_url(re.compile("panel=events$"))
    page.reload()
    expect(position).to_have_text(f"{head} / {head}")


def test_the_track_is_dragged_and_a_past_moment_does_not_tick(server: Server, page: "Page") -> None:
    server.begin(SHAPES)
    execution_id = server.start("trial", wait=True)
    page.goto(server.page(f"executions/{execution_id}"))
    node = page.locator("[data-node='shaky']").first
    expect(node).to_have_attribute("data-status", "completed")
    box = page.get_by_role("slider").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 10)
    page.mouse.down()
    expect(node).to_have_attribute("data-status", "retrying")  # the first wait, of two
    page.mouse.move(box["x"] + 1, box["y"] + 10)
    expect(page.locator("main [data-execution]")).not_to_have_attribute("data-status", "completed")
    page.mouse.up()
    shown = page.get_by_test_id("position").inner_text()
    assert int(shown.split(" / ")[0]) < 8
    page.get_by_role("slider").press("PageUp")
    # How long it ran is of that moment: milliseconds, whatever the clock says now.
    expect(page.locator("main header").first).to_contain_text(re.compile(r"\d+ ms"))


def test_a_log_is_played_to_its_end(server: Server, page: "Page") -> None:
    server.begin("etl")
    execution_id = server.start("etl", wait=True)
    page.goto(server.page(f"executions/{execution_id}"))
    page.get_by_label("Speed").select_option("max")
    position = page.get_by_test_id("position")
    page.get_by_role("button", name="Play").click()
    expect(position).to_have_text(re.compile(r"^[1-9] / 15"))  # reduced motion: step by step
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.get_by_role("button", name="Pause").click()
    at = position.inner_text()
    page.get_by_role("button", name="Play").click()  # from where it stood
    expect(position).not_to_have_text(at)
    expect(position).to_have_text("15 / 15")
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    expect(page.get_by_role("button", name="End")).to_be_disabled()


def test_playing_is_smooth_and_skips_pauses(server: Server, browser: "Browser") -> None:
    server.begin(MINUTE)
    execution_id = server.start("minute", wait=True, seconds=2)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.goto(server.page(f"executions/{execution_id}"))
    head = server.head(execution_id)
    expect(page.get_by_test_id("position")).to_have_text(f"{head} / {head}")
    page.get_by_label("Speed").select_option("2")
    seen = page.evaluate(
        """async () => {
          const slider = document.querySelector('[role=slider]');
          const [first, seen] = [performance.now(), new Set()];
          document.querySelector('[aria-label=Play]').click();
          do {
            await new Promise((drawn) => requestAnimationFrame(drawn));
            seen.add(slider.getAttribute('aria-valuenow'));
          } while (document.querySelector('[aria-label=Pause]') || seen.size < 2);
          return { seen: seen.size, ms: performance.now() - first };
        }"""
    )
    context.close()
    assert seen["seen"] > head / 3, seen  # most events had a frame of their own
    assert seen["ms"] > 900, seen  # two seconds at twice the speed: it does not run ahead of time


def test_a_live_execution_is_looked_at_as_it_was_while_it_goes_on(
    server: Server, page: "Page"
) -> None:
    server.begin(MINUTE)
    execution_id = server.start("minute", seconds=60)
    page.goto(server.page(f"executions/{execution_id}?at=3"))
    position = page.get_by_test_id("position")
    expect(position).to_have_text(re.compile(r"^3 / \d{2,}"))
    live = page.get_by_role("button", name="Live", exact=True)
    live.click()
    expect(live).to_be_disabled()
    expect(position).to_have_text(re.compile(r"^(\d+) / \1$"))
    expect(page).to_have_url(re.compile(f"{execution_id}$"))
