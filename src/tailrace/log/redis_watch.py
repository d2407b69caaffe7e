"""The watches of a process on a Redis store: one connection that is told, for all of them.

The law of this file: a confirmed subscription means "read what follows", a message means "this
follows", and a message that does not follow means "read". A watch moves only forward over what
it was given, so whatever is lost between two connections is read, and what comes twice is dropped.

What a message means to the watches of its channel is in redis_feeds.py.

Why messages and not XREAD BLOCK: that takes streams of one slot only in a Cluster, and each of
its calls names all streams again, which with a thousand of them costs more than what it brings.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import anyio
from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from tailrace.errors import StoreError
from tailrace.log.base import Listener, NewListener
from tailrace.log.redis_errors import translated
from tailrace.log.redis_feeds import (
    Fed,
    Feed,
    LogFeed,
    NewFeed,
    NewWatch,
    ReadNew,
    ReadPage,
    Renew,
    Sent,
    Watch,
)
from tailrace.log.redis_link import PAUSE_S, Link

QUIET_S = 5.0  # silence after which the connection is asked for a sign of life
CATCH_UP_AT_ONCE = 64  # watched logs that are read together
SUBSCRIBE_AT_ONCE = 500  # channels in one command

W = TypeVar("W", Watch, NewWatch)

_logger = logging.getLogger("tailrace")


class Watches:
    """All watches of a process. `run` serves them until it is cancelled."""

    def __init__(
        self, link: Link, read: ReadPage, renew: Renew, read_new: ReadNew, sent: Sent, fed: Fed
    ) -> None:
        self._link = link
        self._read, self._renew, self._read_new = read, renew, read_new
        self._sent, self._fed = sent, fed
        self._feeds: dict[str, Feed] = {}
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
        if not isinstance(feed, LogFeed):
            feed = self._feeds[channel] = LogFeed(
                execution_id, self._read, self._renew, self._sent, self._fed
            )
        return self._join(channel, feed, feed.watches, Watch(after, listener, lost))

    def watch_new(self, workspace: str, after: int, listener: NewListener) -> Callable[[], None]:
        """Watch for new logs."""
        channel = self._link.keys.told_new(workspace)
        feed = self._feeds.get(channel)
        if not isinstance(feed, NewFeed):
            feed = self._feeds[channel] = NewFeed(workspace, self._read_new)
        return self._join(channel, feed, feed.watches, NewWatch(after, listener))

    async def pass_by(self, execution_id: str, floor: int) -> None:
        """Let the watches of a log get to where a trim will not overtake them."""
        feed = self._feeds.get(self._link.keys.told(execution_id))
        while isinstance(feed, LogFeed) and any(w.position < floor - 1 for w in feed.watches):
            if not await feed.catch_up():
                return

    def _join(self, channel: str, feed: Feed, watches: list[W], watch: W) -> Callable[[], None]:
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
        loop = asyncio.get_running_loop()
        prove_at = loop.time() + QUIET_S
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
            with suppress(TimeoutError):
                async with asyncio.timeout_at(prove_at):
                    await self._to_ask.wait()
            # Also where there is always something to ask for: that says nothing of who answers.
            if loop.time() >= prove_at:
                await self._prove(connection)
                prove_at = loop.time() + QUIET_S

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
