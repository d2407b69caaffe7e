"""What every test has: no blocking call on the event loop, no real time, no leftovers."""

import os
import shutil
import threading
from collections.abc import Iterator

import prometheus_client  # noqa: F401 - it reads /proc when it is imported: not in a test's event loop
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from hypothesis import settings

from tailrace.testing import FakeClock

# Nothing is timed: a busy machine must not fail a rule.
settings.register_profile("tailrace", deadline=None)
settings.load_profile("tailrace")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give real processes and browsers three times as long: they share the cores with all tests."""
    for item in items:
        if {"e2e", "web"} & set(item.path.parts) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(60))


def needs(*commands: str) -> None:
    """Skip where a command is missing; on CI, where .ci/run installs them, fail."""
    missing = [command for command in commands if shutil.which(command) is None]
    if missing:
        refuse = pytest.fail if os.environ.get("CI") else pytest.skip
        refuse(f"not installed: {', '.join(missing)}")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """A blocking call on the event loop fails the test that made it."""
    with blockbuster_ctx() as blocker:
        # The import system reads files; that is Python's business, once, not ours.
        blocker.functions["os.stat"].can_block_in(
            "<frozen importlib._bootstrap_external>", "_path_stat"
        )
        # Coverage notes what was run under a lock that tests' other threads take, too.
        blocker.functions["threading.Lock.acquire"].can_block_in(
            "coverage/collector.py", "lock_data"
        )
        yield blocker


@pytest.fixture(autouse=True)
def no_leftover_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("tailrace"):
            thread.join(1)  # a store's thread says that it has ended as the last thing it does
            assert not thread.is_alive(), f"{thread.name} was left running"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()
