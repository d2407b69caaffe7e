"""The executor's own tests once more, run by a worker: what is true of a flow is true wherever.

The same functions as in tests/unit/test_executor.py; only who runs the flow is another.
"""

import inspect
from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from tailrace.runtime import Run, Runtime
from tailrace.settings import Settings
from tailrace.testing import FakeClock
from tailrace.testing.queues import MemoryQueue
from tailrace.worker import Worker
from tests.unit import test_executor as suite

for _name, _test in vars(suite).items():
    if _name.startswith("test_") and "runtime" in inspect.signature(_test).parameters:
        globals()[_name] = _test


class ByWorker(Runtime):
    """Whatever is started is known to the worker."""

    async def start(self, flow: Any, *arguments: Any, **options: Any) -> Run:
        self.flows[flow.name] = flow
        return await super().start(flow, *arguments, **options)


@pytest.fixture
async def runtime(clock: FakeClock) -> AsyncIterator[Runtime]:
    settings, queue = Settings(store="memory:"), MemoryQueue(clock)
    async with (
        ByWorker(settings, clock=clock, queue=queue) as opened,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(Worker(opened).run)
        yield opened
        tasks.cancel_scope.cancel()
