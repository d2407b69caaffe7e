"""What the Redis server does at once: the scripts, and the names of the keys they work on.

The law of this file: what must not be seen half done is one script, and all keys of one script
are in one hash slot (`{…}`), so that a Cluster runs it too. A script looks at everything it needs
before its first write, because Redis keeps what a script wrote before it failed.

The keys, for a store of prefix `p` (docs/decisions/0020-redis-streams.md says why):

    {p:ID}:meta     hash: the log's entry; `w:HANDLE` what a handle did last, `p:NAME` a producer
    {p:ID}:log      stream: one entry an event, `<seq>-0`, fields t (type) and d (the envelope)
    {p:ID}:aside    hash: values too large for an event, by digest
    {p:ID}:gone     who removed the log, for GONE_S: a log that is not there was removed, or lost
    {p:ID}:put:…    a log from elsewhere, while it comes in, for PUT_S
    {p}:…           the index of all logs (redis_index.py)
    {p:facts}:…     what is kept beside the logs (redis_facts.py)

Messages are sent on channels `p@DB/log/ID` and `p@DB/new/WS`: Redis does not keep the channels
of its databases apart.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property

from tailrace.clock import rfc3339

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MESSAGE_MAX_BYTES = 65_536  # events above this are not sent along: who is told reads them
GONE_S = 86_400  # a watch that was cut off for longer hears "lost" of what was removed
PUT_S = 3600  # a log from elsewhere that nobody finished putting in is forgotten then
# A script that begins so runs in a server whose memory is full: it frees some, or adds next to none.
ALWAYS = "#!lua flags=allow-oom"
TRIM_AT_ONCE = 100  # events whose size is looked up together: what a trim holds in memory


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

    def log(self, execution_id: str) -> tuple[str, str, str, str]:
        """All keys of a log: meta, events, values aside, and who removed it."""
        tag = f"{{{self.prefix}:{execution_id}}}"
        return (f"{tag}:meta", f"{tag}:log", f"{tag}:aside", f"{tag}:gone")

    def put(self, execution_id: str, token: str) -> tuple[str, str]:
        """The keys of a log that comes in: events, values aside."""
        tag = f"{{{self.prefix}:{execution_id}}}"
        return (f"{tag}:put:log:{token}", f"{tag}:put:aside:{token}")

    def index(self, name: str) -> str:
        """A part of the index."""
        return f"{{{self.prefix}}}:{name}"

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
    return (datetime.fromisoformat(time) - BEGINNING) // MICROSECOND


def moment(score: int) -> str:
    """The time of a score."""
    return rfc3339(BEGINNING + score * MICROSECOND)


# KEYS: meta, log, aside, gone. ARGV: handle, round, epoch, workspace, kind, flow, created_at,
# lease, ephemeral, channel, updated_at, status event, attempt, bytes, bytes aside, ends, producer
# or '', events, values; type and envelope of each event; digest and data of each value.
# Answers whether the log is this handle's making.
CREATE = Script("""
local mine = 'w:' .. ARGV[1]
local was = redis.call('HMGET', KEYS[1], 'head', mine)
if was[1] then
  return (was[2] and string.match(was[2], '^%d+') == ARGV[2]) and 1 or 0
end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
local events, values, at = tonumber(ARGV[18]), tonumber(ARGV[19]), 20
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
  'ephemeral', ARGV[9], 'updated_at', ARGV[11], 'event', ARGV[12], 'attempt', ARGV[13],
  'bytes', ARGV[14], 'aside', ARGV[15], 'sealed', ARGV[16], mine, ARGV[2] .. ' ')
if ARGV[17] ~= '' then redis.call('HSET', KEYS[1], 'p:' .. ARGV[17], '1 1 ' .. events) end
redis.call('PUBLISH', ARGV[10], ARGV[3] .. ' 1 ' .. events .. ' ' .. ARGV[1] .. ' ' .. ARGV[2])
return 1
""")

# KEYS: meta. ARGV: number. Notes a log's number where its entry is.
NUMBER = Script(f"""{ALWAYS}
if redis.call('HEXISTS', KEYS[1], 'head') == 1 then
  redis.call('HSETNX', KEYS[1], 'number', ARGV[1])
end
return 1
""")

# KEYS: events and values of a log that comes in. ARGV: first sequence, events; type and envelope
# of each event; digest and data of each value. The same part again adds nothing.
PUT = Script(f"""
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
last = last and tonumber(string.match(last[1], '^%d+')) or 0
local seq, events, at = tonumber(ARGV[1]), tonumber(ARGV[2]), 3
for _ = 1, events do
  if seq > last then redis.call('XADD', KEYS[1], seq .. '-0', 't', ARGV[at], 'd', ARGV[at + 1]) end
  seq, at = seq + 1, at + 2
end
while at < #ARGV do
  redis.call('HSET', KEYS[2], ARGV[at], ARGV[at + 1])
  at = at + 2
end
redis.call('EXPIRE', KEYS[1], {PUT_S})
redis.call('EXPIRE', KEYS[2], {PUT_S})
return 1
""")

# KEYS: meta, log, aside, gone, then the two keys of the log that came in. ARGV: token, channel,
# first and last sequence, epoch, then the fields of its entry. Makes it a log, whole.
# Answers 1; 0 where there is one already, -1 where what came in is forgotten.
PLACE = Script("""
local was = redis.call('HMGET', KEYS[1], 'head', 'token')
if was[1] then
  redis.call('UNLINK', KEYS[5], KEYS[6])
  return was[2] == ARGV[1] and 1 or 0
end
if redis.call('EXISTS', KEYS[5]) == 0 then return -1 end
redis.call('DEL', KEYS[1], KEYS[2], KEYS[3], KEYS[4])
redis.call('HSET', KEYS[1], 'token', ARGV[1], unpack(ARGV, 6))
redis.call('RENAME', KEYS[5], KEYS[2])
redis.call('PERSIST', KEYS[2])
if redis.call('EXISTS', KEYS[6]) == 1 then
  redis.call('RENAME', KEYS[6], KEYS[3])
  redis.call('PERSIST', KEYS[3])
end
redis.call('PUBLISH', ARGV[2], ARGV[5] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4] .. ' - 0')
return 1
""")

# KEYS: meta, log, aside. ARGV: handle, round, known head and its epoch, epoch, channel; then for each batch:
# producer or '', its number, expected head or '', attempt or '', events, values, updated_at,
# status event or '', attempt that begins or 0, bytes, bytes aside, ends; type and envelope of
# each event; digest and data of each value.
# Answers with the epoch, then for each batch ["ok", first, last], or ["no", head, status event, attempt, and of the
# producer's last batch: number, first, last], from which the caller sees why.
# - The same round again, after a lost answer, is answered again; one that arrives when its
#   handle is further (a server that stood still ran it late) is refused.
# - A head below what this handle was told before is a part that was lost: another epoch begins.
APPEND = Script(f"""
local meta, log, aside = KEYS[1], KEYS[2], KEYS[3]
local mine, round = 'w:' .. ARGV[1], tonumber(ARGV[2])
local was = redis.call('HMGET', meta, 'head', 'sealed', 'event', 'epoch', 'attempt', 'bytes',
  'aside', mine)
if not was[1] then return false end
if was[8] then
  local last, answer = string.match(was[8], '^(%d+) (.*)$')
  if tonumber(last) == round then return answer end
  if tonumber(last) > round then return redis.error_reply('LATE a newer round is in') end
end
local head, sealed, event, epoch = tonumber(was[1]), was[2] == '1', was[3], was[4]
local attempt, size, size_aside = tonumber(was[5]), tonumber(was[6]), tonumber(was[7])
if epoch == ARGV[4] and head < tonumber(ARGV[3]) then epoch = ARGV[5] end
local first, updated, said, answers, producers = head + 1, nil, {{}}, {{epoch}}, {{}}
local at = 7
while at <= #ARGV do
  local name, number, expected, of = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2], ARGV[at + 3]
  local events, values = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local ts, status, begins = ARGV[at + 6], ARGV[at + 7], tonumber(ARGV[at + 8])
  local more, more_aside, ends = tonumber(ARGV[at + 9]), tonumber(ARGV[at + 10]), ARGV[at + 11]
  local from, values_from = at + 12, at + 12 + 2 * events
  at = values_from + 2 * values
  local batch, batch_first, batch_last = 0, 0, 0
  if name ~= '' then
    local known = producers[name] or redis.call('HGET', meta, 'p:' .. name)
    if known then
      batch, batch_first, batch_last = string.match(known, '^(%d+) (%d+) (%d+)$')
      batch, batch_first, batch_last = tonumber(batch), tonumber(batch_first), tonumber(batch_last)
    end
  end
  if (name ~= '' and number ~= batch + 1) or sealed or (of ~= '' and tonumber(of) < attempt)
      or (expected ~= '' and tonumber(expected) ~= head) then
    answers[#answers + 1] = {{'no', head, event, attempt, batch, batch_first, batch_last}}
  else
    answers[#answers + 1] = {{'ok', head + 1, head + events}}
    for i = values_from, at - 2, 2 do redis.call('HSETNX', aside, ARGV[i], ARGV[i + 1]) end
    for i = from, values_from - 2, 2 do
      head = head + 1
      redis.call('XADD', log, head .. '-0', 't', ARGV[i], 'd', ARGV[i + 1])
    end
    said[#said + 1] = table.concat(ARGV, '\\n', from, values_from - 1)
    updated, sealed = ts, ends == '1'
    size, size_aside = size + more, size_aside + more_aside
    if status ~= '' then event = status end
    if begins > 0 then attempt = begins end
    if name ~= '' then producers[name] = number .. ' ' .. (head - events + 1) .. ' ' .. head end
  end
end
local answer = cjson.encode(answers)
local set = {{mine, ARGV[2] .. ' ' .. answer, 'epoch', epoch}}
if updated then
  for _, value in ipairs({{'head', head, 'event', event, 'updated_at', updated,
      'attempt', attempt, 'bytes', size, 'aside', size_aside,
      'sealed', sealed and '1' or '0'}}) do set[#set + 1] = value end
  for name, value in pairs(producers) do
    set[#set + 1] = 'p:' .. name
    set[#set + 1] = value
  end
end
redis.call('HSET', meta, unpack(set))
if updated then
  local message = epoch .. ' ' .. first .. ' ' .. head .. ' ' .. ARGV[1] .. ' ' .. ARGV[2]
  local told = table.concat(said, '\\n')
  if #told <= {MESSAGE_MAX_BYTES} then message = message .. '\\n' .. told end
  redis.call('PUBLISH', ARGV[6], message)
end
return answer
""")

# KEYS: meta, log, gone. ARGV: after, events at most, bytes of a page. Answers head, epoch and
# floor, then the first sequence and each event's type and envelope. Where there is no log, or
# where its events are gone from under it, nothing; where it was removed, an empty list.
READ = Script("""
local was = redis.call('HMGET', KEYS[1], 'head', 'epoch', 'floor')
if not was[1] then return redis.call('EXISTS', KEYS[3]) == 1 and {} end
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
TRIM = Script(f"""{ALWAYS}
local was = redis.call('HMGET', KEYS[1], 'head', 'floor', 'bytes')
if not was[1] then return false end
local head, floor, asked = tonumber(was[1]), tonumber(was[2]), tonumber(ARGV[1])
local kept, left, from = math.max(math.min(asked, head), floor), tonumber(was[3]), '-'
while kept > floor do
  local gone = redis.call('XRANGE', KEYS[2], from, (kept - 1) .. '-0', 'COUNT', {TRIM_AT_ONCE})
  for _, entry in ipairs(gone) do left = left - #entry[2][4] end
  if #gone < {TRIM_AT_ONCE} then break end
  from = '(' .. gone[#gone][1]
end
redis.call('XTRIM', KEYS[2], 'MINID', '=', kept .. '-0')
redis.call('HSET', KEYS[1], 'floor', kept, 'bytes', left)
return kept
""")

# KEYS: meta, log, aside, gone. ARGV: token, channel. Answers 1; 0 where the log has not ended,
# nothing where there is none. The same token again is answered as it was.
REMOVE = Script(f"""{ALWAYS}
local was = redis.call('HMGET', KEYS[1], 'head', 'sealed', 'epoch')
if not was[1] then return redis.call('GET', KEYS[4]) == ARGV[1] and 1 end
if was[2] ~= '1' then return 0 end
redis.call('SET', KEYS[4], ARGV[1], 'EX', {GONE_S})
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])
redis.call('PUBLISH', ARGV[2], was[3])
return 1
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
