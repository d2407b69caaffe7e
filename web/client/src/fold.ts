// An execution's state, folded from its events: the twin of tailrace.lifecycle.
//
// The law of this file: a state is a pure function of the events up to a position, and the same one
// as Python's (schemas/golden, read by both). It adds only what watchers draw and Python leaves
// out: when a node was queued, and its tries. Node states are never changed, they are replaced; so
// a snapshot shares them, and costs a Map and no more.
import { EXECUTION, NODE, TERMINAL } from "./catalog.ts";
import type { ErrorInfo, OutputSummary } from "./catalog.ts";
import type { TailraceEvent } from "./events.ts";
import type { FlowIR } from "./ir.ts";

const NEW = "new";

/** One try at a node. */
export interface Try {
  attempt: number;
  queued_at: string | null;
  started_at: string | null;
  ended_at: string | null;
  /** Of this try: `retrying` is one that failed and was followed by another. */
  status: string;
  error: ErrorInfo | null;
}

/** One node, folded. */
export interface NodeState {
  readonly id: string;
  readonly status: string;
  readonly attempt: number;
  readonly started_at: string | null;
  readonly ended_at: string | null;
  readonly duration_ms: number | null;
  readonly output_summary: OutputSummary | null;
  readonly item_count: number | null;
  readonly error: ErrorInfo | null;
  readonly progress: Record<string, unknown> | null;
  /** The execution's attempt in which it moved last. */
  readonly execution_attempt: number;
  readonly queued_at: string | null;
  /** Why it was skipped. */
  readonly reason: string | null;
  readonly tries: readonly Try[];
  /** The event in which it moved last. */
  readonly at: number;
}

/** One execution, folded. */
export interface ExecutionState {
  execution_id: string;
  status: string;
  kind: string;
  flow: string;
  workspace: string;
  input: unknown;
  graph: FlowIR | null;
  /** Of a graph that is too large for an event: by it `payload` gives it. */
  graph_digest: string | null;
  queued_at: string | null;
  started_at: string | null;
  ended_at: string | null;
  total_duration_ms: number | null;
  output: unknown;
  error: ErrorInfo | null;
  end: Record<string, unknown> | null;
  progress: Record<string, unknown> | null;
  item_count: number;
  /** Where the newest attempt began: its values are counted from there. Not in the server's JSON. */
  begun: number;
  head: number;
  attempt: number;
  lease_ms: number | null;
  nodes: Map<string, NodeState>;
}

/** An event that cannot follow: a log that breaks the tables, or events out of their order. */
export class IllegalTransition extends Error {
  override readonly name = "IllegalTransition";
}

/** The state before the first event. */
export function newState(executionId = ""): ExecutionState {
  return {
    execution_id: executionId,
    status: NEW,
    kind: "",
    flow: "",
    workspace: "",
    input: null,
    graph: null,
    graph_digest: null,
    queued_at: null,
    started_at: null,
    ended_at: null,
    total_duration_ms: null,
    output: null,
    error: null,
    end: null,
    progress: null,
    item_count: 0,
    begun: 0,
    head: 0,
    attempt: 1,
    lease_ms: null,
    nodes: new Map(),
  };
}

/** Whether the terminal event has come. */
export function hasEnded(state: ExecutionState): boolean {
  const moves = EXECUTION[state.status];
  return state.status !== NEW && moves !== undefined && Object.keys(moves).length === 0;
}

/** Whether events of a type move a state; others only move its head. */
export function folds(type: string): boolean {
  return type.startsWith("execution.") || type.startsWith("node.") || type === "output.item";
}

/** Move on by one event, in place. Throws IllegalTransition, and stays as it was, if it cannot. */
export function apply(state: ExecutionState, event: TailraceEvent): void {
  if (hasEnded(state)) {
    throw new IllegalTransition(`${event.type} after the execution ${state.status}`);
  }
  if (event.type.startsWith("execution.")) applyExecution(state, event);
  else if (event.type.startsWith("node.")) applyNode(state, event);
  else if (event.type === "output.item") state.item_count += 1;
  state.head = event.id ?? state.head;
}

/** Fold events, in order, into a state. */
export function fold(events: Iterable<TailraceEvent>, state = newState()): ExecutionState {
  for (const event of events) apply(state, event);
  return state;
}

/** A state that stays as it is while the other moves on. */
export function snapshot(state: ExecutionState): ExecutionState {
  return { ...state, nodes: new Map(state.nodes) };
}

/** The execution as the server's JSON shows it. */
export function toDict(state: ExecutionState): Record<string, unknown> {
  const nodes = [...state.nodes.values()].map(
    ({ queued_at: _queued, reason: _reason, tries: _tries, at: _at, ...shown }) => shown,
  );
  const { begun: _begun, ...shown } = state;
  return { ...shown, nodes };
}

/**
 * A state from the server's JSON, to go on from where a log no longer has its beginning
 * (`GET …/executions/{id}?at=`). Of the tries of a node the JSON knows the last.
 */
export function load(shown: Record<string, unknown>): ExecutionState {
  const state = newState();
  const known = Object.entries(shown).filter(([name]) => name in state && name !== "nodes");
  Object.assign(state, Object.fromEntries(known));
  for (const node of shown.nodes as Array<Omit<NodeState, "tries">>) {
    const { attempt, started_at, ended_at, status, error } = node;
    const last: Try = { attempt, queued_at: null, started_at, ended_at, status, error };
    state.nodes.set(node.id, { ...UNSEEN, ...node, at: state.head, tries: [last] });
  }
  return state;
}

function applyExecution(state: ExecutionState, event: TailraceEvent): void {
  const data = event.data as Record<string, any>;
  const attempt = event.attempt ?? 1;
  const started = event.type === "execution.started";
  if (started && state.started_at !== null && attempt <= state.attempt) {
    throw new IllegalTransition(
      `${event.type} of attempt ${attempt} while attempt ${state.attempt} runs it`,
    );
  }
  state.status = move(EXECUTION, state.status, event.type, "execution");
  if (event.type === "execution.queued") {
    state.execution_id = event.execution_id;
    state.queued_at = event.ts;
    state.kind = data.kind ?? "";
    state.flow = data.flow ?? "";
    state.workspace = data.workspace ?? "default";
    state.input = data.input ?? null;
    state.graph = data.graph ?? null;
    state.graph_digest = data.graph_summary?.digest ?? null;
    state.lease_ms = data.lease_ms ?? null;
  } else if (started) {
    state.started_at ??= event.ts;
    state.attempt = attempt;
    state.item_count = 0; // a streaming capture begins anew in each attempt
    state.begun = event.id ?? 0;
  } else if (event.type === "execution.progress") {
    state.progress = data;
  } else if (TERMINAL.has(event.type)) {
    state.ended_at = event.ts;
    state.end = data;
    state.total_duration_ms = data.total_duration_ms ?? null;
    state.output = data.output ?? null;
    state.error = data.error ?? null;
  }
}

function applyNode(state: ExecutionState, event: TailraceEvent): void {
  const name = event.node ?? "";
  const known = state.nodes.get(name);
  // What an earlier attempt did of a node does not bind this one: it may begin it anew.
  const begins = event.type in NODE[NEW]!;
  const node = known && !(known.execution_attempt < state.attempt && begins) ? known : undefined;
  const status = move(NODE, node?.status ?? NEW, event.type, `node ${JSON.stringify(name)}`);
  const before = node ?? { ...UNSEEN, id: name };
  const data = event.data as Record<string, any>;
  const changed: Partial<Mutable<NodeState>> = {};
  if (event.type === "node.queued") changed.queued_at = event.ts;
  else if (event.type === "node.started") changed.started_at = event.ts;
  else if (event.type === "node.progress") changed.progress = data;
  else if (Object.keys(NODE[status]!).length === 0) {
    changed.ended_at = event.ts;
    changed.duration_ms = data.duration_ms ?? null;
    changed.output_summary = data.output_summary ?? null;
    changed.item_count = data.item_count ?? null;
    changed.reason = data.reason ?? null;
  }
  const attempt = event.attempt ?? 1;
  state.nodes.set(name, {
    ...before,
    ...changed,
    status,
    attempt,
    execution_attempt: state.attempt,
    at: event.id ?? before.at,
    error: data.error === undefined ? before.error : data.error,
    tries: tried(before.tries, event, status, attempt),
  });
}

/** The tries of a node, moved on by one of its events. */
function tried(
  tries: readonly Try[],
  event: TailraceEvent,
  status: string,
  attempt: number,
): readonly Try[] {
  if (event.type === "node.progress") return tries;
  const last = tries.at(-1);
  const fresh = last === undefined || last.status === "retrying";
  const current: Try = fresh
    ? { attempt, queued_at: null, started_at: null, ended_at: null, status, error: null }
    : { ...last, attempt, status };
  if (event.type === "node.queued") current.queued_at = event.ts;
  else if (event.type === "node.started") current.started_at = event.ts;
  else current.ended_at = event.ts;
  current.error = (event.data.error as ErrorInfo | undefined) ?? current.error;
  return fresh ? [...tries, current] : [...tries.slice(0, -1), current];
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const UNSEEN: NodeState = {
  id: "",
  status: NEW,
  attempt: 1,
  started_at: null,
  ended_at: null,
  duration_ms: null,
  output_summary: null,
  item_count: null,
  error: null,
  progress: null,
  execution_attempt: 1,
  queued_at: null,
  reason: null,
  tries: [],
  at: 0,
};

function move(
  table: Record<string, Record<string, string>>,
  state: string,
  type: string,
  what: string,
): string {
  const next = table[state]?.[type];
  if (next === undefined) {
    throw new IllegalTransition(`${type} is not possible while the ${what} is ${state}`);
  }
  return next;
}
