"""One execution as one file: NDJSON lines that can be read, kept, sent and put back.

The law of this file: what comes back is what went out, byte for byte: numbers, times, epoch, floor,
values kept aside. Nothing of a file that is damaged, cut short or made up reaches a log.

    {"tailrace":"execution","version":1, …}     what the store's index knows of it
    {"id":1,"type":"execution.queued", …}       its events, as they are on the wire
    {"payload":"<sha256>","value": …}           the values that were too large for them
    {"tailrace":"end", …,"sha256":"…"}          how many there were, and the hash of all above
"""

import json
import re
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from tailrace import events
from tailrace.errors import (
    ConflictError,
    InvalidExport,
    PayloadNotFound,
    TailraceError,
)
from tailrace.events import CATALOG, CONTROL, TERMINAL, Draft, Event, Record, draft
from tailrace.lifecycle import STATUS_EVENTS, ExecutionState
from tailrace.log.base import Entry, EventLog
from tailrace.log.rules import EVENT_MAX_BYTES, advance, bytes_of, place
from tailrace.redact import Redactor
from tailrace.runtime import Runtime

VERSION = 1
_PAGE = 1000
_ID = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z$"
_MOST = 10**15 - 1  # of what is counted: what stores and positions hold
_PAYLOAD = re.compile(rb'\{"payload":"([0-9a-f]{64})","value":(.+)\}', re.DOTALL)


class Header(BaseModel):
    """The first line: the log as the store's index knows it."""

    model_config = ConfigDict(strict=True)
    tailrace: Literal["execution"] = "execution"
    version: int = VERSION
    execution_id: str = Field(pattern=_ID)
    workspace: str = Field(min_length=1)
    kind: str
    flow: str
    epoch: str = Field(pattern=r"^[0-9a-f]{4,64}$")
    created_at: str = Field(pattern=_TIME)
    updated_at: str = Field(pattern=_TIME)
    floor: int = Field(ge=1)
    head: int = Field(ge=1, le=_MOST)
    last_status_event: str

    def entry(self) -> Entry:
        """As a store has it."""
        return Entry(**self.model_dump(exclude={"tailrace", "version"}))


@dataclass(frozen=True, slots=True)
class Archive:
    """A file that has been read and checked."""

    entry: Entry
    records: Sequence[Record]
    payloads: dict[str, bytes]


# --- out ----------------------------------------------------------------------------------------


async def export(log: EventLog, execution_id: str) -> AsyncIterator[bytes]:
    """Give the lines of an execution's file, as it is now; of a running one: so far.

    Raises ExecutionNotFound, and ConflictError if it is trimmed meanwhile.
    """
    entry = await log.entry(execution_id)
    hashed, payloads = sha256(), 0
    digests: dict[str, None] = {}  # in their order, each once
    names = Header.model_fields.keys() - {"tailrace", "version"}
    header = Header(**{name: getattr(entry, name) for name in names})

    def counted(line: bytes) -> bytes:
        hashed.update(line)
        return line

    yield counted(to_json(header) + b"\n")
    async for record in _records(log, entry):
        yield counted(record.json() + b"\n")
        digests |= dict.fromkeys(_digests(record))
    for digest in digests:
        try:
            value = await log.payload(execution_id, digest)
        except PayloadNotFound:
            continue  # somebody's own data that looks like ours
        payloads += 1
        yield counted(b'{"payload":"%b","value":%b}\n' % (digest.encode(), value))
    yield _trailer(entry, payloads, hashed.hexdigest())


async def _records(log: EventLog, entry: Entry) -> AsyncIterator[Record]:
    position = entry.floor - 1
    while position < entry.head:
        records = await log.read(entry.execution_id, position, min(_PAGE, entry.head - position))
        if records[0].seq != position + 1:
            raise ConflictError(
                f"{entry.execution_id} was trimmed while it was read", hint="Export it again."
            )
        for record in records:
            yield record
        position = records[-1].seq


def _digests(record: Record) -> list[str]:
    """The values that an event has been relieved of."""
    if b'"digest":"' not in record.tail:
        return []
    told = [v for k, v in record.event().data.items() if k.endswith("_summary")]
    return [str(summary["digest"]) for summary in told if _names_a_payload(summary)]


def _names_a_payload(summary: Any) -> bool:
    return isinstance(summary, dict) and isinstance(summary.get("digest"), str)


def _trailer(entry: Entry, payloads: int, digest: str) -> bytes:
    count = entry.head - entry.floor + 1
    end = {"tailrace": "end", "events": count, "payloads": payloads, "sha256": digest}
    return to_json(end) + b"\n"


# --- in -----------------------------------------------------------------------------------------


def parse(lines: Iterable[bytes]) -> Archive:
    """Read a file's lines, and check all there is to check. Raises InvalidExport."""
    hashed, records, payloads = sha256(), list[Record](), dict[str, bytes]()
    fold, entry, ended, number = ExecutionState(), None, False, 0
    for number, line in enumerate(lines, start=1):
        try:
            if ended:
                raise InvalidExport("there is something after its end")
            if entry is None:
                entry = _header(line)
            elif len(records) <= entry.head - entry.floor:
                record = _record(line, entry, entry.floor + len(records))
                _apply(fold, record, entry)
                records.append(record)
            elif line == _trailer(entry, len(payloads), hashed.hexdigest()):
                ended = True
            else:
                digest, value = _payload(line)
                payloads[digest] = value
            hashed.update(line)
        except (TailraceError, ValueError, RecursionError) as error:
            raise InvalidExport(f"Line {number}: {error}") from error
    if entry is None or not ended:
        raise InvalidExport(f"The file ends after line {number}, before its end line")
    _check_index(entry, records)
    return Archive(entry, records, payloads)


def _header(line: bytes) -> Entry:
    raw = _object(line)
    if raw.get("tailrace") != "execution":
        raise InvalidExport("this is no export of an execution")
    if isinstance(raw.get("version"), int) and raw["version"] > VERSION:
        raise InvalidExport(
            f"it has version {raw['version']}; this Tailrace knows {VERSION} and older",
            hint="Upgrade Tailrace on this machine.",
        )
    try:
        entry = Header.model_validate(raw).entry()
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidExport(f"{first['loc'][0]}: {first['msg']}") from error
    if entry.floor > entry.head:
        raise InvalidExport("floor: it is above the head")
    return entry


def _object(line: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise InvalidExport("a name comes twice in an object")
        return made

    def finite(name: str) -> Any:
        raise InvalidExport(f"{name} is no JSON")

    raw = json.loads(line, object_pairs_hook=once, parse_constant=finite)
    # A CR is white space to JSON, but ends a line of a stream, and with it the event.
    if not isinstance(raw, dict) or not line.endswith(b"}\n") or b"\r" in line:
        raise InvalidExport("a line is one JSON object")
    to_json(raw)  # what we could not write (half a surrogate pair), nobody could be shown
    return raw


def _record(line: bytes, entry: Entry, seq: int) -> Record:
    prefix = b'{"id":%d,' % seq
    raw = _object(line)
    if not line.startswith(prefix):
        raise InvalidExport(f"event {seq} belongs here")
    event = Event.parse(line)
    if event.execution_id != entry.execution_id:
        raise InvalidExport(f"event {seq} is of another execution")
    for name, kind in (("type", str), ("ts", str), ("attempt", int), ("data", dict), ("node", str)):
        if name in raw and not isinstance(raw[name], kind):
            raise InvalidExport(f"event {seq}: {name} is not as events have it")
    if not 0 <= event.attempt <= _MOST:
        raise InvalidExport(f"event {seq}: attempt is not as events have it")
    if not re.fullmatch(_TIME, event.ts):
        raise InvalidExport(f"event {seq}: its time is not as events have it")
    if event.type in CATALOG or event.type.startswith(events.CUSTOM):
        events.check(event.type, event.data)
    if event.type in CONTROL or (event.type in TERMINAL and seq != entry.head):
        raise InvalidExport(f"event {seq}: {event.type} cannot be here")
    tail = line[len(prefix) : -1]
    if len(tail) > EVENT_MAX_BYTES:
        raise InvalidExport(f"event {seq} is larger than an event may be")
    return Record(seq, event.type, tail)


def _apply(fold: ExecutionState, record: Record, entry: Entry) -> None:
    """Whether it can follow; of a log whose beginning was trimmed nobody can say."""
    if entry.floor > 1:
        return
    event = record.event()
    fold.apply(event)
    if record.seq == 1:
        told = (fold.kind, fold.flow, fold.workspace, event.ts)
        if told != (entry.kind, entry.flow, entry.workspace, entry.created_at):
            raise InvalidExport("the first line and the first event tell different things")


def _payload(line: bytes) -> tuple[str, bytes]:
    _object(line)
    found = _PAYLOAD.fullmatch(line[:-1])
    if found is None:
        raise InvalidExport("neither a payload nor the right end of the file")
    digest, value = found[1].decode(), found[2]
    if sha256(value).hexdigest() != digest:
        raise InvalidExport(f"the payload is not what its digest says: {digest}")
    return digest, value


def _check_index(entry: Entry, records: Sequence[Record]) -> None:
    """What the first line says must be what the events say."""
    said = [record.type for record in records if record.type in STATUS_EVENTS]
    trimmed = entry.floor > 1 and entry.last_status_event in STATUS_EVENTS - TERMINAL
    if entry.last_status_event != said[-1] if said else not trimmed:
        raise InvalidExport(f"Its status is not {entry.last_status_event!r}")
    if entry.updated_at != records[-1].event().ts:
        raise InvalidExport("Its last change is not its last event's")


def renamed(archive: Archive, execution_id: str) -> Archive:
    """The same under another id, and so with another epoch. Raises InvalidExport."""
    if not re.fullmatch(_ID, execution_id):
        raise InvalidExport(f"{execution_id[:100]!r} cannot be an execution's id")
    old, new = [
        b'"execution_id":"%b"' % name.encode()
        for name in (archive.entry.execution_id, execution_id)
    ]
    records = []
    for record in archive.records:
        # Type and time stand before it, and have been checked: the first is the envelope's own.
        made = Record(record.seq, record.type, record.tail.replace(old, new, 1))
        if made.event() != replace(record.event(), execution_id=execution_id):
            raise InvalidExport(f"Event {record.seq}: its fields are not in their order")
        records.append(made)
    entry = archive.entry._replace(execution_id=execution_id, epoch=secrets.token_hex(4))
    return Archive(entry, records, archive.payloads)


async def restore(runtime: Runtime, archive: Archive) -> Entry:
    """Put an execution into the log. One that had not ended ends here as lost.

    Raises ExecutionExists, and InvalidExport if a value kept aside holds what is redacted here.
    """
    entry, records = archive.entry, [_clean(r, archive, runtime.redactor) for r in archive.records]
    for digest, value in archive.payloads.items():
        if not runtime.redactor.clean_bytes(value):
            parsed = json.loads(value)
            if runtime.redactor.value(parsed) is not parsed:
                raise InvalidExport(f"The payload {digest} holds what is redacted here")
    if not entry.sealed:
        lost = draft(
            events.ExecutionLost(reason="it had not ended when it was exported"),
            runtime.clock.now(),
        )
        tails = [lost.encode(entry.execution_id)]
        records += place(entry.head, [lost], tails)
        entry = advance(entry, [lost], tails)
    aside_bytes = sum(map(len, archive.payloads.values()))
    begun = [record.event().attempt for record in records if record.type == "execution.started"]
    entry = entry._replace(
        bytes=bytes_of(records), aside_bytes=aside_bytes, attempt=max(begun, default=0)
    )
    return await runtime.log.restore(entry, records, archive.payloads)


def _clean(record: Record, archive: Archive, redactor: Redactor) -> Record:
    """As it is, unless it holds what is redacted here."""
    if redactor.clean_bytes(record.tail):
        return record
    event = record.event()
    data = redactor.value(event.data)
    if data is event.data:
        return record
    made = Draft(type=event.type, ts=event.ts, data=data, node=event.node, attempt=event.attempt)
    return Record(record.seq, record.type, made.encode(archive.entry.execution_id))
