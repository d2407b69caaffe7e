"""Events as Python's async iterators: of one execution, or of many.

The law of this file: the same loop as over HTTP, and the same choices; a position moves only past
what was handed to the caller.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing

from tailrace import events
from tailrace.batch import Batch
from tailrace.compact import shown
from tailrace.errors import ShuttingDown
from tailrace.events import Event, Record
from tailrace.filters import Choice, chosen
from tailrace.hub import Hub
from tailrace.many import Many, ManyWatcher
from tailrace.positions import Position
from tailrace.seek import begin_of
from tailrace.signals import Signal


class _Events:
    """An async iterator over events that knows its `position`."""

    def __init__(self, hub: Hub, after: str | None, *, live: bool, choice: Choice) -> None:
        self._hub, self._live = hub, live
        self._wanted, self._begin = chosen(choice), begin_of(choice, hub.clock.now())
        self._compact = choice.get("compact")
        self._lost = False
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
        while True:
            async with aclosing(self._watch()) as events:
                async for event in events:
                    yield event
            if not self._lost:
                return
            # What it was given is not in the log any more: who asks again is told what is missing.
            self._lost = False
            if self.position is not None:
                self._stand_at(self.position)

    def _watch(self) -> AsyncGenerator[Event, None]:
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


class Follow(_Events):
    """The events of an execution, to its end: an async iterator that knows its `position`."""

    def __init__(
        self, hub: Hub, execution_id: str, after: str | int | None, *, live: bool, choice: Choice
    ) -> None:
        self._execution_id = execution_id
        self._asked = None if after is None else Position.parse(str(after))
        super().__init__(hub, None if after is None else str(after), live=live, choice=choice)

    def _stand_at(self, position: str) -> None:
        self._asked = Position.parse(position)

    async def _watch(self) -> AsyncGenerator[Event, None]:
        hub = self._hub
        async with hub.watch(self._execution_id, self._asked, begin=self._begin) as watcher:
            epoch = watcher.opening.entry.epoch
            if watcher.opening.gap:
                yield _control(watcher.opening.gap, self._execution_id)
            if watcher.opening.nothing_left:
                return
            # Where it begins by `since` or `tail` is where it goes on, if it is cut before an event.
            self.position = self.position or f"{watcher.opening.after}@{epoch}"
            while True:
                batch = await watcher.read()
                if batch.gap:
                    yield _control(batch.gap, self._execution_id)
                for record in self._chosen(batch):
                    self.position = f"{record.seq}@{epoch}"
                    yield record.event()
                if batch.records:
                    self.position = f"{batch.last}@{epoch}"
                if batch.ended:
                    return
                if not batch.records and not self._live:
                    return
                if not batch.records and self._ends(await watcher.wait()):
                    return


class FollowMany(_Events):
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

    async def _watch(self) -> AsyncGenerator[Event, None]:
        watcher = ManyWatcher(self._hub, self._workspace, begin=self._begin)
        try:
            await watcher.start(self._names, self._asked)
            for execution_id, gap in watcher.gaps():
                yield _control(gap, execution_id)
            self.position = self.position or watcher.position()
            while True:
                piece = await watcher.read()
                for execution_id, gap in watcher.gaps():
                    yield _control(gap, execution_id)
                if piece is not None:
                    for record in self._chosen(piece.batch):
                        self.position = piece.position(record.seq)
                        yield record.event()
                    self.position = piece.position(piece.batch.last)
                elif (
                    watcher.over
                    or (watcher.caught_up and not self._live)
                    or self._ends(await watcher.wait())
                ):
                    return
        finally:
            watcher.close()


def _control(payload: events.Payload, execution_id: str) -> Event:
    return Event(id=None, type=payload.type, execution_id=execution_id, data=payload.data())
