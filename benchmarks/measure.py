"""One measurement: offer events at a rate, wait until they have arrived, say what it cost.

A rate is sustained if all that was asked for was produced and delivered, and the 99th percentile
of append-to-receive latency stayed under LATENCY_LIMIT_MS. Saturation is the most deliveries a
second of any step; rates rise until one is not sustained and gives no more than those before.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.harness import Json, LoadGenerator, Server

LATENCY_LIMIT_MS = 1000.0
DRAIN_S = 1.0
WORTH_MORE = 1.25  # a rate that is not sustained must give this much more to go on
PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """What one rate gave."""

    server: str
    rate: float
    produced: int
    delivered: int
    missing: int
    lost: int
    disordered: int
    per_s: float
    p50_ms: float
    p99_ms: float
    p999_ms: float
    cpu_us: float  # the server's CPU time for each delivery
    per_read: float  # events in each read of the client: how much was joined
    bytes: int  # that the client read, of all streams
    client_busy: float  # the load generator's share of its core; near 1 it is the limit
    sustained: bool

    def line(self) -> str:
        """For the terminal, while it runs."""
        return (
            f"    {self.rate:>8,.0f}/s  {self.per_s:>12,.0f} deliveries/s  p50 {self.p50_ms:>8.2f}"
            f"  p99 {self.p99_ms:>8.2f} ms  {self.cpu_us:>7.2f} µs each  lost {self.lost}"
            f"{'' if self.sustained else '  (not sustained)'}"
        )


def step(
    server: Server,
    load: LoadGenerator,
    rate: float,
    seconds: float,
    fan_out: int,
    *,
    block: int = 1,
    said: Callable[[str], None] = lambda _: None,
) -> Step:
    """Offer `rate` events a second, each to `fan_out` watchers."""
    load.command("mark")
    cpu, began = server.cpu_s(), time.monotonic()
    produced, took = _produce(server, load, rate, seconds, block)
    state = _drain(load, produced * fan_out)
    spent, elapsed = server.cpu_s() - cpu, max(time.monotonic() - began, took)
    state = load.command("mark")
    delivered = int(state["events"])
    offered = rate * seconds
    made = Step(
        server=server.name,
        rate=rate,
        produced=produced,
        delivered=delivered,
        missing=max(produced * fan_out - delivered, 0),
        lost=state["lost"],
        disordered=state["disordered"],
        per_s=delivered / elapsed,
        p50_ms=state["p50_ms"],
        p99_ms=state["p99_ms"],
        p999_ms=state["p999_ms"],
        cpu_us=spent / max(delivered, 1) * 1e6,
        per_read=delivered / max(state["reads"], 1),
        bytes=int(state["bytes"]),
        client_busy=state["cpu_s"] / elapsed,
        sustained=(
            produced >= 0.95 * offered
            and delivered >= 0.999 * produced * fan_out
            and state["p99_ms"] <= LATENCY_LIMIT_MS
        ),
    )
    said(made.line())
    return made


def _produce(
    server: Server, load: LoadGenerator, rate: float, seconds: float, block: int
) -> tuple[int, float]:
    if server.publish is not None:
        pad, streams = 170, len(server.paths)
        load.command(f"publish {server.port} {server.publish} {rate} {seconds} {pad} {streams}")
        time.sleep(seconds)
        while (state := load.command("stat"))["publishing"]:
            time.sleep(0.01)
        return int(state["produced"]), seconds
    extra = f"&block={block}" if server.name == "limit" else ""
    server.ask(f"/go?rate={rate}&seconds={seconds}{extra}", "POST")
    deadline = time.monotonic() + seconds + PATIENCE_S
    while not (done := server.ask("/done"))["done"]:
        if time.monotonic() > deadline:
            break  # so far behind that it does not get to its own clock: not sustained
        time.sleep(0.02)
    return int(done["produced"]), float(done["seconds"])


def _drain(load: LoadGenerator, expected: int) -> Json:
    """Wait for what is on its way; a server that is far behind is not waited for."""
    deadline = time.monotonic() + DRAIN_S
    while (state := load.command("stat"))["events"] < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return state


def ladder(
    server: Server,
    load: LoadGenerator,
    rates: Iterable[float],
    seconds: float,
    fan_out: int,
    said: Callable[[str], None],
) -> list[Step]:
    """Rising rates, until one is not sustained and gives no more than those before."""
    steps: list[Step] = []
    for rate in rates:
        best = max((one.per_s for one in steps), default=0.0)
        steps.append(step(server, load, rate, seconds, fan_out, said=said))
        if not steps[-1].sustained and steps[-1].per_s < WORTH_MORE * best:
            break
    return steps


def saturation(steps: Sequence[Step]) -> Step:
    """The step with the most deliveries a second."""
    return max(steps, key=lambda step: step.per_s)


def median(values: Iterable[float]) -> float:
    """The median; 0 of nothing."""
    listed: list[Any] = list(values)
    return float(statistics.median(listed)) if listed else 0.0
