// The edges: what goes along them, and whether it is being used.
//
// The law of this file: an edge moves only while what it brought is in use. Its amount stands on it;
// what it brought is shown when it, or the card that gave it, is looked at.
import { ViewportPortal } from "@xyflow/react";
import { memo, useContext, useMemo, useState, useSyncExternalStore } from "react";
import { DistanceContext, RegionName } from "./card.tsx";
import { passedOf } from "./facts.ts";
import { useEdge, useFeed } from "./feed.ts";
import { FocusContext } from "./focus.ts";
import { CARD, curve, type Direction, type Layout, type Point } from "./layout.ts";
import type { GraphEdge } from "./model.ts";
import { LABELLED_EDGES_MAX, type Drawing } from "./use-layout.ts";
import css from "./graph.module.css";

/** Of more edges none is hit by a mouse; the cards at their ends are. */
const HOVERED_EDGES_MAX = 300;

type Edge = GraphEdge & { count: number };

/** The edges of a drawing, `most` at most, and their labels. */
export const Wires = memo(function Wires({ drawing, most }: { drawing: Drawing; most: number }) {
  const { view, layout } = drawing;
  const focus = useContext(FocusContext);
  const looked = useSyncExternalStore(focus.subscribe, focus.looked);
  const [hovered, setHovered] = useState<string>();
  const near = useMemo(() => new Set(looked.split("\n")), [looked]);
  const far = useContext(DistanceContext) !== "near";
  const few = view.edges.length <= LABELLED_EDGES_MAX;
  const drawn = view.edges.filter((edge, at) => at < most && layout.edges.has(edge.id));
  const isNear = (edge: Edge) => hovered === edge.id || near.has(edge.from) || near.has(edge.to);
  return (
    <ViewportPortal>
      <svg className={css.wires} aria-hidden>
        {drawn.map((edge) => (
          <Wire key={edge.id} edge={edge} points={layout.edges.get(edge.id)!.points} direction={layout.direction} near={isNear(edge)} onHover={view.edges.length > HOVERED_EDGES_MAX ? undefined : setHovered} far={far} />
        ))}
      </svg>
      <div className={css.labels}>
        {drawn
          .filter((edge) => few || edge.when !== undefined || isNear(edge))
          .map((edge) => (
            <Label key={edge.id} edge={edge} at={placeOf(layout, edge)} full={hovered === edge.id || (looked !== "" && isNear(edge))} own={hovered === edge.id} />
          ))}
        {view.regions.map((group) => layout.regions.has(group.id) && <RegionName key={group.id} group={group} at={layout.regions.get(group.id)!} />)}
        <Tip layout={layout} />
      </div>
    </ViewportPortal>
  );
});

interface WireProps {
  edge: Edge;
  points: Point[];
  direction: Direction;
  near: boolean;
  onHover: ((id: string | undefined) => void) | undefined;
  far: boolean;
}

const Wire = memo(function Wire({ edge, points, direction, near, onHover, far }: WireProps) {
  const look = useEdge(edge);
  const path = useMemo(() => curve(points, direction), [points, direction]);
  const end = points.at(-1)!;
  const isOrder = edge.params.length === 0;
  const head = direction === "TB" ? `M${end.x - 3.5} ${end.y - 6}L${end.x} ${end.y}L${end.x + 3.5} ${end.y - 6}` : `M${end.x - 6} ${end.y - 3.5}L${end.x} ${end.y}L${end.x - 6} ${end.y + 3.5}`;
  return (
    <g className={css.wire} data-edge={edge.id} data-look={look} data-near={near || undefined} data-order={isOrder || undefined} data-stream={edge.stream || undefined}>
      {onHover && <path d={path} className={css.hit} onPointerEnter={() => onHover(edge.id)} onPointerLeave={() => onHover(undefined)} />}
      <path d={path} className={css.path} />
      {look === "busy" && <path d={path} className={css.flow} />}
      {!far && <path d={head} className={css.head} />}
    </g>
  );
});

interface LabelProps {
  edge: Edge;
  at: Point;
  /** Say what it brought. */
  full: boolean;
  /** It is looked at by itself. */
  own: boolean;
}

function Label({ edge, at, full, own }: LabelProps) {
  const look = useEdge(edge);
  const { amount, preview } = usePassed(edge, look !== "idle" && look !== "skipped");
  const far = useContext(DistanceContext) !== "near";
  if (far && !full) return null;
  const names = edge.params.join(", ");
  const parts = full ? [names, amount, edge.count > 1 ? `${edge.count} edges` : ""] : [edge.count > 1 ? `${edge.count} edges` : amount];
  const text = parts.filter(Boolean).join(" · ");
  if (!text && edge.when === undefined) return null;
  return (
    <div className={css.label} data-label={edge.id} data-look={look} data-full={full || undefined} data-own={own || undefined} style={{ transform: `translate(${at.x}px, ${at.y}px) translate(-50%, -50%)` }}>
      <span>
        {edge.when !== undefined && <span className={css.when}>{edge.when}</span>}
        {text}
      </span>
      {own && preview && <code>{preview}</code>}
    </div>
  );
}

/** What the card that is looked at gave: all its edges bring the same. */
function Tip({ layout }: { layout: Layout }) {
  const feed = useFeed();
  const focus = useContext(FocusContext);
  const id = useSyncExternalStore(focus.subscribe, () => focus.hovered ?? (focus.inside ? focus.at : undefined));
  const told = useSyncExternalStore(feed.subscribe, () => {
    const node = feed.model.node.get(id ?? "");
    const passed = node && passedOf(node, feed.state, undefined);
    return passed?.preview ? `${passed.amount}\n${passed.preview}` : "";
  });
  const at = id === undefined ? undefined : layout.cards.get(id);
  if (!at || told === "") return null;
  const cut = told.indexOf("\n");
  return (
    <div className={css.tip} data-testid="tip" style={{ transform: `translate(${at.x}px, ${at.y + CARD.height + 8}px)` }}>
      <span>gave {told.slice(0, cut)}</span>
      <code>{told.slice(cut + 1)}</code>
    </div>
  );
}

/** What the source gave, once it has. */
function usePassed(edge: GraphEdge, isGone: boolean): { amount: string; preview: string } {
  const feed = useFeed();
  const told = useSyncExternalStore(feed.subscribe, () => {
    const source = feed.model.node.get(edge.from);
    if (!source || feed.model.learned || edge.params.length === 0 || !isGone) return "";
    const passed = passedOf(source, feed.state, source.kind === "capture" ? feed.state.item_count : undefined);
    // The graph does not say which part of the input an edge takes.
    return passed ? `${source.kind === "trigger" ? "" : passed.amount}\n${passed.preview}` : "";
  });
  const [amount = "", ...rest] = told.split("\n");
  return { amount, preview: rest.join("\n") };
}

/** Where a label stands: where the layout made room for it, else in the middle. */
function placeOf(layout: Layout, edge: GraphEdge): Point {
  const { points, label } = layout.edges.get(edge.id)!;
  if (label) return label;
  const [a, b] = [points[Math.floor((points.length - 1) / 2)]!, points[Math.ceil((points.length - 1) / 2)]!];
  if (a !== b) return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
  const next = points[points.length > 1 ? 1 : 0]!;
  return points.length === 3 ? a : { x: (a.x + next.x) / 2, y: (a.y + next.y) / 2 };
}
