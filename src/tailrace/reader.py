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
from tailrace.lifecycle import STATUS_EVENTS, ExecutionState, status_after
from tailrace.log.base import Entry
from tailrace.snapshots import state_at


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

    async def view(self, execution_id: str, at: int | None = None) -> ExecutionState:
        """Fold an execution's log, up to a position if one is given.

        Raises ExecutionNotFound, and PositionTrimmed for a position before those that are kept.
        """
        now = self.hub.clock.now()
        return await state_at(self.log, execution_id, at, page=self.hub.page, now=now)

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
