// Following a stream across all its connections.
//
// The law of this file: a position moves only past an event that was handed to the caller; so
// whatever happens between two events, the next connection asks for exactly the next one. The rules
// are those of tailrace.client.resume.
import { TERMINAL } from "./catalog.ts";
import { problemOf, TailraceError, unreachable } from "./errors.ts";
import type { TailraceEvent } from "./events.ts";
import { Decoder, type Message } from "./sse.ts";
import type { Connection, Gap } from "./state.ts";

const BACKOFF_MAX_MS = 30_000;
const RETRY_AFTER_MAX_MS = 300_000;
/** The server says something every 15 s; a connection this silent is dead, and nobody said so. */
const SILENCE_MAX_MS = 45_000;
const MEDIA_TYPE = "text/event-stream";

/** How to follow. */
export interface FollowOptions {
  /** A position, exclusive; by default the beginning. */
  after?: string | number | undefined;
  /** More of the query: `node`, `level`, `source`, `search`, `since`, `tail`, `compact` … */
  query?: Record<string, string | readonly string[]>;
  /** Which events: `"node.*,log.line"`. The terminal one always comes. */
  events?: string | undefined;
  /** False: what is there, without waiting for more. */
  live?: boolean;
  /** A stream of many: an id is a position in all of them, and a terminal event ends only one. */
  many?: boolean;
  signal?: AbortSignal | undefined;
  headers?: (() => Record<string, string>) | undefined;
  fetch?: typeof fetch | undefined;
  /** Told whenever the connection stands differently. */
  onState?: ((state: Connection) => void) | undefined;
  /** Failures in a row, without an event between them, before it throws; by default never. */
  attempts?: number | undefined;
}

/** An event that is not parsed yet: `data` is the envelope's JSON. */
export interface Frame {
  /** Its sequence in its own log; null for what a stream says of itself. */
  seq: number | null;
  type: string;
  data: string;
  /** Where a reader stands after it. */
  position: string;
}

/** A stream across all its connections. Iterate it, or its `batches()`, once. */
export class Follow implements AsyncIterable<TailraceEvent> {
  /** Where this stands; hand it to `after` to go on later. */
  position: string | undefined;
  /** How the connection stands. */
  state: Connection = { phase: "connecting" };
  readonly #url: URL;
  readonly #options: FollowOptions;
  #epoch = "";
  #ended = false;
  #end = "";
  #failures = 0;
  #retryMs = 1000;
  #closingMs: number | undefined; // what `stream.closing` asked for, of this connection
  #open = false; // whether this connection has said how it begins
  #m = 0;
  #seen = 0;
  readonly #told = new Set<string>();
  #wake: (() => void) | undefined; // ends the pause before the next connection

  constructor(url: string | URL, options: FollowOptions = {}) {
    this.#url = new URL(url);
    this.#options = options;
    this.position = options.after === undefined ? undefined : String(options.after);
  }

  /** Connect again at once, if it waits to: somebody asks for it, or the network is back. */
  hurry(): void {
    this.#wake?.();
  }

  /** Events, parsed; those of the stream itself only where they say a gap. */
  async *[Symbol.asyncIterator](): AsyncGenerator<TailraceEvent, void, void> {
    for await (const frames of this.batches()) {
      for (const frame of frames) {
        const event = JSON.parse(frame.data) as TailraceEvent;
        if (event.id !== null || event.type === "stream.gap") {
          this.position = frame.position || this.position;
          yield event;
        }
      }
    }
  }

  /**
   * What came together, unparsed: for who hands it on. `position` is then after all of a batch.
   * Throws TailraceError where the server refuses for good; ends where nothing is left, and when
   * the signal aborts.
   */
  async *batches(): AsyncGenerator<Frame[], void, void> {
    while (!this.#ended && !this.#aborted()) {
      let pauseMs: number;
      let why = "";
      try {
        yield* this.#connection();
        this.#ended ||= this.#options.live === false;
        pauseMs = (this.#closingMs ?? this.#retryMs) * (0.5 + Math.random() / 2);
      } catch (error) {
        if (this.#aborted()) break;
        const problem = asProblem(error, this.#url.href);
        if (!problem.retryable) throw this.#over(problem);
        pauseMs = this.#failed(problem);
        why = problem.code;
      }
      if (this.#ended || this.#aborted()) break;
      const lastId = this.position ?? "";
      this.#tell({ phase: "reconnecting", lastId, inMs: pauseMs, attempt: this.#failures, why });
      await sleep(pauseMs, this.#options.signal, (wake) => (this.#wake = wake));
      this.#wake = undefined;
    }
    if (this.state.phase !== "ended") this.#tell({ phase: "ended", how: "closed" });
  }

  async *#connection(): AsyncGenerator<Frame[], void, void> {
    const cut = new AbortController();
    const leave = () => cut.abort();
    this.#options.signal?.addEventListener("abort", leave, { once: true });
    let watchdog = setTimeout(leave, SILENCE_MAX_MS);
    const decoder = new Decoder();
    this.#open = false;
    this.#closingMs = undefined;
    if (this.state.phase !== "reconnecting") this.#tell({ phase: "connecting" });
    try {
      const asking = (this.#options.fetch ?? fetch)(this.#asked(), {
        headers: this.#headers(),
        signal: cut.signal,
        cache: "no-store",
      });
      const answer = await reached(asking, this.#url);
      if (!this.#answered(answer)) {
        if (answer.ok) return;
        throw await problemOf(answer);
      }
      const reader = answer.body!.getReader();
      for (;;) {
        const { done, value } = await reached(reader.read(), this.#url);
        if (done) return;
        clearTimeout(watchdog);
        watchdog = setTimeout(leave, SILENCE_MAX_MS);
        const frames = this.#taken(decoder.feed(value));
        if (frames.length > 0) {
          yield frames;
          this.position = frames[frames.length - 1]!.position || this.position;
        }
        this.#passed(decoder);
        if (this.#ended) {
          // Said when its events were handed over, not before.
          this.#tell({ phase: "ended", how: this.#end });
          return;
        }
        this.#progress();
      }
    } catch (error) {
      if (cut.signal.aborted && !this.#aborted()) throw silent(error);
      throw error;
    } finally {
      clearTimeout(watchdog);
      this.#options.signal?.removeEventListener("abort", leave);
      cut.abort(); // who stops iterating closes the connection
    }
  }

  #asked(): URL {
    const url = new URL(this.#url);
    for (const [name, value] of Object.entries(this.#options.query ?? {})) {
      for (const one of typeof value === "string" ? [value] : value) {
        url.searchParams.append(name, one);
      }
    }
    if (this.#options.events) url.searchParams.set("events", this.#options.events);
    if (this.#options.live === false) url.searchParams.set("follow", "false");
    return url;
  }

  #headers(): Record<string, string> {
    const headers: Record<string, string> = { Accept: MEDIA_TYPE, ...this.#options.headers?.() };
    if (this.position !== undefined) headers["Last-Event-ID"] = this.position;
    return headers;
  }

  /** Whether the answer is a stream. */
  #answered(answer: Response): boolean {
    if (answer.status === 204) {
      this.#ended = true;
      this.#tell({ phase: "ended", how: "complete" });
      return false;
    }
    if (!answer.ok) return false;
    const type = answer.headers.get("content-type") ?? "";
    if (!type.startsWith(MEDIA_TYPE) || !answer.body) {
      throw new TailraceError("protocol_error", `Expected ${MEDIA_TYPE}, got ${type || "nothing"}`);
    }
    return true;
  }

  #taken(messages: Message[]): Frame[] {
    const frames: Frame[] = [];
    for (const message of messages) {
      const frame = this.#frame(message);
      if (frame) frames.push(frame);
    }
    return frames;
  }

  #frame(message: Message): Frame | undefined {
    const { event: type, data } = message;
    if (type === "stream.open") {
      this.#opened(JSON.parse(data) as TailraceEvent<"stream.open">);
      return { seq: null, type, data, position: "" };
    }
    if (type === "stream.gap") {
      // A cut during a gap's frame repeats it on the next connection: tell it once.
      const said = JSON.parse(data) as TailraceEvent<"stream.gap">;
      const { from, to, cause } = said.data;
      const which = [this.#epoch, said.execution_id, from, to, cause].join(" ");
      if (this.#told.has(which)) return undefined;
      this.#told.add(which);
      const gap: Gap = { from, to, cause, after: this.#seen };
      this.#tell({ phase: "gap", gap });
      return { seq: null, type, data, position: "" };
    }
    if (type === "stream.closing") {
      this.#closingMs = (JSON.parse(data) as TailraceEvent<"stream.closing">).data.retry_ms;
    }
    if (type === "stream.closing" || type === "heartbeat") return undefined;
    this.#failures = 0;
    // The envelope begins with its id: it need not be parsed to be placed.
    const seq = Number.parseInt(data.slice(6, 24), 10) || (JSON.parse(data) as { id: number }).id;
    this.#seen = seq;
    if (TERMINAL.has(type) && !this.#options.many) {
      this.#ended = true;
      this.#end = type.slice(type.indexOf(".") + 1);
    }
    return { seq, type, data, position: this.#options.many ? message.id : this.#place(seq) };
  }

  #opened(event: TailraceEvent<"stream.open">): void {
    this.#open = true;
    this.#epoch = event.data.epoch ?? "";
    this.#m = event.data.head ?? 0;
    this.#seen = Number.parseInt(event.data.position, 10) || 0;
    if (this.#options.many) this.position ??= event.data.position;
    this.#failures = 0;
    this.#progress();
  }

  /** Say how far a replay is; once past what there was at its beginning, it is live. */
  #progress(): void {
    if (!this.#open) return;
    if (!this.#options.many && this.#seen < this.#m) {
      this.#tell({ phase: "catching-up", n: this.#seen, m: this.#m });
    } else if (this.state.phase !== "live") this.#tell({ phase: "live" });
  }

  #place(seq: number): string {
    return this.#epoch ? `${seq}@${this.#epoch}` : String(seq);
  }

  /**
   * Move to where an id without an event says that this stands: past events that a filter left
   * out, or to where a stream begins, if not where it was asked.
   */
  #passed(decoder: Decoder): void {
    if (decoder.retryMs !== undefined) this.#retryMs = decoder.retryMs;
    const id = decoder.lastEventId;
    if (!id) return;
    if (this.#options.many) this.position = id;
    else if (/^[0-9]+$/.test(id)) {
      this.#seen = Number(id);
      this.position = this.#place(Number(id));
    }
  }

  #failed(problem: TailraceError): number {
    this.#failures += 1;
    if (this.#failures >= (this.#options.attempts ?? Infinity)) {
      throw this.#over(
        new TailraceError("too_many_attempts", `${this.#failures} attempts failed in a row`, {
          hint: problem.hint,
          cause: problem,
        }),
      );
    }
    // Full jitter: who lost the same server does not come back at the same moment.
    const ceiling = Math.min(this.#retryMs * 2 ** (this.#failures - 1), BACKOFF_MAX_MS);
    const asked = Math.min(problem.retryAfterMs ?? 0, RETRY_AFTER_MAX_MS);
    return Math.max(asked * (1 + Math.random() / 2), ceiling * Math.random());
  }

  #over(problem: TailraceError): TailraceError {
    this.#ended = true;
    this.#tell({
      phase: "ended",
      how: problem.code,
      ...(problem.hint === undefined ? {} : { hint: problem.hint }),
    });
    return problem;
  }

  #aborted(): boolean {
    return this.#options.signal?.aborted ?? false;
  }

  #tell(state: Connection): void {
    this.state = state;
    this.#options.onState?.(state);
  }
}

/** Follow a stream by its URL. */
export function follow(url: string | URL, options: FollowOptions = {}): Follow {
  return new Follow(url, options);
}

function asProblem(error: unknown, url: string): TailraceError {
  if (error instanceof TailraceError) return error;
  // What is no event, or is too large for one: to ask again would bring it again.
  const message = error instanceof Error ? error.message : String(error);
  return new TailraceError("protocol_error", `${message} (${url})`, { cause: error });
}

/** What the network does, or that it failed. */
async function reached<T>(work: Promise<T>, url: URL): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw unreachable(url.href, error);
  }
}

function silent(cause: unknown): TailraceError {
  const message = `Nothing came for ${SILENCE_MAX_MS / 1000} s`;
  return new TailraceError("silent", message, { retryable: true, cause });
}

/** Wait; `held` is given the way to end it before its time. */
function sleep(
  ms: number,
  signal: AbortSignal | undefined,
  held: (wake: () => void) => void,
): Promise<void> {
  return new Promise((wake) => {
    held(done);
    const timer = setTimeout(done, ms);
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      wake();
    }
    signal?.addEventListener("abort", done, { once: true });
  });
}
