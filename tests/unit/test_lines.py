"""Bytes to lines, however they are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.lines import Line, LineSplitter, lines_of


def split(*chunks: bytes, limit: int = 100) -> list[Line]:
    splitter = LineSplitter(limit)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.end()


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"", []),
        (b"a", ["a"]),
        (b"a\n", ["a"]),
        (b"a\nb", ["a", "b"]),
        (b"\n\n", ["", ""]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"10%\r20%\rdone\n", ["10%\r20%\rdone"]),
        ("a\u2028b\n".encode(), ["a\u2028b"]),
        (b"\x1b[31mred\x1b[0m\n", ["\x1b[31mred\x1b[0m"]),
        (b"\xff\xfe\n", ["\ufffd\ufffd"]),
        (b"a\0b\n", ["a\0b"]),
    ],
)
def test_lines_end_at_lf_wherever_the_bytes_are_cut(stream: bytes, expected: list[str]) -> None:
    for cut in range(len(stream) + 1):
        assert [line.text for line in split(stream[:cut], stream[cut:])] == expected
    assert [line.text for line in split(*[bytes([byte]) for byte in stream])] == expected


OUTPUT = st.lists(st.sampled_from([b"a", b"bcd", b"\r", b"\n", b"x" * 9, "é".encode()])).map(
    b"".join
)


@given(st.lists(st.binary(max_size=30) | OUTPUT, max_size=20), st.integers(1, 100))
def test_cuts_change_nothing(chunks: list[bytes], limit: int) -> None:
    assert split(*chunks, limit=limit) == split(b"".join(chunks), limit=limit)


def test_of_a_line_drawn_anew_the_newest_drawings_are_kept() -> None:
    drawings = b"\r".join(b"%d%%" % n for n in range(101))
    assert split(drawings + b"\n", limit=12) == [Line("98%\r99%\r100%", True)]
    assert split(b"old\r" + b"x" * 20 + b"\n", limit=12) == [Line("x" * 12, True)]
    assert split(b"x" * 12 + b"\r\n", limit=12) == [Line("x" * 12, False)]


def test_a_text_has_the_lines_that_lf_ends() -> None:
    assert lines_of("a\u2028b\x0cc\r\n\nd\n") == ["a\u2028b\x0cc", "", "d"]
    assert lines_of("") == [""]
    assert lines_of("\ud83d\ude00 \ud83d") == ["😀 \ufffd"]


def test_a_long_line_is_cut_and_marked_and_the_next_is_whole() -> None:
    assert split(b"x" * 250 + b"\nshort\n") == [Line("x" * 100, True), Line("short", False)]
    assert split(b"x" * 100 + b"\n") == [Line("x" * 100, False)]
    assert split(b"x" * 101) == [Line("x" * 100, True)]


def test_a_line_without_end_takes_no_more_memory_than_the_limit() -> None:
    splitter = LineSplitter(100)
    for _ in range(1000):
        assert splitter.feed(b"x" * 1000) == []
    assert len(splitter._partial) == 100
