"""An engine outside, for tests that decide themselves what is in a log, and when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.web.conftest import Server

# A minute ago: what is told of the time after it is in no future, and is taken as it is.
BEGAN = datetime.now(UTC) - timedelta(minutes=1)


class Engine:
    """Reports one execution, step by step; times are seconds after BEGAN, up to 60."""

    def __init__(
        self,
        server: Server,
        graph: dict[str, Any] | None = None,
        flow: str = "job",
        *,
        begun: bool = True,
    ) -> None:
        self.id = f"engine-{id(self)}"
        self._url, self._seq = server.executions(self.id, "events"), 0
        queued: dict[str, Any] = {"flow": flow, "kind": "workflow", "lease_ms": 600_000}
        if graph is not None:
            queued["graph"] = graph
        self.tell(event("execution.queued", None, 0, **queued))
        if begun:
            self.tell(event("execution.started", None, 0.05, worker="tests"))

    def tell(self, *events: dict[str, Any]) -> None:
        """Have the log take them, as one."""
        self._seq += 1
        batch = {"producer": "tests", "producer_seq": self._seq, "events": events}
        httpx.post(self._url, json=batch, timeout=20).raise_for_status()

    def end(self, at: float) -> None:
        self.tell(event("execution.completed", None, at))


def event(type_: str, node: str | None, at: float, attempt: int = 1, **data: Any) -> dict[str, Any]:
    """One event; `at` is in seconds after the beginning."""
    moment = (BEGAN + timedelta(seconds=at)).isoformat().replace("+00:00", "Z")
    made: dict[str, Any] = {"type": type_, "ts": moment, "data": data}
    if node is not None:
        made |= {"node": node, "attempt": attempt}
    return made


def started(node: str, at: float, attempt: int = 1) -> dict[str, Any]:
    return event("node.started", node, at, attempt)


def completed(node: str, at: float, output: Any = 1, attempt: int = 1) -> dict[str, Any]:
    return event("node.completed", node, at, attempt, output=output)


def graph(nodes: list[str], edges: list[tuple[str, str]], name: str = "job") -> dict[str, Any]:
    """A graph of these nodes, begun by a trigger."""
    aimed = {to for _, to in edges}
    begun = [("trigger", node) for node in nodes if node not in aimed]
    return {
        "ir_version": 1,
        "name": name,
        "trigger": {"input_schema": {}},
        "capture": nodes[-1],
        "nodes": [
            {"id": "trigger", "kind": "trigger"},
            *({"id": node, "kind": "inline"} for node in nodes[:-1]),
            {"id": nodes[-1], "kind": "capture"},
        ],
        "edges": [
            {"from": source, "to": to, "param": f"p{number}"}
            for number, (source, to) in enumerate([*begun, *edges])
        ],
    }
