"""Positions, and what a watcher is told of what it cannot have."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.errors import InvalidPosition
from tailrace.log.base import Entry
from tailrace.positions import Position, resolve


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", Position(0)),
        ("13", Position(13)),
        ("13@ab12", Position(13, "ab12")),
        ("007", Position(7)),
    ],
)
def test_positions_are_read(text: str, expected: Position) -> None:
    assert Position.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "+1", " 1", "1 ", "1.0", "1e3", "1@", "@", "1@a@b", "1@a b", "٣", "9" * 19],
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(InvalidPosition):
        Position.parse(text)


@given(st.integers(0, 10**18 - 1), st.none() | st.from_regex(r"[0-9a-z]{1,12}", fullmatch=True))
def test_what_is_written_is_read(seq: int, epoch: str | None) -> None:
    assert Position.parse(str(Position(seq, epoch))) == Position(seq, epoch)


def entry(head: int, floor: int = 1, *, sealed: bool = False) -> Entry:
    return Entry(
        execution_id="X",
        workspace="w",
        kind="task",
        flow="f",
        epoch="e1",
        created_at="",
        head=head,
        floor=floor,
        last_status_event="execution.completed" if sealed else "execution.started",
    )


OPEN, SEALED = entry(10), entry(10, sealed=True)
TRIMMED = entry(10, floor=5)


@pytest.mark.parametrize(
    ("log", "asked", "after", "resumed", "gap"),
    [
        (OPEN, None, 0, False, None),
        (OPEN, "0", 0, True, None),
        (OPEN, "4", 4, True, None),
        (OPEN, "4@e1", 4, True, None),
        (OPEN, "10", 10, True, None),
        (OPEN, "15", 10, False, (11, 15, "lost")),
        (SEALED, "15", 9, False, (11, 15, "lost")),
        (OPEN, "4@e0", 0, False, (1, 4, "lost")),
        (OPEN, "0@e0", 0, False, None),
        (TRIMMED, None, 4, False, (1, 4, "retention")),
        (TRIMMED, "2", 4, False, (3, 4, "retention")),
        (TRIMMED, "4", 4, True, None),
        (TRIMMED, "7", 7, True, None),
        (TRIMMED, "0@e0", 4, False, (1, 4, "retention")),
        (TRIMMED, "2@e0", 4, False, (1, 4, "lost")),
        (TRIMMED, "7@e0", 4, False, (1, 7, "lost")),
    ],
)
def test_a_start_is_resolved(
    log: Entry, asked: str | None, after: int, resumed: bool, gap: tuple[int, int, str] | None
) -> None:
    opening = resolve(log, Position.parse(asked) if asked is not None else None)
    told = opening.gap and (opening.gap.from_, opening.gap.to, opening.gap.cause)
    assert (opening.after, opening.resumed, told) == (after, resumed, gap)


def test_nothing_is_left_only_at_the_end_of_an_ended_log() -> None:
    def nothing_left(log: Entry, asked: str) -> bool:
        return resolve(log, Position.parse(asked)).nothing_left

    assert nothing_left(SEALED, "10")
    assert nothing_left(SEALED, "10@e1")
    assert not nothing_left(SEALED, "9")
    assert not nothing_left(SEALED, "11")
    assert not nothing_left(SEALED, "10@e0")
    assert not nothing_left(OPEN, "10")
