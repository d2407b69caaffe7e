// The data layer for React: what a component calls.
//
// The law of this file: a component names what it wants; it gets a store that is fed for as long as
// somebody shows it, and is drawn anew when that changed.
import { load, TailraceClient, type FlowIR } from "@tailrace/client";
import { useContext, useEffect, useMemo, useSyncExternalStore } from "react";
import { ExecutionStore } from "./execution.ts";
import { ListStore } from "./list.ts";
import { BASE, Tab } from "./tab.ts";
import type { Ticker } from "./ticker.ts";
import { WorkspaceContext } from "./workspace.ts";

export { WorkspaceContext };

let tab: Tab | undefined;

/** This tab's connection; made when it is first needed, so that a login page opens none. */
function theTab(): Tab {
  tab ??= new Tab();
  return tab;
}

/** Ask the server again now, where streams wait before their next try. */
export function hurry(): void {
  theTab().hurry();
}

const clients = new Map<string, TailraceClient>();

/** The client for requests in a workspace. */
export function clientOf(workspace: string): TailraceClient {
  let client = clients.get(workspace);
  if (!client) clients.set(workspace, (client = new TailraceClient(BASE, { workspace })));
  return client;
}

export function useClient(): TailraceClient {
  return clientOf(useContext(WorkspaceContext));
}

/** Draw anew when a store has changed, every 50 ms at most; returns its version. */
export function useTicks(store: Ticker): number {
  return useSyncExternalStore(store.subscribe, store.getVersion);
}

/** An execution, followed for as long as the caller is shown. */
export function useExecution(id: string): ExecutionStore {
  const workspace = useContext(WorkspaceContext);
  const store = useMemo(() => new ExecutionStore(id), [id, workspace]);
  useEffect(() => {
    return theTab().subscribe({ kind: "execution", id, after: undefined }, workspace, {
      events: (lines) => store.take(lines),
      state: (state) => store.connected(state),
      failed: (problem) => store.failed(problem),
    });
  }, [store, id, workspace]);
  useTicks(store);
  const { missing } = store;
  useEffect(() => {
    if (missing === null) return;
    const cut = new AbortController();
    const client = clientOf(workspace);
    client
      .get(id, missing, cut.signal)
      .catch(() => client.get(id, undefined, cut.signal)) // more is gone by now: as it is, then
      .then((shown) => store.begins(load(shown)))
      .catch(() => undefined); // the rest is shown as far as it goes
    return () => cut.abort();
  }, [missing, store, id, workspace]);
  const { wanted } = store;
  useEffect(() => {
    if (wanted === null) return;
    let gone = false;
    clientOf(workspace)
      .payload(id, wanted)
      .then((graph) => gone || store.planned(graph as FlowIR))
      .catch(() => undefined); // its nodes are drawn as they come
    return () => void (gone = true);
  }, [wanted, store, id, workspace]);
  return store;
}

const lists = new Map<string, ListStore>();

/** The list of a workspace: the one that was left, so that who comes back finds what they had read. */
function listOf(workspace: string): ListStore {
  const left = lists.get(workspace);
  if (left && !left.problem) return left;
  const client = clientOf(workspace);
  const store = new ListStore({
    list: (query) => client.list(query),
    next: async (id, after) => (await client.events(id, { after, limit: 1 })).events[0],
  });
  lists.set(workspace, store);
  return store;
}

/** Somebody else is here, or nobody: what was read before is not theirs. */
export function forgetLists(): void {
  lists.clear();
}

/** The list of executions, alive; `more` reads the next page of those before. */
export function useList(): ListStore {
  const workspace = useContext(WorkspaceContext);
  const store = useMemo(() => listOf(workspace), [workspace]);
  useEffect(() => {
    let phase = "";
    // At once, because the worker that has the streams takes a third of a second to start.
    const early = store.refresh();
    const leave = theTab().subscribe({ kind: "list" }, workspace, {
      events: (lines) => {
        // Executions are gone, or all are others: a store that was removed, or made anew.
        const anew = lines.includes('"type":"stream.gap"');
        if (anew) store.forget();
        store.take(lines);
        if (anew) void store.refresh();
      },
      state: (state) => {
        store.connected(state);
        // The stream has what comes from here on; what was before is read after it has begun.
        if (state.phase === "live" && phase !== "live") void early.then(() => store.refresh());
        phase = state.phase;
      },
      failed: (problem) => store.failed(problem),
    });
    return () => {
      leave();
      store.connected({ phase: "suspended" }); // what it has not heard from here on, it reads again
    };
  }, [store, workspace]);
  useTicks(store);
  return store;
}
