// A tab that is gone holds nothing; one that only slept comes back.
import { afterEach, expect, test, vi } from "vitest";
import { GONE_MS, HERE_MS, type Ask, type Told } from "../src/data/protocol.ts";
import { serve, type Hubs, type Port } from "../src/data/serve.ts";
import { Origin } from "./origin.ts";

const OPEN: Ask = {
  t: "open",
  sub: 1,
  base: "http://t",
  workspace: "default",
  subject: { kind: "execution", id: "A", after: undefined },
};

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

function served() {
  vi.useFakeTimers();
  const origin = new Origin();
  origin.add("A", "execution.queued", "execution.started");
  vi.stubGlobal("fetch", origin.fetch);
  const told: Told[] = [];
  const port: Port = { postMessage: (message) => told.push(message), onmessage: null };
  const hubs: Hubs = new Map();
  serve(port, hubs);
  const ask = (asked: Ask) => port.onmessage!({ data: asked } as MessageEvent<Ask>);
  return { origin, told, hubs, ask };
}

test("a tab that says nothing is let go, and told so in case it only slept", async () => {
  const { origin, told, hubs, ask } = served();
  ask(OPEN);
  await vi.advanceTimersByTimeAsync(100);
  expect(told.some((message) => message.t === "events")).toBe(true);
  expect(origin.open).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(GONE_MS);
  expect(told.at(-1)).toEqual({ t: "forgotten", sub: 1 });
  expect(hubs.size).toBe(0);
  expect(origin.open).toHaveLength(0);
  ask(OPEN); // it comes again
  await vi.advanceTimersByTimeAsync(100);
  expect(origin.open).toHaveLength(1);
});

test("a tab that says that it is here is kept", async () => {
  const { origin, ask } = served();
  ask(OPEN);
  for (let n = 0; n < 10; n++) {
    await vi.advanceTimersByTimeAsync(HERE_MS);
    ask({ t: "here" });
    // As the server's heartbeats do.
    origin.open[0]!.write(": \n\n");
  }
  expect(origin.open).toHaveLength(1);
  expect(origin.connections).toHaveLength(1);
});

test("a connection over which nothing comes any more is given up, and taken up anew", async () => {
  const { origin, ask } = served();
  ask(OPEN);
  for (let n = 0; n < 4; n++) {
    await vi.advanceTimersByTimeAsync(HERE_MS);
    ask({ t: "here" });
  }
  expect(origin.connections.length).toBeGreaterThan(1);
  expect(origin.open).toHaveLength(1);
});

test("who says goodbye leaves nothing", async () => {
  const { origin, hubs, ask } = served();
  ask(OPEN);
  await vi.advanceTimersByTimeAsync(100);
  ask({ t: "bye" });
  await vi.advanceTimersByTimeAsync(100);
  expect(hubs.size).toBe(0);
  expect(origin.open).toHaveLength(0);
});
