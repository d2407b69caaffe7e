// What is said of a node and of an edge, in few words.
//
// The law of this file: everything said is in the log. A rate is told where values are in the log one
// by one; of other streams only how many there were in the end.
import type { ExecutionState, NodeState } from "@tailrace/client";
import { standing } from "../../parts/standing.ts";
import type { GraphEdge, GraphNode } from "./model.ts";

/** How an edge looks. */
export type EdgeLook = "idle" | "passed" | "busy" | "skipped";

/** How a node stands; of the trigger, the execution says. */
export function statusOf(node: GraphNode, state: ExecutionState): string {
  if (node.kind === "trigger") return state.started_at === null ? "new" : "completed";
  return standing(state.nodes.get(node.id)?.status, state);
}

/** Whether what goes along an edge has gone, is being used, or never will be. */
export function edgeLook(edge: GraphEdge, from: string, to: string): EdgeLook {
  if (from === "skipped" || to === "skipped") return "skipped";
  const used = to === "running" || to === "retrying";
  if (edge.stream) {
    if (from === "running" && used) return "busy";
    return from === "completed" ? (used ? "busy" : "passed") : "idle";
  }
  if (from !== "completed") return "idle";
  return used && edge.params.length > 0 ? "busy" : "passed"; // an order, or a condition, is in no use
}

/** What went along an edge: how much, and how it looks. */
export interface Passed {
  amount: string;
  preview: string;
}

/** What a node has given; undefined: nothing yet. `count`: values in the log so far, of a stream. */
export function passedOf(node: GraphNode, state: ExecutionState, count: number | undefined): Passed | undefined {
  if (node.kind === "trigger") {
    if (state.queued_at === null) return undefined;
    const text = JSON.stringify(state.input ?? null);
    return { amount: bytes(new Blob([text]).size), preview: text.slice(0, 240) };
  }
  const folded = state.nodes.get(node.id);
  if (!folded) return undefined;
  if (node.streaming || folded.item_count !== null) {
    const many = folded.item_count ?? count;
    return many === undefined ? undefined : { amount: items(many), preview: "" };
  }
  const summary = folded.output_summary;
  return summary ? { amount: bytes(summary.size_bytes), preview: summary.preview } : undefined;
}

/** The second line of a node's card, but for its duration and its rate. */
export function notes(node: GraphNode, state: NodeState | undefined): string[] {
  const said: string[] = [];
  if (state && state.tries.length > 1) said.push(`attempt ${state.attempt}`);
  const { percent, message } = progressOf(state);
  const runs = state?.status === "running";
  if (runs && message) said.push(message);
  else if (runs && percent !== undefined) said.push(`${Math.floor(percent)} %`);
  // A list's message is `k of n`; it stays when all are done.
  else if (node.mapped && message && /^\d+ of \d+$/.test(message)) said.push(message);
  if (state?.status === "skipped" && state.reason) said.push(state.reason);
  if (state?.item_count != null) said.push(items(state.item_count));
  return said;
}

/** How far a node says that it is. */
export function progressOf(state: NodeState | undefined): { percent: number | undefined; message: string | undefined } {
  const { percent, message } = state?.progress ?? {};
  return {
    percent: typeof percent === "number" ? Math.min(Math.max(percent, 0), 100) : undefined,
    message: typeof message === "string" && message !== "" ? message : undefined,
  };
}

export const RATE_WINDOW_MS = 3000;

/** As many of the newest moments are kept at least; with so many, there may have been others. */
const KEPT = 1000;

/**
 * Values a second in the last three seconds before `now` (or since the start, or in the time of which
 * they are kept), of moments in order; undefined where the log has none.
 */
export function rateOf(moments: readonly number[], now: number, since: number): number | undefined {
  if (moments.length === 0) return undefined;
  const recent = moments.filter((moment) => moment > now - RATE_WINDOW_MS);
  let from = Math.max(now - RATE_WINDOW_MS, since);
  if (recent.length >= KEPT) from = Math.max(from, recent[0]!);
  return recent.length / Math.max((now - from) / 1000, 0.25);
}

/** A rate: `12/s`, `0.4/s`. */
export function perSecond(rate: number): string {
  return `${rate >= 9.95 ? Math.round(rate).toLocaleString("en") : rate.toFixed(1).replace(".0", "")}/s`;
}

/** An amount of values. */
export function items(many: number): string {
  return `${many.toLocaleString("en")} ${many === 1 ? "item" : "items"}`;
}

/** A size: `96 B`, `6.1 kB`, `1.2 MB`. */
export function bytes(size: number): string {
  if (size < 1000) return `${size} B`;
  const [value, unit] = size < 999_500 ? [size / 1000, "kB"] : [size / 1_000_000, "MB"];
  return `${value < 9.95 ? value.toFixed(1) : Math.round(value).toLocaleString("en")} ${unit}`;
}

/** How many of a group stand how, in the order of their urgency. */
export function countsOf(leaves: readonly string[], state: ExecutionState): Array<[status: string, count: number]> {
  const counts = new Map<string, number>();
  for (const id of leaves) {
    const status = standing(state.nodes.get(id)?.status, state);
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  return ORDER.filter((status) => counts.has(status)).map((status) => [status, counts.get(status)!]);
}

const ORDER = ["failed", "lost", "unfinished", "retrying", "running", "queued", "completed", "cancelled", "skipped", "not_run", "new"];
