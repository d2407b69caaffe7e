// How the nodes stand, told to each card by itself.
//
// The law of this file: a change draws only the cards that it changed. The canvas is made once for a
// layout; states reach cards and edges past it, by subscription.
import type { ExecutionState, NodeState } from "@tailrace/client";
import { createContext, useCallback, useContext, useSyncExternalStore } from "react";
import type { ExecutionStore } from "../../data/execution.ts";
import { moment } from "../../parts/time.tsx";
import { countsOf, edgeLook, RATE_WINDOW_MS, rateOf, statusOf, type EdgeLook } from "./facts.ts";
import type { Group } from "./groups.ts";
import type { GraphEdge, GraphModel } from "./model.ts";

/** Where cards read. */
export class Feed {
  state: ExecutionState;
  store: ExecutionStore;
  model: GraphModel;
  position: number | null = null;
  /** Open or close a group. */
  toggle: (id: string, open: boolean) => void = () => undefined;
  groupOf: (id: string) => Group | undefined = () => undefined;
  /** What the store's last event said the time was, and when it came here: the server's clock. */
  #heard = { server: 0, here: 0, head: 0 };
  readonly #listeners = new Set<() => void>();

  constructor(store: ExecutionStore, state: ExecutionState, model: GraphModel) {
    [this.store, this.state, this.model] = [store, state, model];
  }

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /** Show a state. */
  set(store: ExecutionStore, state: ExecutionState, model: GraphModel, position: number | null): void {
    [this.store, this.state, this.model, this.position] = [store, state, model, position];
    // Values and text too: after a node began there may be hours of nothing else.
    const newest = [store.history.moments().at(-1), store.items.at(-1), store.pieces.at(-1)]
      .filter((one) => one !== undefined)
      .reduce((a, b) => ((a.id ?? 0) > (b.id ?? 0) ? a : b), { id: 0, ts: "" } as { id: number | null; ts: string });
    if (newest.id && newest.id !== this.#heard.head) {
      this.#heard = { server: Date.parse(newest.ts), here: performance.now(), head: newest.id };
    }
    for (const listener of this.#listeners) listener();
  }

  /** How a node stands, or what is most urgent in a group. */
  status(id: string): string {
    const node = this.model.node.get(id);
    if (node) return statusOf(node, this.state);
    return countsOf(this.groupOf(id)?.leaves ?? [], this.state)[0]?.[0] ?? "new";
  }

  /** How the end of an edge stands: a group has given when all of it has, and takes when any of it does. */
  endStatus(id: string): string {
    const node = this.model.node.get(id);
    if (node) return statusOf(node, this.state);
    const counts = countsOf(this.groupOf(id)?.leaves ?? [], this.state);
    if (counts.some(([status]) => status === "running" || status === "retrying")) return "running";
    return counts.length === 1 ? counts[0]![0] : "new";
  }

  /** The moment that is shown, by the server's clock, as far as it was heard. */
  now(): number {
    if (this.position !== null) return momentAt(this.store, this.position);
    return this.#heard.server + (performance.now() - this.#heard.here);
  }

  /** Values, or pieces of text, a second; undefined: the log has none of them one by one. */
  rate(id: string): number | undefined {
    const node = this.state.nodes.get(id);
    if (node?.status !== "running") return undefined;
    const since = Date.parse(node.started_at ?? "") || 0;
    const told = this.store.items.length > 0 ? this.store.items : this.store.pieces;
    const moments: number[] = [];
    const upTo = this.position ?? Infinity;
    const now = this.now();
    for (let at = told.length - 1; at >= 0; at--) {
      const one = told[at]!;
      if (one.node !== id || one.id! > upTo) continue;
      moments.push(Date.parse(one.ts));
      if (moments.at(-1)! < now - RATE_WINDOW_MS) break; // older ones do not count
    }
    return rateOf(moments.reverse(), now, since);
  }
}

/** When the last event that moved something at a position was written. */
export function momentAt(store: ExecutionStore, position: number): number {
  const moments = store.history.moments();
  let [low, high] = [0, moments.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (moments[middle]!.id <= position) low = middle + 1;
    else high = middle;
  }
  const found = moments[Math.max(low - 1, 0)];
  return found ? moment(found.ts) : 0;
}

export const FeedContext = createContext<Feed | undefined>(undefined);

export function useFeed(): Feed {
  return useContext(FeedContext)!;
}

/** How one node stands. */
export function useNode(id: string): { status: string; state: NodeState | undefined } {
  const feed = useFeed();
  const state = useSyncExternalStore(feed.subscribe, () => feed.state.nodes.get(id));
  const status = useSyncExternalStore(feed.subscribe, () => feed.status(id));
  return { status, state };
}

/** How an edge between two nodes looks. */
export function useEdge(edge: GraphEdge): EdgeLook {
  const feed = useFeed();
  return useSyncExternalStore(feed.subscribe, () => edgeLook(edge, feed.endStatus(edge.from), feed.endStatus(edge.to)));
}

/** How many of a group's nodes stand how. */
export function useCounts(leaves: readonly string[]): Array<[string, number]> {
  const feed = useFeed();
  const told = useSyncExternalStore(
    feed.subscribe,
    useCallback(() => JSON.stringify(countsOf(leaves, feed.state)), [feed, leaves]),
  );
  return JSON.parse(told) as Array<[string, number]>;
}
