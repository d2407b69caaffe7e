"""The log in memory: for tests, and for executions that need not outlive the process.

The law of this file: the simplest thing that keeps every promise of `base`. Nothing here
awaits between looking and writing, so the event loop is the lock.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tailrace.clock import stopwatch
from tailrace.errors import (
    ExecutionExists,
    ExecutionNotFound,
    ExecutionRunning,
    PayloadNotFound,
    StoreClosed,
)
from tailrace.events import Draft, Record
from tailrace.log.base import (
    Appended,
    Entry,
    Kept,
    Listener,
    Lost,
    NewListener,
    Opened,
    Opening,
    Producer,
    unheard,
)
from tailrace.log.facts import MemoryFacts
from tailrace.log.rules import (
    admit,
    advance,
    bytes_of,
    check_batch,
    check_first,
    clip,
    encode,
    place,
)
from tailrace.metrics import LogMeter


@dataclass(slots=True, eq=False)
class _Watch:
    """Who is told; one of its own for each watch, since a listener may stop and come again."""

    listener: Listener


@dataclass(slots=True, eq=False)
class _NewWatch:
    """Likewise, of a workspace's new logs."""

    workspace: str
    listener: NewListener


@dataclass(slots=True)
class _Log:
    entry: Entry
    records: list[Record] = field(default_factory=list)
    producers: dict[str, tuple[int, Appended]] = field(default_factory=dict)
    watches: list[_Watch] = field(default_factory=list)
    lease_until: str | None = None
    payloads: dict[str, bytes] = field(default_factory=dict)


class MemoryLog(Opened):
    """An EventLog that lives as long as the process."""

    def __init__(self) -> None:
        self.facts = MemoryFacts()
        self.meter: LogMeter | None = None
        self.fed_at = 0.0
        self._logs: dict[str, _Log] = {}
        self._new_watches: list[_NewWatch] = []
        self._newest = 0
        self._open = False

    async def open(self) -> None:
        """Open it; what it held before a close is still there."""
        self._open = True

    async def aclose(self) -> None:
        """Close it."""
        self._open = False

    async def create(
        self, opening: Opening, drafts: Sequence[Draft], *, producer: Producer | None = None
    ) -> Appended:
        """Create a log with its first events."""
        self._require_open()
        check_first(producer)
        if opening.execution_id in self._logs:
            raise ExecutionExists(f"{opening.execution_id} exists already")
        check_batch(drafts)
        entry = Entry(
            execution_id=opening.execution_id,
            workspace=opening.workspace,
            kind=opening.kind,
            flow=opening.flow,
            epoch=secrets.token_hex(4),
            created_at=drafts[0].ts,
            ephemeral=opening.ephemeral,
            number=self._newest + 1,
        )
        log = _Log(entry, lease_until=opening.lease_until)
        appended = self._write(log, drafts)
        if producer:
            log.producers[producer.name] = (producer.seq, appended)
        self._begin(log)
        return appended

    async def restore(
        self, entry: Entry, records: Sequence[Record], payloads: Mapping[str, bytes]
    ) -> Entry:
        """Put a log from elsewhere in."""
        self._require_open()
        if entry.execution_id in self._logs:
            raise ExecutionExists(f"{entry.execution_id} exists already")
        entry = entry._replace(number=self._newest + 1)
        self._begin(_Log(entry, list(records), payloads=dict(payloads)))
        return entry

    def _begin(self, log: _Log) -> None:
        self._logs[log.entry.execution_id] = log
        self._newest = log.entry.number
        for watch in tuple(self._new_watches):
            if watch.workspace == log.entry.workspace:
                self._soon(self._deliver_new, watch, [log.entry])

    async def append(
        self,
        execution_id: str,
        drafts: Sequence[Draft],
        *,
        expected: int | None = None,
        producer: Producer | None = None,
        attempt: int | None = None,
    ) -> Appended:
        """Append a batch."""
        log = self._log(execution_id)
        last, appended = log.producers.get(producer.name, (0, None)) if producer else (0, None)
        if not admit(
            log.entry,
            drafts,
            expected=expected,
            producer=producer,
            last_batch=last,
            attempt=attempt,
        ):
            if appended and producer and producer.seq == last:
                return replace(appended, duplicate=True)
            return Appended(0, 0, duplicate=True)
        appended = self._write(log, drafts)
        if producer:
            log.producers[producer.name] = (producer.seq, appended)
        return appended

    def _write(self, log: _Log, drafts: Sequence[Draft]) -> Appended:
        tails = encode(log.entry.execution_id, drafts)
        records = place(log.entry.head, drafts, tails)
        log.records += records
        log.entry = advance(log.entry, drafts, tails)
        for draft in drafts:
            log.payloads |= draft.aside or {}
        self.fed_at = stopwatch()
        if self.meter is not None:
            self._measure(self.meter, log.entry, tails)
        for watch in tuple(log.watches):
            self._soon(self._deliver, log, watch, records)
        return Appended(records[0].seq, records[-1].seq)

    def _measure(self, meter: LogMeter, entry: Entry, tails: Sequence[bytes]) -> None:
        meter.appends += 1
        meter.events += len(tails)
        meter.size += sum(map(len, tails))
        if entry.head == len(tails):
            meter.started[entry.kind] += 1
        if entry.sealed:
            meter.ended[entry.kind, entry.status] += 1

    def _soon(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call a listener, but never inside somebody else's append."""
        asyncio.get_running_loop().call_soon(callback, *arguments)

    def _deliver(self, log: _Log, watch: _Watch, records: Sequence[Record]) -> None:
        if watch in log.watches:
            watch.listener(records)

    async def entry(self, execution_id: str) -> Entry:
        """Look a log up."""
        return self._log(execution_id).entry

    async def read(self, execution_id: str, after: int, limit: int) -> Sequence[Record]:
        """Read events after a position."""
        log = self._log(execution_id)
        start = max(after + 1 - log.entry.floor, 0)
        return clip(log.records[start : start + limit])

    async def entries(
        self,
        workspace: str,
        *,
        limit: int,
        before: str | None = None,
        status_events: Iterable[str] = (),
    ) -> Sequence[Entry]:
        """List a workspace's logs, newest first."""
        self._require_open()
        if before is not None:
            self._log(before)
        wanted = frozenset(status_events)
        found: list[Entry] = []
        started = before is None
        for log in reversed(self._logs.values()):
            entry = log.entry
            fits = not wanted or entry.last_status_event in wanted
            if started and entry.workspace == workspace and fits and len(found) < limit:
                found.append(entry)
            started = started or entry.execution_id == before
        return found

    async def unfinished(self, workspace: str) -> Sequence[Entry]:
        """List a workspace's logs that have not ended, oldest first."""
        self._require_open()
        return [entry for entry in self._of(workspace, 0) if not entry.sealed]

    async def numbered(self, workspace: str, numbers: Iterable[int]) -> Sequence[Entry]:
        """Return the logs of a workspace with these numbers."""
        self._require_open()
        wanted = frozenset(numbers)
        return [entry for entry in self._of(workspace, 0) if entry.number in wanted]

    async def payload(self, execution_id: str, digest: str) -> bytes:
        """Return what an event's draft put aside."""
        try:
            return self._log(execution_id).payloads[digest]
        except KeyError:
            raise PayloadNotFound(f"{execution_id} has no payload {digest!r}") from None

    async def trim(self, execution_id: str, floor: int) -> Entry:
        """Drop the events below `floor`."""
        log = self._log(execution_id)
        floor = max(min(floor, log.entry.head), log.entry.floor)
        gone = log.records[: floor - log.entry.floor]
        del log.records[: len(gone)]
        log.entry = log.entry._replace(floor=floor, bytes=log.entry.bytes - bytes_of(gone))
        return log.entry

    async def remove(self, execution_id: str) -> None:
        """Remove a log that has ended."""
        log = self._log(execution_id)
        if not log.entry.sealed:
            raise ExecutionRunning(f"{execution_id} is {log.entry.status}")
        del self._logs[execution_id]
        for watch in tuple(log.watches):
            self._soon(self._deliver, log, watch, [])

    async def ended(self, kind: str, *, ephemeral: bool, limit: int) -> Sequence[Entry]:
        """List logs that have ended, the oldest end first."""
        found = sorted(self._ended(kind, ephemeral), key=lambda e: (e.updated_at, e.number))
        return found[:limit]

    async def kept(self, kind: str, *, ephemeral: bool) -> Kept:
        """How many such logs there are, and how large they are."""
        found = self._ended(kind, ephemeral)
        return Kept(len(found), sum([entry.size for entry in found]))

    def _ended(self, kind: str, ephemeral: bool) -> list[Entry]:
        self._require_open()
        entries = [log.entry for log in self._logs.values()]
        return [e for e in entries if e.sealed and e.kind == kind and e.ephemeral == ephemeral]

    async def large(self, kind: str, above_bytes: int) -> Sequence[Entry]:
        """List logs that have not ended and are larger than this."""
        self._require_open()
        open_ = [log.entry for log in self._logs.values() if log.lease_until]
        return [e for e in open_ if not e.sealed and e.kind == kind and e.bytes > above_bytes]

    async def newest(self) -> int:
        """Return the number of the newest log there ever was."""
        self._require_open()
        return self._newest

    def watch(
        self, execution_id: str, after: int, listener: Listener, lost: Lost = unheard
    ) -> Callable[[], None]:
        """Call `listener` with every event after `after`."""
        log = self._log(execution_id)
        if after + 1 < log.entry.floor:  # a trim has overtaken it
            call = asyncio.get_running_loop().call_soon(lost)
            return call.cancel
        missed = log.records[after + 1 - log.entry.floor :]
        watch = _Watch(listener)
        log.watches.append(watch)
        if missed:
            self._soon(self._deliver, log, watch, missed)

        def stop() -> None:
            if watch in log.watches:
                log.watches.remove(watch)

        return stop

    def watch_new(self, workspace: str, after: int, listener: NewListener) -> Callable[[], None]:
        """Call `listener` with every log created after number `after`."""
        watch = _NewWatch(workspace, listener)
        self._new_watches.append(watch)
        if missed := self._of(workspace, after):
            self._soon(self._deliver_new, watch, missed)

        def stop() -> None:
            if watch in self._new_watches:
                self._new_watches.remove(watch)

        return stop

    def _deliver_new(self, watch: _NewWatch, entries: Sequence[Entry]) -> None:
        if watch in self._new_watches:
            watch.listener(entries)

    def _of(self, workspace: str, after: int) -> list[Entry]:
        entries = (log.entry for log in self._logs.values())
        return [e for e in entries if e.workspace == workspace and e.number > after]

    async def beat(self, execution_ids: Sequence[str], until: str) -> None:
        """Set leases."""
        self._require_open()
        for execution_id in execution_ids:
            log = self._logs.get(execution_id)
            if log and log.lease_until:
                log.lease_until = until

    async def expired(self, now: str) -> Sequence[tuple[str, str]]:
        """Return the open executions whose lease has ended."""
        self._require_open()
        return [
            (log.entry.execution_id, log.lease_until)
            for log in self._logs.values()
            if log.lease_until and log.lease_until < now and not log.entry.sealed
        ]

    def _log(self, execution_id: str) -> _Log:
        self._require_open()
        try:
            return self._logs[execution_id]
        except KeyError:
            raise ExecutionNotFound(f"There is no execution {execution_id!r} here") from None

    def _require_open(self) -> None:
        if not self._open:
            raise StoreClosed
