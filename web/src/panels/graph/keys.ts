// Where an arrow key goes.
//
// The law of this file: along the edges where there are any, else to what is nearest that way.
import type { GraphEdge } from "./model.ts";
import { CARD, type Layout, type Point } from "./layout.ts";

type Arrow = "ArrowUp" | "ArrowDown" | "ArrowLeft" | "ArrowRight";

/** The card to go to from one; undefined: there is none that way. */
export function neighbour(layout: Layout, edges: readonly GraphEdge[], from: string, key: string): string | undefined {
  const at = layout.cards.get(from);
  if (!at || !isArrow(key)) return undefined;
  const [ahead, back] = layout.direction === "TB" ? ["ArrowDown", "ArrowUp"] : ["ArrowRight", "ArrowLeft"];
  const ends =
    key === ahead ? edges.filter((edge) => edge.from === from).map((edge) => edge.to)
    : key === back ? edges.filter((edge) => edge.to === from).map((edge) => edge.from)
    : []; // prettier-ignore
  const near = (id: string) => distance(at, layout.cards.get(id)!);
  const byEdge = ends.filter((id) => layout.cards.has(id)).sort((a, b) => near(a) - near(b))[0];
  if (byEdge !== undefined) return byEdge;
  const isAcross = key !== ahead && key !== back;
  const kin = isAcross ? kinOf(edges, from) : undefined;
  let best: [string, number] | undefined;
  for (const [id, point] of layout.cards) {
    const way = along(at, point, key);
    if (id === from || way <= 0) continue;
    const aside = Math.abs(key === "ArrowUp" || key === "ArrowDown" ? point.x - at.x : point.y - at.y);
    // Across the ranks: only what stands beside it, or has a source or a target in common with it.
    if (isAcross && !kin?.has(id) && aside > (layout.direction === "TB" ? CARD.height : CARD.width) / 2) continue;
    const cost = way + 2 * aside;
    if (!best || cost < best[1]) best = [id, cost];
  }
  return best?.[0];
}

/** What has a source or a target in common with a node. */
function kinOf(edges: readonly GraphEdge[], id: string): Set<string> {
  const sources = new Set(edges.filter((edge) => edge.to === id).map((edge) => edge.from));
  const targets = new Set(edges.filter((edge) => edge.from === id).map((edge) => edge.to));
  const beside = edges.filter((edge) => sources.has(edge.from)).map((edge) => edge.to);
  return new Set([...beside, ...edges.filter((edge) => targets.has(edge.to)).map((edge) => edge.from)]);
}

function isArrow(key: string): key is Arrow {
  return key === "ArrowUp" || key === "ArrowDown" || key === "ArrowLeft" || key === "ArrowRight";
}

function along(a: Point, b: Point, key: Arrow): number {
  switch (key) {
    case "ArrowUp":
      return a.y - b.y;
    case "ArrowDown":
      return b.y - a.y;
    case "ArrowLeft":
      return a.x - b.x;
    case "ArrowRight":
      return b.x - a.x;
  }
}

function distance(a: Point, b: Point): number {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
