"""Several server processes on one store: what each setup gives, and what sizing needs to know.

Nothing but the load generator is pinned: two servers, Redis and the load generator share the
machine's cores. So what two servers give here is bounded by the machine; what an event costs each
part in CPU time is not, and that is what `benchmarks/simulate_scale.py` calculates with.
"""

import json
import os
import platform
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.harness import HERE, Json, LoadGenerator, Server, Unavailable, free_port, running
from benchmarks.measure import ladder, median, saturation, step
from benchmarks.servers import debian

if TYPE_CHECKING:
    from benchmarks.scenarios import Bench

MEASURED = HERE / "scale.json"
RATES = (100, 1_000, 5_000, 20_000)
WATCHERS = 1_000
APPEND_S = 1.5
MOST_ROUNDS = 2  # of a minute each
SETUPS = (("sqlite", 1), ("sqlite", 2), ("redis", 1), ("redis", 2))
EVERY_CPU = f"0-{(os.cpu_count() or 1) - 1}"


@dataclass(frozen=True, slots=True)
class Redis:
    """A redis-server of our own, and what it says of itself."""

    port: int
    password: str

    @property
    def url(self) -> str:
        """A store on it, each time one that nobody used before."""
        prefix = secrets.token_hex(4)
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0?prefix={prefix}"

    def cli(self, *command: str) -> str:
        given = ["redis-cli", "-p", str(self.port), *command]
        env = os.environ | {"REDISCLI_AUTH": self.password}
        return subprocess.run(given, check=True, capture_output=True, text=True, env=env).stdout

    def info(self) -> dict[str, float]:
        """CPU seconds, bytes in and out, bytes of memory."""
        lines = [line.partition(":") for line in self.cli("INFO", "everything").splitlines()]
        told = {name: value.strip() for name, _, value in lines}
        return {
            "cpu_s": float(told["used_cpu_sys"]) + float(told["used_cpu_user"]),
            "in": float(told["total_net_input_bytes"]),
            "out": float(told["total_net_output_bytes"]),
            "memory": float(told["used_memory"]),
        }


@contextmanager
def redis() -> Iterator[Redis]:
    """Debian's redis-server on loopback, in memory alone. Raises Unavailable."""
    debian("redis-server", "/usr/bin/redis-server")
    made = Redis(free_port(), secrets.token_hex(8))
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(made.port), "--bind", "127.0.0.1"]
        command += ["--requirepass", made.password, "--save", "", "--dir", folder]
        process = subprocess.Popen(
            ["taskset", "-c", EVERY_CPU, *command], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if "Ready to accept connections" in line:
                    break
            else:
                raise Unavailable("redis-server did not start")
            yield made
        finally:
            process.kill()
            process.communicate()


@dataclass
class Together(Server):
    """Several servers that are measured as one; the first produces."""

    members: list[Server] = field(default_factory=list)

    @property
    def pids(self) -> list[int]:
        return [pid for member in self.members for pid in member.pids]


@contextmanager
def serving(store: str, servers: int, streams: int = 1, *options: str) -> Iterator[Together]:
    """So many servers on one store; the watchers of each stream take turns among them."""
    with ExitStack() as stack:
        found = []
        for number in range(servers):
            port, own = free_port(), streams if number == 0 else 0
            given: list[str | Path] = [sys.executable, HERE / "ours.py", str(port), str(own)]
            start = running(
                f"tailrace {number + 1}",
                [*given, "--store", store, *options],
                port=port,
                cpus=EVERY_CPU,
            )
            found.append(stack.enter_context(start))
        first = found[0]
        paths = [at(one, path) for path in first.paths for one in found]
        yield Together(first.name, first.process, first.port, first.control, paths, members=found)


def at(server: Server, path: str) -> str:
    """A path of one of several servers, for the load generator."""
    return f":{server.port}{path}"


def appends(store: str, servers: int, writers: int) -> tuple[float, float]:
    """Events a second, by so many writers in each of so many processes; CPU µs for each."""
    at = time.monotonic() + 1.5  # by then all have started
    command = ["taskset", "-c", EVERY_CPU, sys.executable, str(HERE / "append.py"), str(writers)]
    command += ["1", "os", "--store", store, "--seconds", str(APPEND_S), "--at", str(at)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(servers)]
    told = [json.loads(process.communicate()[0]) for process in running]
    events = sum(one["events"] for one in told)
    return sum(o["events"] / o["seconds"] for o in told), sum(
        o["cpu_s"] for o in told
    ) / events * 1e6


@contextmanager
def watched(server: Redis | None) -> Iterator[dict[str, float]]:
    """What Redis took for what is done meanwhile, a second: filled in at the end."""
    took: dict[str, float] = {}
    before, began = server.info() if server else {}, time.monotonic()
    yield took
    elapsed = time.monotonic() - began
    if server:
        after = server.info()
        took.update({name: after[name] - before[name] for name in after}, seconds=elapsed)


def cluster(bench: "Bench") -> None:
    """One and two server processes, on SQLite and on Redis, which share this machine's cores."""
    try:
        with redis() as server:
            found: dict[tuple[str, int], list[Json]] = {setup: [] for setup in SETUPS}
            for number in range(min(bench.rounds, MOST_ROUNDS)):
                bench.say(f" round {number + 1}")
                for store, servers in SETUPS:
                    used = server if store == "redis" else None
                    found[store, servers].append(_setup(bench, store, servers, used))
            rows = {setup: _middle(rounds) for setup, rounds in found.items()}
            measured = inputs(bench, server, busy=rows["redis", 2])
    except Unavailable as error:
        bench.missing["cluster"] = str(error)
        return
    for (store, servers), row in rows.items():
        bench.add("cluster", f"{store} × {servers}", **row)
    MEASURED.write_text(json.dumps(measured, indent=2) + "\n")


def _setup(bench: "Bench", store: str, servers: int, server: Redis | None) -> Json:
    row: Json = {}
    with tempfile.TemporaryDirectory(dir=HERE.parent) as folder, ExitStack() as stack:

        def url() -> str:
            name = secrets.token_hex(4)
            return server.url if server else f"sqlite:///{folder}/{name}.db"

        row["append_1"], _ = appends(url(), servers, 1)
        with watched(server) as took:
            row["append_64"], row["append_cpu_us"] = appends(url(), servers, 64)
        if server:
            row |= {
                "redis_append_us": took["cpu_s"] / (row["append_64"] * APPEND_S) * 1e6,
                "redis_event_bytes": took["memory"] / (row["append_64"] * APPEND_S),
                "redis_cores": took["cpu_s"] / APPEND_S,
                "redis_in_mb_s": took["in"] / APPEND_S / 1e6,
            }
        servers_ = stack.enter_context(serving(url(), servers))
        load = stack.enter_context(LoadGenerator())
        load.connect(servers_, WATCHERS)
        with watched(server) as took:  # first: what a saturated server has left comes after
            calm = step(servers_, load, 50, 2.0, WATCHERS)
        row |= {"calm_p99_ms": calm.p99_ms, "calm_cpu_us": calm.cpu_us}
        if server:
            row["redis_out_bytes_event"] = took["out"] / calm.produced
        steps = ladder(servers_, load, RATES, 1.0, WATCHERS, bench.say)
        best = saturation(steps)
        bench.keep("cluster", steps, WATCHERS)
        row |= {"deliveries_per_s": best.per_s, "lost": best.lost, "disordered": best.disordered}
    bench.say(f"  {store} × {servers}: " + ", ".join(f"{k} {v:,.2f}" for k, v in row.items()))
    return row


def _middle(rounds: Sequence[Json]) -> Json:
    """The median of each figure; what was lost, in all."""
    row = {name: median(one[name] for one in rounds) for name in rounds[0]}
    return row | {name: sum(one[name] for one in rounds) for name in ("lost", "disordered")}


# --- what sizing needs ------------------------------------------------------------------------

EXECUTIONS, RATE, BUSY_RATE, STREAMS, SECONDS = 300, 2_000.0, 6_000.0, 2_000, 3.0
HANDLES = 8  # that are told of each event: what Redis takes to tell one is too little to measure


@contextmanager
def listening(store: str, executions: Sequence[str]) -> Iterator[None]:
    """HANDLES of a store that watch executions, in a process of their own."""
    command = [sys.executable, str(HERE / "listen.py"), store, str(HANDLES), *executions]
    process = subprocess.Popen(
        ["taskset", "-c", EVERY_CPU, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise Unavailable("benchmarks/listen.py could not listen")
        time.sleep(1.0)  # until all have subscribed
        yield
    finally:
        process.communicate()  # its input ends, and so does it


def inputs(bench: "Bench", server: Redis, busy: Json) -> Json:
    """What an event, a watcher and a connect cost each part: two servers on Redis, one produces.

    What an append costs is taken from the busy setup: less busy, each costs more, which is no
    matter for what can be carried.
    """
    found: dict[str, float] = {
        "append_us": busy["append_cpu_us"],
        "redis_append_us": busy["redis_append_us"],
        "redis_event_bytes": busy["redis_event_bytes"],
    }
    store = server.url
    with serving(store, 2, EXECUTIONS) as both, LoadGenerator() as load:
        own = both.members[0].paths
        step(both, load, RATE, 1.0, 0)  # warm: a stream's first node is made
        alone = _costs(server, both, load, RATE, 0)
        with listening(store, [path.split("/")[-2] for path in own]):
            told = _costs(server, both, load, RATE, 0)
        found["redis_in_bytes"] = alone["in"]
        found["redis_tell_us"] = (told["redis_us"] - alone["redis_us"]) / HANDLES
        found["redis_out_bytes"] = (told["out"] - alone["out"]) / HANDLES
        paths = [at(both.members[1], path) for path in own]
        _connected(both, load, paths, EXECUTIONS, found, "watched_execution")
        found["read_and_deliver_us"] = _costs(server, both, load, BUSY_RATE, 1)["second_us"]
    with serving(server.url, 2, 1, "--heartbeat", "2") as both, LoadGenerator() as load:
        second = both.members[1]
        found["process_bytes"] = second.rss_bytes()
        path = at(second, both.members[0].paths[0])
        _connected(both, load, [path], STREAMS // 10, {}, "")  # warm: what the first ones make
        load.command("close")
        time.sleep(0.5)
        _connected(both, load, [path], STREAMS, found, "stream")
        spent = second.cpu_s()
        time.sleep(6.0)
        found["heartbeat_us"] = (second.cpu_s() - spent) / (STREAMS * 3) * 1e6
        calm = _costs(server, both, load, 20.0, STREAMS)
        found["deliver_us"] = calm["second_us"] / STREAMS
        found["wire_bytes"] = calm["wire"] / STREAMS
    # One event for one watcher is read, parsed and written: the first is what is left.
    found["read_us"] = max(found.pop("read_and_deliver_us") - found["deliver_us"], 0.0)
    rounded = {name: round(value, 2) for name, value in sorted(found.items())}
    bench.say("  " + ", ".join(f"{name} {value:,}" for name, value in rounded.items()))
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} × {_processor()}, Linux {platform.release()}",
        "event_bytes": 200,
        "measured": rounded,
    }


def _connected(
    both: Together, load: LoadGenerator, paths: list[str], count: int, found: Json, what: str
) -> None:
    """Connect watchers to the second server, and note what each of them costs it."""
    second = both.members[1]
    both.paths = paths
    memory, spent = second.rss_bytes(), second.cpu_s()
    answer = load.connect(both, count)
    if answer["failed"]:
        raise Unavailable(f"{answer['failed']} of {count} streams were refused")
    time.sleep(0.5)
    found[f"{what}_bytes"] = max(second.rss_bytes() - memory, 0) / count
    found[f"{what}_connect_us"] = (second.cpu_s() - spent) / count * 1e6


def _costs(
    server: Redis, both: Together, load: LoadGenerator, rate: float, fan_out: int
) -> dict[str, float]:
    """What each event took of each part."""
    before = [one.cpu_s() for one in both.members]
    with watched(server) as took:
        made = step(both, load, rate, SECONDS, fan_out)
    if made.missing or made.lost or not made.sustained:
        raise Unavailable(f"not sustained: {made.line()}")
    after = [one.cpu_s() for one in both.members]
    first, second = (now - then for now, then in zip(after, before, strict=True))
    events = made.produced
    return {
        "first_us": first / events * 1e6,
        "second_us": second / events * 1e6,
        "redis_us": took["cpu_s"] / events * 1e6,
        "in": took["in"] / events,
        "out": took["out"] / events,
        "memory": took["memory"] / events,
        "wire": made.bytes / events,
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else "?"
