"""The log in one SQLite file: the embedded default. Schema: schema.sql.

How it works:
- One writer thread. Appends that arrive while it commits wait and share the next commit
  (group commit); each is acknowledged after that commit. Appends are checked one by one, against
  entries that the writer remembers, and written together: one statement for a group's events,
  one for its entries. So one that is refused leaves the others untouched.
- One reader thread. In WAL mode it reads a snapshot and never waits for the writer.
- Watches. A commit of this process hands its records to the watches directly. A commit of
  another process shows in `PRAGMA data_version`, which the writer looks at before each commit
  and every POLL_S while anybody watches; then it reads what is new. So every watch is fed in
  log order by one thread, whoever appended.
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from tailrace.clock import stopwatch
from tailrace.errors import (
    ExecutionExists,
    ExecutionNotFound,
    ExecutionRunning,
    PayloadNotFound,
)
from tailrace.events import Draft, Record
from tailrace.log.base import (
    Appended,
    Entry,
    Kept,
    Listener,
    Lost,
    NewListener,
    Opened,
    Opening,
    Producer,
    admit,
    advance,
    check_batch,
    check_first,
    clip,
    encode,
    place,
    unheard,
)
from tailrace.log.sqlite_facts import SqliteFacts
from tailrace.log.sqlite_file import Job, Worker, connect, translated
from tailrace.metrics import LogMeter

POLL_S = 0.02  # half of the 50 ms in which another process's append must be seen
GROUP_MAX_JOBS = 512  # bounds how long one commit can make the first of its group wait
KNOWN_LOGS = 10_000  # bounds what the writer remembers; it then begins anew
CATCH_UP_EVENTS = 1000  # read at once for a watch that is behind
CATCH_UP_LOGS = 200  # likewise, of new logs

_COLUMNS = tuple(field.name for field in fields(Entry) if field.name != "number")
_ENTRY = f"SELECT {', '.join(_COLUMNS)}, log FROM execution"  # an entry's number is its row's
_Fresh = tuple[str, int, Sequence[Record]]  # execution, the position before, what follows it


@dataclass(slots=True, eq=False)
class _Watch:
    position: int
    listener: Listener
    lost: Lost


@dataclass(slots=True, eq=False)
class _NewWatch:
    workspace: str
    position: int
    listener: NewListener


class SqliteLog(Opened):
    """An EventLog in a file. Several processes of one machine may use the file at once."""

    def __init__(self, path: Path, *, durability: str = "os") -> None:
        self.path = path
        self.meter: LogMeter | None = None
        self.fed_at = 0.0
        self._watches: dict[str, list[_Watch]] = {}
        self._positions: dict[str, int] = {}
        self._new_watches: list[_NewWatch] = []
        self._fresh: list[_Fresh] = []
        self._fresh_logs: list[tuple[_NewWatch, list[Entry]]] = []
        self._created: list[str] = []  # the kinds of the logs that this group makes
        # The writer's own: logs as they are while no other process writes, and the group's rows.
        self._known: dict[str, Entry] = {}
        self._changed: dict[str, Entry] = {}
        self._rows: list[tuple[int, int, str, bytes]] = []
        self._batches = self._events = self._bytes = 0  # of this group, for the meter
        self._ended: list[Entry] = []
        self._data_version = -1
        self._behind = False
        self._looked_at = 0.0

        def opened() -> sqlite3.Connection:
            return connect(path, durability)

        self._writer = Worker(
            "tailrace-writer", opened, self._commit, batch=GROUP_MAX_JOBS, tick_s=self._tick
        )
        self._reader = Worker("tailrace-reader", opened, self._read_jobs, batch=1)
        self.facts = SqliteFacts(self._writer, self._reader)

    async def open(self) -> None:
        """Open the file, creating it and its folder if need be. Raises StoreError."""
        await self._writer.open()
        try:
            await self._reader.open()
        except BaseException:
            await self._writer.aclose()
            raise

    async def aclose(self) -> None:
        """Commit what was handed in, then close."""
        await self._writer.aclose()
        await self._reader.aclose()

    # --- writing: everything below `do` runs in the writer thread -----------------------------

    async def create(
        self, opening: Opening, drafts: Sequence[Draft], *, producer: Producer | None = None
    ) -> Appended:
        """Create a log with its first events."""
        check_first(producer)
        check_batch(drafts)
        tails = encode(opening.execution_id, drafts)
        records = place(0, drafts, tails)
        entry = Entry(
            execution_id=opening.execution_id,
            workspace=opening.workspace,
            kind=opening.kind,
            flow=opening.flow,
            epoch=secrets.token_hex(4),
            created_at=drafts[0].ts,
            ephemeral=opening.ephemeral,
        )
        entry = advance(entry, drafts, tails)

        def create(connection: sqlite3.Connection) -> Appended:
            made = self._created_log(connection, entry, opening.lease_until)
            self._add(connection, made, drafts, records, made.bytes)
            appended = Appended(1, entry.head)
            _note_batch(connection, made, producer, appended)
            return appended

        return await self._writer.do(create)

    async def restore(
        self, entry: Entry, records: Sequence[Record], payloads: Mapping[str, bytes]
    ) -> Entry:
        """Put a log from elsewhere in."""

        def restore(connection: sqlite3.Connection) -> Entry:
            made = self._created_log(connection, entry)
            self._rows += [(made.number, r.seq, r.type, r.tail) for r in records]
            self._changed[made.execution_id] = made
            _put_aside(connection, made.number, payloads)
            return made

        return await self._writer.do(restore)

    def _created_log(
        self,
        connection: sqlite3.Connection,
        entry: Entry,
        lease_until: str | None = None,
    ) -> Entry:
        try:
            number = _insert_execution(connection, entry, lease_until)
        except sqlite3.IntegrityError:
            raise ExecutionExists(f"{entry.execution_id} exists already") from None
        made = self._known[entry.execution_id] = replace(entry, number=number)
        self._created.append(entry.kind)
        return made

    async def append(
        self,
        execution_id: str,
        drafts: Sequence[Draft],
        *,
        expected: int | None = None,
        producer: Producer | None = None,
        attempt: int | None = None,
    ) -> Appended:
        """Append a batch."""
        tails = encode(execution_id, drafts)

        def append(connection: sqlite3.Connection) -> Appended:
            entry = self._find(connection, execution_id)
            batch, known = _last_batch(connection, entry.number, producer)
            if not admit(
                entry,
                drafts,
                expected=expected,
                producer=producer,
                last_batch=batch,
                attempt=attempt,
            ):
                return known if producer and producer.seq == batch else Appended(0, 0, True)
            records = place(entry.head, drafts, tails)
            after = self._known[execution_id] = advance(entry, drafts, tails)
            self._changed[execution_id] = after
            self._add(connection, entry, drafts, records, after.bytes - entry.bytes)
            appended = Appended(records[0].seq, records[-1].seq)
            _note_batch(connection, entry, producer, appended)
            return appended

        return await self._writer.do(append)

    async def trim(self, execution_id: str, floor: int) -> Entry:
        """Drop the events below `floor`."""

        def trim(connection: sqlite3.Connection) -> Entry:
            self._flush(connection)
            entry = _find(connection, execution_id)
            kept = max(min(floor, entry.head), entry.floor)
            gone = connection.execute(
                "SELECT coalesce(sum(length(tail)), 0) FROM event WHERE log = ? AND seq < ?",
                (entry.number, kept),
            ).fetchone()[0]
            connection.execute("DELETE FROM event WHERE log = ? AND seq < ?", (entry.number, kept))
            entry = replace(entry, floor=kept, bytes=entry.bytes - gone)
            connection.execute(
                "UPDATE execution SET floor = ?, bytes = ? WHERE log = ?",
                (kept, entry.bytes, entry.number),
            )
            self._known[execution_id] = entry
            return entry

        return await self._writer.do(trim)

    async def remove(self, execution_id: str) -> None:
        """Remove a log that has ended."""

        def remove(connection: sqlite3.Connection) -> None:
            self._flush(connection)
            entry = _find(connection, execution_id)
            if not entry.sealed:
                raise ExecutionRunning(f"{execution_id} is {entry.status}")
            self._known.pop(execution_id, None)
            for table in ("event", "payload", "producer"):
                connection.execute(f"DELETE FROM {table} WHERE log = ?", (entry.number,))
            _remove_execution(connection, entry.number)
            self._fresh.append((execution_id, entry.head, []))

        await self._writer.do(remove)

    async def beat(self, execution_ids: Sequence[str], until: str) -> None:
        """Set leases."""

        def beat(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "UPDATE execution SET lease_until = ?"
                " WHERE execution_id = ? AND lease_until IS NOT NULL",
                [(until, execution_id) for execution_id in execution_ids],
            )

        await self._writer.do(beat)

    def _find(self, connection: sqlite3.Connection, execution_id: str) -> Entry:
        """Look a log up, as it will be when this group is committed."""
        known = self._known.get(execution_id)
        if known is None:
            if len(self._known) >= KNOWN_LOGS:
                self._flush(connection)
                self._known.clear()
            known = self._known[execution_id] = _find(connection, execution_id)
        return known

    def _add(
        self,
        connection: sqlite3.Connection,
        entry: Entry,
        drafts: Sequence[Draft],
        records: list[Record],
        size: int,
    ) -> None:
        """Put events into the group; they are written with those of all its jobs."""
        log = entry.number
        self._batches += 1
        self._events += len(records)
        self._bytes += size
        self._rows += [(log, record.seq, record.type, record.tail) for record in records]
        self._fresh.append((entry.execution_id, records[0].seq - 1, records))
        for draft in drafts:
            if draft.aside:
                _put_aside(connection, log, draft.aside)

    def _flush(self, connection: sqlite3.Connection) -> None:
        """Write what the group's jobs have added: one statement each for all of them."""
        rows, self._rows = self._rows, []
        changed, self._changed = self._changed, {}
        if rows:
            connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?)", rows)
        if changed:
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
                    for e in changed.values()
                ],
            )
            # Apart, because it changes three indexes, which the many other appends must not.
            ended = [entry for entry in changed.values() if entry.sealed]
            if ended:
                self._ended += ended
                connection.executemany(
                    "UPDATE execution SET sealed = 1, lease_until = NULL WHERE log = ?",
                    [(entry.number,) for entry in ended],
                )

    def _commit(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        """Run a group of jobs in one transaction; where the store itself fails, none is done."""
        self._fresh, self._fresh_logs, self._created = [], [], []
        self._batches = self._events = self._bytes = 0
        self._ended, began = [], stopwatch()
        since, self._looked_at = jobs[0].at if jobs else self._looked_at, began
        try:
            with translated(self.path):
                if jobs:
                    connection.execute("BEGIN IMMEDIATE")
                self._see_others(connection)
                for job in jobs:
                    job.run(connection)
                if jobs:
                    self._flush(connection)
                    if self._created:
                        self._catch_up_new(connection)
                    connection.execute("COMMIT")
                    if self.meter is not None and self._batches:
                        self._measure(self.meter, stopwatch() - began)
        except Exception as error:  # noqa: BLE001 - a dead writer thread would hang every caller
            self._fresh, self._fresh_logs, self._rows = [], [], []
            self._known.clear()
            self._changed.clear()
            self._data_version = -1  # a catch-up may have been in the group: the next turn does it
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for job in jobs:
                job.error = error
        if self._fresh:
            self._writer.call_on_loop(self._feed, self._fresh, since)
        if self._fresh_logs:
            self._writer.call_on_loop(self._feed_new, self._fresh_logs)

    def _measure(self, meter: LogMeter, seconds: float) -> None:
        """Count a group that is in the file."""
        meter.commits.observe(seconds)
        meter.appends += self._batches
        meter.events += self._events
        meter.size += self._bytes
        meter.started.update(self._created)
        meter.ended.update((entry.kind, entry.status) for entry in self._ended)

    # --- reading ------------------------------------------------------------------------------

    async def entry(self, execution_id: str) -> Entry:
        """Look a log up."""
        return await self._reader.do(_find, execution_id)

    async def read(self, execution_id: str, after: int, limit: int) -> Sequence[Record]:
        """Read events after a position: one index seek."""

        def read(connection: sqlite3.Connection) -> list[Record]:
            return _records(connection, _find(connection, execution_id).number, after, limit)

        return await self._reader.do(read)

    async def entries(
        self,
        workspace: str,
        *,
        limit: int,
        before: str | None = None,
        status_events: Iterable[str] = (),
    ) -> Sequence[Entry]:
        """List a workspace's logs, newest first."""
        wanted = list(status_events)
        marks = f" AND last_status_event IN ({', '.join('?' * len(wanted))})" if wanted else ""

        def entries(connection: sqlite3.Connection) -> list[Entry]:
            below = _find(connection, before).number if before else 2**62
            where = f"workspace = ? AND log < ?{marks} ORDER BY log DESC LIMIT ?"
            return _entries(connection, where, (workspace, below, *wanted, limit))

        return await self._reader.do(entries)

    async def unfinished(self, workspace: str) -> Sequence[Entry]:
        """List a workspace's logs that have not ended, oldest first."""
        return await self._listed("workspace = ? AND sealed = 0 ORDER BY log", workspace)

    async def numbered(self, workspace: str, numbers: Iterable[int]) -> Sequence[Entry]:
        """Return the logs of a workspace with these numbers."""
        wanted = list(numbers)
        marks = ", ".join("?" * len(wanted))
        return await self._listed(f"log IN ({marks}) AND workspace = ?", *wanted, workspace)

    async def ended(self, kind: str, *, ephemeral: bool, limit: int) -> Sequence[Entry]:
        """List logs that have ended, the oldest end first."""
        where = "sealed = 1 AND kind = ? AND ephemeral = ? ORDER BY updated_at LIMIT ?"
        return await self._listed(where, kind, ephemeral, limit)

    async def kept(self, kind: str, *, ephemeral: bool) -> Kept:
        """How many such logs there are, and how large they are: from the index alone."""

        def kept(connection: sqlite3.Connection) -> Kept:
            row = connection.execute(
                "SELECT count(*), coalesce(sum(bytes + aside_bytes), 0) FROM execution"
                " WHERE sealed = 1 AND kind = ? AND ephemeral = ?",
                (kind, ephemeral),
            ).fetchone()
            return Kept(*row)

        return await self._reader.do(kept)

    async def large(self, kind: str, above_bytes: int) -> Sequence[Entry]:
        """List logs that have not ended and are larger than this."""
        # By the index of leases: every execution that has not ended has one.
        return await self._listed("lease_until > '' AND bytes > ? AND kind = ?", above_bytes, kind)

    async def _listed(self, where: str, *values: str | int) -> list[Entry]:
        def listed(connection: sqlite3.Connection) -> list[Entry]:
            return _entries(connection, where, values)

        return await self._reader.do(listed)

    async def newest(self) -> int:
        """Return the number of the newest log there ever was."""

        def newest(connection: sqlite3.Connection) -> int:
            row = connection.execute("SELECT max(log) FROM execution").fetchone()
            return int(row[0] or 0)

        return await self._reader.do(newest)

    async def payload(self, execution_id: str, digest: str) -> bytes:
        """Return what an event's draft put aside."""

        def payload(connection: sqlite3.Connection) -> bytes:
            row = connection.execute(
                "SELECT data FROM payload WHERE log = ? AND digest = ?",
                (_find(connection, execution_id).number, digest),
            ).fetchone()
            if row is None:
                raise PayloadNotFound(f"{execution_id} has no payload {digest!r}")
            return bytes(row[0])

        return await self._reader.do(payload)

    async def expired(self, now: str) -> Sequence[tuple[str, str]]:
        """Return the open executions whose lease has ended."""

        def expired(connection: sqlite3.Connection) -> list[tuple[str, str]]:
            return connection.execute(
                "SELECT execution_id, lease_until FROM execution WHERE lease_until < ?", (now,)
            ).fetchall()

        return await self._reader.do(expired)

    def _read_jobs(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        for job in jobs:
            try:
                with translated(self.path):
                    job.run(connection)
            except Exception as error:  # noqa: BLE001 - a dead thread would hang every caller
                job.error = error

    # --- watching -----------------------------------------------------------------------------

    def watch(
        self, execution_id: str, after: int, listener: Listener, lost: Lost = unheard
    ) -> Callable[[], None]:
        """Call `listener` with every event after `after`."""
        watch = _Watch(after, listener, lost)
        self._watches.setdefault(execution_id, []).append(watch)
        self._note_position(execution_id)
        # What was appended before this moment is read at once; the job also ends a wait of the
        # writer, which polls only while somebody watches.
        self._writer.submit(self._catch_up, {execution_id: after})

        def stop() -> None:
            watches = self._watches.get(execution_id, [])
            if watch in watches:
                watches.remove(watch)
            self._note_position(execution_id)

        return stop

    def _note_position(self, execution_id: str) -> None:
        watches = self._watches.get(execution_id)
        if watches:
            self._positions[execution_id] = min(watch.position for watch in watches)
        else:
            self._watches.pop(execution_id, None)
            self._positions.pop(execution_id, None)

    def watch_new(self, workspace: str, after: int, listener: NewListener) -> Callable[[], None]:
        """Call `listener` with every log created after number `after`."""
        watch = _NewWatch(workspace, after, listener)
        self._new_watches.append(watch)
        self._writer.submit(self._catch_up_new)

        def stop() -> None:
            if watch in self._new_watches:
                self._new_watches.remove(watch)

        return stop

    def _catch_up_new(self, connection: sqlite3.Connection) -> None:
        """In the writer thread: for each watch the logs that it has not had, from the file.

        Never from memory: numbers have holes (other workspaces), so that only a query knows
        what comes next.
        """
        for watch in tuple(self._new_watches):
            rows = connection.execute(
                f"{_ENTRY} WHERE workspace = ? AND log > ? ORDER BY log LIMIT ?",
                (watch.workspace, watch.position, CATCH_UP_LOGS),
            ).fetchall()
            if rows:
                self._fresh_logs.append((watch, [_entry(row) for row in rows]))
            self._behind = self._behind or len(rows) == CATCH_UP_LOGS

    def _feed_new(self, fresh: list[tuple[_NewWatch, list[Entry]]]) -> None:
        """On the loop: hand each watch its logs; what was read twice meanwhile is dropped."""
        for watch, entries in fresh:
            new = [entry for entry in entries if entry.number > watch.position]
            if new and watch in self._new_watches:
                watch.position = new[-1].number
                watch.listener(new)

    def _tick(self) -> float | None:
        if self._behind:
            return 0.0
        return POLL_S if self._positions or self._new_watches else None

    def _see_others(self, connection: sqlite3.Connection) -> None:
        """In the writer thread: if another process committed, read what is new for the watches."""
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version or self._behind:
            self._data_version, self._behind = version, False
            self._known.clear()
            self._catch_up(connection, self._positions.copy())
            self._catch_up_new(connection)

    def _catch_up(self, connection: sqlite3.Connection, positions: dict[str, int]) -> None:
        # What earlier jobs of this group append is not in the file yet, and a watch that is
        # behind skips their runs: without this it would miss them, and all that follows, for ever.
        self._flush(connection)
        for execution_id, position in positions.items():
            row = connection.execute(
                "SELECT log, head FROM execution WHERE execution_id = ?", (execution_id,)
            ).fetchone()
            if row is None:
                self._fresh.append((execution_id, position, []))
            elif position < row[1]:
                records = _records(connection, row[0], position, CATCH_UP_EVENTS)
                self._fresh.append((execution_id, position, records))
                # One page a turn bounds the memory; the next turn comes without a wait.
                self._behind = self._behind or records[-1].seq < row[1]

    def _feed(self, fresh: list[_Fresh], since: float) -> None:
        """On the loop: hand each watch what it has not had, in the order of the commits."""
        self.fed_at = since
        for execution_id, after, records in fresh:
            for watch in tuple(self._watches.get(execution_id, ())):
                if not records:
                    watch.listener([])
                elif after <= watch.position < records[0].seq - 1:  # a trim has overtaken it
                    self._watches[execution_id].remove(watch)
                    watch.lost()
                # A run that begins later than this watch stands would leave a hole: the watch's
                # own catch-up is on its way, and brings this run too.
                elif after <= watch.position < records[-1].seq:
                    new = [record for record in records if record.seq > watch.position]
                    watch.position = records[-1].seq
                    watch.listener(new)
            self._note_position(execution_id)


def _find(connection: sqlite3.Connection, execution_id: str) -> Entry:
    row = connection.execute(f"{_ENTRY} WHERE execution_id = ?", (execution_id,)).fetchone()
    if row is None:
        raise ExecutionNotFound(f"There is no execution {execution_id!r} here")
    return _entry(row)


def _entries(
    connection: sqlite3.Connection, where: str, values: Sequence[str | int]
) -> list[Entry]:
    return [_entry(row) for row in connection.execute(f"{_ENTRY} WHERE {where}", values)]


def _entry(row: tuple[Any, ...]) -> Entry:
    values = dict(zip(_COLUMNS, row[:-1], strict=True))
    values["ephemeral"] = bool(values["ephemeral"])
    return Entry(**values, number=row[-1])


def _records(connection: sqlite3.Connection, log: int, after: int, limit: int) -> list[Record]:
    rows = connection.execute(
        "SELECT seq, type, tail FROM event WHERE log = ? AND seq > ? ORDER BY seq LIMIT ?",
        (log, after, limit),
    )
    return clip(Record(*row) for row in rows)


def _last_batch(
    connection: sqlite3.Connection, log: int, producer: Producer | None
) -> tuple[int, Appended]:
    row = (
        producer
        and connection.execute(
            "SELECT batch, first, last FROM producer WHERE log = ? AND name = ?",
            (log, producer.name),
        ).fetchone()
    )
    return (row[0], Appended(row[1], row[2], True)) if row else (0, Appended(0, 0, True))


def _note_batch(
    connection: sqlite3.Connection, entry: Entry, producer: Producer | None, stands: Appended
) -> None:
    if producer:
        connection.execute(
            "INSERT OR REPLACE INTO producer VALUES (?, ?, ?, ?, ?)",
            (entry.number, producer.name, producer.seq, stands.first, stands.last),
        )


def _put_aside(connection: sqlite3.Connection, log: int, payloads: Mapping[str, bytes]) -> None:
    connection.executemany(
        "INSERT OR IGNORE INTO payload VALUES (?, ?, ?)",
        [(log, digest, data) for digest, data in payloads.items()],
    )


def _insert_execution(connection: sqlite3.Connection, entry: Entry, lease_until: str | None) -> int:
    values = [getattr(entry, column) for column in _COLUMNS]
    cursor = connection.execute(
        f"INSERT INTO execution ({', '.join(_COLUMNS)}, lease_until)"
        f" VALUES ({', '.join('?' * len(values))}, ?)",
        (*values, lease_until),
    )
    assert cursor.lastrowid is not None
    return cursor.lastrowid


def _remove_execution(connection: sqlite3.Connection, log: int) -> None:
    """Remove a log's row, but keep its number from being given out again.

    SQLite gives a new row the largest number there is, plus one. So the row of the newest log
    stays, as nobody's, until a newer one takes its office: that costs the many creations nothing,
    where AUTOINCREMENT would write to a table of its own each time.
    """
    connection.execute("DELETE FROM execution WHERE log = ?", (log,))
    newest = connection.execute("SELECT max(log) FROM execution").fetchone()[0] or 0
    if newest < log:
        connection.execute(
            "INSERT INTO execution (log, execution_id, workspace, kind, flow, epoch, created_at,"
            " head, floor, updated_at, last_status_event)"
            " VALUES (?, ?, '', '', '', '', '', 0, 1, '', '')",
            (log, f"removed {log}"),
        )
    connection.execute(
        "DELETE FROM execution WHERE workspace = '' AND sealed = 0 AND log < ?", (max(newest, log),)
    )
