// The waterfall's sums: spans, the critical path, nice ticks.
import { readFileSync } from "node:fs";
import { fold, type TailraceEvent } from "@tailrace/client";
import { describe, expect, test } from "vitest";
import { criticalPath, type Times } from "../src/panels/waterfall/critical.ts";
import { barsOf, figuresOf } from "../src/panels/waterfall/rows.ts";
import { moment } from "../src/parts/time.tsx";
import { fine, tickLabel, ticks } from "../src/panels/waterfall/ticks.ts";

function times(of: Record<string, [number, number]>): Map<string, Times> {
  return new Map(Object.entries(of).map(([id, [from, to]]) => [id, { from, to }]));
}

function ways(...of: string[]) {
  return of.map((one) => ({ from: one.split(">")[0]!, to: one.split(">")[1]! }));
}

describe("critical path", () => {
  test("of a diamond it is the longer side", () => {
    const found = criticalPath(times({ a: [0, 10], b: [10, 30], c: [10, 15], d: [30, 40] }), ways("a>b", "a>c", "b>d", "c>d"));
    expect(found).toEqual({ nodes: ["a", "b", "d"], ms: 40 });
  });

  test("waits between are nobody's", () => {
    expect(criticalPath(times({ a: [0, 10], b: [25, 30] }), ways("a>b"))).toEqual({ nodes: ["a", "b"], ms: 15 });
  });

  test("of a stream's consumer only what came after the stream counts as its own", () => {
    expect(criticalPath(times({ values: [0, 90], sum: [5, 100] }), ways("values>sum"))).toEqual({ nodes: ["values", "sum"], ms: 100 });
  });

  test("a source that still ran when its consumer had ended held up nothing", () => {
    expect(criticalPath(times({ values: [0, 200], first: [5, 10], last: [10, 300] }), ways("values>first", "first>last")).nodes).toEqual(["first", "last"]);
  });

  test("without a graph: what ended last before it began", () => {
    const found = criticalPath(times({ plan: [0, 10], read: [10, 40], search: [11, 20], write: [20, 60], idle: [0, 5] }), undefined);
    expect(found.nodes).toEqual(["plan", "search", "write"]);
  });

  test("of nothing there is none, and a circle ends", () => {
    expect(criticalPath(new Map(), [])).toEqual({ nodes: [], ms: 0 });
    expect(criticalPath(times({ a: [0, 5], b: [0, 5] }), ways("a>b", "b>a")).nodes).toHaveLength(2);
  });

  test("it is never longer than the whole, and each of its nodes begins after the one before", () => {
    let seed = 7;
    const random = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
    for (let round = 0; round < 50; round++) {
      const all = new Map<string, Times>();
      const edges: string[] = [];
      for (let at = 0; at < 30; at++) {
        const sources = Array.from({ length: at }, (_, one) => one).filter(() => random() < 0.15);
        const from = Math.max(0, ...sources.map((one) => all.get(`n${one}`)!.to)) + random();
        all.set(`n${at}`, { from, to: from + random() * 10 });
        edges.push(...sources.map((one) => `n${one}>n${at}`));
      }
      const path = criticalPath(all, ways(...edges));
      const end = Math.max(...[...all.values()].map((one) => one.to));
      expect(path.ms).toBeLessThanOrEqual(end + 1e-9);
      for (let at = 1; at < path.nodes.length; at++) {
        expect(edges).toContain(`${path.nodes[at - 1]}>${path.nodes[at]}`);
        expect(all.get(path.nodes[at]!)!.from).toBeGreaterThanOrEqual(all.get(path.nodes[at - 1]!)!.to);
      }
    }
  });
});

describe("rows", () => {
  const golden = (name: string) =>
    (JSON.parse(readFileSync(new URL(`../../schemas/golden/${name}.json`, import.meta.url), "utf-8")) as { events: TailraceEvent[] }).events;

  test("each try is a row, with the pause before it", () => {
    const bars = barsOf(fold(golden("retries")));
    expect(bars.map((bar) => [bar.node, bar.attempt, bar.status])).toEqual([["flaky", 1, "retrying"], ["flaky", 2, "retrying"], ["flaky", 3, "completed"]]);
    expect(bars.map((bar) => bar.pause && bar.pause.to! - bar.pause.from)).toEqual([undefined, 40, 40]);
    expect(bars[0]!.error).toBe("ConnectionError: try 1 of 3");
  });

  test("rows are in the order of their beginning; what is open goes on until now", () => {
    const state = fold(golden("orders").slice(0, 10));
    const bars = barsOf(state);
    const begins = bars.map((bar) => bar.at);
    expect(begins).toEqual([...begins].sort((a, b) => a - b));
    const open = bars.filter((bar) => bar.run?.to === null).map((bar) => bar.node);
    expect(open).toEqual(["pricing/price", "papers"]);
    const now = moment(golden("orders")[9]!.ts);
    const figures = figuresOf(bars, { from: bars[0]!.at, to: null }, now);
    expect(figures).toEqual({ total: 280, busy: 280 + 40 + 40 + 80, waiting: 0 });
  });

  test("moments have their microseconds", () => {
    expect(moment("2026-01-01T00:00:00.000250Z") - Date.parse("2026-01-01T00:00:00Z")).toBeCloseTo(0.25);
    expect(moment("2026-01-01T00:00:01Z")).toBe(Date.parse("2026-01-01T00:00:01Z"));
  });
});

describe("ticks", () => {
  test.each([
    [0, 9, ["0", "2 ms", "4 ms", "6 ms", "8 ms"]],
    [0, 1.1, ["0", "0.2 ms", "0.4 ms", "0.6 ms", "0.8 ms", "1.0 ms"]],
    [0, 1300, ["0", "200 ms", "400 ms", "600 ms", "800 ms", "1.0 s", "1.2 s"]],
    [0, 26_000, ["0", "5 s", "10 s", "15 s", "20 s", "25 s"]],
    [0, 240_000, ["0", "1 m", "2 m", "3 m", "4 m"]],
    [60_000, 62_000, ["1 m", "1 m 0.5 s", "1 m 1.0 s", "1 m 1.5 s", "1 m 2.0 s"]],
    [0, 7_200_000, ["0", "30 m", "1 h", "1 h 30 m", "2 h"]],
  ])("from %d to %d", (from, to, labels) => {
    expect(ticks(from, to, 7).map((tick) => tick.label)).toEqual(labels);
  });

  test("there are never more than asked for, and two or more", () => {
    for (let span = 0.5; span < 1e9; span *= 1.7) {
      const made = ticks(span * 0.3, span * 1.3, 7);
      expect(made.length).toBeGreaterThanOrEqual(2);
      expect(made.length).toBeLessThanOrEqual(8);
      expect(new Set(made.map((tick) => tick.label)).size).toBe(made.length);
    }
  });

  test("few milliseconds have tenths", () => {
    expect([0, 0.01, 0.42, 9.9, 10.4, 1500].map(fine)).toEqual(["0 ms", "<0.1 ms", "0.4 ms", "9.9 ms", "10 ms", "1.50 s"]);
  });

  test("days and hours", () => {
    expect(tickLabel(90_000_000, 3_600_000)).toBe("1 d 1 h");
  });
});
