// An execution's events on an axis of time: which event is where, and what is marked.
//
// The law of this file: it only grows, by what came since; ids and times rise together, so each way
// between them is a search. Of lines of log it takes one in STEP_MS: between two it takes ids to be
// evenly spread, which no eye can tell from the truth.
import type { ExecutionStore } from "../data/execution.ts";

const STEP_MS = 5;
/** A pause that is skipped takes this long. */
export const PAUSE_MS = 1000;

export type MarkKind = "start" | "retry" | "failure" | "end";

export interface Mark {
  id: number;
  kind: MarkKind;
}

interface Anchor {
  id: number;
  ts: string | number;
  type?: string;
}

export class Timeline {
  readonly marks: Mark[] = [];
  /** The time of the first event. */
  begin = 0;
  readonly #ids: number[] = [];
  /** Since the first event, in ms: as it was, and with pauses skipped. */
  readonly #real: number[] = [];
  readonly #short: number[] = [];
  #head = 0;

  /** Take what came since. */
  grow(store: Pick<ExecutionStore, "history" | "lines" | "pieces" | "others" | "items">, head: number): void {
    if (head <= this.#head) return;
    const from = this.#head;
    const fresh: Anchor[] = [
      ...since(store.history.moments(), from),
      ...since(store.others, from).map(({ id, ts }) => ({ id: id ?? 0, ts })),
      ...since(store.items, from).map(({ id, ts }) => ({ id: id ?? 0, ts })),
      ...since(store.pieces, from).map(({ id, ts }) => ({ id, ts })),
    ];
    let last = -Infinity;
    for (let index = Math.max(store.lines.first, store.lines.endAt(from)); index < store.lines.end; index++) {
      const line = store.lines.get(index)!;
      if (line.ts - last < STEP_MS) continue;
      last = line.ts;
      fresh.push({ id: line.id, ts: line.ts });
    }
    fresh.sort((a, b) => a.id - b.id);
    for (const anchor of fresh) this.#add(anchor);
    this.#head = head;
  }

  /** How long it is, in ms. */
  total(skip: boolean): number {
    return (skip ? this.#short : this.#real).at(-1) ?? 0;
  }

  /** When an event was, since the first. */
  msAt(id: number, skip = false): number {
    const times = skip ? this.#short : this.#real;
    const at = below(this.#ids, id);
    if (at < 0) return 0;
    const [from, to] = [this.#ids[at]!, this.#ids[at + 1]];
    if (to === undefined || from === id) return times[at]!;
    return times[at]! + ((times[at + 1]! - times[at]!) * (id - from)) / (to - from);
  }

  /** The last event at or before a time. */
  idAt(ms: number, skip = false): number {
    const times = skip ? this.#short : this.#real;
    const at = below(times, ms);
    if (at < 0) return this.#ids[0] ?? 0;
    const [from, to] = [this.#ids[at]!, this.#ids[at + 1]];
    if (to === undefined) return this.#head;
    const span = times[at + 1]! - times[at]!;
    const share = span > 0 ? (ms - times[at]!) / span : 0;
    return Math.min(from + Math.floor((to - from) * share), to - 1);
  }

  /** Where an event is between the first (0) and the last (1). */
  shareOf(id: number, skip: boolean): number {
    const total = this.total(skip);
    if (total > 0) return this.msAt(id, skip) / total;
    return this.#head > 1 ? (id - 1) / (this.#head - 1) : 1;
  }

  /** The event at a share of the whole. */
  idAtShare(share: number, skip: boolean): number {
    const total = this.total(skip);
    if (total > 0) return this.idAt(share * total, skip);
    return Math.round(1 + share * Math.max(this.#head - 1, 0));
  }

  /** How many events fall into each of so many equal parts. */
  density(bins: number, skip: boolean): number[] {
    let before = 0;
    return Array.from({ length: bins }, (_, bin) => {
      const upTo = bin === bins - 1 ? this.#head : this.idAtShare((bin + 1) / bins, skip);
      const count = Math.max(0, upTo - before);
      before = upTo;
      return count;
    });
  }

  #add({ id, ts, type }: Anchor): void {
    const ms = typeof ts === "number" ? ts : exact(ts);
    if (this.#ids.length === 0) this.begin = ms;
    const last = this.#real.at(-1) ?? 0;
    const real = Math.max(last, ms - this.begin); // clocks of two workers may differ
    this.#ids.push(id);
    this.#real.push(real);
    this.#short.push((this.#short.at(-1) ?? 0) + Math.min(real - last, PAUSE_MS));
    const kind = type === undefined ? undefined : KINDS[type];
    if (kind) this.marks.push({ id, kind });
  }
}

const KINDS: Record<string, MarkKind> = {
  "node.started": "start",
  "node.retrying": "retry",
  "node.failed": "failure",
  "execution.completed": "end",
  "execution.failed": "end",
  "execution.cancelled": "end",
  "execution.timed_out": "end",
  "execution.lost": "end",
};

/** Milliseconds with their fraction: dates drop what is below one. */
function exact(ts: string): number {
  const micros = /\.\d{3}(\d{1,3})/.exec(ts)?.[1];
  return Date.parse(ts) + (micros ? Number(micros.padEnd(3, "0")) / 1000 : 0);
}

/** Those of some events (in order) that are after an id. */
function since<T extends { id: number | null }>(events: readonly T[], id: number): readonly T[] {
  let [low, high] = [0, events.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((events[middle]!.id ?? 0) <= id) low = middle + 1;
    else high = middle;
  }
  return events.slice(low);
}

/** The index of the last number that is not above another; -1: there is none. */
function below(numbers: readonly number[], limit: number): number {
  let [low, high] = [0, numbers.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle]! <= limit) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
