// What a panel of an execution's page is given.
//
// The law of this file: a panel draws a position of a log, live or not, and changes nothing but the
// selection and its own part of the URL. It never asks the server for what the store has.
import type { ExecutionState } from "@tailrace/client";
import type { ExecutionStore } from "../data/execution.ts";
import { late, type Late } from "../late.ts";

/** What is looked at more closely: a node, or one event. */
export interface Selection {
  node?: string | undefined;
  event?: number | undefined;
}

/** The props of every panel. */
export interface PanelProps {
  /** Everything that has come so far. It moves on; `version` says when. */
  store: ExecutionStore;
  /** Changes whenever there is something to draw anew; for memo. */
  version: number;
  /** The state at `position`. */
  state: ExecutionState;
  /** The id of the event up to which is shown; null: live, or the end. */
  position: number | null;
  /** Go to a position; null: back to live. */
  seek: (position: number | null) => void;
  selection: Selection;
  select: (selection: Selection) => void;
}

export type PanelId = "graph" | "waterfall" | "logs" | "text" | "events";

/** A panel among the tabs of the page. */
export interface PanelInfo {
  id: PanelId;
  label: string;
  /** How much there is in it, to be said beside its name. */
  count: (store: ExecutionStore) => number;
  Panel: Late<PanelProps>;
}

/** The panels, in the order of their tabs. Each is loaded when it is first shown. */
export const PANELS: readonly PanelInfo[] = [
  { id: "graph", label: "Graph", count: nodesOf, Panel: late(() => import("./graph.tsx")) },
  { id: "waterfall", label: "Waterfall", count: () => 0, Panel: late(() => import("./waterfall.tsx")) },
  { id: "logs", label: "Logs", count: (store) => store.lines.end, Panel: late(() => import("./logs.tsx")) },
  { id: "text", label: "Output", count: () => 0, Panel: late(() => import("./text.tsx")) },
  { id: "events", label: "Events", count: (store) => store.live.head, Panel: late(() => import("./events.tsx")) },
];

/** How many nodes the graph shows: those that are planned, and those that came besides. */
function nodesOf({ live: { graph, nodes } }: ExecutionStore): number {
  if (!graph) return nodes.size;
  const planned = graph.nodes.filter(({ kind }) => kind !== "trigger").length;
  return Math.max(planned, nodes.size);
}

/** Beside the tabs: what is selected, more closely. */
export const Inspector = late(() => import("./inspector.tsx"));

/** Below everything: where in the log the page stands. */
export const Scrubber = late(() => import("./scrubber.tsx"));

/** The panel of that name; the first, where there is none. */
export function panelOf(name: string | null): PanelInfo {
  return PANELS.find(({ id }) => id === name) ?? PANELS[0]!;
}

/** Load a panel, and what is around it, before they are drawn. */
export function preload(name: string | null): Promise<unknown> {
  return Promise.all([Inspector.preload(), Scrubber.preload(), panelOf(name).Panel.preload()]);
}

/** A form that starts an execution. */
export interface StartProps {
  /** What is to be run once more, with the same input unless it is changed; undefined: that is not known. */
  again?: { flow: string; input: unknown } | undefined;
  /** Started: its id. */
  onStarted: (executionId: string) => void;
  onClose: () => void;
}

export const Start = late(() => import("./start.tsx"));
