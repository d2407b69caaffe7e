// The data layer for React: what a component calls.
//
// The law of this file: a component names what it wants; it gets a store that is fed for as long as
// somebody shows it, and is drawn anew when that changed.
import { TailraceClient } from "@tailrace/client";
import { createContext, useContext, useEffect, useMemo, useSyncExternalStore } from "react";
import { ExecutionStore } from "./execution.ts";
import { ListStore } from "./list.ts";
import { problemFrom } from "./hub.ts";
import { BASE, Tab } from "./tab.ts";
import type { Ticker } from "./ticker.ts";

let tab: Tab | undefined;

/** This tab's connection; made when it is first needed, so that a login page opens none. */
function theTab(): Tab {
  tab ??= new Tab();
  return tab;
}

const clients = new Map<string, TailraceClient>();

/** The client for requests in a workspace. */
export function clientOf(workspace: string): TailraceClient {
  let client = clients.get(workspace);
  if (!client) clients.set(workspace, (client = new TailraceClient(BASE, { workspace })));
  return client;
}

/** Which workspace the page shows; it is in the URL (`?workspace=`). */
export const WorkspaceContext = createContext("default");

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
  return store;
}

/** The list of executions, alive; `more` reads the next page of those before. */
export function useList(status: string | undefined): ListStore {
  const workspace = useContext(WorkspaceContext);
  const store = useMemo(() => new ListStore(), [workspace, status]);
  useEffect(() => {
    const leave = new AbortController();
    const read = async () => {
      try {
        const query = { limit: 100, ...(status ? { status } : {}) };
        const { executions } = await clientOf(workspace).list(query, leave.signal);
        store.page(executions);
      } catch (error) {
        if (!leave.signal.aborted) store.failed(problemFrom(error));
      }
    };
    const stop = theTab().subscribe({ kind: "list" }, workspace, {
      events: (lines) => {
        if (lines.includes('"type":"stream.gap"')) {
          // Executions are gone, or all are others: a store that was removed, or made anew.
          store.forget();
          void read();
        }
        store.take(lines);
      },
      state: (state) => {
        store.connected(state);
        // The stream has what comes from here on; what was before is read after it has begun.
        if (state.phase === "live") void read();
      },
      failed: (problem) => store.failed(problem),
    });
    return () => {
      leave.abort();
      stop();
    };
  }, [store, status, workspace]);
  useTicks(store);
  return store;
}
