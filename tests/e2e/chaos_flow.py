"""A flow whose nodes leave traces: with an idempotency key, and without."""

import sqlite3
from contextlib import closing

import anyio
import anyio.to_thread

from tailrace import flow, idempotency_key, node


def _trace(path: str, kind: str, key: str | None, execution: str) -> None:
    with closing(sqlite3.connect(path, timeout=15)) as book, book:
        book.execute("INSERT OR IGNORE INTO effect VALUES (?, ?, ?)", (kind, key, execution))


@node(idempotency="execution and node")
async def keyed(path: str, number: int, pause_s: float) -> int:
    await anyio.to_thread.run_sync(_trace, path, "keyed", idempotency_key(), str(number))
    await anyio.sleep(pause_s)
    return number


@node
async def unkeyed(path: str, number: int, pause_s: float) -> int:
    await anyio.to_thread.run_sync(_trace, path, "unkeyed", None, str(number))
    await anyio.sleep(pause_s)
    return number


@node(idempotency="execution and node")
async def keyed_last(path: str, number: int, pause_s: float) -> int:
    await anyio.to_thread.run_sync(_trace, path, "keyed", idempotency_key(), str(number))
    return number


@flow
def chaos(path: str, number: int, pause_s: float = 0.3) -> object:
    return keyed_last(path, unkeyed(path, keyed(path, number, pause_s), pause_s), pause_s)
