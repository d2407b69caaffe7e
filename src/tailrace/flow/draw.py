"""A graph as text for other tools: Mermaid and Graphviz DOT.

The law of this file: one line a node, one line an edge, in the IR's order, so that two drawings
of one graph are the same text and a change shows as a small diff.
"""

from tailrace.flow.ir import FlowIR, NodeIR

_MERMAID = {
    "trigger": '(["{}"])',
    "capture": '[/"{}"/]',
    "inline": '["{}"]',
    "activity": '["{}"]',
    "subflow": '[["{}"]]',
}


def _label(node: NodeIR) -> str:
    return f"{node.id} ≋" if node.streaming else node.id


def mermaid(ir: FlowIR) -> str:
    """Draw for Mermaid (mermaid.js.org); ≋ marks a streaming node, a thick edge a stream."""
    lines = ["flowchart TD"]
    names = {node.id: f"n{index}" for index, node in enumerate(ir.nodes)}
    lines += [f"  {names[n.id]}{_MERMAID[n.kind].format(_label(n))}" for n in ir.nodes]
    for edge in ir.edges:
        arrow = "-.->" if edge.param is None else "-->" if edge.buffer is None else "==>"
        lines.append(f"  {names[edge.from_]} {arrow} {names[edge.to]}")
    return "\n".join(lines) + "\n"


def dot(ir: FlowIR) -> str:
    """Draw for Graphviz."""
    lines = [f'digraph "{ir.name}" {{', "  rankdir=TB; node [shape=box, style=rounded];"]
    for node in ir.nodes:
        shape = ", shape=ellipse" if node.kind == "trigger" else ""
        bold = ", penwidth=2" if node.id == ir.capture else ""
        lines.append(f'  "{node.id}" [label="{_label(node)}"{shape}{bold}];')
    for edge in ir.edges:
        style = " [style=dashed]" if edge.param is None else ""
        style = style if edge.buffer is None else " [style=bold]"
        lines.append(f'  "{edge.from_}" -> "{edge.to}"{style};')
    return "\n".join([*lines, "}"]) + "\n"
