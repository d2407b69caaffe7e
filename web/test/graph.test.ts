// What the graph's drawing is made of: models, groups, layouts, ways of the keyboard, words.
import { readFileSync } from "node:fs";
import { fold, newState, type FlowIR, type NodeState } from "@tailrace/client";
import { describe, expect, test } from "vitest";
import { bytes, countsOf, edgeLook, notes, passedOf, perSecond, rateOf } from "../src/panels/graph/facts.ts";
import { FAN, grouped, opened, visible } from "../src/panels/graph/groups.ts";
import { neighbour } from "../src/panels/graph/keys.ts";
import { CARD, curve, directionFor, grown, tiled, type Layout, type Request } from "../src/panels/graph/layout.ts";
import { learned, planned, ranksOf, type GraphModel } from "../src/panels/graph/model.ts";
import { ranked } from "../src/panels/graph/ranked.ts";

const examples = new URL("../../schemas/examples/", import.meta.url);

function example(name: string): FlowIR {
  return JSON.parse(readFileSync(new URL(`${name}.json`, examples), "utf-8")) as FlowIR;
}

/** A graph of so many layers, each node after two of the layer above. */
function layers(deep: number, wide: number): GraphModel {
  const nodes = [];
  const edges = [];
  for (let row = 0; row < deep; row++) {
    for (let column = 0; column < wide; column++) {
      nodes.push({ id: `n${row}_${column}`, kind: "inline" as const });
      if (row > 0) edges.push({ from: `n${row - 1}_${column}`, to: `n${row}_${column}`, param: "a" });
      if (row > 0) edges.push({ from: `n${row - 1}_${(column * 7 + row) % wide}`, to: `n${row}_${column}`, param: "b" });
    }
  }
  return planned({ ir_version: 1, name: "layers", trigger: { input_schema: {} }, capture: "", nodes, edges });
}

function node(id: string, from: number, to: number | null, more: Partial<NodeState> = {}): NodeState {
  const at = (s: number) => new Date(1e12 + s * 1000).toISOString();
  const one = { attempt: 1, queued_at: null, started_at: at(from), ended_at: to === null ? null : at(to), status: "completed", error: null };
  return {
    id, status: to === null ? "running" : "completed", attempt: 1, started_at: one.started_at, ended_at: one.ended_at,
    duration_ms: null, output_summary: null, item_count: null, error: null, progress: null, execution_attempt: 1, queued_at: null,
    reason: null, tries: [one], at: 1, ...more,
  }; // prettier-ignore
}

function overlaps(layout: Layout): string[] {
  const cards = [...layout.cards];
  return cards.flatMap(([a, p], at) =>
    cards.slice(at + 1).filter(([, q]) => Math.abs(p.x - q.x) < CARD.width && Math.abs(p.y - q.y) < CARD.height).map(([b]) => `${a} ${b}`),
  );
}

function request(model: GraphModel, toggled = new Map<string, boolean>()): Request {
  const tree = grouped(model);
  const view = visible(model, tree, opened(tree, toggled, undefined));
  return {
    direction: "TB",
    cards: view.cards.map((id) => ({ id, parent: tree.parentOf.get(id) })),
    regions: view.regions.map(({ id, parent, kind }) => ({ id, parent, tiled: kind !== "subflow" })),
    edges: view.edges.map(({ id, from, to }) => ({ id, from, to, labelWidth: 0 })),
  };
}

describe("model", () => {
  const model = planned(example("orders"));
  const edge = (id: string) => model.edges.find((one) => one.id === id);

  test("joins what goes the same way", () => {
    expect(edge("trigger → pricing/price")?.params).toEqual(["grams", "per_kilo"]);
    expect(new Set(model.edges.map((one) => one.id)).size).toBe(model.edges.length);
  });

  test("draws a condition once: where its branch begins", () => {
    expect(edge("is_abroad → papers")?.when).toBe("true");
    expect(edge("is_abroad → collect")).toBeUndefined();
    expect(edge("carrier → book")?.when).toBe("freight");
  });

  test("knows streams, maps and kinds", () => {
    expect(edge("papers → collect")?.stream).toBe(true);
    expect(model.node.get("pricing/price")?.mapped).toBe(true);
    expect(model.node.get("confirm")?.kind).toBe("capture");
  });

  test("a node that the graph does not name stands alone", () => {
    const more = planned(example("etl"), ["extract", "surprise"]);
    expect(more.node.get("surprise")?.kind).toBe("learned");
    expect(more.nodes.filter((one) => one.id === "extract")).toHaveLength(1);
  });

  test("learned: each after what ended last before it began", () => {
    const { edges } = learned([node("a", 0, 1), node("b", 1, 3), node("c", 1.5, 2), node("d", 2.5, null), node("e", 3, null)]);
    expect(edges.map((one) => one.id)).toEqual(["a → b", "a → c", "c → d", "b → e"]);
  });

  test("ranks are longest ways", () => {
    const ranks = ranksOf(planned(example("etl")));
    expect(ranks.get("trigger")).toBe(0);
    expect([...ranks.entries()].every(([id, rank]) => id === "trigger" || rank > 0)).toBe(true);
    expect(Math.max(...ranks.values())).toBe(ranks.get("report"));
  });
});

describe("groups", () => {
  test("a small graph has its subflows open, and they close", () => {
    const model = planned(example("orders"));
    const tree = grouped(model);
    expect([...tree.groups.keys()]).toEqual(["flow:pricing/"]);
    expect(visible(model, tree, opened(tree, new Map(), undefined)).regions).toHaveLength(1);
    const closed = visible(model, tree, opened(tree, new Map([["flow:pricing/", false]]), undefined));
    expect(closed.cards).toContain("flow:pricing/");
    expect(closed.cards).not.toContain("pricing/price");
    expect(closed.edges.filter((one) => one.from === "flow:pricing/").map((one) => one.to).sort()).toEqual(["book", "confirm", "stamp"]);
  });

  test.each([
    ["layers", layers(40, 250), "layer"],
    ["one layer", layers(1, 10_000), "part"],
    ["a long row", layers(10_000, 1), "part"],
    ["steps", learned(Array.from({ length: 10_000 }, (_, at) => node(`s${at}`, at, at + 1)), false), "part"],
  ])("10,000 nodes as %s collapse, each is in one group, and no group is large", (_name, model, kind) => {
    const tree = grouped(model);
    const view = visible(model, tree, opened(tree, new Map(), undefined));
    expect(view.cards.length).toBeLessThanOrEqual(FAN);
    expect(view.groups.some((group) => group.kind === kind)).toBe(true);
    expect(view.groups.reduce((sum, group) => sum + group.leaves.length, 0) + view.cards.length - view.groups.length).toBe(10_000);
    for (const group of tree.groups.values()) expect(group.children.length).toBeLessThanOrEqual(FAN);
    // What is selected is shown: all groups around it are open.
    const last = model.nodes.at(-1)!.id;
    expect(visible(model, tree, opened(tree, new Map(), last)).cards).toContain(last);
  });

  test("prefixes come first, one in the other", () => {
    const nodes = Array.from({ length: 800 }, (_, at) => ({ id: `all/part${at % 4}/n${at}`, kind: "inline" as const }));
    const model = planned({ ir_version: 1, name: "x", trigger: { input_schema: {} }, capture: "", nodes, edges: [] });
    const tree = grouped(model);
    expect(tree.roots).toEqual(["flow:all/"]);
    expect(tree.groups.get("flow:all/")!.children).toHaveLength(4);
    expect(tree.groups.get("flow:all/part1/")!.leaves).toHaveLength(200);
  });

  test("groups of what is learned stay themselves while it grows", () => {
    const of = (many: number) => grouped(learned(Array.from({ length: many }, (_, at) => node(`s${at}`, at, null)), false));
    const [before, after] = [of(450), of(480)];
    expect(after.roots).toEqual(before.roots);
    expect(after.groups.get(after.roots[4]!)!.label).toBe("401–480");
  });
});

describe("layout", () => {
  test.each(["etl", "orders", "s2_site"])("%s: every card and edge has its place, and none is on another", (name) => {
    for (const direction of ["TB", "LR"] as const) {
      const asked = { ...request(planned(example(name))), direction };
      const layout = ranked(asked);
      expect(layout.cards.size).toBe(asked.cards.length);
      expect(overlaps(layout)).toEqual([]);
      for (const { id } of asked.edges) expect(layout.edges.get(id)!.points.length).toBeGreaterThanOrEqual(2);
    }
  });

  test("a frame is around its nodes", () => {
    const layout = ranked(request(planned(example("orders"))));
    const frame = layout.regions.get("flow:pricing/")!;
    for (const id of ["pricing/price", "pricing/total"]) {
      const at = layout.cards.get(id)!;
      expect(at.x).toBeGreaterThan(frame.x);
      expect(at.y + CARD.height).toBeLessThan(frame.y + frame.height);
    }
  });

  test("an open layer of a large graph stands in rows", () => {
    const model = layers(8, 90);
    const layout = ranked(request(model, new Map([["layer:3", true]])));
    expect(layout.cards.has("n3_89")).toBe(true);
    expect(layout.regions.get("layer:3")!.height).toBeGreaterThan(CARD.height * 10);
    expect(overlaps(layout)).toEqual([]);
  });

  test("what is learned keeps its place", () => {
    const nodes = [node("a", 0, 1), ...Array.from({ length: 9 }, (_, at) => node(`b${at}`, 1 + at / 10, null))];
    const edges = (of: NodeState[]) => learned(of).edges.map((one) => ({ ...one, labelWidth: 0 }));
    const first = grown(nodes.slice(0, 5).map((one) => one.id), edges(nodes.slice(0, 5)), new Map());
    const second = grown(nodes.map((one) => one.id), edges(nodes), first.cards);
    for (const [id, at] of first.cards) expect(second.cards.get(id)).toEqual(at);
    expect(overlaps(second)).toEqual([]);
    expect(second.cards.get("b0")!.y).toBeGreaterThan(second.cards.get("a")!.y);
  });

  test("rows with a frame in them do not overlap", () => {
    const cards = Array.from({ length: 30 }, (_, at) => ({ id: `c${at}`, parent: at >= 10 && at < 20 ? "g" : undefined }));
    const layout = tiled({ cards, regions: [{ id: "g", parent: undefined, tiled: true }] }, 4);
    expect(overlaps(layout)).toEqual([]);
    const frame = layout.regions.get("g")!;
    expect(layout.cards.get("c19")!.y + CARD.height).toBeLessThanOrEqual(frame.y + frame.height);
    expect(layout.cards.get("c20")!.y).toBeGreaterThanOrEqual(frame.y + frame.height);
  });

  test("deep goes down, broad goes to the right, on a phone as on a wide room", () => {
    const room = { width: 970, height: 620 };
    expect(directionFor([0, 1, 2, 3, 4], room)).toBe("TB");
    expect(directionFor([0, 1, 1, 1, 1, 1, 1, 1, 2], room)).toBe("LR");
    expect(directionFor([0, 1, 2, 3, 4], { width: 390, height: 420 })).toBe("TB");
  });

  test("curves go through their points", () => {
    expect(curve([{ x: 0, y: 0 }, { x: 10, y: 20 }], "TB")).toBe("M0 0C0 10 10 10 10 20");
    expect(curve([{ x: 0, y: 0 }, { x: 10, y: 20 }], "LR")).toBe("M0 0C5 0 5 20 10 20");
  });
});

describe("keys", () => {
  const model = planned(example("etl"));
  const layout = ranked(request(model));
  const go = (from: string, key: string) => neighbour(layout, model.edges, from, key);

  test("along the edges, and back", () => {
    expect(go("extract", "ArrowDown")).toBe("parse");
    expect(go("parse", "ArrowUp")).toBe("extract");
    expect(go("report", "ArrowDown")).toBeUndefined();
    expect(go("extract", "x")).toBeUndefined();
  });

  test.each(["etl", "orders", "s2_site"])("every node of %s can be come to", (name) => {
    const flow = planned(example(name));
    const shown = ranked(request(flow));
    const reached = new Set(["trigger"]);
    for (const id of reached) {
      for (const key of ["ArrowUp", "ArrowDown", "ArrowLeft", "ArrowRight"]) {
        const to = neighbour(shown, flow.edges, id, key);
        if (to) reached.add(to);
      }
    }
    expect([...reached].sort()).toEqual(flow.nodes.map((one) => one.id).sort());
  });
});

describe("facts", () => {
  const plain = { id: "a", kind: "inline" as const, streaming: false, mapped: false, summary: undefined };
  const edge = { id: "", from: "a", to: "b", params: ["x"], when: undefined, stream: false };

  test("an edge is busy only while what it brought is used", () => {
    expect(edgeLook(edge, "running", "new")).toBe("idle");
    expect(edgeLook(edge, "completed", "new")).toBe("passed");
    expect(edgeLook(edge, "completed", "running")).toBe("busy");
    expect(edgeLook(edge, "completed", "completed")).toBe("passed");
    expect(edgeLook(edge, "completed", "skipped")).toBe("skipped");
    expect(edgeLook({ ...edge, params: [], when: "true" }, "completed", "running")).toBe("passed");
    expect(edgeLook({ ...edge, stream: true }, "running", "running")).toBe("busy");
    expect(edgeLook({ ...edge, stream: true }, "running", "new")).toBe("idle");
  });

  test("tries, progress, items and reasons are told", () => {
    const twice = node("a", 0, null, { attempt: 2, tries: [...node("a", 0, 1).tries, ...node("a", 1, null).tries] });
    expect(notes(plain, twice)).toEqual(["attempt 2"]);
    expect(notes(plain, node("a", 0, null, { progress: { percent: 40.6 } }))).toEqual(["40 %"]);
    expect(notes({ ...plain, mapped: true }, node("a", 0, 1, { progress: { percent: 100, message: "16 of 16" } }))).toEqual(["16 of 16"]);
    expect(notes(plain, node("a", 0, 1, { item_count: 1 }))).toEqual(["1 item"]);
  });

  test("what passed is the source's output, as the log has it", () => {
    const summary = { size_bytes: 6140, preview: "[1,2" };
    const state = newState("X");
    state.nodes.set("a", node("a", 0, 1, { output_summary: summary }));
    expect(passedOf(plain, state, undefined)).toEqual({ amount: "6.1 kB", preview: "[1,2" });
    expect(passedOf({ ...plain, streaming: true }, state, undefined)).toBeUndefined();
    expect(passedOf({ ...plain, streaming: true }, state, 12)?.amount).toBe("12 items");
    expect(passedOf({ ...plain, id: "b" }, state, undefined)).toBeUndefined();
  });

  test("a rate counts three seconds, or less of what is younger", () => {
    const every = (ms: number, many: number) => Array.from({ length: many }, (_, at) => 100_000 + at * ms);
    expect(rateOf([], 0, 0)).toBeUndefined();
    expect(rateOf(every(100, 100), 109_900, 0)).toBeCloseTo(10, 0);
    expect(rateOf(every(100, 10), 101_000, 100_000)).toBeCloseTo(10, 0);
    expect(rateOf(every(100, 10), 120_000, 0)).toBe(0);
    // The newest thousand of very many are kept: their own time counts.
    expect(rateOf(every(1, 1000), 101_000, 0)).toBeCloseTo(1000, -1);
    expect(perSecond(0.42)).toBe("0.4/s");
    expect(perSecond(1234)).toBe("1,234/s");
  });

  test("sizes and counts", () => {
    expect([999, 1000, 12_345, 999_600, 2_500_000].map(bytes)).toEqual(["999 B", "1.0 kB", "12 kB", "1.0 MB", "2.5 MB"]);
    const state = fold([]);
    state.nodes.set("a", node("a", 0, 1));
    state.nodes.set("b", node("b", 0, null));
    expect(countsOf(["a", "b", "c", "d"], state)).toEqual([["running", 1], ["completed", 1], ["new", 2]]);
  });
});
