"""The watches of a process on a SQLite file.

The law of this file: a watch moves only forward, over what follows where it stands. What this
process commits is handed to it; what it may have missed is read from the file, by the thread that
commits, so that all of it comes in log order, whoever appended.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tailrace.events import Record
from tailrace.log.base import Entry, Listener, Lost, NewListener
from tailrace.log.sqlite_rows import listed, place_of, records

POLL_S = 0.02  # half of the 50 ms in which another process's append must be seen
UNFED_S = 0.001  # the same, while the loop has yet to take what was read
CATCH_UP_EVENTS = 1000  # read at once for a watch that is behind
CATCH_UP_LOGS = 200  # likewise, of new logs


@dataclass(slots=True, eq=False)
class Watch:
    """Who is told of a log's events, and where it stands."""

    position: int
    listener: Listener
    lost: Lost


@dataclass(slots=True, eq=False)
class NewWatch:
    """Who is told of a workspace's new logs, and where it stands."""

    workspace: str
    position: int
    listener: NewListener


Fresh = tuple[str, int, Sequence[Record]]  # execution, the position before, what follows it
FreshLogs = tuple[NewWatch, list[Entry]]
Fed = Callable[[float], None]


class Watches:
    """All watches of a process. The loop adds and feeds them, the writer's thread reads for them.

    `fed` is told when what they are given now was handed in.
    """

    def __init__(self, fed: Fed) -> None:
        self.positions: dict[str, int] = {}  # of each watched log, where the hindmost watch stands
        self.behind = False  # the thread's: what was read last was not all there is
        self.unfed = False  # what was read has not come to the watches: the loop is busy
        self._fed = fed
        self._watches: dict[str, list[Watch]] = {}
        self._new_watches: list[NewWatch] = []

    # --- on the loop --------------------------------------------------------------------------

    def watch(
        self, execution_id: str, after: int, listener: Listener, lost: Lost
    ) -> Callable[[], None]:
        """Add a watch of a log."""
        watch = Watch(after, listener, lost)
        self._watches.setdefault(execution_id, []).append(watch)
        self._note_position(execution_id)

        def stop() -> None:
            watches = self._watches.get(execution_id, [])
            if watch in watches:
                watches.remove(watch)
            self._note_position(execution_id)

        return stop

    def watch_new(self, workspace: str, after: int, listener: NewListener) -> Callable[[], None]:
        """Add a watch for new logs."""
        watch = NewWatch(workspace, after, listener)
        self._new_watches.append(watch)

        def stop() -> None:
            if watch in self._new_watches:
                self._new_watches.remove(watch)

        return stop

    def _note_position(self, execution_id: str) -> None:
        watches = self._watches.get(execution_id)
        if watches:
            self.positions[execution_id] = min(watch.position for watch in watches)
        else:
            self._watches.pop(execution_id, None)
            self.positions.pop(execution_id, None)

    def feed(self, fresh: Sequence[Fresh], since: float) -> None:
        """Hand each watch what it has not had, in the order of the commits."""
        self._fed(since)
        for execution_id, after, run in fresh:
            for watch in tuple(self._watches.get(execution_id, ())):
                if watch not in self._watches.get(execution_id, ()):
                    continue  # another's listener has just stopped it
                if not run:  # removed: another log of its name is not this watch's
                    self._watches[execution_id].remove(watch)
                    watch.listener([])
                elif after <= watch.position < run[0].seq - 1:  # a trim has overtaken it
                    self._watches[execution_id].remove(watch)
                    watch.lost()
                # A run that begins later than this watch stands would leave a hole: the watch's
                # own catch-up is on its way, and brings this run too.
                elif after <= watch.position < run[-1].seq:
                    new = [record for record in run if record.seq > watch.position]
                    watch.position = run[-1].seq
                    watch.listener(new)
            self._note_position(execution_id)

    def feed_new(self, fresh: Sequence[FreshLogs]) -> None:
        """Hand each watch its new logs; what was read twice meanwhile is dropped."""
        for watch, entries in fresh:
            new = [entry for entry in entries if entry.number > watch.position]
            if new and watch in self._new_watches:
                watch.position = new[-1].number
                watch.listener(new)

    def fed(self) -> None:
        """Note that what was read has come to them."""
        self.unfed = False

    # --- in the writer's thread ---------------------------------------------------------------

    def tick(self) -> float | None:
        """How long the writer may wait for jobs, until it looks for what others have written."""
        if self.behind:
            return UNFED_S if self.unfed else 0.0
        return POLL_S if self.positions or self._new_watches else None

    def catch_up(self, connection: sqlite3.Connection, positions: dict[str, int]) -> list[Fresh]:
        """Read what follows these positions of logs."""
        fresh: list[Fresh] = []
        for execution_id, position in positions.items():
            place = place_of(connection, execution_id)
            if place is None:
                fresh.append((execution_id, position, []))
            elif position < place[1]:
                run = records(connection, place[0], position, CATCH_UP_EVENTS)
                fresh.append((execution_id, position, run))
                # One page a turn bounds the memory; the next turn comes without a wait.
                self.behind = self.behind or run[-1].seq < place[1]
        return fresh

    def catch_up_new(self, connection: sqlite3.Connection) -> list[FreshLogs]:
        """Read for each watch the logs that it has not had.

        Never from memory: numbers have holes (other workspaces), so that only a query knows
        what comes next.
        """
        fresh: list[FreshLogs] = []
        for watch in tuple(self._new_watches):
            where = "workspace = ? AND log > ? ORDER BY log LIMIT ?"
            entries = listed(connection, where, (watch.workspace, watch.position, CATCH_UP_LOGS))
            if entries:
                fresh.append((watch, entries))
            self.behind = self.behind or len(entries) == CATCH_UP_LOGS
        return fresh
