"""Is a graph sound? Pure checks over the IR; every finding has a stable code and a place.

The law of this file: a check reads the IR and nothing else, so that a graph from Python, from a
file and from another engine are judged alike.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from tailrace.errors import InvalidFlow
from tailrace.flow.compare import mismatch
from tailrace.flow.ir import TRIGGER, FlowIR

# Resources whose answers change by themselves.
NONDETERMINISTIC = frozenset(
    f"resource::{name}" for name in ("http", "sse", "clock", "random", "llm", "process")
)


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
    shape = [*_cycle(ir), *_capture(ir), *_streams(ir)]
    return [*shape, *_types(ir), *_promises(ir), *([] if shape else _stuck_streams(ir))]


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


def _types(ir: FlowIR) -> Iterator[Problem]:
    """What a node gives must be what the next one takes, as far as both say."""
    nodes = {node.id: node for node in ir.nodes}
    for edge in ir.edges:
        source, target = nodes[edge.from_], nodes[edge.to]
        if edge.param is None or edge.from_ == TRIGGER or not source.out_schema:
            continue
        taken = ((target.in_schema or {}).get("properties") or {}).get(edge.param)
        given = source.out_schema
        if source.map is not None and not source.streaming:
            given = {"type": "array", "items": given}
        if target.map is not None and target.map.param == edge.param and edge.buffer is None:
            taken = {"type": "array", "items": taken or {}}
        why = taken and mismatch(given, taken)
        if why:
            where = f"{edge.from_} → {edge.to}.{edge.param}"
            yield Problem("type_mismatch", where, why)


def _promises(ir: FlowIR) -> Iterator[Problem]:
    """What a node says of itself must hold together."""
    for node in ir.nodes:
        retried = node.retry is not None and node.retry.attempts > 1
        if retried and node.effects == "effectful" and node.idempotency is None:
            yield Problem(
                "effectful_retry",
                node.id,
                "a retry may repeat its effects; say effects='read_only' or 'pure', or name the "
                "idempotency key that makes a second call harmless",
            )
        wild = [name for name in node.resources if name in NONDETERMINISTIC]
        if node.determinism == "strict" and wild:
            yield Problem(
                "strict_nondeterministic",
                node.id,
                f"{wild[0]} can give another answer each time; a strict node cannot use it",
            )


def _stuck_streams(ir: FlowIR) -> Iterator[Problem]:
    """Two consumers of one stream, of which one also waits for the other's end.

    The one that waits takes no value, its buffer fills, the stream stops for both: a deadlock.
    """
    following = _following(ir)
    streaming = {node.id for node in ir.nodes if node.streaming}
    consumers: dict[str, list[str]] = defaultdict(list)
    for edge in ir.edges:
        if edge.buffer is not None:
            consumers[edge.from_].append(edge.to)
    for source, ends in consumers.items():
        for first in ends:
            if first in streaming:  # what it gives comes while it runs
                continue
            behind = _reachable(following, first)
            for then in ends:
                if then in behind:
                    yield Problem(
                        "stream_deadlock",
                        f"{source} → {first}, {then}",
                        f"{then} waits for the end of {first} before it takes from {source}, which "
                        f"waits for {then}",
                    )


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
