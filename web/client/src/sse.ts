// Server-Sent Events from bytes, incrementally.
//
// The law of this file: it is exact to the WHATWG HTML standard, section 9.2, as tailrace.sse is,
// and knows no event catalog. A stream may be cut into chunks at any byte; the same messages come
// out. A block with only an id dispatches nothing and still moves `lastEventId`: that is how the
// server says how far a filter has skipped.

/** One dispatched message; `id` is the last event id at that moment, "" if there is none. */
export interface Message {
  event: string;
  data: string;
  id: string;
}

const CR = 13;
const LF = 10;
/** A peer that never sends a blank line must not fill the memory. */
export const MESSAGE_MAX_CHARS = 16 * 1024 * 1024;

/** Bytes to messages. `lastEventId` and `retryMs` follow the stream. */
export class Decoder {
  lastEventId: string;
  retryMs: number | undefined;
  // The decoder itself drops a byte order mark at the start, and replaces what is no UTF-8.
  readonly #utf8 = new TextDecoder("utf-8");
  #rest = "";
  #skipLf = false;
  #id: string;
  #event = "";
  #data: string[] = [];
  #size = 0;

  constructor(lastEventId = "") {
    this.lastEventId = this.#id = lastEventId;
  }

  /** Take the next bytes and return the messages that they complete. */
  feed(chunk: Uint8Array): Message[] {
    let text = this.#utf8.decode(chunk, { stream: true });
    const messages: Message[] = [];
    if (!text) return messages; // no bytes, or only a part of a character: no state may change
    if (this.#skipLf) {
      // The chunk before ended in CR: that ended the line, an LF now belongs to it.
      this.#skipLf = false;
      if (text.charCodeAt(0) === LF) text = text.slice(1);
    }
    const endsInCr = text.charCodeAt(text.length - 1) === CR;
    let start = 0;
    // CR is rare: where the next one is, is looked for once, not for each line.
    let cr = text.indexOf("\r");
    for (;;) {
      if (cr >= 0 && cr < start) cr = text.indexOf("\r", start);
      const lf = text.indexOf("\n", start);
      const end = cr < 0 || (lf >= 0 && lf < cr) ? lf : cr;
      if (end < 0) break;
      const line = this.#rest + text.slice(start, end);
      this.#rest = "";
      start = text.charCodeAt(end) === CR && text.charCodeAt(end + 1) === LF ? end + 2 : end + 1;
      if (line) this.#field(line);
      else this.#dispatch(messages);
    }
    this.#rest += text.slice(start);
    this.#skipLf = endsInCr;
    this.#require(this.#rest.length);
    return messages;
  }

  #field(line: string): void {
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    let value = colon < 0 ? "" : line.slice(colon + 1);
    if (value.startsWith(" ")) value = value.slice(1);
    if (name === "data") {
      this.#data.push(value);
      this.#size += value.length;
      this.#require(0);
    } else if (name === "event") this.#event = value;
    else if (name === "id") {
      if (!value.includes("\0")) this.#id = value;
    } else if (name === "retry" && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
  }

  #dispatch(messages: Message[]): void {
    this.lastEventId = this.#id;
    if (this.#data.length > 0) {
      const data = this.#data.length === 1 ? this.#data[0]! : this.#data.join("\n");
      messages.push({ event: this.#event || "message", data, id: this.lastEventId });
      this.#data = [];
    }
    this.#event = "";
    this.#size = 0;
  }

  #require(more: number): void {
    if (this.#size + more > MESSAGE_MAX_CHARS) {
      throw new RangeError(`A message is larger than ${MESSAGE_MAX_CHARS} characters`);
    }
  }
}
