"""`tailrace worker`: runs what waits in the work queue, until it is told to stop.

The law of this file: the first signal drains, the second hands everything over at once; both end
with exit status 0, because nothing is lost by either. Both end: a node's thread that does not is
left behind.
"""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence

import anyio
import uvicorn

from tailrace import journal
from tailrace.api import Tailrace
from tailrace.cli.listening import address, listen
from tailrace.cli.options import DONE, redactor
from tailrace.cli.serving import server_config, tune_collector
from tailrace.http.upkeep import worker_app
from tailrace.settings import Settings, is_redis
from tailrace.startable import Startable
from tailrace.worker import Worker


class _Server(uvicorn.Server):
    """uvicorn, which leaves the signals to the worker."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


async def work(settings: Settings, flows: Sequence[Startable]) -> None:
    """Work until a signal.

    Raises AddressUnavailable, InvalidSetting, QueueUnavailable and StoreError.
    """
    if not settings.queue and is_redis(settings.store):
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
        async with _answering(tailrace), anyio.create_task_group() as tasks:
            tasks.start_soon(_heed, worker)
            tasks.start_soon(_last_resort, worker)
            await worker.run()
            tasks.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def _answering(tailrace: Tailrace) -> AsyncIterator[None]:
    """Answer on a port of its own, if it has one. Raises AddressUnavailable."""
    settings = tailrace.settings
    if not settings.worker_port:
        yield
        return
    listener, own = listen(settings.model_copy(update={"port": settings.worker_port}))
    server = _Server(server_config(worker_app(tailrace), own))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        print(f"tailrace worker: {address(own)}/metrics", file=sys.stderr)
        yield
        server.should_exit = True


async def _last_resort(worker: Worker) -> None:
    """End the process: nothing runs in it any more but threads that nobody can interrupt."""
    await worker.left.wait()
    sys.stderr.flush()
    os._exit(DONE)


async def _heed(worker: Worker) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        told = False
        async for _ in signals:
            if told:
                worker.leave()
            else:
                print("tailrace worker: draining; once more to leave at once", file=sys.stderr)
                worker.stop()
            told = True
