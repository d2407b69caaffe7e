"""The model of docs/scaling.md: more never needs less, and what gives way first has a name."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.simulate_scale import DEFAULTS, Wanted, costs, read_measured, readers, simulate
from hypothesis import given
from hypothesis import strategies as st

SOURCE = read_measured()
# Of one machine, one day: what gives way first must not change with the next measurement.
COSTS = {
    "event_bytes": 200.0,
    "append_us": 29.25,
    "deliver_us": 8.31,
    "heartbeat_us": 15.0,
    "process_bytes": 74731520.0,
    "read_us": 20.59,
    "redis_append_us": 21.76,
    "redis_event_bytes": 221.68,
    "redis_in_bytes": 630.6,
    "redis_out_bytes": 280.03,
    "redis_tell_us": 3.86,
    "stream_bytes": 2705.41,
    "stream_connect_us": 315.0,
    "watched_execution_bytes": 21189.97,
    "watched_execution_connect_us": 466.67,
    "wire_bytes": 214.59,
}
DEFAULT: dict[str, Any] = {name: default for name, (_, default) in DEFAULTS.items()}
USUAL = Wanted(**DEFAULT)


@pytest.fixture(autouse=True)
def blockbuster() -> None:
    """These tests run a command."""


@given(
    st.sampled_from(["watchers", "executions", "events_per_s", "event_bytes"]),
    st.floats(1, 50),
)
def test_more_of_anything_never_needs_fewer_servers_nor_less_of_redis(
    name: str, factor: float
) -> None:
    less = simulate(USUAL, COSTS)
    grown = Wanted(**DEFAULT | {name: DEFAULT[name] * factor})
    more = simulate(grown, COSTS)
    assert more.servers >= less.servers
    if name != "executions":  # the same watchers, spread over more, share less of what is read
        assert more.redis_machines(0.6) >= less.redis_machines(0.6)


@given(st.integers(1, 200), st.integers(1, 200))
def test_a_server_more_takes_work_from_each_and_gives_redis_more(one: int, other: int) -> None:
    few, many = sorted((one, other))
    plans = [simulate(replace(USUAL, servers=count), COSTS) for count in (few, many)]
    shares = [{part.name: part.share for part in plan.parts} for plan in plans]
    assert shares[0]["server CPU"] >= shares[1]["server CPU"] - 1e-9
    assert shares[0]["redis CPU"] <= shares[1]["redis CPU"] + 1e-9


@given(st.floats(0.01, 1e6), st.integers(1, 10_000))
def test_an_execution_is_read_at_most_once_by_a_process_and_by_a_watcher(
    watchers: float, processes: int
) -> None:
    assert readers(watchers, processes) <= processes
    if watchers >= 1:
        assert readers(watchers, processes) <= watchers + 1e-6


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"watchers": 50_000, "executions": 5, "events_per_s": 20, "servers": 1}, "server CPU"),
        ({"executions": 50_000, "redis_memory_gb": 1000.0}, "redis CPU"),
        ({"retention_s": 864_000.0}, "redis memory"),
        ({"event_bytes": 60_000, "executions": 100, "servers": 1}, "server network out"),
        ({"watchers": 10_000_000, "events_per_s": 0.0001, "servers": 2}, "server memory"),
    ],
)
def test_what_gives_way_first_is_named(changed: dict[str, Any], named: str) -> None:
    assert simulate(replace(USUAL, **changed), COSTS).bottleneck.name == named


def test_a_measured_file_says_where_and_when_and_has_every_cost() -> None:
    assert SOURCE["machine"]
    assert SOURCE["date"]
    found = costs(SOURCE)
    assert set(found) == set(COSTS)
    assert min(found.values()) > 0


def test_the_command_prints_a_table_and_json() -> None:
    program = Path(__file__).parents[2] / "benchmarks" / "simulate_scale.py"
    asked = [sys.executable, str(program), "--watchers", "1000000"]
    shown = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    assert "1,000,000 watchers" in shown
    assert shown.count("gives way first") == 1
    told = json.loads(
        subprocess.run([*asked, "--json"], check=True, capture_output=True, text=True).stdout
    )
    assert told["bottleneck"] in told["parts"]
    assert told["servers"] >= 1
    assert told["wanted"]["watchers"] == 1_000_000
