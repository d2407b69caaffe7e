// What is chosen among lines, as the URL says it.
//
// The law of this file: the words are those of the server's own filters (level, source), so that a
// link and a command say the same: `tailrace logs … --level warning --source stderr`.
import { LEVELS } from "../../data/lines.ts";
import type { LineFilter } from "./view.ts";

/** The filter of a link's words. */
export function filterOf(level: string | undefined, source: string | undefined, node: string | undefined): LineFilter {
  const known = LEVELS.find((one) => one === level);
  return { level: known === "debug" ? undefined : known, sources: setOf(source), nodes: setOf(node) };
}

/** Names in a parameter: with commas between, those in a name doubled away. */
export function setOf(text: string | undefined): ReadonlySet<string> | undefined {
  return text ? new Set(text.split(",").map(decode)) : undefined;
}

/** The parameter with a name more, or less; undefined: all. */
export function toggled(text: string | undefined, name: string): string | undefined {
  const names = new Set(setOf(text) ?? []);
  if (!names.delete(name)) names.add(name);
  return names.size === 0 ? undefined : [...names].map((one) => one.replaceAll("%", "%25").replaceAll(",", "%2C")).join(",");
}

function decode(text: string): string {
  return text.replaceAll("%2C", ",").replaceAll("%25", "%");
}
