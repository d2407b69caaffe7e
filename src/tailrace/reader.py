"""What can be read of executions: their events, what they come to, and lists of them.

The law of this file: everything comes from the log, wherever an execution runs or has run; it
changes nothing and starts nothing.
"""

from collections.abc import Sequence
from typing import Unpack

from tailrace.errors import InvalidRequest
from tailrace.events import Event
from tailrace.filters import Choice
from tailrace.following import Follow, FollowMany
from tailrace.hub import Hub
from tailrace.lifecycle import NEW, STATUS_EVENTS, ExecutionState, status_after
from tailrace.log.base import Entry


class Reader:
    """Reads a log, and follows it through the hub that reads it for all."""

    def __init__(self, hub: Hub) -> None:
        self.hub, self.log = hub, hub.log

    def follow(
        self,
        execution_id: str,
        after: str | int | None = None,
        *,
        live: bool = True,
        **choice: Unpack[Choice],
    ) -> Follow:
        """Follow an execution's events: all of them, then live, to the terminal one.

        With `live=False`: those that are there, without waiting for more. A `Choice` chooses; the
        terminal event always comes.

        Gaps come as `stream.gap` events without an id. Raises InvalidRequest for a choice that
        cannot be, ExecutionNotFound and InvalidPosition when iterated, and ShuttingDown if this
        process ends first.
        """
        return Follow(self.hub, execution_id, after, live=live, choice=choice)

    def follow_many(
        self,
        *execution_ids: str,
        workspace: str = "default",
        after: str | None = None,
        live: bool = True,
        **choice: Unpack[Choice],
    ) -> FollowMany:
        """Follow many executions at once: these, or all of a workspace.

        Of a workspace: those that run now, from their beginning, and each new one as it starts.
        That never ends by itself; with executions named it ends with the last of them.
        Raises as `follow` does.
        """
        return FollowMany(self.hub, workspace, execution_ids, after, live=live, choice=choice)

    async def view(self, execution_id: str) -> ExecutionState:
        """Fold an execution's log; of what retention took, what the index knows.

        Raises ExecutionNotFound.
        """
        state = ExecutionState(id=execution_id)
        position, folded = 0, ("execution.", "node.", "output.")
        while records := await self.log.read(execution_id, position, self.hub.page):
            for record in records:
                if record.type.startswith(folded):
                    state.apply(record.event())
                elif record.seq == state.head + 1:  # not folded, but not missing
                    state.head = record.seq
            position = records[-1].seq
        state.head = position
        if state.queued_at is None:
            _complete(state, await self.log.entry(execution_id))
        return state

    async def page(self, execution_id: str, after: int, limit: int) -> Sequence[Event]:
        """Read a page of events. Raises ExecutionNotFound."""
        return [record.event() for record in await self.log.read(execution_id, after, limit)]

    async def entries(
        self,
        workspace: str = "default",
        *,
        limit: int = 50,
        before: str | None = None,
        status: str | None = None,
    ) -> Sequence[Entry]:
        """List executions, newest first. Raises InvalidRequest for an unknown status."""
        wanted = [name for name in STATUS_EVENTS if status and status_after(name) == status]
        if status and not wanted:
            known = ", ".join(sorted({status_after(name) for name in STATUS_EVENTS}))
            raise InvalidRequest(f"{status!r} is no status", hint=f"One of: {known}.")
        return await self.log.entries(workspace, limit=limit, before=before, status_events=wanted)


def _complete(state: ExecutionState, entry: Entry) -> None:
    """Say of an execution what its index knows, where its first events are gone."""
    state.kind, state.flow, state.workspace = entry.kind, entry.flow, entry.workspace
    state.queued_at, state.attempt = entry.created_at, max(entry.attempt, state.attempt)
    if state.status == NEW:
        state.status = entry.status
