"""Flows that say much: log lines by the thousand, in colour, from several nodes and sources."""

import time

import anyio

from tailrace import flow, log, node

LEVELS = ("debug", "info", "info", "info", "warning", "info", "error", "info")
SHADES = ("\x1b[32mGET\x1b[0m", "\x1b[34mPUT\x1b[0m", "\x1b[1;31mDELETE\x1b[0m")


@node
async def fetch(lines: int) -> int:
    """Say lines of every level, in colour, now and then one that is hard to show."""
    for number in range(lines):
        verb = SHADES[number % len(SHADES)]
        text = f"{verb} /orders/{number:05} \x1b[2m{number % 97} ms\x1b[0m"
        log(text, level=LEVELS[number % len(LEVELS)], source="http")
    log("\x1b[38;5;208m downloaded 10 %\r downloaded 100 %\x1b[0m", source="bar")
    log("<script>alert('no markup')</script> \x1b[48;2;120;20;90m on purple \x1b[0m", source="bar")
    log("a long line: " + "0123456789 " * 60, source="bar")
    return lines


@node
async def check(count: int) -> int:
    """Say a little, as another node."""
    log(f"checked {count} orders", source="checks")
    log("Traceback: one order has no price", level="error", source="checks")
    return count


@flow
def orders(lines: int = 200) -> object:
    """Fetch and check orders."""
    return check(fetch(lines))


@node
async def pour(lines: int, per_second: int) -> int:
    """Say so many lines at so many a second, by the clock."""
    began, said = time.monotonic(), 0
    while said < lines:
        due = min(int((time.monotonic() - began) * per_second) + 1, lines)
        for number in range(said, due):
            log(
                f"line {number:07} of a flood: worker {number % 7} took {number % 97} ms",
                source="flood",
            )
        said = due
        await anyio.sleep(0.01)
    return said


@flow
def flood(lines: int = 100_000, per_second: int = 5000) -> object:
    """Many lines, fast."""
    return pour(lines, per_second)
