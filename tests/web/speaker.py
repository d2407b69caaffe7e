"""An agent that speaks Markdown, uses tools, fails at one, and counts its tokens."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio

from tailrace import agent, emit, flow, node, step, tool_call, usage

TEXT = """## High water

The next tides at **Brest**, from the *harmonic constants* of the port:

| Time | Height | Range |
|:-----|-------:|------:|
| 04:12 | 6.81 m | 5.20 m |
| 16:38 | 6.64 m | 4.98 m |

1. The **first** comes before sunrise.
2. The second is lower:
   - by 17 cm
   - because the moon is farther away

```python
height = mean + sum(a * cos(w * t - g) for a, w, g in constants)
```

> Heights are above chart datum. [More](https://example.org/tides)

<script>document.title = "no markup"</script>
"""


async def told(hold: str, what: str) -> None:
    """Go on when the test has written that file, in the folder that it holds us by."""
    while hold and not (Path(hold) / what).exists():  # noqa: ASYNC110 - the test is another process
        await anyio.sleep(0.02)


@agent
async def tides(port: str = "Brest", hold: str = "", pause_s: float = 0.0) -> AsyncIterator[object]:
    """Say when high water is."""
    yield f"Let me look at the constants of {port}.\n\n"
    with tool_call("constants", {"port": port, "fields": ["amplitude", "speed", "phase"]}) as call:
        await told(hold, "constants")
        call.output = [{"name": name, "amplitude": 2.05} for name in ("M2", "S2", "N2")]
    usage(input_tokens=412, output_tokens=31)
    try:
        with tool_call("weather", {"port": port}):
            raise ConnectionError("the weather service does not answer")
    except ConnectionError:
        emit("weather.skipped", port=port, reason="no answer")
    for word in TEXT.split(" "):
        yield word + " "
        await anyio.sleep(pause_s)
    await told(hold, "text")
    usage(input_tokens=538, output_tokens=214)
    async with step("check"):
        with tool_call("almanac") as call:
            call.output = "agrees"


@node
async def gauge(count: int, hold: str, pause_s: float) -> AsyncIterator[dict[str, object]]:
    """Give the level of the water, again and again."""
    for number in range(count):
        if number == count - 1:
            await told(hold, "last")
        yield {"level_m": round(3.4 + number / 100, 2), "rising": True, "station": "Brest"}
        await anyio.sleep(pause_s)


@node
async def chart(count: int) -> AsyncIterator[dict[str, object]]:
    """Give charts of 100 kB."""
    for number in range(count):
        with tool_call("draw", {"chart": number}) as call:
            call.output = [{"depth_m": depth} for depth in range(6000)]
        yield {"chart": number, "depths": list(range(20_000)), "last": "seabed"}


@flow
def levels(count: int = 30, hold: str = "", pause_s: float = 0.0) -> object:
    """Stream levels."""
    return gauge(count, hold, pause_s)


@flow
def charts(count: int = 2) -> object:
    """Stream values that are too large for their events."""
    return chart(count)
