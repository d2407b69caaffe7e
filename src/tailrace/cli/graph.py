"""`tailrace graph`: a flow's graph, drawn or checked, without running it."""

import json
import sys
from pathlib import Path

import rich_click as click
from pydantic import ValidationError
from rich.tree import Tree

from tailrace.cli import render
from tailrace.cli.completion import Target
from tailrace.cli.options import DONE, FAILED, examples
from tailrace.cli.targets import load_flow
from tailrace.errors import InvalidFlow, TargetNotFound
from tailrace.flow.build import Flow
from tailrace.flow.check import check
from tailrace.flow.draw import dot, mermaid
from tailrace.flow.ir import FlowIR


@click.command(
    epilog=examples("tailrace graph etl", "tailrace graph flows.py:report --mermaid > graph.mmd")
)
@click.argument("target", type=Target())
@click.option("--json", "form", flag_value="json", help="The IR as JSON.")
@click.option("--mermaid", "form", flag_value="mermaid", help="For Mermaid.")
@click.option("--dot", "form", flag_value="dot", help="For Graphviz.")
@click.option("--check", "form", flag_value="check", help="Check it; exit 1 for problems.")
def graph(target: str, form: str | None) -> None:
    """Show the graph of TARGET's flow without running it. TARGET may also be an IR file (.json)."""
    ir = _load_ir(target)
    if form == "check":
        sys.exit(FAILED if _report_problems(ir) else DONE)
    _draw(ir, form)


def _load_ir(target: str) -> FlowIR:
    """The graph of a flow, or of a file that holds one. Raises TargetNotFound, InvalidFlow."""
    if not target.endswith(".json"):
        found = load_flow(target)
        if not isinstance(found, Flow):
            raise InvalidFlow(
                f"{found.name} is plain code: its nodes are learned while it runs",
                hint="`tailrace show ID` draws what one execution did.",
            )
        return found.ir
    try:
        return FlowIR.model_validate_json(Path(target).read_bytes())
    except OSError as error:
        raise TargetNotFound(f"{target}: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        hint = "schemas/flow-ir.schema.json describes the form."
        raise InvalidFlow(f"{target}: {where}: {first['msg']}", hint=hint) from None


def _report_problems(ir: FlowIR) -> bool:
    """Print every problem, or that there is none."""
    problems = check(ir)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{ir.name}: {len(ir.nodes)} nodes, {len(ir.edges)} edges, no problems")
    return bool(problems)


def _draw(ir: FlowIR, form: str | None) -> None:
    """Print a graph as JSON, Mermaid or DOT, or as a tree for people."""
    if form == "json":
        body = ir.model_dump(by_alias=True, exclude_none=True, mode="json")
        print(json.dumps(body, indent=2, ensure_ascii=False))
    elif form == "mermaid":
        print(mermaid(ir), end="")
    elif form == "dot":
        print(dot(ir), end="")
    else:
        render.console().print(_tree(ir))


def _tree(ir: FlowIR) -> Tree:
    """Each node below the first one it waits for; what else it waits for is named."""
    root = Tree(f"[bold]{ir.name}[/]")
    branches = {"trigger": root}
    for node in ir.nodes[1:]:
        sources = [edge.from_ for edge in ir.edges if edge.to == node.id]
        notes = [node.kind, *(["streaming"] if node.streaming else [])]
        if len(sources) > 1:
            notes.append("after " + ", ".join(sources[1:]))
        parent = branches.get(sources[0], root) if sources else root
        branches[node.id] = parent.add(f"{node.id}  [dim]{', '.join(notes)}[/]")
    return root
