"""The codec against the WHATWG standard, each stream cut at every byte."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace import sse
from tailrace.errors import ProtocolError
from tailrace.sse import Decoder, Message

# name: (bytes, the messages they are). HTML standard, section 9.2.6, and its examples.
GOLDENS: dict[str, tuple[bytes, list[tuple[str, str, str]]]] = {
    "one message": (b"data: a\n\n", [("message", "a", "")]),
    "several data lines": (b"data: a\ndata: b\n\n", [("message", "a\nb", "")]),
    "CR ends a line": (b"data: a\rdata: b\r\r", [("message", "a\nb", "")]),
    "CRLF ends a line": (b"data: a\r\ndata: b\r\n\r\n", [("message", "a\nb", "")]),
    "mixed line ends": (b"data: a\ndata: b\r\ndata: c\r\n\n", [("message", "a\nb\nc", "")]),
    "one space is dropped": (
        b"data:a\n\ndata:  b\n\n",
        [("message", "a", ""), ("message", " b", "")],
    ),
    "a byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [("message", "a", "")]),
    "only the first mark": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
    "empty data dispatches": (b"data:\n\n", [("message", "", "")]),
    "data without a colon": (b"data\n\n", [("message", "", "")]),
    "two empty data lines": (b"data\ndata\n\n", [("message", "\n", "")]),
    "no data dispatches nothing": (b"event: a\nid: 1\n\n", []),
    "an event type": (b"event: e\ndata: a\n\n", [("e", "a", "")]),
    "an event type is for one message": (
        b"event: e\ndata: a\n\ndata: b\n\n",
        [("e", "a", ""), ("message", "b", "")],
    ),
    "an event type without data is forgotten": (b"event: e\n\ndata: b\n\n", [("message", "b", "")]),
    "an id stays": (
        b"id: 1\ndata: a\n\ndata: b\n\n",
        [("message", "a", "1"), ("message", "b", "1")],
    ),
    "an empty id resets": (
        b"id: 1\ndata: a\n\nid\ndata: b\n\n",
        [("message", "a", "1"), ("message", "b", "")],
    ),
    "an id with NUL is ignored": (b"id: 1\0\ndata: a\n\n", [("message", "a", "")]),
    "an id-only block counts": (b"id: 7\n\ndata: a\n\n", [("message", "a", "7")]),
    "comments": (b": hi\ndata: a\n:\n\n: ping\n\n", [("message", "a", "")]),
    "unknown fields": (b"x: 1\ndatax: 2\n data: 3\ndata: a\n\n", [("message", "a", "")]),
    "the end cuts an unfinished message": (b"data: a\n\ndata: b\n", [("message", "a", "")]),
    "NUL in data passes": (b"data: \0\n\n", [("message", "\0", "")]),
    "a line separator is no line end": (
        "data: a\u2028b\u0085c\n\n".encode(),
        [("message", "a\u2028b\u0085c", "")],
    ),
    "heartbeats after an id are no messages": (
        b"id: 7\ndata: a\n\n: ping\n\n: ping\n\nretry: 10\n\n",
        [("message", "a", "7")],
    ),
    "broken UTF-8 is replaced": (b"data: \xff\xf0\x9f\n\n", [("message", "\ufffd\ufffd", "")]),
    "emoji": ("data: 😀\n\n".encode(), [("message", "😀", "")]),
}


def decode(*chunks: bytes) -> list[tuple[str, str, str]]:
    return decode_with(Decoder(), *chunks)


def decode_with(decoder: Decoder, *chunks: bytes) -> list[tuple[str, str, str]]:
    found = [message for chunk in chunks for message in decoder.feed(chunk)]
    return [(message.event, message.data, message.id) for message in found]


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_streams(name: str) -> None:
    stream, expected = GOLDENS[name]
    assert decode(stream) == expected


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_streams_cut_anywhere(name: str) -> None:
    stream, expected = GOLDENS[name]
    for cut in range(len(stream) + 1):
        assert decode(stream[:cut], stream[cut:]) == expected, cut
    assert decode(*[stream[n : n + 1] for n in range(len(stream))]) == expected
    assert decode(b"", *[stream[n : n + 1] for n in range(len(stream))], b"") == expected


def test_an_id_counts_without_a_message() -> None:
    decoder = Decoder(last_event_id="3")
    assert decoder.last_event_id == "3"
    assert decoder.feed(b"id: 9\n\n") == []
    assert decoder.last_event_id == "9"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"250", 250),
        (b"0", 0),
        (b"-1", None),
        (b"1.5", None),
        (b"1s", None),
        ("٣".encode(), None),
        (b"9" * 5000, None),
    ],
)
def test_retry_takes_ascii_digits_only(line: bytes, expected: int | None) -> None:
    decoder = Decoder()
    decoder.feed(b"retry: " + line + b"\n\n")
    assert decoder.retry_ms == expected


@pytest.mark.parametrize("stream", [b"data: " + b"x" * 2000, b"data: x\n" * 2000])
def test_a_message_without_end_is_refused(stream: bytes) -> None:
    decoder = Decoder(max_bytes=1000)
    with pytest.raises(ProtocolError):
        decode_with(decoder, *[stream[start : start + 100] for start in range(0, len(stream), 100)])


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_a_message_within_its_bound_is_taken_however_it_is_cut(size: int) -> None:
    """Found by reading: of a line that came in pieces each character counted twice."""
    stream = b"data: " + b"x" * 900 + b"\n\n"
    cuts = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert decode_with(Decoder(max_bytes=1000), *cuts) == [("message", "x" * 900, "")]


def test_many_small_messages_are_not_one_large_one() -> None:
    decoder = Decoder(max_bytes=100)
    assert sum(len(decoder.feed(b"data: x\n\n")) for _ in range(1000)) == 1000


FIELD = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), min_size=1)
DATA = st.text(st.characters(exclude_categories=["Cs"]))


@given(data=DATA, event=FIELD, id_=FIELD, cuts=st.lists(st.integers(0, 400), max_size=6))
def test_what_is_encoded_is_decoded(data: str, event: str, id_: str, cuts: list[int]) -> None:
    stream = sse.encode(data, event=event, id=id_)
    bounds = sorted({0, len(stream), *[cut % (len(stream) + 1) for cut in cuts]})
    decoder = Decoder()
    found = [
        message for start, end in pairwise(bounds) for message in decoder.feed(stream[start:end])
    ]
    heard = data.replace("\r\n", "\n").replace("\r", "\n")
    assert found == [Message(event, heard, id_)]


@pytest.mark.parametrize("field", ["event", "id"])
@pytest.mark.parametrize("character", ["\r", "\n", "\0"])
def test_a_field_cannot_inject_another(field: str, character: str) -> None:
    with pytest.raises(ValueError, match="must not contain"):
        sse.encode("a", **{field: f"x{character}y"})


def test_the_hot_path_writes_what_the_general_one_does() -> None:
    json = b'{"id":7,"text":"\\n"}'
    assert sse.event_frame(7, "log.line", b'"text":"\\n"}') == sse.encode(
        json.decode(), event="log.line", id="7"
    )
    assert sse.control_frame("stream.open", json) == sse.encode(json.decode(), event="stream.open")


def test_comments_and_retry_dispatch_nothing() -> None:
    decoder = Decoder()
    assert decoder.feed(sse.comment("a\nb\r\nc") + sse.comment() + sse.retry(50)) == []
    assert decoder.retry_ms == 50
