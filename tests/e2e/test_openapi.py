"""The OpenAPI document, taken at its word by schemathesis: whatever fits it is never a 5xx."""

from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, settings

from tests.e2e.conftest import Shell, start_flow

FLOWS = """
from typing import Any
from tailrace import flow, node

@node(effects="pure")
async def same(n: Any) -> Any:
    return n

@flow
def quick(n: Any = None) -> object:
    return same(n)
"""
EXAMPLES = 25  # of each operation
LISTENED_S = 10.0


@pytest.fixture
def url(shell: Shell, tmp_path: Path) -> str:
    (tmp_path / "flows.py").write_text(FLOWS)
    _, url = shell.serve("flows.py", "--allow-workload", "noop=true")
    start_flow(url, "quick")
    return url


@pytest.mark.timeout(150)  # some five hundred requests, made by a program that is in no hurry
def test_schemathesis_finds_no_server_error(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    schema: Any = schemathesis.openapi.from_dict(document)
    operations = [found.ok() for found in schema.get_all_operations()]
    described = sum(len(item) for item in document["paths"].values())
    assert len(operations) == described  # none was left out because it was not understood
    statuses: set[int] = set()
    with requests.Session() as session:
        for operation in operations:
            _exercise(operation, url, session, statuses)
    assert {200, 400, 404} <= statuses


def _exercise(operation: Any, url: str, session: requests.Session, statuses: set[int]) -> None:
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )
    @given(case=operation.as_strategy())
    def answer(case: Any) -> None:
        sent = case.as_transport_kwargs(base_url=url)
        # Streams do not end: what they say first is their status, and that is what counts.
        with session.request(**sent, stream=True, timeout=LISTENED_S) as response:
            assert response.status_code < 500, (sent, response.text)
            statuses.add(response.status_code)

    answer()
