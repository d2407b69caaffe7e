"""What is measured: one table of metrics, and the plain numbers behind it.

The law of this file: a metric exists once, in `CATALOG`. What `/metrics` shows, docs/metrics.md and
the check of dashboards and alert rules are made from it. Labels have few values, all known before:
never an execution's id, never a path, a workspace only where a setting asks for it.

Where much happens nothing is called: the hub, the log and retention count in integers of their
own, and these are read when somebody asks (tailrace.http.prometheus). `Metrics` is for what happens
once a request.
"""

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Protocol

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
FIRST_EVENT = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
STREAM = (1.0, 10.0, 60.0, 300.0, 900.0, 1800.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One row of the table. `buckets` only of a histogram; its upper bounds, in seconds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    def samples(self) -> tuple[str, ...]:
        """The names that Prometheus has of it, for queries."""
        if self.kind == "histogram":
            return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))
        return (self.name,)


BUILD = Metric("tailrace_build_info", "gauge", "1; which version runs.", ("version",))
ACTIVE = Metric(
    "tailrace_streams_active", "gauge", "Streams that are open now.", ("view", "workspace")
)
CONNECTS = Metric(
    "tailrace_stream_connects_total",
    "counter",
    "Requests for a stream. The outcome is `open`, `complete` (204: nothing is left to tell) or "
    "an error's code.",
    ("view", "workspace", "status", "outcome"),
)
RESUMES = Metric(
    "tailrace_stream_resumes_total",
    "counter",
    "Streams that named a position: `recovered` without a hole, `complete`, or with a gap that "
    "was said: `gap_retention`, `gap_lost`.",
    ("outcome",),
)
ENDS = Metric(
    "tailrace_stream_ends_total",
    "counter",
    "Streams that ended, and why: `ended` (the execution did), `removed`, `caught_up` "
    "(follow=false), `lifetime`, `shutdown`, `gone` (the client left), `error` (cut by a failure "
    "here); others as in stream.closing.",
    ("view", "workspace", "reason"),
)
STREAM_SECONDS = Metric(
    "tailrace_stream_seconds", "histogram", "How long streams were open.", ("view",), STREAM
)
FIRST = Metric(
    "tailrace_time_to_first_event_seconds",
    "histogram",
    "From a request for a stream to its first event, where the log already had one for it.",
    (),
    FIRST_EVENT,
)
LAG = Metric(
    "tailrace_delivery_lag_seconds",
    "histogram",
    "From handing events to the store to having written them to every watcher that keeps up; of "
    "another process's events, from the last look at the store without them.",
    (),
    SECONDS,
)
DELIVERIES = Metric(
    "tailrace_deliveries_total", "counter", "Batches of events given to watchers: writes."
)
DELIVERED = Metric("tailrace_delivered_events_total", "counter", "Events given to watchers.")
DELIVERED_BYTES = Metric(
    "tailrace_delivered_bytes_total", "counter", "Their bytes, without what frames them."
)
WATCHERS = Metric(
    "tailrace_watchers", "gauge", "Positions in logs that are watched, in-process ones included."
)
BEHIND = Metric(
    "tailrace_watchers_behind", "gauge", "Those of them that have not been given the newest event."
)
HOT_BYTES = Metric(
    "tailrace_hot_bytes", "gauge", "Events held in memory for watchers that are behind."
)
APPENDS = Metric("tailrace_appends_total", "counter", "Batches that this process appended.")
APPENDED = Metric("tailrace_appended_events_total", "counter", "Their events.")
APPENDED_BYTES = Metric("tailrace_appended_bytes_total", "counter", "The bytes of these.")
COMMIT = Metric(
    "tailrace_commit_seconds",
    "histogram",
    "How long a commit of the store took; appends that come together share one.",
    (),
    SECONDS,
)
STARTED = Metric(
    "tailrace_executions_started_total", "counter", "Executions that were begun here.", ("kind",)
)
ENDED = Metric(
    "tailrace_executions_ended_total",
    "counter",
    "Executions whose end was written here, by status.",
    ("kind", "status"),
)
RUNNING = Metric("tailrace_executions_running", "gauge", "Executions that run in this process.")
REMOVED = Metric(
    "tailrace_executions_removed_total",
    "counter",
    "Executions that retention removed: by `age`, `count`, `bytes`, or as `ephemeral`.",
    ("kind", "cause"),
)
TRIMMED = Metric(
    "tailrace_events_trimmed_total",
    "counter",
    "Events that retention took from running executions.",
)
REQUESTS = Metric(
    "tailrace_http_requests_total",
    "counter",
    "Requests that were answered, streams apart.",
    ("method", "route", "status"),
)
LIMITS = Metric(
    "tailrace_limit_hits_total",
    "counter",
    "Requests that a limit refused, by the error's code (413, 429, and 503 `overloaded`).",
    ("code",),
)
REJECTS = Metric(
    "tailrace_ingest_rejects_total",
    "counter",
    "Reports of outside engines that were refused, by the error's code.",
    ("code",),
)

QUEUED = Metric(
    "tailrace_queue_jobs",
    "gauge",
    "Jobs that wait in a queue that this worker serves, when it last looked (each third of "
    "`lease_s`).",
    ("queue",),
)
JOBS = Metric(
    "tailrace_jobs_total",
    "counter",
    "Jobs that this worker is through with: `done`, or given `back` to the queue.",
    ("outcome",),
)
CATALOG = (
    *(BUILD, ACTIVE, CONNECTS, RESUMES, ENDS, STREAM_SECONDS, FIRST, LAG),
    *(DELIVERIES, DELIVERED, DELIVERED_BYTES, WATCHERS, BEHIND, HOT_BYTES),
    *(APPENDS, APPENDED, APPENDED_BYTES, COMMIT),
    *(STARTED, ENDED, RUNNING, REMOVED, TRIMMED, REQUESTS, LIMITS, REJECTS, QUEUED, JOBS),
)


class Histogram:
    """How many observations fell below each bound. One thread observes."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self.exemplars: dict[int, tuple[str, float]] = {}  # bucket → (trace id, value)

    def observe(self, value: float, trace_id: str | None = None) -> None:
        """Count one value."""
        bucket = bisect_left(self.bounds, value)
        self.counts[bucket] += 1
        self.total += value
        if trace_id is not None:
            self.exemplars[bucket] = (trace_id, value)


@dataclass(slots=True)
class LogMeter:
    """What a store counts while it has one; a store's writer is the only one who writes here."""

    appends: int = 0
    events: int = 0
    size: int = 0
    commits: Histogram = field(default_factory=lambda: Histogram(COMMIT.buckets))
    started: Counter[str] = field(default_factory=Counter)  # by kind
    ended: Counter[tuple[str, ...]] = field(default_factory=Counter)  # by kind and status


class Metrics(Protocol):
    """Where the parts of a server tell what happened. Label values in the order of the table."""

    def count(self, metric: Metric, *labels: str) -> None:
        """Count one."""
        ...

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Note what a gauge shows now."""
        ...

    def observe(self, metric: Metric, value: float, *labels: str, trace_id: str | None) -> None:
        """Note one value of a histogram."""
        ...


class NoMetrics:
    """Nobody asked."""

    def count(self, metric: Metric, *labels: str) -> None:
        """Do nothing."""

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Do nothing."""

    def observe(self, metric: Metric, value: float, *labels: str, trace_id: str | None) -> None:
        """Do nothing."""


class Tally:
    """Metrics in memory. Used from one thread."""

    def __init__(self) -> None:
        self.values: dict[Metric, dict[tuple[str, ...], float]] = {}
        self.histograms: dict[Metric, dict[tuple[str, ...], Histogram]] = {}

    def count(self, metric: Metric, *labels: str) -> None:
        """Count one."""
        of = self.values.setdefault(metric, {})
        of[labels] = of.get(labels, 0) + 1

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """Note what a gauge shows now."""
        self.values.setdefault(metric, {})[labels] = value

    def observe(self, metric: Metric, value: float, *labels: str, trace_id: str | None) -> None:
        """Note one value."""
        of = self.histograms.setdefault(metric, {})
        of.setdefault(labels, Histogram(metric.buckets)).observe(value, trace_id)
