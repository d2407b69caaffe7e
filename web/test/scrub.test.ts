// The axis of the scrubber, and the rows of a JSON tree.
import { History, type TailraceEvent } from "@tailrace/client";
import { expect, test } from "vitest";
import { LineStore } from "../src/data/lines.ts";
import { PAUSE_MS, Timeline } from "../src/scrub/timeline.ts";
import { above, found, openedAtFirst, rowsOf, sizeOf, written } from "../src/inspect/tree.ts";

function logOf(...events: Array<[type: string, ms: number, data?: object]>) {
  const store = { history: new History("x"), lines: new LineStore(), pieces: [], others: [], items: [] };
  events.forEach(([type, ms, data = {}], index) => {
    const ts = new Date(Date.UTC(2026, 0, 1) + ms).toISOString();
    const event: TailraceEvent = { id: index + 1, type, ts, execution_id: "x", node: type.startsWith("node") ? "n" : undefined, attempt: 1, data: data as Record<string, unknown> };
    if (type === "log.line") store.lines.append(event as TailraceEvent<"log.line">);
    else store.history.append(event);
  });
  return store;
}

const LINE = { line: "x", source: "run" };
const STORE = logOf(
  ["execution.queued", 0],
  ["execution.started", 10],
  ["node.started", 20],
  ["log.line", 40, LINE],
  ["log.line", 41, LINE],
  ["log.line", 60, LINE],
  ["node.completed", 10_060, { duration_ms: 1 }],
  ["execution.completed", 10_070, { total_duration_ms: 1 }],
);

test("ids and times are found from each other", () => {
  const axis = new Timeline();
  axis.grow(STORE, 8);
  expect([1, 2, 3, 4, 6, 7, 8].map((id) => axis.msAt(id))).toEqual([0, 10, 20, 40, 60, 10_060, 10_070]);
  expect([0, 9, 10, 59, 60, 9000, 10_060, 99_999].map((ms) => axis.idAt(ms))).toEqual([1, 1, 2, 5, 6, 6, 7, 8]);
  for (let id = 1; id <= 8; id++) expect(axis.idAtShare(axis.shareOf(id, false), false)).toBe(id);
  expect(axis.total(true)).toBe(60 + PAUSE_MS + 10);
  expect(axis.idAt(70 + PAUSE_MS, true)).toBe(8);
  expect(axis.marks).toEqual([{ id: 3, kind: "start" }, { id: 8, kind: "end" }]);
});

test("it grows by what came, to the same as all at once", () => {
  const [whole, grown] = [new Timeline(), new Timeline()];
  whole.grow(STORE, 8);
  grown.grow(STORE, 8);
  grown.grow(STORE, 8);
  expect(grown.density(20, false)).toEqual(whole.density(20, false));
  expect(whole.density(20, false).reduce((sum, one) => sum + one, 0)).toBe(8);
});

test("events of one moment are told apart by their ids", () => {
  const axis = new Timeline();
  axis.grow(logOf(["execution.queued", 5], ["execution.started", 5], ["execution.completed", 5, { total_duration_ms: 0 }]), 3);
  expect([1, 2, 3].map((id) => axis.shareOf(id, false))).toEqual([0, 0.5, 1]);
  expect([0, 0.5, 1].map((share) => axis.idAtShare(share, false))).toEqual([1, 2, 3]);
});

const VALUE = { a: [1, { b: "needle" }], "c d": null };

test("a tree has the rows that are open", () => {
  expect(rowsOf(VALUE, new Set()).length).toBe(1);
  expect(rowsOf(VALUE, new Set(["$", "$.a"])).map((row) => row.id)).toEqual(["$", "$.a", "$.a[0]", "$.a[1]", '$["c d"]']);
  expect(openedAtFirst(VALUE)).toEqual(new Set(["$", "$.a", "$.a[1]"]));
  expect(openedAtFirst(Array.from({ length: 500 }, () => ({ x: 1 })))).toEqual(new Set(["$"]));
  expect(sizeOf(VALUE, 3)).toBe(3);
  expect(sizeOf(VALUE, 99)).toBe(5);
});

test("a search finds names and values, and the way to them", () => {
  const [match] = found(VALUE, "NEEDLE");
  expect(match?.id).toBe("$.a[1].b");
  expect(above(match!.path)).toEqual(["$", "$.a", "$.a[1]"]);
  expect(found(VALUE, "c d").length).toBe(1);
  expect(written(["x", 0, "y z"])).toBe('$.x[0]["y z"]');
});
