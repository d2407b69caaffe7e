// The nodes and how they stand. First version: a list in the graph's order, which every later
// drawing must say no less than.
import type { NodeState } from "@tailrace/client";
import { Mark, wordOf } from "../parts/marks.tsx";
import { Empty } from "../parts/problem.tsx";
import { Duration } from "../parts/time.tsx";
import type { PanelProps } from "./contract.ts";
import css from "./panels.module.css";

export default function Graph({ state, selection, select }: PanelProps) {
  const planned = (state.graph?.nodes ?? []).filter((node) => node.kind !== "trigger").map((node) => node.id);
  const ids = [...new Set([...planned, ...state.nodes.keys()])];
  if (ids.length === 0) return <Empty title="No nodes yet">They appear here as they start.</Empty>;
  return (
    <ol className={css.nodes} aria-label="Nodes">
      {ids.map((id) => (
        <li key={id}>
          <button
            type="button"
            className={css.node}
            data-node={id}
            data-status={state.nodes.get(id)?.status ?? "new"}
            aria-pressed={selection.node === id}
            onClick={() => select({ node: id })}
          >
            <Mark status={state.nodes.get(id)?.status ?? "new"} />
            <span className={css.name}>{id}</span>
            <Facts node={state.nodes.get(id)} />
          </button>
        </li>
      ))}
    </ol>
  );
}

function Facts({ node }: { node: NodeState | undefined }) {
  if (!node) return <span className="muted">waiting</span>;
  const preview = node.output_summary?.preview;
  return (
    <>
      <span className="muted">
        {wordOf(node.status)}
        {node.tries.length > 1 && `, try ${node.tries.length}`}
      </span>
      {node.started_at && (
        <Duration from={node.started_at} to={node.ended_at ?? (node.status === "running" ? null : node.started_at)} />
      )}
      {preview && <code className={`clip muted ${css.preview}`}>{preview}</code>}
    </>
  );
}
