// The log lines of an execution, many of them, small.
//
// The law of this file: a line costs its text and 20 bytes, no object; and there is an end to it.
// Beyond LINES_MAX lines or CHARS_MAX characters the oldest go, a block at a time: `first` says
// from where on it has them, and the server still has the rest (`client.events`).
import type { TailraceEvent } from "@tailrace/client";

export const LINES_MAX = 1_000_000;
export const CHARS_MAX = 256 * 1024 * 1024;
const BLOCK = 4096;
export const LEVELS = ["debug", "info", "warning", "error"] as const;
export type Level = (typeof LEVELS)[number];
/** What others call them. */
const MEANT: Partial<Record<string, Level>> = { trace: "debug", warn: "warning", critical: "error", fatal: "error" };

/** One line, made when it is asked for. */
export interface Line {
  /** Which line of the execution's log: 1, 2, 3 … over all sources. */
  number: number;
  /** The event's id. */
  id: number;
  /** Milliseconds since 1970. */
  ts: number;
  level: Level;
  source: string;
  node: string | undefined;
  text: string;
  truncated: boolean;
}

interface Block {
  ids: Uint32Array;
  times: Float64Array;
  /** The level in the low bits, and whether the line was cut. */
  levels: Uint8Array;
  sources: Uint16Array;
  nodes: Uint16Array;
  texts: string[];
  chars: number;
}

/** Lines in order. Indexes are of all lines that ever came: 0 is the execution's first line. */
export class LineStore {
  /** The names of what lines come from, in the order of their coming. */
  readonly sources: string[] = [];
  /** The nodes that have said lines. */
  readonly nodes: string[] = [];
  /** The index of the first line that is still here. */
  first = 0;
  /** One more than the index of the last line. */
  end = 0;
  /** How many lines of each level came. */
  readonly counts: Record<Level, number> = { debug: 0, info: 0, warning: 0, error: 0 };
  #blocks: Block[] = [];
  #chars = 0;
  readonly #sourceIndex = new Map<string, number>();
  readonly #nodeIndex = new Map<string, number>();

  append(event: TailraceEvent<"log.line">): void {
    const at = this.end % BLOCK;
    if (at === 0) this.#blocks.push(newBlock());
    const block = this.#blocks.at(-1)!;
    const { line, level = "info", source, truncated } = event.data;
    const rank = LEVELS.indexOf(MEANT[level] ?? (level as Level));
    const known = rank < 0 ? 1 : rank; // as the server ranks them
    block.ids[at] = event.id ?? 0;
    block.times[at] = Date.parse(event.ts);
    block.levels[at] = known | (truncated ? 0x80 : 0);
    block.sources[at] = intern(source, this.sources, this.#sourceIndex);
    block.nodes[at] = event.node === undefined ? 0 : 1 + intern(event.node, this.nodes, this.#nodeIndex);
    block.texts.push(line);
    block.chars += line.length;
    this.#chars += line.length;
    this.counts[LEVELS[known]!] += 1;
    this.end += 1;
    if (this.end - this.first > LINES_MAX || this.#chars > CHARS_MAX) this.#drop();
  }

  /** A line by its index; undefined where there is none any more, or yet. */
  get(index: number): Line | undefined {
    const block = this.#blockOf(index);
    if (!block) return undefined;
    const at = index % BLOCK;
    const node = block.nodes[at]!;
    return {
      number: index + 1,
      id: block.ids[at]!,
      ts: block.times[at]!,
      level: this.levelAt(index),
      source: this.sources[block.sources[at]!]!,
      node: node === 0 ? undefined : this.nodes[node - 1],
      text: block.texts[at]!,
      truncated: (block.levels[at]! & 0x80) !== 0,
    };
  }

  // What a filter asks of every line, without making one.
  textAt(index: number): string {
    return this.#blockOf(index)?.texts[index % BLOCK] ?? "";
  }
  levelAt(index: number): Level {
    return LEVELS[(this.#blockOf(index)?.levels[index % BLOCK] ?? 1) & 0x7f]!;
  }
  sourceAt(index: number): string {
    return this.sources[this.#blockOf(index)?.sources[index % BLOCK] ?? 0] ?? "";
  }
  nodeAt(index: number): string | undefined {
    const node = this.#blockOf(index)?.nodes[index % BLOCK] ?? 0;
    return node === 0 ? undefined : this.nodes[node - 1];
  }

  /** One more than the index of the last line at a position (an event id): where a scrubber cuts. */
  endAt(position: number): number {
    let low = this.first;
    let high = this.end;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#blockOf(middle)!.ids[middle % BLOCK]! <= position) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #blockOf(index: number): Block | undefined {
    if (index < this.first || index >= this.end) return undefined;
    return this.#blocks[Math.floor(index / BLOCK) - Math.floor(this.first / BLOCK)];
  }

  #drop(): void {
    const [oldest] = this.#blocks.splice(0, 1);
    if (!oldest) return;
    this.#chars -= oldest.chars;
    this.first += BLOCK; // whole blocks go, so it is always at the beginning of one
  }
}

function newBlock(): Block {
  return {
    ids: new Uint32Array(BLOCK),
    times: new Float64Array(BLOCK),
    levels: new Uint8Array(BLOCK),
    sources: new Uint16Array(BLOCK),
    nodes: new Uint16Array(BLOCK),
    texts: [],
    chars: 0,
  };
}

function intern(name: string, names: string[], index: Map<string, number>): number {
  let found = index.get(name);
  if (found === undefined) {
    found = Math.min(names.length, 0xfffe);
    names[found] ??= name;
    index.set(name, found);
  }
  return found;
}
