"""The Grafana dashboard, from a table of panels; docs/generate.py writes it down.

The law of this file: a panel is a row. The names in its queries are those of `tailrace.metrics`,
which tests/docs/test_monitoring.py checks, there and in the alert rules and docs/slo.md.
"""

import json
from typing import Any

RATE = "[$__rate_interval]"
Panel = tuple[str, str, tuple[tuple[str, str], ...]]  # title, unit, (query, legend)


def _rate(name: str, by: str = "") -> str:
    rate = f'rate({name}{{job=~"$job"}}{RATE})'
    return f"sum by ({by}) ({rate})" if by else f"sum({rate})"


def _quantiles(name: str) -> tuple[tuple[str, str], ...]:
    buckets = _rate(f"{name}_bucket", "le")
    return tuple(
        (f"histogram_quantile({q}, {buckets})", f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)
    )


def _now(name: str, by: str = "") -> str:
    found = f'{name}{{job=~"$job"}}'
    return f"sum by ({by}) ({found})" if by else f"sum({found})"


PANELS: tuple[Panel, ...] = (
    ("Open streams", "short", ((_now("tailrace_streams_active", "view"), "{{view}}"),)),
    (
        "Requests for a stream",
        "reqps",
        ((_rate("tailrace_stream_connects_total", "status, outcome"), "{{status}} {{outcome}}"),),
    ),
    ("Ends of streams", "ops", ((_rate("tailrace_stream_ends_total", "reason"), "{{reason}}"),)),
    ("Time to first event", "s", _quantiles("tailrace_time_to_first_event_seconds")),
    ("Delivery lag: append to write", "s", _quantiles("tailrace_delivery_lag_seconds")),
    ("Resumes", "ops", ((_rate("tailrace_stream_resumes_total", "outcome"), "{{outcome}}"),)),
    (
        "Events in and out",
        "short",
        (
            (_rate("tailrace_appended_events_total"), "appended /s"),
            (_rate("tailrace_delivered_events_total"), "delivered /s"),
        ),
    ),
    (
        "Bytes in and out",
        "Bps",
        (
            (_rate("tailrace_appended_bytes_total"), "appended"),
            (_rate("tailrace_delivered_bytes_total"), "delivered"),
        ),
    ),
    (
        "Events in a write (coalescing)",
        "short",
        (
            (
                f"{_rate('tailrace_delivered_events_total')} / "
                f"{_rate('tailrace_deliveries_total')}",
                "events",
            ),
        ),
    ),
    (
        "Watchers",
        "short",
        ((_now("tailrace_watchers"), "all"), (_now("tailrace_watchers_behind"), "behind")),
    ),
    ("Commits", "s", _quantiles("tailrace_commit_seconds")),
    (
        "Appends in a commit",
        "short",
        ((f"{_rate('tailrace_appends_total')} / {_rate('tailrace_commit_seconds_count')}", ""),),
    ),
    (
        "Executions",
        "ops",
        (
            (_rate("tailrace_executions_started_total", "kind"), "started {{kind}}"),
            (_rate("tailrace_executions_ended_total", "status"), "{{status}}"),
        ),
    ),
    ("Running here", "short", ((_now("tailrace_executions_running", "instance"), "{{instance}}"),)),
    (
        "Refused",
        "ops",
        (
            (_rate("tailrace_limit_hits_total", "code"), "limit {{code}}"),
            (_rate("tailrace_ingest_rejects_total", "code"), "ingest {{code}}"),
        ),
    ),
    (
        "Retention",
        "ops",
        (
            (_rate("tailrace_executions_removed_total", "cause"), "removed {{cause}}"),
            (_rate("tailrace_events_trimmed_total"), "events trimmed"),
        ),
    ),
    (
        "Memory for those behind",
        "bytes",
        ((_now("tailrace_hot_bytes", "instance"), "{{instance}}"),),
    ),
    (
        "Other requests",
        "reqps",
        ((_rate("tailrace_http_requests_total", "route, status"), "{{status}} {{route}}"),),
    ),
    ("Versions", "short", ((_now("tailrace_build_info", "version"), "{{version}}"),)),
    (
        "Streams by how long they were open",
        "s",
        _quantiles("tailrace_stream_seconds"),
    ),
    (
        "Work queue",
        "short",
        (
            # Each worker tells of the same queue.
            ('max by (queue) (tailrace_queue_jobs{job=~"$job"})', "{{queue}} waiting"),
            (_rate("tailrace_jobs_total", "outcome"), "{{outcome}} a second"),
        ),
    ),
)


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    title, unit, queries = panel
    return {
        "id": number + 1,
        "title": title,
        "type": "timeseries",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": {"h": 8, "w": 8, "x": 8 * (number % 3), "y": 8 * (number // 3)},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [
            {"refId": chr(ord("A") + n), "expr": expr, "legendFormat": legend}
            for n, (expr, legend) in enumerate(queries)
        ],
    }


def dashboard() -> str:
    """examples/monitoring/dashboard.json."""
    job = "label_values(tailrace_build_info, job)"
    variables = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
        {
            "name": "job",
            "type": "query",
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "query": {"query": job, "refId": "job"},
            "definition": job,
            "multi": True,
            "includeAll": True,
            "refresh": 2,
        },
    ]
    made = {
        "title": "Tailrace",
        "uid": "tailrace",
        "tags": ["tailrace"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": [_panel(number, panel) for number, panel in enumerate(PANELS)],
    }
    return json.dumps(made, indent=2) + "\n"
