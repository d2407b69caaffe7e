"""The log and the work queue that the settings name.

The law of this file: an adapter is imported only for a URL that names it, so that what it needs
beside Tailrace is missed only by who asks for it.
"""

from tailrace.errors import InvalidSetting
from tailrace.log.base import EventLog
from tailrace.settings import Settings, is_redis, shown, sqlite_path
from tailrace.work.base import WorkQueue


def open_log(settings: Settings) -> EventLog:
    """Make the log that a store URL names. Raises InvalidSetting."""
    if settings.store in ("memory:", "memory://"):
        from tailrace.log.memory import MemoryLog

        return MemoryLog()
    if settings.store.startswith("sqlite:"):
        from tailrace.log.sqlite import SqliteLog

        return SqliteLog(sqlite_path(settings.store), durability=settings.durability)
    if is_redis(settings.store):
        try:
            from tailrace.log.redis import RedisLog
        except ModuleNotFoundError as error:
            raise InvalidSetting(
                f"store: {error.name} is not installed", hint="pip install 'tailrace[redis]'"
            ) from error
        return RedisLog(
            settings.store,
            patience_s=settings.redis_patience_s,
            replicas=settings.redis_wait_replicas,
            disk=settings.redis_wait_aof,
        )
    raise InvalidSetting(
        f"store: no store is called {shown(settings.store)!r}",
        hint="Use sqlite:///FILE, redis://HOST:PORT or memory:.",
    )


def open_queue(settings: Settings) -> WorkQueue | None:
    """Make the work queue that the settings name, if they name one. Raises InvalidSetting."""
    url = settings.store if settings.queue == "store" else settings.queue
    if not url:
        return None
    if not is_redis(url):
        raise InvalidSetting(
            f"queue: no work queue is called {shown(url)!r}",
            hint="Use redis://HOST:6379/0, or `store` where the store is Redis.",
        )
    try:
        from tailrace.work.saq import SaqQueue
    except ImportError as error:
        raise InvalidSetting(
            f"queue: {error.name} is not installed", hint="pip install 'tailrace[worker]'"
        ) from None
    return SaqQueue(url, patience_s=settings.lease_s)
