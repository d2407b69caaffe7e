"""A flow for compose.yaml to run: it counts, slowly, so that there is something to kill.

tailrace worker examples/deploy/flows.py
"""

from collections.abc import AsyncIterator

import anyio

from tailrace import flow, node


@node
async def counted(to: int, every_s: float) -> AsyncIterator[int]:
    """Give the numbers up to `to`, one every so often."""
    for number in range(1, to + 1):
        await anyio.sleep(every_s)
        yield number


@flow
def count(to: int = 60, every_s: float = 1.0) -> object:
    """Count, for a minute unless told otherwise."""
    return counted(to, every_s)
