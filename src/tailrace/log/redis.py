"""The log in Redis 7 or newer, one server or a Cluster: for many servers and machines.

How it works:
- Writing (redis_writer.py). Appends that wait while a round trip is on its way share the next
  one; one script each for a log checks and writes them whole (redis_scripts.py).
- Reading (redis_reader.py). Likewise in shared round trips, on a second connection.
- Watches (redis_watch.py). One more connection is told of every append to a watched log; what
  the message does not bring, or a lost connection has missed, is read.
- The index (redis_index.py). A log's own keys are in one slot of a Cluster, the index of all
  logs in another, so a log is created first and announced then, ends first and is listed as
  ended then, is removed first and leaves the index then.
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import anyio

from tailrace.errors import ExecutionExists, ExecutionNotFound, ExecutionRunning, PayloadNotFound
from tailrace.events import TERMINAL, Draft, Record
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
from tailrace.log.redis_facts import RedisFacts
from tailrace.log.redis_feeds import REMOVED
from tailrace.log.redis_index import Index
from tailrace.log.redis_link import Assurance, Command, Link
from tailrace.log.redis_reader import Reader
from tailrace.log.redis_restore import restore
from tailrace.log.redis_scripts import REMOVE, RENEW, TRIM
from tailrace.log.redis_watch import Watches
from tailrace.log.redis_writer import NOTHING, Writer, batch, not_found
from tailrace.log.rules import admit, check_batch, check_first, encode
from tailrace.metrics import LogMeter


class RedisLog(Opened):
    """An EventLog in Redis. Any number of processes may use it at once.

    `patience_s` is how long a server that is away is waited for. An acknowledged append has
    reached the memory of the server, and what `replicas` and `disk` ask for beside it.
    """

    def __init__(
        self, url: str, *, patience_s: float = 15.0, replicas: int = 0, disk: bool = False
    ) -> None:
        self.meter: LogMeter | None = None
        self.fed_at = 0.0
        assurance = Assurance(replicas=replicas, disk=disk)
        self._link = Link(url, patience_s=patience_s, assurance=assurance)
        self._keys = self._link.keys
        self._writer = writer = Writer(self._link, self._measure)
        self._reader = reader = Reader(self._link)
        self._index = Index(self._keys, self._link.time, writer, reader)
        self._watches = Watches(
            self._link, reader.page, self._renew, self._index.created_after, writer.sent, self._fed
        )
        self.facts = RedisFacts(self._keys, self._link.time, self._writer.do, reader.ask)
        self._main: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect. Raises StoreError."""
        await self._link.open()
        self._writer.lane.closed = self._reader.lane.closed = False
        # One task of its own, because who opens a store may close it elsewhere; in it is the
        # task group of all the others.
        self._main = asyncio.create_task(self._run(), name="tailrace-redis")

    async def _run(self) -> None:
        async with anyio.create_task_group() as watching:
            watching.start_soon(self._watches.run)
            async with anyio.create_task_group() as lanes:
                lanes.start_soon(self._writer.lane.run)
                lanes.start_soon(self._reader.lane.run)
            watching.cancel_scope.cancel()

    async def aclose(self) -> None:
        """Write what was handed in, then close the connections."""
        self._writer.lane.close()
        self._reader.lane.close()
        main, self._main = self._main, None
        if main is not None:
            try:
                await asyncio.shield(main)
            finally:
                await self._link.aclose()

    # --- writing ------------------------------------------------------------------------------

    async def create(
        self, opening: Opening, drafts: Sequence[Draft], *, producer: Producer | None = None
    ) -> Appended:
        """Create a log with its first events."""
        check_first(producer)
        check_batch(drafts)
        execution_id, ended = opening.execution_id, drafts[-1].type in TERMINAL
        tails = encode(execution_id, drafts)
        if not await self._writer.create(opening, drafts, tails, producer):
            raise ExecutionExists(f"{execution_id} exists already")
        await self._index.announce(
            execution_id, opening.workspace, opening.lease_until, ended=ended
        )
        if self.meter is not None:
            self.meter.started[opening.kind] += 1
        await self._appended(execution_id, tails, ended=ended)
        return Appended(1, len(drafts))

    async def restore(
        self, entry: Entry, records: Sequence[Record], payloads: Mapping[str, bytes]
    ) -> Entry:
        """Put a log from elsewhere in."""
        execution_id = entry.execution_id
        if not await restore(self._writer, self._keys, entry, records, payloads):
            raise ExecutionExists(f"{execution_id} exists already")
        await self._index.announce(execution_id, entry.workspace, None, ended=entry.sealed)
        made = await self.entry(execution_id)
        if made.sealed:
            await self._index.retire(made)
        return made

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
        check_batch(drafts)  # before `admit`: the repeat of a batch that was taken passes it too
        tails = encode(execution_id, drafts)
        answer = await self._writer.append(
            batch(
                execution_id, drafts, tails, expected=expected, producer=producer, attempt=attempt
            )
        )
        if answer[0] == "ok":
            await self._appended(execution_id, tails, ended=drafts[-1].type in TERMINAL)
            return Appended(answer[1], answer[2])
        _, head, event, begun, number, first, last = answer
        entry = NOTHING._replace(
            execution_id=execution_id, head=head, last_status_event=event, attempt=begun
        )
        # The script refused it; the rules that all stores share say why.
        admitted = admit(
            entry,
            drafts,
            expected=expected,
            producer=producer,
            last_batch=number,
            attempt=attempt,
        )
        assert not admitted, "the script and `admit` differ"
        known = producer is not None and producer.seq == number
        return Appended(first, last, True) if known else Appended(0, 0, True)

    async def _appended(self, execution_id: str, tails: Sequence[bytes], *, ended: bool) -> None:
        """Count a batch that is in the log; list a log that it has ended as that."""
        meter = self.meter
        if meter is not None:
            meter.appends += 1
            meter.events += len(tails)
            meter.size += sum(map(len, tails))
        if ended:
            # It may be gone again: it has ended.
            with suppress(ExecutionNotFound):
                entry = await self.entry(execution_id)
                await self._index.retire(entry)
                if meter is not None:
                    meter.ended[entry.kind, entry.status] += 1

    def _measure(self, seconds: float) -> None:
        """Note how long a round took."""
        if self.meter is not None:
            self.meter.commits.observe(seconds)

    async def trim(self, execution_id: str, floor: int) -> Entry:
        """Drop the events below `floor`."""
        keys = self._keys.log(execution_id)[:2]
        await self._watches.pass_by(execution_id, floor)
        if await self._writer.do(Command(TRIM, (floor,), keys)) is None:
            raise not_found(execution_id)
        entry = await self.entry(execution_id)
        if entry.sealed:
            await self._index.retire(entry)  # its size has changed
        return entry

    async def remove(self, execution_id: str) -> None:
        """Remove a log that has ended."""
        entry = await self.entry(execution_id)
        arguments = (secrets.token_hex(8), self._keys.told(execution_id))
        done = await self._writer.do(Command(REMOVE, arguments, self._keys.log(execution_id)))
        if done is None:
            raise not_found(execution_id)
        if not done:
            raise ExecutionRunning(f"{execution_id} is {entry.status}")
        await self._index.dismiss(entry)

    async def beat(self, execution_ids: Sequence[str], until: str) -> None:
        """Set leases."""
        await self._index.beat(execution_ids, until)

    # --- reading ------------------------------------------------------------------------------

    async def entry(self, execution_id: str) -> Entry:
        """Look a log up."""
        found = await self._reader.meta(execution_id)
        if found is None:
            raise not_found(execution_id)
        entry, lease = found
        if entry.number:
            return entry
        # Its creator is about to announce it, or died before it could.
        number = await self._index.announce(
            execution_id, entry.workspace, lease, ended=entry.sealed
        )
        return entry._replace(number=number)

    async def read(self, execution_id: str, after: int, limit: int) -> Sequence[Record]:
        """Read events after a position."""
        page = await self._reader.page(execution_id, after, limit)
        if page is None or page is REMOVED:
            raise not_found(execution_id)
        return page.records

    async def _renew(self, execution_id: str, position: int, epoch: str) -> None:
        """Begin another epoch of a log that ends before a position that it had."""
        arguments = (position, epoch, secrets.token_hex(4))
        await self._writer.do(Command(RENEW, arguments, [self._keys.meta(execution_id)]))

    async def entries(
        self,
        workspace: str,
        *,
        limit: int,
        before: str | None = None,
        status_events: Iterable[str] = (),
    ) -> Sequence[Entry]:
        """List a workspace's logs, newest first."""
        number = (await self.entry(before)).number if before else None
        return await self._index.before(workspace, number, limit, frozenset(status_events))

    async def unfinished(self, workspace: str) -> Sequence[Entry]:
        """List a workspace's logs that have not ended, oldest first."""
        return await self._index.unfinished(workspace)

    async def numbered(self, workspace: str, numbers: Iterable[int]) -> Sequence[Entry]:
        """Return the logs of a workspace with these numbers."""
        return await self._index.numbered(workspace, numbers)

    async def ended(self, kind: str, *, ephemeral: bool, limit: int) -> Sequence[Entry]:
        """List logs that have ended, the oldest end first."""
        return await self._index.ended(kind, ephemeral=ephemeral, limit=limit)

    async def kept(self, kind: str, *, ephemeral: bool) -> Kept:
        """How many such logs there are, and how large they are."""
        return await self._index.kept(kind, ephemeral=ephemeral)

    async def large(self, kind: str, above_bytes: int) -> Sequence[Entry]:
        """List logs that have not ended and are larger than this."""
        return await self._index.large(kind, above_bytes)

    async def newest(self) -> int:
        """Return the number of the newest log there ever was."""
        return await self._index.newest()

    async def payload(self, execution_id: str, digest: str) -> bytes:
        """Return what an event's draft put aside."""
        key = self._keys.log(execution_id)[2]
        data: bytes | None = await self._reader.ask(Command("HGET", (key, digest)))
        if data is None:
            await self.entry(execution_id)
            raise PayloadNotFound(f"{execution_id} has no payload {digest!r}")
        return data

    async def expired(self, now: str) -> Sequence[tuple[str, str]]:
        """Return the open executions whose lease has ended."""
        return await self._index.expired(now)

    # --- watching -----------------------------------------------------------------------------

    def watch(
        self, execution_id: str, after: int, listener: Listener, lost: Lost = unheard
    ) -> Callable[[], None]:
        """Call `listener` with every event after `after`."""
        return self._watches.watch(execution_id, after, listener, lost)

    def watch_new(self, workspace: str, after: int, listener: NewListener) -> Callable[[], None]:
        """Call `listener` with every log created after number `after`."""
        return self._watches.watch_new(workspace, after, listener)

    def _fed(self, at: float) -> None:
        """Note when what watches are given now was handed in, or heard of."""
        self.fed_at = at
