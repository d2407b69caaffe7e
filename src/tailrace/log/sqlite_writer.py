"""The writer of a SQLite file: one thread, which commits together what waits together.

The law of this file: a group of jobs is in the file whole or not at all, and nobody is answered,
and no watch fed, before it is. Appends are checked one by one, against entries that the writer
remembers, and written together: one statement for a group's events, one for its entries. So one
that is refused leaves the others untouched.

Another process's commit shows in `PRAGMA data_version`, which the writer looks at before each
commit, and every POLL_S while anybody watches; what it remembers is then forgotten, and what is
new is read for the watches. But for its making, all of this runs in the writer's thread.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tailrace.clock import stopwatch
from tailrace.errors import ExecutionExists, ExecutionRunning
from tailrace.events import Draft, Record
from tailrace.log import sqlite_rows as rows
from tailrace.log.base import Appended, Entry, Producer
from tailrace.log.rules import admit, advance, place
from tailrace.log.sqlite_file import Job, Worker, translated
from tailrace.log.sqlite_watch import Fresh, FreshLogs, Watches
from tailrace.metrics import LogMeter

GROUP_MAX_JOBS = 512  # bounds how long one commit can make the first of its group wait
KNOWN_LOGS = 10_000  # bounds what the writer remembers; it then begins anew


class Writer(Worker):
    """The thread that writes, for a process. `meter` is asked what to count with, if anything."""

    def __init__(
        self,
        path: Path,
        opened: Callable[[], sqlite3.Connection],
        watches: Watches,
        meter: Callable[[], LogMeter | None],
    ) -> None:
        super().__init__(
            "tailrace-writer", opened, self._commit, batch=GROUP_MAX_JOBS, tick_s=watches.tick
        )
        self._path, self._watches, self._meter = path, watches, meter
        self._known: dict[str, Entry] = {}  # logs as they are while no other process writes
        self._data_version = -1
        self._looked_at = 0.0
        # The group's: what it writes, what watches will be given of it, and, for the meter, what
        # there was of it.
        self._changed: dict[str, Entry] = {}
        self._rows: list[rows.Row] = []
        self._fresh: list[Fresh] = []
        self._fresh_logs: list[FreshLogs] = []
        self._created: list[str] = []  # the kinds of the logs that it makes
        self._sealed: list[Entry] = []
        self._read = False  # for watches, what others have written
        self._batches = self._events = self._bytes = 0

    # --- what a job does ----------------------------------------------------------------------

    def create(
        self,
        connection: sqlite3.Connection,
        entry: Entry,
        lease_until: str | None,
        drafts: Sequence[Draft],
        records: Sequence[Record],
        producer: Producer | None,
    ) -> Appended:
        """Make a log with its first events."""
        made = self._make(connection, entry, lease_until)
        if made.sealed:  # its row is not, yet
            self._changed[made.execution_id] = made
        self._add(connection, made, drafts, records, made.bytes)
        appended = Appended(1, entry.head)
        rows.note_batch(connection, made, producer, appended)
        return appended

    def restore(
        self,
        connection: sqlite3.Connection,
        entry: Entry,
        records: Sequence[Record],
        payloads: Mapping[str, bytes],
    ) -> Entry:
        """Put a log from elsewhere in."""
        made = self._make(connection, entry, None)
        self._rows += [(made.number, r.seq, r.type, r.tail) for r in records]
        self._changed[made.execution_id] = made
        rows.put_aside(connection, made.number, payloads)
        return made

    def _make(self, connection: sqlite3.Connection, entry: Entry, lease_until: str | None) -> Entry:
        try:
            number = rows.insert(connection, entry, lease_until)
        except sqlite3.IntegrityError:
            raise ExecutionExists(f"{entry.execution_id} exists already") from None
        made = entry._replace(number=number)
        self._remember(connection, made)
        self._created.append(entry.kind)
        return made

    def append(
        self,
        connection: sqlite3.Connection,
        execution_id: str,
        drafts: Sequence[Draft],
        tails: Sequence[bytes],
        expected: int | None,
        producer: Producer | None,
        attempt: int | None,
    ) -> Appended:
        """Append a batch, if it is admitted."""
        entry = self._find(connection, execution_id)
        batch, known = rows.last_batch(connection, entry.number, producer)
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
        rows.note_batch(connection, entry, producer, appended)
        return appended

    def _find(self, connection: sqlite3.Connection, execution_id: str) -> Entry:
        """Look a log up, as it will be when this group is committed."""
        known = self._known.get(execution_id)
        if known is None:
            known = rows.find(connection, execution_id)
            self._remember(connection, known)
        return known

    def _remember(self, connection: sqlite3.Connection, entry: Entry) -> None:
        if len(self._known) >= KNOWN_LOGS:
            self._flush(connection)
            self._known.clear()
        self._known[entry.execution_id] = entry

    def _add(
        self,
        connection: sqlite3.Connection,
        entry: Entry,
        drafts: Sequence[Draft],
        records: Sequence[Record],
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
                rows.put_aside(connection, log, draft.aside)

    def trim(self, connection: sqlite3.Connection, execution_id: str, floor: int) -> Entry:
        """Drop the events below `floor`."""
        self._flush(connection)
        entry = rows.trim(connection, rows.find(connection, execution_id), floor)
        self._remember(connection, entry)
        return entry

    def remove(self, connection: sqlite3.Connection, execution_id: str) -> None:
        """Remove a log that has ended."""
        self._flush(connection)
        entry = rows.find(connection, execution_id)
        if not entry.sealed:
            raise ExecutionRunning(f"{execution_id} is {entry.status}")
        self._known.pop(execution_id, None)
        rows.remove(connection, entry.number)
        self._fresh.append((execution_id, entry.head, []))

    def catch_up(self, connection: sqlite3.Connection, positions: dict[str, int]) -> None:
        """Read for the watches of logs what they have not had."""
        # What earlier jobs of this group append is not in the file yet, and a watch that is
        # behind skips their runs: without this it would miss them, and all that follows, for ever.
        self._flush(connection)
        self._fresh += self._watches.catch_up(connection, positions)

    def catch_up_new(self, connection: sqlite3.Connection) -> None:
        """Read for the watches for new logs what they have not had."""
        self._fresh_logs += self._watches.catch_up_new(connection)

    # --- the group ----------------------------------------------------------------------------

    def _commit(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        """Run a group of jobs in one transaction; where the store itself fails, none is done."""
        self._fresh, self._fresh_logs, self._created = [], [], []
        self._batches = self._events = self._bytes = 0
        self._sealed, self._read, began = [], False, stopwatch()
        since, self._looked_at = jobs[0].at if jobs else self._looked_at, began
        try:
            with translated(self._path):
                if jobs:
                    connection.execute("BEGIN IMMEDIATE")
                self._see_others(connection)
                for job in jobs:
                    job.run(connection)
                if jobs:
                    self._flush(connection)
                    if self._created:
                        self.catch_up_new(connection)
                    connection.execute("COMMIT")
                    if self._batches:
                        self._measure(stopwatch() - began)
        except Exception as error:  # noqa: BLE001 - a dead writer thread would hang every caller
            self._undo(connection)
            for job in jobs:
                job.error = error
        if self._fresh:
            self.call_on_loop(self._watches.feed, self._fresh, since)
        if self._fresh_logs:
            self.call_on_loop(self._watches.feed_new, self._fresh_logs)
        if self._read:
            self._watches.unfed = True
            self.call_on_loop(self._watches.fed)

    def _see_others(self, connection: sqlite3.Connection) -> None:
        """If another process committed, forget what is known and read what is new for the watches."""
        version = connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:
            self._data_version, self._watches.behind = version, True
            self._known.clear()
        # One page is under way at a time: a loop that is busy must not find a heap of them.
        if self._watches.behind and not self._watches.unfed:
            self._watches.behind = False
            self.catch_up(connection, self._watches.positions.copy())
            self.catch_up_new(connection)
            self._read = bool(self._fresh or self._fresh_logs)

    def _flush(self, connection: sqlite3.Connection) -> None:
        """Write what the group's jobs have added: one statement each for all of them."""
        added, self._rows = self._rows, []
        changed, self._changed = self._changed, {}
        if added:
            rows.insert_events(connection, added)
        if changed:
            rows.update(connection, changed.values())
            ended = [entry for entry in changed.values() if entry.sealed]
            if ended:
                self._sealed += ended
                rows.seal(connection, ended)

    def _undo(self, connection: sqlite3.Connection) -> None:
        self._fresh, self._fresh_logs, self._rows, self._read = [], [], [], False
        self._known.clear()
        self._changed.clear()
        self._data_version = -1  # a catch-up may have been in the group: the next turn does it
        if connection.in_transaction:
            connection.execute("ROLLBACK")

    def _measure(self, seconds: float) -> None:
        """Count a group that is in the file."""
        meter = self._meter()
        if meter is not None:
            meter.commits.observe(seconds)
            meter.appends += self._batches
            meter.events += self._events
            meter.size += self._bytes
            meter.started.update(self._created)
            meter.ended.update((entry.kind, entry.status) for entry in self._sealed)
