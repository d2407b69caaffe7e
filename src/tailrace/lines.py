"""Bytes of a process's output to lines, incrementally. Pure: no I/O, no await.

The law of this file: a line ends at LF, and at nothing else, so a line is never split or joined
by how the bytes were cut. Invalid UTF-8 is replaced, ANSI codes pass through, a CR before the LF
is dropped, others stay within their line. A line longer than the limit is cut and marked; what is
cut is never kept in memory.
"""

import re
from dataclasses import dataclass

_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line, without its line break."""

    text: str
    truncated: bool = False


class LineSplitter:
    """Takes chunks of bytes and gives the lines they complete. Bound: one line of `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._partial = bytearray()
        self._drawing = 0  # where in it the text after its last CR begins
        self._cut = False

    def feed(self, chunk: bytes) -> list[Line]:
        """Take the next bytes."""
        *complete, rest = chunk.split(b"\n")
        lines = []
        for part in complete:
            self._keep(part)
            lines.append(self._take())
        self._keep(rest)
        return lines

    def end(self) -> list[Line]:
        """Nothing more comes: a last line without a line break is a line too."""
        return [self._take()] if self._partial or self._cut else []

    def _keep(self, part: bytes) -> None:
        for index, piece in enumerate(part.split(b"\r")):
            if index:
                self._partial += b"\r"
                self._drawing = len(self._partial)
            room = self._max - (len(self._partial) - self._drawing)
            self._partial += piece[:room]
            self._cut = self._cut or len(piece) > room
            self._forget_drawings()

    def _forget_drawings(self) -> None:
        """Of a line that is drawn anew and anew (a progress bar) the newest is what it says."""
        while len(self._partial) > self._max:
            oldest = self._partial.index(b"\r") + 1
            if oldest == len(self._partial):
                break  # a CR that may belong to the line's end
            del self._partial[:oldest]
            self._drawing -= oldest
            self._cut = True

    def _take(self) -> Line:
        text = self._partial.decode(errors="replace").removesuffix("\r")
        line = Line(text, self._cut)
        self._partial.clear()
        self._drawing = 0
        self._cut = False
        return line


def lines_of(text: str) -> list[str]:
    """The lines of a text, by the same law: LF ends one, and nothing else does.

    (`str.splitlines` also splits at U+2028, form feeds and six more, which are part of a line.)
    """
    return [line.removesuffix("\r") for line in wellformed(text).removesuffix("\n").split("\n")]


def wellformed(text: str) -> str:
    """Join surrogate pairs, and replace halves that are alone: UTF-8 has no bytes for them."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
