// The state at any position of a log, without folding from its beginning.
//
// The law of this file: `at(p)` is the fold of all events up to p, whatever was asked before; where
// the log's beginning is gone, of what the server kept of it and the events since. It
// keeps the events of the execution and its nodes, and a checkpoint every CHECKPOINT of them (or of
// twice the nodes, if those are more: a checkpoint is as large as the nodes are many, so what all of
// them take together grows with the events, and not faster). Of the values of a stream, which may be
// millions, it keeps the ids alone.
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
  readonly #items: number[] = []; // the ids of output.item
  readonly #checkpoints: Checkpoint[] = [];
  readonly #base: ExecutionState;
  #cached: Checkpoint | undefined;

  /** `base`: what the execution was before the events that will come, if they are not its first. */
  constructor(executionId = "", base: ExecutionState = newState(executionId)) {
    this.#base = base;
    this.state = snapshot(base);
  }

  /** Take the next event. Throws IllegalTransition. */
  append(event: TailraceEvent): void {
    if (!folds(event.type)) {
      this.state.head = event.id ?? this.state.head;
      return;
    }
    apply(this.state, event);
    if (event.type === "output.item") {
      this.#items.push(event.id ?? 0);
      return;
    }
    this.#events.push(event);
    const since = this.#events.length - (this.#checkpoints.at(-1)?.count ?? 0);
    if (since >= Math.max(CHECKPOINT, 2 * this.state.nodes.size)) {
      this.#checkpoints.push({ count: this.#events.length, state: snapshot(this.state) });
    }
  }

  /** The state at a position: of the newest, the living one. */
  at(position: number): ExecutionState {
    if (position >= this.state.head) return this.state;
    const count = upTo(this.#events.length, (i) => this.#events[i]!.id ?? 0, position);
    const from = this.#before(count);
    const state = snapshot(from ? from.state : this.#base);
    for (let i = from?.count ?? 0; i < count; i++) apply(state, this.#events[i]!);
    const given = (at: number): number => upTo(this.#items.length, (i) => this.#items[i]!, at);
    const before = state.begun > this.#base.head ? 0 : this.#base.item_count;
    state.item_count = before + given(position) - given(state.begun);
    state.head = Math.max(position, this.#base.head);
    // Who scrubs asks for the next position next: go on from here.
    this.#cached = { count, state };
    return state;
  }

  /** The events of the execution and its nodes, in order: where a scrubber has something to show. */
  moments(): ReadonlyArray<TailraceEvent & { id: number }> {
    return this.#events as Array<TailraceEvent & { id: number }>;
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

/** How many of some ids, in order, are not above a position. */
function upTo(length: number, id: (index: number) => number, position: number): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (id(middle) <= position) low = middle + 1;
    else high = middle;
  }
  return low;
}
