// A link to a line: `line=1240.1243` is line 1,240, which is event 1,243.
//
// The law of this file: a link leads to the line it was made of, or says that it is gone. Numbers alone
// do not: they count from the first line that is kept, and retention takes lines at the beginning.
import type { LineStore } from "../../data/lines.ts";

/** Where the line was, that a link led to and that is no longer kept. */
export const GONE = 0;

/** What a link says of a line, for the URL. */
export function linkOf(lines: LineStore, number: number): string {
  const id = lines.get(number - 1)?.id;
  return id === undefined ? String(number) : `${number}.${id}`;
}

/** The number of the line that a link is of, as lines are counted now; GONE; undefined: it is no link. */
export function linkedBy(lines: LineStore, link: string | undefined, arrived: boolean): number | undefined {
  const found = /^([1-9]\d{0,9})(?:\.([1-9]\d{0,15}))?$/.exec(link ?? "");
  if (!found) return undefined;
  const number = Number(found[1]);
  if (found[2] === undefined) return number;
  const id = Number(found[2]);
  const index = lines.endAt(id) - 1;
  if (lines.get(index)?.id === id) return index + 1;
  const passed = arrived || (lines.get(lines.end - 1)?.id ?? 0) > id;
  return passed ? GONE : number; // until it has come, it is taken to be where it was
}
