"""One SQLite file: how it is opened, what its errors mean, and the thread that owns a connection.

The law of this file: SQLite blocks, so no connection is ever touched on the event loop; and
a driver's exception leaves this module only as one of ours (`translated`), its cause kept.
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar, TypeVarTuple

from tailrace.clock import stopwatch
from tailrace.errors import (
    ConflictError,
    StoreBusy,
    StoreClosed,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
    UsageError,
)
from tailrace.events import TERMINAL

T = TypeVar("T")
A = TypeVarTuple("A")

SCHEMA_VERSION = 4
# What makes an older file's tables as they are now; tables that are missing are created after it.
UPGRADES: dict[int, Sequence[str]] = {
    1: (
        "ALTER TABLE execution ADD COLUMN sealed INTEGER NOT NULL DEFAULT 0",
        "UPDATE execution SET sealed = 1 WHERE last_status_event IN"
        f" ({', '.join(repr(name) for name in sorted(TERMINAL))})",
        # The next step asks it; it is as it was in version 2.
        "CREATE TABLE payload (log INTEGER NOT NULL, digest TEXT NOT NULL, data BLOB NOT NULL,"
        " UNIQUE (log, digest)) STRICT",
    ),
    2: (
        "ALTER TABLE execution ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE execution ADD COLUMN aside_bytes INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE execution ADD COLUMN ephemeral INTEGER NOT NULL DEFAULT 0",
        "UPDATE execution SET bytes ="
        " (SELECT coalesce(sum(length(tail)), 0) FROM event WHERE event.log = execution.log),"
        " aside_bytes ="
        " (SELECT coalesce(sum(length(data)), 0) FROM payload WHERE payload.log = execution.log)",
    ),
    # Of logs from before, no attempt is fenced off: 0 is older than any.
    3: ("ALTER TABLE execution ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0",),
}
APPLICATION_ID = 0x7461696C  # "tail": `file` and our own check tell the file from others by it
BUSY_TIMEOUT_S = 5.0  # another process may hold the write lock for one group commit, not for long
QUEUE_MAX_JOBS = 10_000  # jobs handed in and not done; one more is refused as StoreBusy

# SQLite's primary result codes (sqlite.org/rescode.html); everything else is a plain StoreError.
_ERRORS: dict[int, type[StoreError]] = {
    sqlite3.SQLITE_BUSY: StoreBusy,
    sqlite3.SQLITE_LOCKED: StoreBusy,
    sqlite3.SQLITE_READONLY: StoreReadOnly,
    sqlite3.SQLITE_PERM: StoreReadOnly,
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_CORRUPT: StoreCorrupt,
    sqlite3.SQLITE_NOTADB: StoreCorrupt,
    sqlite3.SQLITE_CANTOPEN: StoreUnavailable,
}


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the driver's exceptions into ours: the one place for SQLite."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        raise _ERRORS.get(code, StoreError)(f"{path}: {error}") from error


def connect(path: Path, durability: str) -> sqlite3.Connection:
    """Open the file, create or check its schema. Blocks; raises StoreError."""
    with translated(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreUnavailable(f"{path.parent}: {error.strerror}") from error
        if path.is_file() and not os.access(path, os.W_OK, effective_ids=True):
            raise StoreReadOnly(f"{path} cannot be written")
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, path, durability)
        except BaseException:
            connection.close()
            raise
        return connection


def _prepare(connection: sqlite3.Connection, path: Path, durability: str) -> None:
    connection.execute("BEGIN")  # one look: another process may be creating it
    try:
        version = _version(connection, path)
    finally:
        connection.execute("ROLLBACK")
    if version > SCHEMA_VERSION:
        raise StoreTooNew(
            f"{path} has schema {version}; this Tailrace knows {SCHEMA_VERSION} and older"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    if version < SCHEMA_VERSION:
        _create(connection, path)
    # In WAL mode NORMAL survives a killed process, FULL also a power cut: one fsync a commit.
    connection.execute(f"PRAGMA synchronous = {'FULL' if durability == 'disk' else 'NORMAL'}")
    connection.execute("PRAGMA cache_size = -65536")
    # A page that many commits touch is copied to the database once for each checkpoint: with
    # thousands of logs growing at once, 32 MB of WAL instead of the usual 4 is 8 % more events.
    connection.execute("PRAGMA wal_autocheckpoint = 8000")
    connection.execute("PRAGMA mmap_size = 268435456")


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The version of the file's tables; 0: it has none. Raises StoreCorrupt if it is not ours."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version:
        ours = connection.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    else:
        ours = connection.execute("SELECT 1 FROM sqlite_master").fetchone() is None
    if not ours:
        raise StoreCorrupt(f"{path} is a SQLite file, but not a Tailrace store")
    return version


def _create(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables, or an older file's tables as they are now."""
    # Immediate: of two processes that create the file at once, the second finds it created.
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version(connection, path)
        for older in range(version or SCHEMA_VERSION, SCHEMA_VERSION):
            for statement in UPGRADES[older]:
                connection.execute(statement)
        schema = files("tailrace.log").joinpath("schema.sql").read_text()
        for statement in schema.split(";\n"):
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


Call = tuple[Callable[..., None], tuple[Any, ...]]  # to be made on the event loop


class Job:
    """Work for a thread, and the future that its caller awaits."""

    __slots__ = ("_arguments", "_future", "_run", "at", "error", "result")

    def __init__(self, run: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._run, self._arguments = run, arguments
        self.at = stopwatch()
        self.result: Any = None
        self.error: BaseException | None = None
        self._future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def run(self, connection: sqlite3.Connection) -> None:
        """Do it; a refusal is its own answer, anything else is the whole group's."""
        try:
            self.result = self._run(connection, *self._arguments)
        except (UsageError, ConflictError) as error:
            self.error = error

    def settle(self) -> None:
        """Give the caller its answer."""
        _answer(self._future, self.error, self.result)

    async def done(self) -> Any:
        """Wait for the answer."""
        return await self._future


class Worker:
    """A thread with a queue of jobs.

    `work` gets a connection and the jobs that waited, at least one unless `tick_s` passed
    without any; it must set each job's result or error. Bound: QUEUE_MAX_JOBS, then refuse.

    The thread is a daemon: a program that forgets `aclose` still ends. SQLite takes a death at
    any moment, so nothing acknowledged can be lost by it.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], sqlite3.Connection],
        work: Callable[[sqlite3.Connection, list[Job]], None],
        *,
        batch: int,
        tick_s: Callable[[], float | None] = lambda: None,
    ) -> None:
        self._connect, self._work, self._batch, self._tick = connect, work, batch, tick_s
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._pending = 0
        self._calls: list[Call] = []
        self._closed = True
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._opened: asyncio.Future[None]
        self._ended: asyncio.Future[None]

    async def open(self) -> None:
        """Start the thread and wait until its connection is open."""
        self._loop = asyncio.get_running_loop()
        self._opened, self._ended = self._loop.create_future(), self._loop.create_future()
        self._thread.start()
        try:
            await self._opened
        except BaseException:
            self._queue.put(None)  # who was cancelled leaves no thread behind, nor an open file
            raise
        self._closed = False

    async def aclose(self) -> None:
        """Let the thread do what was handed in, and end it."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            await asyncio.shield(self._ended)

    async def do(self, run: Callable[[sqlite3.Connection, *A], T], *arguments: *A) -> T:
        """Hand a job in and wait for its result; cancelling the wait does not recall the job."""
        result: T = await self.submit(run, *arguments).done()
        return result

    def submit(self, run: Callable[[sqlite3.Connection, *A], Any], *arguments: *A) -> Job:
        """Hand a job in without waiting. Raises StoreClosed or StoreBusy."""
        if self._closed:
            raise StoreClosed
        if self._pending >= QUEUE_MAX_JOBS:
            raise StoreBusy(f"{QUEUE_MAX_JOBS} operations wait for the store")
        self._pending += 1
        job = Job(run, arguments)
        self._queue.put(job)
        return job

    def call_on_loop(self, callback: Callable[..., None], *args: Any) -> None:
        """From the thread: call something on the event loop, before what waits for these jobs.

        That is after the round of work: to wake the loop is a system call, and costs once so.
        """
        self._calls.append((callback, args))

    def _wake(self, callback: Callable[..., None], *args: Any) -> None:
        # A loop that was closed under us has nobody left to tell.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(callback, *args)

    def _run(self) -> None:
        try:
            connection = self._connect()
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the opener
            self._wake(_answer, self._opened, error)
            return
        self._wake(_answer, self._opened)
        ending = False
        while not ending:
            jobs, ending = self._take()
            self._work(connection, jobs)
            calls, self._calls = self._calls, []
            if jobs or calls:
                self._wake(self._settle, calls, jobs)
        connection.close()
        self._wake(_answer, self._ended)

    def _take(self) -> tuple[list[Job], bool]:
        """Wait for the first job, then take with it what waits already: that is group commit."""
        jobs: list[Job] = []
        try:
            job = self._queue.get(timeout=self._tick())
        except Empty:
            return jobs, False
        while job is not None:
            jobs.append(job)
            if len(jobs) >= self._batch or self._queue.empty():
                return jobs, False
            job = self._queue.get_nowait()
        return jobs, True

    def _settle(self, calls: list[Call], jobs: list[Job]) -> None:
        self._pending -= len(jobs)
        for callback, args in calls:
            try:
                callback(*args)
            except Exception as error:  # noqa: BLE001 - as the loop does it: it is nobody else's
                said = {"message": "Calling back from a store's thread", "exception": error}
                self._loop.call_exception_handler(said)
        for job in jobs:
            job.settle()


def _answer(
    future: "asyncio.Future[Any]", error: BaseException | None = None, result: Any = None
) -> None:
    """Let who waits go on; one that was cancelled is gone, and that is fine."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
        future.exception()  # where nobody waits for it, as for a watch's first look, it is no alarm
    else:
        future.set_result(result)
