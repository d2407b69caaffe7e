"""`GET /metrics`: the table of `tailrace.metrics`, filled in, for Prometheus.

The law of this file: it reads. Numbers are looked up when somebody asks, so that between two looks
nothing is spent on them; every name is from the table, and a registry of its own holds them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from tailrace import metrics
from tailrace.http.observe import Observer
from tailrace.metrics import Histogram, LogMeter, Metric, Tally
from tailrace.runtime import Runtime
from tailrace.version import __version__

Values = Mapping[tuple[str, ...], float]


class _Collected(Collector):
    """A runtime's numbers, as they are when they are asked for."""

    def __init__(self, runtime: Runtime, observer: Observer, tally: Tally, meter: LogMeter) -> None:
        self._runtime, self._observer = runtime, observer
        self._tally, self._meter = tally, meter

    def collect(self) -> Iterator[Family]:
        """Give every metric of the table."""
        values = self._values()
        histograms = self._histograms()
        for metric in metrics.CATALOG:
            if metric.kind == "histogram":
                yield _histogram(metric, histograms.get(metric, {}))
            else:
                made = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = made(metric.name, metric.help, labels=metric.labels)
                for labels, value in values.get(metric, {}).items():
                    family.add_metric(labels, value)
                yield family

    def _values(self) -> dict[Metric, Values]:
        hub, meter, retention = self._runtime.hub, self._meter, self._runtime.retention
        watchers, behind = hub.watched()
        told: dict[Metric, Values] = {
            metrics.BUILD: {(__version__,): 1},
            metrics.ACTIVE: self._observer.active,
            metrics.DELIVERIES: {(): hub.deliveries},
            metrics.DELIVERED: {(): hub.delivered_events},
            metrics.DELIVERED_BYTES: {(): hub.delivered_bytes},
            metrics.WATCHERS: {(): watchers},
            metrics.BEHIND: {(): behind},
            metrics.HOT_BYTES: {(): hub.hot_bytes},
            metrics.APPENDS: {(): meter.appends},
            metrics.APPENDED: {(): meter.events},
            metrics.APPENDED_BYTES: {(): meter.size},
            # Copies, because the store's thread counts on meanwhile.
            metrics.STARTED: {(kind,): count for kind, count in meter.started.copy().items()},
            metrics.ENDED: meter.ended.copy(),
            metrics.RUNNING: {(): self._runtime.running},
            metrics.REMOVED: retention.removed,
            metrics.TRIMMED: {(): retention.trimmed},
        }
        return {**self._tally.values, **told}

    def _histograms(self) -> dict[Metric, Mapping[tuple[str, ...], Histogram]]:
        lag = self._runtime.hub.lag
        found: dict[Metric, Mapping[tuple[str, ...], Histogram]] = dict(self._tally.histograms)
        found[metrics.COMMIT] = {(): self._meter.commits}
        return found | ({metrics.LAG: {(): lag}} if lag is not None else {})


def _histogram(metric: Metric, found: Mapping[tuple[str, ...], Histogram]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, histogram in found.items():
        family.add_metric(labels, list(_buckets(histogram)), histogram.total)
    return family


def _buckets(histogram: Histogram) -> Iterator[tuple[str, float] | tuple[str, float, Exemplar]]:
    """Prometheus counts up: each bucket has all that are below its bound."""
    below = 0
    bounds: Iterable[str] = (*map(str, histogram.bounds), "+Inf")
    for number, (bound, count) in enumerate(zip(bounds, histogram.counts, strict=True)):
        below += count
        seen = histogram.exemplars.get(number)
        if seen is None:
            yield bound, below
        else:
            yield bound, below, Exemplar({"trace_id": seen[0]}, seen[1])


def router(runtime: Runtime, observer: Observer, tally: Tally) -> APIRouter:
    """The route; from here on the runtime measures."""
    runtime.hub.lag = Histogram(metrics.LAG.buckets)
    meter = runtime.log.meter = LogMeter()
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(runtime, observer, tally, meter))
    api = APIRouter(tags=["server"])

    @api.get(
        "/metrics", summary="Metrics, in Prometheus' or OpenMetrics' text", response_class=Response
    )
    async def show(request: Request) -> Response:
        encode: Callable[[CollectorRegistry], bytes]
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": media_type})

    return api
