"""Follow executions on a server, with and without an event loop.

tailrace serve etl
python examples/scripts/follow.py http://127.0.0.1:8787
"""

import asyncio
import sys

from tailrace import Client, SyncClient


async def follow(url: str) -> None:
    """Start a flow on the server and follow it; a lost connection is taken up by itself."""
    async with Client(url) as client:
        execution_id = await client.start("etl")
        async for event in client.follow(execution_id):
            print(event.id, event.type)


def follow_without_a_loop(url: str) -> None:
    """The same for code that is not asynchronous."""
    with SyncClient(url) as client:
        execution_id = client.start("etl", {"fail": True})
        for event in client.follow(execution_id):
            print(event.id, event.type)


def main() -> None:
    """Do both."""
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8787"
    asyncio.run(follow(url))
    follow_without_a_loop(url)


if __name__ == "__main__":
    main()
