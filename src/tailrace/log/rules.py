"""The rules that every store shares: what a batch may be, and what becomes of a log by it.

The law of this file: pure. Every store asks here before it writes the first byte, and takes what is
said here for its own; a store that decides by itself (in a script of its server) says the same, and
the contract finds out if it does not.
"""

from collections.abc import Iterable, Sequence

from tailrace.errors import (
    AttemptFenced,
    InvalidEvent,
    LogSealed,
    PayloadTooLarge,
    PositionConflict,
    ProducerGap,
)
from tailrace.events import TERMINAL, Draft, Record
from tailrace.lifecycle import STATUS_EVENTS
from tailrace.log.base import Entry, Producer

EVENT_MAX_BYTES = 1_048_576  # one event must not make every watcher's write a large one
PAGE_MAX_BYTES = 262_144  # what one read may hold: it becomes one write to one watcher
BATCH_MAX_EVENTS = 10_000  # bounds what one append can make a store hold in memory at once


def admit(
    entry: Entry,
    drafts: Sequence[Draft],
    *,
    expected: int | None,
    producer: Producer | None,
    last_batch: int,
    attempt: int | None = None,
) -> bool:
    """Decide whether a batch may be appended; False means that the log has it already.

    Every store asks this before it writes the first byte. A duplicate is recognised before
    anything else, so that a retry after a lost answer succeeds even on a sealed log.
    """
    if producer is not None:
        if producer.seq <= last_batch:
            return False
        if producer.seq != last_batch + 1:
            raise ProducerGap(
                f"{producer.name!r} sent batch {producer.seq}; batch {last_batch + 1} is expected",
                expected=last_batch + 1,
            )
    check_batch(drafts)
    if entry.sealed:
        raise LogSealed(f"{entry.execution_id} has ended: it is {entry.status}")
    if attempt is not None and attempt < entry.attempt:
        raise AttemptFenced(f"Attempt {entry.attempt} has taken over from {attempt}")
    if expected is not None and expected != entry.head:
        raise PositionConflict(
            f"{entry.execution_id} is at {entry.head}, not at {expected}", head=entry.head
        )
    return True


def check_first(producer: Producer | None) -> None:
    """Raise ProducerGap for a log that would begin with a later batch."""
    if producer is not None and producer.seq != 1:
        raise ProducerGap(
            f"{producer.name!r} sent batch {producer.seq} of what does not exist yet", expected=1
        )


def check_batch(drafts: Sequence[Draft]) -> None:
    """Raise InvalidEvent for a batch that no log takes."""
    if not drafts:
        raise InvalidEvent("A batch holds at least one event")
    if len(drafts) > BATCH_MAX_EVENTS:
        raise InvalidEvent(f"A batch holds at most {BATCH_MAX_EVENTS} events")
    if any(draft.type in TERMINAL for draft in drafts[:-1]):
        raise InvalidEvent("Nothing may follow a terminal event in a batch")


def encode(execution_id: str, drafts: Sequence[Draft]) -> list[bytes]:
    """Encode a batch: the one time that happens. Raises InvalidEvent or PayloadTooLarge."""
    tails = [draft.encode(execution_id) for draft in drafts]
    largest = max(map(len, tails), default=0)
    if largest > EVENT_MAX_BYTES:
        type_ = next(d.type for d, t in zip(drafts, tails, strict=True) if len(t) == largest)
        raise PayloadTooLarge(
            f"{type_} is {largest} bytes; an event holds at most {EVENT_MAX_BYTES}",
            hint="Store large data elsewhere and put a reference to it in the event.",
        )
    return tails


def place(head: int, drafts: Sequence[Draft], tails: Sequence[bytes]) -> list[Record]:
    """Give an encoded batch its sequence numbers: the one place where ids are made."""
    return [
        Record(seq, draft.type, tail)
        for seq, (draft, tail) in enumerate(zip(drafts, tails, strict=True), start=head + 1)
    ]


def clip(records: Iterable[Record]) -> list[Record]:
    """Take records until they fill a page: at least one, if there is one."""
    page: list[Record] = []
    size = 0
    for record in records:
        page.append(record)
        size += len(record.tail)
        if size >= PAGE_MAX_BYTES:
            break
    return page


def bytes_of(records: Iterable[Record]) -> int:
    """The size of records, without what writing them out adds."""
    return sum([len(record.tail) for record in records])


def advance(entry: Entry, drafts: Sequence[Draft], tails: Sequence[bytes]) -> Entry:
    """Return the entry as it is after a batch."""
    status_event = entry.last_status_event
    aside, attempt = entry.aside_bytes, entry.attempt
    for draft in drafts:
        if draft.type in STATUS_EVENTS:
            status_event = draft.type
            if draft.type == "execution.started":
                attempt = draft.attempt
        if draft.aside:
            aside += sum(map(len, draft.aside.values()))
    return entry._replace(
        head=entry.head + len(drafts),
        updated_at=drafts[-1].ts,
        last_status_event=status_event,
        bytes=entry.bytes + sum(map(len, tails)),
        aside_bytes=aside,
        attempt=attempt,
    )
