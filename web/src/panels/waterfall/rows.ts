// When each try of each node waited and ran.
//
// The law of this file: every span is between two moments of the log, or between one and now. What a
// node took is found once for each of its states, which never change.
import type { ExecutionState, NodeState } from "@tailrace/client";
import { moment } from "../../parts/time.tsx";

/** From a moment to another; `to` null: it goes on. Milliseconds since 1970, with their fractions. */
export interface Span {
  from: number;
  to: number | null;
}

/** One try of a node. */
export interface Bar {
  key: string;
  node: string;
  attempt: number;
  /** Whether it is the node's first try, and whether others follow. */
  isFirst: boolean;
  isOnly: boolean;
  status: string;
  error: string | undefined;
  /** After the try before failed, until it was tried again. */
  pause: Span | undefined;
  /** Queued, until it ran. */
  wait: Span | undefined;
  run: Span | undefined;
  /** Where it begins; of what never ran, where that was said. */
  at: number;
}

/** What the whole took. */
export interface Figures {
  total: number;
  busy: number;
  waiting: number;
}

const found = new WeakMap<NodeState, Bar[]>();

/** All tries, by their node's first moment. */
export function barsOf(state: ExecutionState): Bar[] {
  const nodes: Array<[number, Bar[]]> = [];
  for (const node of state.nodes.values()) {
    let bars = found.get(node);
    if (!bars) found.set(node, (bars = triesOf(node)));
    if (bars[0]) nodes.push([bars[0].at, bars]);
  }
  return nodes.sort((a, b) => a[0] - b[0]).flatMap(([, bars]) => bars);
}

/** Busy and waiting time, summed over all nodes, and the time that passed. */
export function figuresOf(bars: readonly Bar[], whole: Span, end: number): Figures {
  const took = (span: Span | undefined) => (span ? Math.max(0, (span.to ?? end) - span.from) : 0);
  let [busy, waiting] = [0, 0];
  for (const bar of bars) {
    busy += took(bar.run);
    waiting += took(bar.wait) + took(bar.pause);
  }
  return { total: took(whole), busy, waiting };
}

function triesOf(node: NodeState): Bar[] {
  const bars: Bar[] = [];
  let before: number | null = null;
  for (const one of node.tries) {
    const queued = one.queued_at === null ? null : moment(one.queued_at);
    const started = one.started_at === null ? null : moment(one.started_at);
    const ended = one.ended_at === null ? null : moment(one.ended_at);
    const begun = queued ?? started;
    bars.push({
      key: `${node.id}\n${bars.length}`,
      node: node.id,
      attempt: one.attempt,
      isFirst: bars.length === 0,
      isOnly: node.tries.length === 1,
      status: one.status,
      error: one.error ? `${one.error.type}: ${one.error.message}` : undefined,
      pause: before !== null && begun !== null && begun > before ? { from: before, to: begun } : undefined,
      wait: queued === null ? undefined : { from: queued, to: started ?? ended },
      run: started === null ? undefined : { from: started, to: ended },
      at: begun ?? ended ?? 0,
    });
    before = ended;
  }
  return bars;
}
