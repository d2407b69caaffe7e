"""How many servers so many watchers need, and what gives way first: a calculation, no test.

The law of this file: what it knows of the machine is measured (`benchmarks/scale.json`, written by
`make bench SCENARIO=cluster`); what it assumes beside that is a named constant here or an option.

It calculates one machine of Redis, whose commands run on one core, and servers with a process for
each core (`tailrace serve --workers CORES`). Watchers are spread at random, as a proxy does it. A
process reads an execution's events once, however many of its watchers it has: so with every
process that is added, Redis has more to send.

Examples:
  python benchmarks/simulate_scale.py --watchers 1000000 --executions 100000
  python benchmarks/simulate_scale.py --watchers 50000 --executions 5 --events-per-s 20
  python benchmarks/simulate_scale.py --watchers 200000 --executions 2000 --servers 4 --json
"""

import argparse
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).with_name("scale.json")
KERNEL_STREAM_BYTES = 4_000  # of one TCP connection that waits; assumed, it is not in RSS
PACKET_BYTES = 66  # Ethernet, IP and TCP around one write
EMPTY_LOG_BYTES = 5_000  # what Redis takes for an execution (docs/decisions/0020-redis-streams.md)
MOST_SERVERS = 100_000
DEFAULTS = {
    "watchers": ("open streams, each of one execution", 100_000),
    "executions": ("executions that run at once", 10_000),
    "events_per_s": ("events a second of each execution", 2.0),
    "event_bytes": ("bytes of an event; CPU costs are measured with 200", 200),
    "events_per_write": ("events joined in one write (`batch_ms`, or a busy server)", 1.0),
    "execution_s": ("how long an execution runs", 300.0),
    "retention_s": ("how long it is kept after its end", 3600.0),
    "servers": ("machines with Tailrace; 0: as few as are enough", 0),
    "cores": ("processes on each, and cores for them", 8),
    "memory_gb": ("memory of each", 16.0),
    "network_gbps": ("network of each machine, Redis' too", 10.0),
    "redis_memory_gb": ("memory of the machine of Redis", 32.0),
    "replicas": ("replicas of Redis", 1),
    "heartbeat_s": ("the setting", 15.0),
    "lifetime_s": ("the setting: all streams reconnect once in it", 1800.0),
    "most": ("the share of anything that may be in use; the rest is for bursts", 0.6),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be carried, by what. DEFAULTS says what each is."""

    watchers: float
    executions: float
    events_per_s: float
    event_bytes: float
    events_per_write: float
    execution_s: float
    retention_s: float
    servers: int
    cores: int
    memory_gb: float
    network_gbps: float
    redis_memory_gb: float
    replicas: int
    heartbeat_s: float
    lifetime_s: float
    most: float


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that can give way: what is used of it, of how much."""

    name: str
    used: float
    of: float
    unit: str

    @property
    def share(self) -> float:
        return self.used / self.of


@dataclass(frozen=True, slots=True)
class Plan:
    """What so many servers would have to do."""

    servers: int
    parts: Sequence[Part]
    numbers: Mapping[str, float]

    @property
    def bottleneck(self) -> Part:
        """What gives way first when all grows."""
        return max(self.parts, key=lambda part: part.share)

    def redis_machines(self, most: float) -> int:
        """How many machines of Redis would carry it, if executions were spread over them."""
        return max(math.ceil(p.share / most) for p in self.parts if p.name.startswith("redis"))


def readers(watchers: float, processes: int) -> float:
    """In how many of the processes an execution has a watcher, if each picks one at random."""
    return float(processes * (1 - (1 - 1 / processes) ** watchers))


def load(wanted: Wanted, measured: Mapping[str, float], servers: int) -> Plan:
    """What each part has to do with so many servers."""
    w, m = wanted, measured
    processes = servers * w.cores
    extra = w.event_bytes - m["event_bytes"]
    events = w.executions * w.events_per_s
    reading = readers(w.watchers / w.executions, processes)
    read = events * reading  # by all processes
    deliveries = w.watchers * w.events_per_s
    writes = deliveries / w.events_per_write
    silent = max(0.0, 1 - w.events_per_s * w.heartbeat_s)  # whose heartbeats are sent
    connects = w.watchers / w.lifetime_s / 0.9  # lifetimes are 80-100 % of the setting
    # The first of an execution in a process costs more: the process begins to read it.
    first = min(reading * w.executions / w.watchers, 1.0)
    connect_us = (1 - first) * m["stream_connect_us"] + first * m["watched_execution_connect_us"]
    cpu_us = (
        writes * m["deliver_us"]
        + w.watchers / w.heartbeat_s * silent * m["heartbeat_us"]
        + connects * connect_us
        + events * m["append_us"]
        + read * m["read_us"]
    )
    memory = processes * m["process_bytes"]
    memory += w.watchers * (m["stream_bytes"] + KERNEL_STREAM_BYTES)
    memory += reading * w.executions * m["watched_execution_bytes"]
    out = deliveries * (m["wire_bytes"] + extra) + writes * PACKET_BYTES
    redis_in = events * (m["redis_in_bytes"] + extra)
    redis_out = read * (m["redis_out_bytes"] + extra) + w.replicas * redis_in
    redis_us = events * m["redis_append_us"] + read * m["redis_tell_us"]
    kept_logs = w.executions * (1 + w.retention_s / w.execution_s)
    kept = events * (w.execution_s + w.retention_s) * (m["redis_event_bytes"] + extra)
    nic = w.network_gbps * 1e9 / 8
    server_in = (read * (m["redis_out_bytes"] + extra)) / servers
    server_out = (out + redis_in) / servers
    parts = [
        Part("server CPU", cpu_us / 1e6 / servers, w.cores, "cores"),
        Part("server memory", memory / servers / 1e9, w.memory_gb, "GB"),
        Part("server network out", server_out / 1e6, nic / 1e6, "MB/s"),
        Part("server network in", server_in / 1e6, nic / 1e6, "MB/s"),
        Part("redis CPU", redis_us / 1e6, 1, "cores"),
        Part("redis memory", (kept + kept_logs * EMPTY_LOG_BYTES) / 1e9, w.redis_memory_gb, "GB"),
        Part("redis network out", redis_out / 1e6, nic / 1e6, "MB/s"),
        Part("redis network in", redis_in / 1e6, nic / 1e6, "MB/s"),
    ]
    left = max(servers - 1, 1) * w.cores
    numbers = {
        "processes": processes,
        "streams_per_process": w.watchers / processes,
        "events_per_s": events,
        "deliveries_per_s": deliveries,
        "processes_that_read_an_execution": reading,
        "reconnects_per_s": connects,
        # Of one server's streams, at the others, with the CPU that they have left.
        "seconds_after_a_server_died": w.watchers
        / servers
        * connect_us
        / 1e6
        / (left * (1 - min(cpu_us / 1e6 / processes, 0.99))),
    }
    return Plan(servers, parts, numbers)


def simulate(wanted: Wanted, measured: Mapping[str, float]) -> Plan:
    """With the servers asked for, or as few as carry it. What Redis has to do is told, not solved.

    A plan with MOST_SERVERS says that servers alone do not help: every process reads too much.
    """
    if wanted.servers:
        return load(wanted, measured, wanted.servers)

    def carried(servers: int) -> bool:
        parts = load(wanted, measured, servers).parts
        return all(p.share <= wanted.most for p in parts if p.name.startswith("server"))

    low, high = 0, 1
    while not carried(high) and high < MOST_SERVERS:
        low, high = high, min(high * 2, MOST_SERVERS)
    while high - low > 1:  # `low` does not carry it, `high` does
        middle = (low + high) // 2
        low, high = (low, middle) if carried(middle) else (middle, high)
    return load(wanted, measured, high)


def table(wanted: Wanted, plan: Plan, source: Mapping[str, Any]) -> str:
    """For people."""
    rows = [("", "used", "of", "share")]
    for part in plan.parts:
        mark = " <- gives way first" if part is plan.bottleneck else ""
        used, of = f"{part.used:,.2f}", f"{part.of:,.2f} {part.unit}"
        rows.append((part.name, used, of, f"{part.share:.0%}{mark}"))
    lines = [
        f"{wanted.watchers:,.0f} watchers of {wanted.executions:,.0f} executions, "
        f"{wanted.events_per_s:g} events/s of {wanted.event_bytes:g} bytes each",
        f"costs measured {source['date']} on {source['machine']}",
        "",
        f"servers: {plan.servers:,} of {wanted.cores} cores"
        f"   machines of Redis: {plan.redis_machines(wanted.most):,}",
        *(f"  {a:<20}{b:>12}  of {c:<14}{d}" if b != "used" else "" for a, b, c, d in rows),
        "",
        *(f"  {name.replace('_', ' ')}: {value:,.1f}" for name, value in plan.numbers.items()),
    ]
    return "\n".join(lines)


def read_measured(path: Path = MEASURED) -> dict[str, Any]:
    """What the benchmark wrote."""
    return dict(json.loads(path.read_text()))


def costs(source: Mapping[str, Any]) -> dict[str, float]:
    """The costs in it."""
    return {**source["measured"], "event_bytes": source["event_bytes"]}


def main() -> None:
    """Calculate and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, (words, default) in DEFAULTS.items():
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(
            flag, type=type(default), default=default, metavar="N", help=f"{words} (%(default)s)"
        )
    parser.add_argument("--measured", type=Path, default=MEASURED, help="another machine's costs")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    asked = parser.parse_args()
    wanted = Wanted(**{field.name: getattr(asked, field.name) for field in fields(Wanted)})
    if any(getattr(wanted, name) <= 0 for name in DEFAULTS if name not in ("servers", "replicas")):
        parser.error("every number but --servers and --replicas must be above 0")
    source = read_measured(asked.measured)
    plan = simulate(wanted, costs(source))
    if not asked.json:
        print(table(wanted, plan, source))
        return
    body = {
        "wanted": asdict(wanted),
        "servers": plan.servers,
        "redis_machines": plan.redis_machines(wanted.most),
        "bottleneck": plan.bottleneck.name,
        "parts": {part.name: asdict(part) | {"share": part.share} for part in plan.parts},
        "numbers": plan.numbers,
    }
    print(json.dumps(body, indent=1))


if __name__ == "__main__":
    main()
