// One execution as a tab has it: live, and at any position.
//
// The law of this file: events go in, once and in order; what is shown is asked for. Watchers are
// told every 50 ms at most (ticker.ts), however many events came.
//
// Why the tab parses and folds, and not the worker: what a worker folds has to be copied to each
// tab again, by structured cloning, which costs more than parsing. A message holds what one read of
// the network gave (64 kB or less, as a rule: 200 lines of log, about a millisecond), so no task is
// long, and drawing comes in between. Bounded is what grows: lines (lines.ts), KEPT_MAX events of
// other kinds, TEXT_MAX characters of text, ITEMS_MAX values. The events of the execution and its
// nodes are all kept: the server bounds those (`events_per_execution_max`).
import {
  folds,
  hasEnded,
  History,
  is,
  isTerminal,
  type Connection,
  type ExecutionState,
  type FlowIR,
  type Gap,
  type TailraceEvent,
} from "@tailrace/client";
import { LineStore } from "./lines.ts";
import type { Problem } from "./protocol.ts";
import { Ticker } from "./ticker.ts";

const KEPT_MAX = 50_000;
const ITEMS_MAX = 1000;
const TEXT_MAX = 16 * 1024 * 1024;

/** A piece of what an agent said. */
export interface Piece {
  id: number;
  ts: string;
  node: string | undefined;
  attempt: number;
  /** Code points of the text before it. */
  offset: number;
  text: string;
}

/** An execution's events, kept so that everything can be shown of them at any position. */
export class ExecutionStore extends Ticker {
  readonly id: string;
  history: History;
  lines = new LineStore();
  /** What was said, in order. */
  pieces: Piece[] = [];
  /** `tool.*`, `llm.usage`, `structured.delta`, `warning`, `custom.*` …, in order. */
  others: TailraceEvent[] = [];
  /** The newest values of a streaming capture. */
  items: Array<TailraceEvent<"output.item">> = [];
  readonly gaps: Gap[] = [];
  /** Sources of which nothing more comes. */
  sealed = new Set<string>();
  connection: Connection = { phase: "connecting" };
  problem: Problem | undefined;
  /** How many events came, and were not the stream's own: the log's head, unless there are gaps. */
  count = 0;
  #graph: FlowIR | null = null; // of one that was put aside
  #missing: number | null = null;
  #since: TailraceEvent[] = []; // what was folded since, to be folded again
  #textChars = 0;

  constructor(id: string) {
    super();
    this.id = id;
    this.history = new History(id);
  }

  /** The newest state. It moves on; ask again when told. */
  get live(): ExecutionState {
    return this.#drawn(this.history.state);
  }

  /** The state at a position; null is now. */
  at(position: number | null): ExecutionState {
    return position === null ? this.live : this.#drawn(this.history.at(position));
  }

  /** By what the graph is to be fetched, while it is not here: it was too large for its event. */
  get wanted(): string | null {
    return this.#graph ? null : this.history.state.graph_digest;
  }

  planned(graph: FlowIR): void {
    this.#graph = graph;
    this.changed();
  }

  #drawn(state: ExecutionState): ExecutionState {
    if (state.graph_digest) state.graph ??= this.#graph;
    return state;
  }

  /** Take envelopes, one a line. */
  take(lines: string): void {
    let start = 0;
    while (start < lines.length) {
      let end = lines.indexOf("\n", start);
      if (end < 0) end = lines.length;
      this.#take(JSON.parse(lines.slice(start, end)) as TailraceEvent);
      start = end + 1;
    }
    this.changed();
  }

  /** The last event that retention took, while what the execution was after it is not known here. */
  get missing(): number | null {
    return this.#missing;
  }

  /** How it stands at a position: what has lost its beginning to retention had begun. */
  statusOf(state: ExecutionState): string {
    return state.status === "new" && this.#missing !== null ? "running" : state.status;
  }

  /** Go on from what the server kept of what retention took; `base` is of `missing`, or later. */
  begins(base: ExecutionState): void {
    if (this.#missing === null || base.head < this.#missing) return; // another gap came meanwhile
    const { head } = this.live;
    this.history = new History(this.id, base);
    this.others = this.others.filter(({ type }) => !folds(type)); // they stood in for what was folded
    for (const event of this.#since) if ((event.id ?? 0) > base.head) this.#fold(event);
    this.live.head = Math.max(head, this.live.head);
    [this.#missing, this.#since] = [null, []];
    this.changed();
  }

  connected(connection: Connection): void {
    this.connection = connection;
    this.changed();
  }

  failed(problem: Problem): void {
    this.problem = problem;
    this.connection = { phase: "ended", how: problem.code, ...(problem.hint ? { hint: problem.hint } : {}) };
    this.changed();
  }

  #take(event: TailraceEvent): void {
    if (event.id === null) {
      if (is(event, "stream.gap")) this.#gap(event);
      return;
    }
    if (event.id <= this.live.head) return; // a subscription that began anew gives them again
    this.count += 1;
    if (this.#missing !== null && folds(event.type)) this.#since.push(event);
    this.#fold(event);
    if (is(event, "log.line")) this.lines.append(event);
    else if (is(event, "llm.chunk")) this.#say(event);
    else if (is(event, "output.item")) keep(this.items, event, ITEMS_MAX);
    else if (is(event, "log.sealed")) this.sealed.add(event.data.source);
    else if (!event.type.startsWith("execution.") && !event.type.startsWith("node.")) {
      keep(this.others, event, KEPT_MAX);
    }
  }

  #fold(event: TailraceEvent): void {
    try {
      this.history.append(event);
    } catch {
      // A gap took what came before it: until that is known, the rest is shown as far as it goes.
      this.history.state.head = event.id ?? this.live.head;
      this.#endAnyhow(event);
      if (event.type !== "output.item") keep(this.others, event, KEPT_MAX);
    }
  }

  /** How it ended is known, whatever is missing before it. */
  #endAnyhow(event: TailraceEvent): void {
    if (!isTerminal(event) || hasEnded(this.live)) return;
    const data = event.data as Partial<ExecutionState>;
    this.live.status = event.type.slice("execution.".length);
    this.live.ended_at = event.ts;
    this.live.total_duration_ms = data.total_duration_ms ?? null;
    this.live.end = event.data;
    this.live.output = data.output ?? null;
    this.live.error = data.error ?? null;
  }

  #say(event: TailraceEvent<"llm.chunk">): void {
    const { id, ts, node, attempt = 1, data } = event;
    this.pieces.push({ id: id ?? 0, ts, node, attempt, offset: data.offset, text: data.text });
    this.#textChars += data.text.length;
    while (this.#textChars > TEXT_MAX) this.#textChars -= this.pieces.shift()!.text.length;
  }

  #gap(event: TailraceEvent<"stream.gap">): void {
    const { from, to, cause } = event.data;
    if (this.gaps.some((gap) => gap.from === from && gap.to === to)) return;
    this.gaps.push({ from, to, cause, after: this.live.head });
    if (cause === "lost") this.#forget();
    else [this.#missing, this.#since] = [to, []];
  }

  /** The log was lost and made again: what follows is something else. */
  #forget(): void {
    this.history = new History(this.id);
    this.lines = new LineStore();
    [this.pieces, this.others, this.items] = [[], [], []];
    this.sealed = new Set();
    this.#graph = null;
    [this.#missing, this.#since] = [null, []];
    this.count = this.#textChars = 0;
  }
}

function keep<T>(kept: T[], one: T, most: number): void {
  kept.push(one);
  if (kept.length > 2 * most) kept.splice(0, kept.length - most);
}
