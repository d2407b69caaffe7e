"""What only a file can do wrong, and how SQLite is asked."""

import asyncio
import gc
import os
import sqlite3
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from anyio.to_thread import run_sync as in_thread

from tailrace.errors import (
    AttemptFenced,
    ExecutionNotFound,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTooNew,
    StoreUnavailable,
)
from tailrace.log import sqlite, sqlite_file, sqlite_watch, sqlite_writer
from tailrace.log.sqlite import SqliteLog
from tailrace.testing.contract.tools import Learning, Listening, begin, ended, line, lines, started


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    async with SqliteLog(tmp_path / "log.db") as opened:
        yield opened


def execute(path: Path, statement: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


def damage(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: 4096 * 3] + b"\xff" * (len(content) - 4096 * 3))


async def use(path: Path) -> None:
    async with SqliteLog(path) as log:
        await log.read("X1", 0, 1000)
        await log.append("X1", [line("x" * 10_000)] * 20)


async def fill(log: SqliteLog) -> None:
    while True:
        await log.append("X1", [line("x" * 5000)] * 20)


async def open_fails(path: Path) -> StoreError:
    with pytest.raises(StoreError) as caught:
        async with SqliteLog(path):
            pass
    return caught.value


async def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    async with SqliteLog(tmp_path / "new" / "folder" / "log.db") as log:
        await begin(log)


async def test_a_file_that_is_no_database_is_said_to_be_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await in_thread(path.write_bytes, b"this is not a database" * 100)
    error = await open_fails(path)
    assert isinstance(error, StoreCorrupt)
    assert str(path) in error.message
    assert error.__cause__ is not None


async def test_a_database_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await in_thread(execute, path, "CREATE TABLE precious (x)")
    before = await in_thread(path.read_bytes)
    assert isinstance(await open_fails(path), StoreCorrupt)
    assert await in_thread(path.read_bytes) == before  # its journal mode, too
    await in_thread(execute, path, "PRAGMA user_version = 99")
    assert isinstance(await open_fails(path), StoreCorrupt)


async def test_damage_inside_the_file_is_said(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with SqliteLog(path) as log:
        await begin(log)
        for _ in range(50):
            await log.append("X1", [line("x" * 1000)])
    await in_thread(damage, path)
    with pytest.raises(StoreCorrupt):
        await use(path)


async def test_a_newer_schema_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with SqliteLog(path):
        pass
    await in_thread(execute, path, "PRAGMA user_version = 99")
    error = await open_fails(path)
    assert isinstance(error, StoreTooNew)
    assert error.hint is not None
    assert "Upgrade" in error.hint


async def test_a_folder_in_place_of_the_file_is_unavailable(tmp_path: Path) -> None:
    assert isinstance(await open_fails(tmp_path), StoreUnavailable)


async def test_a_file_in_place_of_the_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert isinstance(await open_fails(tmp_path / "file" / "log.db"), StoreUnavailable)


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder that others may enter but not write, seen as a user without root's powers."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


async def test_a_file_that_cannot_be_written_is_read_only(as_nobody: Path) -> None:
    path = as_nobody / "log.db"
    async with SqliteLog(path):
        pass
    path.chmod(0o444)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        error = await open_fails(path)
    finally:
        if root:
            os.seteuid(0)
    assert isinstance(error, StoreReadOnly)


async def limit_pages(log: SqliteLog, pages: int) -> None:
    """SQLite's own limit: beyond it, it fails as on a full disk, with SQLITE_FULL."""

    def limit(connection: sqlite3.Connection) -> Any:
        return connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()

    await log._writer.do(limit)


async def test_a_full_disk_is_said_and_nothing_is_half_written(log: SqliteLog) -> None:
    await begin(log)
    await limit_pages(log, 1)
    with pytest.raises(StoreFull):
        await fill(log)
    head = (await log.entry("X1")).head
    await limit_pages(log, 1_000_000)
    appended = await log.append("X1", [line("room again")])
    assert appended.first == head + 1
    assert lines(await log.read("X1", head, 10)) == ["room again"]


async def test_a_write_lock_held_too_long_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.0)
    async with SqliteLog(tmp_path / "log.db") as log:
        await refuses_while_locked(log)


async def refuses_while_locked(log: SqliteLog) -> None:
    await begin(log)
    other = await in_thread(sqlite_file.connect, log.path, "os")
    await in_thread(other.execute, "BEGIN IMMEDIATE")
    try:
        with pytest.raises(StoreBusy) as caught:
            await log.append("X1", [line()])
    finally:
        await in_thread(other.execute, "ROLLBACK")
        await in_thread(other.close)
    assert caught.value.retryable
    assert (await log.append("X1", [line("later")])).first == 2


async def test_too_many_waiting_operations_are_refused(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(log)
    monkeypatch.setattr(sqlite_file, "QUEUE_MAX_JOBS", 3)
    outcomes: list[object] = []

    async def append() -> None:
        try:
            outcomes.append(await log.append("X1", [line()]))
        except StoreBusy as error:
            outcomes.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(8):
            tasks.start_soon(append)
    assert sum(isinstance(outcome, StoreBusy) for outcome in outcomes) == 5


async def test_a_watch_that_is_refused_is_none(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(log)
    given: list[object] = []
    with monkeypatch.context() as busy:
        busy.setattr(sqlite_file, "QUEUE_MAX_JOBS", 0)
        with pytest.raises(StoreBusy):
            log.watch("X1", 1, given.append)
        with pytest.raises(StoreBusy):
            log.watch_new("default", 0, given.append)
    taken, learning = Listening(log, "X1", 1), Learning(log, "default", 0)
    await log.append("X1", [line()])
    await begin(log, "X2")
    await taken.until(2)
    await learning.until(2)
    assert given == []


async def test_appends_that_wait_share_a_commit(log: SqliteLog) -> None:
    await begin(log)
    commits = 0

    def count(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    await log._writer.do(lambda connection: connection.set_trace_callback(count))
    async with anyio.create_task_group() as tasks:
        for _ in range(200):
            tasks.start_soon(log.append, "X1", [line()])
    assert (await log.entry("X1")).head == 201
    assert commits < 50


async def test_every_statement_is_an_index_seek(log: SqliteLog) -> None:
    statements: set[str] = set()
    for worker in (log._writer, log._reader):
        await worker.do(lambda connection: connection.set_trace_callback(statements.add))
    await begin(log, lease_until="2026")
    await log.append("X1", [line()], expected=1)
    await log.beat(["X1"], "2027")
    await log.expired("2025")
    await log.read("X1", 0, 10)
    await log.entries("default", limit=10, before="X1", status_events=["execution.queued"])
    await log.trim("X1", 2)
    watch = Listening(log, "X1", 1)
    await watch.until(2)
    await log.append("X1", [ended()])
    await log.unfinished("default")
    await log.numbered("default", [1, 2])
    await Learning(log, "default", 0).until(1)
    facts = log.facts
    await facts.put("k", "a", "v", now="2026", new=True)
    await facts.find("k", "a", now="2026")
    await facts.take("k", "a", now="2026")
    await facts.occupy("k", {"n": 1}, "h", now="2026", until="2027")
    await facts.stay("k", "h", until="2028")
    await facts.vacate("k", "h")
    await facts.sweep(now="2026")
    await log.ended("task", ephemeral=False, limit=10)
    await log.kept("task", ephemeral=False)
    await log.large("task", 10)
    await log.newest()
    watch.stop()
    await log.remove("X1")
    plans = {statement: await explain(log, statement) for statement in statements}
    assert any("event" in statement for statement in plans)
    scans = {statement: plan for statement, plan in plans.items() if "SCAN" in plan}
    assert not scans


async def explain(log: SqliteLog, statement: str) -> str:
    if not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
        return ""

    def run(connection: sqlite3.Connection) -> str:
        return str(connection.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall())

    return await log._reader.do(run)


async def test_an_unexpected_failure_reaches_the_caller_and_the_store_goes_on(
    log: SqliteLog,
) -> None:
    def broken(_: sqlite3.Connection) -> None:
        raise RuntimeError("a bug")

    for worker in (log._writer, log._reader):
        with pytest.raises(RuntimeError):
            await worker.do(broken)
    await begin(log)
    assert (await log.entry("X1")).head == 1


async def held(log: SqliteLog) -> threading.Event:
    """Hold the writer in a group of its own: what comes until the event is set is one group."""
    gate, entered, loop = threading.Event(), anyio.Event(), asyncio.get_running_loop()

    def hold(_: sqlite3.Connection) -> None:
        loop.call_soon_threadsafe(entered.set)  # at once: what a job calls comes when it is done
        assert gate.wait(10)

    log._writer.submit(hold)
    await entered.wait()
    return gate


async def test_a_watch_that_catches_up_in_the_group_of_an_append_misses_nothing(
    log: SqliteLog,
) -> None:
    """Found by CI: a stream opened while its execution ran stood still after five events."""
    await begin(log)
    await log.append("X1", [line("before")])
    gate = await held(log)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(log.append, "X1", [line("in the same group")])
        await anyio.lowlevel.checkpoint()
        watch = Listening(log, "X1", 1)  # its entry was read before "before" was there
        gate.set()
    await log.append("X1", [line("after")])
    assert lines(await watch.until(4)) == ["before", "in the same group", "after"]


async def test_a_watch_whose_first_look_failed_looks_again(log: SqliteLog) -> None:
    await begin(log)
    await log.append("X1", [line("before")])
    gate = await held(log)

    def broken(_: sqlite3.Connection) -> None:
        raise RuntimeError("a bug")

    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    async with anyio.create_task_group() as tasks:
        watch = Listening(log, "X1", 1)
        failing = log._writer.submit(broken)
        gate.set()
        with pytest.raises(RuntimeError):
            await failing.done()
        tasks.start_soon(log.append, "X1", [line("after")])
    assert lines(await watch.until(3)) == ["before", "after"]
    del failing
    gc.collect()
    assert told == []  # that nobody waits for the look that failed is no alarm


async def test_a_file_of_version_1_is_made_one_of_now(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with SqliteLog(path) as log:
        await begin(log)
        await begin(log, "X2")
        await log.append("X2", [ended()])
    await in_thread(make_version_1, path)
    async with SqliteLog(path) as log:
        assert [entry.execution_id for entry in await log.unfinished("default")] == ["X1"]
        await log.append("X1", [line("goes on"), ended()])
        assert await log.unfinished("default") == []
        assert await log.facts.put("kind", "key", "value", now="2026")


def make_version_1(path: Path) -> None:
    make_version_2(path)
    for statement in (
        "DROP INDEX execution_open",
        "ALTER TABLE execution DROP COLUMN sealed",
        "DROP TABLE payload",
        "DROP TABLE fact",
        "DROP TABLE place",
        "PRAGMA user_version = 1",
    ):
        execute(path, statement)


def make_version_2(path: Path) -> None:
    for statement in (
        "DROP INDEX execution_ended",
        "ALTER TABLE execution DROP COLUMN bytes",
        "ALTER TABLE execution DROP COLUMN aside_bytes",
        "ALTER TABLE execution DROP COLUMN ephemeral",
        "ALTER TABLE execution DROP COLUMN attempt",
        "PRAGMA user_version = 2",
    ):
        execute(path, statement)


async def test_a_file_of_version_2_learns_its_sizes(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    aside = line("see aside")
    aside.aside = {"d1": b"x" * 1000}
    async with SqliteLog(path) as log:
        await begin(log)
        await log.append("X1", [aside, ended()])
        before = await log.entry("X1")
    await in_thread(make_version_2, path)
    async with SqliteLog(path) as log:
        assert await log.entry("X1") == before
        assert before.aside_bytes == 1000
        assert (await log.kept("task", ephemeral=False)).bytes == before.size


async def test_a_file_of_version_3_learns_of_attempts(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    async with SqliteLog(path) as log:
        await begin(log)
    await in_thread(make_version_3, path)
    async with SqliteLog(path) as log:
        await log.append("X1", [line("of the first attempt, which began before")], attempt=1)
        await log.append("X1", [started(2)], attempt=2)
        with pytest.raises(AttemptFenced):
            await log.append("X1", [line("late")], attempt=1)


def make_version_3(path: Path) -> None:
    for statement in (
        "ALTER TABLE execution DROP COLUMN attempt",
        "PRAGMA user_version = 3",
    ):
        execute(path, statement)


async def test_the_number_of_a_removed_log_stays_taken_at_the_price_of_one_row(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"
    async with SqliteLog(path) as log:
        for number in range(1, 6):
            await begin(log, f"X{number}")
            await log.append(f"X{number}", [ended()])
            await log.remove(f"X{number}")
            assert await log.newest() == number
            with pytest.raises(ExecutionNotFound):
                await log.append(f"removed {number}", [line()])
            with pytest.raises(ExecutionNotFound):
                await log.entry(f"removed {number}")
    rows = await in_thread(execute, path, "SELECT log, workspace FROM execution")
    assert rows == [(5, "")]
    for table in ("event", "payload", "producer"):
        assert await in_thread(execute, path, f"SELECT * FROM {table}") == []


async def test_a_workspace_without_a_name_is_nobody_elses(log: SqliteLog) -> None:
    await begin(log, "X1", workspace="")
    await begin(log, "X2")
    await log.append("X2", [ended()])
    await log.remove("X2")
    await begin(log, "X3")
    await log.append("X3", [ended()])
    await log.remove("X3")
    assert [entry.execution_id for entry in await log.unfinished("")] == ["X1"]


async def ended_threads() -> bool:
    """Whether all threads of stores come to their end."""
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("tailrace-")]
    for thread in threads:
        await in_thread(thread.join, 5)
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("name", ["tailrace-writer", "tailrace-reader"])
async def test_a_cancelled_open_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    told: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    gate, reached = threading.Event(), threading.Event()

    def slow(path: Path, durability: str) -> sqlite3.Connection:
        if threading.current_thread().name == name:
            reached.set()
            gate.wait(10)
        return sqlite_file.connect(path, durability)

    monkeypatch.setattr(sqlite, "connect", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(SqliteLog(tmp_path / "log.db").open)
        await in_thread(reached.wait, 10)
        tasks.cancel_scope.cancel()
    gate.set()
    assert await ended_threads()
    await anyio.lowlevel.checkpoint()
    assert told == []


async def test_a_cancelled_close_closes(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with SqliteLog(tmp_path / "log.db"):
            scope.cancel()
            await anyio.sleep_forever()
    assert await ended_threads()


async def test_what_the_writer_remembers_has_a_bound(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: a server that only made and ran its own logs remembered all of them."""
    monkeypatch.setattr(sqlite_writer, "KNOWN_LOGS", 5)
    for number in range(20):
        await begin(log, f"X{number}")
        await log.append(f"X{number}", [line()])
        assert len(log._writer._known) <= 5
    assert [(await log.append(f"X{n}", [line()])).first for n in range(20)] == [3] * 20
    for number in range(20):
        await log.trim(f"X{number}", 2)
        assert len(log._writer._known) <= 5


async def test_a_busy_loop_does_not_find_a_heap_of_pages(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found by reading: while a loop was busy, its writer read one page anew and anew for it."""
    async with SqliteLog(log.path) as other:
        await begin(other)
        for _ in range(3):
            await other.append("X1", [line(n) for n in range(sqlite_watch.CATCH_UP_EVENTS)])
    tick, catch_up = log._writer._tick, log._watches.catch_up
    turns = reads = 0

    def turn() -> float | None:
        nonlocal turns
        turns += 1
        return tick()

    def read(connection: sqlite3.Connection, positions: dict[str, int]) -> list[Any]:
        nonlocal reads
        reads += 1
        return catch_up(connection, positions)

    monkeypatch.setattr(log._writer, "_tick", turn)
    monkeypatch.setattr(log._watches, "catch_up", read)
    watch = Listening(log, "X1", 0)
    while turns < 50:
        pass  # the loop is busy
    assert reads <= 3
    assert len(await watch.until(3001)) == 3001
