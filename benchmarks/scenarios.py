"""What is measured. Each scenario gives rows for the report; all in one run, on one machine.

Where servers are compared, their runs are interleaved, and what is reported is the median of the
rounds: a machine that is busy for a while then disturbs all of them alike.
"""

import json
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cluster import cluster
from benchmarks.harness import HERE, SERVER_CPU, Json, LoadGenerator, Server, Unavailable, venv
from benchmarks.measure import Step, ladder, median, saturation, step
from benchmarks.servers import SERVERS

RATES = (20, 100, 1_000, 5_000, 20_000)
MANY_RATES = (1_000, 3_000, 10_000, 20_000, 40_000, 80_000, 120_000)
PYTHON_PEERS = (
    "sse-starlette",
    "fastapi",
    "redis+sse-starlette",
    "llama-agents",
    "dbos",
    "langgraph",
)
Row = dict[str, Any]


@dataclass
class Bench:
    """One run: what it said, what it could not measure, and its rows."""

    rounds: int = 3
    soak_s: float = 120.0
    rows: list[Row] = field(default_factory=list)
    steps: list[Row] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    only: Sequence[str] = ()

    def say(self, text: str) -> None:
        print(text, flush=True)

    def add(self, scenario: str, server: str, **numbers: float | str) -> None:
        self.rows.append({"scenario": scenario, "server": server, **numbers})

    def value(self, scenario: str, server: str, name: str) -> float | None:
        """A number measured earlier in this run."""
        for row in self.rows:
            if (row["scenario"], row["server"]) == (scenario, server) and name in row:
                return float(row[name])
        return None

    @contextmanager
    def serving(
        self, name: str, streams: int = 1, *options: str
    ) -> Iterator[tuple[Server, LoadGenerator] | None]:
        """A server and a load generator, or None if it cannot run here, which is noted."""
        if name in self.missing:
            yield None
            return
        try:
            start = SERVERS[name](streams, *options)
            server = start.__enter__()
        except Unavailable as error:
            self.missing[name] = str(error)
            self.say(f"  {name}: cannot be measured here: {error}")
            yield None
            return
        try:
            with LoadGenerator() as load:
                self.say(f"  {name}")
                yield server, load
        finally:
            start.__exit__(None, None, None)

    def keep(self, scenario: str, steps: Sequence[Step], watchers: int) -> None:
        for made in steps:
            fields = {name: getattr(made, name) for name in made.__slots__}
            self.steps.append({"scenario": scenario, "watchers": watchers, **fields})


def fanout(bench: Bench, watchers: int = 1_000) -> None:
    """One execution, 1,000 watchers, rising rates until saturation."""
    found: dict[str, list[Step]] = defaultdict(list)
    limits: list[Step] = []
    for number in range(bench.rounds):
        bench.say(f" round {number + 1}")
        names = ["tailrace", "nchan", "sse-starlette"]
        if number == 0:
            names += [
                "fastapi",
                "redis+sse-starlette",
                "durable-streams",
                "llama-agents",
                "langgraph",
            ]
        for name in names:
            with bench.serving(name) as ready:
                if ready is None:
                    continue
                server, load = ready
                if load.connect(server, watchers)["failed"]:
                    bench.missing[name] = f"it refused some of {watchers} watchers"
                    continue
                steps = ladder(server, load, RATES, 1.0, watchers, bench.say)
                bench.keep("fanout", steps, watchers)
                found[name].append(saturation(steps))
        limits.append(_limit(bench, watchers, found["tailrace"][-1].per_read))
    for name, best in found.items():
        bench.add(
            "fanout",
            name,
            deliveries_per_s=median(one.per_s for one in best),
            cpu_us=median(one.cpu_us for one in best),
            events_per_write=median(one.per_read for one in best),
            lost=sum(one.lost for one in best),
            disordered=sum(one.disordered for one in best),
            client_busy=max(one.client_busy for one in best),
        )
    bench.add(
        "fanout",
        "limit",
        deliveries_per_s=median(one.per_s for one in limits),
        events_per_write=median(one.per_read for one in limits),
        client_busy=max(one.client_busy for one in limits),
    )


def _limit(bench: Bench, watchers: int, per_write: float) -> Step:
    """The C program, joining as many events into a write as Tailrace did at its saturation."""
    with bench.serving("limit") as ready:
        assert ready is not None
        server, load = ready
        load.connect(server, watchers)
        block = max(round(per_write), 1)
        return step(server, load, 0, 1.0, watchers, block=block, said=bench.say)


def sizes(bench: Bench) -> None:
    """Fan-out to 100, 500 and 5,000 watchers."""
    for watchers in (100, 500, 5_000):
        for name in ("tailrace", "nchan", "sse-starlette"):
            with bench.serving(name) as ready:
                if ready is None:
                    continue
                server, load = ready
                load.connect(server, watchers)
                rates = RATES if watchers < 5_000 else (1, 5, *RATES)
                steps = ladder(server, load, rates, 1.0, watchers, bench.say)
                bench.keep("sizes", steps, watchers)
                best = saturation(steps)
                bench.add(f"fanout-{watchers}", name, deliveries_per_s=best.per_s, lost=best.lost)


def latency(bench: Bench, watchers: int = 1_000) -> None:
    """The same rate for both: half of what saturates Nchan."""
    top = bench.value("fanout", "nchan", "deliveries_per_s")
    if top is None:
        with bench.serving("nchan") as ready:
            if ready is None:
                return
            server, load = ready
            load.connect(server, watchers)
            top = saturation(ladder(server, load, RATES, 1.0, watchers, bench.say)).per_s
    rate = top / 2 / watchers
    found: dict[str, list[Step]] = defaultdict(list)
    for _ in range(bench.rounds + 2):
        for name in ("nchan", "tailrace"):
            with bench.serving(name) as ready:
                if ready is not None:
                    server, load = ready
                    load.connect(server, watchers)
                    step(server, load, rate, 0.5, watchers)  # warm: the first event grows buffers
                    found[name].append(step(server, load, rate, 2.0, watchers, said=bench.say))
    for name, steps in found.items():
        bench.add(
            "latency",
            name,
            events_per_s=rate,
            p50_ms=median(one.p50_ms for one in steps),
            p99_ms=median(one.p99_ms for one in steps),
            p999_ms=median(one.p999_ms for one in steps),
            p99_ratio=_ratio_of_rounds(steps, found["nchan"], "p99_ms"),
        )


def _ratio_of_rounds(steps: Sequence[Step], others: Sequence[Step], name: str) -> float:
    """The median over the rounds of one server's number against another's of the same round.

    A machine whose speed changes from minute to minute changes both alike.
    """
    pairs = zip(steps, others, strict=False)
    return median(getattr(one, name) / max(getattr(two, name), 1e-9) for one, two in pairs)


def cpu(bench: Bench) -> None:
    """500 watchers at 100 events a second: so slow that nothing is joined."""
    found: dict[str, list[Step]] = defaultdict(list)
    for _ in range(bench.rounds):
        for name in ("nchan", "tailrace", "sse-starlette"):
            with bench.serving(name) as ready:
                if ready is not None:
                    server, load = ready
                    load.connect(server, 500)
                    step(server, load, 100, 0.5, 500)
                    found[name].append(step(server, load, 100, 3.0, 500, said=bench.say))
    for name, steps in found.items():
        bench.add(
            "cpu",
            name,
            cpu_us=median(one.cpu_us for one in steps),
            cpu_ratio=_ratio_of_rounds(steps, found["nchan"], "cpu_us"),
            events_per_write=median(one.per_read for one in steps),
        )


def many(bench: Bench, executions: int = 1_000) -> None:
    """1,000 executions with one watcher each: nothing to share."""
    found: dict[str, list[Step]] = defaultdict(list)
    for number in range(bench.rounds):
        for name in ("tailrace", *(PYTHON_PEERS if number == 0 else ())):
            rates = MANY_RATES if name == "tailrace" else (100, 300, *MANY_RATES)
            with bench.serving(name, executions) as ready:
                if ready is not None:
                    server, load = ready
                    load.connect(server, executions)
                    steps = ladder(server, load, rates, 1.0, 1, bench.say)
                    bench.keep("many", steps, executions)
                    found[name].append(saturation(steps))
    for name, best in found.items():
        bench.add(
            "many",
            name,
            deliveries_per_s=median(one.per_s for one in best),
            p99_ms=median(one.p99_ms for one in best),
            lost=sum(one.lost for one in best),
        )


def text(bench: Bench) -> None:
    """500 agents that speak 200 tokens a second each, one watcher each."""
    with bench.serving("tailrace", 500) as ready:
        if ready is not None:
            server, load = ready
            load.connect(server, 500)
            step(server, load, 10_000, 1.0, 1)
            made = step(server, load, 100_000, 4.0, 1, said=bench.say)
            bench.add(
                "text", "tailrace", offered_per_s=100_000, tokens_per_s=made.per_s,
                p99_ms=made.p99_ms, lost=made.lost,
            )  # fmt: skip


def idle(bench: Bench, watchers: int = 10_000) -> None:
    """10,000 watchers of an execution that says nothing: memory, and what heartbeats cost."""
    for name, count in (("tailrace", watchers), ("nchan", watchers), ("sse-starlette", 2_000)):
        options = ("--heartbeat", "2") if name == "tailrace" else ()
        with bench.serving(name, 1, *options) as ready:
            if ready is None:
                continue
            server, load = ready
            load.connect(server, 200)
            load.command("close")
            time.sleep(0.5)
            before = server.rss_bytes()
            load.connect(server, count)
            time.sleep(0.5)
            row: Row = {"kb_per_watcher": (server.rss_bytes() - before) / count / 1000}
            if name == "tailrace":
                spent = server.cpu_s()
                time.sleep(6.0)
                row["heartbeat_cpu_us"] = (server.cpu_s() - spent) / (count * 3) * 1e6
            bench.add("idle", name, watchers=count, **row)
            bench.say(f"    {row}")


def storm(bench: Bench, watchers: int = 5_000) -> None:
    """5,000 clients connect at once: until each has its first bytes."""
    for name in ("tailrace", "nchan", "sse-starlette"):
        with bench.serving(name) as ready:
            if ready is not None:
                server, load = ready
                answer = load.connect(server, watchers)
                bench.say(f"    {answer}")
                bench.add(
                    "storm", name, seconds=answer["seconds"], failed=answer["failed"],
                    p99_ms=answer["p99_ms"],
                )  # fmt: skip


def catchup(bench: Bench, events: int = 1_000_000) -> None:
    """A log of a million events, read from the beginning by 1 watcher and by 50."""
    with bench.serving("tailrace") as ready:
        if ready is None:
            return
        server, load = ready
        server.ask(f"/go?rate=1000000&seconds=60&most={events}", "POST")
        while not (done := server.ask("/done"))["done"]:
            time.sleep(0.1)
        for watchers in (1, 50):
            load.command("mark")
            began, expected = time.monotonic(), done["produced"] * watchers
            load.connect(server, watchers)
            while (state := load.command("stat"))["events"] < expected:
                time.sleep(0.01)
                if time.monotonic() - began > 60:
                    break
            rate = state["events"] / (time.monotonic() - began)
            bench.say(f"    {watchers} watchers: {rate:,.0f} events/s")
            bench.add(
                "catchup", "tailrace", watchers=watchers, events_per_s=rate, lost=state["lost"],
                disordered=state["disordered"],
            )  # fmt: skip
            load.command("close")


def append(bench: Bench) -> None:
    """Durable appends, no watchers."""
    own = [
        (writers, batch, durability)
        for durability in ("os", "disk")
        for writers in (1, 64)
        for batch in (1, 10, 100)
    ]
    for writers, batch, durability in own:
        command = [sys.executable, HERE / "append.py", str(writers), str(batch), durability]
        _append(bench, "tailrace", command, writers=writers, batch=batch, durability=durability)
    for name, program, package in (
        ("llama-agents", "append_llama.py", "llama-agents-server"),
        ("dbos", "append_dbos.py", "dbos"),
    ):
        try:
            command = [venv(package), HERE / "peers" / program, "64", "3"]
            _append(bench, name, command, writers=64, batch=1, durability="its own")
        except Unavailable as error:
            bench.missing[name] = str(error)


def _append(bench: Bench, name: str, command: list[Any], **row: Any) -> None:
    done = subprocess.run(
        ["taskset", "-c", SERVER_CPU, *command], check=False, capture_output=True, text=True
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["?"])[-1]
        bench.say(f"  {name}: cannot be measured here: {reason}")
        bench.missing[f"{name} (append)"] = reason
        return
    answer = json.loads(done.stdout.strip().splitlines()[-1])
    rate = answer["events"] / answer["seconds"]
    bench.say(f"  {name} {row}: {rate:,.0f} events/s")
    bench.add("append", name, events_per_s=rate, **row)


def slow(bench: Bench, watchers: int = 500) -> None:
    """One watcher in ten reads nothing: what do the others notice?"""
    found: dict[int, list[Step]] = defaultdict(list)
    for _ in range(bench.rounds + 2):
        for stalled in (0, 10):
            with bench.serving("tailrace") as ready:
                if ready is not None:
                    server, load = ready
                    load.connect(server, watchers, stalled_per_100=stalled)
                    reading = watchers - watchers * stalled // 100
                    step(server, load, 5_000, 1.0, reading)  # fills the stalled ones' sockets
                    found[stalled].append(step(server, load, 200, 3.0, reading, said=bench.say))
    for stalled, steps in found.items():
        bench.add(
            "slow",
            "tailrace",
            stalled_percent=stalled,
            p99_ms=median(one.p99_ms for one in steps),
            p99_ratio=_ratio_of_rounds(steps, found[0], "p99_ms"),
            missing=sum(one.missing for one in steps),
        )


LOADED_WATCHERS, LOADED_RATE, LOADED_S = 1_000, 1_000, 8.0


def first(bench: Bench) -> None:
    """From connect to the first event, of a stream that has one: idle, and under load.

    The load: 1,000 other watchers of the same execution, at 1,000 events a second (issue 5).
    """
    for name in ("tailrace", "nchan"):
        with bench.serving(name) as ready:
            if ready is not None:
                server, load = ready
                step(server, load, 20, 0.2, 0)
                answer = load.command(f"first 500 {server.port} {server.paths[0]}")
                bench.say(f"    {answer}")
                _add_first(bench, name, 0, answer)
    with bench.serving("tailrace") as ready, LoadGenerator() as other:
        if ready is not None:
            server, load = ready
            load.connect(server, LOADED_WATCHERS)
            server.ask(f"/go?rate={LOADED_RATE}&seconds={LOADED_S}", "POST")
            answer = other.command(f"first 500 {server.port} {server.paths[0]}")
            bench.say(f"    {answer}")
            _add_first(bench, "tailrace", LOADED_WATCHERS * LOADED_RATE, answer)


def _add_first(bench: Bench, name: str, load_per_s: int, answer: Json) -> None:
    p50, p95, p99 = answer["p50_ms"], answer["p95_ms"], answer["p99_ms"]
    bench.add("first", name, load_per_s=load_per_s, p50_ms=p50, p95_ms=p95, p99_ms=p99)


def overhead(bench: Bench, nodes: int = 1_000) -> None:
    """A chain of 1,000 nodes that do nothing: what an engine adds to each."""
    found: dict[str, list[float]] = defaultdict(list)
    programs: list[list[Any]] = [[sys.executable, HERE / "chain.py"]]
    try:
        programs.append([venv("dbos"), HERE / "peers" / "chain_dbos.py"])
    except Unavailable as error:
        bench.missing["dbos"] = str(error)
    for _ in range(bench.rounds):
        for program in programs:
            command = ["taskset", "-c", SERVER_CPU, *program, str(nodes)]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["?"])[-1]
                bench.missing[f"{Path(program[1]).name}"] = reason
                continue
            for name, micros in json.loads(done.stdout.strip().splitlines()[-1]).items():
                found[name].append(micros)
    for name, listed in found.items():
        bench.say(f"  {name}: {median(listed):,.1f} µs a node")
        bench.add("overhead", name, us_per_node=median(listed))


def soak(bench: Bench) -> None:
    """100 executions, 2 watchers each, 2,000 events a second: is anything lost, does it grow?"""
    with bench.serving("tailrace", 100) as ready:
        if ready is None:
            return
        server, load = ready
        load.connect(server, 200)
        step(server, load, 2_000, 5.0, 2)
        before, began = server.rss_bytes(), time.monotonic()
        totals = {"delivered": 0, "missing": 0, "lost": 0, "disordered": 0}
        worst = 0.0
        while time.monotonic() - began < bench.soak_s:
            made = step(server, load, 2_000, min(20.0, bench.soak_s), 2, said=bench.say)
            for name in totals:
                totals[name] += getattr(made, name)
            worst = max(worst, made.p99_ms)
        minutes = (time.monotonic() - began) / 60
        grown = (server.rss_bytes() - before) / 1e6
        bench.add(
            "soak", "tailrace", minutes=minutes, p99_ms=worst, rss_mb=before / 1e6,
            grown_mb=grown, **totals,
        )  # fmt: skip


SCENARIOS: dict[str, Callable[[Bench], None]] = {
    "fanout": fanout,
    "latency": latency,
    "cpu": cpu,
    "many": many,
    "append": append,
    "catchup": catchup,
    "idle": idle,
    "storm": storm,
    "slow": slow,
    "first": first,
    "text": text,
    "overhead": overhead,
    "sizes": sizes,
    "cluster": cluster,
    "soak": soak,
}
