"""`tailrace worker`: runs what waits in the work queue, until it is told to stop.

The law of this file: the first signal drains, the second hands everything over at once; both end
with exit status 0, because nothing is lost by either.
"""

import signal
import sys
from collections.abc import Sequence

import anyio
from anyio.abc import TaskGroup

from tailrace import journal
from tailrace.api import Tailrace
from tailrace.cli.options import redactor
from tailrace.cli.serving import tune_collector
from tailrace.runtime import Startable
from tailrace.settings import Settings
from tailrace.worker import Worker


async def work(settings: Settings, flows: Sequence[Startable]) -> None:
    """Work until a signal. Raises InvalidSetting, QueueUnavailable and StoreError."""
    if not settings.queue and settings.store.startswith("redis"):
        settings = settings.model_copy(update={"queue": "store"})
    journal.configure(settings.log_format, access=False)
    tune_collector()
    async with Tailrace(settings=settings, flows=flows, redactor=redactor(settings)) as tailrace:
        worker = Worker(tailrace)
        await worker.check()
        names = ", ".join(sorted(tailrace.flows)) or "no flows"
        print(
            f"tailrace worker: {names}; queues {settings.queues}; {settings.concurrency} at once",
            file=sys.stderr,
            flush=True,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_listen, worker, tasks)
            await worker.run()
            tasks.cancel_scope.cancel()


async def _listen(worker: Worker, tasks: TaskGroup) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        told = False
        async for _ in signals:
            if told:
                tasks.cancel_scope.cancel()
            else:
                print("tailrace worker: draining; once more to leave at once", file=sys.stderr)
                worker.stop()
            told = True
