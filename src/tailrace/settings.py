"""Every knob, its unit, its default and why.

The law of this file: a setting exists once, here. Command-line flags (`--heartbeat-s`),
environment names (`TAILRACE_HEARTBEAT_S`) and docs/settings.md are made from this table, and
only the CLI reads the environment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from platformdirs import user_data_path
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tailrace.errors import InvalidSetting


def default_store() -> str:
    """The one SQLite file in the user's data folder, where all commands meet by default."""
    return f"sqlite:///{user_data_path('tailrace') / 'tailrace.db'}"


class Settings(BaseModel):
    """All settings of one process; immutable. Units are in the names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(
        default_factory=default_store,
        description="Where the log lives: `sqlite:///FILE`, `redis://:PASSWORD@HOST:PORT/DB` "
        "(`rediss:` with TLS; `?prefix=NAME` before its keys) or `memory:`.",
    )
    durability: Literal["os", "disk"] = Field(
        default="os",
        description="What an acknowledged append survives: `os` a killed process, `disk` also a "
        "power cut (one fsync for each group of appends).",
    )
    redis_patience_s: float = Field(
        default=15.0,
        ge=0,
        description="How long a Redis server that restarts, fails over or stands still is waited "
        "for before a call fails; a failover takes Sentinel and Cluster some 10 s.",
    )
    redis_wait_replicas: int = Field(
        default=0,
        ge=0,
        description="Replicas that must have an append before it is acknowledged (`WAIT`); with 0 "
        "a failover may lose the last ones, which is said to watchers.",
    )
    redis_wait_aof: bool = Field(
        default=False,
        description="Whether an append must be on the server's disk before it is acknowledged "
        "(`WAITAOF`, Redis 7.2 with `appendonly yes`).",
    )
    host: str = Field(default="127.0.0.1", description="The address to listen on.")
    port: int = Field(
        default=8787, ge=0, le=65535, description="The port to listen on; 0 takes a free one."
    )
    heartbeat_s: float = Field(
        default=15.0,
        gt=0,
        description="Silence on a stream after which a heartbeat is sent; under the 60 s at which "
        "common proxies cut an idle connection.",
    )
    lifetime_s: float = Field(
        default=1800.0,
        gt=0,
        description="The longest a stream stays open before the client is asked to resume, "
        "shortened at random to 80-100 % so that streams do not all end at once.",
    )
    retry_ms: int = Field(
        default=1000, ge=0, description="How long a client should wait before it reconnects."
    )
    drain_s: float = Field(
        default=10.0, gt=0, description="How long a shutdown waits for streams and executions."
    )
    lease_s: float = Field(
        default=15.0,
        gt=0,
        description="Silence after which a worker counts as dead and its executions as lost.",
    )
    page_events: int = Field(
        default=500, ge=1, le=10_000, description="The most events read from the store at once."
    )
    ring_events: int = Field(
        default=4096,
        ge=1,
        description="Events kept in memory for the watchers of an execution that are behind; one "
        "further behind reads the store.",
    )
    edge_buffer_items: int = Field(
        default=16, ge=0, description="Values a streaming node may be ahead of its consumer."
    )
    body_max_bytes: int = Field(default=1_048_576, ge=1024, description="The largest request body.")
    line_max_bytes: int = Field(
        default=65_536, ge=64, description="The longest log line; a longer one is cut and marked."
    )
    workload_timeout_s: float = Field(
        default=3600.0, gt=0, description="How long a workload started over HTTP may run."
    )
    workload_output_max_bytes: int = Field(
        default=104_857_600, ge=1, description="What a workload started over HTTP may write in all."
    )
    executions_max: int = Field(
        default=1000, ge=1, description="Executions that may run at once in one process."
    )


def load(values: Mapping[str, Any]) -> Settings:
    """Build settings from flags or environment strings.

    Raises InvalidSetting with the first setting that does not fit.
    """
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InvalidSetting(f"{name}: {first['msg']}") from error


def environment_name(field: str) -> str:
    """The environment variable that sets a field."""
    return f"TAILRACE_{field.upper()}"


def from_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The settings named in an environment, as strings."""
    names = {environment_name(field): field for field in Settings.model_fields}
    return {names[key]: value for key, value in environ.items() if key in names}


def shown(url: str) -> str:
    """A store's URL as it may be printed: without its password and query."""
    scheme, separator, rest = url.partition("://")
    if not scheme.startswith("redis") or not separator:
        return url
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def sqlite_path(url: str) -> Path:
    """The file of a `sqlite:///FILE` URL; relative paths and `~` are allowed.

    Raises InvalidSetting for any other URL.
    """
    scheme, separator, path = url.partition(":///")
    if scheme != "sqlite" or not separator or not path:
        raise InvalidSetting(
            f"store: {url!r} is not a store URL", hint="Use sqlite:///FILE or memory:."
        )
    return Path(path).expanduser()
