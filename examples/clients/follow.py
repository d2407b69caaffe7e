"""Follow an execution from Python, and handle each event once, whatever happens in between.

    python examples/clients/follow.py http://127.0.0.1:8787 EXECUTION handled.db

Kill it at any moment and start it again: it goes on where it stood. The exit status is 0 if the
execution completed, else 1.

The law of this file: what an event causes and the note that it was handled are one transaction.
The client loses nothing and repeats nothing across reconnects; but a program that dies between
an effect and its note would do it again, and only a transaction can prevent that.
"""

import asyncio
import sqlite3
import sys
from contextlib import closing

from tailrace.client import Client
from tailrace.events import Event

TABLES = """
CREATE TABLE IF NOT EXISTS handled (execution_id, id, type, PRIMARY KEY (execution_id, id));
CREATE TABLE IF NOT EXISTS positions (execution_id PRIMARY KEY, position);
CREATE TABLE IF NOT EXISTS counts (type PRIMARY KEY, events);
"""
COUNT = """
INSERT INTO counts VALUES (?, 1) ON CONFLICT (type) DO UPDATE SET events = events + 1
"""


def handle(database: sqlite3.Connection, event: Event, position: str | None) -> bool:
    """Do what the event asks for, unless that was done; returns whether it is new."""
    with database:
        key = (event.execution_id, event.id, event.type)
        new = database.execute("INSERT OR IGNORE INTO handled VALUES (?, ?, ?)", key).rowcount == 1
        if new:
            database.execute(COUNT, (event.type,))  # the effect: not to be repeated
        place = (event.execution_id, position)
        database.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", place)
    return new


def read(database: sqlite3.Connection, query: str, execution_id: str) -> str | None:
    """The one value of a query about an execution."""
    row = database.execute(query, (execution_id,)).fetchone()
    return str(row[0]) if row else None


async def follow(url: str, execution_id: str, database: sqlite3.Connection) -> int:
    """Follow from where this stood to the end; returns the exit status."""
    position = read(database, "SELECT position FROM positions WHERE execution_id = ?", execution_id)
    async with Client(url) as client:
        followed = client.follow(execution_id, after=position)
        async for event in followed:
            if event.type == "stream.gap":
                print("events are missing:", dict(event.data), file=sys.stderr)
                if event.data["cause"] == "lost":  # what comes has these ids, and is other events
                    return 1
            elif await asyncio.to_thread(handle, database, event, followed.position):
                print(event.id, event.type, flush=True)
    ending = "SELECT type FROM handled WHERE execution_id = ? ORDER BY id DESC LIMIT 1"
    return 0 if read(database, ending, execution_id) == "execution.completed" else 1


def main() -> int:
    """Read the arguments; follow."""
    url, execution_id, path = sys.argv[1:]
    with closing(sqlite3.connect(path, check_same_thread=False)) as database:
        database.executescript(TABLES)
        return asyncio.run(follow(url, execution_id, database))


if __name__ == "__main__":
    sys.exit(main())
