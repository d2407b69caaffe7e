"""Dashboard, alert rules and objectives name metrics and labels that exist, in queries that parse."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace import metrics
from tailrace.metrics import CATALOG, Metric
from tests.conftest import needs

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "examples/monitoring"
SAMPLES = {name: metric for metric in CATALOG for name in metric.samples()}
_NAME = re.compile(r"\btailrace_\w+")
_MATCHER = re.compile(r"\b(tailrace_\w+)\{([^}]*)\}")
_GROUPED = re.compile(r"by \(([\w, ]+)\)")
OF_PROMETHEUS = {"le", "job", "instance"}


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """These tests read files and start promtool."""


def queries() -> Iterator[tuple[str, str]]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield f"dashboard: {panel['title']}", target["expr"]
    for number, query in enumerate(
        re.findall(
            r"^```promql\n(.*?)^```", (ROOT / "docs/slo.md").read_text(), re.DOTALL | re.MULTILINE
        )
    ):
        yield f"slo.md#{number}", query


def texts() -> dict[str, str]:
    files = [*sorted(MONITORING.iterdir()), ROOT / "docs/slo.md"]
    return {path.name: path.read_text() for path in files}


def test_every_metric_that_is_named_exists() -> None:
    for name, text in texts().items():
        unknown = set(_NAME.findall(text)) - SAMPLES.keys() - {metric.name for metric in CATALOG}
        assert not unknown, f"{name} names {unknown}"
    assert set(_NAME.findall(texts()["alerts.yml"])) > {"tailrace_stream_connects_total"}


def test_every_metric_is_on_the_dashboard() -> None:
    text = texts()["dashboard.json"]
    assert [m.name for m in CATALOG if m.name not in text] == []


def test_every_label_that_is_named_exists() -> None:
    labels = {label for metric in CATALOG for label in metric.labels} | OF_PROMETHEUS
    seen = 0
    for name, text in texts().items():
        for metric, matchers in _MATCHER.findall(text):
            used = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
            assert used <= {*SAMPLES[metric].labels, *OF_PROMETHEUS}, f"{name}: {metric} {used}"
            seen += len(used)
        for group in _GROUPED.findall(text):
            assert set(group.replace(" ", "").split(",")) <= labels, f"{name}: by ({group})"
    assert seen > 20


def test_every_metric_of_the_module_is_in_the_table() -> None:
    made = [value for value in vars(metrics).values() if isinstance(value, Metric)]
    assert len(made) == len(set(CATALOG)) == len(CATALOG)
    assert set(made) == set(CATALOG)
    for metric in CATALOG:
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert bool(metric.buckets) == (metric.kind == "histogram")


def promtool(*arguments: object) -> str:
    needs("promtool")
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=MONITORING)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_alert_rules_are_rules_and_do_what_they_say() -> None:
    assert "12 rules found" in promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts_test.yml")


def test_every_query_parses(tmp_path: Path) -> None:
    # As rules, since those are what promtool reads; Grafana's own variables are filled in.
    rules = [
        {
            "record": f"q{number}",
            "expr": query.replace("$__rate_interval", "5m").replace("$job", "x"),
        }
        for number, (_, query) in enumerate(queries())
    ]
    path = tmp_path / "rules.yml"
    path.write_text(
        json.dumps({"groups": [{"name": "queries", "rules": rules}]})
    )  # YAML has JSON in it
    assert len(rules) > 20
    promtool("check", "rules", path)
