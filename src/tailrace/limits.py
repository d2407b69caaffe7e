"""How much at once: places for streams and executions, and how fast events may be reported.

The law of this file: a place that was taken is given back on every way out, and one whose process
was killed is over by itself. Who finds all places taken is told so, and when to ask again.

Places are counted in the store (`log.facts`), so the processes of one store count together; a
limit that is not set costs nothing. Rates are counted in the process: a store that is asked for
each batch would be the bottleneck that the rate protects it from.
"""

import ipaddress
import logging
import math
import secrets
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import timedelta
from functools import partial
from itertools import count, islice
from typing import Any

import anyio

from tailrace import events
from tailrace.clock import Clock, rfc3339
from tailrace.errors import (
    LogSealed,
    Overloaded,
    RateLimited,
    StoreError,
    TooManyEvents,
    TooManyExecutions,
    TooManyStreams,
)
from tailrace.events import TERMINAL, draft
from tailrace.log.base import EventLog, Producer
from tailrace.settings import Settings

Leave = Callable[[], None]
Spawn = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]
STREAM, EXECUTION = "stream", "execution"  # the kinds of places
ALL = "all"  # the name of the place that every stream takes
WORKSPACE_STREAMS = 5  # with access control, if the setting says nothing
RETRY_AFTER_S = 5  # for a place: nobody knows when one is free; a lost one is soon noticed
AT_ONCE = 100  # places given back together: they share commits
NO_LIMIT = 2**31
RATES_MAX = 10_000  # names whose rate is remembered; those that owe nothing are forgotten first
SLACK_EVENTS = 1000  # above an execution's limit, for what ends its nodes and says why
_STRUCTURE = ("execution.", "node.", "log.sealed", "warning")
_logger = logging.getLogger("tailrace")


def no_place() -> None:
    """Leave where no place was taken."""


class Limits:
    """The limits of one process, some of them shared with others by the store.

    `keep` says that the process lives, at least three times in each lease; `aclose` gives back
    what it still holds.
    """

    def __init__(self, log: EventLog, clock: Clock, settings: Settings, spawn: Spawn) -> None:
        self._log, self._clock, self._settings, self._spawn = log, clock, settings, spawn
        self._process = f"{secrets.token_hex(8)}."
        self._numbers = count(1)
        self._held: dict[str, tuple[str, Mapping[str, int]]] = {}  # holder → kind, names
        self._left: dict[str, str] = {}  # holder → kind: to be given back
        self._giving = anyio.Lock()
        self._kept_at = clock.monotonic()
        self._closed = False
        self._rate = Rate(clock, settings.ingest_events_per_s)

    @property
    def held(self) -> int:
        """How many places this process holds, or still has to give back."""
        return len(self._held) + len(self._left)

    # --- asking -------------------------------------------------------------------------------

    async def stream(
        self, workspace: str, *, credential: str | None = None, address: str | None = None
    ) -> Leave:
        """Take a stream's place; the caller calls what it gets when the stream is over.

        Raises TooManyStreams, Overloaded where the whole store has too many, and StoreError.
        """
        settings = self._settings
        of_workspace = settings.streams_per_workspace_max
        if of_workspace is None:
            of_workspace = 0 if credential is None else WORKSPACE_STREAMS
        names = {f"workspace/{workspace}": of_workspace}
        if credential is not None:
            names[f"credential/{credential}"] = settings.streams_per_credential_max
        if address is not None:
            names[f"address/{_network(address)}"] = settings.streams_per_address_max
        full, leave = await self._enter(STREAM, names | {ALL: settings.streams_max})
        if full == ALL:
            raise Overloaded(
                f"{settings.streams_max} streams are open on this server",
                hint="Try again later, or raise the setting streams_max.",
                retry_after_s=RETRY_AFTER_S,
            )
        if full is not None:
            whose, limit = full.partition("/")[0], names[full]
            raise TooManyStreams(
                f"{limit} streams of this {whose} are open, as many as may be",
                retry_after_s=RETRY_AFTER_S,
            )
        return leave

    async def execution(self, workspace: str) -> Leave:
        """Take the place of an execution that runs. Raises TooManyExecutions and StoreError."""
        limit = self._settings.executions_per_workspace_max
        full, leave = await self._enter(EXECUTION, {f"workspace/{workspace}": limit})
        if full is not None:
            raise TooManyExecutions(
                f"{limit} executions of this workspace run, as many as may",
                retry_after_s=RETRY_AFTER_S,
            )
        return leave

    def ingest(self, name: str, events: int) -> None:
        """Let a batch of reported events in. Raises RateLimited.

        `name` is whoever reports: a credential, or a workspace.
        """
        wait_s = self._rate.take(name, events)
        if wait_s:
            raise RateLimited(
                f"More than {self._settings.ingest_events_per_s:g} events a second",
                retry_after_s=math.ceil(wait_s),
            )

    async def room(self, execution_id: str, head: int, types: Iterable[str]) -> None:
        """Let events into a log from outside. Raises TooManyEvents; the log then says so, once."""
        limit = self._settings.events_per_execution_max
        if any(is_full(limit, seq, type_) for seq, type_ in enumerate(types, start=head)):
            made = draft(full_warning(limit), self._clock.now())
            once = Producer("tailrace.limits", 1)
            try:
                await self._log.append(execution_id, [made], producer=once)
            except LogSealed:
                return  # the append that follows is told of that
            raise TooManyEvents(f"{execution_id} has {head} events")

    # --- places -------------------------------------------------------------------------------

    async def _enter(self, kind: str, names: Mapping[str, int]) -> tuple[str | None, Leave]:
        """Take a place under each name that has a limit: (the one that is full, the way out)."""
        limited = {name: limit for name, limit in names.items() if limit}
        if not limited:
            return None, no_place
        holder = f"{self._process}{next(self._numbers)}"
        self._held[holder] = kind, limited
        leave = partial(self._leave, holder)
        try:
            full = await self._occupy(holder)
            if full is not None and self._left:
                await self._give_back()  # one that just ended may have been the last free place
                full = await self._occupy(holder)
        except BaseException:
            leave()  # whether the store has it is not known
            raise
        if full is not None:
            del self._held[holder]
        return full, leave

    async def _occupy(self, holder: str, limit: int | None = None) -> str | None:
        kind, names = self._held[holder]
        names = names if limit is None else dict.fromkeys(names, limit)
        now = self._clock.now()
        return await self._log.facts.occupy(
            kind, names, holder, now=rfc3339(now), until=self._until()
        )

    def _until(self) -> str:
        return rfc3339(self._clock.now() + timedelta(seconds=self._settings.lease_s))

    def _leave(self, holder: str) -> None:
        """Give a place back, soon; leaving twice is leaving once."""
        found = self._held.pop(holder, None)
        if found is None or self._closed:
            return
        self._left[holder] = found[0]
        if len(self._left) == 1:
            self._spawn(self._drain)

    async def _drain(self) -> None:
        try:
            await self._give_back()
        except StoreError as error:
            _logger.warning("places could not be given back; the next beat does: %s", error)

    async def _give_back(self) -> None:
        """Empty what was left. Raises StoreError; what could not be given back stays in it."""
        async with self._giving:
            while some := tuple(islice(self._left.items(), AT_ONCE)):
                errors: list[StoreError] = []
                async with anyio.create_task_group() as tasks:
                    for holder, kind in some:
                        tasks.start_soon(self._vacate, kind, holder, errors)
                if errors:
                    raise errors[0]

    async def _vacate(self, kind: str, holder: str, errors: list[StoreError]) -> None:
        try:
            await self._log.facts.vacate(kind, holder)
        except StoreError as error:
            errors.append(error)
        else:
            del self._left[holder]

    async def keep(self) -> None:
        """Keep what this process holds for another lease. Raises StoreError."""
        now = self._clock.monotonic()
        late = now - self._kept_at > self._settings.lease_s
        kinds = {kind for kind, _ in self._held.values()}
        for kind in kinds:
            await self._log.facts.stay(kind, self._process, until=self._until())
        if late:
            # It was stopped, or the store was away, for so long that others may have swept its
            # places. Its streams are still open: they count, even above the limit.
            for holder in tuple(self._held):
                if holder in self._held:
                    await self._occupy(holder, NO_LIMIT)
        self._kept_at = now
        await self._give_back()

    async def aclose(self) -> None:
        """Give everything back: whatever is open in this process is over."""
        self._closed = True
        kinds = {kind for kind, _ in self._held.values()} | set(self._left.values())
        with anyio.CancelScope(shield=True):
            for kind in kinds:
                try:
                    now = rfc3339(self._clock.now())
                    await self._log.facts.stay(kind, self._process, until=now)
                except StoreError as error:
                    _logger.warning("places are held until their lease ends: %s", error)


def _network(address: str) -> str:
    """Who an address stands for: of IPv6 the /64, which one household has to itself."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if found.version == 4:
        return str(found)
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or ipaddress.ip_network((found.packed, 64), strict=False))


class Rate:
    """So many a second of each name. A batch comes in whole, and is then paid off.

    So a batch larger than a second's worth comes in, too, after which nothing does for a while.
    Bound: RATES_MAX names.
    """

    def __init__(self, clock: Clock, per_s: float) -> None:
        self._clock, self._per_s = clock, per_s
        self._free_at: dict[str, float] = {}  # when a name's debt is paid

    def take(self, name: str, number: int) -> float:
        """Let so many in: 0.0, or the seconds to wait if they were not let in."""
        if not self._per_s:
            return 0.0
        now = self._clock.monotonic()
        begin = max(self._free_at.get(name, 0.0), now)
        if begin - now >= 1.0:
            return begin - now - 1.0 or 1 / self._per_s
        if name not in self._free_at and len(self._free_at) >= RATES_MAX:
            self._forget(now)
        self._free_at[name] = begin + number / self._per_s
        return 0.0

    def _forget(self, now: float) -> None:
        self._free_at = {name: at for name, at in self._free_at.items() if at > now}
        while len(self._free_at) >= RATES_MAX:
            del self._free_at[next(iter(self._free_at))]


# --- events of one execution --------------------------------------------------------------------


def is_full(limit: int, held: int, type_: str) -> bool:
    """Whether an execution that has so many events takes no other of this type.

    Its end it always takes, and some more that end its nodes.
    """
    if not limit or held < limit or type_ in TERMINAL:
        return False
    return held >= limit + (SLACK_EVENTS if type_.startswith(_STRUCTURE) else 0)


def full_warning(limit: int) -> events.WarningEvent:
    """What the log says when it is full."""
    return events.WarningEvent(
        code="too_many_events",
        message=f"This execution has {limit} events, as many as it may: what else it says is refused",
    )
