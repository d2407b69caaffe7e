"""A plot as SVG: small, readable as text, and the same for the same numbers."""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 720, 420, 70, 50, 30, 170
COLOURS = ("#0b6e99", "#d9730d", "#6940a5", "#0f7b6c", "#ad1a72", "#9b9a97", "#dfab01", "#e03e3e")
Point = tuple[float, float]


def latency_plot(steps: Sequence[dict[str, Any]]) -> str:
    """p99 latency over deliveries a second, a line for each server, both axes logarithmic."""
    lines: dict[str, list[Point]] = defaultdict(list)
    for step in steps:
        if step["scenario"] == "fanout" and step["per_s"] > 0 and step["p99_ms"] > 0:
            lines[step["server"]].append((step["per_s"], step["p99_ms"]))
    points = [point for line in lines.values() for point in line]
    if not points:
        return '<svg xmlns="http://www.w3.org/2000/svg"/>\n'
    xs, ys = _decades(x for x, _ in points), _decades(y for _, y in points)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18">1,000 watchers of one execution: p99 latency (ms)</text>',
        f'<text x="{LEFT}" y="{HEIGHT - 10}">deliveries a second</text>',
    ]
    for power in range(xs[0], xs[1] + 1):
        x = _place(10.0**power, xs, LEFT, WIDTH - RIGHT)
        parts.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}">{_label(power)}</text>')
    for power in range(ys[0], ys[1] + 1):
        y = _place(10.0**power, ys, HEIGHT - BOTTOM, TOP)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 40}" y="{y + 4:.1f}">{_label(power)}</text>')
    for number, (server, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        spots = [
            (_place(x, xs, LEFT, WIDTH - RIGHT), _place(y, ys, HEIGHT - BOTTOM, TOP))
            for x, y in line
        ]
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in spots]
        y = TOP + 16 * number + 10
        parts.append(f'<circle cx="{WIDTH - RIGHT + 20}" cy="{y - 4}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 30}" y="{y}">{server}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _decades(values: Any) -> tuple[int, int]:
    listed = list(values)
    return math.floor(math.log10(min(listed))), math.ceil(math.log10(max(listed)))


def _place(value: float, decades: tuple[int, int], start: float, end: float) -> float:
    share = (math.log10(value) - decades[0]) / max(decades[1] - decades[0], 1)
    return start + share * (end - start)


def _label(power: int) -> str:
    return f"{10**power:,}" if power >= 0 else str(10.0**power)
