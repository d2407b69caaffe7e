"""Retention: executions that ended long enough ago are removed, the largest running ones trimmed.

The law of this file: what has not ended is never removed, and loses its oldest events only where a
setting says so; what is missing always shows (a floor, a gap, 404). A turn does a bounded amount
of work, in commits that are short for those who append beside it.

One process of a store does it at a time. Which rules hold is that process's settings, so give all
of them the same.
"""

import logging
import secrets
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from tailrace import snapshots
from tailrace.clock import Clock, rfc3339
from tailrace.errors import ExecutionNotFound, InvalidSetting, StoreError
from tailrace.events import KINDS
from tailrace.log.base import Entry, EventLog
from tailrace.many import REMOVED
from tailrace.settings import Settings

_logger = logging.getLogger("tailrace")
EVERY_S = 15.0  # between turns
SOON_S = 1.0  # the same, while there is more to do
# Those who watch an execution read its end for a moment more, and a client whose connection was
# cut comes back for it: neither count nor bytes takes away what has only just ended.
GRACE_S = 60.0
TURN_LOGS = 100  # of each kind, removed in a turn
COMMIT_EVENTS = 1000  # removed in one commit: appends wait for it some milliseconds
TRIM_PAGES, TRIM_PAGE_EVENTS = (
    20,
    250,
)  # read in a turn to find out where to cut a running execution
TRIM_TO = 0.9  # of the limit: one that is always at its limit is not cut at every turn


@dataclass(frozen=True, slots=True)
class Rule:
    """What is kept of one kind's executions that have ended; None: no limit."""

    kind: str
    ephemeral: bool
    age_s: float | None = None
    count: float | None = None
    size: float | None = None

    def cause(self, entry: Entry, count: int, size: int, now: datetime) -> str | None:
        """Why the oldest of `count` executions of `size` bytes in all has to go, if it has to."""
        if self.age_s is not None and entry.updated_at <= _before(now, self.age_s):
            return "ephemeral" if self.ephemeral else "age"
        if entry.updated_at > _before(now, GRACE_S):
            return None
        if self.count is not None and count > self.count:
            return "count"
        return "bytes" if self.size is not None and size > self.size else None


def _before(now: datetime, seconds: float) -> str:
    return rfc3339(now - timedelta(seconds=min(seconds, 1e9)))


def limit_of(setting: str, kind: str) -> float | None:
    """What a setting like `604800,workload=3600,agent=none` says for a kind; None: no limit."""
    found: float | None = None
    for part in filter(None, setting.replace(" ", "").split(",")):
        name, separator, value = part.rpartition("=")
        if separator and name not in KINDS:
            raise InvalidSetting(f"retention: {name!r} is no kind of execution")
        if name in ("", kind):
            found = None if value == "none" else float(value)
    return found


class Retention:
    """Applies a process's rules, one `turn` after the other."""

    def __init__(self, log: EventLog, clock: Clock, settings: Settings) -> None:
        self._log, self._clock = log, clock
        self._holder = secrets.token_hex(8)
        self._rules = [Rule(kind, True, age_s=settings.ephemeral_s) for kind in KINDS]
        for kind in KINDS:
            limits = (
                limit_of(settings.retention_age_s, kind),
                limit_of(settings.retention_count, kind),
                limit_of(settings.retention_bytes, kind),
            )
            if any(limit is not None for limit in limits):
                self._rules.append(Rule(kind, False, *limits))
        self._running = {
            kind: limit
            for kind in KINDS
            if (limit := limit_of(settings.retention_running_bytes, kind)) is not None
        }
        self.removed: Counter[tuple[str, ...]] = Counter()  # (kind, cause) → executions
        self.trimmed = 0  # events of running executions

    async def keep(self) -> None:
        """Remove what nobody keeps, for ever."""
        more = False
        while True:
            await self._clock.sleep(SOON_S if more else EVERY_S)
            try:
                more = await self.turn()
            except StoreError as error:
                _logger.warning("retention could not be kept: %s", error)
                more = False

    async def turn(self) -> bool:
        """Do what is due, up to a bound; returns whether there is more. Raises StoreError."""
        now = self._clock.now()
        text, until = rfc3339(now), rfc3339(now + timedelta(seconds=2 * EVERY_S))
        await self._log.facts.sweep(now=text)
        here = {"retention": 1}
        if await self._log.facts.occupy("sweeper", here, self._holder, now=text, until=until):
            return False  # another process does it
        more = [await self._apply(rule, now) for rule in self._rules]
        more += [await self._trim(kind, limit, now) for kind, limit in self._running.items()]
        return any(more)

    async def _apply(self, rule: Rule, now: datetime) -> bool:
        entries = await self._log.ended(rule.kind, ephemeral=rule.ephemeral, limit=TURN_LOGS)
        if not entries:
            return False
        count = size = 0
        if rule.count is not None or rule.size is not None:
            kept = await self._log.kept(rule.kind, ephemeral=rule.ephemeral)
            count, size = kept.count, kept.bytes
        for entry in entries:
            # They come oldest first: if this one may stay, all may.
            cause = rule.cause(entry, count, size, now)
            if cause is None:
                return False
            await self._remove(entry, now)
            self.removed[rule.kind, cause] += 1
            count, size = count - 1, size - entry.size
        return len(entries) == TURN_LOGS

    async def _remove(self, entry: Entry, now: datetime) -> None:
        """Remove an execution, a part of a long one at a time."""
        await self._note(entry, now)
        # Another process may have begun with it, or ended it: what is gone is gone.
        with suppress(ExecutionNotFound):
            await self._raise_floor(entry, entry.head)
            await self._log.remove(entry.execution_id)
        if entry.floor > 1:
            await snapshots.forget(self._log, entry.execution_id, now)

    async def _raise_floor(self, entry: Entry, floor: int) -> Entry:
        for step in range(entry.floor + COMMIT_EVENTS, floor, COMMIT_EVENTS):
            await self._log.trim(entry.execution_id, step)
        return await self._log.trim(entry.execution_id, floor)

    async def _note(self, entry: Entry, now: datetime) -> None:
        """Keep the largest number that is gone: a stream of the workspace may not have seen it."""
        facts, text = self._log.facts, rfc3339(now)
        last = int(await facts.get(REMOVED, entry.workspace, now=text) or 0)
        if entry.number > last:
            await facts.put(REMOVED, entry.workspace, str(entry.number), now=text)

    async def _trim(self, kind: str, limit: float, now: datetime) -> bool:
        entries = await self._log.large(kind, round(limit))
        more = [await self._cut(entry, limit, now) for entry in entries[:TURN_LOGS]]
        return any(more) or len(entries) > TURN_LOGS

    async def _cut(self, entry: Entry, limit: float, now: datetime) -> bool:
        """Raise the floor of a running execution; returns whether it is still too large."""
        excess, state = entry.bytes - TRIM_TO * limit, await snapshots.before(self._log, entry, now)
        for _ in range(TRIM_PAGES):
            page = await self._log.read(entry.execution_id, state.head, TRIM_PAGE_EVENTS)
            going = []
            for record in page:
                if excess > 0 and record.seq < entry.head:
                    excess -= len(record.tail)
                    going.append(record)
            snapshots.advance(state, going)
            if len(going) < TRIM_PAGE_EVENTS:
                break
        if state.head < entry.floor:
            return False
        await snapshots.keep(self._log, state, now)
        trimmed = await self._raise_floor(entry, state.head + 1)
        self.trimmed += trimmed.floor - entry.floor
        return trimmed.bytes > limit and trimmed.floor < trimmed.head
