"""Where a Redis store is: what its URL says, and how connections find it.

The law of this file: what is printed of a URL has no password in it.

    redis://USER:PASSWORD@HOST:PORT/DB                            a server, or any node of a Cluster
    redis+sentinel://USER:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB    the primary that Sentinel names
    rediss:// and rediss+sentinel://                              with TLS

`?prefix=NAME` is what the keys begin with. USER and PASSWORD are the server's; those of the
Sentinels are `?sentinel_username=…&sentinel_password=…`.
"""

from inspect import signature
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from redis.asyncio import Redis
from redis.asyncio.cluster import RedisCluster
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff

from tailrace.errors import InvalidSetting

CONNECT_S = 5.0  # for a connection to be there
SENTINEL_S = 1.0  # for a Sentinel to answer: there are others
SENTINEL_PORT = 26379

# redis-py would look its own version up in the file system for each connection, to tell the server.
_ANONYMOUS: dict[str, Any] = (
    {"driver_info": None}
    if "driver_info" in signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}  # before redis-py 7.2
)


class Address:
    """What a store's URL says. Raises InvalidSetting."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        self.prefix = query.pop("prefix", "tailrace")
        if not self.prefix or set(self.prefix) & set("{}"):
            raise InvalidSetting("store: a prefix of keys is a name without braces")
        credentials, at, hosts = parts.netloc.rpartition("@")
        self._service = ""
        if parts.scheme.endswith("+sentinel"):
            self._asks = {
                name: query.pop(f"sentinel_{name}", None) for name in ("username", "password")
            }
            self._sentinels = _hosts(hosts)
            parts = self._named(parts, f"{credentials}{at}")
            self.where = f"{url.partition('://')[0]}://{hosts}/{self._service}"
        self._url = parts._replace(query=urlencode(query)).geturl()
        try:
            self._kwargs = dict(ConnectionPool.from_url(self._url).connection_kwargs)
            if not self._service:
                host, port = parts.hostname or "localhost", parts.port or 6379
                self.where = f"{parts.scheme}://{host}:{port}"
        except ValueError as error:
            raise InvalidSetting(f"store: {error}") from error
        database = parts.path.strip("/")
        if database and not database.isdecimal():  # which redis-py would take for 0
            raise InvalidSetting(f"store: {database!r} is no number of a database")
        self.database = int(self._kwargs.get("db", 0))

    def _named(self, parts: SplitResult, credentials: str) -> SplitResult:
        """Note the name that Sentinel knows; what is left is the URL of a server."""
        self._service, _, database = parts.path.strip("/").partition("/")
        if not self._service:
            raise InvalidSetting(
                "store: Sentinel is asked for a name", hint="redis+sentinel://HOST:26379/NAME/0"
            )
        scheme = parts.scheme.removesuffix("+sentinel")
        return parts._replace(scheme=scheme, netloc=f"{credentials}primary", path=f"/{database}")

    def client(self) -> Redis:
        """A client of the server, or of the primary; not connected yet."""
        options = _options()
        if not self._service:
            return Redis.from_url(self._url, **options)
        given = {k: v for k, v in self._kwargs.items() if k not in ("host", "port")} | options
        given["ssl"] = self._url.startswith("rediss:")
        asking = {
            "socket_connect_timeout": SENTINEL_S,
            "socket_timeout": SENTINEL_S,
            "retry": Retry(NoBackoff(), 0),
            **_ANONYMOUS,
            **{name: value for name, value in self._asks.items() if value},
        }
        sentinels = Sentinel(self._sentinels, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
        pool = SentinelConnectionPool(self._service, sentinels, **given)  # type: ignore[no-untyped-call]
        return Redis.from_pool(pool)

    def cluster(self) -> RedisCluster:
        """A client of the Cluster; not connected yet."""
        return RedisCluster.from_url(self._url, **_options())

    def connection(self, client: Redis | RedisCluster, **where: Any) -> AbstractConnection:
        """A connection of its own, not connected yet, as the client's are."""
        if isinstance(client, Redis):
            pool = client.connection_pool
        else:
            pool = ConnectionPool.from_url(self._url, **_options())
        connection: AbstractConnection = pool.connection_class(**pool.connection_kwargs | where)
        return connection


async def close(client: Redis | RedisCluster) -> None:
    """Close a client, and what it asked for its way."""
    await client.aclose()
    pool = getattr(client, "connection_pool", None)
    if isinstance(pool, SentinelConnectionPool):
        for sentinel in pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _options() -> dict[str, Any]:
    # No retries and no time limits of redis-py's own: both are in Link, once for all commands.
    return {
        "retry": Retry(NoBackoff(), 0),
        "socket_connect_timeout": CONNECT_S,
        "socket_timeout": None,
        "protocol": 2,
        "client_name": "tailrace",
        **_ANONYMOUS,
    }


def _hosts(text: str) -> list[tuple[str, int]]:
    """`HOST:PORT,HOST` as pairs."""
    found = []
    for host in text.split(","):
        try:
            parts = urlsplit(f"//{host}")
            found.append((parts.hostname or "localhost", parts.port or SENTINEL_PORT))
        except ValueError as error:
            raise InvalidSetting(f"store: {error}") from error
    return found
