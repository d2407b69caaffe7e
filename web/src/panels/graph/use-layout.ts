// A layout for what is visible, found without holding the page up.
//
// The law of this file: what is drawn stays until its successor is there.
import { useEffect, useMemo, useRef, useState } from "react";
import type { Hierarchy, Visible } from "./groups.ts";
import { directionFor, grown, tiled, type Layout, type Point, type Request } from "./layout.ts";
import { ranksOf, type GraphEdge, type GraphModel } from "./model.ts";

/** More edges carry no amounts of their own, until one is looked at. */
export const LABELLED_EDGES_MAX = 60;

let worker: Worker | undefined;
let turns = 0;

/** A drawing: what is visible, and where it stands. */
export interface Drawing {
  view: Visible;
  layout: Layout;
}

/** The drawing of what is visible; undefined until there is one. Throws what the layout failed of. */
export function useLayout(model: GraphModel, tree: Hierarchy, view: Visible, room: { width: number; height: number }): Drawing | undefined {
  const [found, setFound] = useState<Drawing>();
  const [failure, setFailure] = useState<string>();
  const kept = useRef(new Map<string, Point>());
  const roomNow = useRef(room);
  roomNow.current = room;
  const learned = useMemo(() => {
    if (!model.learned) return undefined;
    const request = requestOf(tree, view);
    if (tree.big) return { view, layout: tiled(request, Math.min(8, Math.max(2, Math.floor(roomNow.current.width / 120)))) };
    const layout = grown(view.cards.filter((id) => model.node.has(id)), request.edges, kept.current);
    for (const [id, at] of layout.cards) kept.current.set(id, at);
    return { view, layout };
  }, [model, tree, view]);

  useEffect(() => {
    if (model.learned) return;
    const turn = ++turns;
    const { width, height } = roomNow.current;
    const direction = directionFor(shallow(view), { width: width || 900, height: height || 600 });
    worker ??= new Worker(new URL("./layout.worker.ts", import.meta.url), { type: "module" });
    const at = worker;
    const took = ({ data }: MessageEvent<{ turn: number; layout: Layout }>) => {
      if (data.turn === turn) setFound({ view, layout: data.layout });
    };
    const failed = (event: ErrorEvent) => setFailure(event.message || "the layout's worker did not start");
    at.addEventListener("message", took);
    at.addEventListener("error", failed);
    at.postMessage({ turn, request: { ...requestOf(tree, view), direction } satisfies Request });
    return () => {
      at.removeEventListener("message", took);
      at.removeEventListener("error", failed);
    };
  }, [model, tree, view]);

  if (failure) throw new Error(failure);
  return learned ?? found;
}

function requestOf(tree: Hierarchy, view: Visible): Omit<Request, "direction"> {
  const labelled = view.edges.length <= LABELLED_EDGES_MAX;
  return {
    cards: view.cards.map((id) => ({ id, parent: tree.parentOf.get(id) })),
    regions: view.regions.map(({ id, parent, kind }) => ({ id, parent, tiled: kind !== "subflow" })),
    edges: view.edges.map((edge) => ({ id: edge.id, from: edge.from, to: edge.to, labelWidth: labelled ? labelWidth(edge) : 0 })),
  };
}

/** The room that an edge's label takes. */
export function labelWidth(edge: GraphEdge): number {
  return edge.when === undefined ? 52 : Math.min(12 + edge.when.length * 7, 120);
}

/** The ranks of what is visible. */
function shallow(view: Visible): Iterable<number> {
  const nodes = view.cards.map((id) => ({ id, kind: "learned" as const, streaming: false, mapped: false, summary: undefined }));
  return ranksOf({ nodes, edges: view.edges }).values();
}
