"""Invoices are booked one after the other, each once, whatever happens to the worker.

tailrace run ledger --input '{"path": "/tmp/ledger.db"}'
tailrace demo --cluster                  # the same, while servers and workers are killed

Booking has an effect: a row in a file. A worker can be killed between that and saying so; then
the step runs again in another worker, with the same idempotency key, and the row is there already.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread

from tailrace import flow, idempotency_key, log, node, progress


@node(effects="read_only")
async def open_invoices(count: int) -> list[int]:
    """Which invoices are to be booked: their amounts, in cents."""
    return [1000 + 37 * number for number in range(count)]


def _write(path: str, key: str, amount: int) -> bool:
    with closing(sqlite3.connect(path, timeout=10)) as book, book:
        book.execute("CREATE TABLE IF NOT EXISTS booking (key TEXT PRIMARY KEY, amount INTEGER)")
        done = book.execute("INSERT OR IGNORE INTO booking VALUES (?, ?)", (key, amount))
        return done.rowcount == 1


@node(idempotency="execution, node and number of the invoice")
async def book(amounts: list[int], path: str, pause_s: float) -> int:
    """Book each, and say so."""
    total = 0
    for number, amount in enumerate(amounts, start=1):
        key = idempotency_key(number)
        new = await anyio.to_thread.run_sync(_write, path, key, amount)
        log(f"invoice {number}: {amount} {'booked' if new else 'is booked already'}")
        progress(number / len(amounts))
        total += amount
        await anyio.sleep(pause_s)
    return total


@node(effects="pure", determinism="strict")
async def report(total: int) -> dict[str, int]:
    """What was booked."""
    return {"total": total}


@flow
def ledger(path: str = str(Path("ledger.db")), count: int = 10, pause_s: float = 0.2) -> object:
    """Book some invoices."""
    return report(book(open_invoices(count), path, pause_s))
