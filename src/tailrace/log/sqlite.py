"""The log in one SQLite file: the embedded default. Schema: schema.sql.

How it works:
- One writer thread (sqlite_writer.py). Appends that arrive while it commits wait and share the
  next commit (group commit); each is acknowledged after that commit.
- One reader thread. In WAL mode it reads a snapshot and never waits for the writer.
- Watches (sqlite_watch.py). A commit of this process hands its records to the watches directly.
  What another process commits, the writer reads for them. So every watch is fed in log order by
  one thread, whoever appended.
- Rows (sqlite_rows.py). What both threads ask of the file, and what the writer puts there.
"""

import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import anyio

from tailrace.errors import StoreError
from tailrace.events import Draft, Record
from tailrace.log import sqlite_rows as rows
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
    unheard,
)
from tailrace.log.rules import advance, check_batch, check_first, encode, place
from tailrace.log.sqlite_facts import SqliteFacts
from tailrace.log.sqlite_file import Job, Worker, connect, translated
from tailrace.log.sqlite_watch import Watches
from tailrace.log.sqlite_writer import Writer
from tailrace.metrics import LogMeter


class SqliteLog(Opened):
    """An EventLog in a file. Several processes of one machine may use the file at once."""

    def __init__(self, path: Path, *, durability: str = "os") -> None:
        self.path = path
        self.meter: LogMeter | None = None
        self.fed_at = 0.0

        def opened() -> sqlite3.Connection:
            return connect(path, durability)

        self._watches = Watches(self._fed)
        self._writer = Writer(path, opened, self._watches, lambda: self.meter)
        self._reader = Worker("tailrace-reader", opened, self._read, batch=1)
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
        """Commit what was handed in, then close, also for who is cancelled meanwhile."""
        with anyio.CancelScope(shield=True):
            try:
                await self._writer.aclose()
            finally:
                await self._reader.aclose()

    # --- writing ------------------------------------------------------------------------------

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
        return await self._writer.do(
            self._writer.create, entry, opening.lease_until, drafts, records, producer
        )

    async def restore(
        self, entry: Entry, records: Sequence[Record], payloads: Mapping[str, bytes]
    ) -> Entry:
        """Put a log from elsewhere in."""
        return await self._writer.do(self._writer.restore, entry, records, payloads)

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
        return await self._writer.do(
            self._writer.append, execution_id, drafts, tails, expected, producer, attempt
        )

    async def trim(self, execution_id: str, floor: int) -> Entry:
        """Drop the events below `floor`."""
        return await self._writer.do(self._writer.trim, execution_id, floor)

    async def remove(self, execution_id: str) -> None:
        """Remove a log that has ended."""
        await self._writer.do(self._writer.remove, execution_id)

    async def beat(self, execution_ids: Sequence[str], until: str) -> None:
        """Set leases."""
        await self._writer.do(rows.extend_leases, execution_ids, until)

    # --- reading ------------------------------------------------------------------------------

    async def entry(self, execution_id: str) -> Entry:
        """Look a log up."""
        return await self._reader.do(rows.find, execution_id)

    async def read(self, execution_id: str, after: int, limit: int) -> Sequence[Record]:
        """Read events after a position."""

        def read(connection: sqlite3.Connection) -> list[Record]:
            return rows.records(
                connection, rows.find(connection, execution_id).number, after, limit
            )

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
            below = rows.find(connection, before).number if before else 2**62
            where = f"workspace = ? AND log < ?{marks} ORDER BY log DESC LIMIT ?"
            return rows.listed(connection, where, (workspace, below, *wanted, limit))

        return await self._reader.do(entries)

    async def unfinished(self, workspace: str) -> Sequence[Entry]:
        """List a workspace's logs that have not ended, oldest first."""
        where = "workspace = ? AND sealed = 0 ORDER BY log"
        return await self._reader.do(rows.listed, where, (workspace,))

    async def numbered(self, workspace: str, numbers: Iterable[int]) -> Sequence[Entry]:
        """Return the logs of a workspace with these numbers."""
        wanted = list(numbers)
        where = f"workspace = ? AND log IN ({', '.join('?' * len(wanted))})"
        values: Sequence[str | int] = (workspace, *wanted)
        return await self._reader.do(rows.listed, where, values)

    async def ended(self, kind: str, *, ephemeral: bool, limit: int) -> Sequence[Entry]:
        """List logs that have ended, the oldest end first."""
        where = "sealed = 1 AND kind = ? AND ephemeral = ? ORDER BY updated_at LIMIT ?"
        return await self._reader.do(rows.listed, where, (kind, ephemeral, limit))

    async def kept(self, kind: str, *, ephemeral: bool) -> Kept:
        """How many such logs there are, and how large they are."""
        return await self._reader.do(rows.kept, kind, ephemeral)

    async def large(self, kind: str, above_bytes: int) -> Sequence[Entry]:
        """List logs that have not ended and are larger than this."""
        # By the index of leases: every execution that has not ended has one.
        where = "lease_until > '' AND bytes > ? AND kind = ?"
        return await self._reader.do(rows.listed, where, (above_bytes, kind))

    async def newest(self) -> int:
        """Return the number of the newest log there ever was."""
        return await self._reader.do(rows.newest)

    async def payload(self, execution_id: str, digest: str) -> bytes:
        """Return what an event's draft put aside."""
        return await self._reader.do(rows.payload, execution_id, digest)

    async def expired(self, now: str) -> Sequence[tuple[str, str]]:
        """Return the open executions whose lease has ended."""
        return await self._reader.do(rows.expired, now)

    def _read(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        """In the reader thread: do what it was handed."""
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
        stop = self._watches.watch(execution_id, after, listener, lost)
        # What was appended before this moment is read at once; the job also ends a wait of the
        # writer, which polls only while somebody watches.
        with _undone_by(stop):
            self._writer.submit(self._writer.catch_up, {execution_id: after})
        return stop

    def watch_new(self, workspace: str, after: int, listener: NewListener) -> Callable[[], None]:
        """Call `listener` with every log created after number `after`."""
        stop = self._watches.watch_new(workspace, after, listener)
        with _undone_by(stop):
            self._writer.submit(self._writer.catch_up_new)
        return stop

    def _fed(self, since: float) -> None:
        """Note when what watches are given now was handed in."""
        self.fed_at = since


@contextmanager
def _undone_by(stop: Callable[[], None]) -> Iterator[None]:
    """Stop a watch whose first look the writer refuses: who asked for it has no other way to."""
    try:
        yield
    except StoreError:
        stop()
        raise
