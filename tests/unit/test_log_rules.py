"""The rules that every store shares, as tables."""

import pytest

from tailrace.errors import (
    InvalidEvent,
    LogSealed,
    PayloadTooLarge,
    PositionConflict,
    ProducerGap,
    TailraceError,
)
from tailrace.events import Draft, Record
from tailrace.log import rules
from tailrace.log.base import Entry, Producer
from tailrace.log.rules import admit, advance, check_batch, clip, encode, place
from tailrace.testing.contract.tools import ended, line, queued


def entry(*, sealed: bool = False) -> Entry:
    return Entry(
        execution_id="X",
        workspace="w",
        kind="task",
        flow="f",
        epoch="e",
        created_at="",
        head=5,
        last_status_event="execution.failed" if sealed else "execution.queued",
    )


@pytest.mark.parametrize(
    ("sealed", "expected", "producer", "last_batch", "outcome"),
    [
        (False, None, None, 0, True),
        (False, 5, None, 0, True),
        (False, 4, None, 0, PositionConflict),
        (False, 6, None, 0, PositionConflict),
        (True, None, None, 0, LogSealed),
        (True, 4, None, 0, LogSealed),
        (False, None, 1, 0, True),
        (False, None, 2, 0, ProducerGap),
        (False, None, 3, 2, True),
        (False, None, 2, 2, False),
        (False, None, 1, 2, False),
        (True, None, 2, 2, False),
        (True, None, 3, 2, LogSealed),
        (False, 4, 2, 2, False),
    ],
)
def test_a_batch_is_admitted_repeated_or_refused(
    sealed: bool,
    expected: int | None,
    producer: int | None,
    last_batch: int,
    outcome: bool | type[TailraceError],
) -> None:
    name = Producer("p", producer) if producer else None

    def decide() -> bool:
        return admit(
            entry(sealed=sealed), [line()], expected=expected, producer=name, last_batch=last_batch
        )

    if isinstance(outcome, bool):
        assert decide() is outcome
    else:
        with pytest.raises(outcome):
            decide()


def test_batches_that_no_log_takes() -> None:
    for batch in (
        [],
        [ended(), line()],
        [ended(), ended()],
        [line()] * (rules.BATCH_MAX_EVENTS + 1),
    ):
        with pytest.raises(InvalidEvent):
            check_batch(batch)
    check_batch([line(), ended()])


def test_an_event_over_the_limit_names_itself() -> None:
    with pytest.raises(PayloadTooLarge, match=r"log\.line") as caught:
        encode("X", [line(), line("x" * rules.EVENT_MAX_BYTES)])
    assert caught.value.hint


def test_places_follow_the_head() -> None:
    drafts = [line("a"), line("b")]
    records = place(7, drafts, encode("X", drafts))
    assert [(record.seq, record.event().data["line"]) for record in records] == [(8, "a"), (9, "b")]


def test_the_index_moves_with_the_batch() -> None:
    started = Draft(type="execution.started", ts="t2", data={})
    progress = Draft(type="execution.progress", ts="t3", data={})
    drafts = [queued(), started, line(), progress]
    after = advance(entry(), drafts, encode("X", drafts))
    assert (after.head, after.updated_at, after.last_status_event) == (9, "t3", "execution.started")
    assert after.status == "running"
    assert after.bytes == sum(map(len, encode("X", drafts)))
    assert advance(after, [ended()], encode("X", [ended()])).sealed


def test_a_page_ends_at_its_bytes_with_at_least_one_event() -> None:
    large = Record(1, "t", b"x" * rules.PAGE_MAX_BYTES)
    small = Record(2, "t", b"x")
    assert clip([]) == []
    assert clip([large, small]) == [large]
    assert clip([small, large, small]) == [small, large]
    assert clip([small] * 10) == [small] * 10
