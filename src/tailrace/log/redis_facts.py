"""Facts in Redis: one script each, so nobody comes in between.

The law of this file: all facts are in one hash slot, and time is the caller's, told in the
server's (redis_time.py). No key expires by itself, except the note of what was done once, which
lets a command whose answer was lost be sent again. A server whose memory is full takes them too:
they are few, and who makes room needs them.

    values      hash: `KIND 0 KEY` → the END, a line break, the VALUE; END in microseconds or empty
    names       sorted set of these fields, all of score 0: lists are ranges of it
    ends        sorted set of those that end, by their end
    held        sorted set of `KIND 0 HOLDER 0 NAME`, score 0: what a holder has
    place:K:N   sorted set: the holders of a name's places, by their end
    done:…      what a command that must happen once has answered, for a minute
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from tailrace.log.redis_link import Command
from tailrace.log.redis_scripts import ALWAYS, Keys, Script
from tailrace.log.redis_time import ServerTime

SWEEP_AT_ONCE = 500  # bounds how long one script keeps the server
_SEP = "\0"

# KEYS: values, names, ends, done. ARGV: field, value, now, until or '', whether it must be new.
_PUT = Script(f"""{ALWAYS}
local done = redis.call('GET', KEYS[4])
if done then return tonumber(done) end
if ARGV[5] == '1' then
  local was = redis.call('HGET', KEYS[1], ARGV[1])
  local till = was and string.match(was, '^%d*')
  if was and (till == '' or tonumber(till) > tonumber(ARGV[3])) then
    redis.call('SET', KEYS[4], 0, 'EX', 60)
    return 0
  end
  redis.call('SET', KEYS[4], 1, 'EX', 60)
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4] .. '\\n' .. ARGV[2])
redis.call('ZADD', KEYS[2], 0, ARGV[1])
if ARGV[4] == '' then redis.call('ZREM', KEYS[3], ARGV[1])
else redis.call('ZADD', KEYS[3], ARGV[4], ARGV[1]) end
return 1
""")

# KEYS: values, names, ends, done. ARGV: field. Answers what was kept, over or not.
_TAKE = Script(f"""{ALWAYS}
local done = redis.call('GET', KEYS[4])
if done then return done end
local was = redis.call('HGET', KEYS[1], ARGV[1])
if not was then return false end
redis.call('SET', KEYS[4], was, 'EX', 60)
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return was
""")

# KEYS: values, names. ARGV: first and last of the range, how many are skipped, how many at most.
_FIND = Script("""
local fields = redis.call('ZRANGEBYLEX', KEYS[2], ARGV[1], ARGV[2], 'LIMIT', ARGV[3], ARGV[4])
local found = {}
for _, name in ipairs(fields) do
  found[#found + 1] = name
  found[#found + 1] = redis.call('HGET', KEYS[1], name)
end
return found
""")

# KEYS: values, names, ends. ARGV: now, how many at most. Answers how many were over.
_SWEEP = Script(f"""{ALWAYS}
local over = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2])
for _, name in ipairs(over) do
  redis.call('HDEL', KEYS[1], name)
  redis.call('ZREM', KEYS[2], name)
  redis.call('ZREM', KEYS[3], name)
end
return #over
""")

# KEYS: held, then the places of each name. ARGV: holder, now, until, then for each name its
# limit and what `held` calls it. Answers which name is full (1, 2, 3 …), or 0.
_OCCUPY = Script(f"""{ALWAYS}
for i = 2, #KEYS do
  local others = redis.call('ZCOUNT', KEYS[i], '(' .. ARGV[2], '+inf')
  local own = redis.call('ZSCORE', KEYS[i], ARGV[1])
  if own and tonumber(own) > tonumber(ARGV[2]) then others = others - 1 end
  if others >= tonumber(ARGV[2 * i]) then return i - 1 end
end
for i = 2, #KEYS do
  redis.call('ZADD', KEYS[i], ARGV[3], ARGV[1])
  redis.call('ZADD', KEYS[1], 0, ARGV[2 * i + 1])
end
return 0
""")

# KEYS: places. ARGV: until, holder. Of one that is there: it may have been given back meanwhile.
# Also an earlier end: a process that closes gives all of its places back so.
_STAY = Script(f"""{ALWAYS}
return redis.call('ZADD', KEYS[1], 'XX', ARGV[1], ARGV[2])
""")

# KEYS: held, places. ARGV: holder, what `held` calls it, now or '': only if its time is over.
_VACATE = Script(f"""{ALWAYS}
local till = redis.call('ZSCORE', KEYS[2], ARGV[1])
if ARGV[3] ~= '' and till and tonumber(till) > tonumber(ARGV[3]) then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[1], ARGV[2])
return 1
""")


class RedisFacts:
    """Facts that all processes of a store share."""

    def __init__(
        self,
        keys: Keys,
        time: ServerTime,
        write: Callable[[Command], Awaitable[Any]],
        ask: Callable[[Command], Awaitable[Any]],
    ) -> None:
        self._key, self._time, self._write, self._ask = keys.facts, time, write, ask
        self._values, self._names, self._ends = map(keys.facts, ("values", "names", "ends"))
        self._held = keys.facts("held")

    async def put(
        self,
        kind: str,
        key: str,
        value: str,
        *,
        now: str,
        until: str | None = None,
        new: bool = False,
    ) -> bool:
        """Keep a value."""
        end = self._time.score(until) if until else ""
        arguments = (_joined(kind, key), value, self._time.score(now), end, int(new))
        return bool(await self._write(self._once(_PUT, arguments)))

    async def get(self, kind: str, key: str, *, now: str) -> str | None:
        """Return a value."""
        return self._live(await self._ask(Command("HGET", (self._values, _joined(kind, key)))), now)

    async def take(self, kind: str, key: str, *, now: str) -> str | None:
        """Return a value and remove it."""
        return self._live(await self._write(self._once(_TAKE, (_joined(kind, key),))), now)

    def _live(self, kept: bytes | None, now: str) -> str | None:
        if kept is None:
            return None
        end, _, value = kept.decode().partition("\n")
        return value if not end or int(end) > self._time.score(now) else None

    def _once(self, script: Script, arguments: Sequence[Any]) -> Command:
        """A command that is answered again, and not done again, when it is sent twice."""
        done = self._key(f"done:{secrets.token_hex(8)}")
        return Command(script, arguments, (self._values, self._names, self._ends, done))

    async def find(self, kind: str, prefix: str = "", *, now: str) -> Sequence[tuple[str, str]]:
        """List keys and values."""
        first, last = _range(_joined(kind, prefix))
        found: list[tuple[str, str]] = []
        skipped = 0
        while True:
            arguments = (first, last, skipped, SWEEP_AT_ONCE)
            got = await self._ask(Command(_FIND, arguments, (self._values, self._names)))
            for name, kept in zip(got[::2], got[1::2], strict=True):
                value = self._live(kept, now)
                if value is not None:
                    found.append((name.decode().partition(_SEP)[2], value))
            if len(got) < 2 * SWEEP_AT_ONCE:
                return found
            skipped += SWEEP_AT_ONCE

    async def occupy(
        self, kind: str, names: Mapping[str, int], holder: str, *, now: str, until: str
    ) -> str | None:
        """Take a place under each name."""
        keys = [self._held, *[self._place(kind, name) for name in names]]
        arguments: list[Any] = [holder, self._time.score(now), self._time.score(until)]
        for name, limit in names.items():
            arguments += [limit, _joined(kind, holder, name)]
        full = int(await self._write(Command(_OCCUPY, arguments, keys)))
        return list(names)[full - 1] if full else None

    async def stay(self, kind: str, prefix: str, *, until: str) -> None:
        """Set until when places are kept."""
        end = self._time.score(until)
        held = await self._holders(_joined(kind, prefix))
        await self._each(
            Command(_STAY, (end, holder), [self._place(kind, name)]) for _, holder, name in held
        )

    async def vacate(self, kind: str, holder: str) -> None:
        """Give places back."""
        held = await self._holders(_joined(kind, holder, ""))
        await self._each(self._vacating(*place, "") for place in held)

    def _vacating(self, kind: str, holder: str, name: str, over: int | str) -> Command:
        arguments = (holder, _joined(kind, holder, name), over)
        return Command(_VACATE, arguments, (self._held, self._place(kind, name)))

    async def _each(self, commands: Iterable[Command]) -> None:
        """Send many, some in one round trip."""
        left = list(commands)
        while left:
            some, left = left[:SWEEP_AT_ONCE], left[SWEEP_AT_ONCE:]
            await asyncio.gather(*[self._write(command) for command in some])

    async def sweep(self, *, now: str) -> None:
        """Remove what is over."""
        over = (self._time.score(now), SWEEP_AT_ONCE)
        keys = (self._values, self._names, self._ends)
        while await self._write(Command(_SWEEP, over, keys)) == SWEEP_AT_ONCE:
            pass
        held = await self._holders("")
        await self._each(self._vacating(*place, over[0]) for place in held)

    async def _holders(self, prefix: str) -> list[tuple[str, str, str]]:
        """Who holds what, as (kind, holder, name), of those that begin so."""
        rows = await self._ask(Command("ZRANGEBYLEX", (self._held, *_range(prefix))))
        found = []
        for row in rows:
            kind, holder, name = row.decode().split(_SEP)
            found.append((kind, holder, name))
        return found

    def _place(self, kind: str, name: str) -> str:
        return self._key(f"place:{kind}:{name}")


def _joined(*parts: str) -> str:
    return _SEP.join(parts)


def _range(prefix: str) -> tuple[bytes, bytes]:
    """The members that begin so: no UTF-8 text has the byte FF."""
    start = prefix.encode()
    return b"[" + start, b"(" + start + b"\xff"
