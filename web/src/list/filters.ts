// Which executions are shown: what the URL says, applied.
//
// The law of this file: pure; a count is of what is known, and says whether that is all.
import { ALL, type ListStore, type Row } from "../data/list.ts";

export interface Filters {
  status: string;
  kind: string;
  flow: string;
  search: string;
}

/** Always offered, in this order; the others when there are any. */
const ALWAYS = ["running", "completed", "failed"] as const;
const SELDOM = ["queued", "cancelling", "cancelled", "timed_out", "lost"] as const;

export interface StatusCount {
  status: string;
  count: number;
  /** Whether there may be more. */
  more: boolean;
}

export function matches(row: Row, { status, kind, flow, search }: Filters): boolean {
  if (status !== ALL && row.status !== status) return false;
  if (kind && row.kind !== kind) return false;
  if (flow && row.flow !== flow) return false;
  const wanted = search.trim().toLowerCase();
  if (!wanted) return true;
  return [row.flow, row.id, row.why ?? ""].some((text) => text.toLowerCase().includes(wanted));
}

/** How many there are of each status. */
export function counted(store: ListStore, chosen: string): StatusCount[] {
  const counts = new Map<string, number>();
  for (const row of store.rows) counts.set(row.status, (counts.get(row.status) ?? 0) + 1);
  const shown = [ALL, ...ALWAYS, ...SELDOM.filter((name) => counts.has(name) || name === chosen)];
  return shown.map((status) => ({
    status,
    count: status === ALL ? store.rows.length : (counts.get(status) ?? 0),
    more: !store.isWhole(status),
  }));
}

/** The distinct values of a column, in order. */
export function distinct(rows: readonly Row[], column: "kind" | "flow", chosen: string): string[] {
  const found = new Set(rows.map((row) => row[column]));
  if (chosen) found.add(chosen);
  return [...found].sort();
}

/** What has started lately: only of a window that is known whole. */
export interface Lately {
  minutes: number;
  /** Starts in each of BINS equal parts of the window, oldest first. */
  bins: number[];
  started: number;
  failed: number;
}

export const BINS = 30;
const WINDOWS = [60, 15, 5];

/** What has started lately; undefined where not even the shortest window is known whole. */
export function lately(store: ListStore, now: number): Lately | undefined {
  const rows = store.covered();
  const oldest = rows.at(-1);
  const reach = store.isWhole() ? 0 : oldest ? Date.parse(oldest.created_at) : now;
  const minutes = WINDOWS.find((window) => reach <= now - window * 60_000);
  if (minutes === undefined || !oldest) return undefined;
  const from = now - minutes * 60_000;
  const bins = new Array<number>(BINS).fill(0);
  let [started, failed] = [0, 0];
  for (const row of rows) {
    const at = Date.parse(row.created_at);
    if (at < from) break;
    const bin = Math.min(BINS - 1, Math.floor(((at - from) / (minutes * 60_000)) * BINS));
    bins[bin] = bins[bin]! + 1;
    started += 1;
    if (row.status === "failed") failed += 1; // as the filter that the figure leads to
  }
  return { minutes, bins, started, failed };
}
