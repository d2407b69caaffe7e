"""Facts in the SQLite file: in its writer thread, so that they share commits with appends.

The law of this file: one statement each, or one job of the writer: nobody comes in between.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from tailrace.log.sqlite_file import Worker

_ALIVE = "(until IS NULL OR until > ?)"


class SqliteFacts:
    """Facts that all processes of one file share."""

    def __init__(self, writer: Worker, reader: Worker) -> None:
        self._writer, self._reader = writer, reader

    async def put(
        self,
        kind: str,
        key: str,
        value: str,
        *,
        now: str,
        until: str | None = None,
        new: bool = False,
    ) -> bool:
        """Keep a value."""
        unless = f" WHERE NOT {_ALIVE}" if new else ""
        given = (kind, key, value, until, *([now] if new else []))

        def put(connection: sqlite3.Connection) -> bool:
            done = connection.execute(
                "INSERT INTO fact VALUES (?, ?, ?, ?) ON CONFLICT (kind, key)"
                f" DO UPDATE SET value = excluded.value, until = excluded.until{unless}",
                given,
            )
            return done.rowcount == 1

        return await self._writer.do(put)

    async def get(self, kind: str, key: str, *, now: str) -> str | None:
        """Return a value."""
        return await self._reader.do(_get, kind, key, now)

    async def take(self, kind: str, key: str, *, now: str) -> str | None:
        """Return a value and remove it."""

        def take(connection: sqlite3.Connection) -> str | None:
            value = _get(connection, kind, key, now)
            connection.execute("DELETE FROM fact WHERE kind = ? AND key = ?", (kind, key))
            return value

        return await self._writer.do(take)

    async def find(self, kind: str, prefix: str = "", *, now: str) -> Sequence[tuple[str, str]]:
        """List keys and values."""

        def find(connection: sqlite3.Connection) -> list[tuple[str, str]]:
            return connection.execute(
                "SELECT key, value FROM fact WHERE kind = ? AND key >= ? AND key < ?"
                f" AND {_ALIVE} ORDER BY key",
                (kind, prefix, f"{prefix}\U0010ffff", now),
            ).fetchall()

        return await self._reader.do(find)

    async def occupy(
        self, kind: str, names: Mapping[str, int], holder: str, *, now: str, until: str
    ) -> str | None:
        """Take a place under each name."""

        def occupy(connection: sqlite3.Connection) -> str | None:
            for name, limit in names.items():
                taken = connection.execute(
                    "SELECT count(*) FROM place"
                    " WHERE kind = ? AND name = ? AND until > ? AND holder <> ?",
                    (kind, name, now, holder),
                ).fetchone()[0]
                if taken >= limit:
                    return name
            connection.executemany(
                "INSERT OR REPLACE INTO place VALUES (?, ?, ?, ?)",
                [(kind, name, holder, until) for name in names],
            )
            return None

        return await self._writer.do(occupy)

    async def stay(self, kind: str, prefix: str, *, until: str) -> None:
        """Keep places longer."""

        def stay(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE place SET until = ? WHERE kind = ? AND holder >= ? AND holder < ?",
                (until, kind, prefix, f"{prefix}\U0010ffff"),
            )

        await self._writer.do(stay)

    async def vacate(self, kind: str, holder: str) -> None:
        """Give places back."""

        def vacate(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM place WHERE kind = ? AND holder = ?", (kind, holder))

        await self._writer.do(vacate)

    async def sweep(self, *, now: str) -> None:
        """Remove what is over."""

        def sweep(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM fact WHERE until <= ?", (now,))
            connection.execute("DELETE FROM place WHERE until <= ?", (now,))

        await self._writer.do(sweep)


def _get(connection: sqlite3.Connection, kind: str, key: str, now: str) -> str | None:
    row = connection.execute(
        f"SELECT value FROM fact WHERE kind = ? AND key = ? AND {_ALIVE}", (kind, key, now)
    ).fetchone()
    return None if row is None else str(row[0])
