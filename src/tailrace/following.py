"""Events as Python's async iterators: of one execution, or of many.

The law of this file: the same loop as over HTTP, and the same choices; a position moves only past
what was handed to the caller.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import Generic, TypeVar

from tailrace import events
from tailrace.batch import Batch
from tailrace.compact import shown
from tailrace.errors import ShuttingDown
from tailrace.events import Event, Record
from tailrace.filters import Choice, chosen
from tailrace.hub import Hub
from tailrace.many import Many, ManyWatcher, Piece
from tailrace.positions import Position
from tailrace.seek import begin_of
from tailrace.signals import Signal
from tailrace.watcher import Watcher

Told = Iterable[tuple[str | None, Event | None]]  # where it then stands, and what is handed over
W = TypeVar("W", Watcher, ManyWatcher)


class _Events(Generic[W]):
    """An async iterator over events that knows its `position`."""

    def __init__(self, hub: Hub, after: str | None, *, live: bool, choice: Choice) -> None:
        self._hub, self._live = hub, live
        self._wanted, self._begin = chosen(choice), begin_of(choice, hub.clock.now())
        self._compact = choice.get("compact")
        self._lost = self._over = self._idle = False
        self._events = self._run()
        self.position = after

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def aclose(self) -> None:
        """Stop following; what is followed goes on."""
        await self._events.aclose()

    async def _run(self) -> AsyncGenerator[Event, None]:
        # One generator, and none within it: of those that somebody leaves behind, asyncio closes
        # all at once at the end, an inner one beside the outer one that closes it.
        while True:
            watcher = await self._open()
            self._over = self._idle = False
            try:
                told: Told | None = self._begun(watcher)
                while told is not None:
                    for self.position, event in told:
                        if event is not None:
                            yield event
                    told = await self._next(watcher)
            finally:
                watcher.close()
            if not self._lost:
                return
            # What it was given is not in the log any more: who asks again is told what is missing.
            self._lost = False
            if self.position is not None:
                self._stand_at(self.position)

    async def _next(self, watcher: W) -> "Told | None":
        """What comes next, perhaps nothing; None: that was all."""
        if self._over or (self._idle and await self._is_done(watcher)):
            return None
        return await self._read(watcher)

    async def _is_done(self, watcher: W) -> bool:
        return not self._live or self._ends(await watcher.wait())

    async def _open(self) -> W:
        raise NotImplementedError

    def _begun(self, watcher: W) -> "Told":
        raise NotImplementedError

    async def _read(self, watcher: W) -> "Told":
        raise NotImplementedError

    def _stand_at(self, position: str) -> None:
        raise NotImplementedError

    def _ends(self, signal: Signal) -> bool:
        """Whether a watch has to end. Raises ShuttingDown."""
        if signal is Signal.CLOSING:
            raise ShuttingDown
        self._lost = signal is Signal.LOST
        return self._lost

    def _chosen(self, batch: Batch) -> Sequence[Record]:
        return shown(batch.records, self._wanted, compacted=self._compact)


class Follow(_Events[Watcher]):
    """The events of an execution, to its end: an async iterator that knows its `position`."""

    def __init__(
        self, hub: Hub, execution_id: str, after: str | int | None, *, live: bool, choice: Choice
    ) -> None:
        self._execution_id = execution_id
        self._asked = None if after is None else Position.parse(str(after))
        super().__init__(hub, None if after is None else str(after), live=live, choice=choice)

    def _stand_at(self, position: str) -> None:
        self._asked = Position.parse(position)

    async def _open(self) -> Watcher:
        return await self._hub.open(self._execution_id, self._asked, begin=self._begin)

    def _begun(self, watcher: Watcher) -> Told:
        opening = watcher.opening
        self._over = opening.nothing_left
        if opening.gap:
            yield self.position, _control(opening.gap, self._execution_id)
        # Where it begins by `since` or `tail` is where it goes on, if it is cut before an event.
        yield self.position or f"{opening.after}@{opening.entry.epoch}", None

    async def _read(self, watcher: Watcher) -> Told:
        batch = await watcher.read()
        self._over, self._idle = batch.ended, not batch.records
        return self._told(batch, watcher.opening.entry.epoch)

    def _told(self, batch: Batch, epoch: str) -> Told:
        if batch.gap:
            yield self.position, _control(batch.gap, self._execution_id)
        for record in self._chosen(batch):
            yield f"{record.seq}@{epoch}", record.event()
        if batch.records:
            yield f"{batch.last}@{epoch}", None


class FollowMany(_Events[ManyWatcher]):
    """The events of many executions: an async iterator that knows its `position` in all of them."""

    def __init__(
        self,
        hub: Hub,
        workspace: str,
        execution_ids: Sequence[str],
        after: str | None,
        *,
        live: bool,
        choice: Choice,
    ) -> None:
        self._workspace, self._names = workspace, execution_ids
        self._asked = None if after is None else Many.parse(after)
        super().__init__(hub, after, live=live, choice=choice)

    def _stand_at(self, position: str) -> None:
        self._asked = Many.parse(position)

    async def _open(self) -> ManyWatcher:
        watcher = ManyWatcher(self._hub, self._workspace, begin=self._begin)
        try:
            await watcher.start(self._names, self._asked)
        except BaseException:
            watcher.close()
            raise
        return watcher

    def _begun(self, watcher: ManyWatcher) -> Told:
        for execution_id, gap in watcher.gaps():
            yield self.position, _control(gap, execution_id)
        yield self.position or watcher.position(), None

    async def _read(self, watcher: ManyWatcher) -> Told:
        piece = await watcher.read()
        self._idle = piece is None
        return self._told(watcher, piece)

    def _told(self, watcher: ManyWatcher, piece: Piece | None) -> Told:
        for execution_id, gap in watcher.gaps():
            yield self.position, _control(gap, execution_id)
        if piece is not None:
            for record in self._chosen(piece.batch):
                yield piece.position(record.seq), record.event()
            yield piece.position(piece.batch.last), None

    async def _is_done(self, watcher: ManyWatcher) -> bool:
        caught_up = watcher.over or (watcher.caught_up and not self._live)
        return caught_up or self._ends(await watcher.wait())


def _control(payload: events.Payload, execution_id: str) -> Event:
    return Event(id=None, type=payload.type, execution_id=execution_id, data=payload.data())
