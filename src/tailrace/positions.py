"""Where a watcher stands in a log, and where its stream starts.

The law of this file: what the log cannot give is a gap that is said, never silence. Pure.
"""

from dataclasses import dataclass

from tailrace.errors import InvalidPosition
from tailrace.events import StreamGap
from tailrace.log.base import Entry


@dataclass(frozen=True, slots=True)
class Position:
    """Where a watcher stands: the last sequence it has, and the life of the log it is from."""

    seq: int
    epoch: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read `<seq>` or `<seq>@<epoch>`. Raises InvalidPosition."""
        number, separator, epoch = text.partition("@")
        fits = number.isascii() and number.isdigit() and len(number) <= 18
        if not fits or (separator and not (epoch.isascii() and epoch.isalnum())):
            raise InvalidPosition(f"{text[:80]!r} is not a position")
        return cls(int(number), epoch or None)

    def __str__(self) -> str:
        return f"{self.seq}@{self.epoch}" if self.epoch else str(self.seq)


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a stream starts, and what cannot be served."""

    entry: Entry
    after: int
    resumed: bool
    gap: StreamGap | None = None

    @property
    def nothing_left(self) -> bool:
        """Whether the watcher has seen the terminal event: the answer is 204."""
        return self.entry.sealed and self.resumed and self.after >= self.entry.head


def resolve(entry: Entry, asked: Position | None, begin: int | None = None) -> Opening:
    """Decide where to start.

    With `begin`, who names no position begins there, and does not want what is before.
    """
    if asked is None and begin is not None:
        return Opening(entry, max(begin, entry.floor - 1), resumed=False)
    if asked is None:
        return Opening(entry, entry.floor - 1, resumed=False, gap=_trimmed(entry, 0))
    if asked.epoch not in (None, entry.epoch):
        # Another life of the log: nothing the watcher has is from this one. All from the start.
        gone = max(asked.seq, entry.floor - 1)
        lost = StreamGap(from_=1, to=gone, cause="lost") if asked.seq else _trimmed(entry, 0)
        return Opening(entry, entry.floor - 1, resumed=False, gap=lost)
    if asked.seq > entry.head:
        # The end must be told again: else a client that waits for it reconnects for ever.
        after = entry.head - 1 if entry.sealed else entry.head
        lost = StreamGap(from_=entry.head + 1, to=asked.seq, cause="lost")
        return Opening(entry, after, resumed=False, gap=lost)
    gap = _trimmed(entry, asked.seq)
    return Opening(entry, max(asked.seq, entry.floor - 1), resumed=gap is None, gap=gap)


def _trimmed(entry: Entry, after: int) -> StreamGap | None:
    if after + 1 >= entry.floor:
        return None
    return StreamGap(from_=after + 1, to=entry.floor - 1, cause="retention")
