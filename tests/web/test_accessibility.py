"""axe-core finds nothing serious on any page, in light and dark, wide and narrow."""

from typing import TYPE_CHECKING, Any, Literal

import pytest

from tests.e2e.test_clients import MINUTE
from tests.web.conftest import PHONE, ROOT, WIDE, Complaints, Server

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
RUN = """async () => {
  const found = await axe.run({ resultTypes: ['violations'] });
  return found.violations.map((v) =>
    [v.impact, v.id, v.nodes.map((n) => [n.target.join(' '), n.failureSummary])]);
}"""


def violations(page: "Page") -> list[Any]:
    """What axe finds, but for what is of little weight."""
    page.evaluate(AXE.read_text())  # by the debugger: the page's policy would refuse a script
    return [one for one in page.evaluate(RUN) if one[0] in ("serious", "critical")]


def in_every_way(page: "Page") -> list[Any]:
    """In light and dark, wide and narrow."""
    found = []
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width, height in (WIDE, PHONE):
            page.set_viewport_size({"width": width, "height": height})
            found += [(scheme, width, one) for one in violations(page)]
            overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert overflow <= 0, f"{page.url} is wider than {width}"
    return found


def test_the_list_and_every_panel(server: Server, page: "Page") -> None:
    server.begin("etl", "answer", MINUTE)
    failed = server.start("etl", wait=True, fail=True)
    answer = server.start("answer", wait=True)
    running = server.start("minute", seconds=60)
    page.goto(server.page())
    expect(page.locator(f"[data-execution='{running}']")).to_be_visible()
    assert in_every_way(page) == []
    page.get_by_role("button", name="Start a flow").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert in_every_way(page) == []
    for execution_id, panel in (
        (failed, "graph"),
        (failed, "waterfall"),
        (answer, "logs"),
        (answer, "text"),
    ):
        page.goto(server.page(f"executions/{execution_id}?panel={panel}&node=verify"))
        expect(page.locator("[data-execution]")).not_to_have_attribute("data-count", "0")
        expect(page.get_by_role("tabpanel").locator("> *").first).to_be_visible()
        assert in_every_way(page) == []


def test_the_login(server: Server, page: "Page", complaints: Complaints) -> None:
    complaints.allow("401")
    server.begin("--auth")
    page.goto(server.page())
    expect(page.get_by_label("API key or token")).to_be_focused()
    assert in_every_way(page) == []


def test_everything_is_reached_by_the_keyboard(server: Server, page: "Page") -> None:
    server.begin("etl")
    execution_id = server.start("etl", wait=True)
    page.goto(server.page())
    row = page.locator(f"[data-execution='{execution_id}']").get_by_role("link")
    expect(row).to_be_visible()
    for _ in range(20):  # more steps than there are things before it
        page.keyboard.press("Tab")
        if row.evaluate("(link) => link === document.activeElement"):
            break
    page.keyboard.press("Enter")
    graph = page.get_by_role("tab", name="Graph")
    expect(graph).to_be_visible()
    graph.focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Waterfall")).to_be_focused()
    expect(page.get_by_role("tab", name="Waterfall")).to_have_attribute("aria-selected", "true")
