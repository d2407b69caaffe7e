// Many nodes as few: a tree of groups, of which some are open.
//
// The law of this file: what is drawn at once has a bound. Groups are of a subflow's prefix
// (`name/node`), else of a layer, else of a hundred neighbours; no group has more than FAN children.
import { ranksOf, type GraphEdge, type GraphModel } from "./model.ts";

/** As many nodes are drawn one by one; of more, groups. */
export const FLAT_MAX = 600;
/** Of learned nodes fewer: a long row of steps is not read as a picture. */
export const LEARNED_FLAT_MAX = 200;
export const FAN = 100;

export interface Group {
  id: string;
  label: string;
  /** Of a subflow: what its nodes' names begin with. */
  prefix: string;
  /** What its children have in common. */
  kind: "subflow" | "layer" | "part";
  parent: string | undefined;
  /** Ids of groups and of nodes. */
  children: string[];
  /** All nodes below it. */
  leaves: string[];
}

/** The groups of a model. */
export interface Hierarchy {
  /** More nodes than are drawn one by one: groups begin closed. */
  big: boolean;
  roots: string[];
  groups: ReadonlyMap<string, Group>;
  parentOf: ReadonlyMap<string, string>;
}

/** What of a model is drawn. */
export interface Visible {
  /** Nodes and closed groups, in their order. */
  cards: string[];
  /** Closed: drawn as one card. */
  groups: Group[];
  /** Open: drawn as a frame around what is in it. */
  regions: Group[];
  /** Between what is drawn; `count`: how many of the model's it stands for. */
  edges: Array<GraphEdge & { count: number }>;
}

/** Put a model's nodes into groups. */
export function grouped(model: GraphModel): Hierarchy {
  const big = model.nodes.length > (model.learned ? LEARNED_FLAT_MAX : FLAT_MAX);
  const tree = new Tree(big);
  const ranks = big && !model.learned ? ranksOf(model) : undefined;
  const roots = tree.place(model.nodes.map((node) => node.id), "", undefined, ranks);
  return { big, roots, groups: tree.groups, parentOf: tree.parentOf };
}

/** What is drawn while some groups are open. */
export function visible(model: GraphModel, tree: Hierarchy, open: ReadonlySet<string>): Visible {
  const made: Visible = { cards: [], groups: [], regions: [], edges: [] };
  const stands = new Map<string, string>();
  const walk = (id: string): void => {
    const group = tree.groups.get(id);
    if (!group) {
      made.cards.push(id);
    } else if (open.has(id)) {
      made.regions.push(group);
      for (const child of group.children) walk(child);
    } else {
      made.cards.push(id);
      made.groups.push(group);
      for (const leaf of group.leaves) stands.set(leaf, id);
    }
  };
  for (const root of tree.roots) walk(root);
  const edges = new Map<string, GraphEdge & { count: number }>();
  for (const edge of model.edges) {
    const from = stands.get(edge.from) ?? edge.from;
    const to = stands.get(edge.to) ?? edge.to;
    if (from === to) continue;
    const id = `${from} → ${to}`;
    const one = edges.get(id);
    if (one) one.count += 1;
    else if (from === edge.from && to === edge.to) edges.set(id, { ...edge, count: 1 });
    else edges.set(id, { ...edge, id, from, to, when: undefined, count: 1 });
  }
  made.edges = [...edges.values()];
  return made;
}

/** The groups that are open at first, and then those that show a node. */
export function opened(tree: Hierarchy, toggled: ReadonlyMap<string, boolean>, shown: string | undefined): Set<string> {
  const open = new Set<string>();
  for (const id of tree.groups.keys()) if (toggled.get(id) ?? !tree.big) open.add(id);
  for (let at = shown && tree.parentOf.get(shown); at; at = tree.parentOf.get(at)) {
    if (toggled.get(at) ?? true) open.add(at);
  }
  return open;
}

class Tree {
  readonly groups = new Map<string, Group>();
  readonly parentOf = new Map<string, string>();
  constructor(private readonly big: boolean) {}

  /** Group ids of nodes below a prefix; returns the children that stand at that place. */
  place(ids: string[], prefix: string, parent: string | undefined, ranks: Map<string, number> | undefined): string[] {
    const flows = new Map<string, string[]>();
    for (const id of ids) {
      const cut = id.indexOf("/", prefix.length);
      if (cut > 0) push(flows, id.slice(prefix.length, cut), id);
    }
    const rest = ids.filter((id) => (flows.get(segment(id, prefix))?.length ?? 0) < 2);
    const children = this.layers(rest, prefix, parent, ranks);
    for (const [name, inside] of flows) {
      if (inside.length < 2) continue;
      const below = `${prefix}${name}/`;
      const group = this.add(`flow:${below}`, name, "subflow", parent, inside);
      group.children = this.place(inside, below, group.id, ranks);
      children.push(group.id);
    }
    return this.gather(children, prefix, parent);
  }

  private layers(ids: string[], prefix: string, parent: string | undefined, ranks: Map<string, number> | undefined): string[] {
    const layers = new Map<number, string[]>();
    if (ranks) for (const id of ids) push(layers, ranks.get(id) ?? 0, id);
    if (!this.big || ids.length <= FAN || layers.size < 2) {
      for (const id of ids) this.under(id, parent);
      return ids;
    }
    return [...layers.keys()].sort((a, b) => a - b).map((rank) => {
      const inside = layers.get(rank)!;
      if (inside.length === 1) return this.under(inside[0]!, parent);
      const group = this.add(`layer:${prefix}${rank}`, `Layer ${rank + 1}`, "layer", parent, inside);
      for (const id of inside) this.under(id, group.id);
      group.children = this.gather(inside, group.id, group.id);
      return group.id;
    });
  }

  /** More than FAN children become groups of FAN, in their order. */
  private gather(children: string[], name: string, parent: string | undefined): string[] {
    if (!this.big || children.length <= FAN) return children;
    const parts: string[] = [];
    let first = 1;
    for (let at = 0; at < children.length; at += FAN) {
      const some = children.slice(at, at + FAN);
      const leaves = some.flatMap((id) => this.groups.get(id)?.leaves ?? [id]);
      const label = `${first}–${first + leaves.length - 1}`;
      // Named by where it begins: while nodes are learned, the last one grows and stays itself.
      const group = this.add(`part:${name}:${some[0]}`, label, "part", parent, leaves);
      for (const id of some) this.under(id, group.id);
      group.children = some;
      parts.push(group.id);
      first += leaves.length;
    }
    return this.gather(parts, `${name}+`, parent);
  }

  private add(id: string, label: string, kind: Group["kind"], parent: string | undefined, leaves: string[]): Group {
    const group: Group = { id, label, kind, parent, prefix: kind === "subflow" ? id.slice("flow:".length) : "", children: [], leaves };
    this.groups.set(id, group);
    this.under(id, parent);
    return group;
  }

  private under(id: string, parent: string | undefined): string {
    if (parent === undefined) this.parentOf.delete(id);
    else this.parentOf.set(id, parent);
    const group = this.groups.get(id);
    if (group) group.parent = parent;
    return id;
  }
}

function segment(id: string, prefix: string): string {
  const cut = id.indexOf("/", prefix.length);
  return cut > 0 ? id.slice(prefix.length, cut) : "";
}

function push<K>(map: Map<K, string[]>, key: K, value: string): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}
