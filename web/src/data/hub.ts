// The streams of all tabs of a browser: at most two long ones, however many tabs there are.
//
// The law of this file: it keeps positions, not backlogs. What it holds of events is bounded by
// RECENT_CHARS for each watched execution and WINDOW_CHARS for each tab; whoever falls further
// behind reads the log again from where it stands, when it can.
//
//   list line    one stream of `execution.*` of the workspace, while a tab shows the list
//   watch line   one stream of the watched executions: an execution's own while it is the only one,
//                else the stream of many. That one is opened at the logs' ends, and ids are dense:
//                a hole between what a log has given and what comes shows, and is read then.
//   back line    short reads (`follow=false`), one at a time, for tabs that stand elsewhere than the
//                watch line: opened later, come back from the background, or slow
//
// A tab that does not keep up makes the watch line wait for PATIENCE_MS; the server then keeps its
// events in the log, where they cost nothing. After that it falls behind, alone.
import {
  TailraceError,
  TERMINAL,
  type Connection,
  type Follow,
  type Frame,
  type TailraceClient,
} from "@tailrace/client";
import type { Problem } from "./protocol.ts";

export const RECENT_CHARS = 512 * 1024;
export const WINDOW_CHARS = 2 * 1024 * 1024;
export const PATIENCE_MS = 1000;
/** What comes within this time goes to a tab as one message; the first at once. */
export const BATCH_MS = 50;
/** A message larger than this goes at once: a tab handles it in a few milliseconds. */
const BATCH_CHARS = 128 * 1024;
/** How many of the newest events the stream of many begins with: small holes are none then. */
const OVERLAP = "200";

/** A tab's view of one subject. */
export class Sub {
  /** Where this tab stands. */
  position: string | undefined;
  seq: number;
  /** Whether the watch line feeds it; else the back line does, until it has caught up. */
  joined = false;
  #pending = 0;
  #drained: Array<() => void> = [];
  #out: string[] = [];
  #outChars = 0;
  #sentAt = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  readonly #tell: (message: SubMessage) => void;

  constructor(after: string | undefined, tell: (message: SubMessage) => void) {
    this.position = after;
    this.seq = seqOf(after);
    this.#tell = tell;
  }

  get closed(): boolean {
    return this.#closed;
  }

  get full(): boolean {
    return this.#pending > WINDOW_CHARS;
  }

  /** Give it those frames that it has not got. */
  deliver(frames: readonly Frame[]): void {
    const fresh = news(frames, this);
    const lines = fresh.filter((frame) => frame.type !== "stream.open").map((frame) => frame.data);
    if (lines.length > 0) this.#send(lines.join("\n"));
  }

  /** As `deliver`, of many logs: their numbers mean nothing here. */
  deliverAll(frames: readonly Frame[]): void {
    const lines = frames.filter((frame) => frame.type !== "stream.open").map((frame) => frame.data);
    if (lines.length > 0) this.#send(lines.join("\n"));
  }

  state(state: Connection): void {
    this.#flush();
    if (!this.#closed) this.#tell({ t: "state", state });
  }

  failed(error: unknown): void {
    this.#flush();
    if (!this.#closed) this.#tell({ t: "failed", problem: problemFrom(error) });
  }

  /** Let it go, and tell the tab so: if it is still there, it comes again. */
  forget(): void {
    if (!this.#closed) this.#tell({ t: "forgotten" });
    this.close();
  }

  /** The tab has handled so much. */
  handled(size: number): void {
    this.#pending -= size;
    if (this.full) return;
    const waiting = this.#drained;
    this.#drained = [];
    for (const wake of waiting) wake();
  }

  /** Wait until it has room, or for a time; says whether it has. */
  async room(timeoutMs?: number): Promise<boolean> {
    if (!this.full || this.#closed) return true;
    await new Promise<void>((wake) => {
      this.#drained.push(wake);
      if (timeoutMs !== undefined) setTimeout(wake, timeoutMs);
    });
    return !this.full;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#pending = 0;
    this.handled(0);
  }

  #send(lines: string): void {
    if (this.#closed) return;
    this.#pending += lines.length;
    this.#out.push(lines);
    this.#outChars += lines.length;
    const wait = this.#sentAt + BATCH_MS - performance.now();
    if (wait <= 0 || this.#outChars > BATCH_CHARS) this.#flush();
    else this.#timer ??= setTimeout(() => this.#flush(), wait);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#out.length === 0 || this.#closed) return;
    const lines = this.#out.join("\n");
    // What a tab handles is counted by what it was given: the line breaks in between too.
    this.#pending += this.#out.length - 1;
    this.#out = [];
    this.#outChars = 0;
    this.#sentAt = performance.now();
    this.#tell({ t: "events", lines, position: this.position ?? "" });
  }
}

/** What a sub says to its tab. */
export type SubMessage =
  | { t: "events"; lines: string; position: string }
  | { t: "state"; state: Connection }
  | { t: "failed"; problem: Problem }
  | { t: "forgotten" };

/** One watched execution. */
class Watched {
  readonly subs = new Set<Sub>();
  /** Where the watch line stands in it. */
  position: string | undefined;
  seq: number;
  state: Connection = { phase: "connecting" };
  ended = false;
  #recent: Frame[] = [];
  #recentChars = 0;

  constructor(
    readonly id: string,
    after: string | undefined,
  ) {
    this.position = after;
    this.seq = seqOf(after);
  }

  /** Take frames of the watch line, and hand them to those who stand there. */
  take(frames: readonly Frame[]): void {
    const fresh = news(frames, this);
    for (const frame of fresh) {
      this.#keep(frame);
      if (TERMINAL.has(frame.type)) this.ended = true;
    }
    for (const sub of this.subs) if (sub.joined) sub.deliver(fresh);
  }

  tell(state: Connection): void {
    this.state = state;
    for (const sub of this.subs) if (sub.joined) sub.state(state);
  }

  /** Put a sub on the watch line, if what is missing between is still here. */
  join(sub: Sub): boolean {
    const first = this.#recent.find((frame) => frame.seq !== null)?.seq ?? this.seq + 1;
    if (sub.seq < first - 1 && sub.seq < this.seq) return false;
    sub.joined = true;
    sub.deliver(this.#recent);
    sub.state(this.state);
    return true;
  }

  #keep(frame: Frame): void {
    this.#recent.push(frame);
    this.#recentChars += frame.data.length;
    if (this.#recentChars <= 2 * RECENT_CHARS) return;
    let drop = 0;
    while (this.#recentChars > RECENT_CHARS) this.#recentChars -= this.#recent[drop++]!.data.length;
    this.#recent = this.#recent.slice(drop);
  }
}

/** The streams of one workspace of one server. */
export class Hub {
  readonly #client: TailraceClient;
  readonly #watched = new Map<string, Watched>();
  readonly #behind: Array<{ log: Watched; sub: Sub }> = [];
  readonly #listing = new Set<Sub>();
  #listState: Connection = { phase: "connecting" };
  #listCut: AbortController | undefined;
  #lineCut: AbortController | undefined;
  /** What is read now: each may wait for its server. */
  readonly #open = new Set<Follow>();
  #lineRuns = false;
  #backRuns = false;

  constructor(client: TailraceClient) {
    this.#client = client;
  }

  get idle(): boolean {
    return this.#watched.size === 0 && this.#listing.size === 0;
  }

  /** Do not wait any longer before asking the server again. */
  hurry(): void {
    for (const following of this.#open) following.hurry();
  }

  /** Let a tab watch an execution from its position. */
  watch(id: string, sub: Sub): void {
    const known = this.#watched.get(id);
    const log = known ?? new Watched(id, sub.position);
    log.subs.add(sub);
    if (known) {
      if (!known.join(sub)) this.#fallBehind(known, sub);
      return;
    }
    sub.joined = true;
    this.#watched.set(id, log);
    this.#changed();
  }

  unwatch(id: string, sub: Sub): void {
    sub.close();
    const log = this.#watched.get(id);
    log?.subs.delete(sub);
    if (log && log.subs.size === 0) {
      this.#watched.delete(id);
      if (!log.ended) this.#changed();
    }
  }

  /** Let a tab see what happens in the workspace. */
  list(sub: Sub): void {
    this.#listing.add(sub);
    sub.state(this.#listState);
    if (!this.#listCut) void this.#listLine();
  }

  unlist(sub: Sub): void {
    sub.close();
    this.#listing.delete(sub);
    if (this.#listing.size === 0) {
      this.#listCut?.abort();
      this.#listCut = undefined;
    }
  }

  // --- the list line ---------------------------------------------------------------------------

  async #listLine(): Promise<void> {
    const cut = (this.#listCut = new AbortController());
    const following = this.#client.followMany([], {
      events: "execution.*",
      signal: cut.signal,
      onState: (state) => {
        this.#listState = state;
        if (!cut.signal.aborted) for (const sub of this.#listing) sub.state(state);
      },
    });
    this.#open.add(following);
    try {
      for await (const frames of following.batches()) {
        for (const sub of this.#listing) {
          sub.deliverAll(frames);
          // A tab that does not keep up with a list is frozen: it reads the list anew when it wakes.
          if (!sub.full) continue;
          sub.forget();
          this.unlist(sub);
        }
      }
    } catch (error) {
      for (const sub of [...this.#listing]) {
        sub.failed(error);
        this.#listing.delete(sub);
      }
    }
    this.#open.delete(following);
    if (this.#listCut === cut) this.#listCut = undefined;
    this.#listState = { phase: "connecting" };
  }

  // --- the watch line --------------------------------------------------------------------------

  /** Other executions are watched now: the line is for these. */
  #changed(): void {
    this.#lineCut?.abort();
    if (!this.#lineRuns) {
      this.#lineRuns = true;
      void this.#watchLine();
    }
  }

  async #watchLine(): Promise<void> {
    for (;;) {
      // Tabs that are restored come all at once.
      await new Promise((wake) => setTimeout(wake, 10));
      const logs = [...this.#watched.values()].filter((log) => !log.ended);
      if (logs.length === 0) break;
      const cut = (this.#lineCut = new AbortController());
      if (logs.length === 1) await this.#read(logs[0]!, true, cut.signal);
      else await this.#readMany(logs, cut.signal);
      this.#lineCut = undefined;
    }
    this.#lineRuns = false;
  }

  /** Read one execution's own stream, to its end, or (not live) to where it stands. */
  async #read(log: Watched, live: boolean, signal: AbortSignal): Promise<void> {
    const following = this.#client.follow(log.id, {
      after: log.position,
      live,
      signal,
            onState: (state) => {
        const passing = state.phase === "ended" && state.how === "closed";
        if (!passing && (live || state.phase !== "live")) log.tell(state);
      },
    });
    this.#open.add(following);
    try {
      for await (const frames of following.batches()) {
        log.take(frames);
        await this.#patience(log);
      }
      if (following.state.phase === "ended" && following.state.how !== "closed") log.ended = true;
    } catch (error) {
      this.#drop(log, error);
    }
    this.#open.delete(following);
  }

  async #readMany(logs: readonly Watched[], signal: AbortSignal): Promise<void> {
    for (const log of logs) if (!signal.aborted) await this.#read(log, false, signal);
    const open = new Map(logs.filter((log) => this.#isOpen(log)).map((log) => [log.id, log]));
    if (open.size < 2 || signal.aborted) return;
    const following = this.#client.followMany([...open.keys()], {
      query: { tail: OVERLAP },
      signal,
      onState: (state) => {
        if (state.phase === "ended") return;
        for (const log of open.values()) if (!log.ended) log.tell(state);
      },
    });
    this.#open.add(following);
    try {
      for await (const frames of following.batches()) {
        await this.#takeMany(open, frames, signal);
        if (![...open.values()].some((log) => this.#isOpen(log))) return;
      }
    } catch {
      // Of several, who is refused is not said: the next round asks for each by itself. It waits a
      // moment, in case each by itself is allowed and all together are not.
      await new Promise((wake) => setTimeout(wake, PATIENCE_MS));
    } finally {
      this.#open.delete(following); // it returns from within
    }
  }

  async #takeMany(
    open: ReadonlyMap<string, Watched>,
    frames: readonly Frame[],
    signal: AbortSignal,
  ): Promise<void> {
    const byLog = new Map<Watched, Frame[]>();
    for (const frame of frames) {
      const log = open.get(executionOf(frame.data));
      if (!log) continue;
      const own = byLog.get(log) ?? [];
      own.push(frame.seq === null ? frame : { ...frame, position: placed(log, frame.seq) });
      byLog.set(log, own);
    }
    for (const [log, own] of byLog) {
      const next = own.find((frame) => frame.seq !== null && frame.seq > log.seq);
      if (next && next.seq! > log.seq + 1) await this.#read(log, false, signal);
      const ended = log.ended;
      log.take(own);
      if (!ended && log.ended) {
        const last = own.findLast((frame) => TERMINAL.has(frame.type));
        if (last) log.tell({ phase: "ended", how: last.type.slice("execution.".length) });
      }
      await this.#patience(log);
    }
  }

  #isOpen(log: Watched): boolean {
    return !log.ended && this.#watched.get(log.id) === log;
  }

  /** Wait for tabs that are slow, for a while; then they are behind, and the others go on. */
  async #patience(log: Watched): Promise<void> {
    for (const sub of [...log.subs]) {
      if (!sub.joined || (await sub.room(PATIENCE_MS)) || !log.subs.has(sub)) continue;
      sub.joined = false;
      this.#fallBehind(log, sub);
    }
  }

  #drop(log: Watched, error: unknown): void {
    log.ended = true;
    for (const sub of log.subs) {
      sub.failed(error);
      sub.close();
    }
    if (this.#watched.get(log.id) === log) this.#watched.delete(log.id);
  }

  // --- the back line ---------------------------------------------------------------------------

  #fallBehind(log: Watched, sub: Sub): void {
    this.#behind.push({ log, sub });
    if (!this.#backRuns) {
      this.#backRuns = true;
      void this.#backLine();
    }
  }

  async #backLine(): Promise<void> {
    for (let next = this.#behind.shift(); next; next = this.#behind.shift()) {
      const { log, sub } = next;
      try {
        // Each round ends where the log then stood; by the next the line is not far ahead.
        while (!sub.closed) {
          const ready = await sub.room(PATIENCE_MS);
          if (ready && log.join(sub)) break;
          if (ready && (await this.#catchUp(log, sub))) continue;
          this.#behind.push(next); // it is slow: the others come first
          break;
        }
      } catch (error) {
        log.subs.delete(sub);
        sub.failed(error);
        sub.close();
      }
    }
    this.#backRuns = false;
  }

  /** Read for one tab to where the log stands; false if the tab does not keep up with that. */
  async #catchUp(log: Watched, sub: Sub): Promise<boolean> {
    const cut = new AbortController();
    const following: Follow = this.#client.follow(log.id, {
      after: sub.position,
      live: false,
      signal: cut.signal,
      onState: (state) => {
        if (state.phase === "catching-up" || state.phase === "reconnecting") sub.state(state);
      },
    });
    for await (const frames of following.batches()) {
      sub.deliver(frames);
      if (sub.closed || !(await sub.room(PATIENCE_MS))) {
        cut.abort();
        return false;
      }
    }
    return true;
  }
}

/** What went wrong, as a message carries it. */
export function problemFrom(error: unknown): Problem {
  if (error instanceof TailraceError) {
    const { code, message, hint, status } = error;
    return { code, message, hint, status };
  }
  return { code: "page", message: error instanceof Error ? error.message : String(error), status: 0 };
}

/** Those of some frames that are new to who stands somewhere; moves it past them. */
function news(frames: readonly Frame[], at: { seq: number; position: string | undefined }): Frame[] {
  const fresh: Frame[] = [];
  for (const frame of frames) {
    if (frame.seq === null) {
      // The log was lost: what follows has numbers that are known, and is something else.
      if (frame.type === "stream.gap" && frame.data.includes('"cause":"lost"')) at.seq = 0;
      fresh.push(frame);
    } else if (frame.seq > at.seq) {
      at.seq = frame.seq;
      at.position = frame.position;
      fresh.push(frame);
    }
  }
  return fresh;
}

function seqOf(position: string | undefined): number {
  return position === undefined ? 0 : Number.parseInt(position, 10) || 0;
}

/** A position in a log, of an event that came with a position in many. */
function placed(log: Watched, seq: number): string {
  const epoch = log.position?.split("@")[1];
  return epoch ? `${seq}@${epoch}` : String(seq);
}

const EXECUTION_ID = /"execution_id":"([^"]*)"/;

/** Whose an envelope is; it says so near its beginning. */
function executionOf(data: string): string {
  return EXECUTION_ID.exec(data)?.[1] ?? "";
}
