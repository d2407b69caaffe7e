// What was said, used and noted, put together: text with its tools in their places.
//
// The law of this file: what has been put together is not put together again: events are taken once,
// in their order, up to a position; only going back begins anew. A part that has changed is another
// object; a section that has changed has another version.
import type { TailraceEvent } from "@tailrace/client";
import type { ExecutionStore, Piece } from "../../data/execution.ts";
import { patched, type Operation } from "./patch.ts";

/** A stretch of text: its pieces, joined, are what was said. Pieces are only added. */
export interface Said {
  kind: "text";
  key: string;
  pieces: string[];
  chars: number;
}

/** A tool's call, and, when it has come, its result. */
export interface Used {
  kind: "tool";
  key: string;
  call: TailraceEvent;
  result: TailraceEvent | undefined;
}

/** Something else that was said in between: a custom event, a warning. */
export interface Noted {
  kind: "note";
  key: string;
  event: TailraceEvent;
}

export type Part = Said | Used | Noted;

/** What one node said in one attempt; of the run itself, `node` is undefined. */
export interface Section {
  key: string;
  node: string | undefined;
  attempt: number;
  parts: Part[];
  /** The structured output as far as it is made; undefined: there is none. */
  document: unknown;
  /** Why the document could not be followed any more. */
  broken: string | undefined;
  /** A later attempt said it anew. */
  superseded: boolean;
  version: number;
}

/** Tokens, as the models told them. */
export interface Usage {
  input: number;
  output: number;
  told: boolean;
}

/** A stretch of text ends at the next empty line after so many characters, or at twice as many. */
export const SAID_CHARS = 64 * 1024;
/** Characters that are kept in all, as in the store: the oldest go first. */
export const TEXT_MAX = 16 * 1024 * 1024;
/** How long a rate looks back. */
const RATE_MS = 3000;
/** Notes and calls beyond this are not drawn: the newest are. */
export const PARTS_MAX = 2000;

/** All that was said, by node and attempt. */
export class Speech {
  sections: Section[] = [];
  usage: Usage = { input: 0, output: 0, told: false };
  /** Characters of text. */
  chars = 0;
  /** When text came first and last, in milliseconds since 1970. */
  firstText: number | undefined;
  lastText: number | undefined;
  /** The newest event that was taken. */
  taken = 0;
  #recent: Array<{ ts: number; chars: number }> = [];
  #kept = 0;
  #pieces: readonly Piece[] | undefined;

  /** Take what has come up to a position; says whether anything had. */
  take(store: Pick<ExecutionStore, "pieces" | "others">, upTo: number): boolean {
    if (upTo < this.taken || this.#pieces !== store.pieces) this.#anew(store.pieces);
    const { pieces, others } = store;
    let piece = after(pieces, this.taken);
    let other = after(others, this.taken);
    const before = this.taken;
    for (;;) {
      const said = pieces[piece];
      const event = others[other];
      const saidId = said ? said.id : Infinity;
      const eventId = event ? (event.id ?? 0) : Infinity;
      const id = Math.min(saidId, eventId);
      if (id > upTo || id === Infinity) break;
      if (saidId <= eventId) {
        this.#say(said!);
        piece++;
      } else {
        this.#note(event!);
        other++;
      }
      this.taken = id;
    }
    return this.taken !== before;
  }

  /** Characters a second, of the last seconds in which text came. */
  get rate(): number {
    const last = this.#recent.at(-1)?.ts;
    if (last === undefined || this.firstText === undefined) return 0;
    const from = Math.max(last - RATE_MS, this.firstText);
    const chars = this.#recent.reduce((sum, one) => (one.ts > from ? sum + one.chars : sum), 0);
    return last > from ? (1000 * chars) / (last - from) : 0;
  }

  /** All text that the run itself said. */
  get text(): string {
    const own = this.sections.filter((section) => !section.superseded).flatMap((section) => section.parts);
    return own.flatMap((part) => (part.kind === "text" ? part.pieces : [])).join("");
  }

  #anew(pieces: readonly Piece[]): void {
    this.sections = [];
    this.usage = { input: 0, output: 0, told: false };
    this.chars = this.#kept = this.taken = 0;
    this.firstText = this.lastText = undefined;
    this.#recent = [];
    this.#pieces = pieces;
  }

  #say({ id, ts, node, attempt, text }: Piece): void {
    const section = this.#section(node, attempt);
    let last = section.parts.at(-1);
    if (last?.kind !== "text" || isFull(last)) {
      last = { kind: "text", key: `text-${id}`, pieces: [], chars: 0 };
      section.parts.push(last);
    }
    last.pieces.push(text);
    last.chars += text.length;
    section.version += 1;
    this.chars += text.length;
    this.#kept += text.length;
    if (this.#kept > TEXT_MAX) this.#forget();
    const at = Date.parse(ts);
    this.firstText ??= at;
    this.lastText = at;
    this.#recent.push({ ts: at, chars: text.length });
    if (this.#recent.length > 64 && this.#recent[32]!.ts < at - RATE_MS) this.#recent.splice(0, 32);
  }

  /** The oldest stretch of text goes. */
  #forget(): void {
    for (const section of this.sections) {
      const place = section.parts.findIndex((part) => part.kind === "text");
      if (place < 0) continue;
      const [part] = section.parts.splice(place, 1);
      if (part?.kind === "text") this.#kept -= part.chars;
      section.version += 1;
      return;
    }
  }

  #note(event: TailraceEvent): void {
    const { type, data } = event;
    // Of a log without its beginning these could not be folded: they are no part of what was said.
    if (type.startsWith("execution.") || type.startsWith("node.")) return;
    if (type === "llm.usage") {
      this.usage.input += Number(data.input_tokens ?? 0);
      this.usage.output += Number(data.output_tokens ?? 0);
      this.usage.told = true;
      return;
    }
    const section = this.#section(event.node, event.attempt ?? 1);
    section.version += 1;
    if (type === "structured.delta") this.#build(section, data.patch as Operation[]);
    else if (type === "tool.result") finished(section, event);
    else if (type === "tool.call") section.parts.push({ kind: "tool", key: `tool-${event.id}`, call: event, result: undefined });
    else section.parts.push({ kind: "note", key: `note-${event.id}`, event });
    if (section.parts.length > 2 * PARTS_MAX) section.parts.splice(0, PARTS_MAX);
  }

  #build(section: Section, patch: readonly Operation[]): void {
    if (section.broken) return;
    try {
      section.document = patched(section.document ?? null, patch);
    } catch (error) {
      // The changes before it are no longer here, or a gap took some: what follows fits nothing.
      section.broken = error instanceof Error ? error.message : String(error);
    }
  }

  #section(node: string | undefined, attempt: number): Section {
    const key = `${node ?? ""}\u0000${attempt}`;
    let section = this.sections.find((one) => one.key === key);
    if (!section) {
      for (const one of this.sections) {
        if (one.node !== node) continue;
        one.superseded = true;
        one.version += 1;
      }
      section = { key, node, attempt, parts: [], document: undefined, broken: undefined, superseded: false, version: 0 };
      this.sections.push(section);
    }
    return section;
  }
}

function isFull({ chars, pieces }: Said): boolean {
  return chars > 2 * SAID_CHARS || (chars > SAID_CHARS && pieces.at(-1)!.endsWith("\n\n"));
}

/** Put a result to its call; without one it stands alone. */
function finished(section: Section, result: TailraceEvent): void {
  const place = section.parts.findLastIndex(
    (part) => part.kind === "tool" && part.call.data.call_id === result.data.call_id && !part.result,
  );
  const part = section.parts[place];
  if (part?.kind === "tool") section.parts[place] = { ...part, result };
  else section.parts.push({ kind: "tool", key: `tool-${result.id}`, call: result, result });
}

/** The place of the first event after an id. */
function after(events: ReadonlyArray<{ id: number | null }>, id: number): number {
  let low = 0;
  let high = events.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((events[middle]!.id ?? 0) <= id) low = middle + 1;
    else high = middle;
  }
  return low;
}
