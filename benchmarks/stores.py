"""One store, measured by itself: appends, reads, and how soon a watch is told.

    python benchmarks/stores.py sqlite:///FILE | redis://… | memory:

200-byte events; the watch is on a handle of its own, as another process has.
"""

import asyncio
import json
import statistics
import sys
import time
from datetime import UTC, datetime

import uvloop

from tailrace.adapters import open_log
from tailrace.cli.serving import tune_collector
from tailrace.clock import rfc3339
from tailrace.events import Draft, Record, new_execution_id
from tailrace.log.base import EventLog, Opening
from tailrace.settings import Settings

SECONDS = 3.0
WRITERS = 64
READ_EVENTS = 50_000
RATE_HZ = 500  # of the appends whose way to the watch is measured
TS = rfc3339(datetime.now(UTC))


def event(n: int) -> Draft:
    """An event of some 200 bytes that says when it was made."""
    return Draft(type="custom.bench", ts=TS, data={"n": n, "t": time.monotonic_ns(), "p": "x" * 10})


async def created(log: EventLog) -> str:
    """A new log."""
    execution_id = new_execution_id(datetime.now(UTC))
    opening = Opening(execution_id=execution_id, kind="task", flow="bench")
    await log.create(opening, [Draft(type="execution.queued", ts=TS, data={})])
    return execution_id


async def appends(log: EventLog, writers: int, batch: int, *, one: bool = False) -> float:
    """Events a second, by writers that each await every append, to a log each or to one."""
    count = 0

    async def write(execution_id: str) -> None:
        nonlocal count
        while time.monotonic() < end:
            await log.append(execution_id, [event(count)] * batch)
            count += batch

    ids = [await created(log)] * writers if one else [await created(log) for _ in range(writers)]
    began = time.monotonic()
    end = began + SECONDS
    await asyncio.gather(*[write(execution_id) for execution_id in ids])
    return count / (time.monotonic() - began)


async def reads(log: EventLog) -> float:
    """Events a second, page by page."""
    execution_id = await created(log)
    for _ in range(READ_EVENTS // 1000):
        await log.append(execution_id, [event(0)] * 1000)
    began, position = time.monotonic(), 0
    while page := await log.read(execution_id, position, 500):
        position = page[-1].seq
    return position / (time.monotonic() - began)


async def latencies(log: EventLog, other: EventLog, watched: int) -> list[float]:
    """Milliseconds from before an append to its watch, with so many logs watched."""
    ids = [await created(log) for _ in range(watched)]
    found: list[float] = []
    all_told = asyncio.Event()
    count = round(SECONDS * RATE_HZ)

    def told(records: object) -> None:
        assert isinstance(records, list)
        for record in records:
            assert isinstance(record, Record)
            found.append((time.monotonic_ns() - int(record.event().data["t"])) / 1e6)
        if len(found) == count:
            all_told.set()

    stops = [other.watch(execution_id, 1, told) for execution_id in ids]
    await asyncio.sleep(1)  # all subscribed
    began = time.monotonic()
    for n in range(count):
        await asyncio.sleep(max(0.0, began + n / RATE_HZ - time.monotonic()))
        await log.append(ids[n % watched], [event(n)])
    await all_told.wait()
    for stop in stops:
        stop()
    return found


async def measure(url: str) -> None:
    """Print what was measured, a line each."""
    settings = Settings(store=url)
    async with open_log(settings) as log, open_log(settings) as second:
        other = log if url == "memory:" else second
        for writers, batch in ((1, 1), (64, 1), (64, 10)):
            rate = await appends(log, writers, batch)
            print(json.dumps({"writers": writers, "batch": batch, "events_per_s": round(rate)}))
        rate = await appends(log, WRITERS, 1, one=True)
        print(json.dumps({"writers": WRITERS, "logs": 1, "events_per_s": round(rate)}))
        print(json.dumps({"read_events_per_s": round(await reads(log))}))
        for watched in (1, 1000):
            found = await latencies(log, other, watched)
            cuts = statistics.quantiles(found, n=100)
            said = {"watched": watched, "p50_ms": round(cuts[49], 2), "p99_ms": round(cuts[98], 2)}
            print(json.dumps(said))


def main() -> None:
    """Measure the store of the command line."""
    tune_collector()
    uvloop.run(measure(sys.argv[1]))


if __name__ == "__main__":
    main()
