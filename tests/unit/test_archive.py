"""An execution as a file: what comes back is what went out, and nothing else gets in."""

import functools
import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailrace import Settings
from tailrace.archive import export, parse, renamed, restore
from tailrace.errors import ExecutionExists, ExecutionNotFound, InvalidExport
from tailrace.events import Draft, Record
from tailrace.intake import Intake
from tailrace.log.base import Entry, EventLog, Opening
from tailrace.log.memory import MemoryLog
from tailrace.log.sqlite import SqliteLog
from tailrace.redact import Redactor
from tailrace.runtime import Runtime
from tailrace.testing import FakeClock
from tailrace.testing.contract.tools import TS, ended, line, queued, read_all

LIMITS = settings(max_examples=40, deadline=None)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)
SAID = st.lists(
    st.one_of(
        st.builds(lambda text: line(text), st.text(max_size=30)),
        st.builds(
            lambda value: Draft(type="custom.x", ts=TS, node="n", attempt=2, data={"value": value}),
            VALUES,
        ),
        st.builds(
            lambda char, n: Draft(
                type="output.item", ts=TS, data={"index": 0, "value": char * (70_000 + n)}
            ),
            st.sampled_from("aé\u2028"),
            st.integers(0, 3),
        ),
    ),
    max_size=8,
)


async def begin(log: EventLog, said: list[Draft], *, sealed: bool = True, trim: int = 1) -> None:
    intake = Intake()
    drafts = [queued(), *said, *([ended()] if sealed else [])]
    drafts[0].data = {"kind": "task", "flow": "f", "workspace": "default"}
    made = [intake.prepare("X1", draft) for draft in drafts]
    await log.create(Opening(execution_id="X1", kind="task", flow="f"), made)
    await log.trim("X1", trim)


async def exported(log: EventLog, execution_id: str = "X1") -> list[bytes]:
    return [made async for made in export(log, execution_id)]


def on(log: EventLog, redactor: Redactor | None = None) -> Runtime:
    return Runtime(Settings(store="memory:"), log=log, clock=FakeClock(), redactor=redactor)


async def whole(log: EventLog, entry: Entry) -> tuple[list[Record], dict[str, bytes]]:
    found = [json.loads(made) for made in await exported(log, entry.execution_id)]
    digests = [made["payload"] for made in found if "payload" in made]
    payloads = {digest: await log.payload(entry.execution_id, digest) for digest in digests}
    return await read_all(log, entry.execution_id), payloads


async def there_and_back(folder: str, said: list[Draft], sealed: bool, trim: int) -> None:
    async with SqliteLog(Path(folder) / "a.db") as source:
        await begin(source, said, sealed=sealed, trim=trim)
        lines, before = await exported(source), await source.entry("X1")
        events, payloads = await whole(source, before)
    for target in (MemoryLog(), SqliteLog(Path(folder) / "b.db")):
        async with on(target) as runtime:
            entry = await restore(runtime, parse(lines))
            records, kept = await whole(target, entry)
            assert records[: len(events)] == events
            assert kept == payloads
            assert (entry.epoch, entry.floor, entry.created_at) == (
                before.epoch,
                before.floor,
                before.created_at,
            )
            if sealed:
                assert len(records) == len(events)
                assert await exported(target) == lines
            else:
                assert (entry.status, records[-1].type) == ("lost", "execution.lost")
                assert len(records) == len(events) + 1
            with pytest.raises(ExecutionExists):
                await restore(runtime, parse(lines))
            copy = await restore(runtime, renamed(parse(lines), "Y-1"))
            assert (copy.execution_id, copy.floor) == ("Y-1", before.floor)
            assert copy.epoch != before.epoch
            again = await read_all(target, "Y-1")
            assert [(r.seq, r.type, r.event().data) for r in again[: len(events)]] == [
                (r.seq, r.type, r.event().data) for r in events
            ]
            assert {r.event().execution_id for r in again} == {"Y-1"}


@LIMITS
@given(said=SAID, sealed=st.booleans(), trim=st.integers(1, 10))
def test_what_comes_back_is_what_went_out(said: list[Draft], sealed: bool, trim: int) -> None:
    with TemporaryDirectory() as folder:
        anyio.run(functools.partial(there_and_back, folder, said, sealed, trim))


@pytest.fixture
async def lines() -> list[bytes]:
    async with MemoryLog() as log:
        await begin(log, [line("a"), Draft(type="custom.x", ts=TS, data={"v": "y" * 70_000})])
        return await exported(log)


async def test_a_file_is_laid_out_as_documented(lines: list[bytes]) -> None:
    header, *rest, payload, end = [json.loads(made) for made in lines]
    assert (header["tailrace"], header["version"]) == ("execution", 1)
    assert (header["floor"], header["head"], len(rest)) == (1, 4, 4)
    assert [made["id"] for made in rest] == [1, 2, 3, 4]
    assert payload["value"] == "y" * 70_000
    assert end["events"] == 4
    assert end["sha256"] == sha256(b"".join(lines[:-1])).hexdigest()


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_file_that_was_changed_anywhere_is_refused(data: st.DataObject) -> None:
    async def made() -> bytes:
        async with MemoryLog() as log:
            await begin(log, [line("a"), Draft(type="custom.x", ts=TS, data={"v": "y" * 17_000})])
            return b"".join(await exported(log))

    text = anyio.run(made)
    assert parse(text.splitlines(keepends=True)).entry.head == 4
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.binary(max_size=2).filter(lambda new: new != text[place : place + 1]))
    changed = text[:place] + other + text[place + 1 :]
    with pytest.raises(InvalidExport):
        parse(changed.splitlines(keepends=True))


def resealed(lines: list[bytes]) -> list[bytes]:
    """A file whose end line is right, whatever stands above it."""
    end = json.loads(lines[-1]) | {"sha256": sha256(b"".join(lines[:-1])).hexdigest()}
    return [*lines[:-1], json.dumps(end, separators=(",", ":")).encode() + b"\n"]


def at(number: int, old: bytes, new: bytes) -> Callable[[list[bytes]], list[bytes]]:
    def change(lines: list[bytes]) -> list[bytes]:
        assert old in lines[number]
        return [*lines[:number], lines[number].replace(old, new, 1), *lines[number + 1 :]]

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[:-1], "before its end"),
        (lambda lines: [*lines, lines[1]], "after its end"),
        (lambda lines: lines[1:], "no export"),
        (lambda lines: [], "before its end"),
        (lambda lines: [lines[0], *lines[2:]], "event 1 belongs here"),
        (lambda lines: [lines[0], lines[2], lines[1], *lines[3:]], "event 1 belongs here"),
        (at(0, b'"version":1', b'"version":2'), "version 2"),
        (at(0, b'"flow":"f"', b'"flow":"g"'), "different things"),
        (at(0, b'"last_status_event":"execution.completed"', b'"last_status_event":"x"'), "status"),
        (at(0, b'"updated_at":"2026', b'"updated_at":"2027'), "last change"),
        (at(0, b'"execution_id":"X1"', b'"execution_id":"../x"'), "execution_id"),
        (at(2, b'"execution_id":"X1"', b'"execution_id":"X2"'), "another execution"),
        (at(2, b'"type":"log.line"', b'"type":"stream.gap"'), "stream.gap"),
        (at(2, b'"type":"log.line"', b'"type":"execution.failed"'), "execution.failed"),
        (at(2, b'"type":"log.line"', b'"type":"node.completed"'), "node.completed"),
        (at(2, b'"ts":"2026', b'"ts":"x026'), "time"),
        (at(2, b'"line":"a"', b'"line":1'), "log.line"),
        (at(2, b'"line":"a"', b'"line":"a","line":"b"'), "twice"),
        (at(2, b'"attempt":1', b'"attempt":NaN'), "NaN"),
        (at(2, b'"attempt":1', b'"attempt":"1"'), "attempt"),
        (at(2, b'{"id":2,', b'{ "id":2,'), "belongs here"),
        (at(2, b'"attempt":1', b'"attempt":' + b"9" * 30), "attempt"),
        (at(2, b'"attempt":1', b'"attempt":-1'), "attempt"),
        (at(2, b'"attempt":1', b'"attempt":1\r'), "one JSON object"),
        (at(2, b'"line":"a"', b'"line":"\\ud800"'), "surrogate|utf-8"),
        (at(2, b'"line":"a"', b'"line":"a","x":' + b"[" * 500 + b"]" * 500), "Line 3"),
        (at(0, b'"floor":1', b'"floor":6'), "floor"),
        (at(0, b'"head":4', b'"head":' + b"9" * 30), "head"),
        (at(0, b'"epoch":"', b'"epoch":"XYZ'), "epoch"),
        (at(5, b"yyy", b"yyz"), "digest"),
        (at(5, b'{"payload":"', b'{"payload":"0'), "payload"),
    ],
)
async def test_a_file_that_was_made_up_is_refused(
    lines: list[bytes], change: Callable[[list[bytes]], list[bytes]], says: str
) -> None:
    parse(resealed(lines))
    changed = change(lines)
    with pytest.raises(InvalidExport, match=says):
        parse(resealed(changed) if len(changed) == len(lines) else changed)


@pytest.mark.parametrize("kept", [1, 2, 3])
async def test_a_file_with_the_right_end_but_not_all_events_is_refused(kept: int) -> None:
    """Found by reading: it came in, and who followed it was at no event and not at the end."""
    async with MemoryLog() as log:
        await begin(log, [line("a"), line("b")], sealed=False)
        lines = await exported(log)
    header, *events, end = lines
    header = header.replace(b'"head":3', b'"head":9')
    made = [header, *events[:kept], end.replace(b'"events":3', b'"events":9')]
    with pytest.raises(InvalidExport, match="belongs here"):
        parse(resealed(made))


async def test_a_name_that_is_no_id_is_refused(lines: list[bytes]) -> None:
    for name in ("", "a b", "../x", "x" * 101, "a\n"):
        with pytest.raises(InvalidExport):
            renamed(parse(lines), name)


async def test_what_is_redacted_here_does_not_come_in() -> None:
    def big(value: Any) -> list[Draft]:
        return [Draft(type="custom.x", ts=TS, data={"v": value})]

    redactor = Redactor()
    redactor.add_secret("correct horse battery")
    async with MemoryLog() as source, on(MemoryLog(), redactor) as runtime:
        await begin(source, [line("a correct horse battery b")])
        entry = await restore(runtime, parse(await exported(source)))
        kept = b"".join([r.tail for r in await runtime.log.read(entry.execution_id, 0, 9)])
        assert b"correct horse" not in kept
        assert b"[redacted:" in kept
    async with MemoryLog() as source, on(MemoryLog(), redactor) as runtime:
        await begin(source, big("correct horse battery" * 5000))
        with pytest.raises(InvalidExport, match="redacted"):
            await restore(runtime, parse(await exported(source)))
        with pytest.raises(ExecutionNotFound):
            await runtime.log.entry("X1")
