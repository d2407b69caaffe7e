// When each node ran. First version: bars on one scale, the wait before a start apart from the run.
import type { NodeState } from "@tailrace/client";
import { colourOf, Mark } from "../parts/marks.tsx";
import { Empty } from "../parts/problem.tsx";
import { duration, useNow } from "../parts/time.tsx";
import type { PanelProps } from "./contract.ts";
import css from "./panels.module.css";

export default function Waterfall({ state, selection, select }: PanelProps) {
  const running = state.ended_at === null && state.started_at !== null;
  const now = useNow(running);
  const nodes = [...state.nodes.values()].filter((node) => node.started_at ?? node.queued_at);
  if (nodes.length === 0) return <Empty title="Nothing ran yet">Bars appear here as nodes start.</Empty>;
  const from = Math.min(...nodes.map((node) => Date.parse(node.queued_at ?? node.started_at!)));
  const to = state.ended_at ? Date.parse(state.ended_at) : Math.max(now, from + 1);
  const share = (at: number) => `${(100 * (at - from)) / Math.max(to - from, 1)}%`;
  return (
    <ol className={css.bars} aria-label="Timeline of nodes">
      {nodes.map((node) => (
        <li key={node.id}>
          <button type="button" className={css.bar} aria-pressed={selection.node === node.id} onClick={() => select({ node: node.id })}>
            <Mark status={node.status} alone />
            <span className={`clip ${css.name}`}>{node.id}</span>
            <span className={css.track}>
              {spans(node, to).map((span) => (
                <span
                  key={`${span.kind}${span.from}`}
                  className={css[span.kind]}
                  style={{ left: share(span.from), width: `max(3px, calc(${share(span.to)} - ${share(span.from)}))`, color: colourOf(span.status) }}
                />
              ))}
            </span>
            <span className="number muted">{node.duration_ms === null ? "" : duration(node.duration_ms)}</span>
          </button>
        </li>
      ))}
    </ol>
  );
}

interface Span {
  kind: "wait" | "run";
  from: number;
  to: number;
  status: string;
}

function spans(node: NodeState, end: number): Span[] {
  return node.tries.flatMap((one) => {
    const queued = one.queued_at && Date.parse(one.queued_at);
    const started = one.started_at && Date.parse(one.started_at);
    const ended = one.ended_at ? Date.parse(one.ended_at) : end;
    const made: Span[] = [];
    if (queued) made.push({ kind: "wait", from: queued, to: started || ended, status: "queued" });
    if (started) made.push({ kind: "run", from: started, to: ended, status: one.status });
    return made;
  });
}
