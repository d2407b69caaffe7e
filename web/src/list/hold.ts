// What is shown of a list while somebody points at it: nothing may move under the cursor.
//
// The law of this file: held rows keep their places, whatever they have become; newer ones wait and
// are counted, older ones are joined at the end.
import type { Row } from "../data/list.ts";

/** What is shown, and how many wait. */
export interface Shown {
  rows: readonly Row[];
  waiting: number;
}

/** Rows as they are to be shown; `held`: the ids that keep their places, or null. */
export function hold(rows: readonly Row[], held: readonly string[] | null, now: (id: string) => Row | undefined): Shown {
  if (held === null || held.length === 0) return { rows, waiting: 0 };
  const kept = held.map(now).filter((row) => row !== undefined);
  const places = new Set(held);
  const last = kept.at(-1);
  const fresh = rows.filter((row) => !places.has(row.id));
  const older = last ? fresh.filter((row) => row.created_at < last.created_at) : [];
  return { rows: [...kept, ...older], waiting: fresh.length - older.length };
}
