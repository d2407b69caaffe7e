"""An agent as plain code: it uses a tool, thinks in a step, and speaks as it goes.

    tailrace run answer
    tailrace run answer --input '{"question": "Which zones has France?"}' --stream

There is no model here: the words come from the time-zone file that examples/etl.py reads. With a
real model, only `speak` changes: iterate over its tokens and yield each.
"""

import csv
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from tailrace import Result, agent, chunk, emit, flush, log, progress, step, task, tool_call, usage

FILE = Path(__file__).parent / "data" / "zones.csv"
COUNTRIES = {"france": "FR", "germany": "DE", "japan": "JP", "brazil": "BR", "australia": "AU"}
PAUSE_S = 0.01


async def search(code: str) -> list[str]:
    """The zones of a country."""
    text = await anyio.Path(FILE).read_text(encoding="utf-8")
    return [row["zone"] for row in csv.DictReader(text.splitlines()) if row["country"] == code]


@agent
async def answer(question: str = "Which time zones has Brazil?") -> AsyncIterator[object]:
    """Answer a question about a country's time zones."""
    async with step("understand") as understood:
        code = next((c for name, c in COUNTRIES.items() if name in question.lower()), None)
        log(f"country: {code}")
        understood.output = {"country": code}
    if code is None:
        logging.getLogger("answer").warning("no country in %r", question)
        yield "I know only a few countries: "
        yield ", ".join(sorted(COUNTRIES))
        return
    async with step("look up") as found:
        with tool_call("zones", {"country": code}) as call:
            call.output = zones = await search(code)
        found.output = {"zones": len(zones)}
    progress(0.5, "speaking")
    yield f"There are {len(zones)} of them.\n"
    for zone in zones:
        yield f"- {zone}\n"
        await anyio.sleep(PAUSE_S)  # as a model would
    usage(input_tokens=len(question.split()), output_tokens=2 * len(zones))
    emit("answer.given", zones=len(zones))
    yield Result({"country": code, "zones": zones})


@task
async def count_zones(country: str = "FR") -> int:
    """Count a country's zones: a task is an agent that need not speak."""
    log(f"counting {country}")
    await flush()  # what was said is in the log from here on
    zones = await search(country)
    chunk(f"{len(zones)} zones")  # what an async generator yields, said from anywhere
    return len(zones)
