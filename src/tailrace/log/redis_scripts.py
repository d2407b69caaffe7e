"""What the Redis server does at once: the scripts, and the names of the keys they work on.

The law of this file: what must not be seen half done is one script, and all keys of one script
are in one hash slot (`{…}`), so that a Cluster runs it too. A script looks at everything it needs
before its first write, because Redis keeps what a script wrote before it failed.

The keys, for a store of prefix `p` (docs/decisions/0020-redis-streams.md says why):

    {p:ID}:meta     hash: the log's entry; `w:HANDLE` what a handle did last, `p:NAME` a producer
    {p:ID}:log      stream: one entry an event, `<seq>-0`, fields t (type) and d (the envelope)
    {p:ID}:aside    hash: values too large for an event, by digest
    {p}:number      counter: how many logs there are
    {p}:index:WS    sorted set: a workspace's logs by number
    {p}:open:WS     sorted set: those of them that have not ended
    {p}:leases      sorted set: open executions by the end of their lease, in microseconds
    {p:facts}:…     what is kept beside the logs (redis_facts.py)

Messages are sent on channels `p@DB/log/ID` and `p@DB/new/WS`: Redis does not keep the channels
of its databases apart.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from tailrace.clock import rfc3339

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
MESSAGE_MAX_BYTES = 65_536  # events above this are not sent along: who is told reads them


@dataclass(frozen=True)
class Script:
    """A script, called by its digest; the server that does not know it is sent the text."""

    source: str

    @cached_property
    def digest(self) -> str:
        """What the server calls it."""
        return hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Keys:
    """The names of one store's keys and channels."""

    prefix: str
    database: int

    def meta(self, execution_id: str) -> str:
        """A log's entry."""
        return f"{{{self.prefix}:{execution_id}}}:meta"

    def log(self, execution_id: str) -> Sequence[str]:
        """All keys of a log: meta, events, values aside."""
        tag = f"{{{self.prefix}:{execution_id}}}"
        return (f"{tag}:meta", f"{tag}:log", f"{tag}:aside")

    def number(self) -> str:
        """The counter of logs."""
        return f"{{{self.prefix}}}:number"

    def index(self, workspace: str) -> str:
        """A workspace's logs."""
        return f"{{{self.prefix}}}:index:{workspace}"

    def open(self, workspace: str) -> str:
        """Those that have not ended."""
        return f"{{{self.prefix}}}:open:{workspace}"

    def leases(self) -> str:
        """The leases."""
        return f"{{{self.prefix}}}:leases"

    def facts(self, name: str) -> str:
        """What is kept beside the logs."""
        return f"{{{self.prefix}:facts}}:{name}"

    def told(self, execution_id: str) -> str:
        """The channel of a log."""
        return f"{self.prefix}@{self.database}/log/{execution_id}"

    def told_new(self, workspace: str) -> str:
        """The channel of a workspace's new logs."""
        return f"{self.prefix}@{self.database}/new/{workspace}"


def microseconds(time: str) -> int:
    """A time as a score; a sorted set keeps it exactly until the year 2255."""
    return (datetime.fromisoformat(time) - _BEGINNING) // _MICROSECOND


def moment(score: int) -> str:
    """The time of a score."""
    return rfc3339(_BEGINNING + score * _MICROSECOND)


# KEYS: meta, log, aside. ARGV: handle, round, epoch, workspace, kind, flow, created_at, lease,
# channel, updated_at, status event, ends, events, values; type and envelope of each event; digest
# and data of each value. Answers whether the log is this handle's making.
CREATE = Script("""
local mine = 'w:' .. ARGV[1]
local was = redis.call('HMGET', KEYS[1], 'head', mine)
if was[1] then
  return (was[2] and string.match(was[2], '^%d+') == ARGV[2]) and 1 or 0
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
local events, values, at = tonumber(ARGV[13]), tonumber(ARGV[14]), 15
for seq = 1, events do
  redis.call('XADD', KEYS[2], seq .. '-0', 't', ARGV[at], 'd', ARGV[at + 1])
  at = at + 2
end
for _ = 1, values do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
  at = at + 2
end
redis.call('HSET', KEYS[1], 'head', events, 'floor', 1, 'epoch', ARGV[3], 'workspace', ARGV[4],
  'kind', ARGV[5], 'flow', ARGV[6], 'created_at', ARGV[7], 'lease', ARGV[8],
  'updated_at', ARGV[10], 'event', ARGV[11], 'sealed', ARGV[12], mine, ARGV[2] .. ' ')
redis.call('PUBLISH', ARGV[9], ARGV[3] .. ' 1 ' .. events)
return 1
""")

# KEYS: number, index, open, leases. ARGV: id, lease or '', ends, channel. Gives the log its
# number, which it keeps: numbers rise in the order in which logs become visible, because this
# one slot both counts and lists.
ANNOUNCE = Script("""
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

# KEYS: meta, log, aside. ARGV: handle, round, known head, epoch, channel; then for each batch:
# producer or '', its number, expected head or '', events, values, updated_at, status event or
# '', ends; type and envelope of each event; digest and data of each value.
# Answers for each batch ["ok", first, last, workspace], or ["no", head, status event, and of the
# producer's last batch: number, first, last], from which the caller sees why.
# - The same round again, after a lost answer, is answered again; one that arrives when its
#   handle is further (a server that stood still ran it late) is refused.
# - A head below what this handle was told before is a part that was lost: another epoch begins.
APPEND = Script(f"""
local meta, log, aside = KEYS[1], KEYS[2], KEYS[3]
local mine, round = 'w:' .. ARGV[1], tonumber(ARGV[2])
local was = redis.call('HMGET', meta, 'head', 'sealed', 'event', 'epoch', 'workspace', mine)
if not was[1] then return false end
if was[6] then
  local last, answer = string.match(was[6], '^(%d+) (.*)$')
  if tonumber(last) == round then return answer end
  if tonumber(last) > round then return redis.error_reply('LATE a newer round is in') end
end
local head, sealed, event, epoch = tonumber(was[1]), was[2] == '1', was[3], was[4]
if head < tonumber(ARGV[3]) then epoch = ARGV[4] end
local first, updated, said, answers, producers = head + 1, nil, {{}}, {{}}, {{}}
local at = 6
while at <= #ARGV do
  local name, number, expected = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local events, values = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local ts, status, ends = ARGV[at + 5], ARGV[at + 6], ARGV[at + 7]
  local from, values_from = at + 8, at + 8 + 2 * events
  at = values_from + 2 * values
  local batch, batch_first, batch_last = 0, 0, 0
  if name ~= '' then
    local known = producers[name] or redis.call('HGET', meta, 'p:' .. name)
    if known then
      batch, batch_first, batch_last = string.match(known, '^(%d+) (%d+) (%d+)$')
      batch, batch_first, batch_last = tonumber(batch), tonumber(batch_first), tonumber(batch_last)
    end
  end
  if (name ~= '' and number ~= batch + 1) or sealed
      or (expected ~= '' and tonumber(expected) ~= head) then
    answers[#answers + 1] = {{'no', head, event, batch, batch_first, batch_last}}
  else
    answers[#answers + 1] = {{'ok', head + 1, head + events, was[5]}}
    for i = values_from, at - 2, 2 do redis.call('HSETNX', aside, ARGV[i], ARGV[i + 1]) end
    for i = from, values_from - 2, 2 do
      head = head + 1
      redis.call('XADD', log, head .. '-0', 't', ARGV[i], 'd', ARGV[i + 1])
    end
    said[#said + 1] = table.concat(ARGV, '\\n', from, values_from - 1)
    updated, sealed = ts, ends == '1'
    if status ~= '' then event = status end
    if name ~= '' then producers[name] = number .. ' ' .. (head - events + 1) .. ' ' .. head end
  end
end
local answer = cjson.encode(answers)
local set = {{mine, ARGV[2] .. ' ' .. answer, 'epoch', epoch}}
if updated then
  for _, value in ipairs({{'head', head, 'event', event, 'updated_at', updated,
      'sealed', sealed and '1' or '0'}}) do set[#set + 1] = value end
  for name, value in pairs(producers) do
    set[#set + 1] = 'p:' .. name
    set[#set + 1] = value
  end
end
redis.call('HSET', meta, unpack(set))
if updated then
  local message = epoch .. ' ' .. first .. ' ' .. head
  local told = table.concat(said, '\\n')
  if #told <= {MESSAGE_MAX_BYTES} then message = message .. '\\n' .. told end
  redis.call('PUBLISH', ARGV[5], message)
end
return answer
""")

# KEYS: meta, log. ARGV: after, events at most, bytes of a page. Answers head, epoch and floor,
# then the first sequence and each event's type and envelope; nothing where there is no log, or
# where its events are gone from under it.
READ = Script("""
local was = redis.call('HMGET', KEYS[1], 'head', 'epoch', 'floor')
if not was[1] then return false end
local found = {was[1], was[2], was[3]}
local after, left, room = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
if after >= tonumber(was[1]) then return found end
local count, used, ask = 0, 0, 16
while left > 0 and used < room do
  ask = math.min(ask, left)
  local got = redis.call('XRANGE', KEYS[2], string.format('%.0f-0', after + 1), '+', 'COUNT', ask)
  if count == 0 then
    if #got == 0 then return false end
    found[4] = string.match(got[1][1], '^%d+')
  end
  for _, entry in ipairs(got) do
    found[#found + 1] = entry[2][2]
    found[#found + 1] = entry[2][4]
    count, left, used = count + 1, left - 1, used + #entry[2][4]
    if used >= room then break end
  end
  if #got < ask then break end
  after = tonumber(string.match(got[#got][1], '^%d+'))
  ask = math.max(1, math.min(512, math.ceil((room - used) * count / (used + 1))))
end
return found
""")

# KEYS: meta, log. ARGV: floor. Answers the new floor.
TRIM = Script("""
local was = redis.call('HMGET', KEYS[1], 'head', 'floor')
if not was[1] then return false end
local head, floor, asked = tonumber(was[1]), tonumber(was[2]), tonumber(ARGV[1])
local kept = math.max(math.min(asked, head), floor)
redis.call('XTRIM', KEYS[2], 'MINID', '=', kept .. '-0')
redis.call('HSET', KEYS[1], 'floor', kept)
return kept
""")

# KEYS: meta. ARGV: a position that somebody was given, its epoch, another epoch. What is ahead
# of the head was lost: the log begins another epoch, once.
RENEW = Script("""
local was = redis.call('HMGET', KEYS[1], 'head', 'epoch')
if was[1] and tonumber(was[1]) < tonumber(ARGV[1]) and was[2] == ARGV[2] then
  redis.call('HSET', KEYS[1], 'epoch', ARGV[3])
end
return 0
""")
