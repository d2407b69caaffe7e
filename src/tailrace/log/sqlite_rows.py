"""The rows of the logs in a SQLite file: how they are looked up, and how they are written.

The law of this file: a function is a few statements on the connection that it is given, and
remembers nothing; whose thread that is, and in which transaction, is its caller's affair.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tailrace.errors import ExecutionNotFound, PayloadNotFound
from tailrace.events import Record
from tailrace.log.base import Appended, Entry, Kept, Producer
from tailrace.log.rules import clip

Row = tuple[int, int, str, bytes]  # an event: its log's number, its sequence, its type, its tail

_COLUMNS = tuple(name for name in Entry._fields if name != "number")
_EPOCH = _COLUMNS.index("epoch")
_ENTRY = f"SELECT {', '.join(_COLUMNS)}, log FROM execution"  # an entry's number is its row's

# --- looking --------------------------------------------------------------------------------------


def find(connection: sqlite3.Connection, execution_id: str) -> Entry:
    """Look a log up. Raises ExecutionNotFound."""
    row = connection.execute(f"{_ENTRY} WHERE execution_id = ?", (execution_id,)).fetchone()
    if row is None or not row[_EPOCH]:  # nobody's: see `remove`
        raise ExecutionNotFound(f"There is no execution {execution_id!r} here")
    return _entry(row)


def listed(connection: sqlite3.Connection, where: str, values: Sequence[str | int]) -> list[Entry]:
    """Look up all logs of which that is true."""
    found = connection.execute(f"{_ENTRY} WHERE {where}", values)
    return [_entry(row) for row in found if row[_EPOCH]]


def _entry(row: tuple[Any, ...]) -> Entry:
    values = dict(zip(_COLUMNS, row[:-1], strict=True))
    values["ephemeral"] = bool(values["ephemeral"])
    return Entry(**values, number=row[-1])


def place_of(connection: sqlite3.Connection, execution_id: str) -> tuple[int, int] | None:
    """Return a log's number and its head; None if there is none."""
    row: tuple[int, int] | None = connection.execute(
        "SELECT log, head FROM execution WHERE execution_id = ?", (execution_id,)
    ).fetchone()
    return row


def records(connection: sqlite3.Connection, log: int, after: int, limit: int) -> list[Record]:
    """Read a page of events after a position: one index seek."""
    rows = connection.execute(
        "SELECT seq, type, tail FROM event WHERE log = ? AND seq > ? ORDER BY seq LIMIT ?",
        (log, after, limit),
    )
    return clip(Record(*row) for row in rows)


def last_batch(
    connection: sqlite3.Connection, log: int, producer: Producer | None
) -> tuple[int, Appended]:
    """Return the number of a producer's newest batch here, and where that stands."""
    row = (
        producer
        and connection.execute(
            "SELECT batch, first, last FROM producer WHERE log = ? AND name = ?",
            (log, producer.name),
        ).fetchone()
    )
    return (row[0], Appended(row[1], row[2], True)) if row else (0, Appended(0, 0, True))


def payload(connection: sqlite3.Connection, execution_id: str, digest: str) -> bytes:
    """Return what an event put aside. Raises ExecutionNotFound or PayloadNotFound."""
    row = connection.execute(
        "SELECT data FROM payload WHERE log = ? AND digest = ?",
        (find(connection, execution_id).number, digest),
    ).fetchone()
    if row is None:
        raise PayloadNotFound(f"{execution_id} has no payload {digest!r}")
    return bytes(row[0])


def kept(connection: sqlite3.Connection, kind: str, ephemeral: bool) -> Kept:
    """How many such logs have ended, and how large they are: from the index alone."""
    row = connection.execute(
        "SELECT count(*), coalesce(sum(bytes + aside_bytes), 0) FROM execution"
        " WHERE sealed = 1 AND kind = ? AND ephemeral = ?",
        (kind, ephemeral),
    ).fetchone()
    return Kept(*row)


def newest(connection: sqlite3.Connection) -> int:
    """Return the largest number of a log there is; 0 if there is none."""
    row = connection.execute("SELECT max(log) FROM execution").fetchone()
    return int(row[0] or 0)


def expired(connection: sqlite3.Connection, now: str) -> list[tuple[str, str]]:
    """Return the open executions whose lease has ended."""
    return connection.execute(
        "SELECT execution_id, lease_until FROM execution WHERE lease_until < ?", (now,)
    ).fetchall()


# --- writing --------------------------------------------------------------------------------------


def insert(connection: sqlite3.Connection, entry: Entry, lease_until: str | None) -> int:
    """Insert a log's row; returns its number. Raises sqlite3.IntegrityError if there is one."""
    values = [getattr(entry, column) for column in _COLUMNS]
    cursor = connection.execute(
        f"INSERT INTO execution ({', '.join(_COLUMNS)}, lease_until)"
        f" VALUES ({', '.join('?' * len(values))}, ?)",
        (*values, lease_until),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def insert_events(connection: sqlite3.Connection, rows: Sequence[Row]) -> None:
    """Insert events of any logs: one statement for all of them."""
    connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?)", rows)


def update(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Write logs' rows as appends have made them: one statement for all of them."""
    connection.executemany(
        "UPDATE execution SET head = ?, updated_at = ?, last_status_event = ?, bytes = ?,"
        " aside_bytes = ?, attempt = ? WHERE log = ?",
        [
            (
                e.head,
                e.updated_at,
                e.last_status_event,
                e.bytes,
                e.aside_bytes,
                e.attempt,
                e.number,
            )
            for e in entries
        ],
    )


def seal(connection: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    """Mark logs as ended.

    Apart from `update`, because it changes three indexes, which the many other appends must not.
    """
    connection.executemany(
        "UPDATE execution SET sealed = 1, lease_until = NULL WHERE log = ?",
        [(entry.number,) for entry in entries],
    )


def note_batch(
    connection: sqlite3.Connection, entry: Entry, producer: Producer | None, stands: Appended
) -> None:
    """Remember a producer's newest batch, and where it stands."""
    if producer:
        connection.execute(
            "INSERT OR REPLACE INTO producer VALUES (?, ?, ?, ?, ?)",
            (entry.number, producer.name, producer.seq, stands.first, stands.last),
        )


def put_aside(connection: sqlite3.Connection, log: int, payloads: Mapping[str, bytes]) -> None:
    """Keep what a log's events put aside."""
    connection.executemany(
        "INSERT OR IGNORE INTO payload VALUES (?, ?, ?)",
        [(log, digest, data) for digest, data in payloads.items()],
    )


def extend_leases(connection: sqlite3.Connection, execution_ids: Sequence[str], until: str) -> None:
    """Set the leases of those of them that have one."""
    connection.executemany(
        "UPDATE execution SET lease_until = ? WHERE execution_id = ? AND lease_until IS NOT NULL",
        [(until, execution_id) for execution_id in execution_ids],
    )


def trim(connection: sqlite3.Connection, entry: Entry, floor: int) -> Entry:
    """Drop a log's events below `floor`; returns its entry as it is then."""
    floor = max(min(floor, entry.head), entry.floor)
    gone = connection.execute(
        "SELECT coalesce(sum(length(tail)), 0) FROM event WHERE log = ? AND seq < ?",
        (entry.number, floor),
    ).fetchone()[0]
    connection.execute("DELETE FROM event WHERE log = ? AND seq < ?", (entry.number, floor))
    entry = entry._replace(floor=floor, bytes=entry.bytes - gone)
    connection.execute(
        "UPDATE execution SET floor = ?, bytes = ? WHERE log = ?",
        (floor, entry.bytes, entry.number),
    )
    return entry


def remove(connection: sqlite3.Connection, log: int) -> None:
    """Remove a log with all that is kept with it, but keep its number from being given out again.

    SQLite gives a new row the largest number there is, plus one. So the row of the newest log
    stays, as nobody's, until a newer one takes its office: that costs the many creations nothing,
    where AUTOINCREMENT would write to a table of its own each time.
    """
    for table in ("event", "payload", "producer", "execution"):
        connection.execute(f"DELETE FROM {table} WHERE log = ?", (log,))
    largest = newest(connection)
    if largest < log:
        connection.execute(
            "INSERT INTO execution (log, execution_id, workspace, kind, flow, epoch, created_at,"
            " head, floor, updated_at, last_status_event)"
            " VALUES (?, ?, '', '', '', '', '', 0, 1, '', '')",
            (log, f"removed {log}"),
        )
    connection.execute(
        "DELETE FROM execution WHERE workspace = '' AND epoch = '' AND sealed = 0 AND log < ?",
        (max(largest, log),),
    )
