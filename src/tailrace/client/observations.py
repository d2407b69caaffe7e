"""What came of a probe, and how it came: frames, bytes and times.

The law of this file: pure, and no judgement: numbers and words of what was seen.

The server's own times are the yardstick: a frame that was sent at 500 ms and came 1,500 ms after
the first was held on the way for a second, however slow the way is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

_CLUMP_SHARE = 0.2  # of the time between two ticks: frames that come closer came together
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of a probe: when the server sent it, by its clock, and when it came, by ours."""

    event: str
    data: Mapping[str, Any]
    at_ms: float

    @property
    def sent_ms(self) -> float:
        """Milliseconds since the probe began."""
        sent = self.data.get("elapsed_ms")
        return float(sent) if isinstance(sent, int | float) else 0.0


@dataclass(slots=True)
class Seen:
    """What came of one request. Times are milliseconds since it was sent."""

    status: int = 0  # 0: no answer
    headers: Mapping[str, str] = field(default_factory=dict)
    frames: list[Frame] = field(default_factory=list)
    body: bytes = b""
    last_ms: float = 0.0  # when the last bytes came
    ended_ms: float = 0.0  # when the answer ended, however it did
    error: str | None = None  # why it broke off; None: the connection closed in good order

    @property
    def opening(self) -> Mapping[str, Any] | None:
        """What the server said at the beginning of the probe."""
        frame = self.frames[0] if self.frames else None
        return frame.data if frame and frame.event == "probe.open" and frame.data else None

    @property
    def end(self) -> Mapping[str, Any] | None:
        """What it said at its end."""
        frame = self.frames[-1] if self.frames else None
        return frame.data if frame and frame.event == "probe.end" else None

    @property
    def encoding(self) -> str | None:
        """How the bytes are compressed, by the header or by what they are."""
        named = self.headers.get("content-encoding", "identity")
        if named != "identity":
            return named
        return "gzip" if self.body.startswith(_GZIP) else None

    def how_it_broke(self) -> str:
        """Why there is no end, in words."""
        if self.end and self.end.get("reason") == "shutdown":
            return "the server shut down meanwhile"
        return self.error or "the answer ended early, as if it were whole"


@dataclass(frozen=True, slots=True)
class Pace:
    """How the frames of a probe came, measured by when they were sent."""

    frames: int
    arrivals: int  # frames that come close together arrive once
    sent_ms: float
    came_ms: float
    held_ms: float  # the longest that one was held back, against the one that was held least

    @classmethod
    def of(cls, frames: Sequence[Frame]) -> "Pace":
        """Measure at least one frame."""
        sent = frames[-1].sent_ms - frames[0].sent_ms
        together = sent / len(frames) * _CLUMP_SHARE
        late = [frame.at_ms - frame.sent_ms for frame in frames]
        return cls(
            frames=len(frames),
            arrivals=1 + sum(b.at_ms - a.at_ms > together for a, b in pairwise(frames)),
            sent_ms=sent,
            came_ms=frames[-1].at_ms - frames[0].at_ms,
            held_ms=max(late) - min(late),
        )

    @property
    def uneven(self) -> bool:
        """Whether some frame came well after its time."""
        return self.held_ms > 1.5 * self.sent_ms / self.frames

    @property
    def clumped(self) -> bool:
        """Whether frames were collected. A client that paused has late frames, but not all over."""
        return self.uneven and self.arrivals <= self.frames / 2

    def __str__(self) -> str:
        pieces = "one piece" if self.arrivals == 1 else f"{self.arrivals} pieces"
        return (
            f"{self.frames} frames that were sent over {self.sent_ms:.0f} ms came over "
            f"{self.came_ms:.0f} ms, in {pieces}; the longest held back {self.held_ms:.0f} ms"
        )
