"""Watches executions in a store by several handles, each as a server of its own would.

    python benchmarks/listen.py STORE HANDLES EXECUTION…

Prints `ready`, and listens until its input ends.
"""

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack

import uvloop

from tailrace.adapters import open_log
from tailrace.events import Record
from tailrace.settings import Settings


def _heard(_: Sequence[Record]) -> None:
    pass


async def listen(store: str, handles: int, executions: Sequence[str]) -> None:
    """Watch all of them with each handle."""
    async with AsyncExitStack() as stack:
        for _ in range(handles):
            log = await stack.enter_async_context(open_log(Settings(store=store)))
            for execution_id in executions:
                log.watch(execution_id, (await log.entry(execution_id)).head, _heard)
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(listen(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
