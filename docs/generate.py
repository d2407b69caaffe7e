"""Writes the documents and schemas that are made from tables in the code.

    python docs/generate.py          write them
    python docs/generate.py --check  exit 1 if one of them is not what the code says

The law of this file: a fact is in the code once; here it is only laid out.
"""

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rich_click as click

from tailrace.cli.main import cli
from tailrace.cli.targets import example_names, load_flow
from tailrace.errors import all_errors
from tailrace.events import CATALOG, SCHEMA_VERSION, Event, Payload
from tailrace.flow.build import Flow
from tailrace.flow.ir import FlowIR
from tailrace.lifecycle import EXECUTION, NODE, fold
from tailrace.metrics import CATALOG as METRICS
from tailrace.settings import Settings, environment_name

ROOT = Path(__file__).parents[1]
NOTE = "<!-- Made by docs/generate.py from {}; change it there. -->\n\n"
Json = dict[str, Any]

# What the four source documents (shared seeds) call things, and what they are here.
SEED_NAMES = {
    "workflow_start": "execution.started",
    "workflow_status, agent_status, task_status": "the execution.* event of that status",
    "llm_chunk": "llm.chunk",
    "tool_call": "tool.call, tool.result",
    "structured_delta": "structured.delta (a JSON Patch, not the whole buffer again)",
    "complete": "execution.completed",
    "error": "execution.failed, or node.failed for one node",
    "warning": "warning",
    "connected": "stream.open",
    "timeout": "stream.closing with reason `lifetime`; the execution's own is execution.timed_out",
    "node_key": "the envelope's `node`",
    "started_at, completed_at, failed_at": "the envelope's `ts`; beside it where an engine reports",
    "execution_id in an event's data": "the envelope's `execution_id`",
    "the channel `execution:{id}:events`, kept 5 minutes": (
        "the log itself, in any store; one that is not to be kept is `ephemeral`, for `ephemeral_s`"
    ),
    "output_keys, output_size_bytes": "`output_summary.keys`, `output_summary.size_bytes`",
    "unnamed `data:` log lines, then `event: done`": "log.line, log.sealed, the terminal event",
}


def event_schema() -> Json:
    """JSON Schema of the envelope and of every catalogued payload."""
    definitions: Json = {}
    choices = []
    for name, payload in CATALOG.items():
        schema = payload.model_json_schema(ref_template="#/$defs/{model}")
        definitions |= schema.pop("$defs", {})
        definitions[name] = schema
        when = {"properties": {"type": {"const": name}}}
        then = {"properties": {"data": {"$ref": f"#/$defs/{name}"}}}
        choices.append({"if": when, "then": then})
    text = {"type": "string"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Tailrace event",
        "version": SCHEMA_VERSION,
        "type": "object",
        "required": ["id", "type", "ts", "execution_id", "data"],
        "properties": {
            "id": {"type": ["integer", "null"], "minimum": 1},
            "type": text,
            "ts": text | {"format": "date-time"},
            "execution_id": text,
            "node": text,
            "attempt": {"type": "integer", "minimum": 1},
            "data": {"type": "object"},
        },
        "allOf": choices,
        "$defs": definitions,
    }


def _type_of(schema: Json) -> str:
    if "anyOf" in schema:
        return " or ".join(_type_of(choice) for choice in schema["anyOf"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"[{_type_of(schema.get('items', {}))}]"
    return str(schema.get("type", "any"))


def _fields(payload: type[Payload]) -> Iterator[str]:
    schema = payload.model_json_schema(ref_template="{model}")
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        must = "" if name in required else "?"
        yield f"- `{name}{must}` {_type_of(field)} — {field.get('description', 'see Error.')}"


def events_document() -> str:
    """docs/events.md."""
    lines = ["# Events", "", NOTE.format("`tailrace.events`").strip(), ""]
    lines += [
        "Every event has this envelope; its fields are stable for ever, and readers ignore fields",
        "and types that they do not know (`schemas/events.schema.json`):",
        "",
        "```json",
        '{"id": 13, "type": "node.completed", "ts": "2026-02-18T10:30:00.123456Z",',
        ' "execution_id": "01J8Z0Q3RXW5V9N7M2K4T6Y8PA", "node": "http_1", "attempt": 1,',
        ' "data": {"duration_ms": 234, "output_summary": {"keys": ["body"], "size_bytes": 1024,',
        '          "preview": "{\\"body\\":"}}}',
        "```",
        "",
        "`id` is the sequence in its execution: 1, 2, 3 … without a hole. Times are RFC 3339 UTC,",
        "durations integer milliseconds, sizes bytes. `attempt` counts the tries of the execution,",
        "in `node.*` events those of the node. A `?` marks a field that may be missing.",
        "",
    ]
    group = ""
    for name, payload in CATALOG.items():
        if name.partition(".")[0] != group:
            group = name.partition(".")[0]
            lines += [f"## {group}", ""]
        mark = " (terminal)" if payload.terminal else " (control: no id, never in the log)"
        mark = mark if payload.terminal or payload.control else ""
        lines += [f"### `{name}`{mark}", "", payload.__doc__ or "", ""]
        fields = list(_fields(payload))
        lines += [*fields, ""] if fields else []
    lines += [
        "## custom",
        "",
        "`custom.<name>` is yours: any data, any number of them.",
        "",
        "## The names of the source documents",
        "",
        "| there | here |",
        "|---|---|",
        *[f"| {there} | {here} |" for there, here in SEED_NAMES.items()],
    ]
    return "\n".join(lines) + "\n"


def errors_document() -> str:
    """docs/errors.md."""
    lines = ["# Errors", "", NOTE.format("`tailrace.errors`").strip(), ""]
    lines += [
        "One tree of exceptions in Python, one shape over HTTP (RFC 9457, `application/problem+json`),",
        "one line on the command line; the `code` is the same everywhere and never changes.",
        "",
        "| code | class | HTTP | retry | meaning and what to do |",
        "|---|---|---|---|---|",
    ]
    for error in sorted(all_errors(), key=lambda error: error.code):
        words = f"{error().message} {error.default_hint or ''}".strip().replace("|", "\\|")
        retry = "yes" if error.retryable else ""
        lines.append(f"| `{error.code}` | {error.__name__} | {error.status} | {retry} | {words} |")
    return "\n".join(lines) + "\n"


def settings_document() -> str:
    """docs/settings.md."""
    lines = ["# Settings", "", NOTE.format("`tailrace.settings`").strip(), ""]
    lines += [
        "In Python: `Tailrace(settings=Settings(heartbeat_s=5))`. On the command line the flag of",
        "that name (`--heartbeat-s 5`) or the environment variable; a flag wins.",
        "",
        "| setting | environment | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = "one file in the user's data folder" if name == "store" else field.get_default()
        words = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{name}` | `{environment_name(name)}` | {default} | {words} |")
    return "\n".join(lines) + "\n"


def lifecycle_document() -> str:
    """docs/lifecycle.md."""
    lines = ["# Life cycles", "", NOTE.format("`tailrace.lifecycle`").strip(), ""]
    lines += [
        "A status is never stored: it is the fold of the events by these tables. A move that is not",
        "in them is refused as `illegal_transition`. Every execution ends in exactly one of the",
        "states without a way out.",
        "",
    ]
    for title, table in (("Execution", EXECUTION), ("Node", NODE)):
        lines += [f"## {title}", "", "```mermaid", "stateDiagram-v2"]
        for state, moves in table.items():
            for event, target in moves.items():
                start = "[*]" if state == "new" else state
                lines.append(f"  {start} --> {target}: {event.partition('.')[2]}")
        lines += [f"  {state} --> [*]" for state, moves in table.items() if not moves]
        lines += ["```", ""]
    return "\n".join(lines)


def _option_row(option: click.Parameter) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return f"| {names} | {(getattr(option, 'help', '') or '').replace('|', chr(92) + '|')} |"


def _commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command by its whole name, a group before what is in it."""
    for name, command in sorted(group.commands.items()):
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")


def commands_document() -> str:
    """docs/commands.md."""
    lines = ["# Commands", "", NOTE.format("`tailrace.cli`").strip(), ""]
    lines += [
        "Results go to stdout, everything about them to stderr; colours only on a terminal;",
        "`--json` gives one object a line. Exit status: 0 done, 1 failed, 2 usage, 130 cancelled;",
        "`exec` exits as its command did.",
        "",
        'Completion in bash: `eval "$(_TAILRACE_COMPLETE=bash_source tailrace)"` (zsh and fish',
        "likewise): it knows ids, targets and flags.",
        "",
    ]
    for name, command in _commands(cli):
        arguments = [
            p.make_metavar(click.Context(command))
            for p in command.params
            if isinstance(p, click.Argument)
        ]
        lines += [f"## tailrace {name}", "", f"`tailrace {' '.join([name, *arguments])}`", ""]
        lines += [" ".join((command.help or "").split()), ""]
        options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
        if options:
            lines += ["| option | |", "|---|---|", *map(_option_row, options), ""]
        examples = [
            line.strip() for line in (command.epilog or "").splitlines()[1:] if line.strip()
        ]
        lines += ["```sh", *examples, "```", ""] if examples else []
    return "\n".join(lines)


def metrics_document() -> str:
    """docs/metrics.md."""
    lines = ["# Metrics", "", NOTE.format("`tailrace.metrics`").strip(), ""]
    lines += [
        "`GET /metrics` has these and no others, as Prometheus' text or, where asked for, as",
        "OpenMetrics; there the histograms of streams carry the trace of a request that named one",
        "(`traceparent`) as exemplars. They are of the process that answers. Labels have few",
        "values; `workspace` is empty unless the setting `metrics_workspaces` is on. What to do with",
        "them is in [operations](operations.md), the objectives in [slo](slo.md); a dashboard and",
        "alert rules are in `examples/monitoring/`.",
        "",
        "| name | type | labels | what |",
        "|---|---|---|---|",
    ]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        bounds = (
            f" Bounds: {', '.join(f'{b:g}' for b in metric.buckets)} s." if metric.buckets else ""
        )
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help}{bounds} |")
    return "\n".join(lines) + "\n"


def dashboard() -> str:
    """examples/monitoring/dashboard.json, from the table beside this file."""
    return str(runpy.run_path(str(ROOT / "docs/monitoring.py"))["dashboard"]())


def _ts_type(schema: Json) -> str:
    """A JSON Schema as a type of TypeScript."""
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(map(_ts_type, schema["anyOf"])))
    if "$ref" in schema:
        return {"Error": "ErrorInfo"}.get(name := str(schema["$ref"]).rpartition("/")[2], name)
    if schema.get("type") == "array":
        return f"Array<{_ts_type(schema.get('items', {}))}>"
    names = {"integer": "number", "object": "Record<string, unknown>"}
    kind = str(schema.get("type", "unknown"))
    return names.get(kind, kind)


def _ts_interface(name: str, schema: Json, words: str) -> list[str]:
    required = schema.get("required", [])
    lines = [f"/** {words} */", f"export interface {name} {{"]
    for field, shape in schema.get("properties", {}).items():
        lines += [f"  /** {shape['description']} */"] if "description" in shape else []
        lines += [f"  {field}{'' if field in required else '?'}: {_ts_type(shape)};"]
    return [*lines, "  [more: string]: unknown;", "}", ""]


def catalog_module() -> str:
    """web/client/src/catalog.ts: the events as types, and the tables of the life cycles."""
    lines = [
        "// Made by docs/generate.py from `tailrace.events` and `tailrace.lifecycle`;",
        "// change it there.",
        "",
    ]
    payloads: list[str] = []
    shared: Json = {}
    for payload in CATALOG.values():
        schema = payload.model_json_schema(ref_template="{model}")
        shared |= schema.pop("$defs", {})
        payloads += _ts_interface(payload.__name__, schema, payload.__doc__ or "")
    for name, schema in shared.items():
        title = {"Error": "ErrorInfo"}.get(name, name)
        lines += _ts_interface(title, schema, schema.get("description", ""))
    lines += [*payloads, "/** What each type of event says. */", "export interface Payloads {"]
    lines += [f'  "{name}": {payload.__name__};' for name, payload in CATALOG.items()]
    lines += ["}", "", "/** A type of the catalog; yours are `custom.<name>`. */"]
    lines += ["export type EventType = keyof Payloads;", ""]
    for name, words, types in (
        (
            "TERMINAL",
            "The types that end an execution.",
            [n for n, p in CATALOG.items() if p.terminal],
        ),
        (
            "CONTROL",
            "The types that are of a stream: without an id, in no log.",
            [n for n, p in CATALOG.items() if p.control],
        ),
    ):
        lines += [f"/** {words} */"]
        lines += [f"export const {name}: ReadonlySet<string> = new Set({json.dumps(types)});", ""]
    for name, words, table in (
        ("EXECUTION", "The life of an execution: status → event → status.", EXECUTION),
        ("NODE", "The life of a node: status → event → status.", NODE),
    ):
        lines += [f"/** {words} */"]
        lines += [
            f"export const {name}: Record<string, Record<string, string>> = {json.dumps(table, indent=2)};",
            "",
        ]
    return "\n".join(lines)


def _golden(path: Path) -> str:
    """A recorded log (docs/golden.py), and what it folds to at each quarter of it."""
    recorded = json.loads(path.read_text())["events"]
    places = sorted({len(recorded) * part // 4 for part in (1, 2, 3, 4)} - {0})
    folds = [
        {"at": place, "state": fold(map(Event.parse, map(json.dumps, recorded[:place]))).to_dict()}
        for place in places
    ]
    lines = ",\n".join(json.dumps(event, ensure_ascii=False) for event in recorded)
    return (
        f'{{"events":[\n{lines}\n],\n"folds":{json.dumps(folds, ensure_ascii=False, indent=1)}}}\n'
    )


def _json(body: Json) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def _example(name: str) -> str:
    """An example's IR, without what depends on where the repository lies."""
    found = load_flow(name)
    assert isinstance(found, Flow)
    body = found.ir.model_dump(by_alias=True, exclude_none=True, mode="json")
    return _json(body).replace(str(ROOT) + "/", "")


def documents() -> dict[Path, Callable[[], str]]:
    """Every generated file, and what makes it."""
    made: dict[Path, Callable[[], str]] = {
        ROOT / "docs/events.md": events_document,
        ROOT / "docs/errors.md": errors_document,
        ROOT / "docs/settings.md": settings_document,
        ROOT / "docs/lifecycle.md": lifecycle_document,
        ROOT / "docs/commands.md": commands_document,
        ROOT / "docs/metrics.md": metrics_document,
        ROOT / "examples/monitoring/dashboard.json": dashboard,
        ROOT / "web/client/src/catalog.ts": catalog_module,
        ROOT / "schemas/events.schema.json": lambda: _json(event_schema()),
        ROOT / "schemas/flow-ir.schema.json": lambda: _json(
            {"$schema": "https://json-schema.org/draft/2020-12/schema"}
            | FlowIR.model_json_schema(by_alias=True)
        ),
    }
    for name in example_names():
        if not isinstance(load_flow(name), Flow):
            continue  # plain code: its graph is learned while it runs
        made[ROOT / f"schemas/examples/{name}.json"] = lambda name=name: _example(name)  # type: ignore[misc]
    for path in sorted((ROOT / "schemas/golden").glob("*.json")):
        made[path] = lambda path=path: _golden(path)  # type: ignore[misc]
    return made


def main() -> None:
    """Write, or check."""
    stale = []
    for path, make in documents().items():
        text = make()
        if not path.exists() or path.read_text() != text:
            stale.append(path.relative_to(ROOT))
            if "--check" not in sys.argv:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    for path in stale:
        print(f"{'stale' if '--check' in sys.argv else 'wrote'} {path}")
    sys.exit(bool(stale) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
