"""Following from Python: `Client` for asyncio, `SyncClient` its twin. Knows no server code."""

from tailrace.client.aio import Client
from tailrace.client.sync import SyncClient

__all__ = ["Client", "SyncClient"]
