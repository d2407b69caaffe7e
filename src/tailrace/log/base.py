"""The port of the event log: what every store promises.

The law of this file: the log is the only truth, and these are its promises. `tailrace.testing`
checks each of them on every store.

- Sequences are dense: 1, 2, 3 … per execution, assigned by the store and by nobody else.
- A batch is in the log whole or not at all, and is acknowledged only when it is durable in the
  store's sense.
- The log takes nothing of an attempt after a later one has begun (`execution.started`).
- The log takes nothing after a terminal event, and a batch's terminal event is its last.
- What a reader saw stays: an event becomes visible only after all before it.
- A watch delivers every event after its position, in order, wherever it was appended.
- What is gone (trimmed) shows: `floor` is the first sequence still held.
- Only what has ended is removed whole; its number is never another log's, and who watches is told.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

from tailrace.events import TERMINAL, Draft, Record
from tailrace.lifecycle import status_after
from tailrace.log.facts import Facts
from tailrace.metrics import LogMeter

Listener = Callable[[Sequence[Record]], None]
NewListener = Callable[[Sequence["Entry"]], None]
Lost = Callable[[], None]


def unheard() -> None:
    """Who does not ask is not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What is fixed when a log is created."""

    execution_id: str
    kind: str
    flow: str
    workspace: str = "default"
    lease_until: str | None = None
    ephemeral: bool = False  # it need not be kept for long after its end


class Entry(NamedTuple):
    """A log as the store's index knows it, without reading its events.

    A tuple, because each append makes one of the one before, and a frozen dataclass takes three
    times as long for that: a tenth of an append.
    """

    execution_id: str
    workspace: str
    kind: str
    flow: str
    epoch: str
    created_at: str
    head: int = 0
    floor: int = 1
    updated_at: str = ""
    last_status_event: str = ""
    bytes: int = 0  # of the events that it holds
    aside_bytes: int = 0  # of what was put aside for them
    ephemeral: bool = False
    attempt: int = 0  # the newest that has begun
    number: int = 0  # which log of its store it is: 1, 2, 3 … in the order of their creation

    @property
    def status(self) -> str:
        """The execution's status."""
        return status_after(self.last_status_event)

    @property
    def sealed(self) -> bool:
        """Whether the terminal event is in."""
        return self.last_status_event in TERMINAL

    @property
    def size(self) -> int:
        """All its bytes."""
        return self.bytes + self.aside_bytes

    def to_dict(self) -> dict[str, Any]:
        """The execution as lists show it."""
        return {
            "execution_id": self.execution_id,
            "workspace": self.workspace,
            "kind": self.kind,
            "flow": self.flow,
            "status": self.status,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "head": self.head,
            "floor": self.floor,
            "bytes": self.size,
            "ephemeral": self.ephemeral,
        }


@dataclass(frozen=True, slots=True)
class Kept:
    """How much there is of the executions that have ended: logs, and their bytes."""

    count: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Producer:
    """Who appends, and which of its batches this is: 1, 2, 3 … without a hole."""

    name: str
    seq: int


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a batch stands. For a duplicate older than the producer's last batch both are 0."""

    first: int
    last: int
    duplicate: bool = False


class EventLog(Protocol):
    """An ordered, durable log for each execution. All times are RFC 3339 strings, UTC.

    Every method may raise a StoreError. A cancelled `create` or `append` is in the log whole or
    not at all; the caller cannot know which, and a retry with the same producer finds out.
    """

    meter: LogMeter | None  # what it counts with, if somebody wants to know
    fed_at: float  # when what watches are given now was handed in (clock.stopwatch)

    @property
    def facts(self) -> Facts:
        """What is kept beside the logs."""
        ...

    async def open(self) -> None:
        """Open it; needed before anything else."""
        ...

    async def aclose(self) -> None:
        """Finish what was handed in, then close. May be called twice."""
        ...

    async def create(
        self, opening: Opening, drafts: Sequence[Draft], *, producer: Producer | None = None
    ) -> Appended:
        """Create a log with its first events; the first is `execution.queued`.

        With `producer`, that is its first batch. Raises ExecutionExists if there is one of that
        id, and ProducerGap.
        """
        ...

    async def restore(
        self, entry: Entry, records: Sequence[Record], payloads: Mapping[str, bytes]
    ) -> Entry:
        """Put a log from elsewhere in, whole or not at all: its floor, its numbers, its epoch.

        The records are those from its floor to its head; the caller has checked them. Only the
        entry's `number` is made here. Raises ExecutionExists if there is one of that id.
        """
        ...

    async def append(
        self,
        execution_id: str,
        drafts: Sequence[Draft],
        *,
        expected: int | None = None,
        producer: Producer | None = None,
        attempt: int | None = None,
    ) -> Appended:
        """Append a batch.

        With `expected`, only if that is the head; with `producer`, only once; with `attempt`, only
        while no later one has begun.
        Raises ExecutionNotFound, LogSealed, AttemptFenced, PositionConflict, ProducerGap or
        InvalidEvent.
        """
        ...

    async def entry(self, execution_id: str) -> Entry:
        """Look a log up. Raises ExecutionNotFound."""
        ...

    async def read(self, execution_id: str, after: int, limit: int) -> Sequence[Record]:
        """Read up to `limit` events after a position; none only at the head.

        A page also ends when it holds PAGE_MAX_BYTES. Trimmed events are skipped: a first sequence above `after + 1` is a gap.
        Raises ExecutionNotFound.
        """
        ...

    async def entries(
        self,
        workspace: str,
        *,
        limit: int,
        before: str | None = None,
        status_events: Iterable[str] = (),
    ) -> Sequence[Entry]:
        """List a workspace's logs, newest first, after the execution id `before`.

        Raises ExecutionNotFound if there is none of that id.
        """
        ...

    async def unfinished(self, workspace: str) -> Sequence[Entry]:
        """List a workspace's logs that have not ended, oldest first."""
        ...

    async def numbered(self, workspace: str, numbers: Iterable[int]) -> Sequence[Entry]:
        """Return those of a workspace's logs that have one of these numbers."""
        ...

    async def payload(self, execution_id: str, digest: str) -> bytes:
        """Return a value that an event's draft put aside. Raises PayloadNotFound."""
        ...

    async def trim(self, execution_id: str, floor: int) -> Entry:
        """Drop the events below `floor` (never the head). Raises ExecutionNotFound."""
        ...

    async def remove(self, execution_id: str) -> None:
        """Remove a log that has ended, and all that is kept with it.

        Its number is never used again; its watches are told by an empty batch.
        Raises ExecutionNotFound, and ExecutionRunning for one that has not ended.
        """
        ...

    async def ended(self, kind: str, *, ephemeral: bool, limit: int) -> Sequence[Entry]:
        """List logs that have ended, the oldest end first, of all workspaces."""
        ...

    async def kept(self, kind: str, *, ephemeral: bool) -> Kept:
        """How many such logs there are, and how large they are."""
        ...

    async def large(self, kind: str, above_bytes: int) -> Sequence[Entry]:
        """List logs that have not ended, have a lease, and hold more bytes of events than this."""
        ...

    async def newest(self) -> int:
        """Return the number of the newest log there ever was; 0 if none."""
        ...

    def watch(
        self, execution_id: str, after: int, listener: Listener, lost: Lost = unheard
    ) -> Callable[[], None]:
        """Call `listener` on the event loop with every event after `after`; returns the way out.

        Batches are in order and without a hole or a repeat; an empty one says that the log was
        removed. The listener must not block or raise.
        Where that cannot be (a store elsewhere was emptied or went back, or a trim overtook what
        was not given yet), `lost` is called, once and last.
        """
        ...

    def watch_new(self, workspace: str, after: int, listener: NewListener) -> Callable[[], None]:
        """Call `listener` with every log of a workspace created after number `after`, in order."""
        ...

    async def beat(self, execution_ids: Sequence[str], until: str) -> None:
        """Set until when executions are somebody's: a live worker's, or who waits for one."""
        ...

    async def expired(self, now: str) -> Sequence[tuple[str, str]]:
        """Return the open executions whose lease ended before `now`: (id, lease end)."""
        ...

    async def __aenter__(self) -> Self:
        """Open it."""
        ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        ...


class Opened:
    """What `async with` does with a store: open it, and close it however the block is left."""

    async def open(self) -> None:
        """Open it."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Close it."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        """Open it."""
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        await self.aclose()
