"""Many logs as one stream: those of a workspace as they come and go, or some of them.

The law of this file: no order between logs, exact order within each, and every event carries a
position from which all of them resume. That position is short because a log that has ended
leaves it: `17_18.5.3fa9_20.1.77b0` says that all logs up to number 17 are done with, but for 18
(read to 5, of the life 3fa9…) and 20.

Bounds: AT_ONCE logs are open at a time. Where more would be, the next ones wait in the store, in
the order of their numbers: late, never lost.
"""

import asyncio
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tailrace.batch import Batch
from tailrace.clock import rfc3339
from tailrace.errors import ExecutionNotFound, InvalidPosition, InvalidRequest
from tailrace.events import StreamGap
from tailrace.hub import Hub
from tailrace.log.base import Entry
from tailrace.positions import Position
from tailrace.seek import Begin
from tailrace.signals import Signal
from tailrace.watcher import Note, Watcher

AT_ONCE = 256
REMOVED = "removed"  # the fact of a workspace: the largest number that retention has removed
_POSITION = re.compile(r"(\d{1,15})((?:_\d{1,15}\.\d{1,15}\.[0-9a-f]{4})*)")


@dataclass(frozen=True, slots=True)
class Many:
    """A position in many logs: all up to a number are done with, but for those it names."""

    upto: int
    logs: Mapping[int, tuple[int, str]]  # number → (sequence, beginning of the epoch)

    @classmethod
    def parse(cls, text: str) -> "Many":
        """Read it. Raises InvalidPosition."""
        found = _POSITION.fullmatch(text)
        if not found:
            raise InvalidPosition(f"{text[:80]!r} is not a position in many logs")
        parts = [part.split(".") for part in found[2].split("_")[1:]]
        if len(parts) > AT_ONCE:
            raise InvalidPosition(f"{text[:80]!r} names more logs than a stream reads")
        return cls(int(found[1]), {int(n): (int(seq), epoch) for n, seq, epoch in parts})


@dataclass(frozen=True, slots=True)
class Piece:
    """What one of the logs gave: its batch, and the position around each of its events."""

    entry: Entry
    batch: Batch
    others: str  # the position without this log

    def position(self, seq: int) -> str:
        """The position after one of the events."""
        if self.batch.ended and seq == self.batch.last:
            return self.others
        return f"{self.others}_{self.entry.number}.{seq}.{self.entry.epoch[:4]}"


class ManyWatcher:
    """A position in many logs; close it when done. Read from one task."""

    def __init__(
        self, hub: Hub, workspace: str, *, begin: Begin | None = None, lifetime_s: float = math.inf
    ) -> None:
        self._hub, self._workspace, self._begin = hub, workspace, begin
        self._watchers: dict[int, Watcher] = {}
        self._fresh: dict[int, None] = {}  # those with something to read, in turn
        self._left, self._replays = 0, False  # of this round: still to be read; one has more
        self._coming: list[Entry] = []  # new logs that were told of and are not open yet
        self._gaps: list[tuple[str, StreamGap]] = []  # to be said: of which log, and what
        self._upto = self._top = 0
        self._fixed = False  # the logs were named: no others come
        self._stop: Callable[[], None] | None = None
        self._woken = asyncio.Event()
        self._final = Signal.CLOSING if hub.closing else None
        self.note: Note | None = None
        self.first: Callable[[], None] | None = None  # as a Watcher's
        self.ending, self._passed = "gone", 0
        self._idle = False
        self._active_at = hub.clock.monotonic()
        self._expires_at = hub.expiry(lifetime_s)
        self.at_close: Callable[[], None] | None = None  # what its owner gives back with it
        self.holder: Any = None
        hub.timed.add(self)

    # --- where it stands ------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """How many logs it reads now."""
        return len(self._watchers)

    @property
    def reading(self) -> bool:
        """Whether one of them has events for it now."""
        return any(w.position < w.opening.entry.head for w in self._watchers.values())

    @property
    def round_over(self) -> bool:
        """Whether all that had something were read, and none of them has more already."""
        return self._left == 0 and not self._replays

    @property
    def over(self) -> bool:
        """Whether nothing can come any more."""
        return self._fixed and not self._watchers

    @property
    def caught_up(self) -> bool:
        """Whether nothing is left of what there was when it began, or there is no room for it."""
        all_open = self._fixed or self._stop is None or self._upto >= self._top
        return all_open and not (self._fresh or self._coming)

    def position(self, without: int | None = None) -> str:
        """The position now; `without` one of the logs."""
        parts = [
            f"_{number}.{watcher.position}.{watcher.opening.entry.epoch[:4]}"
            for number, watcher in self._watchers.items()
            if number != without
        ]
        return f"{self._upto}{''.join(parts)}"

    # --- beginning ------------------------------------------------------------------------------

    async def start(self, execution_ids: Sequence[str], asked: Many | None) -> None:
        """Stand at a position in these logs, or in all of the workspace.

        With none asked for: at the beginning of those named, or of what has not ended yet.
        Raises ExecutionNotFound for one that is not of this workspace, InvalidRequest for too
        many, InvalidPosition for one of some logs where all are asked for, StoreError.
        """
        if execution_ids:
            await self._open_named(await self._entries(execution_ids), asked)
        else:
            await self._open_workspace(asked)

    async def _entries(self, execution_ids: Sequence[str]) -> list[Entry]:
        if len(execution_ids) > AT_ONCE:
            raise InvalidRequest(f"A stream names at most {AT_ONCE} executions")
        log, names = self._hub.log, dict.fromkeys(execution_ids)
        entries = [await log.entry(name) for name in names]
        for entry in entries:
            if entry.workspace != self._workspace:
                raise ExecutionNotFound(f"There is no execution {entry.execution_id!r} here")
        return entries

    async def _open_workspace(self, asked: Many | None) -> None:
        if asked is not None and any(number > asked.upto for number in asked.logs):
            # Such a log would be opened twice: as one of these, and as a new one.
            raise InvalidPosition("That is a position in logs that were named, not in all")
        log = self._hub.log
        last = await log.entries(self._workspace, limit=1)
        top = self._top = last[0].number if last else 0
        entries = await log.unfinished(self._workspace)
        if asked is None:
            wanted = [entry for entry in entries if entry.number <= top][:AT_ONCE]
            # Where there are more, they come as new ones do.
            self._upto = top if len(wanted) < AT_ONCE else wanted[-1].number
            await self._open_all(wanted, {})
        else:
            newest = await log.newest()  # of all that ever were: the last ones may be removed
            if asked.upto > newest:
                self._gaps.append(("", StreamGap(from_=newest + 1, to=asked.upto, cause="lost")))
            self._upto = min(asked.upto, newest)
            await self._miss_removed(asked)
            await self._open_all(await self._asked_for(asked, entries), asked.logs)
        self._go_on()

    async def _open_named(self, entries: Sequence[Entry], asked: Many | None) -> None:
        self._fixed = True
        # Those that have ended leave the position, and its number is 0; but where it has one, it is
        # of all logs, and none above that has been read.
        upto = (asked and asked.upto) or math.inf
        left = [e for e in entries if asked is None or e.number in asked.logs or e.number > upto]
        await self._open_all(left, asked.logs if asked else {})

    async def _asked_for(self, asked: Many, entries: Sequence[Entry]) -> list[Entry]:
        known = {entry.number: entry for entry in entries}
        missing = asked.logs.keys() - known.keys()
        if missing:  # they have ended since
            known |= {e.number: e for e in await self._hub.log.numbered(self._workspace, missing)}
        for number in asked.logs.keys() - known.keys():
            self._removed(number, number)
        return [known[number] for number in asked.logs if number in known]

    async def _miss_removed(self, asked: Many) -> None:
        """Say so if logs that came after this position are gone again already."""
        now = rfc3339(self._hub.clock.now())
        last = int(await self._hub.log.facts.get(REMOVED, self._workspace, now=now) or 0)
        if last > asked.upto and last not in asked.logs:
            self._removed(asked.upto + 1, last)

    def _removed(self, first: int, last: int) -> None:
        # Of a log that is gone only the number is known; a gap without an execution is of numbers.
        self._gaps.append(("", StreamGap(from_=first, to=last, cause="retention")))

    async def _open_all(self, entries: Sequence[Entry], at: Mapping[int, tuple[int, str]]) -> None:
        for entry in entries:
            seq, life = at.get(entry.number, (None, ""))
            # Another life of the log is said as a gap by the hub, for one position as for many.
            epoch = entry.epoch if entry.epoch.startswith(life) else f"not{life}"
            await self._open(entry, None if seq is None else Position(seq, epoch))

    async def _open(self, entry: Entry, asked: Position | None) -> None:
        try:
            watcher = await self._hub.open(entry.execution_id, asked, begin=self._begin)
        except ExecutionNotFound:
            self._removed(entry.number, entry.number)
            return
        if watcher.opening.nothing_left:
            watcher.close()
            return
        if watcher.opening.gap is not None:
            self._gaps.append((entry.execution_id, watcher.opening.gap))
        self._watchers[entry.number] = watcher
        self._fresh[entry.number] = None
        watcher.listen(partial(self._signalled, entry.number))

    # --- what comes -----------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Listen for new logs, while there is room for more."""
        if self._stop is None and not self._fixed and self.count < AT_ONCE:
            after = self._coming[-1].number if self._coming else self._upto
            self._stop = self._hub.log.watch_new(self._workspace, after, self._told)

    def _told(self, entries: Sequence[Entry]) -> None:
        room = max(AT_ONCE - self.count - len(self._coming), 0)
        self._coming += entries[:room]
        if len(entries) >= room and self._stop is not None:
            # Full. Who was told of and has no room is told of again, when there is.
            self._stop()
            self._stop = None
        self._woken.set()

    def _signalled(self, number: int, signal: Signal) -> None:
        if signal is Signal.DATA:
            self._fresh[number] = None
            self._woken.set()
        elif signal is Signal.LOST:
            self.wake(signal)

    def wake(self, signal: Signal) -> None:
        """Hear that the stream has to end."""
        self._final = max(signal, self._final or signal)
        self._woken.set()

    def tick(self, now: float) -> None:
        """Look at the time."""
        if now >= self._expires_at:
            self.wake(Signal.EXPIRED)
        elif now - self._active_at >= self._hub.heartbeat_s:
            self._active_at, self._idle = now, True
            self._woken.set()

    async def read(self) -> Piece | None:
        """What one of the logs has, each in its turn; None if none has anything now."""
        await self._open_new()
        while self._fresh:
            if self._left == 0:
                self._left, self._replays = len(self._fresh), False
            number = next(iter(self._fresh))
            del self._fresh[number]
            self._left -= 1
            watcher = self._watchers[number]
            batch = await watcher.read()
            self._replays = self._replays or watcher.behind
            if batch.gap is not None:
                self._gaps.append((watcher.opening.entry.execution_id, batch.gap))
            if not batch.records:
                if batch.ended:
                    self._drop(number)
                continue
            self._fresh[number] = None  # there may be more: after the others
            self._active_at = self._hub.clock.monotonic()
            piece = Piece(watcher.opening.entry, batch, self.position(without=number))
            self._passed += len(batch.records)
            if self.first is not None:
                self.first()
                self.first = None
            if batch.ended:
                self._drop(number)
            return piece
        self._left = 0
        return None

    def gaps(self) -> list[tuple[str, StreamGap]]:
        """What is missing and has not been said yet: (execution id, what)."""
        gaps, self._gaps = self._gaps, []
        return gaps

    async def _open_new(self) -> None:
        while self._coming:
            entry = self._coming[0]
            await self._open(entry, Position(0))
            del self._coming[0]  # until it is open, it takes the room of one that is
            self._upto = entry.number
        self._go_on()  # if all were gone again already, no end of another brings the next ones

    def _drop(self, number: int) -> None:
        self._watchers.pop(number).close()
        self._fresh.pop(number, None)
        self._go_on()

    @property
    def final(self) -> Signal | None:
        """Why it has to end, if so; what there is to read is for later."""
        return self._final

    async def wait(self) -> Signal:
        """Wait until there is something to read or to do."""
        while self._final is None and not (self._fresh or self._coming or self._idle):
            self._woken.clear()
            await self._woken.wait()
        if self._final is not None:
            return self._final
        idle, self._idle = self._idle, False
        return Signal.IDLE if idle and not (self._fresh or self._coming) else Signal.DATA

    async def stopped(self) -> None:
        """Wait until the stream has to end; what there is to read is for later."""
        while self._final is None:
            self._woken.clear()
            await self._woken.wait()

    def close(self) -> None:
        """Leave: nothing of it stays."""
        note, self.note = self.note, None
        if note is not None:
            note.ended(self.ending, self._passed)
        self._hub.timed.discard(self)
        if self._stop is not None:
            self._stop()
        for watcher in self._watchers.values():
            watcher.close()
        if self.at_close is not None:
            self.at_close()
            self.at_close = None
