"""The watches of a process on a Redis store: one connection that is told, for all of them.

The law of this file: a confirmed subscription means "read what follows", a message means "this
follows", and a message that does not follow means "read". A watch moves only forward over what
it was given, so whatever is lost between two connections is read, and what comes twice is dropped.

    Watches   the connection: subscribes, hears, reads for those that are behind, connects again
    _Log      the watches of one log
    _New      a watch for a workspace's new logs

Why messages and not XREAD BLOCK: that takes streams of one slot only in a Cluster, and each of
its calls names all streams again, which with a thousand of them costs more than what it brings.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import anyio
from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from tailrace.errors import StoreError
from tailrace.events import Record
from tailrace.log.base import Entry, Listener, NewListener
from tailrace.log.redis_link import PAUSE_S, Link, translated

QUIET_S = 5.0  # silence after which the connection is asked for a sign of life
CATCH_UP_EVENTS = 1000  # read at once for a watch that is behind
CATCH_UP_LOGS = 200  # likewise, of new logs
CATCH_UP_AT_ONCE = 64  # watched logs that are read together
SUBSCRIBE_AT_ONCE = 500  # channels in one command

W = TypeVar("W", "_Watch", "_NewWatch")

_logger = logging.getLogger("tailrace")


@dataclass(frozen=True, slots=True)
class Page:
    """Events as they were read, with the head and the epoch of that moment."""

    head: int
    epoch: str
    records: Sequence[Record]


@dataclass(frozen=True, slots=True)
class Listed:
    """New logs as they were read, up to which number, and the newest number of the store."""

    newest: int
    upto: int
    entries: Sequence[Entry]


ReadPage = Callable[[str, int, int], Awaitable[Page | None]]
Renew = Callable[[str, int, str], Awaitable[None]]
ReadNew = Callable[[str, int, int], Awaitable[Listed]]


@dataclass(slots=True, eq=False)
class _Watch:
    position: int
    listener: Listener
    lost: Callable[[], None]


@dataclass(slots=True, eq=False)
class _NewWatch:
    position: int
    listener: NewListener


class _Feed(Protocol):
    """What one channel tells of."""

    def hear(self, data: bytes) -> bool:
        """Take a message; returns whether something has to be read."""
        ...

    async def catch_up(self) -> bool:
        """Read what follows; returns whether there is more. Raises StoreError."""
        ...


@dataclass(slots=True, eq=False)
class _Log:
    execution_id: str
    read: ReadPage
    renew: Renew
    watches: list[_Watch] = field(default_factory=list)
    epoch: str | None = None

    def hear(self, data: bytes) -> bool:
        head, _, body = data.partition(b"\n")
        epoch, first, last = head.decode().split(" ")
        if epoch != self.epoch:  # of another life, or nothing was read yet: a read finds out
            return True
        return self._give(int(first) - 1, _records(int(first), int(last), body))

    async def catch_up(self) -> bool:
        if not self.watches:
            return False
        positions = [watch.position for watch in self.watches]
        after, furthest = min(positions), max(positions)  # before the read: messages move them on
        page = await self.read(self.execution_id, after, CATCH_UP_EVENTS)
        if page is None:
            # Not there: not yet, if nobody has had anything of it.
            if self.epoch is not None or furthest:
                self._lose()
            return False
        if furthest > page.head:
            await self.renew(self.execution_id, furthest, page.epoch)
            self._lose()
            return False
        if self.epoch not in (None, page.epoch):
            self._lose()
        self.epoch = page.epoch
        self._skip(after, page.records)
        self._give(after, page.records)
        return bool(page.records) and page.records[-1].seq < page.head

    def _give(self, after: int, records: Sequence[Record]) -> bool:
        """Hand each watch what it has not had; returns whether one is further behind."""
        behind = not records
        for watch in tuple(self.watches):
            if watch.position < after:
                behind = True
            elif records and watch.position < records[-1].seq:
                if watch.position == after:
                    new = records
                else:
                    new = [record for record in records if record.seq > watch.position]
                watch.position = records[-1].seq
                watch.listener(new)
        return behind

    def _skip(self, after: int, records: Sequence[Record]) -> None:
        """End the watches that a trim has overtaken: who asks again is told of the gap."""
        first = records[0].seq if records else 0
        for watch in tuple(self.watches):
            if after <= watch.position < first - 1:
                self.watches.remove(watch)
                watch.lost()

    def _lose(self) -> None:
        """End the watches: what they were given is not in the log any more."""
        lost, self.watches[:], self.epoch = tuple(self.watches), [], None
        for watch in lost:
            watch.lost()


def _records(first: int, last: int, body: bytes) -> list[Record]:
    """The events of a message; none if it does not bring them."""
    parts = body.split(b"\n")
    if len(parts) != 2 * (last - first + 1):
        return []
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [Record(seq, type_.decode(), tail) for seq, (type_, tail) in enumerate(pairs, first)]


@dataclass(slots=True, eq=False)
class _New:
    workspace: str
    read: ReadNew
    watches: list[_NewWatch] = field(default_factory=list)

    def hear(self, data: bytes) -> bool:
        # Never from the message: it has a number, and the watch wants the entry.
        return True

    async def catch_up(self) -> bool:
        if not self.watches:
            return False
        after = min(watch.position for watch in self.watches)
        listed = await self.read(self.workspace, after, CATCH_UP_LOGS)
        if listed.newest < after:
            # The store was emptied, and counts from the beginning.
            for watch in self.watches:
                watch.position = 0
            return listed.newest > 0
        for watch in tuple(self.watches):
            new = [entry for entry in listed.entries if entry.number > watch.position]
            # One that joined meanwhile, from further back, has a read of its own coming.
            if watch.position >= after:
                watch.position = max(watch.position, listed.upto)
                if new:
                    watch.listener(new)
        return listed.upto > after and listed.upto < listed.newest


class Watches:
    """All watches of a process. `run` serves them until it is cancelled."""

    def __init__(self, link: Link, read: ReadPage, renew: Renew, read_new: ReadNew) -> None:
        self._link = link
        self._read, self._renew, self._read_new = read, renew, read_new
        self._feeds: dict[str, _Feed] = {}
        self._asked: set[str] = set()  # channels that this connection was told to subscribe to
        self._changed: dict[str, None] = {}  # channels to look at again
        self._behind: dict[str, None] = {}  # channels to read for
        self._to_ask, self._to_read = asyncio.Event(), asyncio.Event()
        self._heard_at = 0.0

    def watch(
        self, execution_id: str, after: int, listener: Listener, lost: Callable[[], None]
    ) -> Callable[[], None]:
        """Watch a log."""
        channel = self._link.keys.told(execution_id)
        feed = self._feeds.get(channel)
        if not isinstance(feed, _Log):
            feed = self._feeds[channel] = _Log(execution_id, self._read, self._renew)
        return self._join(channel, feed, feed.watches, _Watch(after, listener, lost))

    def watch_new(self, workspace: str, after: int, listener: NewListener) -> Callable[[], None]:
        """Watch for new logs."""
        channel = self._link.keys.told_new(workspace)
        feed = self._feeds.get(channel)
        if not isinstance(feed, _New):
            feed = self._feeds[channel] = _New(workspace, self._read_new)
        return self._join(channel, feed, feed.watches, _NewWatch(after, listener))

    async def pass_by(self, execution_id: str, floor: int) -> None:
        """Let the watches of a log get to where a trim will not overtake them."""
        feed = self._feeds.get(self._link.keys.told(execution_id))
        while isinstance(feed, _Log) and any(w.position < floor - 1 for w in feed.watches):
            if not await feed.catch_up():
                return

    def _join(self, channel: str, feed: _Feed, watches: list[W], watch: W) -> Callable[[], None]:
        watches.append(watch)
        self._look_at(channel)

        def stop() -> None:
            if watch in watches:
                watches.remove(watch)
            if not watches and self._feeds.get(channel) is feed:
                del self._feeds[channel]
                self._look_at(channel)

        return stop

    def _look_at(self, channel: str) -> None:
        self._changed[channel] = None
        self._to_ask.set()

    def _read_for(self, channel: str) -> None:
        if channel in self._feeds:
            self._behind[channel] = None
            self._to_read.set()

    async def run(self) -> None:
        """Connect while anybody watches, and again when the connection is lost."""
        pause = PAUSE_S[0]
        while True:
            if not self._feeds:
                self._to_ask.clear()
                await self._to_ask.wait()
            began = asyncio.get_running_loop().time()
            try:
                await self._connected()
            except* (exceptions.RedisError, OSError, StoreError) as group:
                first = _first(group)
                _logger.warning("watching again: %s", translated(first, self._link.where))
            except* Exception:
                # A watch that stands still for ever is worse than one that begins again.
                _logger.exception("watching failed, and begins again")
            lasted = asyncio.get_running_loop().time() - began
            pause = PAUSE_S[0] if lasted > QUIET_S else min(pause * 2, PAUSE_S[1])
            await asyncio.sleep(pause)

    async def _connected(self) -> None:
        """One connection, from its first subscription to its loss."""
        connection = await self._link.subscriber()
        self._heard_at = asyncio.get_running_loop().time()
        self._asked.clear()
        self._behind.clear()
        self._changed = dict.fromkeys(self._feeds)
        self._to_ask.set()
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._ask, connection)
                tasks.start_soon(self._hear, connection)
                tasks.start_soon(self._catch_up)
        finally:
            await connection.disconnect(nowait=True)

    async def _ask(self, connection: AbstractConnection) -> None:
        """Subscribe to what is watched, at once, whatever the other tasks wait for."""
        while True:
            changed, self._changed = self._changed, {}
            self._to_ask.clear()
            wanted = [channel for channel in changed if channel in self._feeds]
            for channel in wanted:
                # No confirmation will come for it: it is subscribed to, for another watch.
                if channel in self._asked:
                    self._read_for(channel)
            left = [channel for channel in changed if channel not in self._feeds]
            await self._send(connection, "SUBSCRIBE", [c for c in wanted if c not in self._asked])
            await self._send(connection, "UNSUBSCRIBE", [c for c in left if c in self._asked])
            self._asked.update(wanted)
            self._asked.difference_update(left)
            try:
                async with asyncio.timeout(QUIET_S):
                    await self._to_ask.wait()
            except TimeoutError:
                await self._prove(connection)

    async def _send(
        self, connection: AbstractConnection, command: str, channels: list[str]
    ) -> None:
        for at in range(0, len(channels), SUBSCRIBE_AT_ONCE):
            some = channels[at : at + SUBSCRIBE_AT_ONCE]
            await connection.send_command(command, *some, check_health=False)

    async def _prove(self, connection: AbstractConnection) -> None:
        """Ask for a sign of life: nobody says that a line was cut."""
        if asyncio.get_running_loop().time() - self._heard_at > 2 * QUIET_S:
            raise exceptions.TimeoutError("no sign of life")
        if self._asked:
            await connection.send_command("PING", check_health=False)
        if self._link.cluster:
            # Messages from other nodes are lost when the nodes lose each other.
            for channel in self._feeds:
                self._read_for(channel)

    async def _hear(self, connection: AbstractConnection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            said = await connection.read_response(disconnect_on_error=False)
            self._heard_at = loop.time()
            if said[0] == b"message":
                channel = said[1].decode()
                feed = self._feeds.get(channel)
                if feed is not None and feed.hear(said[2]):
                    self._read_for(channel)
            elif said[0] == b"subscribe":
                self._read_for(said[1].decode())

    async def _catch_up(self) -> None:
        """Read for those that are behind, some together, in turn."""
        while True:
            self._to_read.clear()
            some = list(self._behind)[:CATCH_UP_AT_ONCE]
            for channel in some:
                del self._behind[channel]
            async with anyio.create_task_group() as tasks:
                for channel in some:
                    tasks.start_soon(self._catch_up_one, channel)
            if not self._behind:
                await self._to_read.wait()

    async def _catch_up_one(self, channel: str) -> None:
        feed = self._feeds.get(channel)
        if feed is not None and await feed.catch_up():
            self._read_for(channel)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of the errors of a group: they have one cause."""
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
