// The logs' logic without a browser: what passes, what is found, how a line looks, and no long task.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { TailraceEvent } from "@tailrace/client";
import { LineStore } from "../src/data/lines.ts";
import { contrast, drawings, plain, readable, spansOf } from "../src/panels/logs/ansi.ts";
import { news } from "../src/panels/logs/announce.tsx";
import { filterOf, setOf, toggled } from "../src/panels/logs/choice.ts";
import { textOf } from "../src/panels/logs/save.ts";
import { since } from "../src/panels/logs/times.ts";
import { Finder, LogView, nextHit, Numbers, patternOf } from "../src/panels/logs/view.ts";

const TOKENS = new URL("../src/styles/tokens.css", import.meta.url);

function line(id: number, text: string, more: { level?: string; source?: string; node?: string } = {}): TailraceEvent<"log.line"> {
  const { level = "info", source = "stdout", node } = more;
  const ts = new Date(1_700_000_000_000 + id).toISOString();
  return { id, type: "log.line", ts, execution_id: "X", ...(node ? { node } : {}), data: { line: text, level, source } };
}

function storeOf(count: number, make: (id: number) => TailraceEvent<"log.line">): LineStore {
  const store = new LineStore();
  for (let id = 1; id <= count; id++) store.append(make(id));
  return store;
}

/** Do all there is to do; returns the longest time that was taken at once. */
function finish(...scanners: Array<{ advance(deadline: number): boolean }>): number {
  let longest = 0;
  for (const scanner of scanners) {
    for (let more = true; more; ) {
      const began = performance.now();
      more = scanner.advance(began + 8);
      longest = Math.max(longest, performance.now() - began);
    }
  }
  return longest;
}

describe("what passes", () => {
  const levels = ["debug", "info", "warning", "error"];
  const make = (id: number) => line(id, `line ${id}`, { level: levels[id % 4]!, source: id % 2 ? "stdout" : "stderr", node: `n${id % 3}` });

  it("is a level and those above it, of some sources, of some nodes", () => {
    const store = storeOf(1200, make);
    const view = new LogView(store, filterOf("warning", "stdout", "n0,n1"));
    expect(view.settled).toBe(false);
    finish(view);
    expect(view.end).toBe(200);
    for (let row = 0; row < view.end; row++) {
      const { level, source, node } = store.get(view.indexOf(row))!;
      expect([level, source]).toEqual(["error", "stdout"]);
      expect(["n0", "n1"]).toContain(node);
      expect(view.rowOf(view.indexOf(row))).toBe(row);
    }
  });

  it("goes on with what comes", () => {
    const store = storeOf(10, make);
    const view = new LogView(store, filterOf("error", undefined, undefined));
    finish(view);
    expect(view.end).toBe(2);
    store.append(line(11, "late", { level: "error" }));
    finish(view);
    expect(view.indexOf(view.end - 1)).toBe(10);
  });

  it("is everything, by its own index, without a filter", () => {
    const view = new LogView(storeOf(10, make), filterOf("debug", undefined, undefined));
    expect([view.settled, view.end, view.indexOf(7), view.rowOf(7)]).toEqual([true, 10, 7, 7]);
  });

  it("is in the URL with any name", () => {
    const both = toggled(toggled(undefined, "a,b%"), "c");
    expect(setOf(both)).toEqual(new Set(["a,b%", "c"]));
    expect(toggled(toggled(both, "c"), "a,b%")).toBeUndefined();
  });
});

describe("what is found", () => {
  it("is counted in all lines, in any case, colours or not, and gone through round and round", () => {
    const store = storeOf(2000, (id) => line(id, id % 500 === 0 ? `an \x1b[31mER\x1b[0mROR (${id})` : `fine ${id}`));
    const view = new LogView(store, {});
    const finder = new Finder(view, patternOf("error (")!);
    finish(finder);
    expect(finder.settled).toBe(true);
    const rows = Array.from({ length: finder.hits.length }, (_, place) => finder.hits.at(place));
    expect(rows).toEqual([499, 999, 1499, 1999]);
    expect(nextHit(finder.hits, undefined, 1, 0, 2000)).toBe(499);
    expect(nextHit(finder.hits, 499, 1, 0, 2000)).toBe(999);
    expect(nextHit(finder.hits, 1999, 1, 0, 2000)).toBe(499);
    expect(nextHit(finder.hits, 499, -1, 0, 2000)).toBe(1999);
    expect(nextHit(finder.hits, 999, 1, 0, 1400)).toBe(499); // the scrubber stands before the others
    expect(nextHit(finder.hits, 5, 1, 0, 400)).toBeUndefined();
  });

  it("takes no long task of a million lines", () => {
    const store = storeOf(1_000_000, (id) => line(id, `request ${id} served in ${id % 97} ms by worker ${id % 7}`));
    const view = new LogView(store, filterOf(undefined, "stdout", undefined));
    const finder = new Finder(view, patternOf("worker 3")!);
    const longest = finish(view, finder);
    expect(view.end).toBe(1_000_000);
    expect(finder.hits.length).toBe(142_857);
    expect(longest).toBeLessThan(100); // 8 ms are meant; other processes take their time too
    // More than the store keeps: the oldest go, and those that are there are still themselves.
    for (let id = 1_000_001; id <= 1_005_000; id++) store.append(line(id, "worker 3"));
    expect(store.first).toBe(8192);
    finish(view, finder);
    expect(view.indexOf(view.rowOf(store.first))).toBe(8192);
    expect(finder.hits.length).toBe(147_857);
    expect(nextHit(finder.hits, undefined, 1, view.rowOf(store.first), view.end)).toBe(8192);
    expect(store.textAt(8192)).toContain("worker 3");
    const late = new LogView(store, filterOf(undefined, "stdout", undefined));
    finish(late);
    expect([late.end, late.indexOf(0)]).toEqual([store.end - 8192, 8192]);
  }, 60_000);
});

describe("how a line looks", () => {
  it("has the colours of a terminal as names, and what is searched marked across them", () => {
    const spans = spansOf("\x1b[1;31mred\x1b[0m and \x1b[38;5;123mcyan\x1b[0m", patternOf("d and c"), 1000);
    expect(spans.map(({ text, looks, hit }) => [text, looks, hit ?? false])).toEqual([
      ["re", ["bold", "red"], false],
      ["d", ["bold", "red"], true],
      [" and ", [], true],
      ["c", [], true],
      ["yan", [], false],
    ]);
    expect(spans[3]!.color).toMatch(/^light-dark\(rgb/);
  });

  it("is never markup, and shows nothing of what only moves a cursor", () => {
    const text = "\x1b]8;;https://x\x07<b>a</b>\x1b]8;;\x07\x1b[2K\x1b[3A\x00&\x1b";
    expect(spansOf(text, undefined, 1000).map((span) => span.text).join("")).toBe("<b>a</b>␀&");
    expect(plain(text)).toBe("<b>a</b>\x00&");
  });

  it("is what was drawn last, cut where it is too long", () => {
    expect(plain("10 %\r50 %\r100 %")).toBe("100 %");
    expect(plain("done\r")).toBe("done");
    expect(drawings("10 %\r50 %\r100 %")).toBe(3);
    const spans = spansOf(`\x1b[31m${"a".repeat(10)}\x1b[32m${"b".repeat(10)}`, undefined, 12);
    expect(spans.map((span) => span.text)).toEqual(["a".repeat(10), "bb"]);
  });

  it("can be read: 4.5:1 on every ground, in both themes", () => {
    const tokens = new Map<string, [number[], number[]]>();
    for (const [, name, light, dark] of readFileSync(TOKENS, "utf8").matchAll(/--([\w-]+): light-dark\(#(\w{6}), #(\w{6})\)/g)) {
      tokens.set(name!, [hex(light!), hex(dark!)]);
    }
    const grounds = ["surface", "hover", "selected"];
    const texts = [...tokens.keys()].filter((name) => name.startsWith("ansi-"));
    expect(texts).toHaveLength(16);
    for (const name of [...texts, "muted", "text"]) {
      for (const ground of grounds) {
        for (const theme of [0, 1]) {
          const ratio = contrast(tokens.get(name)![theme] as never, tokens.get(ground)![theme] as never);
          expect(ratio, `${name} on ${ground} (${theme ? "dark" : "light"})`).toBeGreaterThanOrEqual(4.5);
        }
      }
    }
    for (const theme of [0, 1]) {
      expect(contrast(tokens.get("text")![theme] as never, tokens.get("hit")![theme] as never)).toBeGreaterThanOrEqual(4.5);
      expect(contrast(tokens.get("on-hit-now")![theme] as never, tokens.get("hit-now")![theme] as never)).toBeGreaterThanOrEqual(4.5);
    }
    for (const any of [[255, 255, 0], [0, 0, 255], [128, 128, 128], [0, 0, 0], [255, 255, 255]] as const) {
      const [light, dark] = [...readable(any).matchAll(/rgb\((\d+), (\d+), (\d+)\)/g)].map((one) => one.slice(1).map(Number));
      expect(contrast(light as never, tokens.get("selected")![0] as never)).toBeGreaterThanOrEqual(4.5);
      expect(contrast(dark as never, tokens.get("selected")![1] as never)).toBeGreaterThanOrEqual(4.5);
    }
  });
});

describe("small things", () => {
  it("tells times", () => {
    expect([since(12), since(62_345), since(7_201_000), since(-5)]).toEqual(["+0.012", "+1:02.345", "+2:00:01.000", "-0.005"]);
  });
  it("tells what came", () => {
    expect([news(1, 0), news(1234, 2)]).toEqual(["1 new line", "1,234 new lines, 2 of them errors"]);
  });
  it("copies what a terminal shows, up to a limit", () => {
    const view = new LogView(storeOf(3, (id) => line(id, `\x1b[31mline ${id}\x1b[0m`)), {});
    expect(textOf(view, 0, 3)).toEqual({ text: "line 1\nline 2\nline 3\n", lines: 3 });
    expect(textOf(view, 0, 3, 15)).toEqual({ text: "line 1\nline 2\n", lines: 2 });
  });
  it("keeps many numbers", () => {
    const numbers = new Numbers();
    for (let value = 0; value < 5000; value++) numbers.push(3 * value);
    expect([numbers.length, numbers.at(4999), numbers.placeOf(7), numbers.placeOf(1e9)]).toEqual([5000, 14_997, 3, 5000]);
  });
});

function hex(text: string): number[] {
  return [0, 2, 4].map((at) => Number.parseInt(text.slice(at, at + 2), 16));
}
