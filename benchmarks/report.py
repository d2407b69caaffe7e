"""The table of targets, the document and its plots, from the rows of one run.

A target that is missed is printed as missed; a number that was not measured is no number.
"""

import json
import platform
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.harness import CLIENT_CPU, HERE, SERVER_CPU
from benchmarks.scenarios import PYTHON_PEERS, SCENARIOS, Bench
from benchmarks.servers import versions
from tailrace.version import __version__

ROOT = HERE.parent
DOCUMENT = ROOT / "docs" / "benchmarks.md"


@dataclass(frozen=True, slots=True)
class Target:
    """One promise: what was measured, and what it had to be."""

    name: str
    found: float | None
    limit: float
    at_least: bool
    unit: str = ""

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        good = self.found >= self.limit if self.at_least else self.found <= self.limit
        return "pass" if good else "MISS"

    def cells(self) -> list[str]:
        sign = "≥" if self.at_least else "≤"
        found = "–" if self.found is None else f"{self.found:,.2f}".rstrip("0").rstrip(".")
        limit = f"{self.limit:,.2f}".rstrip("0").rstrip(".")
        return [self.name, f"{found} {self.unit}".strip(), f"{sign} {limit} {self.unit}".strip(),
                self.verdict]  # fmt: skip


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def _appended(bench: Bench, server: str, **wanted: Any) -> float | None:
    for row in bench.rows:
        if (row["scenario"], row["server"]) == ("append", server) and wanted.items() <= row.items():
            return float(row["events_per_s"])
    return None


def targets(bench: Bench) -> list[Target]:
    """What issue 3 promises, against what this run found."""

    def got(scenario: str, server: str, name: str) -> float | None:
        return bench.value(scenario, server, name)

    ours = got("fanout", "tailrace", "deliveries_per_s")
    rate = "deliveries_per_s"
    many = got("many", "tailrace", rate)
    peers = [found for peer in PYTHON_PEERS if (found := got("many", peer, rate)) is not None]
    own_append = _appended(bench, "tailrace", writers=64, batch=1, durability="os")
    catchup = [float(row["events_per_s"]) for row in bench.rows if row["scenario"] == "catchup"]
    loaded_first = max(
        (float(row["p95_ms"]) for row in bench.rows if row["scenario"] == "first"), default=None
    )
    slow = {
        row["stalled_percent"]: float(row["p99_ratio"])
        for row in bench.rows
        if row["scenario"] == "slow"
    }
    return [
        Target("fan-out to 1,000 at saturation, against Nchan",
               _ratio(ours, got("fanout", "nchan", rate)), 8, True, "×"),
        Target("… against sse-starlette",
               _ratio(ours, got("fanout", "sse-starlette", rate)), 40, True, "×"),
        Target("… against the C limit with the same coalescing",
               _ratio(ours, got("fanout", "limit", rate)), 0.6, True, "×"),
        Target("p99 latency at half of Nchan's saturation, against Nchan's",
               got("latency", "tailrace", "p99_ratio"), 1, False, "×"),
        Target("CPU for each delivery, uncoalesced, against Nchan's",
               got("cpu", "tailrace", "cpu_ratio"), 1.5, False, "×"),
        Target("1,000 executions × 1 watcher, deliveries/s", many, 30_000, True),
        Target("… against the best Python peer",
               _ratio(many, max(peers, default=0)), 3, True, "×"),
        Target("durable append, 64 writers, os, events/s", own_append, 30_000, True),
        Target("durable append, 64 writers, disk, events/s",
               _appended(bench, "tailrace", writers=64, batch=1, durability="disk"), 15_000, True),
        Target("durable append against llama-agents' SQLite store",
               _ratio(own_append, _appended(bench, "llama-agents", writers=64)), 50, True, "×"),
        Target("durable append against DBOS's SQLite store",
               _ratio(own_append, _appended(bench, "dbos", writers=64)), 50, True, "×"),
        Target("catch-up from the store, events/s (the lower of 1 and 50 watchers)",
               min(catchup, default=None), 300_000, True),
        Target("memory of an idle watcher", got("idle", "tailrace", "kb_per_watcher"),
               10, False, "kB"),
        Target("5,000 connects, all streaming", got("storm", "tailrace", "seconds"), 3, False, "s"),
        Target("first event while 1,000,000 a second are delivered, p95 (issue 5)",
               loaded_first, 2000, False, "ms"),
        Target("a node that does nothing, with SQLite (issue 4)",
               got("overhead", "tailrace", "us_per_node"), 200, False, "µs"),
        Target("p99 of fast watchers with 10 % stalled, against none stalled",
               slow.get(10), 1.1, False, "×"),
    ]  # fmt: skip


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def verdicts(bench: Bench) -> str:
    """The targets that this run could speak to."""
    rows = [one.cells() for one in targets(bench) if one.found is not None]
    return table(["what", "found", "target", ""], rows)


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{value:,}" if isinstance(value, int) else str(value)


def numbers(bench: Bench, scenario: str) -> str:
    """All rows of a scenario."""
    rows = [row for row in bench.rows if row["scenario"] == scenario]
    names = list(dict.fromkeys(name for row in rows for name in row if name != "scenario"))
    return table(names, [[_number(row.get(name, "")) for name in names] for row in rows])


def machine() -> str:
    """What it ran on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True,
        cwd=ROOT,
    ).stdout.strip()  # fmt: skip
    found = versions()
    peers = "; ".join(f"{name}: {version}" for name, version in found.items())
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}, Tailrace {__version__},"
        f" {len(models)} × {models[0] if models else '?'}, Linux {platform.release()},"
        f" Python {platform.python_version()}. Server pinned to CPU {SERVER_CPU}, load generator"
        f" to CPU {CLIENT_CPU}. Peers: {peers}."
    )


def document(bench: Bench) -> str:
    """docs/benchmarks.md."""
    parts = [
        "# Benchmarks",
        "<!-- Written by `make bench`; change benchmarks/report.py. -->",
        "`make bench` measures everything below in one run on one machine, peers beside Tailrace;"
        " `make bench SCENARIO=fanout` one scenario. Ratios are what to look at: the absolute"
        " numbers belong to the machine.",
        machine(),
        "## Targets",
        verdicts(bench),
        "![Latency by delivery rate](benchmarks-fanout.svg)",
    ]
    for name, scenario in SCENARIOS.items():
        listed = ["fanout-100", "fanout-500", "fanout-5000"] if name == "sizes" else [name]
        shown = [
            numbers(bench, one) for one in listed if any(r["scenario"] == one for r in bench.rows)
        ]
        if shown:
            words = " ".join((scenario.__doc__ or "").split())
            parts += [f"## {name}", words, *shown]
    if bench.missing:
        parts += ["## Not measured here", table(["what", "why"], map(list, bench.missing.items()))]
    parts += ["## How to read it", (HERE / "reading.md").read_text().strip()]
    return "\n\n".join(parts) + "\n"


def save(bench: Bench, *, whole: bool) -> None:
    """Keep the numbers; a whole run also writes the document."""
    folder = ROOT / "out"
    folder.mkdir(exist_ok=True)
    body = {"rows": bench.rows, "steps": bench.steps, "missing": bench.missing}
    (folder / "bench.json").write_text(json.dumps(body, indent=1))
    if whole:
        from benchmarks.plot import latency_plot

        DOCUMENT.write_text(document(bench))
        (DOCUMENT.parent / "benchmarks-fanout.svg").write_text(latency_plot(bench.steps))
