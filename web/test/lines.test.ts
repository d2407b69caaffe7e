// Log lines, small and bounded.
import { expect, test } from "vitest";
import type { TailraceEvent } from "../client/src/index.ts";
import { CHARS_MAX, LineStore } from "../src/data/lines.ts";

function line(id: number, data: Partial<{ line: string; level: string; source: string; truncated: boolean }> = {}, node?: string) {
  return {
    id, type: "log.line", ts: "2026-01-01T00:00:00.250000Z", execution_id: "X", ...(node ? { node } : {}),
    data: { line: `line ${id}`, source: "stdout", ...data },
  } as TailraceEvent<"log.line">; // prettier-ignore
}

test("a line comes out as it went in", () => {
  const lines = new LineStore();
  lines.append(line(3, { level: "warning", source: "app", truncated: true }, "fetch"));
  lines.append(line(7, { level: "what" }));
  expect(lines.get(0)).toEqual({
    number: 1, id: 3, ts: Date.UTC(2026, 0, 1) + 250, level: "warning", source: "app", node: "fetch", text: "line 3", truncated: true,
  }); // prettier-ignore
  expect(lines.get(1)).toMatchObject({ number: 2, id: 7, level: "info", source: "stdout", node: undefined });
  expect(lines.get(2)).toBeUndefined();
  expect(lines.counts).toEqual({ debug: 0, info: 1, warning: 1, error: 0 });
  expect([lines.sources, lines.nodes]).toEqual([["app", "stdout"], ["fetch"]]);
});

test("levels are known by the names that others give them", () => {
  const lines = new LineStore();
  for (const level of ["trace", "warn", "critical", "constructor"]) lines.append(line(1, { level }));
  expect([0, 1, 2, 3].map((index) => lines.levelAt(index))).toEqual(["debug", "warning", "error", "info"]);
});

test("a position cuts where its line is", () => {
  const lines = new LineStore();
  for (let id = 2; id <= 20_000; id += 2) lines.append(line(id));
  for (const [position, end] of [[0, 0], [1, 0], [2, 1], [3, 1], [9999, 4999], [20_000, 10_000], [99_999, 10_000]] as const) {
    expect(lines.endAt(position)).toBe(end);
  }
});

test("there is an end to it: the oldest go, and it says so", () => {
  const lines = new LineStore();
  const long = "x".repeat(64 * 1024);
  const many = CHARS_MAX / long.length + 5000;
  for (let id = 1; id <= many; id++) lines.append(line(id, { line: long }));
  expect(lines.first).toBeGreaterThan(0);
  expect(lines.end).toBe(many);
  expect(lines.get(lines.first - 1)).toBeUndefined();
  expect(lines.get(lines.first)).toMatchObject({ id: lines.first + 1 });
  expect(lines.get(many - 1)).toMatchObject({ id: many });
  expect(lines.endAt(many)).toBe(many);
});
