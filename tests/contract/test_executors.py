"""The executor's own tests once more, run by a worker: what is true of a flow is true wherever.

The same functions as in tests/unit/test_executor.py; only who runs the flow is another: a worker
of this process, and one behind SAQ with the log in Redis. On the latter only those that wait for
what they expect: time that is moved by hand moves nothing in a server.
"""

import inspect
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
import saq  # noqa: F401 - a library of its looks at the machine when it is imported, which blocks

from tailrace.run import Run
from tailrace.runtime import Runtime
from tailrace.settings import Settings
from tailrace.testing import FakeClock
from tailrace.testing.queues import MemoryQueue
from tailrace.worker import Worker
from tests.contract.conftest import Redis
from tests.unit import test_executor as suite

for _name, _test in vars(suite).items():
    if _name.startswith("test_") and "runtime" in inspect.signature(_test).parameters:
        globals()[_name] = _test


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """On Redis only what neither moves the clock nor counts turns of the event loop."""
    by_hand = {"clock", "settle"} & {*metafunc.fixturenames, *metafunc.function.__code__.co_names}
    by_hand -= {"clock"} - {*inspect.signature(metafunc.function).parameters}
    kinds = ["worker"] if by_hand else ["worker", "redis"]
    metafunc.parametrize("url", kinds, indirect=True)


class ByWorker(Runtime):
    """Whatever is started is known to the worker."""

    async def start(self, flow: Any, *arguments: Any, **options: Any) -> Run:
        self.flows[flow.name] = flow
        return await super().start(flow, *arguments, **options)


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """Of the log; the queue is there too."""
    if request.param == "worker":
        return "memory:"
    redis: Redis = request.getfixturevalue("redis")
    return redis.fresh()


@pytest.fixture
async def runtime(url: str, clock: FakeClock) -> AsyncIterator[Runtime]:
    if url == "memory:":
        made = ByWorker(Settings(store=url), clock=clock, queue=MemoryQueue(clock))
    else:
        made = ByWorker(Settings(store=url, queue="store"))
    async with made as opened, anyio.create_task_group() as tasks:
        tasks.start_soon(Worker(opened).run)
        yield opened
        tasks.cancel_scope.cancel()
