"""The way to a Redis server or Cluster: round trips.

The law of this file: whatever is sent here may be sent twice. So when the server restarts, fails
over or stands still, it is sent again until an answer comes or `patience_s` is over.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hiredis
from redis import exceptions
from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection

from tailrace.errors import InvalidSetting, StoreClosed, StoreReadOnly, StoreTooOld
from tailrace.log.redis_address import CONNECT_S, Address, close
from tailrace.log.redis_errors import HINTS, passes, translated
from tailrace.log.redis_scripts import Keys, Script
from tailrace.log.redis_time import ServerTime

ANSWER_S = 5.0  # for a round trip: a server that needs longer stands still
PAUSE_S = (0.05, 1.0)  # between tries: the first pause, and the longest
OLDEST = (7, 0)  # XTRIM and scripts as we use them; the oldest that the tests run on
OLDEST_WITH_WAITAOF = (7, 2)

_logger = logging.getLogger("tailrace")


@dataclass(frozen=True, slots=True)
class Command:
    """What is sent: a command, or a script with its keys."""

    name: str | Script
    arguments: Sequence[Any]
    keys: Sequence[str] = ()

    def wire(self, *, whole: bool = False) -> tuple[Any, ...]:
        """Return it as it is sent; `whole`: with a script's text."""
        if isinstance(self.name, str):
            return (self.name, *self.arguments)
        how = ("EVAL", self.name.source) if whole else ("EVALSHA", self.name.digest)
        return (*how, len(self.keys), *self.keys, *self.arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assurance:
    """What an acknowledged write has to have reached beside the server's memory."""

    replicas: int = 0
    disk: bool = False


class Link:
    """A client of one server, or of a Cluster: which of them, the server says itself."""

    def __init__(self, url: str, *, patience_s: float, assurance: Assurance) -> None:
        self._address = Address(url)
        self.where = self._address.where
        self.keys = Keys(self._address.prefix, self._address.database)
        self.time = ServerTime()
        self.cluster = False
        self._patience_s, self._assurance = patience_s, assurance
        self._client: Redis | RedisCluster | None = None
        self._subscribers = 0

    async def open(self) -> None:
        """Look what is there. Raises StoreError."""
        client: Redis | RedisCluster = self._address.client()
        try:
            async with asyncio.timeout(CONNECT_S + ANSWER_S):
                server = await client.info("server")
                cluster = await client.info("cluster")
                memory = await client.info("memory")
                replication = await client.info("replication")
                asked = self.time.now()
                self.time.heard(asked, *await client.time())
            self._check(str(server["redis_version"]), str(memory.get("maxmemory_policy", "")))
            self.cluster = bool(cluster.get("cluster_enabled"))
            if replication.get("role") == "slave" and not self.cluster:
                raise StoreReadOnly(f"{self.where} is a replica", hint=HINTS["READONLY"])
            if self.cluster and (self._assurance.replicas or self._assurance.disk):
                raise InvalidSetting(
                    "redis_wait_replicas and redis_wait_aof are for a single server",
                    hint="In a Cluster, set min-replicas-to-write on the servers.",
                )
            if self.cluster:
                await close(client)
                client = self._address.cluster()
                await client.initialize()
        except (exceptions.RedisError, OSError) as error:
            await close(client)
            raise translated(error, self.where) from error
        except BaseException:
            await close(client)
            raise
        self._client = client

    def _check(self, version: str, policy: str) -> None:
        number = tuple(int(part) for part in version.split(".")[:2])
        if number < OLDEST:
            raise StoreTooOld(f"{self.where} is Redis {version}; 7.0 or newer is needed")
        if self._assurance.disk and number < OLDEST_WITH_WAITAOF:
            raise StoreTooOld(f"{self.where} is Redis {version}; redis_wait_aof needs 7.2")
        if policy.startswith("allkeys"):
            _logger.warning(
                "%s removes any key when its memory is full (maxmemory-policy %s): executions "
                "will be lost then; noeviction refuses new events instead",
                self.where,
                policy,
            )

    async def aclose(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            await close(client)

    async def subscriber(self) -> AbstractConnection:
        """Return a connection of its own for messages. Raises redis-py's errors."""
        client = self._client
        if client is None:
            raise StoreClosed
        where = {}
        if isinstance(client, RedisCluster):
            # Messages reach all nodes, so any will do; the next try takes another.
            nodes = client.get_nodes()
            self._subscribers += 1
            node = nodes[self._subscribers % len(nodes)]
            where = {"host": node.host, "port": node.port}
        connection = self._address.connection(client, **where)
        async with asyncio.timeout(CONNECT_S):
            await connection.connect()  # type: ignore[no-untyped-call]
        return connection

    async def run(self, commands: Sequence[Command], *, assured: bool = False) -> list[Any]:
        """Send commands together and return their answers, a refusal among them as an exception.

        Raises StoreError where there is no answer before the patience is over.
        """
        loop = asyncio.get_running_loop()
        deadline, pause = loop.time() + self._patience_s, PAUSE_S[0]
        answers: dict[int, Any] = {}
        whole = False
        while True:
            left = [i for i in range(len(commands)) if i not in answers]
            try:
                got = await self._send([commands[i] for i in left], whole, assured)
            except (exceptions.RedisError, OSError) as error:
                failed: Exception | None = error
            else:
                failed = self._take(dict(zip(left, got, strict=False)), answers)
                if assured and failed is None and len(answers) == len(commands):
                    failed = self._shortfall(got)
                    if failed is not None:
                        answers.clear()  # all again: it is for all that was written
            if failed is None and len(answers) == len(commands):
                return [answers[i] for i in range(len(commands))]
            if failed is None and not whole:
                whole = True  # the server does not know a script: it is sent the text
                continue
            failed = failed or exceptions.NoScriptError("scripts are forgotten at once")
            if not passes(failed) or loop.time() >= deadline:
                raise translated(failed, self.where) from failed
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_S[1])
            await self._look_again(failed)

    def _take(self, got: Mapping[int, Any], answers: dict[int, Any]) -> Exception | None:
        """Note what was answered for good; returns why another try may answer the rest."""
        failed: Exception | None = None
        for i, answer in got.items():
            if not isinstance(answer, Exception):
                answers[i] = answer
            elif passes(answer):
                failed = answer
            elif not isinstance(answer, exceptions.NoScriptError):
                answers[i] = translated(answer, self.where)
        return failed

    async def _look_again(self, failed: Exception) -> None:
        if isinstance(failed, exceptions.ReadOnlyError) and isinstance(self._client, Redis):
            await self._client.connection_pool.disconnect()

    async def _send(self, commands: Sequence[Command], whole: bool, assured: bool) -> list[Any]:
        """One round trip; where there is an assurance, its answer is the last one."""
        client = self._client
        if client is None:
            raise StoreClosed
        wires = [command.wire(whole=whole) for command in commands]
        async with asyncio.timeout(ANSWER_S):
            if isinstance(client, Redis):
                if assured:
                    wires += self._assuring()
                return await _round_trip(client, wires)
            pipeline = client.pipeline(transaction=False)
            for wire in wires:
                pipeline.execute_command(*wire)
            answers: list[Any] = await pipeline.execute(raise_on_error=False)
            return answers

    def _assuring(self) -> list[tuple[Any, ...]]:
        """Ask to wait for copies, on the same connection: it is for what was written there."""
        wanted, wait_ms = self._assurance, round(ANSWER_S * 500)
        if wanted.disk:
            return [("WAITAOF", 1, wanted.replicas, wait_ms)]
        return [("WAIT", wanted.replicas, wait_ms)] if wanted.replicas else []

    def _shortfall(self, got: Sequence[Any]) -> Exception | None:
        """What is missing of the assurance, by the last answer."""
        wanted = self._assurance
        if not (wanted.disk or wanted.replicas):
            return None
        if isinstance(got[-1], Exception):
            return got[-1]
        local, copies = got[-1] if isinstance(got[-1], list) else (1, got[-1])
        if copies >= wanted.replicas and local >= int(wanted.disk):
            return None
        return exceptions.TimeoutError(f"written, but on {copies} of {wanted.replicas} replicas")


async def _round_trip(client: Redis, wires: Sequence[tuple[Any, ...]]) -> list[Any]:
    """What redis-py's pipeline does; its packing in Python would be half of an append's cost."""
    pool = client.connection_pool
    connection = await pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        packed = [hiredis.pack_command(wire) for wire in wires]
        await connection.send_packed_command(packed, check_health=False)
        answers: list[Any] = []
        for _ in wires:
            try:
                answers.append(await connection.read_response())
            except exceptions.ResponseError as error:
                answers.append(error)
        return answers
    finally:
        await pool.release(connection)
