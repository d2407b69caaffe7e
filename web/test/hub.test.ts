// The streams of all tabs: how many there are, and that each tab gets each event once.
import { describe, expect, test } from "vitest";
import { TailraceClient, type TailraceEvent } from "../client/src/index.ts";
import { Hub, Sub, WINDOW_CHARS, type SubMessage } from "../src/data/hub.ts";
import { Origin, until } from "./origin.ts";

/** A tab: what it was told. */
class Tab {
  readonly events: TailraceEvent[] = [];
  readonly told: SubMessage[] = [];
  readonly sub: Sub;
  /** Whether it handles what it gets. */
  awake = true;
  #unhandled = 0;

  constructor(after?: string) {
    this.sub = new Sub(after, (message) => {
      this.told.push(message);
      if (message.t !== "events") return;
      this.events.push(...message.lines.split("\n").map((line) => JSON.parse(line) as TailraceEvent));
      if (this.awake) queueMicrotask(() => this.sub.handled(message.lines.length));
      else this.#unhandled += message.lines.length;
    });
  }
  get ids() {
    return this.events.map((event) => event.id);
  }
  get phase() {
    const last = this.told.findLast((message) => message.t === "state");
    return last?.t === "state" ? last.state.phase : undefined;
  }
  wake() {
    this.awake = true;
    this.sub.handled(this.#unhandled);
  }
}

function ground(...ids: string[]): { origin: Origin; hub: Hub } {
  const origin = new Origin();
  for (const id of ids) origin.add(id, "execution.queued", "execution.started");
  return { origin, hub: new Hub(new TailraceClient("http://t", { fetch: origin.fetch })) };
}

function opened(hub: Hub, id: string, after?: string): Tab {
  const tab = new Tab(after);
  hub.watch(id, tab.sub);
  return tab;
}

const upTo = (n: number) => Array.from({ length: n }, (_, i) => i + 1);

test("one execution has its own stream, however many tabs watch it", async () => {
  const { origin, hub } = ground("A");
  const tabs = [opened(hub, "A"), opened(hub, "A")];
  await until(() => tabs.every((tab) => tab.ids.length === 2));
  origin.add("A", "log.line");
  await until(() => tabs.every((tab) => tab.ids.length === 3));
  tabs.push(opened(hub, "A")); // what the others have had is still here
  await until(() => tabs[2]!.ids.length === 3);
  expect(origin.most).toBe(1);
  origin.add("A", "execution.completed");
  await until(() => tabs.every((tab) => tab.phase === "ended"));
  for (const tab of tabs) expect(tab.ids).toEqual([1, 2, 3, 4]);
  expect(origin.open).toEqual([]);
});

test("several executions have one stream, and each tab its own events, once and in order", async () => {
  const ids = ["A", "B", "C", "D", "E"];
  const { origin, hub } = ground(...ids);
  const tabs = ids.map((id) => opened(hub, id));
  await until(() => tabs.every((tab) => tab.phase === "live"));
  for (let n = 0; n < 20; n++) for (const id of ids) origin.add(id, "log.line");
  for (const id of ids) origin.add(id, "execution.completed");
  await until(() => tabs.every((tab) => tab.phase === "ended"));
  for (const [n, tab] of tabs.entries()) {
    expect(tab.ids).toEqual(upTo(23));
    expect(new Set(tab.events.map((event) => event.execution_id))).toEqual(new Set([ids[n]]));
  }
  expect(origin.most).toBe(1);
});

test("what comes between a tab's catching up and the stream of many is a hole, and is read", async () => {
  const { origin, hub } = ground("A", "B");
  const tabs = [opened(hub, "A"), opened(hub, "B")];
  await until(() => tabs.every((tab) => tab.phase === "live"));
  // Cut, and while nobody listens more is said than the stream of many begins with.
  origin.connections.at(-1)!.cut();
  origin.add("A", ...Array<string>(500).fill("log.line"));
  origin.add("B", "log.line");
  await until(() => tabs[0]!.ids.length === 502 && tabs[1]!.ids.length === 3);
  expect(tabs[0]!.ids).toEqual(upTo(502));
  expect(tabs[1]!.ids).toEqual(upTo(3));
});

test("a tab that comes and goes changes what is followed, and nothing comes twice", async () => {
  const { origin, hub } = ground("A", "B");
  const first = opened(hub, "A");
  await until(() => first.phase === "live");
  const second = opened(hub, "B");
  await until(() => second.phase === "live");
  origin.add("A", "log.line");
  origin.add("B", "log.line");
  await until(() => first.ids.length === 3 && second.ids.length === 3);
  hub.unwatch("B", second.sub);
  await until(() => origin.open.length === 1 && origin.open[0]!.url.pathname.includes("executions/A"));
  origin.add("A", "log.line");
  await until(() => first.ids.length === 4);
  expect(first.ids).toEqual(upTo(4));
  hub.unwatch("A", first.sub);
  await until(() => origin.open.length === 0);
  expect(hub.idle).toBe(true);
});

test("a tab that was in the background goes on from where it was", async () => {
  const { origin, hub } = ground("A");
  const seen = opened(hub, "A");
  await until(() => seen.phase === "live");
  origin.add("A", ...Array<string>(5).fill("log.line"));
  await until(() => seen.ids.length === 7);
  const back = opened(hub, "A", "4@e1");
  await until(() => back.ids.length === 3);
  origin.add("A", "log.line");
  await until(() => back.ids.length === 4);
  expect(back.ids).toEqual([5, 6, 7, 8]);
  expect(seen.ids).toEqual(upTo(8));
});

describe("a tab that does not keep up", () => {
  const long = "x".repeat(64 * 1024);
  const lines = (n: number): Array<[string, Record<string, unknown>]> => Array.from({ length: n }, () => ["log.line", { line: long }]);

  test("falls behind alone, holds a bounded backlog, and gets everything when it wakes", async () => {
    const { origin, hub } = ground("A");
    const quick = opened(hub, "A");
    const slow = opened(hub, "A");
    await until(() => quick.phase === "live" && slow.phase === "live");
    slow.awake = false;
    for (let n = 0; n < 10; n++) {
      origin.add("A", ...lines(10));
      await until(() => quick.ids.length === 2 + 10 * (n + 1));
    }
    const held = slow.told.reduce((sum, message) => sum + (message.t === "events" ? message.lines.length : 0), 0);
    expect(held).toBeLessThan(WINDOW_CHARS + 12 * long.length);
    slow.wake();
    await until(() => slow.ids.length === 102);
    expect(slow.ids).toEqual(upTo(102));
    origin.add("A", "execution.completed");
    await until(() => slow.phase === "ended");
    expect(slow.ids).toEqual(upTo(103));
  }, 20_000);
});

test("what there is not is said to who asked for it, and the others go on", async () => {
  const { origin, hub } = ground("A", "B");
  const tabs = [opened(hub, "A"), opened(hub, "NONE"), opened(hub, "B")];
  await until(() => tabs[1]!.told.some((message) => message.t === "failed"));
  expect(tabs[1]!.told.find((message) => message.t === "failed")).toMatchObject({ problem: { code: "execution_not_found", status: 404 } });
  await until(() => tabs[0]!.phase === "live" && tabs[2]!.phase === "live");
  origin.add("B", "log.line");
  await until(() => tabs[2]!.ids.length === 3);
  expect(tabs[0]!.ids).toEqual([1, 2]);
});

test("a log that was lost and made again begins anew", async () => {
  const { origin, hub } = ground("A");
  const tab = opened(hub, "A");
  await until(() => tab.phase === "live");
  const gap = { id: null, type: "stream.gap", ts: "", execution_id: "A", data: { from: 1, to: 2, cause: "lost" } };
  origin.connections[0]!.write(`event: stream.gap\ndata: ${JSON.stringify(gap)}\n\n`);
  const again = { id: 1, type: "execution.queued", ts: "", execution_id: "A", data: {} };
  origin.connections[0]!.write(`id: 1\nevent: execution.queued\ndata: ${JSON.stringify(again)}\n\n`);
  await until(() => tab.ids.length === 4);
  expect(tab.ids).toEqual([1, 2, null, 1]);
});
