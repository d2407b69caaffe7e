// What the page says of an execution that has ended, was cut by retention, or is caught up with.
import { fold, load, newState, toDict, type ExecutionState, type TailraceEvent } from "@tailrace/client";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { ExecutionStore } from "../src/data/execution.ts";
import { LineStore } from "../src/data/lines.ts";
import { countsOf, statusOf } from "../src/panels/graph/facts.ts";
import { Feed } from "../src/panels/graph/feed.ts";
import { learned } from "../src/panels/graph/model.ts";
import { spansOf } from "../src/panels/logs/ansi.ts";
import { GONE, linkedBy, linkOf } from "../src/panels/logs/link.ts";
import { Speech } from "../src/panels/text/compose.ts";
import { culpritOf, standing } from "../src/parts/standing.ts";
import { day, tookOf } from "../src/parts/time.tsx";

beforeEach(() => {
  vi.stubGlobal("requestAnimationFrame", (draw: () => void) => void draw());
});

const at = (s: number) => new Date(Date.parse("2026-01-01T12:00:00Z") + s * 1000).toISOString();

/** A log of events, each `[type, node, data, seconds]`, numbered from `first`. */
function log(events: Array<[type: string, node?: string, data?: object, s?: number]>, first = 1): TailraceEvent[] {
  return events.map(([type, node, data = {}, s = 0], index) => ({ id: first + index, type, ts: at(s), execution_id: "e", attempt: 1, data, ...(node ? { node } : {}) }) as TailraceEvent);
}

const BEGUN: Array<[string, string?, object?, number?]> = [
  ["execution.queued", undefined, { flow: "f", kind: "workflow" }],
  ["execution.started", undefined, { worker: "w" }],
  ["node.started", "a"],
];

function ended(type: string, data: object = {}): ExecutionState {
  return fold(log([...BEGUN, [type, undefined, data]]));
}

describe("in what has ended, nothing waits or runs", () => {
  test("while it runs, a node stands as the log says", () => {
    const state = fold(log(BEGUN));
    expect(standing(undefined, state)).toBe("new");
    expect(standing("running", state)).toBe("running");
  });

  test("afterwards, what was not reached was not run, and what ran is lost, or never said its end", () => {
    const error = { error: { type: "E", message: "m" } };
    for (const type of ["execution.failed", "execution.cancelled", "execution.timed_out"]) {
      expect(standing(undefined, ended(type, error))).toBe("not_run");
      expect(standing("queued", ended(type, error))).toBe("not_run");
      expect(standing("running", ended(type, error))).toBe("unfinished");
    }
    expect(standing("running", ended("execution.lost"))).toBe("lost");
    expect(standing("retrying", ended("execution.lost"))).toBe("lost");
    expect(standing("completed", ended("execution.lost"))).toBe("completed");
  });

  test("the drawing and its groups say so", () => {
    const state = ended("execution.lost");
    expect(statusOf({ id: "a", kind: "inline" } as never, state)).toBe("lost");
    expect(countsOf(["a", "b", "c"], state)).toEqual([["lost", 1], ["not_run", 2]]);
  });
});

describe("where it failed", () => {
  const failing = (error: object, message = "no") =>
    fold(log([...BEGUN, ["node.failed", "a", { error: { type: "E", message } }], ["execution.failed", undefined, { error }]]));

  test("is what the error names, else the node that failed with it", () => {
    expect(culpritOf(failing({ type: "E", message: "no", node: "b" }))).toBe("b");
    expect(culpritOf(failing({ type: "E", message: "no" }))).toBe("a");
    expect(culpritOf(failing({ type: "E", message: "something else" }))).toBeUndefined();
  });

  test("of what was lost, it is what ran; of what goes on or went well, nothing", () => {
    expect(culpritOf(ended("execution.lost"))).toBe("a");
    expect(culpritOf(fold(log(BEGUN)))).toBeUndefined();
    expect(culpritOf(newState())).toBeUndefined();
  });
});

test("a rate is of the log's time, however fast one catches up with it", () => {
  const store = new ExecutionStore("e");
  const items = Array.from({ length: 120 }, (_, index): [string, string, object, number] => ["output.item", "a", { index }, index / 2]);
  store.take(log([...BEGUN, ...items]).map((event) => JSON.stringify(event)).join("\n"));
  const state = store.at(null);
  const feed = new Feed(store, state, learned(state.nodes.values(), true));
  feed.set(store, state, feed.model, null);
  expect(feed.rate("a")).toBeGreaterThan(1.5);
  expect(feed.rate("a")).toBeLessThan(2.5);
});

describe("a log whose beginning is gone", () => {
  const gap = { id: null, type: "stream.gap", ts: at(0), execution_id: "e", data: { from: 1, to: 9, cause: "retention" } };

  test("runs until it says that it ended, and then how long it took", () => {
    const store = new ExecutionStore("e");
    expect(store.statusOf(store.live)).toBe("new");
    store.take([gap, ...log([["node.started", "a"]], 10)].map((event) => JSON.stringify(event)).join("\n"));
    expect(store.missing).toBe(9);
    expect(store.statusOf(store.live)).toBe("running");
    store.take(JSON.stringify(log([["execution.completed", undefined, { output: 1, total_duration_ms: 1234 }]], 11)[0]));
    expect(store.statusOf(store.live)).toBe("completed");
    expect(tookOf(store.live)).toBe(1234);
  });

  test("has its end at its end, and not among what was said", () => {
    const speech = new Speech();
    const [said, ended] = log([["custom.note", undefined, { n: 1 }], ["execution.completed", undefined, { output: 1 }]], 10);
    speech.take({ pieces: [], others: [said!, ended!] }, Infinity);
    expect(speech.sections.flatMap(({ parts }) => parts.map((part) => part.key))).toEqual(["note-10"]);
  });

  test("goes on from what the server kept of it, at any position since", () => {
    const store = new ExecutionStore("e");
    const queued = { kind: "workflow", flow: "f", workspace: "default", input: null };
    const whole = log([["execution.queued", undefined, queued], ["execution.started"], ["node.started", "a"], ["node.started", "b"], ["node.completed", "a"], ["node.completed", "b"]]);
    const taken = { ...gap, data: { ...gap.data, to: 3 } };
    store.take([taken, ...whole.slice(3)].map((event) => JSON.stringify(event)).join("\n"));
    expect(store.missing).toBe(3);
    expect(store.live.nodes.get("a")).toBeUndefined();
    store.begins(load(toDict(fold(whole.slice(0, 3)))));
    expect(store.missing).toBeNull();
    for (const position of [3, 4, 5, 6]) {
      expect(toDict(store.at(position))).toEqual(toDict(fold(whole.slice(0, position))));
    }
    expect(toDict(store.live)).toEqual(toDict(fold(whole)));
  });
});

test("a day is said of what was not today", () => {
  const now = new Date(2026, 4, 17, 12).getTime();
  expect(day(new Date(2026, 4, 17, 1).getTime(), now)).toBe("");
  expect(day(new Date(2026, 4, 16, 23).getTime(), now)).toMatch(/16/);
  expect(day(new Date(2025, 4, 17, 12).getTime(), now)).toMatch(/2025/);
});

test("a line cannot be made to read as another by turning its direction", () => {
  const shown = spansOf("run \u202eexe.cod\u202c", undefined, 1000);
  expect(shown.map(({ text }) => text).join("")).toBe("run [U+202E]exe.cod[U+202C]");
  expect(spansOf("שלום", undefined, 1000)[0]!.text).toBe("שלום"); // what is written that way stays
});

describe("a link to a line", () => {
  const lines = (from: number, to: number) => {
    const store = new LineStore();
    for (let id = from; id <= to; id++) store.append({ id, type: "log.line", ts: at(id), execution_id: "e", data: { line: `line ${id}`, source: "s" } } as TailraceEvent<"log.line">);
    return store;
  };

  test("leads to its line when retention has taken others, and says when it took that one", () => {
    const link = linkOf(lines(3, 100), 60);
    expect(link).toBe("60.62");
    expect(linkedBy(lines(3, 100), link, true)).toBe(60);
    expect(linkedBy(lines(41, 100), link, true)).toBe(22);
    expect(linkedBy(lines(70, 100), link, true)).toBe(GONE);
  });

  test("is taken at its word until its line has come", () => {
    expect(linkedBy(lines(3, 20), "60.62", false)).toBe(60);
    expect(linkedBy(lines(41, 45), "60.62", false)).toBe(60);
  });

  test("of a number alone is that line, as it was ever", () => {
    expect(linkedBy(lines(41, 100), "12", true)).toBe(12);
    expect(linkedBy(lines(41, 100), "x", true)).toBeUndefined();
    expect(linkedBy(lines(41, 100), undefined, true)).toBeUndefined();
  });
});
