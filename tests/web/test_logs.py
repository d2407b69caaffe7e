"""The logs, as a person reads them: followed, searched, filtered, linked to, copied, kept."""

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

LOUD = str(Path(__file__).with_name("loud.py"))


def test_lines_are_followed_and_found(server: Server, page: "Page", shot: Shot) -> None:
    server.begin(LOUD)
    execution = server.start("orders", wait=True)
    page.goto(server.page(f"executions/{execution}?panel=logs"))
    log = page.get_by_role("log")
    expect(log).to_contain_text("one order has no price")
    shot("logs")
    shot("logs", dark=True)
    shot("logs", phone=True)
