// The graph: what there is to do, how far it is, and what goes from where to where.
//
// The law of this file: it shows the state it is given, of whatever position. A flow's graph is known
// before it runs; where there is none, nodes are learned in the order of their start.
import { hasEnded } from "@tailrace/client";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import { Empty } from "../parts/problem.tsx";
import { useParam } from "../url.ts";
import type { PanelProps } from "./contract.ts";
import { Canvas } from "./graph/canvas.tsx";
import { Feed, FeedContext } from "./graph/feed.ts";
import { grouped, LEARNED_FLAT_MAX, opened, visible } from "./graph/groups.ts";
import { GraphList } from "./graph/list.tsx";
import { learned, planned, type GraphModel } from "./graph/model.ts";
import { useLayout } from "./graph/use-layout.ts";
import css from "./graph/graph.module.css";

export default function Graph(props: PanelProps) {
  const [view, setView] = useParam("view");
  const model = useModel(props);
  if (model.nodes.length === 0) {
    if (props.store.missing !== null) return <Empty title="None of its nodes is kept">Its logs and events have what there still is.</Empty>;
    if (!hasEnded(props.state)) return <Empty title="No nodes yet">They appear here as they start.</Empty>;
    return <Empty title="It has no nodes">What it said is in its logs and its output.</Empty>;
  }
  const isList = view === "list";
  return (
    <div className={css.graph}>
      <div className={css.views} role="group" aria-label="View">
        <button type="button" aria-pressed={!isList} onClick={() => setView(undefined)}>
          Drawing
        </button>
        <button type="button" aria-pressed={isList} onClick={() => setView("list")}>
          List
        </button>
      </div>
      {isList ? <GraphList {...props} model={model} /> : <Drawn {...props} model={model} />}
    </div>
  );
}

function Drawn({ store, version, state, position, selection, select, model }: PanelProps & { model: GraphModel }) {
  const room = useRef<HTMLDivElement>(null);
  const [toggled, setToggled] = useState<ReadonlyMap<string, boolean>>(new Map());
  const tree = useMemo(() => grouped(model), [model]);
  const view = useMemo(() => visible(model, tree, opened(tree, toggled, selection.node)), [model, tree, toggled, selection.node]);
  const size = { width: room.current?.clientWidth ?? innerWidth, height: room.current?.clientHeight ?? 600 };
  const drawing = useLayout(model, tree, view, size);

  const [feed] = useState(() => new Feed(store, state, model));
  feed.toggle = useCallback((id, open) => setToggled((before) => new Map(before).set(id, open)), []);
  feed.groupOf = useCallback((id) => tree.groups.get(id), [tree]);
  feed.model = model; // before the cards of a new model read it
  useLayoutEffect(() => feed.set(store, state, model, position), [feed, store, version, state, position, model]);

  const choose = useCallback((id: string | undefined) => select(id === undefined ? {} : { node: id }), [select]);
  const newest = model.learned && !tree.big ? [...state.nodes.keys()].at(-1) : undefined;
  const label = `Graph of ${state.flow}: ${model.nodes.length} nodes. Arrow keys go along the edges, Enter selects.`;
  return (
    <div ref={room} className={css.room}>
      {drawing && (
        <FeedContext.Provider value={feed}>
          <Canvas drawing={drawing} room={size} label={label} selected={selection.node} select={choose} newest={newest} />
        </FeedContext.Provider>
      )}
    </div>
  );
}

/** What there is to draw; the same object for as long as that does not change. */
function useModel({ state }: PanelProps): GraphModel {
  const { graph, nodes } = state;
  const named = useMemo(() => new Set(graph?.nodes.map((node) => node.id)), [graph]);
  // Of thousands that are learned, not each is a reason to put all into groups again.
  const size = useSeldom(nodes.size, nodes.size > LEARNED_FLAT_MAX ? 500 : 0);
  return useMemo(() => {
    if (graph) return planned(graph, unnamed(nodes.keys(), named));
    return learned(nodes.values(), nodes.size <= LEARNED_FLAT_MAX);
  }, [graph, named, graph ? countUnnamed(nodes, named) : size]);
}

function unnamed(ids: Iterable<string>, named: ReadonlySet<string>): string[] {
  return [...ids].filter((id) => !named.has(id));
}

function countUnnamed(nodes: ReadonlyMap<string, unknown>, named: ReadonlySet<string>): number {
  let count = 0;
  for (const id of nodes.keys()) if (!named.has(id)) count += 1;
  return count;
}

/** A value that is taken over at most once in so many milliseconds, the last one always. */
function useSeldom<T>(value: T, ms: number): T {
  const [taken, setTaken] = useState(value);
  const last = useRef(0);
  useEffect(() => {
    const wait = Math.max(0, last.current + ms - performance.now());
    const timer = setTimeout(() => {
      last.current = performance.now();
      setTaken(value);
    }, wait);
    return () => clearTimeout(timer);
  }, [value, ms]);
  return ms === 0 ? value : taken;
}
