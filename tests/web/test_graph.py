"""The graph and the waterfall, as people see them."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.conftest import WIDE, Server, Shot
from tests.web.engine import Engine, completed, event, graph, started

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

pytest.importorskip("playwright")
from playwright.sync_api import expect

Trace = Callable[[], list[int]]
EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"


def card(page: "Page", name: str) -> "Locator":
    return page.locator(f"[data-node='{name}']")


def edge(page: "Page", name: str) -> "Locator":
    return page.locator(f"[data-edge='{name}']")


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((EXAMPLES / f"{name}.json").read_text())
    return found


def open_page(page: "Page", server: Server, execution_id: str, **query: str) -> None:
    given = "&".join(f"{name}={value}" for name, value in query.items())
    page.goto(server.page(f"executions/{execution_id}?{given}"))
    expect(page.locator("[data-execution]")).to_have_attribute("data-execution", execution_id)


def test_nodes_light_up_in_their_order_while_they_run(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin()
    etl = Engine(server, example("etl"), "etl")
    open_page(page, server, etl.id, panel="graph")
    expect(card(page, "extract")).to_have_attribute("data-status", "new")
    at = 0.1
    for name in ("extract", "parse", "by_country", "by_hemisphere", "verify"):
        etl.tell(started(name, at))
        expect(card(page, name)).to_have_attribute("data-status", "running")
        expect(card(page, name)).to_contain_text("running")
        expect(card(page, "report")).to_have_attribute("data-status", "new")
        at += 0.4
        if name == "verify":
            shot("graph-live")
            shot("graph-live", dark=True)
            shot("graph-live", phone=True)
            shot("graph-live", dark=True, phone=True)
            page.set_viewport_size({"width": WIDE[0], "height": WIDE[1]})
            expect(edge(page, "parse → verify")).to_have_attribute("data-look", "busy")
            expect(edge(page, "verify → report")).to_have_attribute("data-look", "idle")
        etl.tell(completed(name, at, {"rows": list(range(100)), "from": name}))
        expect(card(page, name)).to_have_attribute("data-status", "completed")
        expect(card(page, name)).to_contain_text("400 ms")
    expect(edge(page, "parse → verify")).to_have_attribute("data-look", "passed")


# A quarter along an edge, where no label is.
ON_PATH = """path => {
    const at = path.getPointAtLength(path.getTotalLength() / 4).matrixTransform(path.getScreenCTM());
    return [at.x, at.y];
}"""


def test_retries_progress_and_failure_are_told(server: Server, page: "Page", shot: Shot) -> None:
    server.begin()
    job = Engine(server, graph(["fetch", "clean", "load"], [("fetch", "clean"), ("clean", "load")]))
    open_page(page, server, job.id, panel="graph")
    error = {"type": "ConnectionError", "message": "no route"}
    job.tell(started("fetch", 1), event("node.retrying", "fetch", 2, error=error, delay_ms=500))
    expect(card(page, "fetch")).to_contain_text("retrying")
    job.tell(started("fetch", 3, attempt=2))
    expect(card(page, "fetch")).to_contain_text("attempt 2")
    job.tell(event("node.progress", "fetch", 4, attempt=2, percent=40, message="4 of 10"))
    bar = card(page, "fetch").get_by_role("progressbar")
    expect(bar).to_have_attribute("aria-valuenow", "40")
    expect(card(page, "fetch")).to_contain_text("4 of 10")
    job.tell(completed("fetch", 5, [1, 2], attempt=2), started("clean", 5))
    job.tell(event("node.failed", "clean", 6, error={"type": "ValueError", "message": "dirt"}))
    expect(card(page, "clean")).to_have_attribute("data-status", "failed")
    expect(card(page, "clean")).to_contain_text("failed")
    expect(card(page, "load")).to_contain_text("waiting")
    expect(edge(page, "fetch → clean")).to_have_attribute("data-look", "passed")
    shot("graph-failed")
    # What a node gave is told where it is looked at, by mouse or by key.
    card(page, "fetch").hover()
    expect(page.get_by_test_id("tip")).to_have_text("gave 5 B[1,2]")
    point = edge(page, "fetch → clean").locator("path").first.evaluate(ON_PATH)
    page.mouse.move(*point)
    label = page.locator("[data-label='fetch → clean']")
    expect(label).to_have_text("p1 · 5 B[1,2]")
    shot("graph-edge")


def test_branches_subflows_maps_and_streams_are_told_apart(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin("orders")
    execution_id = server.start("orders", wait=True)
    open_page(page, server, execution_id, panel="graph")
    expect(card(page, "book")).to_have_attribute("data-status", "skipped")
    expect(card(page, "book")).to_contain_text("carrier is otherwise, not freight")
    expect(edge(page, "carrier → book")).to_have_attribute("data-look", "skipped")
    expect(page.locator("[data-label='carrier → stamp']")).to_contain_text("otherwise")
    expect(page.locator("[data-label='papers → collect']")).to_contain_text("2 items")
    expect(card(page, "pricing/price")).to_contain_text("2 of 2")
    for name, kind in (("trigger", "input"), ("confirm", "output"), ("papers", "streaming")):
        expect(card(page, name).get_by_role("img", name=kind)).to_be_visible()
    shot("graph-orders")
    shot("graph-orders", dark=True)
    page.get_by_role("button", name="pricing 2").click()  # the frame closes to one card
    expect(card(page, "pricing/price")).to_have_count(0)
    page.locator("[data-group='flow:pricing/']").click()
    expect(card(page, "pricing/price")).to_be_visible()
    # The same in words, at any position.
    page.goto(server.page(f"executions/{execution_id}?panel=graph&view=list&at=3"))
    row = page.get_by_role("list", name="Nodes").locator("[data-node='pricing/price']")
    expect(row).to_contain_text("running")
    expect(row).to_contain_text("after trigger")
    shot("graph-list")


def test_a_stream_beats_with_its_rate_and_stands_still_for_who_wants_that(
    server: Server, page: "Page", shot: Shot
) -> None:
    url = server.begin("s2_site")
    execution_id = server.start("s2_site", site=f"{url}/healthz", updates=10_000, every_ms=50)
    page.emulate_media(reduced_motion="no-preference")
    open_page(page, server, execution_id, panel="graph")
    watch = card(page, "watch")
    expect(watch).to_contain_text(re.compile(r"\d/s"))
    pulse = watch.get_by_test_id("pulse")
    expect(pulse).to_have_css("animation-name", re.compile("beat"))
    flow = edge(page, "probe → watch").locator("path").nth(2)
    expect(flow).to_have_css("animation-name", re.compile("run"))
    page.emulate_media(reduced_motion="reduce")
    expect(pulse).to_have_css("animation-name", "none")
    expect(flow).to_have_css("animation-name", "none")
    shot("graph-stream")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Cancel execution").click()
    expect(watch).to_have_attribute("data-status", "cancelled")
    expect(pulse).to_have_count(0)


def test_what_no_graph_names_grows_and_stays_where_it_is(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin("answer")
    agent = server.start("answer", wait=True)
    open_page(page, server, agent, panel="graph")
    expect(edge(page, "understand → look up")).to_be_attached()
    job = Engine(server)
    open_page(page, server, job.id, panel="graph")
    expect(page.get_by_text("No nodes yet")).to_be_visible()
    job.tell(started("plan", 1), completed("plan", 2), started("read", 2), started("search", 2.1))
    places = {name: place(card(page, name)) for name in ("plan", "read", "search")}
    job.tell(completed("search", 3), started("write", 3.2), started("check", 3.3))
    expect(card(page, "check")).to_have_attribute("data-status", "running")
    expect(edge(page, "search → write")).to_be_attached()
    assert {name: place(card(page, name)) for name in places} == places
    shot("graph-learned")
    # A position of the log has only what was known there.
    page.goto(server.page(f"executions/{job.id}?panel=graph&at=4"))
    expect(card(page, "plan")).to_have_attribute("data-status", "completed")
    expect(card(page, "read")).to_have_count(0)


def place(shown: "Locator") -> str:
    """Where a card stands in the drawing, whatever the zoom."""
    return str(shown.locator("xpath=..").evaluate("node => node.style.transform"))


def test_the_keyboard_goes_along_the_edges(server: Server, page: "Page") -> None:
    server.begin("etl")
    open_page(page, server, server.start("etl", wait=True), panel="graph")
    expect(card(page, "report")).to_have_attribute("data-status", "completed")
    page.get_by_role("button", name="List").focus()
    page.keyboard.press("Tab")
    expect(card(page, "trigger")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(card(page, "extract")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(card(page, "parse")).to_be_focused()
    expect(page.get_by_test_id("tip")).to_contain_text('"country":"AD"')
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("node=parse"))
    page.keyboard.press("ArrowUp")
    expect(card(page, "extract")).to_be_focused()
    page.keyboard.press("End")
    expect(card(page, "report")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page).not_to_have_url(re.compile("node="))
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Zoom out")).to_be_focused()


@pytest.fixture
def trace(browser: "Browser", page: "Page") -> Iterator[Trace]:
    """The browser's own trace: asked at the end, the tasks over 200 ms after the first second.

    A task counts by its thread's time: what other programs took of the processor is not the page's.
    """
    browser.start_tracing(page=page, categories=["toplevel", "blink.user_timing", "__metadata"])
    stopped: list[bytes] = []

    def long_tasks() -> list[int]:
        stopped.append(browser.stop_tracing())
        events = json.loads(stopped[0])["traceEvents"]
        began = max(one["ts"] for one in events if one["name"] == "navigationStart")
        mains = {
            (one["pid"], one["tid"])
            for one in events
            if one["name"] == "thread_name" and one["args"]["name"] == "CrRendererMain"
        }
        took = [
            (one["ts"], one.get("tdur", 0) // 1000)
            for one in events
            if one["name"] == "ThreadControllerImpl::RunTask"
            and (one["pid"], one["tid"]) in mains
            and one["ts"] > began
        ]
        assert sum(ms for _, ms in took) > 50, "the trace has none of the page's tasks"
        later = [ms for ts, ms in took if ts > began + 1_000_000]
        print("longest tasks, ms:", sorted(later)[-5:])
        return [ms for ms in later if ms > 200]

    yield long_tasks
    if not stopped:
        browser.stop_tracing()


def test_five_hundred_nodes_stay_smooth(
    server: Server, page: "Page", shot: Shot, trace: Trace
) -> None:
    server.begin()
    wide, deep = 25, 20
    names = [f"n{row}_{column}" for row in range(deep) for column in range(wide)]
    edges = [
        (f"n{row - 1}_{from_}", f"n{row}_{column}")
        for row in range(1, deep)
        for column in range(wide)
        for from_ in {column, (column * 7 + row) % wide}
    ]
    job = Engine(server, graph(names, edges))
    open_page(page, server, job.id, panel="graph")
    expect(card(page, "n0_0")).to_be_visible()
    for row in range(deep):
        layer = [f"n{row}_{column}" for column in range(wide)]
        job.tell(*(started(name, 1 + row) for name in layer))
        if row == deep // 2:
            expect(card(page, layer[0])).to_have_attribute("data-status", "running")
            shot("graph-500")
        job.tell(*(completed(name, 1.5 + row) for name in layer))
    expect(card(page, names[0])).to_have_attribute("data-status", "completed")
    page.mouse.move(400, 400)
    for step in range(20):
        page.mouse.wheel(30 if step % 2 else -30, 40)
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Fit").click()
    assert not trace()


def test_ten_thousand_nodes_collapse_into_groups(
    server: Server, page: "Page", shot: Shot, trace: Trace
) -> None:
    server.begin()
    job = Engine(server)
    open_page(page, server, job.id, panel="graph")
    names = [f"row {number}" for number in range(10_000)]
    for first in range(0, len(names), 500):
        some = names[first : first + 500]
        at = first / 500
        job.tell(*(started(name, at) for name in some))
        job.tell(*(completed(name, at + 0.5) for name in some))
    group = page.locator("[data-group]", has_text="9901–10000")
    expect(group).to_contain_text("100")
    assert page.locator("[data-group]").count() <= 100
    expect(card(page, "row 9999")).to_have_count(0)
    shot("graph-10000")
    group.focus()
    page.keyboard.press("Enter")
    expect(card(page, "row 9999")).to_have_attribute("data-status", "completed")
    shot("graph-10000-open")
    assert not trace()


def layers(wide: int, deep: int) -> tuple[list[str], list[tuple[str, str]]]:
    """The names and the edges of nodes in layers, each below one of the layer before."""
    names = [f"n{row}_{column}" for row in range(deep) for column in range(wide)]
    edges = [(f"n{row - 1}_{c}", f"n{row}_{c}") for row in range(1, deep) for c in range(wide)]
    return names, edges


@pytest.mark.timeout(120)  # as it says
def test_a_graph_of_ten_thousand_is_drawn_before_it_runs(
    server: Server, page: "Page", shot: Shot, trace: Trace
) -> None:
    server.begin()
    wide, deep = 500, 20
    names, edges = layers(wide, deep)
    job = Engine(server, graph(names, edges))  # too large for an event: it is fetched
    open_page(page, server, job.id, panel="graph")
    expect(page.locator("[data-group]")).to_have_count(deep)
    job.tell(*(started(name, 1) for name in names[:wide]))
    expect(page.get_by_role("button", name="Layer 2 running 500")).to_be_visible()
    shot("graph-10000-planned")
    assert not trace()


def test_a_large_graph_collapses_into_its_layers(
    server: Server, page: "Page", shot: Shot, trace: Trace
) -> None:
    server.begin()
    wide = 120
    names, edges = layers(wide, 10)
    job = Engine(server, graph(names, edges))
    job.tell(*(started(name, 1) for name in names[: 2 * wide]))
    job.tell(*(completed(name, 2) for name in names[:wide]))
    open_page(page, server, job.id, panel="graph")
    layer = page.locator("[data-group]", has_text="Layer 3")
    expect(layer).to_contain_text("120 nodes")
    expect(layer.get_by_role("img", name="running")).to_be_visible()
    shot("graph-layers")
    layer.click()
    page.locator("[data-group]", has_text="101–120").click()
    expect(card(page, "n1_119")).to_have_attribute("data-status", "running")
    shot("graph-layers-open")
    assert not trace()


def test_the_waterfall_has_each_try_its_wait_and_the_critical_path(
    server: Server, page: "Page", shot: Shot
) -> None:
    server.begin()
    names = ["fetch", "parse", "count", "check", "report"]
    edges = [("fetch", "parse"), ("fetch", "count"), ("parse", "check"), ("count", "report")]
    job = Engine(server, graph(names, [*edges, ("check", "report")]))
    lost = {"type": "ConnectionError", "message": "no route to host"}
    job.tell(
        event("node.queued", "fetch", 0.2),
        started("fetch", 1.2),
        event("node.retrying", "fetch", 3, error=lost, delay_ms=1000),
        started("fetch", 4, attempt=2),
        completed("fetch", 8, attempt=2),
        event("node.queued", "parse", 8),
        event("node.queued", "count", 8),
        started("parse", 8.5),
        started("count", 9),
        completed("count", 13),
        completed("parse", 20),
        started("check", 20.5),
        completed("check", 24),
        started("report", 24.2),
    )
    open_page(page, server, job.id, panel="waterfall")
    rows = page.get_by_role("list", name="Timeline of nodes").get_by_role("button")
    expect(rows).to_have_count(6)  # five nodes, one of them tried twice
    tries = page.locator("[data-bar='fetch']")
    expect(tries.nth(0)).to_have_attribute("data-status", "retrying")
    expect(tries.nth(0)).to_contain_text("waited 1.00 s, ran 1.80 s")
    expect(tries.nth(1)).to_contain_text("paused 1.00 s before, ran 4.00 s")
    expect(page.locator("[data-bar='report'] [data-piece='run']")).to_have_attribute(
        "data-open", "true"
    )
    shot("waterfall-live")
    job.tell(completed("report", 26), event("execution.completed", None, 26.05))
    expect(page.locator("[data-bar='report']")).to_have_attribute("data-status", "completed")
    # What the whole waited for: not count, which ended while parse still ran.
    for name, is_critical in (("fetch", True), ("parse", True), ("count", False), ("check", True)):
        shown = page.locator(f"[data-bar='{name}']").first
        if is_critical:
            expect(shown).to_have_attribute("data-critical", "true")
        else:
            expect(shown).not_to_have_attribute("data-critical", "true")
    expect(page.get_by_text("26.0 s", exact=True).first).to_be_visible()
    shot("waterfall")
    shot("waterfall", dark=True)
    shot("waterfall", phone=True)
    shot("waterfall", dark=True, phone=True)
    page.set_viewport_size({"width": 1280, "height": 800})
    only = page.get_by_role("button", name=re.compile("^Critical path"))
    only.click()
    expect(rows).to_have_count(5)
    only.click()
    # By keyboard: down the rows, what stands there is told; z goes near, Escape back.
    rows.first.focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_test_id("detail")).to_contain_text("attempt 2")
    page.keyboard.press("ArrowUp")
    expect(page.get_by_test_id("detail")).to_contain_text("ConnectionError: no route to host")
    page.keyboard.press("z")
    expect(page.get_by_role("button", name="Show all")).to_be_enabled()
    shot("waterfall-zoomed")
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Show all")).to_be_disabled()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("node=fetch"))
    # A click on the axis goes to that moment of the log.
    box = page.get_by_test_id("axis").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + 10)
    expect(page).to_have_url(re.compile(r"at=\d+"))
    expect(page.get_by_test_id("moment")).to_be_visible()
    expect(page.locator("[data-bar='check']")).to_have_count(0)  # it had not begun
    expect(page.locator("[data-bar='count']")).to_have_attribute("data-status", "running")
    shot("waterfall-position")


def test_the_waterfall_draws_only_the_rows_that_are_seen(
    server: Server, page: "Page", trace: Trace
) -> None:
    server.begin()
    job = Engine(server)
    for first in range(0, 10_000, 500):
        some = [f"row {number}" for number in range(first, first + 500)]
        job.tell(*(started(name, first / 250) for name in some))
        job.tell(*(completed(name, first / 250 + 1) for name in some))
    open_page(page, server, job.id, panel="waterfall")
    bars = page.locator("[data-bar]")
    expect(page.locator("[aria-setsize='10000']").first).to_be_visible()
    assert bars.count() < 80
    bars.first.focus()
    page.keyboard.press("End")
    expect(page.locator("[data-bar='row 9999']")).to_be_focused()
    assert bars.count() < 80
    assert not trace()
