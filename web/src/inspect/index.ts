// The events of an execution as a list, made from what the page has of them.
//
// The law of this file: ids are dense, so the list of all events needs no list; a kind of them is
// one of the store's arrays, which are in order. Nothing is copied, whatever there is of it.
import type { TailraceEvent } from "@tailrace/client";
import { whyOf } from "../data/list.ts";
import type { ExecutionStore } from "../data/execution.ts";
import { duration } from "../parts/time.tsx";

export interface EventRow {
  id: number;
  /** Milliseconds since 1970; undefined: this page does not keep it. */
  ts: number | undefined;
  type: string;
  node: string | undefined;
  text: string;
}

/** Kinds of events, as the filter offers them. */
export const KINDS = ["all", "execution", "node", "output", "log", "text", "other"] as const;
export type Kind = (typeof KINDS)[number];

/** The events of a kind (and a node), up to a position. */
export interface EventList {
  count: number;
  at(index: number): EventRow;
  /** Where an id is, or would be. */
  indexOf(id: number): number;
}

export function eventsOf(store: ExecutionStore, kind: Kind, node: string | undefined, position: number | null): EventList {
  const end = position ?? store.live.head;
  if (node !== undefined) {
    const ids = [...idsOfNode(store, node, kind)].filter((id) => id <= end).sort((a, b) => a - b);
    return listed(ids.length, (index) => ids[index]!, store);
  }
  switch (kind) {
    case "all":
      return { count: end, at: (index) => rowOf(store, index + 1), indexOf: (id) => id - 1 };
    case "log": {
      const { lines } = store;
      return listed(lines.endAt(end) - lines.first, (index) => lines.get(lines.first + index)?.id ?? 0, store);
    }
    case "text":
      return listed(countTo(store.pieces, end), (index) => store.pieces[index]!.id, store);
    case "other":
      return listed(countTo(store.others, end), (index) => store.others[index]!.id ?? 0, store);
    case "output":
      return listed(countTo(store.items, end), (index) => store.items[index]!.id ?? 0, store);
    default: {
      const prefix = `${kind}.`;
      const ids = store.history.moments().filter((event) => event.type.startsWith(prefix) && event.id <= end).map((event) => event.id);
      return listed(ids.length, (index) => ids[index]!, store);
    }
  }
}

function listed(count: number, idAt: (index: number) => number, store: ExecutionStore): EventList {
  const indexOf = (id: number) => {
    let [low, high] = [0, count];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (idAt(middle) < id) low = middle + 1;
      else high = middle;
    }
    return low;
  };
  return { count, at: (index) => rowOf(store, idAt(index)), indexOf };
}

/** One event, from wherever the store has it. */
export function rowOf(store: ExecutionStore, id: number): EventRow {
  const moment = withId(store.history.moments(), id) ?? withId(store.others, id) ?? withId(store.items, id);
  if (moment) return { id, ts: Date.parse(moment.ts), type: moment.type, node: moment.node, text: summary(moment) };
  const { lines } = store;
  const line = lines.get(lines.endAt(id) - 1);
  if (line?.id === id) return { id, ts: line.ts, type: "log.line", node: line.node, text: line.text };
  const piece = withId(store.pieces, id);
  if (piece) return { id, ts: Date.parse(piece.ts), type: "llm.chunk", node: piece.node, text: piece.text };
  const gap = store.gaps.find(({ from, to }) => from <= id && id <= to);
  return { id, ts: undefined, type: "", node: undefined, text: gap ? `no longer kept (${gap.cause})` : "" };
}

/** When an event was; of one that is not kept here, when the last before it was. */
export function timeAt(store: ExecutionStore, id: number): number | null {
  const { ts } = rowOf(store, id);
  if (ts !== undefined) return ts;
  const moments = store.history.moments();
  const before = moments[countTo(moments, id) - 1];
  return before ? Date.parse(before.ts) : null;
}

/** What an event says, in a line. */
export function summary(event: TailraceEvent): string {
  const data = event.data as Record<string, any>;
  switch (event.type) {
    case "execution.queued":
      return `${data.flow}`;
    case "execution.started":
      return `on ${data.worker}`;
    case "execution.progress":
    case "node.progress":
      return [data.percent === undefined || data.percent === null ? "" : `${Math.round(data.percent)} %`, data.message ?? ""].join(" ").trim();
    case "execution.cancelling":
      return `by ${data.by}${data.reason ? `: ${data.reason}` : ""}`;
    case "node.completed":
      return [duration(data.duration_ms ?? 0), data.output_summary?.preview ?? ""].join("  ");
    case "node.skipped":
      return String(data.reason ?? "");
    case "tool.call":
      return `${data.name} ${JSON.stringify(data.input ?? "")}`;
    case "output.item":
      return data.index === undefined ? "" : `#${data.index}`;
  }
  const why = whyOf(event);
  if (why) return why;
  return Object.keys(data).length === 0 ? "" : JSON.stringify(data).slice(0, 300);
}

function* idsOfNode(store: ExecutionStore, node: string, kind: Kind): Generator<number> {
  const wants = (type: Kind) => kind === "all" || kind === type;
  for (const event of store.history.moments()) {
    if (event.node === node && (kind === "all" || event.type.startsWith(`${kind}.`))) yield event.id;
  }
  if (wants("other")) for (const event of store.others) if (event.node === node) yield event.id ?? 0;
  if (wants("text")) for (const piece of store.pieces) if (piece.node === node) yield piece.id;
  if (!wants("log")) return;
  const { lines } = store;
  for (let index = lines.first; index < lines.end; index++) if (lines.nodeAt(index) === node) yield lines.get(index)!.id;
}

function countTo(events: ReadonlyArray<{ id: number | null }>, end: number): number {
  let [low, high] = [0, events.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((events[middle]!.id ?? 0) <= end) low = middle + 1;
    else high = middle;
  }
  return low;
}

function withId<T extends { id: number | null }>(events: readonly T[], id: number): T | undefined {
  const found = events[countTo(events, id) - 1];
  return found?.id === id ? found : undefined;
}
