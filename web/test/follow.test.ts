// Following across connections that are cut, refused and ended.
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Follow, TailraceError, type Connection, type FollowOptions, type TailraceEvent } from "../client/src/index.ts";
import { Origin, until } from "./origin.ts";

// The pauses are random, from nothing on: here they are nothing.
beforeEach(() => void vi.spyOn(Math, "random").mockReturnValue(0));
afterEach(() => void vi.restoreAllMocks());

const URL_ = "http://t/api/v1/workspaces/default/executions/X/stream";

function following(origin: Origin, options: FollowOptions = {}) {
  const states: Connection[] = [];
  const events: TailraceEvent[] = [];
  const follow = new Follow(URL_, { fetch: origin.fetch, onState: (state) => states.push(state), ...options });
  const done = (async () => {
    for await (const event of follow) events.push(event);
  })();
  return { follow, states, events, done, ids: () => events.map((event) => event.id) };
}

function begun(...types: string[]): Origin {
  const origin = new Origin();
  origin.add("X", "execution.queued", "execution.started", ...types);
  return origin;
}

test("from the beginning to the end, each id once", async () => {
  const origin = begun("log.line");
  const { done, ids, follow, states } = following(origin);
  await until(() => ids().length === 3);
  origin.add("X", "log.line", "execution.completed");
  await done;
  expect(ids()).toEqual([1, 2, 3, 4, 5]);
  expect(follow.position).toBe("5@e1");
  const phases = states.map((state) => state.phase);
  expect([...new Set(phases)]).toEqual(["connecting", "catching-up", "live", "ended"]);
  expect(states.at(-1)).toEqual({ phase: "ended", how: "completed" });
});

test("a connection that breaks is taken up where it broke", async () => {
  const origin = begun();
  const { done, ids, states } = following(origin);
  await until(() => ids().length === 2);
  origin.connections[0]!.write('id: 3\nevent: log.line\ndata: {"id":3,"type":"log.l'); // in the middle
  origin.connections[0]!.cut();
  await until(() => origin.connections.length === 2);
  expect(origin.connections[1]!.headers.get("last-event-id")).toBe("2@e1");
  origin.add("X", "log.line", "execution.completed");
  await done;
  expect(ids()).toEqual([1, 2, 3, 4]);
  expect(states.find((state) => state.phase === "reconnecting")).toMatchObject({ lastId: "2@e1", why: "unreachable" });
});

test("a close in good order is no end, and is taken up when it says", async () => {
  const origin = begun();
  const { done, ids, states } = following(origin);
  await until(() => ids().length === 2);
  origin.connections[0]!.write('event: stream.closing\ndata: {"id":null,"type":"stream.closing","data":{"reason":"lifetime","retry_ms":8}}\n\n');
  origin.connections[0]!.close();
  await until(() => origin.connections.length === 2);
  origin.add("X", "execution.completed");
  await done;
  expect(ids()).toEqual([1, 2, 3]);
  const [reconnecting] = states.filter((state) => state.phase === "reconnecting");
  expect(reconnecting).toEqual({ phase: "reconnecting", lastId: "2@e1", inMs: 4, attempt: 0, why: "" });
});

test("ids that a filter left out move the position", async () => {
  const origin = begun();
  const { follow, ids } = following(origin);
  await until(() => ids().length === 2);
  origin.connections[0]!.write("id: 40\n\n");
  await until(() => follow.position === "40@e1");
  origin.connections[0]!.write("id: 7\n\n"); // of another life of the log, ids may be lower
  await until(() => follow.position === "7@e1");
});

test("204 says that nothing is left", async () => {
  const origin = begun("execution.completed");
  const { done, states, events } = following(origin, { after: 3 });
  await done;
  expect(events).toEqual([]);
  expect(states.at(-1)).toEqual({ phase: "ended", how: "complete" });
});

test("what is refused for good is thrown, with what to do", async () => {
  const origin = begun();
  origin.refusals.push({ status: 401, body: { code: "token_expired", detail: "It has expired", hint: "Get another", retryable: false } });
  const { done, states } = following(origin);
  await expect(done).rejects.toMatchObject({ code: "token_expired", hint: "Get another", status: 401 });
  expect(states.at(-1)).toEqual({ phase: "ended", how: "token_expired", hint: "Get another" });
});

test("what is refused for now is asked again: a proxy's page, a limit, no answer at all", async () => {
  const origin = begun("execution.completed");
  const busy = { code: "too_many_streams", detail: "Too many", retryable: true };
  origin.refusals.push({ status: 502 }, { status: 0 }, { status: 429, body: busy, headers: { "retry-after": "0.01" } });
  const { done, ids, states } = following(origin);
  await done;
  expect(ids()).toEqual([1, 2, 3]);
  const why = states.flatMap((state) => (state.phase === "reconnecting" ? [state.why] : []));
  expect(why).toEqual(["http", "unreachable", "too_many_streams"]);
});

test("it gives up after so many failures in a row, if told to", async () => {
  const origin = new Origin();
  origin.refusals.push({ status: 0 }, { status: 0 });
  const { done } = following(origin, { attempts: 2 });
  await expect(done).rejects.toMatchObject({ code: "too_many_attempts" });
});

test("what is no stream is not read as one", async () => {
  const origin = begun();
  const { done } = following(origin, {
    fetch: (() => Promise.resolve(new Response("<html>", { headers: { "content-type": "text/html" } }))) as typeof fetch,
  });
  await expect(done).rejects.toBeInstanceOf(TailraceError);
});

test("a gap is told once, and where it was", async () => {
  const origin = begun();
  const gap = (ts: number) => `{"id":null,"type":"stream.gap","ts":"${ts}","execution_id":"X","data":{"from":3,"to":7,"cause":"retention"}}`;
  const { events, states } = following(origin);
  await until(() => events.length === 2);
  for (const connection of [0, 1]) {
    const at = (await until(() => origin.connections[connection]))!;
    at.write(`event: stream.gap\ndata: ${gap(connection)}\n\n`);
    await until(() => events.length === 3);
    if (connection === 0) at.cut();
  }
  expect(events.map((event) => event.type)).toEqual(["execution.queued", "execution.started", "stream.gap"]);
  expect(states.find((state) => state.phase === "gap")).toEqual({
    phase: "gap",
    gap: { from: 3, to: 7, cause: "retention", after: 2 },
  });
});

test("who stops iterating leaves", async () => {
  const origin = begun();
  for await (const _ of new Follow(URL_, { fetch: origin.fetch })) break;
  expect(origin.open).toEqual([]);
});

test("an aborted one ends without an error", async () => {
  const origin = begun();
  const leave = new AbortController();
  const { done, ids, states } = following(origin, { signal: leave.signal });
  await until(() => ids().length === 2);
  leave.abort();
  await done;
  expect(states.at(-1)).toEqual({ phase: "ended", how: "closed" });
  expect(origin.open).toEqual([]);
});

test("who hurries it does not wait for the next try", async () => {
  vi.spyOn(Math, "random").mockReturnValue(1); // the longest pause
  const origin = begun();
  const { done, ids, follow, states } = following(origin);
  await until(() => ids().length === 2);
  origin.connections[0]!.write('event: stream.closing\ndata: {"id":null,"type":"stream.closing","data":{"reason":"shutdown","retry_ms":3600000}}\n\n');
  origin.connections[0]!.close();
  await until(() => states.at(-1)?.phase === "reconnecting");
  expect(states.at(-1)).toMatchObject({ inMs: 3_600_000 });
  expect(origin.connections.length).toBe(1);
  follow.hurry();
  origin.add("X", "execution.completed");
  await done;
  expect(ids()).toEqual([1, 2, 3]);
  follow.hurry(); // it waits for nothing: nothing happens
});
