// Which lines are shown, and which of them hold what is searched.
//
// The law of this file: no task is long. Whatever looks at every line goes on from where it stood,
// until a deadline, and says whether there is more; lines that come later are looked at once each.
// A row is a line's place among those that pass; without a filter it is the line's own index.
import { LEVELS, type Level, type LineStore } from "../../data/lines.ts";
import { plain } from "./ansi.ts";

/** How many lines are looked at between two looks at the clock. */
const STRIDE = 512;

/** What passes: a level and those above it, some sources, some nodes. Undefined: all. */
export interface LineFilter {
  level?: Level | undefined;
  sources?: ReadonlySet<string> | undefined;
  nodes?: ReadonlySet<string> | undefined;
}

/** Something that looks at all lines, a while at a time. */
export interface Scanner {
  /** Go on until `deadline` (as performance.now() tells); says whether there is more to do now. */
  advance(deadline: number): boolean;
  /** Changes when something was found, or looked at to the end. */
  readonly progress: number;
}

/** Rising numbers, four bytes each. */
export class Numbers {
  length = 0;
  #data = new Uint32Array(1024);

  push(value: number): void {
    if (this.length === this.#data.length) {
      const larger = new Uint32Array(2 * this.length);
      larger.set(this.#data);
      this.#data = larger;
    }
    this.#data[this.length++] = value;
  }

  at(place: number): number {
    return this.#data[place]!;
  }

  /** The place of the first that is `value` or more. */
  placeOf(value: number): number {
    let low = 0;
    let high = this.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#data[middle]! < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The lines that pass a filter, as rows. */
export class LogView implements Scanner {
  readonly lines: LineStore;
  readonly filter: LineFilter;
  readonly #rows: Numbers | undefined;
  #scanned: number;

  constructor(lines: LineStore, filter: LineFilter) {
    this.lines = lines;
    this.filter = filter;
    this.#scanned = lines.first;
    if (filter.level || filter.sources || filter.nodes) this.#rows = new Numbers();
  }

  get progress(): number {
    return this.#rows ? this.#rows.length + (this.#scanned === this.lines.end ? 0.5 : 0) : 0;
  }

  /** Whether every line was looked at. */
  get settled(): boolean {
    return !this.#rows || this.#scanned >= this.lines.end;
  }

  /** One more than the last row there is by now. */
  get end(): number {
    return this.#rows ? this.#rows.length : this.lines.end;
  }

  advance(deadline: number): boolean {
    if (!this.#rows) return false;
    const { lines } = this;
    this.#scanned = Math.max(this.#scanned, lines.first);
    while (this.#scanned < lines.end) {
      const stop = Math.min(this.#scanned + STRIDE, lines.end);
      for (let index = this.#scanned; index < stop; index++) if (this.#passes(index)) this.#rows.push(index);
      this.#scanned = stop;
      if (performance.now() >= deadline) return this.#scanned < lines.end;
    }
    return false;
  }

  /** The line of a row. */
  indexOf(row: number): number {
    return this.#rows ? this.#rows.at(row) : row;
  }

  /** The row of a line, or of the next one that passes. */
  rowOf(index: number): number {
    return this.#rows ? this.#rows.placeOf(index) : index;
  }

  #passes(index: number): boolean {
    const { level, sources, nodes } = this.filter;
    const { lines } = this;
    if (level && LEVELS.indexOf(lines.levelAt(index)) < LEVELS.indexOf(level)) return false;
    if (sources && !sources.has(lines.sourceAt(index))) return false;
    return !nodes || nodes.has(lines.nodeAt(index) ?? "");
  }
}

/** The rows of a view that hold a text, in any case. */
export class Finder implements Scanner {
  readonly view: LogView;
  readonly hits = new Numbers();
  readonly #pattern: RegExp;
  #scanned: number;

  constructor(view: LogView, pattern: RegExp) {
    this.view = view;
    this.#pattern = new RegExp(pattern.source, "i"); // `test` of a global one would go on, not begin
    this.#scanned = view.rowOf(view.lines.first);
  }

  get progress(): number {
    return this.hits.length + (this.settled ? 0.5 : 0);
  }

  get settled(): boolean {
    return this.view.settled && this.#scanned >= this.view.end;
  }

  advance(deadline: number): boolean {
    const { view } = this;
    this.#scanned = Math.max(this.#scanned, view.rowOf(view.lines.first));
    while (this.#scanned < view.end) {
      const stop = Math.min(this.#scanned + STRIDE, view.end);
      for (let row = this.#scanned; row < stop; row++) {
        if (this.#pattern.test(plain(view.lines.textAt(view.indexOf(row))))) this.hits.push(row);
      }
      this.#scanned = stop;
      if (performance.now() >= deadline) return this.#scanned < view.end;
    }
    return false;
  }
}

/** A text to search as a pattern; undefined if there is nothing to search. */
export function patternOf(text: string | undefined): RegExp | undefined {
  return text ? new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi") : undefined;
}

/** Which hit comes next from a row, going forwards (1) or backwards (-1); round at the ends. */
export function nextHit(hits: Numbers, from: number | undefined, by: 1 | -1, low: number, high: number): number | undefined {
  const first = hits.placeOf(low);
  const past = hits.placeOf(high);
  if (first >= past) return undefined;
  let place: number;
  if (from === undefined) place = by > 0 ? first : past - 1;
  else if (by > 0) place = hits.placeOf(from + 1);
  else place = hits.placeOf(from) - 1;
  if (place >= past) place = first;
  if (place < first) place = past - 1;
  return hits.at(place);
}
