"""Is a graph sound? Pure checks over the IR; every finding has a stable code and a place.

The law of this file: a check reads the IR and nothing else, so that a graph from Python, from a
file and from another engine are judged alike.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tailrace.errors import InvalidFlow
from tailrace.flow.ir import TRIGGER, FlowIR


@dataclass(frozen=True, slots=True)
class Problem:
    """One finding."""

    code: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.code} at {self.where}: {self.message}"


def check(ir: FlowIR) -> list[Problem]:
    """Return every problem of a graph; an empty list means that it can run."""
    problems = list(_names(ir))
    if problems:  # the walks below need edges whose ends exist
        return problems
    return [*_cycle(ir), *_capture(ir), *_streams(ir)]


def require_valid(ir: FlowIR) -> None:
    """Raise InvalidFlow, naming the first problem and carrying all, unless the graph can run."""
    if problems := check(ir):
        raise InvalidFlow(f"{ir.name}: {problems[0]}", problems=[str(p) for p in problems])


def _names(ir: FlowIR) -> Iterator[Problem]:
    counts = Counter(node.id for node in ir.nodes)
    for node_id, count in counts.items():
        if count > 1:
            yield Problem("duplicate_node", node_id, f"{count} nodes have this id")
    for edge in ir.edges:
        for end in (edge.from_, edge.to):
            if end not in counts:
                yield Problem("unknown_node", f"{edge.from_} → {edge.to}", f"no node {end!r}")
    if ir.capture not in counts:
        yield Problem("capture_missing", ir.name, f"the capture {ir.capture!r} is not a node")


def _cycle(ir: FlowIR) -> Iterator[Problem]:
    """Peel off nodes without open inputs (Kahn, 1962); what stays is in or behind a cycle."""
    waiting = Counter(edge.to for edge in ir.edges)
    following = _following(ir)
    ready = [node.id for node in ir.nodes if not waiting[node.id]]
    for node_id in ready:
        for target in following[node_id]:
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    stuck = {node.id for node in ir.nodes} - set(ready)
    # Walking forwards from a stuck node, always to a stuck one, must come round.
    on_cycle = [node_id for node_id in stuck if node_id in _reachable(following, node_id, stuck)]
    if on_cycle:
        names = " → ".join(sorted(on_cycle))
        yield Problem("cycle", names, "these nodes wait for each other and would never run")


def _capture(ir: FlowIR) -> Iterator[Problem]:
    following = _following(ir)
    if ir.capture not in _reachable(following, TRIGGER):
        yield Problem(
            "capture_unreachable", ir.capture, "no way leads from the trigger to the capture"
        )


def _streams(ir: FlowIR) -> Iterator[Problem]:
    streaming = {node.id for node in ir.nodes if node.streaming}
    for edge in ir.edges:
        if edge.param is not None and edge.from_ not in streaming and edge.buffer is not None:
            where = f"{edge.from_} → {edge.to}"
            yield Problem("buffer_without_stream", where, f"{edge.from_} is not streaming")


def _following(ir: FlowIR) -> dict[str, list[str]]:
    following: dict[str, list[str]] = defaultdict(list)
    for edge in ir.edges:
        following[edge.from_].append(edge.to)
    return following


def _reachable(
    following: dict[str, list[str]], start: str, within: set[str] | None = None
) -> set[str]:
    """Nodes that a walk from `start` comes to; `start` itself only if the walk comes back."""
    found: set[str] = set()
    pending = [start]
    while pending:
        for target in following[pending.pop()]:
            if target not in found and (within is None or target in within):
                found.add(target)
                pending.append(target)
    return found
