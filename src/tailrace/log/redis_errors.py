"""What the errors of a Redis server and of the way to it mean.

The law of this file: redis-py's exceptions leave the store only as ours, naming host and port and
never a password.
"""

from redis import exceptions

from tailrace.errors import (
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)

# How an error answer begins (redis.io/docs/reference/protocol-spec, src/server.c `shared`).
_ANSWERS: dict[str, type[StoreError]] = {
    "READONLY": StoreReadOnly,
    "MISCONF": StoreReadOnly,  # its disk failed: it takes no writes
    "OOM": StoreFull,
    "LOADING": StoreBusy,
    "BUSY": StoreBusy,
    "TRYAGAIN": StoreBusy,
    "CLUSTERDOWN": StoreBusy,
    "MASTERDOWN": StoreBusy,
    "NOREPLICAS": StoreBusy,
    "WRONGTYPE": StoreCorrupt,
    "NOAUTH": StoreUnavailable,
    "WRONGPASS": StoreUnavailable,
    "NOPERM": StoreUnavailable,
}
HINTS: dict[str, str] = {
    "READONLY": "This is a replica: name the primary, or wait until a failover is over.",
    "MISCONF": "The server cannot write its own file: its log says why.",
    "OOM": "Raise the server's maxmemory or remove executions: appends then work again at once.",
    "WRONGTYPE": "Another program uses the same keys: name a prefix of your own (?prefix=NAME).",
    "NOAUTH": "The server wants a password: redis://:PASSWORD@HOST:PORT.",
    "WRONGPASS": "The server does not take this user and password.",
    "NOPERM": "The server's ACL must allow this user the store's keys, channels and scripts.",
}
_TRUST_HINT = (
    "Name the authority that signed its certificate: rediss://…?ssl_ca_certs=FILE; the name or "
    "address in the URL must be one in the certificate."
)
_AWAY_HINT = (
    "Is the server running, and reachable from here? Nothing that was acknowledged is lost."
)


def translated(error: BaseException, where: str) -> StoreError:
    """Say a driver's exception as ours: the one place for Redis."""
    if isinstance(error, StoreError):
        return error
    text = str(error)
    word = text.split(" ", 1)[0]
    if isinstance(error, exceptions.BusyLoadingError):
        return StoreBusy(f"{where}: the server is loading its data")
    if isinstance(error, exceptions.AuthenticationError):
        return StoreUnavailable(f"{where}: wrong password", hint=HINTS["WRONGPASS"])
    if isinstance(error, exceptions.NoPermissionError):
        return StoreUnavailable(f"{where}: {text}", hint=HINTS["NOPERM"])
    if isinstance(error, exceptions.OutOfMemoryError):
        return StoreFull(f"{where}: out of memory", hint=HINTS["OOM"])
    if isinstance(error, exceptions.ReadOnlyError):
        return StoreReadOnly(f"{where}: read only", hint=HINTS["READONLY"])
    if isinstance(error, exceptions.ClusterDownError | exceptions.TryAgainError):
        return StoreBusy(f"{where}: {text}")
    if word in _ANSWERS:
        return _ANSWERS[word](f"{where}: {text}", hint=HINTS.get(word))
    if "CERTIFICATE_VERIFY_FAILED" in text:  # redis-py wraps it, with ssl's own text
        return StoreUnavailable(f"{where}: {text}", hint=_TRUST_HINT)
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
        return StoreUnavailable(f"{where}: {text or 'no answer'}", hint=_AWAY_HINT)
    if isinstance(error, exceptions.RedisClusterException):
        return StoreBusy(f"{where}: {text}")
    return StoreError(f"{where}: {text}")


def passes(error: BaseException) -> bool:
    """Whether it may be gone at the next try."""
    if isinstance(error, exceptions.AuthenticationError | exceptions.NoPermissionError):
        return False
    if isinstance(error, exceptions.ResponseError):
        # READONLY: a failover has made it a replica, and the address may lead elsewhere soon.
        return isinstance(translated(error, ""), StoreBusy | StoreReadOnly)
    return isinstance(
        error,
        exceptions.ConnectionError
        | exceptions.TimeoutError
        | exceptions.RedisClusterException
        | OSError,
    )
