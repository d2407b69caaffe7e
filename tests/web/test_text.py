"""What an agent says, uses and gives, as a person watches it."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.web.conftest import Server, Shot

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright")
from playwright.sync_api import expect  # noqa: E402

pytestmark = pytest.mark.timeout(60)  # a browser starts, beside a server
expect.set_options(timeout=15_000)

SPEAKER = str(Path(__file__).with_name("speaker.py"))


def test_an_agent_speaks(server: Server, page: "Page", shot: Shot) -> None:
    server.begin(SPEAKER, "outline")
    execution = server.start("tides", wait=True)
    page.goto(server.page(f"executions/{execution}"))
    expect(page.get_by_role("table")).to_be_visible()
    shot("text")
    shot("text", dark=True)
    shot("text", phone=True)
    execution = server.start("levels", wait=True)
    page.goto(server.page(f"executions/{execution}?panel=text"))
    expect(page.get_by_role("region", name="Output", exact=True)).to_contain_text("level_m")
    page.set_viewport_size({"width": 1280, "height": 800})
    shot("items")
    execution = server.start("outline", wait=True)
    page.goto(server.page(f"executions/{execution}?panel=text"))
    expect(page.get_by_role("region", name="Output", exact=True)).to_contain_text("Moon")
    shot("structured")
