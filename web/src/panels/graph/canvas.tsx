// The drawing: pans, zooms, follows what runs, and is gone through with the arrow keys.
//
// The law of this file: it is made anew only when what is visible changes, never because a node's
// state did. Who has moved it is left where they are.
import { MiniMap, Panel, ReactFlow, ReactFlowProvider, useReactFlow, useStore, type MiniMapNodeProps, type Node } from "@xyflow/react";
import { memo, useCallback, useEffect, useMemo, useRef, useState, type KeyboardEvent } from "react";
import "@xyflow/react/dist/base.css";
import { colourOf } from "../../parts/marks.tsx";
import { Card, DistanceContext, GroupCard, Region, type CardNode, type GroupNode, type RegionNode } from "./card.tsx";
import { useFeed, useNode } from "./feed.ts";
import { Focus, FocusContext } from "./focus.ts";
import { neighbour } from "./keys.ts";
import { CARD } from "./layout.ts";
import type { Drawing } from "./use-layout.ts";
import { Wires } from "./wires.tsx";
import css from "./graph.module.css";

const TYPES = { card: Card, group: GroupCard, region: Region };
/** More cards than these are drawn only where they are seen. */
const ALL_DRAWN_MAX = 80;
const MAPPED_FROM = 40;
/** Smaller than this, small text is not read: cards show their marks and names alone, larger. */
const FAR = 0.5;
const VERY_FAR = 0.2;
const ZOOM_MIN = 0.02;
/** Following, a card must be readable. */
const READABLE = 0.6;

export interface CanvasProps {
  drawing: Drawing;
  /** What it is drawn in at first. */
  room: { width: number; height: number };
  label: string;
  selected: string | undefined;
  select: (id: string | undefined) => void;
  /** The nodes to keep in sight, as they start; undefined: everything. */
  newest: string | undefined;
}

export function Canvas(props: CanvasProps) {
  return (
    <ReactFlowProvider>
      <Inner {...props} />
    </ReactFlowProvider>
  );
}

/** As many more cards are made in each frame: a task that makes hundreds at once is a long one. */
const SLICE = 50;

/** How many of many are drawn by now: some in each frame, until all are. */
function useGradually(all: number): number {
  const [made, setMade] = useState(SLICE);
  useEffect(() => {
    if (made >= all) return;
    const frame = requestAnimationFrame(() => setMade(made + SLICE));
    return () => cancelAnimationFrame(frame);
  }, [made, all]);
  return made;
}

const Inner = memo(function Inner({ drawing, room, label, selected, select, newest }: CanvasProps) {
  const feed = useFeed();
  const focus = useMemo(() => new Focus(), []);
  const [first] = useState(() => viewportOf(drawing.layout, room));
  const all = useMemo(() => nodesOf(drawing, feed.model.node), [drawing, feed]);
  const made = useGradually(all.length);
  const nodes = useMemo(() => (made < all.length ? all.slice(0, made) : all), [all, made]);
  const { setCenter, getViewport } = useReactFlow();
  const follow = useFollow(drawing, newest);
  const distance = useStore(({ transform: [, , zoom] }) => (zoom >= FAR ? "near" : zoom >= VERY_FAR ? "far" : "very far"));

  const firstCard = drawing.view.cards[0];
  useEffect(() => {
    focus.activate = (id) => (feed.groupOf(id) ? feed.toggle(id, true) : select(id));
    const at = focus.at !== undefined && drawing.layout.cards.has(focus.at) ? focus.at : (selected ?? firstCard);
    focus.set({ selected, at });
  }, [focus, feed, drawing, selected, select, firstCard]);

  useOpened(drawing, focus, follow.leave);

  const show = useCallback(
    (id: string) => {
      const at = drawing.layout.cards.get(id);
      if (!at) return;
      const { x, y, zoom } = getViewport();
      const box = document.getElementById("graph-canvas")?.getBoundingClientRect();
      const [left, top] = [at.x * zoom + x, at.y * zoom + y];
      const isSeen = box && left > 0 && top > 0 && left + CARD.width * zoom < box.width && top + CARD.height * zoom < box.height;
      if (!isSeen) void setCenter(at.x + CARD.width / 2, at.y + CARD.height / 2, { zoom: Math.max(zoom, READABLE), duration: 0 });
    },
    [drawing, getViewport, setCenter],
  );

  const press = (event: KeyboardEvent) => {
    if (!(event.target instanceof Element) || !event.target.matches("[data-node], [data-group]") || focus.at === undefined) return;
    if (event.key === "Escape") return select(undefined);
    const cards = drawing.view.cards;
    const to =
      event.key === "Home" ? cards[0] : event.key === "End" ? cards.at(-1) : neighbour(drawing.layout, drawing.view.edges, focus.at, event.key);
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    follow.leave();
    show(to);
    focus.set({ at: to, wanted: to });
  };

  return (
    <FocusContext.Provider value={focus}>
      <DistanceContext.Provider value={distance}>
        <div id="graph-canvas" className={css.canvas} data-far={distance === "near" ? undefined : distance} onKeyDown={press} onBlur={() => focus.set({ inside: false })}>
        <ReactFlow
          nodes={nodes}
          edges={NONE}
          nodeTypes={TYPES}
          aria-label={label}
          minZoom={ZOOM_MIN}
          defaultViewport={first}
          maxZoom={1.6}
          nodesDraggable={false}
          nodesConnectable={false}
          nodesFocusable={false}
          edgesFocusable={false}
          elementsSelectable={false}
          disableKeyboardA11y
          deleteKeyCode={null}
          selectionKeyCode={null}
          multiSelectionKeyCode={null}
          zoomOnDoubleClick={false}
          panOnScroll
          onlyRenderVisibleElements={drawing.view.cards.length > ALL_DRAWN_MAX}
          onMoveStart={(event) => event && follow.leave()}
          proOptions={{ hideAttribution: true }}
        >
          <Wires drawing={drawing} most={made < all.length ? made : Infinity} />
          <Tools follow={follow} />
          {drawing.view.cards.length > MAPPED_FROM && <Overview drawing={drawing} />}
        </ReactFlow>
      </div>
      </DistanceContext.Provider>
    </FocusContext.Provider>
  );
});

const NONE: never[] = [];

interface Follow {
  following: boolean;
  leave: () => void;
  fit: () => void;
}

/** Keeps everything in sight, or what started last, until somebody moves the drawing. */
function useFollow({ layout }: Drawing, newest: string | undefined): Follow {
  const { setCenter } = useReactFlow();
  const [following, setFollowing] = useState(true);
  const width = useStore((store) => store.width);
  const height = useStore((store) => store.height);
  const drawn = useRef(false);

  const go = useCallback(
    (all: boolean) => {
      const box = boundsOf(layout);
      if (!box || width === 0) return;
      const still = !drawn.current || matchMedia("(prefers-reduced-motion: reduce)").matches;
      drawn.current = true;
      const duration = still ? 0 : 300;
      const zoom = fitting(box, width, height);
      const at = newest === undefined ? undefined : layout.cards.get(newest);
      if (all || zoom >= READABLE || !at) {
        void setCenter(box.x + box.width / 2, box.y + box.height / 2, { zoom, duration });
        return;
      }
      // What started last is low in the drawing, so that what was before it is seen.
      const near = Math.min(1, Math.max(READABLE, (width - 48) / box.width));
      void setCenter(at.x + CARD.width / 2, at.y + CARD.height / 2 - (0.22 * height) / near, { zoom: near, duration });
    },
    [layout, newest, width, height, setCenter],
  );
  useEffect(() => {
    if (following) go(false);
  }, [following, go]);
  return {
    following,
    leave: useCallback(() => setFollowing(false), []),
    fit: useCallback(() => {
      setFollowing(true);
      go(true);
    }, [go]),
  };
}

/** What was opened is gone to, by the eye and by the keyboard. */
function useOpened({ view, layout }: Drawing, focus: Focus, leave: () => void): void {
  const { fitBounds } = useReactFlow();
  const before = useRef<Drawing["view"]>(view);
  useEffect(() => {
    const was = before.current;
    before.current = view;
    const opened = view.regions.find((group) => was.groups.some((one) => one.id === group.id));
    const box = opened && layout.regions.get(opened.id);
    const closed = view.groups.find((group) => was.regions.some((one) => one.id === group.id));
    if (closed) focus.set({ at: closed.id, wanted: closed.id });
    if (!opened || !box) return;
    leave();
    void fitBounds(box, { padding: 0.05, duration: 0 });
    focus.set({ at: opened.children[0], wanted: opened.children[0] });
  }, [view, layout, focus, leave, fitBounds]);
}

function Tools({ follow }: { follow: Follow }) {
  const { zoomIn, zoomOut } = useReactFlow();
  const zoom = useStore((store) => Math.round(store.transform[2] * 100));
  const step = (by: () => Promise<boolean>) => () => {
    follow.leave();
    void by();
  };
  return (
    <Panel position="bottom-left" className={css.tools}>
      <button type="button" onClick={step(zoomOut)} aria-label="Zoom out" title="Zoom out">
        <Sign path="M3 7h8" />
      </button>
      <span className={`${css.zoom} number`}>{zoom} %</span>
      <button type="button" onClick={step(zoomIn)} aria-label="Zoom in" title="Zoom in">
        <Sign path="M3 7h8M7 3v8" />
      </button>
      <button type="button" onClick={follow.fit} aria-label="Fit" title="Fit and follow" aria-pressed={follow.following}>
        <Sign path="M2 5V2h3M9 2h3v3M12 9v3H9M5 12H2V9" />
      </button>
    </Panel>
  );
}

function Sign({ path }: { path: string }) {
  return (
    <svg viewBox="0 0 14 14" width="14" height="14" aria-hidden fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" strokeLinejoin="round">
      <path d={path} />
    </svg>
  );
}

/** Where in the drawing one is; while all of it is in sight there is no need to say so. */
function Overview({ drawing }: { drawing: Drawing }) {
  const box = useMemo(() => boundsOf(drawing.layout), [drawing]);
  const isAllSeen = useStore(({ transform: [x, y, zoom], width, height }) => {
    if (!box) return true;
    const [left, top] = [box.x * zoom + x, box.y * zoom + y];
    return left >= 0 && top >= 0 && left + box.width * zoom <= width && top + box.height * zoom <= height;
  });
  if (isAllSeen) return null;
  return <MiniMap className={css.map} nodeComponent={Dot} pannable zoomable ariaLabel="Map of the graph" bgColor="transparent" maskColor="transparent" style={MAP_SIZE} />;
}

const MAP_SIZE = { width: 156, height: 104 };

/** A node on the map. */
function Dot({ id, x, y, width, height }: MiniMapNodeProps) {
  const { status } = useNode(id);
  return <rect x={x} y={y} width={width} height={height} rx={12} fill={colourOf(status)} opacity={status === "new" || status === "not_run" ? 0.25 : 0.8} />;
}

/** Everything in sight, before anything is drawn. */
function viewportOf(layout: Drawing["layout"], { width, height }: CanvasProps["room"]) {
  const box = boundsOf(layout) ?? { x: 0, y: 0, width: 1, height: 1 };
  const zoom = fitting(box, width, height);
  return { x: width / 2 - zoom * (box.x + box.width / 2), y: height / 2 - zoom * (box.y + box.height / 2), zoom };
}

/** The zoom at which a box is in sight, with a margin. */
function fitting(box: { width: number; height: number }, width: number, height: number): number {
  return Math.max(ZOOM_MIN, Math.min(1, (width - 48) / box.width, (height - 44) / box.height));
}

function boundsOf(layout: Drawing["layout"]): { x: number; y: number; width: number; height: number } | undefined {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (const { x, y } of layout.cards.values()) {
    [left, top] = [Math.min(left, x), Math.min(top, y)];
    [right, bottom] = [Math.max(right, x + CARD.width), Math.max(bottom, y + CARD.height)];
  }
  for (const box of layout.regions.values()) {
    [left, top] = [Math.min(left, box.x), Math.min(top, box.y)];
    [right, bottom] = [Math.max(right, box.x + box.width), Math.max(bottom, box.y + box.height)];
  }
  return left === Infinity ? undefined : { x: left, y: top, width: right - left, height: bottom - top };
}

function nodesOf({ view, layout }: Drawing, known: ReadonlyMap<string, CardNode["data"]["node"]>): Node[] {
  const fixed = { draggable: false, selectable: false, focusable: false, connectable: false } as const;
  const frames = new Map(view.regions.flatMap((group) => (group.kind === "subflow" ? group.children.map((id) => [id, group.prefix] as const) : [])));
  const groups = new Map(view.groups.map((group) => [group.id, group]));
  const regions = view.regions.flatMap((group): RegionNode[] => {
    const box = layout.regions.get(group.id);
    if (!box) return [];
    const size = { width: box.width, height: box.height };
    return [{ ...fixed, ...size, id: group.id, type: "region", position: { x: box.x, y: box.y }, measured: size, data: { group }, zIndex: -2 }];
  });
  const cards = view.cards.flatMap((id): Array<CardNode | GroupNode> => {
    const position = layout.cards.get(id);
    if (!position) return [];
    const [group, node] = [groups.get(id), known.get(id)];
    if (group) return [{ ...fixed, ...CARD, id, type: "group", position, measured: CARD, data: { group } }];
    return node ? [{ ...fixed, ...CARD, id, type: "card", position, measured: CARD, data: { node, framed: frames.get(id)?.length ?? 0 } }] : [];
  });
  return [...regions, ...cards];
}
