"""The architecture, executed: who may import whom inside the package.

A module may import only what stands above it here, and never what its line forbids. Function
bodies and TYPE_CHECKING blocks count too: an arrow is an arrow.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "tailrace"

# From the bottom up: each layer may import those above it in this list, but not the named ones.
LAYERS: dict[str, set[str]] = {
    "version": set(),
    "errors": set(),
    "clock": set(),
    "settings": set(),
    "auth": {"clock", "settings"},  # pure
    "events": set(),
    "sse": {"events"},
    "filters": {"sse"},
    "redact_rules": {"errors", "clock", "settings", "auth", "events", "sse", "filters"},
    "redact_literals": {"errors", "clock", "settings", "auth", "events", "sse", "filters"},
    "redact_scanner": {"clock", "settings", "auth", "events", "sse", "filters"},
    "redact_secrets": {"clock", "settings", "auth", "events", "sse", "filters"},
    "redact_stream": {"errors", "clock", "settings", "auth", "events", "sse", "filters"},
    "redact": {"clock", "settings", "events", "sse", "filters"},  # pure: only errors
    "lines": {"events", "sse"},
    "patch": {"events", "sse"},
    "flow": {"clock", "events", "sse"},
    "lifecycle": {"flow", "clock"},
    "metrics": {"settings", "events", "sse", "filters", "redact", "lines", "patch", "flow"},
    "log.facts": {"flow", "sse"},
    "log.base": {"flow", "sse"},
    "log.rules": {"flow", "sse", "log.facts"},  # pure
    "log.memory": {"flow", "sse"},
    "log.sqlite_file": {"log.memory", "log.base", "log.rules"},
    "log.sqlite_facts": {"log.memory", "log.base", "log.rules"},
    "log.sqlite_rows": {"log.memory", "log.sqlite_file", "log.sqlite_facts"},
    "log.sqlite_watch": {"log.memory", "log.sqlite_file", "log.sqlite_facts"},
    "log.sqlite_writer": {"log.memory", "log.sqlite_facts"},
    "log.sqlite": {"log.memory"},  # stores never import each other
    "log.redis_scripts": {"log.memory", "log.sqlite", "log.base", "log.rules"},
    "log.redis_errors": {"log.memory", "log.sqlite", "log.base", "log.rules"},
    "log.redis_lane": {"log.memory", "log.sqlite", "log.base", "log.rules"},
    "log.redis_address": {"log.memory", "log.sqlite", "log.base", "log.rules"},
    "log.redis_link": {"log.memory", "log.sqlite", "log.base", "log.rules"},
    "log.redis_facts": {"log.memory", "log.sqlite", "log.base", "log.rules"},
    "log.redis_writer": {"log.memory", "log.sqlite"},
    "log.redis_feeds": {"log.memory", "log.sqlite"},
    "log.redis_reader": {"log.memory", "log.sqlite"},
    "log.redis_watch": {"log.memory", "log.sqlite"},
    "log.redis_index": {"log.memory", "log.sqlite"},
    "log.redis_restore": {"log.memory", "log.sqlite"},
    "log.redis": {"log.memory", "log.sqlite"},
    "compact": {"sse", "flow", "log.base", "log.rules", "log.memory", "log.sqlite"},
    "seek": {"log.memory", "log.sqlite", "flow"},
    "signals": {
        "events",
        "sse",
        "flow",
        "log.base",
        "log.rules",
        "log.memory",
        "log.sqlite",
        "seek",
    },  # pure
    "positions": {"log.memory", "log.sqlite", "flow", "sse", "signals", "seek"},
    "batch": {"log.memory", "log.sqlite", "flow", "signals", "seek", "positions"},
    "tail": {"log.memory", "log.sqlite", "flow", "sse", "seek", "positions"},
    "watcher": {"log.memory", "log.sqlite", "flow", "sse", "seek", "log.base", "log.rules"},
    "hub": {"log.memory", "log.sqlite", "flow", "sse"},
    "jwts": {"events", "sse", "hub", "log.base", "log.rules", "log.memory", "log.sqlite", "flow"},
    "access": {"log.memory", "log.sqlite", "flow", "events", "sse"},
    "many": {"log.memory", "log.sqlite", "flow", "sse"},
    "following": {"log.memory", "log.sqlite", "flow", "sse"},
    "snapshots": {"log.memory", "log.sqlite", "flow", "sse", "hub"},
    "retention": {"log.memory", "log.sqlite", "flow", "sse"},
    "endings": {"hub", "flow", "log.base", "log.rules", "log.memory", "log.sqlite", "sse"},
    "intake": {"hub", "log.memory", "log.sqlite", "flow", "seek"},
    "limits": {"hub", "log.memory", "log.sqlite", "flow", "seek", "many", "endings", "intake"},
    "recorder": {"hub", "log.memory", "log.sqlite", "flow"},
    "voice": {"hub", "log.memory", "log.sqlite", "flow"},
    "ambient": {"hub", "log.memory", "log.sqlite", "flow"},
    "journal": {"hub", "log.memory", "log.sqlite", "flow"},
    "invoke": {"hub", "log.memory", "log.sqlite", "flow", "recorder", "ambient"},
    "agent": {"hub", "log.memory", "log.sqlite"},
    "takeover": {"hub", "agent", "log.memory", "log.sqlite"},
    "executor": {"hub", "agent", "log.memory", "log.sqlite"},  # hub and executor meet at the log
    "workload": {"hub", "log.memory", "log.sqlite", "flow", "executor"},
    "work.base": {"hub", "flow", "lifecycle", "log.base", "log.rules", "events"},
    "work.saq": {"hub", "flow", "lifecycle", "log.base", "log.rules", "events"},
    "adapters": {"sse", "hub", "flow", "lifecycle", "executor", "agent", "workload", "recorder"},
    "dispatch": {"hub", "flow", "log.memory", "log.sqlite", "executor", "work.saq"},
    "supervisor": {"hub", "flow", "log.memory", "log.sqlite", "executor", "agent", "work.saq"},
    "executions": {"hub", "flow", "log.memory", "log.sqlite", "executor", "work.saq"},
    "startable": {
        "sse",
        "hub",
        "log.base",
        "log.rules",
        "log.memory",
        "log.sqlite",
        "work.saq",
        "executions",
    },
    "reader": {"sse", "flow", "log.memory", "log.sqlite", "work.saq", "executor", "executions"},
    "run": {"sse", "hub", "flow", "log.memory", "log.sqlite", "work.saq", "executor"},
    "runtime": {"sse", "log.memory", "log.sqlite", "work.saq", "executor"},
    "worker": {"sse", "hub", "flow", "log.memory", "log.sqlite", "work.saq"},
    "reported": {"sse", "hub", "log.memory", "log.sqlite", "executor", "agent", "workload"},
    "ingest": {"sse", "hub", "flow", "log.memory", "log.sqlite", "executor", "agent", "workload"},
    "jobs": {"sse", "hub", "flow", "log.memory", "log.sqlite", "executor", "agent", "workload"},
    "archive": {"sse", "hub", "flow", "log.memory", "log.sqlite", "executor", "agent", "workload"},
    "broker": {"log.memory", "log.sqlite", "hub", "flow", "executor", "agent", "workload"},
    "report": {"log.memory", "log.sqlite", "hub", "flow", "executor", "agent"},
    "http": {"log.memory", "log.sqlite", "report"},
    "api": {"log.memory", "log.sqlite", "hub"},
    "client": {  # never the server
        *(
            "http",
            "api",
            "report",
            "broker",
            "runtime",
            "adapters",
            "startable",
            "reader",
            "run",
            "executor",
            "hub",
            "flow",
            "recorder",
            "supervisor",
            "workload",
        ),
        *(
            "endings",
            "limits",
            "ambient",
            "invoke",
            "agent",
            "log.base",
            "log.rules",
            "log.memory",
            "log.sqlite",
        ),
    },
    "cli": {"log.memory", "log.sqlite", "hub"},
    "integrations": set(),
    "testing": {"http", "cli", "client", "runtime", "adapters", "hub", "log.memory", "log.sqlite"},
}

REDIS = {layer for layer in LAYERS if layer.startswith("log.redis")}
SQLITE = {layer for layer in LAYERS if layer.startswith("log.sqlite")}
REDACT = {layer for layer in LAYERS if layer.startswith("redact_")}
HUB = {"signals", "positions", "batch", "tail", "watcher"}
for layer, forbidden in LAYERS.items():
    if "redact" in forbidden:
        forbidden |= REDACT  # nor what it is made of
    if "hub" in forbidden:
        forbidden |= HUB  # likewise
    if "log.sqlite" in forbidden:
        forbidden |= SQLITE  # likewise
        if layer not in REDIS:
            forbidden |= REDIS  # who may not know one store may not know the other


def layer_of(module: str) -> str:
    """`tailrace.log.base` → `log.base`; `tailrace.http.app` → `http`; the root → ``."""
    name = module.removeprefix("tailrace").removeprefix(".")
    return next(
        (layer for layer in LAYERS if name == layer or name.startswith(f"{layer}.")),
        ""
        if name in ("", "__init__", "log", "log.__init__", "work", "work.__init__")
        else f"unknown: {name}",
    )


def modules() -> list[str]:
    paths = [path for path in PACKAGE.rglob("*.py") if "examples" not in path.parts]
    return sorted(
        ".".join(("tailrace", *p.relative_to(PACKAGE).with_suffix("").parts)) for p in paths
    )


def imports(module: str) -> Iterator[str]:
    path = PACKAGE.parent / Path(*module.split(".")).with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                submodule = PACKAGE.parent / Path(*node.module.split("."), f"{alias.name}.py")
                yield f"{node.module}.{alias.name}" if submodule.is_file() else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("module", modules())
def test_arrows_point_one_way(module: str) -> None:
    layer = layer_of(module)
    if not layer:
        return  # the root re-exports the public names, and nothing inside imports it
    order = list(LAYERS)
    allowed = set(order[: order.index(layer) + 1]) - LAYERS[layer]
    if layer == "integrations":
        allowed = {"", "errors", layer}  # the public API, and nothing else
    ours = [name for name in imports(module) if name.split(".")[0] == "tailrace"]
    wrong = [name for name in ours if layer_of(name) not in allowed]
    assert not wrong, f"{module} (layer {layer}) may not import {wrong}"


def test_every_module_has_a_layer() -> None:
    assert not [module for module in modules() if layer_of(module).startswith("unknown")]
    assert {layer_of(module) for module in modules()} - {""} == set(LAYERS)


def test_the_walk_sees_imports_wherever_they_stand() -> None:
    """The rule is only as good as its eyes: it must find what is known to be there."""
    assert "tailrace.log.sqlite" in set(imports("tailrace.adapters"))  # inside a function
    assert "tailrace.events" in set(imports("tailrace.tail"))


def test_importing_the_package_opens_no_network_and_no_file_of_ours() -> None:
    """No import side effects: what a module does when imported is define names."""
    for module in modules():
        path = PACKAGE.parent / Path(*module.split(".")).with_suffix(".py")
        calls = [
            node
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        ]
        assert not calls, f"{module} calls something when it is imported"
