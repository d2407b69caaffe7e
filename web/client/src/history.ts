// The state at any position of a log, without folding from its beginning.
//
// The law of this file: `at(p)` is the fold of all events up to p, whatever was asked before. It
// keeps the events that move a state, and a checkpoint every CHECKPOINT of them (or of twice the
// nodes, if those are more: a checkpoint is as large as the nodes are many, so what all of them
// take together grows with the events, and not faster).
import type { TailraceEvent } from "./events.ts";
import { apply, folds, newState, snapshot, type ExecutionState } from "./fold.ts";

export const CHECKPOINT = 256;

interface Checkpoint {
  /** How many of the kept events it holds. */
  count: number;
  state: ExecutionState;
}

/** A log's states: the newest, and any before it. */
export class History {
  /** The newest state; it moves on with every event. */
  readonly state: ExecutionState;
  readonly #events: TailraceEvent[] = [];
  readonly #checkpoints: Checkpoint[] = [];
  readonly #id: string;
  #cached: Checkpoint | undefined;

  constructor(executionId = "") {
    this.#id = executionId;
    this.state = newState(executionId);
  }

  /** Take the next event. Throws IllegalTransition. */
  append(event: TailraceEvent): void {
    if (!folds(event.type)) {
      this.state.head = event.id ?? this.state.head;
      return;
    }
    apply(this.state, event);
    // A value may be large, and no state shows it: only that it came.
    this.#events.push(event.type === "output.item" ? { ...event, data: {} } : event);
    const since = this.#events.length - (this.#checkpoints.at(-1)?.count ?? 0);
    if (since >= Math.max(CHECKPOINT, 2 * this.state.nodes.size)) {
      this.#checkpoints.push({ count: this.#events.length, state: snapshot(this.state) });
    }
  }

  /** The state at a position: of the newest, the living one. */
  at(position: number): ExecutionState {
    if (position >= this.state.head) return this.state;
    const count = this.#countAt(position);
    const from = this.#before(count);
    const state = from ? snapshot(from.state) : newState(this.#id);
    for (let i = from?.count ?? 0; i < count; i++) apply(state, this.#events[i]!);
    state.head = position;
    // Who scrubs asks for the next position next: go on from here.
    this.#cached = { count, state };
    return state;
  }

  /** The positions at which something moved, in order: where a scrubber has something to show. */
  moments(): ReadonlyArray<TailraceEvent & { id: number }> {
    return this.#events as Array<TailraceEvent & { id: number }>;
  }

  #countAt(position: number): number {
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#events[middle]!.id ?? 0) <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #before(count: number): Checkpoint | undefined {
    let best: Checkpoint | undefined;
    for (const one of this.#checkpoints) {
      if (one.count > count) break;
      best = one;
    }
    const cached = this.#cached;
    return cached && cached.count <= count && cached.count > (best?.count ?? 0) ? cached : best;
  }
}
