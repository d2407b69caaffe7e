// A graph in ranks, by dagre.
//
// The law of this file: it is pure, and only the worker loads it.
import { Graph, layout } from "@dagrejs/dagre";
import { CARD, GAP, port, tiled, type Box, type Layout, type Point, type Request } from "./layout.ts";

const COLUMNS = 8; // of what is tiled
const MANY = 250; // the exact ranker takes seconds for more, where the other takes a tenth of one

/** Lay out a graph in ranks; what is in a tiled region stands in rows in it, and it is one node. */
export function ranked({ direction, cards, regions, edges }: Request): Layout {
  const boxes = new Boxes(regions);
  const graph = new Graph({ compound: true, multigraph: true });
  const ranker = cards.length > MANY ? "tight-tree" : "network-simplex";
  graph.setGraph({ rankdir: direction, nodesep: GAP.across, ranksep: GAP.along, edgesep: 12, ranker });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const { parent } of cards) boxes.take(parent, cards);
  for (const { id, parent } of regions) {
    if (boxes.of(id) === undefined) graph.setNode(id, {});
    else if (boxes.of(id) === id) graph.setNode(id, boxes.size(id));
    if (parent && (boxes.of(id) ?? id) === id) graph.setParent(id, parent);
  }
  for (const { id, parent } of cards) {
    if (boxes.of(parent)) continue;
    graph.setNode(id, { ...CARD });
    if (parent) graph.setParent(id, parent);
  }
  const parents = new Map(cards.map((card) => [card.id, card.parent]));
  const end = (id: string) => boxes.of(parents.get(id)) ?? id;
  for (const { id, from, to, labelWidth } of edges) {
    if (end(from) === end(to)) continue;
    graph.setEdge(end(from), end(to), labelWidth ? { width: labelWidth, height: 20, labelpos: "c" } : {}, id);
  }
  layout(graph);

  const made: Layout = { direction, cards: new Map(), regions: new Map(), edges: new Map() };
  for (const { id, parent } of cards) if (!boxes.of(parent)) made.cards.set(id, cornerOf(graph.node(id)));
  for (const { id } of regions) {
    const box = boxes.of(id);
    if (box === id) boxes.put(id, cornerOf(graph.node(id)), made);
  }
  for (const { id } of [...regions].reverse()) {
    // A frame is drawn close around what is in it; dagre keeps room for the ways beside it.
    if (boxes.of(id) === undefined) made.regions.set(id, around(id, cards, regions, made) ?? cornerOf(graph.node(id)));
  }
  for (const { id, from, to } of edges) {
    const way = (end(from) === end(to) ? {} : graph.edge(end(from), end(to), id)) as { points?: Point[]; x?: number; y?: number };
    const isBoxed = end(from) !== from || end(to) !== to;
    const inner = isBoxed ? [] : (way.points ?? []).slice(1, -1);
    made.edges.set(id, {
      points: [port(made.cards.get(from)!, direction, true), ...inner, port(made.cards.get(to)!, direction, false)],
      label: isBoxed || way.x === undefined || way.y === undefined ? undefined : { x: way.x, y: way.y },
    });
  }
  return made;
}

/** The outermost tiled regions, each with what is in it. */
class Boxes {
  readonly #parent = new Map<string, string | undefined>();
  readonly #tiled = new Set<string>();
  readonly #inside = new Map<string, Layout>();

  constructor(private readonly regions: Request["regions"]) {
    for (const { id, parent, tiled: isTiled } of regions) {
      this.#parent.set(id, parent);
      if (isTiled) this.#tiled.add(id);
    }
  }

  /** The box that a region is, or is in. */
  of(region: string | undefined): string | undefined {
    let found: string | undefined;
    for (let at = region; at !== undefined; at = this.#parent.get(at)) if (this.#tiled.has(at)) found = at;
    return found;
  }

  /** Lay out the box that a region is in, if that was not done yet. */
  take(region: string | undefined, cards: Request["cards"]): void {
    const box = this.of(region);
    if (box === undefined || this.#inside.has(box)) return;
    const inside = cards.filter((one) => this.of(one.parent) === box);
    const regions = this.regions.filter((one) => this.of(one.id) === box);
    const within = regions.map((one) => (one.id === box ? { ...one, parent: undefined } : one));
    this.#inside.set(box, tiled({ cards: inside, regions: within }, COLUMNS));
  }

  size(box: string): { width: number; height: number } {
    const { width, height } = this.#inside.get(box)!.regions.get(box)!;
    return { width, height };
  }

  put(box: string, corner: Box, made: Layout): void {
    const inside = this.#inside.get(box)!;
    const own = inside.regions.get(box)!;
    const [dx, dy] = [corner.x - own.x, corner.y - own.y];
    for (const [id, at] of inside.cards) made.cards.set(id, { x: at.x + dx, y: at.y + dy });
    for (const [id, at] of inside.regions) made.regions.set(id, { ...at, x: at.x + dx, y: at.y + dy });
  }
}

function around(id: string, cards: Request["cards"], regions: Request["regions"], made: Layout): Box | undefined {
  const boxes = [
    ...cards.filter((card) => card.parent === id).map((card) => ({ ...made.cards.get(card.id)!, ...CARD })),
    ...regions.filter((region) => region.parent === id).flatMap((region) => made.regions.get(region.id) ?? []),
  ];
  if (boxes.length === 0) return undefined;
  const [left, top] = [Math.min(...boxes.map((box) => box.x)), Math.min(...boxes.map((box) => box.y))];
  const right = Math.max(...boxes.map((box) => box.x + box.width));
  const bottom = Math.max(...boxes.map((box) => box.y + box.height));
  return { x: left - 14, y: top - 20, width: right - left + 28, height: bottom - top + 36 };
}

function cornerOf(node: unknown): Box {
  const { x = 0, y = 0, width = 0, height = 0 } = node as Partial<Box>;
  return { x: x - width / 2, y: y - height / 2, width, height };
}
