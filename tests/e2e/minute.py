"""A flow for tests that cut connections: so many seconds long, with text that is easy to break.

Not s2_site: each of its probes costs 20 ms of processor, so how long it takes depends on the
machine; this one ends by the clock.
"""

import time
from collections.abc import AsyncIterator

import anyio

from tailrace import flow, node

AWKWARD = "é 漢 🌊 \r\n\u2028 \x00 id: 7\n\ndata: no\n\n"


@node
async def values(seconds: float, every_ms: int) -> AsyncIterator[str]:
    """Give texts of many lengths."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        yield AWKWARD * (number % 50)
        number += 1
        await anyio.sleep(every_ms / 1000)


@flow
def minute(seconds: float = 60.0, every_ms: int = 30) -> object:
    """Stream for a time."""
    return values(seconds, every_ms)
