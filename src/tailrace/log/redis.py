"""The log in Redis 7 or newer, one server or a Cluster: for many servers and machines.

How it works:
- Writing (redis_writer.py). Appends that wait while a round trip is on its way share the next
  one; one script each for a log checks and writes them whole (redis_scripts.py).
- Reading (redis_reader.py). Likewise in shared round trips, on a second connection.
- Watches (redis_watch.py). One more connection is told of every append to a watched log; what
  the message does not bring, or a lost connection has missed, is read.
- The index. A log's own keys are in one slot of a Cluster, the index of all logs in another, so
  a log is created first and announced then, and ends first and leaves the index then. Who finds
  the second step missing, after a crash in between, makes up for it (`_announce`, `_retire`).
"""

import asyncio
import secrets
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

import anyio

from tailrace.errors import ExecutionExists, PayloadNotFound
from tailrace.events import TERMINAL, Draft, Record
from tailrace.log.base import (
    Appended,
    Entry,
    Listener,
    Lost,
    NewListener,
    Opening,
    Producer,
    admit,
    check_batch,
    encode,
    unheard,
)
from tailrace.log.redis_facts import RedisFacts
from tailrace.log.redis_link import Assurance, Command, Link
from tailrace.log.redis_reader import Reader, with_number
from tailrace.log.redis_scripts import ANNOUNCE, RENEW, TRIM, microseconds, moment
from tailrace.log.redis_watch import Watches
from tailrace.log.redis_writer import Writer, batch, not_found, others_keys

LIST_LOGS = 200  # of the index, looked at together


class RedisLog:
    """An EventLog in Redis. Any number of processes may use it at once.

    `patience_s` is how long a server that is away is waited for. An acknowledged append has
    reached the memory of the server, and what `replicas` and `disk` ask for beside it.
    """

    def __init__(
        self, url: str, *, patience_s: float = 15.0, replicas: int = 0, disk: bool = False
    ) -> None:
        assurance = Assurance(replicas=replicas, disk=disk)
        self._link = Link(url, patience_s=patience_s, assurance=assurance)
        self._keys = self._link.keys
        self._writer = Writer(self._link)
        self._reader = Reader(self._link)
        reader = self._reader
        self._watches = Watches(self._link, reader.page, self._renew, reader.created_after)
        self.facts = RedisFacts(self._keys, self._writer.do, reader.ask)
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

    # --- writing ------------------------------------------------------------------------------

    async def create(self, opening: Opening, drafts: Sequence[Draft]) -> Appended:
        """Create a log with its first events."""
        check_batch(drafts)
        tails = encode(opening.execution_id, drafts)
        if not await self._writer.create(opening, drafts, tails):
            raise ExecutionExists(f"{opening.execution_id} exists already")
        ended = drafts[-1].type in TERMINAL
        await self._announce(opening.execution_id, opening.workspace, opening.lease_until, ended)
        return Appended(1, len(drafts))

    async def _announce(
        self, execution_id: str, workspace: str, lease_until: str | None, ended: bool
    ) -> int:
        """List a log, once, and note its number where its entry is."""
        lease = microseconds(lease_until) if lease_until else ""
        keys, told = others_keys(self._keys, workspace), self._keys.told_new(workspace)
        arguments = (execution_id, lease, int(ended), told)
        number = int(await self._writer.do(Command(ANNOUNCE, arguments, keys)))
        noted = (self._keys.meta(execution_id), "number", number)
        await self._writer.do(Command("HSET", noted))
        return number

    async def append(
        self,
        execution_id: str,
        drafts: Sequence[Draft],
        *,
        expected: int | None = None,
        producer: Producer | None = None,
    ) -> Appended:
        """Append a batch."""
        check_batch(drafts)  # before `admit`: the repeat of a batch that was taken passes it too
        tails = encode(execution_id, drafts)
        answer = await self._writer.append(batch(execution_id, drafts, tails, expected, producer))
        if answer[0] == "ok":
            if drafts[-1].type in TERMINAL:
                await self._retire([(execution_id, answer[3])])
            return Appended(answer[1], answer[2])
        _, head, event, number, first, last = answer
        entry = Entry(
            execution_id=execution_id,
            workspace="",
            kind="",
            flow="",
            epoch="",
            created_at="",
            head=head,
            last_status_event=event,
        )
        # The script refused it; the rules that all stores share say why.
        admitted = admit(entry, drafts, expected=expected, producer=producer, last_batch=number)
        assert not admitted, "the script and `admit` differ"
        known = producer is not None and producer.seq == number
        return Appended(first, last, True) if known else Appended(0, 0, True)

    async def _retire(self, ended: Sequence[tuple[str, str]]) -> None:
        """Take logs that have ended from the open ones and from the leases."""
        for execution_id, workspace in ended:
            open_, leases = self._keys.open(workspace), self._keys.leases()
            await asyncio.gather(
                self._writer.do(Command("ZREM", (open_, execution_id))),
                self._writer.do(Command("ZREM", (leases, execution_id))),
            )

    async def trim(self, execution_id: str, floor: int) -> Entry:
        """Drop the events below `floor`."""
        keys = self._keys.log(execution_id)[:2]
        await self._watches.pass_by(execution_id, floor)
        if await self._writer.do(Command(TRIM, (floor,), keys)) is None:
            raise not_found(execution_id)
        return await self.entry(execution_id)

    async def beat(self, execution_ids: Sequence[str], until: str) -> None:
        """Extend leases."""
        if execution_ids:
            score = microseconds(until)
            # Of those that are there, and never back: the command may be run late.
            pairs = [part for id_ in execution_ids for part in (score, id_)]
            await self._writer.do(Command("ZADD", (self._keys.leases(), "XX", "GT", *pairs)))

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
        number = await self._announce(execution_id, entry.workspace, lease, entry.sealed)
        return with_number(entry, number)

    async def read(self, execution_id: str, after: int, limit: int) -> Sequence[Record]:
        """Read events after a position."""
        page = await self._reader.page(execution_id, after, limit)
        if page is None:
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
        """List a workspace's logs, newest first.

        A status that no log has is looked for in the whole index, LIST_LOGS logs at a time.
        """
        wanted = frozenset(status_events)
        below = f"({(await self.entry(before)).number}" if before else "+inf"
        # Who wants only open ones need not look at all that ever ended.
        ends = not wanted or wanted & TERMINAL
        key = self._keys.index(workspace) if ends else self._keys.open(workspace)
        found: list[Entry] = []
        while len(found) < limit:
            count = LIST_LOGS if wanted else limit - len(found)
            span = (key, below, "-inf", "WITHSCORES", "LIMIT", 0, count)
            rows = await self._reader.ask(Command("ZREVRANGEBYSCORE", span))
            if not rows:
                break
            below = f"({int(rows[-1])}"
            entries = await self._reader.listed(rows)
            found += [e for e in entries if not wanted or e.last_status_event in wanted]
        return found[:limit]

    async def unfinished(self, workspace: str) -> Sequence[Entry]:
        """List a workspace's logs that have not ended, oldest first."""
        key = self._keys.open(workspace)
        rows = await self._reader.ask(Command("ZRANGE", (key, 0, -1, "WITHSCORES")))
        entries = await self._reader.listed(rows)
        return [entry for entry in entries if not entry.sealed]

    async def numbered(self, workspace: str, numbers: Iterable[int]) -> Sequence[Entry]:
        """Return the logs of a workspace with these numbers."""
        key = self._keys.index(workspace)
        spans = [(key, number, number, "WITHSCORES") for number in numbers]
        found = await asyncio.gather(
            *[self._reader.ask(Command("ZRANGEBYSCORE", s)) for s in spans]
        )
        return await self._reader.listed([part for row in found for part in row])

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
        span = (self._keys.leases(), "-inf", f"({microseconds(now)}", "WITHSCORES")
        rows = await self._reader.ask(Command("ZRANGEBYSCORE", span))
        ids = [row.decode() for row in rows[::2]]
        metas = await asyncio.gather(*[self._reader.meta(id_) for id_ in ids])
        found = []
        for execution_id, score, meta in zip(ids, rows[1::2], metas, strict=True):
            if meta is not None and not meta[0].sealed:
                found.append((execution_id, moment(int(score))))
            else:
                await self._retire([(execution_id, meta[0].workspace if meta else "")])
        return found

    # --- watching -----------------------------------------------------------------------------

    def watch(
        self, execution_id: str, after: int, listener: Listener, lost: Lost = unheard
    ) -> Callable[[], None]:
        """Call `listener` with every event after `after`."""
        return self._watches.watch(execution_id, after, listener, lost)

    def watch_new(self, workspace: str, after: int, listener: NewListener) -> Callable[[], None]:
        """Call `listener` with every log created after number `after`."""
        return self._watches.watch_new(workspace, after, listener)
