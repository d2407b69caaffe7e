// The page's fold is Python's: both read schemas/golden (tests/docs/test_docs.py is the other).
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { apply, fold, History, IllegalTransition, load, newState, toDict } from "../src/index.ts";
import type { TailraceEvent } from "../src/index.ts";

interface Golden {
  events: TailraceEvent[];
  folds: Array<{ at: number; state: Record<string, unknown> }>;
}

const folder = new URL("../../../schemas/golden/", import.meta.url);
const names = readdirSync(folder);

function golden(name: string): Golden {
  return JSON.parse(readFileSync(new URL(name, folder), "utf-8")) as Golden;
}

test("there are golden logs of every end", () => {
  const ends = new Set(names.map((name) => golden(name).folds.at(-1)!.state.status));
  expect(ends).toEqual(new Set(["completed", "failed", "cancelled", "timed_out"]));
});

describe.each(names)("%s", (name) => {
  const { events, folds } = golden(name);

  test.each(folds)("folds to what Python folds it to, at $at", ({ at, state }) => {
    expect(toDict(fold(events.slice(0, at)))).toEqual(state);
  });

  test("has the same state at any position, in any order of asking", () => {
    const history = new History();
    for (const event of events) history.append(event);
    const positions = events.map((_, i) => i + 1);
    const mixed = [...positions].reverse().concat(positions);
    for (const position of mixed) {
      expect(toDict(history.at(position))).toEqual(toDict(fold(events.slice(0, position))));
    }
  });

  test("goes on from what the server kept of its beginning", () => {
    for (const { at, state } of folds) {
      const history = new History("", load({ ...state, links: {} }));
      for (const event of events.slice(at)) history.append(event);
      for (let position = at; position <= events.length; position++) {
        expect(toDict(history.at(position))).toEqual(toDict(fold(events.slice(0, position))));
      }
    }
  });

  test("takes nothing after its end", () => {
    const state = fold(events);
    const before = toDict(state);
    expect(() => apply(state, events[1]!)).toThrow(IllegalTransition);
    expect(toDict(state)).toEqual(before);
  });
});

test("a retried node keeps its tries, with what each failed of", () => {
  const state = fold(golden("retries.json").events);
  const tries = state.nodes.get("flaky")!.tries;
  expect(tries.map((one) => [one.attempt, one.status, one.error?.message])).toEqual([
    [1, "retrying", "try 1 of 3"],
    [2, "retrying", "try 2 of 3"],
    [3, "completed", undefined],
  ]);
  expect(tries.every((one) => one.started_at !== null && one.ended_at !== null)).toBe(true);
});

test("checkpoints: a long log is at any position what its beginning folds to", () => {
  const history = new History();
  const line = (id: number, type: string, node?: string): TailraceEvent => ({
    id, type, ts: "2026-01-01T00:00:00Z", execution_id: "X", ...(node ? { node } : {}), data: {},
  }); // prettier-ignore
  const events = [line(1, "execution.queued"), line(2, "execution.started")];
  for (let n = 0; n < 700; n++) {
    events.push(line(events.length + 1, "node.started", `n${n}`));
    events.push(line(events.length + 1, "log.line"));
    events.push(line(events.length + 1, "node.completed", `n${n}`));
  }
  for (const event of events) history.append(event);
  for (const at of [1, 2, 3, 600, 1023, 1024, 2000, events.length]) {
    expect(toDict(history.at(at))).toEqual(toDict(fold(events.slice(0, at))));
  }
});

test("the state before the first event is new", () => {
  expect(newState("X").status).toBe("new");
});
