"""The client's rules: when to reconnect, from where, and when it is over."""

import json

import pytest

from tailrace import sse
from tailrace.client.resume import BACKOFF_MAX_S, RETRY_AFTER_MAX_S, Resume
from tailrace.errors import ConnectionLost, ProtocolError, TooManyStreams
from tailrace.events import Event


def frame(seq: int, type_: str = "log.line") -> bytes:
    return sse.event_frame(seq, type_, json.dumps({"type": type_}).encode()[1:])


def control(type_: str, **data: object) -> bytes:
    envelope = {"id": None, "type": type_, "ts": "1", "data": data}
    return sse.control_frame(type_, json.dumps(envelope, separators=(",", ":")).encode())


OPEN = control("stream.open", epoch="e1")


def ids(events: list[Event]) -> list[int | None]:
    return [event.id for event in events]


def test_a_position_is_asked_for_with_its_epoch() -> None:
    resume = Resume("X")
    assert "Last-Event-ID" not in resume.connect()
    assert ids(list(resume.feed(OPEN + frame(1) + frame(2)))) == [1, 2]
    assert resume.position == "2@e1"
    assert resume.connect()["Last-Event-ID"] == "2@e1"


def test_a_position_moves_only_past_what_was_taken() -> None:
    resume = Resume("X")
    resume.connect()
    events = resume.feed(OPEN + frame(1) + frame(2) + frame(3))
    assert next(events).id == 1
    assert resume.position == "1@e1"


def test_half_a_frame_is_forgotten_with_its_connection() -> None:
    resume = Resume("X")
    resume.connect()
    list(resume.feed(OPEN + frame(1) + frame(2)[:-3]))
    assert resume.connect()["Last-Event-ID"] == "1@e1"
    assert ids(list(resume.feed(OPEN + frame(2)))) == [2]


def test_control_frames_stay_inside_but_a_gap_is_told_once() -> None:
    gap = control("stream.gap", **{"from": 1, "to": 3, "cause": "lost"})
    resume = Resume("X")
    resume.connect()
    first = list(resume.feed(OPEN + gap + control("heartbeat") + control("stream.closing")))
    assert [event.type for event in first] == ["stream.gap"]
    resume.connect()
    assert list(resume.feed(OPEN + gap.replace(b'"ts":"1"', b'"ts":"2"'))) == []


def test_the_terminal_event_ends_it() -> None:
    resume = Resume("X")
    resume.connect()
    list(resume.feed(OPEN + frame(1)))
    assert not resume.ended
    list(resume.feed(frame(2, "execution.failed")))
    assert resume.ended


def test_204_ends_it() -> None:
    resume = Resume("X", after="9")
    assert not resume.answered(204, "")
    assert resume.ended


def test_another_media_type_is_no_stream() -> None:
    resume = Resume("X")
    assert resume.answered(200, "text/event-stream; charset=utf-8")
    with pytest.raises(ProtocolError):
        resume.answered(200, "text/html")
    with pytest.raises(ProtocolError):
        resume.answered(200, "")


def test_waits_grow_to_a_ceiling_and_then_the_caller_is_told() -> None:
    resume = Resume("X", after="5", attempts=12)
    waits = [resume.failed(OSError("cut")) for _ in range(11)]
    for number, wait in enumerate(waits):
        ceiling = min(2.0**number, BACKOFF_MAX_S)
        assert ceiling / 2 <= wait <= ceiling
    with pytest.raises(ConnectionLost) as caught:
        resume.failed(OSError("cut"))
    assert caught.value.details["position"] == "5"
    assert isinstance(caught.value.__cause__, OSError)


def test_an_event_makes_the_failures_start_anew() -> None:
    resume = Resume("X", attempts=2)
    for seq in range(1, 6):
        resume.failed(OSError("cut"))
        resume.connect()
        list(resume.feed(OPEN + frame(seq)))


def test_the_servers_retry_is_heeded() -> None:
    resume = Resume("X")
    resume.connect()
    list(resume.feed(sse.retry(200) + OPEN))
    assert 0.1 <= resume.closed() <= 0.2
    assert 0.1 <= resume.failed(OSError("cut")) <= 0.2


def test_who_is_asked_to_wait_waits_at_least_so_long() -> None:
    for asked, least, most in ((7, 7, 10.5), (10_000, RETRY_AFTER_MAX_S, 1.5 * RETRY_AFTER_MAX_S)):
        wait = Resume("X").failed(TooManyStreams(retry_after_s=asked))
        assert least <= wait <= most


def test_without_following_a_clean_end_is_the_end() -> None:
    resume = Resume("X", live=False)
    assert resume.query() == [("follow", "false")]
    resume.closed()
    assert resume.ended
    following = Resume("X")
    following.closed()
    assert (following.query(), following.ended) == ([], False)


def test_where_a_stream_begins_is_a_position_before_any_event() -> None:
    """Found by reading: `tail=0`, cut while nothing came, began at what was the newest by then."""
    resume = Resume("X", choice={"tail": "0"})
    resume.connect()
    assert list(resume.feed(OPEN + sse.id_frame(95))) == []
    assert resume.connect()["Last-Event-ID"] == "95@e1"


def test_of_another_life_of_the_log_a_lower_id_counts() -> None:
    gap = control("stream.gap", **{"from": 1, "to": 100, "cause": "lost"})
    resume = Resume("X", "100@e0")
    resume.connect()
    assert len(list(resume.feed(OPEN + gap + sse.id_frame(7)))) == 1
    assert resume.position == "7@e1"


def test_who_never_gives_up_waits_on() -> None:
    resume = Resume("X", attempts=10**9)
    for _ in range(3000):
        assert resume.failed(OSError()) <= BACKOFF_MAX_S
