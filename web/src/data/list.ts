// The executions of a workspace, as a list that is alive.
//
// The law of this file: pages of the list and the events of its stream come in any order; of one
// execution, what is of the later event stands. A page is of all or of one status; how far back each
// of these was read is known, so nothing is shown as complete that is not.
import { EXECUTION, TERMINAL, type Connection, type Entry, type TailraceEvent } from "@tailrace/client";
import { duration } from "../parts/time.tsx";
import { problemFrom } from "./hub.ts";
import type { Problem } from "./protocol.ts";
import { Ticker } from "./ticker.ts";

/** One line of the list. */
export interface Row {
  id: string;
  kind: string;
  flow: string;
  status: string;
  created_at: string;
  /** Null where it has not started, or that was before this page looked. */
  started_at: string | null;
  ended_at: string | null;
  progress: { percent?: number | null; message?: string | null } | null;
  /** The newest event that this is of. */
  head: number;
  ephemeral: boolean;
  /** Which attempt at it began last, as far as is known. */
  attempt: number;
  /** Why it ended as it did, in a line; undefined: nobody asked yet (`explain`). */
  why: string | undefined;
}

/** What the list is read by. */
export interface Source {
  list(query: { limit: number; before?: string; status?: string }): Promise<{ executions: Entry[]; before: string | null }>;
  /** The event after a position. */
  next(id: string, after: number): Promise<TailraceEvent | undefined>;
}

/** Every execution, of whatever status. */
export const ALL = "";
const PAGE = 100;
/** So far back a list that was left alone is read anew; one that missed more begins from the top. */
const PAGES_MAX = 20;
const EXPLAIN_MAX = 4; // requests at a time, of the six that a browser has for a host

/** All rows that are known, newest first. */
export class ListStore extends Ticker {
  connection: Connection = { phase: "connecting" };
  problem: Problem | undefined;
  /** Whether the first page has come. */
  loaded = false;
  readonly #source: Source;
  readonly #rows = new Map<string, Row>();
  #order: Row[] = [];
  #dirty = true;
  /** Where the next page begins, of all or of a status; null: there is none. */
  readonly #cursors = new Map<string, string | null>();
  readonly #reading = new Set<string>();
  readonly #unexplained: Row[] = [];
  readonly #asked = new Set<string>();
  #explaining = 0;
  /** The newest row when the stream was last heard: what is older than this was known. */
  #mark: Row | undefined;

  constructor(source: Source) {
    super();
    this.#source = source;
  }

  /** The rows, newest first. Rows are replaced when they change, never changed. */
  get rows(): readonly Row[] {
    if (this.#dirty) this.#order = [...this.#rows.values()].sort(newestFirst);
    this.#dirty = false;
    return this.#order;
  }

  get(id: string): Row | undefined {
    return this.#rows.get(id);
  }

  /** Those of a status (or all), as far back as none is missing between them. */
  covered(status = ALL): readonly Row[] {
    const of = status === ALL ? this.rows : this.rows.filter((row) => row.status === status);
    if (this.isWhole(status)) return of;
    const ends = [this.#cursors.get(ALL), this.#cursors.get(status)]
      .map((id) => (id ? this.#rows.get(id) : undefined))
      .filter((row) => row !== undefined)
      .sort(newestFirst);
    const last = ends.at(-1);
    return last ? of.filter((row) => newestFirst(row, last) <= 0) : of;
  }

  /** Whether all of a status are known: a count of them is one then. */
  isWhole(status = ALL): boolean {
    return this.#cursors.get(ALL) === null || this.#cursors.get(status) === null;
  }

  isReading(status = ALL): boolean {
    return this.#reading.has(status);
  }

  /** Read the newest, and on to what is known already and still runs. */
  async refresh(): Promise<void> {
    await this.#once(ALL, async () => {
      const first = !this.#cursors.has(ALL);
      const mark = this.#mark;
      const running = new Set(first ? [] : this.rows.filter((row) => row.ended_at === null).map((row) => row.id));
      let joined = first || mark === undefined;
      let before: string | null = null;
      for (let pages = 0; pages < PAGES_MAX; pages++) {
        const page = await this.#source.list({ limit: PAGE, ...(before ? { before } : {}) });
        this.#take(page.executions);
        for (const { execution_id } of page.executions) running.delete(execution_id);
        joined ||= page.before === null || page.executions.some((entry) => newestFirst(rowOf(entry), mark!) >= 0);
        before = page.before;
        if (first) this.#cursors.set(ALL, before);
        if (before === null || (joined && running.size === 0)) break;
      }
      if (!joined) this.#forgetBefore(before);
      this.loaded = true;
    });
  }

  /** Forget all rows: what there is has to be read anew. */
  forget(): void {
    this.#rows.clear();
    this.#cursors.clear();
    this.#mark = undefined;
    this.#dirty = true;
    this.changed();
  }

  /** Read the next page of those before. */
  async more(status = ALL): Promise<void> {
    const before = this.#cursors.get(status);
    if (before === null || (status === ALL && before === undefined)) return;
    await this.#once(status, async () => {
      const query = { limit: PAGE, ...(before ? { before } : {}), ...(status ? { status } : {}) };
      const page = await this.#source.list(query);
      this.#take(page.executions);
      this.#cursors.set(status, page.before);
    });
  }

  /** Find out why one ended as it did: its last event says so. A few at a time. */
  explain(row: Row): void {
    if (row.why !== undefined || row.ended_at === null || this.#asked.has(row.id)) return;
    this.#asked.add(row.id);
    this.#unexplained.push(row);
    if (this.#explaining < EXPLAIN_MAX) void this.#explain();
  }

  /** Take envelopes of the workspace's stream, one a line. */
  take(lines: string): void {
    for (const line of lines.split("\n")) this.#event(JSON.parse(line) as TailraceEvent);
    this.changed();
  }

  connected(connection: Connection): void {
    if (this.connection.phase === "live" && connection.phase !== "live") this.#mark = this.rows[0];
    this.connection = connection;
    this.changed();
  }

  failed(problem: Problem): void {
    this.problem = problem;
    this.connection = { phase: "ended", how: problem.code };
    this.changed();
  }

  async #once(status: string, read: () => Promise<void>): Promise<void> {
    if (this.#reading.has(status)) return;
    this.#reading.add(status);
    try {
      await read();
    } catch (error) {
      this.failed(problemFrom(error));
    }
    this.#reading.delete(status);
    this.changed();
  }

  async #explain(): Promise<void> {
    this.#explaining += 1;
    for (let row = this.#unexplained.shift(); row; row = this.#unexplained.shift()) {
      try {
        const event = await this.#source.next(row.id, row.head - 1);
        const now = this.#rows.get(row.id);
        if (event && now && TERMINAL.has(event.type)) {
          this.#put({ ...now, why: whyOf(event), attempt: Math.max(now.attempt, event.attempt ?? 1) });
          this.changed();
        }
      } catch {
        // It is a line of small print: the execution's own page says what is wrong with asking.
      }
    }
    this.#explaining -= 1;
  }

  #take(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const known = this.#rows.get(entry.execution_id);
      if (known && known.head >= entry.head) continue;
      const row = rowOf(entry);
      this.#put(known ? { ...row, started_at: known.started_at, progress: known.progress, attempt: known.attempt } : row);
    }
  }

  /** Too much was missed: what was known before it is not joined to what is known now. */
  #forgetBefore(id: string | null): void {
    const last = id === null ? undefined : this.#rows.get(id);
    for (const row of this.#rows.values()) if (last && newestFirst(row, last) > 0) this.#rows.delete(row.id);
    this.#cursors.clear();
    this.#cursors.set(ALL, id);
    this.#dirty = true;
  }

  #event(event: TailraceEvent): void {
    if (event.id === null || !event.type.startsWith("execution.")) return;
    const known = this.#rows.get(event.execution_id);
    const data = event.data as Record<string, any>;
    if (event.type === "execution.queued") {
      if (known) return;
      this.#put({
        id: event.execution_id,
        kind: data.kind ?? "",
        flow: data.flow ?? "",
        status: "queued",
        created_at: event.ts,
        started_at: null,
        ended_at: null,
        progress: null,
        head: event.id,
        ephemeral: data.ephemeral === true,
        attempt: 1,
        why: undefined,
      });
      return;
    }
    if (!known) return;
    const started = event.type === "execution.started";
    // The page of the list may be ahead; what it does not say is taken all the same.
    const learned: Row = {
      ...known,
      started_at: started ? (known.started_at ?? event.ts) : known.started_at,
      attempt: started ? Math.max(known.attempt, event.attempt ?? 1) : known.attempt,
    };
    if (event.id <= known.head) {
      if (started) this.#put(learned);
      return;
    }
    const ended = TERMINAL.has(event.type);
    this.#put({
      ...learned,
      status: EXECUTION[known.status]?.[event.type] ?? known.status,
      ended_at: ended ? event.ts : known.ended_at,
      progress: event.type === "execution.progress" ? data : known.progress,
      head: event.id,
      why: ended ? whyOf(event) : known.why,
    });
  }

  #put(row: Row): void {
    this.#rows.set(row.id, row);
    this.#dirty = true;
  }
}

/** Why an execution ended as it did, in one line; empty where there is nothing to say. */
export function whyOf(event: { type: string; data: object }): string {
  const data = event.data as Record<string, any>;
  if (data.error) return firstLine(`${data.error.type}: ${data.error.message}`);
  if (event.type === "execution.timed_out") return `Its deadline of ${duration(Number(data.deadline_ms))} passed`;
  if (event.type === "execution.cancelled") return firstLine(`By ${data.by}${data.reason ? `: ${data.reason}` : ""}`);
  return firstLine(String(data.reason ?? ""));
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0]!.slice(0, 300);
}

function rowOf(entry: Entry): Row {
  return {
    id: entry.execution_id,
    kind: entry.kind,
    flow: entry.flow,
    status: entry.status,
    created_at: entry.created_at,
    started_at: null,
    ended_at: isEnd(entry.status) ? entry.updated_at : null,
    progress: null,
    head: entry.head,
    ephemeral: entry.ephemeral,
    attempt: 1,
    why: undefined,
  };
}

function isEnd(status: string): boolean {
  return status !== "new" && Object.keys(EXECUTION[status] ?? { _: "" }).length === 0;
}

function newestFirst(a: Row, b: Row): number {
  if (a.created_at !== b.created_at) return a.created_at < b.created_at ? 1 : -1;
  return a.id === b.id ? 0 : a.id < b.id ? 1 : -1;
}
