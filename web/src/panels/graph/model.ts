// What there is to draw: nodes and ways between them, without how they stand.
//
// The law of this file: a drawing says no more than the graph does, or, where there is none, than the
// times in the log do. Nothing here changes while an execution runs, but for nodes that are learned.
import type { EdgeIR, FlowIR, NodeIR, NodeState } from "@tailrace/client";

export type Kind = NodeIR["kind"] | "learned";

/** A node as it is drawn. */
export interface GraphNode {
  id: string;
  kind: Kind;
  streaming: boolean;
  mapped: boolean;
  summary: string | undefined;
}

/** A way between two nodes: everything that goes from the one to the other. */
export interface GraphEdge {
  id: string;
  from: string;
  to: string;
  /** The parameters that take the value; none: only an order, or a condition. */
  params: string[];
  /** `to` runs only in this case of `from`. */
  when: string | undefined;
  /** Values go over one by one. */
  stream: boolean;
}

/** A graph to draw. */
export interface GraphModel {
  /** The nodes were learned from the log: their edges say only what began after what. */
  learned: boolean;
  nodes: GraphNode[];
  edges: GraphEdge[];
  node: ReadonlyMap<string, GraphNode>;
}

/** The model of a flow's graph. `seen` may have nodes that it does not name; they stand alone. */
export function planned(ir: FlowIR, seen: Iterable<string> = []): GraphModel {
  const nodes = new Map<string, GraphNode>();
  for (const node of ir.nodes) {
    nodes.set(node.id, {
      id: node.id,
      kind: node.kind,
      streaming: node.streaming ?? false,
      mapped: node.map !== undefined,
      summary: node.summary ?? undefined,
    });
  }
  for (const id of seen) if (!nodes.has(id)) nodes.set(id, learnedNode(id));
  return made(nodes, joined(ir.edges.filter((edge) => !isImplied(edge, ir.edges))), false);
}

/**
 * The model of nodes that no graph names: each after the one whose end came last before its start, if
 * that is to be found out (it takes a look at all pairs).
 */
export function learned(states: Iterable<NodeState>, hasEdges = true): GraphModel {
  const nodes = new Map<string, GraphNode>();
  const before: NodeState[] = [];
  const edges: GraphEdge[] = [];
  for (const state of states) {
    nodes.set(state.id, learnedNode(state.id));
    const cause = hasEdges && latestEnd(before, beginOf(state));
    if (cause) edges.push({ id: `${cause.id} → ${state.id}`, from: cause.id, to: state.id, params: [], when: undefined, stream: false });
    before.push(state);
  }
  return made(nodes, edges, true);
}

/** When a node was first heard of. */
export function beginOf(state: NodeState): string {
  const first = state.tries[0];
  return first?.queued_at ?? first?.started_at ?? state.started_at ?? state.ended_at ?? "";
}

/** For each node the longest way to it, in edges. A circle, which no checked graph has, is cut. */
export function ranksOf(model: Pick<GraphModel, "nodes" | "edges">): Map<string, number> {
  const out = new Map<string, string[]>();
  const waits = new Map<string, number>(model.nodes.map((node) => [node.id, 0]));
  for (const { from, to } of model.edges) {
    if (!out.has(from)) out.set(from, []);
    out.get(from)!.push(to);
    waits.set(to, (waits.get(to) ?? 0) + 1);
  }
  const ranks = new Map<string, number>(model.nodes.map((node) => [node.id, 0]));
  const ready = model.nodes.filter((node) => waits.get(node.id) === 0).map((node) => node.id);
  for (let id = ready.pop(); id !== undefined; id = ready.pop()) {
    for (const to of out.get(id) ?? []) {
      ranks.set(to, Math.max(ranks.get(to)!, ranks.get(id)! + 1));
      waits.set(to, waits.get(to)! - 1);
      if (waits.get(to) === 0) ready.push(to);
    }
  }
  return ranks;
}

function learnedNode(id: string): GraphNode {
  return { id, kind: "learned", streaming: false, mapped: false, summary: undefined };
}

function made(nodes: Map<string, GraphNode>, edges: GraphEdge[], isLearned: boolean): GraphModel {
  return { learned: isLearned, nodes: [...nodes.values()], edges, node: nodes };
}

/** The ones between the same two nodes as one. */
function joined(edges: readonly EdgeIR[]): GraphEdge[] {
  const found = new Map<string, GraphEdge>();
  for (const edge of edges) {
    const id = `${edge.from} → ${edge.to}`;
    const one = found.get(id) ?? { id, from: edge.from, to: edge.to, params: [], when: undefined, stream: false };
    if (edge.param !== undefined) one.params.push(edge.param);
    one.when ??= edge.when ?? undefined;
    one.stream ||= edge.buffer !== undefined;
    found.set(id, one);
  }
  return [...found.values()];
}

/** Whether a condition need not be drawn: what the node takes its value from has the same one. */
function isImplied(edge: EdgeIR, edges: readonly EdgeIR[]): boolean {
  if (edge.when === undefined || edge.param !== undefined) return false;
  const guarded = new Set(
    edges.filter((one) => one.from === edge.from && one.when === edge.when).map((one) => one.to),
  );
  return edges.some((one) => one.to === edge.to && one.param !== undefined && guarded.has(one.from));
}

function latestEnd(states: readonly NodeState[], moment: string): NodeState | undefined {
  let best: NodeState | undefined;
  for (const state of states) {
    if (state.ended_at === null || state.ended_at > moment) continue;
    if (best === undefined || state.ended_at >= best.ended_at!) best = state;
  }
  return best;
}
