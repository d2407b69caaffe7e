"""Bytes of a process's output to lines, incrementally. Pure: no I/O, no await.

The law of this file: a line ends at LF, and at nothing else, so a line is never split or joined
by how the bytes were cut. Invalid UTF-8 is replaced, ANSI codes pass through, a CR before the LF
is dropped. A line longer than the limit is cut and marked; what is cut is never kept in memory.
"""

from dataclasses import dataclass


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
        room = self._max - len(self._partial)
        self._partial += part[:room]
        self._cut = self._cut or len(part) > room

    def _take(self) -> Line:
        text = self._partial.decode(errors="replace").removesuffix("\r")
        line = Line(text, self._cut)
        self._partial.clear()
        self._cut = False
        return line
