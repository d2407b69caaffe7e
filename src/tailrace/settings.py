"""Every knob, its unit, its default and why.

The law of this file: a setting exists once, here. Command-line flags (`--heartbeat-s`),
environment names (`TAILRACE_HEARTBEAT_S`) and docs/settings.md are made from this table, and
only the CLI reads the environment.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from platformdirs import user_data_path
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from tailrace.errors import InvalidSetting


def default_store() -> str:
    """The one SQLite file in the user's data folder, where all commands meet by default."""
    return f"sqlite:///{user_data_path('tailrace') / 'tailrace.db'}"


_PART = r"(?:[a-z]+=)?(?:\d{1,15}(?:\.\d{1,6})?|none)"
# A number for all kinds of executions, then others for some kinds (tailrace.retention.limit_of).
PerKind = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if isinstance(value, int | float) else value),
    StringConstraints(pattern=rf"^(?:{_PART}(?:, ?{_PART})*)?$"),
]


class Settings(BaseModel):
    """All settings of one process; immutable. Units are in the names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: str = Field(
        default_factory=default_store,
        description="Where the log lives: `sqlite:///FILE`, `redis://:PASSWORD@HOST:PORT/DB` "
        "(`rediss:` with TLS; `redis+sentinel://:PASSWORD@HOST:PORT,HOST:PORT/NAME/DB`; "
        "`?prefix=NAME` before its keys) or `memory:`.",
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
    workers: int = Field(
        default=1,
        ge=1,
        le=256,
        description="Server processes on the port, of one machine; more than one needs Linux and a "
        "store that processes share (docs/scaling.md).",
    )
    workers_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="Where there are several: the first of them also listens on this port, the next "
        "on the one above, and so on, so that each can be asked for its `/metrics`; 0: none does.",
    )
    worker_port: int = Field(
        default=0,
        ge=0,
        le=65535,
        description="A port on which `tailrace worker` answers `/metrics`, `/healthz` and `/readyz`, "
        "at the address `host`, to whoever reaches it; 0: none.",
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
    ingest_lease_s: float = Field(
        default=60.0,
        gt=0,
        description="Silence after which an execution that an engine outside reports is lost, "
        "where the engine does not ask for another time.",
    )
    ingest_lease_max_s: float = Field(
        default=86_400.0, gt=0, description="The longest silence that an engine may ask for."
    )
    job_token_s: float = Field(
        default=604_800.0,
        gt=0,
        description="How long a job's token is good; it outlives the job, so that a last report "
        "whose answer was lost can be repeated.",
    )
    redact_keys: str = Field(
        default="",
        description="Names of keys whose values are secrets, with commas between, beside those that "
        "are known for it (docs/redaction.md).",
    )
    redact_env: str = Field(
        default="",
        description="Names of environment variables whose values are secrets, with commas between: "
        "they are replaced wherever they turn up. Read by the command line.",
    )
    queue: str = Field(
        default="",
        description="Where started executions wait for a worker (docs/scaling.md): "
        "`redis://HOST:6379/0`, or `store` for the store's own Redis. Empty: each runs in the "
        "process that started it.",
    )
    queue_max: int = Field(
        default=10_000,
        ge=0,
        description="Executions that may wait for a worker; one more is refused. 0: no limit.",
    )
    attempts_max: int = Field(
        default=3,
        ge=1,
        description="How many workers may try an execution, one after the death of another, before "
        "it is lost.",
    )
    concurrency: int = Field(
        default=10, ge=1, description="Executions that one worker runs at once."
    )
    queues: str = Field(
        default="default",
        description="The queues a worker serves, with commas between; a flow names its own "
        "(`@flow(queue=...)`).",
    )
    executions_max: int = Field(
        default=1000, ge=1, description="Executions that may run at once in one process."
    )
    metrics: bool = Field(
        default=True,
        description="Whether `/metrics` is there (docs/metrics.md); what is counted for it costs a "
        "few instructions for each commit and each wake-up.",
    )
    metrics_workspaces: bool = Field(
        default=False,
        description="Whether streams are counted by workspace too: a line in `/metrics` for each, "
        "up to 1,000; then `other`.",
    )
    access_log: bool = Field(
        default=False,
        description="Whether a line is logged for each request, of a stream at its end. Never the "
        "query nor a header: they may hold a ticket or a token.",
    )
    log_format: Literal["text", "json"] = Field(
        default="text",
        description="How the server logs to stderr: for people, or one JSON object a line.",
    )
    ephemeral_s: float = Field(
        default=300.0,
        ge=0,
        description="How long an execution that was started as ephemeral is kept after its end: "
        "time enough for a watcher whose connection was cut to come back.",
    )
    retention_age_s: PerKind = Field(
        default="",
        description="How long executions are kept after their end; `604800,workload=3600` says "
        "it by kind, `none` is no limit. Nothing is removed by default: how long a history is "
        "worth its disk is for its owner to say.",
    )
    retention_count: PerKind = Field(
        default="",
        description="The most executions of each kind that are kept after their end, the newest; "
        "by kind as above.",
    )
    retention_bytes: PerKind = Field(
        default="",
        description="The most bytes that executions of each kind hold after their end; the oldest "
        "go first; by kind as above.",
    )
    retention_running_bytes: PerKind = Field(
        default="",
        description="The most bytes of events that one running execution holds: its oldest go, and "
        "who asks for them is told of the gap; by kind as above. No limit by default: events are "
        "never dropped unasked.",
    )
    executions_per_workspace_max: int = Field(
        default=0,
        ge=0,
        description="Executions of one workspace that may run at once, in all processes of a "
        "store; 0: no limit, which suits a store that one team has to itself.",
    )
    streams_per_workspace_max: int | None = Field(
        default=None,
        ge=0,
        description="Streams of one workspace that may be open at once, in all processes of a "
        "store; 0: no limit. By default 5 for who comes with a credential, and no limit without "
        "access control, where one person has the server to themselves.",
    )
    streams_per_credential_max: int = Field(
        default=0,
        ge=0,
        description="Streams of one credential at once; 0: no limit, since the workspace's holds.",
    )
    streams_per_address_max: int = Field(
        default=0,
        ge=0,
        description="Streams from one IP address (of IPv6: one /64) at once; 0: no limit, since "
        "behind one address may be a whole company.",
    )
    streams_max: int = Field(
        default=0,
        ge=0,
        description="Streams at once in all processes of a store; 0: no limit but memory (about "
        "3 kB each) and the process's descriptors (one each; `ulimit -n`).",
    )
    event_max_bytes: int = Field(
        default=1_048_576,
        ge=65_536,
        le=1_048_576,
        description="The largest event, after large values were put aside (from 64 kB on); one "
        "event must not make every watcher's write a large one.",
    )
    batch_events_max: int = Field(
        default=1000,
        ge=1,
        le=10_000,
        description="Events in one reported batch: what one append holds in memory at once.",
    )
    events_per_execution_max: int = Field(
        default=1_000_000,
        ge=0,
        description="Events of one execution, about 250 MB of small ones; then a `warning` is "
        "written, and it fails (`too_many_events`). 0: no limit, for what runs for ever.",
    )
    ingest_events_per_s: float = Field(
        default=10_000.0,
        ge=0,
        description="Events a second that one credential may report to one process, a second's "
        "worth at once; 0: no limit. A third of what a SQLite file takes on a small machine.",
    )
    url_max_bytes: int = Field(
        default=8192, ge=256, description="The longest URL, as most proxies have it."
    )
    headers_max_bytes: int = Field(
        default=32_768, ge=1024, description="The largest request head, without its URL."
    )
    write_timeout_s: float = Field(
        default=60.0,
        gt=0,
        description="How long a client may take nothing of what waits for it before its connection "
        "is cut; it can resume. What nginx allows, too.",
    )
    auth: bool | None = Field(
        default=None,
        description="Whether everybody has to say who they are. Unset: if keys for JWTs or a hook "
        "are given; without, only this machine is served.",
    )
    jwt_keys: str | None = Field(
        default=None,
        description="What JWTs are signed with: the URL of a key set (JWKS), or a file with one or "
        "with a public key (PEM). A file, so that no key is on a command line.",
    )
    jwt_algorithms: str = Field(
        default="RS256,ES256,EdDSA",
        description="The algorithms that are accepted, whatever a token says; HS256 only if named.",
    )
    jwt_audience: str | None = Field(
        default=None, description="What a JWT's `aud` must name; needed where there are keys."
    )
    jwt_issuer: str | None = Field(
        default=None, description="What a JWT's `iss` must be; unset: anything."
    )
    jwt_leeway_s: float = Field(
        default=30.0, ge=0, description="How far the issuer's clock may be off."
    )
    jwt_cache_s: float = Field(
        default=300.0,
        gt=0,
        description="How long a key set is used before it is fetched again; an unknown key id "
        "fetches it earlier, at most every 10 s.",
    )
    ticket_s: float = Field(
        default=30.0, gt=0, description="How long a ticket is good for: for one connect, at once."
    )
    session_s: float = Field(
        default=43_200.0,
        gt=0,
        description="How long a browser's session lasts, but never longer than the credential it "
        "began with: half a day, so that it ends over night.",
    )
    cors_origins: str = Field(
        default="",
        description="The origins whose pages may use this server from a browser, with commas "
        "between: `https://app.example.org`. Exactly these; there is no wildcard.",
    )
    public_health: bool = Field(
        default=True,
        description="Whether `/healthz`, `/readyz` and the API's description need no credential.",
    )


LIMITS = (  # of what others may do to a server (docs/limits.md)
    "streams_per_workspace_max",
    "streams_per_credential_max",
    "streams_per_address_max",
    "streams_max",
    "executions_per_workspace_max",
    "event_max_bytes",
    "batch_events_max",
    "events_per_execution_max",
    "ingest_events_per_s",
    "url_max_bytes",
    "headers_max_bytes",
    "write_timeout_s",
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
        if first["type"] == "string_pattern_mismatch":
            hint = Settings.model_fields[name].description
            raise InvalidSetting(f"{name}: not {first['input']!r}", hint=hint) from error
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


def is_redis(url: str) -> bool:
    """Whether a URL names a Redis, or who knows one by name."""
    return url.startswith(("redis:", "rediss:", "redis+sentinel:", "rediss+sentinel:"))


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
