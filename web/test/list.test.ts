// The list's store, its filters, and what is held still.
import type { Entry } from "@tailrace/client";
import { beforeEach, expect, test, vi } from "vitest";
import { ListStore, whyOf, type Row, type Source } from "../src/data/list.ts";
import { counted, lately, matches } from "../src/list/filters.ts";
import { hold } from "../src/list/hold.ts";

const NOW = Date.parse("2026-01-01T12:00:00Z");

beforeEach(() => {
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => void draw());
});

function entry(number: number, status = "completed", at = number): Entry {
  const created_at = new Date(NOW - (1000 - at) * 60_000).toISOString();
  const execution_id = `01${String(number).padStart(4, "0")}`;
  return { execution_id, workspace: "default", kind: "workflow", flow: "etl", status, created_at, updated_at: created_at, head: 5, floor: 1, bytes: 1, ephemeral: false };
}

/** A server's list, newest first. */
function sourceOf(entries: Entry[]): Source & { asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    async list({ limit, before, status }) {
      asked.push(`${status ?? "all"} ${before ?? ""}`.trim());
      const of = entries.filter((one) => (!status || one.status === status) && (!before || one.execution_id < before));
      const executions = of.sort((a, b) => (a.execution_id < b.execution_id ? 1 : -1)).slice(0, limit);
      return { executions, before: executions.length === limit ? executions.at(-1)!.execution_id : null };
    },
    next: async (id, after) => ({ id: after + 1, type: "execution.failed", ts: "", execution_id: id, attempt: 2, data: { error: { type: "E", message: "one\ntwo" } } }),
  };
}

const all = (from: number, to: number) => Array.from({ length: to - from }, (_, index) => entry(from + index, (from + index) % 50 ? "completed" : "failed"));
const event = (id: number, type: string, execution_id: string, data: object = {}, attempt = 1) =>
  JSON.stringify({ id, type, ts: "2026-01-01T12:00:00Z", execution_id, attempt, data });

test("pages are read back, and a status by itself; nothing is said to be whole that is not", async () => {
  const store = new ListStore(sourceOf(all(0, 250)));
  await store.refresh();
  expect(store.rows.length).toBe(100);
  expect(store.isWhole()).toBe(false);
  expect(counted(store, "").find((one) => one.status === "failed")).toEqual({ status: "failed", count: 2, more: true });
  await store.more("failed");
  expect(store.isWhole("failed")).toBe(true);
  expect(store.covered("failed").length).toBe(5);
  expect(store.covered().length).toBe(100); // the older failures are no part of the whole list yet
  await store.more();
  await store.more();
  expect(store.isWhole()).toBe(true);
  expect(store.covered().length).toBe(250);
});

test("the stream and the pages come in any order", async () => {
  const store = new ListStore(sourceOf([entry(1, "running")]));
  store.take(event(1, "execution.queued", "010001", { flow: "etl", kind: "workflow" }));
  await store.refresh();
  store.take([event(2, "execution.started", "010001", {}, 3), event(6, "execution.failed", "010001", { error: { type: "E", message: "no\nmore" } })].join("\n"));
  const [row] = store.rows;
  expect(row).toMatchObject({ status: "failed", attempt: 3, why: "E: no" });
});

test("a list that was left alone reads on to what it knew", async () => {
  const entries = all(0, 150);
  const source = sourceOf(entries);
  const store = new ListStore(source);
  store.connected({ phase: "live" });
  await store.refresh();
  store.connected({ phase: "suspended" });
  entries.push(...all(150, 400));
  store.connected({ phase: "live" });
  await store.refresh();
  expect(store.covered().length).toBe(350);
  expect(source.asked.length).toBe(4);
});

test("why an old one failed is asked for once", async () => {
  const store = new ListStore(sourceOf([entry(1, "failed")]));
  await store.refresh();
  store.explain(store.rows[0]!);
  store.explain(store.rows[0]!);
  await vi.waitFor(() => expect(store.rows[0]).toMatchObject({ why: "E: one", attempt: 2 }));
});

test("held rows keep their places, newer ones wait, older ones are joined", () => {
  const row = (id: string, status = "completed") => ({ id, status, created_at: id }) as Row;
  const rows = [row("5"), row("4"), row("2"), row("1")];
  const now = new Map(rows.map((one) => [one.id, one]));
  now.set("3", row("3", "failed")); // it does not match any more, and stays
  const shown = hold(rows, ["4", "3", "2"], (id) => now.get(id));
  expect(shown.rows.map((one) => one.id)).toEqual(["4", "3", "2", "1"]);
  expect(shown.waiting).toBe(1);
  expect(hold(rows, null, () => undefined)).toEqual({ rows, waiting: 0 });
});

test("what started lately is said of a window that is known", async () => {
  const store = new ListStore(sourceOf(all(800, 1000)));
  await store.refresh();
  const seen = lately(store, NOW)!;
  expect(seen.minutes).toBe(60);
  expect(seen.started).toBe(60);
  expect(seen.failed).toBe(1); // 950
  expect(seen.bins.reduce((sum, one) => sum + one, 0)).toBe(60);
  // What the figure leads to is the filter of that status: no other end is counted.
  const ends = new ListStore(sourceOf([entry(997, "timed_out"), entry(998, "lost"), entry(999, "failed")]));
  await ends.refresh();
  expect(lately(ends, NOW)!.failed).toBe(1);
  const busy = new ListStore(sourceOf(Array.from({ length: 300 }, (_, index) => entry(index, "completed", 999))));
  await busy.refresh();
  expect(lately(busy, NOW)).toBeUndefined(); // a hundred in the last minute: not even five are known
});

test("a search is over flow, id and reason", () => {
  const row = { id: "01AB", flow: "etl", kind: "workflow", status: "failed", why: "ValueError: no" } as Row;
  const base = { status: "", kind: "", flow: "", search: "" };
  expect(["ETL", "ab", "valueerror"].map((search) => matches(row, { ...base, search }))).toEqual([true, true, true]);
  expect(matches(row, { ...base, search: "x" })).toBe(false);
  expect(matches(row, { ...base, kind: "agent" })).toBe(false);
});

test("an end is told in one line", () => {
  expect(whyOf({ type: "execution.cancelled", data: { by: "api", reason: "late" } })).toBe("By api: late");
  expect(whyOf({ type: "execution.timed_out", data: { deadline_ms: 90_000 } })).toBe("Its deadline of 1 m 30 s passed");
  expect(whyOf({ type: "execution.completed", data: { output: 1 } })).toBe("");
});
