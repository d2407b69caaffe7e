// How a node stands, as people understand it.
//
// The law of this file: what has ended holds nothing that waits or runs. The log does not say of each
// node that it will not run any more; that it ended says so. (`lost`: its worker died, and nobody knows
// how far the node came. `unfinished`: it began, and what reported it never said how it ended.)
import { hasEnded, type ExecutionState } from "@tailrace/client";

/** A node's or a try's status (undefined: nothing was said of it), at the position of a state. */
export function standing(status: string | undefined, state: ExecutionState): string {
  const said = status ?? "new";
  if (!hasEnded(state)) return said;
  if (said === "new" || said === "queued") return "not_run";
  if (said !== "running" && said !== "retrying") return said;
  return state.status === "lost" ? "lost" : "unfinished";
}

/** The node in which it failed, or that ran when it was lost; undefined: the log does not say. */
export function culpritOf(state: ExecutionState): string | undefined {
  if (state.status !== "lost" && state.status !== "failed") return undefined;
  const nodes = [...state.nodes.values()];
  if (state.status === "lost") return nodes.find(({ status }) => status === "running" || status === "retrying")?.id;
  const { error } = state;
  if (error?.node) return error.node;
  return nodes.findLast((node) => node.status === "failed" && node.error?.type === error?.type && node.error?.message === error?.message)?.id;
}
