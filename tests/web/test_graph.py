"""The graph and the waterfall, as people see them."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.web.conftest import Server, Shot
from tests.web.engine import Engine, completed, event, graph, started

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytest.importorskip("playwright")
from playwright.sync_api import expect  # noqa: E402

pytestmark = pytest.mark.timeout(60)  # a browser starts, beside a server
expect.set_options(timeout=15_000)

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
            expect(edge(page, "parse → verify")).to_have_attribute("data-look", "busy")
            expect(edge(page, "verify → report")).to_have_attribute("data-look", "idle")
        etl.tell(completed(name, at, {"rows": list(range(100)), "from": name}))
        expect(card(page, name)).to_have_attribute("data-status", "completed")
        expect(card(page, name)).to_contain_text("400 ms")
    expect(edge(page, "parse → verify")).to_have_attribute("data-look", "passed")


def test_shots(server: Server, page: "Page", shot: Shot) -> None:
    server.begin("orders", "etl", "answer")
    one = server.start("orders", wait=True)
    open_page(page, server, one)
    expect(card(page, "confirm")).to_have_attribute("data-status", "completed")
    shot("graph-orders")
    one = server.start("answer", wait=True, question="Which time zones has Brazil?")
    open_page(page, server, one, panel="graph")
    shot("graph-learned")
    one = server.start("etl", wait=True)
    open_page(page, server, one, panel="graph")
    expect(card(page, "report")).to_have_attribute("data-status", "completed")
    card(page, "parse").click()
    shot("graph-selected")
