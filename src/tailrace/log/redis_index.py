"""The index of a Redis store: which logs there are, under which numbers, and which of them ended.

The law of this file: the index says where to look, and a log itself says what it is. They are in
two slots of a Cluster, so what happens to a log is written to it first and here then; whoever
finds the second step missing, after a crash in between, makes up for it.

    {p}:number      counter: the number of the newest log there ever was
    {p}:index:WS    sorted set: a workspace's logs by number
    {p}:open:WS     sorted set: those of them that have not ended
    {p}:leases      sorted set: open executions by the end of their lease, in microseconds
    {p}:ended:K:E   sorted set: those of a kind, ephemeral (1) or not, that have ended, by their end
    {p}:sizes:K:E   hash: of each of these its size, number and workspace
    {p}:kept        hash: `K:E` → the sum of the sizes

Each script may be sent twice, and run late: what it is about is named by its number, which no
other log ever has.
"""

import asyncio
from collections.abc import Iterable, Sequence

from tailrace.events import TERMINAL
from tailrace.log.base import Entry, Kept
from tailrace.log.redis_feeds import Listed
from tailrace.log.redis_link import Command
from tailrace.log.redis_reader import Reader
from tailrace.log.redis_scripts import ALWAYS, NUMBER, Keys, Script, microseconds
from tailrace.log.redis_time import NOW, ServerTime
from tailrace.log.redis_writer import Writer

LIST_LOGS = 200  # of the index, looked at together

# KEYS: number, index, open, leases. ARGV: id, lease or '', ends, channel. Gives the log its
# number, which it keeps: numbers rise in the order in which logs become visible, because this
# one slot both counts and lists.
_ANNOUNCE = Script("""
local number = redis.call('ZSCORE', KEYS[2], ARGV[1])
if number then return tonumber(number) end
number = redis.call('INCR', KEYS[1])
redis.call('ZADD', KEYS[2], number, ARGV[1])
if ARGV[3] ~= '1' then
  redis.call('ZADD', KEYS[3], number, ARGV[1])
  if ARGV[2] ~= '' then redis.call('ZADD', KEYS[4], ARGV[2], ARGV[1]) end
end
redis.call('PUBLISH', ARGV[4], number)
return number
""")

# KEYS: index, open, leases, ended, sizes, kept. ARGV: id, number, end, size, workspace, `K:E`.
_RETIRE = Script(f"""{ALWAYS}
local listed = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not listed or tonumber(listed) ~= tonumber(ARGV[2]) then return 0 end
local known = redis.call('HGET', KEYS[5], ARGV[1])
local before = known and tonumber(string.match(known, '^%d+')) or 0
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[4], ARGV[3], ARGV[1])
redis.call('HSET', KEYS[5], ARGV[1], ARGV[4] .. ' ' .. ARGV[2] .. ' ' .. ARGV[5])
redis.call('HINCRBY', KEYS[6], ARGV[6], tonumber(ARGV[4]) - before)
return 1
""")

# KEYS: index, open, leases, ended, sizes, kept. ARGV: id, number, `K:E`, whether it is open again
# (its end was lost).
_DISMISS = Script(f"""{ALWAYS}
local listed = redis.call('ZSCORE', KEYS[1], ARGV[1])
if listed and tonumber(listed) == tonumber(ARGV[2]) then
  if ARGV[4] == '1' then
    redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
  else
    redis.call('ZREM', KEYS[1], ARGV[1])
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('ZREM', KEYS[3], ARGV[1])
  end
end
local known = redis.call('HGET', KEYS[5], ARGV[1])
if known then
  local size, number = string.match(known, '^(%d+) (%d+)')
  if tonumber(number) == tonumber(ARGV[2]) then
    redis.call('ZREM', KEYS[4], ARGV[1])
    redis.call('HDEL', KEYS[5], ARGV[1])
    redis.call('HINCRBY', KEYS[6], ARGV[3], -tonumber(size))
  end
end
return 1
""")

# KEYS: leases. ARGV: until, ids. Of those that are there. Run late, it sets a lease back that the
# next beat sets right.
_BEAT = Script(f"""{ALWAYS}
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', ARGV[1], ARGV[i]) end
return 1
""")


class Index:
    """The lists of all logs of a store."""

    def __init__(self, keys: Keys, time: ServerTime, writer: Writer, reader: Reader) -> None:
        self._keys, self._time, self._writer, self._reader = keys, time, writer, reader
        self._number, self._leases = keys.index("number"), keys.index("leases")

    # --- what is noted ------------------------------------------------------------------------

    async def announce(
        self, execution_id: str, workspace: str, lease_until: str | None, *, ended: bool
    ) -> int:
        """List a log, once, and note its number where its entry is."""
        lease = self._time.score(lease_until) if lease_until else ""
        keys = (self._number, self._of(workspace), self._open(workspace), self._leases)
        arguments = (execution_id, lease, int(ended), self._keys.told_new(workspace))
        number = int(await self._writer.do(Command(_ANNOUNCE, arguments, keys)))
        await self._writer.do(Command(NUMBER, (number,), [self._keys.meta(execution_id)]))
        return number

    async def retire(self, entry: Entry) -> None:
        """Take a log that has ended from the open ones, and list it with its size as ended."""
        id_, workspace, of = entry.execution_id, entry.workspace, _of(entry.kind, entry.ephemeral)
        number = entry.number or await self.announce(id_, workspace, None, ended=True)
        end = microseconds(entry.updated_at)
        arguments = (id_, number, end, entry.size, workspace, of)
        await self._writer.do(Command(_RETIRE, arguments, self._lists(entry.workspace, of)))

    async def dismiss(self, entry: Entry) -> None:
        """Take a log from all lists: it was removed."""
        of = _of(entry.kind, entry.ephemeral)
        arguments = (entry.execution_id, entry.number, of, 0)
        await self._writer.do(Command(_DISMISS, arguments, self._lists(entry.workspace, of)))

    async def beat(self, execution_ids: Sequence[str], until: str) -> None:
        """Set leases."""
        if execution_ids:
            arguments = (self._time.score(until), *execution_ids)
            await self._writer.do(Command(_BEAT, arguments, [self._leases]))

    # --- what it says -------------------------------------------------------------------------

    async def newest(self) -> int:
        """The number of the newest log there ever was."""
        return int(await self._reader.ask(Command("GET", (self._number,))) or 0)

    async def before(
        self, workspace: str, number: int | None, limit: int, wanted: frozenset[str]
    ) -> list[Entry]:
        """A workspace's logs below a number, newest first.

        A status that no log has is looked for in the whole index, LIST_LOGS logs at a time.
        """
        # Who wants only open ones need not look at all that ever ended.
        ends = not wanted or wanted & TERMINAL
        key = self._of(workspace) if ends else self._open(workspace)
        below = "+inf" if number is None else f"({number}"
        found: list[Entry] = []
        while len(found) < limit:
            count = LIST_LOGS if wanted else limit - len(found)
            span = (key, below, "-inf", "WITHSCORES", "LIMIT", 0, count)
            rows = await self._reader.ask(Command("ZREVRANGEBYSCORE", span))
            if not rows:
                break
            below = f"({int(rows[-1])}"
            entries = await self._listed(rows)
            found += [e for e in entries if not wanted or e.last_status_event in wanted]
        return found[:limit]

    async def unfinished(self, workspace: str) -> list[Entry]:
        """A workspace's logs that have not ended, oldest first."""
        span = (self._open(workspace), 0, -1, "WITHSCORES")
        entries = await self._listed(await self._reader.ask(Command("ZRANGE", span)))
        await self._retire_all(entry for entry in entries if entry.sealed)
        return [entry for entry in entries if not entry.sealed]

    async def numbered(self, workspace: str, numbers: Iterable[int]) -> list[Entry]:
        """The logs of a workspace with these numbers."""
        key = self._of(workspace)
        spans = [(key, number, number, "WITHSCORES") for number in numbers]
        found = await asyncio.gather(
            *[self._reader.ask(Command("ZRANGEBYSCORE", s)) for s in spans]
        )
        return await self._listed([part for row in found for part in row])

    async def created_after(self, workspace: str, number: int, limit: int) -> Listed:
        """A workspace's logs after a number, and up to which number they are."""
        span = (self._of(workspace), f"({number}", "+inf", "WITHSCORES", "LIMIT", 0, limit)
        newest, rows = await asyncio.gather(
            self.newest(), self._reader.ask(Command("ZRANGEBYSCORE", span))
        )
        upto = int(rows[-1]) if rows else number
        return Listed(newest, upto, await self._listed(rows))

    async def ended(self, kind: str, *, ephemeral: bool, limit: int) -> list[Entry]:
        """Logs that have ended, the oldest end first."""
        of = _of(kind, ephemeral)
        key = self._keys.index(f"ended:{of}")
        while True:
            rows = await self._reader.ask(Command("ZRANGE", (key, 0, limit - 1)))
            ids = [row.decode() for row in rows]
            entries = await self._reader.entries(ids)
            found = [entry for entry in entries if entry is not None and entry.sealed]
            if len(found) == len(ids):
                return found
            for id_, entry in zip(ids, entries, strict=True):
                if entry is None or not entry.sealed:
                    await self._correct(id_, of, there=entry is not None)

    async def _correct(self, execution_id: str, of: str, *, there: bool) -> None:
        """Take a log from the ended ones that is not there any more, or has lost its end."""
        sizes, ended = self._keys.index(f"sizes:{of}"), self._keys.index(f"ended:{of}")
        known = await self._reader.ask(Command("HGET", (sizes, execution_id)))
        if known is None:
            await self._writer.do(Command("ZREM", (ended, execution_id)))
            return
        _, number, workspace = known.decode().split(" ", 2)
        arguments = (execution_id, number, of, int(there))
        await self._writer.do(Command(_DISMISS, arguments, self._lists(workspace, of)))

    async def kept(self, kind: str, *, ephemeral: bool) -> Kept:
        """How many there are of them, and how large they are."""
        of = _of(kind, ephemeral)
        count, size = await asyncio.gather(
            self._reader.ask(Command("ZCARD", (self._keys.index(f"ended:{of}"),))),
            self._reader.ask(Command("HGET", (self._keys.index("kept"), of))),
        )
        return Kept(int(count), int(size or 0))

    async def large(self, kind: str, above_bytes: int) -> list[Entry]:
        """Logs that have a lease and are larger than this: a look at each that has one.

        Their sizes are not in the index: each append would have to write to two slots.
        """
        found: list[Entry] = []
        at = 0
        while True:
            span = (self._leases, at, at + LIST_LOGS - 1)
            rows = await self._reader.ask(Command("ZRANGE", span))
            entries = await self._reader.entries([row.decode() for row in rows])
            found += [
                e
                for e in entries
                if e and not e.sealed and e.kind == kind and e.bytes > above_bytes
            ]
            at += LIST_LOGS
            if len(rows) < LIST_LOGS:
                # A beat moves a lease to the end: one may have come twice.
                return list({entry.execution_id: entry for entry in found}.values())

    async def expired(self, now: str) -> list[tuple[str, str]]:
        """The open executions whose lease has ended."""
        asked = self._time.now()
        told = await self._reader.ask(Command(NOW, (), (self._leases,)))
        self._time.heard(asked, *map(int, told))
        span = (self._leases, "-inf", f"({self._time.score(now)}", "WITHSCORES")
        rows = await self._reader.ask(Command("ZRANGEBYSCORE", span))
        ids = [row.decode() for row in rows[::2]]
        entries = await self._reader.entries(ids)
        await self._retire_all(entry for entry in entries if entry and entry.sealed)
        for execution_id, entry in zip(ids, entries, strict=True):
            if entry is None:
                await self._writer.do(Command("ZREM", (self._leases, execution_id)))
        return [
            (entry.execution_id, self._time.moment(int(score)))
            for entry, score in zip(entries, rows[1::2], strict=True)
            if entry is not None and not entry.sealed
        ]

    async def _retire_all(self, entries: Iterable[Entry]) -> None:
        """Retire logs whose writer died before it could."""
        for entry in entries:
            await self.retire(entry)

    async def _listed(self, rows: Sequence[bytes]) -> list[Entry]:
        """Look up the logs that the index names, by their numbers there; those that are gone not."""
        entries = await self._reader.entries([row.decode() for row in rows[::2]])
        return [
            entry._replace(number=int(number))
            for entry, number in zip(entries, rows[1::2], strict=True)
            if entry is not None
        ]

    # --- keys ---------------------------------------------------------------------------------

    def _of(self, workspace: str) -> str:
        return self._keys.index(f"index:{workspace}")

    def _open(self, workspace: str) -> str:
        return self._keys.index(f"open:{workspace}")

    def _lists(self, workspace: str, of: str) -> tuple[str, ...]:
        key = self._keys.index
        ended, sizes = key(f"ended:{of}"), key(f"sizes:{of}")
        lists = (self._of(workspace), self._open(workspace), self._leases)
        return (*lists, ended, sizes, key("kept"))


def _of(kind: str, ephemeral: bool) -> str:
    """What the index calls a kind's logs, the ephemeral ones apart."""
    return f"{kind}:{int(ephemeral)}"
