// The graph in words: each node, how it stands, and what it waits for.
//
// The law of this file: it says no less than the drawing does.
import { useVirtualizer } from "@tanstack/react-virtual";
import { useRef } from "react";
import { Mark, wordOf } from "../../parts/marks.tsx";
import { duration } from "../../parts/time.tsx";
import type { PanelProps } from "../contract.ts";
import { bytes, notes, statusOf } from "./facts.ts";
import { kindWord } from "./kinds.tsx";
import type { GraphModel, GraphNode } from "./model.ts";
import css from "./graph.module.css";

const ROW = 36;

export function GraphList({ model, state, selection, select }: Pick<PanelProps, "state" | "selection" | "select"> & { model: GraphModel }) {
  const scroll = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({ count: model.nodes.length, getScrollElement: () => scroll.current, estimateSize: () => ROW, overscan: 12 });
  const sources = new Map<string, string[]>();
  for (const { from, to } of model.edges) {
    const list = sources.get(to);
    if (list) list.push(from);
    else sources.set(to, [from]);
  }
  return (
    <div ref={scroll} className={css.listScroll}>
      <ul className={css.list} aria-label="Nodes" style={{ height: rows.getTotalSize() }}>
        {rows.getVirtualItems().map(({ index, start }) => {
          const node = model.nodes[index]!;
          return (
            <li key={node.id} aria-setsize={model.nodes.length} aria-posinset={index + 1} style={{ transform: `translateY(${start}px)` }}>
              <Row node={node} after={sources.get(node.id) ?? []} state={state} pressed={selection.node === node.id} select={() => select({ node: node.id })} />
            </li>
          );
        })}
      </ul>
    </div>
  );
}

interface RowProps {
  node: GraphNode;
  after: string[];
  state: PanelProps["state"];
  pressed: boolean;
  select: () => void;
}

function Row({ node, after, state, pressed, select }: RowProps) {
  const folded = state.nodes.get(node.id);
  const status = statusOf(node, state);
  const said = [
    wordOf(status),
    ...notes(node, folded),
    ...(folded?.duration_ms == null ? [] : [duration(folded.duration_ms)]),
    ...(folded?.output_summary ? [bytes(folded.output_summary.size_bytes)] : []),
  ];
  return (
    <button type="button" className={css.row} data-node={node.id} data-status={status} aria-pressed={pressed} onClick={select}>
      <Mark status={status} />
      <span className={css.rowName}>{node.id}</span>
      <span className="tag">{kindWord(node.kind)}</span>
      <span className={css.rowFacts}>{said.join(" · ")}</span>
      <span className={css.rowAfter}>{after.length > 0 && `after ${after.join(", ")}`}</span>
    </button>
  );
}
