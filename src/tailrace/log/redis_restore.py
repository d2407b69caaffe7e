"""A log from elsewhere comes into Redis: in parts under other names, then at once under its own.

The law of this file: nobody sees a part of it. What was not finished is forgotten by itself
(redis_scripts.PUT_S).
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain

from tailrace.errors import StoreBusy
from tailrace.events import Record
from tailrace.log.base import Entry
from tailrace.log.redis_link import Command
from tailrace.log.redis_scripts import PLACE, PUT, PUT_S, Keys
from tailrace.log.redis_writer import Writer

PART_MAX_BYTES = 1_048_576  # bounds how long one script keeps the server
PART_MAX_EVENTS = 1000


async def restore(
    writer: Writer,
    keys: Keys,
    entry: Entry,
    records: Sequence[Record],
    payloads: Mapping[str, bytes],
) -> bool:
    """Put it in; returns whether there was none of that id. Raises StoreError."""
    token = secrets.token_hex(8)
    coming = keys.put(entry.execution_id, token)
    for part in _parts(records):
        events = chain.from_iterable((record.type, record.tail) for record in part)
        await writer.do(Command(PUT, (part[0].seq, len(part), *events), coming))
    for digest, data in payloads.items():
        await writer.do(Command(PUT, (0, 0, digest, data), coming))
    told = keys.told(entry.execution_id)
    arguments = (token, told, entry.floor, entry.head, entry.epoch, *_fields(entry))
    placed = await writer.do(Command(PLACE, arguments, (*keys.log(entry.execution_id), *coming)))
    if placed == -1:
        raise StoreBusy(f"{entry.execution_id} took longer than {PUT_S} s to come in")
    return bool(placed)


def _fields(entry: Entry) -> Iterable[str | int]:
    """An entry as the server keeps it."""
    fields: dict[str, str | int] = {
        "head": entry.head,
        "floor": entry.floor,
        "epoch": entry.epoch,
        "workspace": entry.workspace,
        "kind": entry.kind,
        "flow": entry.flow,
        "created_at": entry.created_at,
        "lease": "",
        "ephemeral": int(entry.ephemeral),
        "updated_at": entry.updated_at,
        "event": entry.last_status_event,
        "attempt": entry.attempt,
        "bytes": entry.bytes,
        "aside": entry.aside_bytes,
        "sealed": int(entry.sealed),
    }
    return chain.from_iterable(fields.items())


def _parts(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Cut events into parts that are not too large."""
    part: list[Record] = []
    size = 0
    for record in records:
        if part and (size + len(record.tail) > PART_MAX_BYTES or len(part) == PART_MAX_EVENTS):
            yield part
            part, size = [], 0
        part.append(record)
        size += len(record.tail)
    if part:
        yield part
