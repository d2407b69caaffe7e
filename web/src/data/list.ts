// The executions of a workspace, as a list that is alive.
//
// The law of this file: pages of the list and the events of its stream come in any order; of one
// execution, what is of the later event stands.
import { EXECUTION, TERMINAL, type Connection, type Entry, type TailraceEvent } from "@tailrace/client";
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
}

/** All rows that are known, newest first. */
export class ListStore extends Ticker {
  connection: Connection = { phase: "connecting" };
  problem: Problem | undefined;
  /** Whether the first page has come. */
  loaded = false;
  readonly #rows = new Map<string, Row>();
  #sorted: Row[] | undefined;

  /** The rows, newest first. Rows are replaced when they change, never changed. */
  get rows(): readonly Row[] {
    this.#sorted ??= [...this.#rows.values()].sort(newestFirst);
    return this.#sorted;
  }

  /** Take a page of the list. */
  page(entries: readonly Entry[]): void {
    for (const entry of entries) {
      const known = this.#rows.get(entry.execution_id);
      if (known && known.head >= entry.head) continue;
      const ended = isEnd(entry.status);
      this.#put({
        id: entry.execution_id,
        kind: entry.kind,
        flow: entry.flow,
        status: entry.status,
        created_at: entry.created_at,
        started_at: known?.started_at ?? null,
        ended_at: ended ? entry.updated_at : null,
        progress: known?.progress ?? null,
        head: entry.head,
        ephemeral: entry.ephemeral,
      });
    }
    this.loaded = true;
    this.changed();
  }

  /** Take envelopes of the workspace's stream, one a line. */
  take(lines: string): void {
    for (const line of lines.split("\n")) this.#take(JSON.parse(line) as TailraceEvent);
    this.changed();
  }

  /** Forget all rows: what there is has to be read anew. */
  forget(): void {
    this.#rows.clear();
    this.#sorted = undefined;
    this.changed();
  }

  connected(connection: Connection): void {
    this.connection = connection;
    this.changed();
  }

  failed(problem: Problem): void {
    this.problem = problem;
    this.connection = { phase: "ended", how: problem.code };
    this.changed();
  }

  #take(event: TailraceEvent): void {
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
      });
      return;
    }
    if (!known) return;
    const started = event.type === "execution.started" ? (known.started_at ?? event.ts) : known.started_at;
    if (event.id <= known.head) {
      // The page of the list was ahead; what it does not say is taken all the same.
      if (started !== known.started_at) this.#put({ ...known, started_at: started });
      return;
    }
    this.#put({
      ...known,
      status: EXECUTION[known.status]?.[event.type] ?? known.status,
      started_at: started,
      ended_at: TERMINAL.has(event.type) ? event.ts : known.ended_at,
      progress: event.type === "execution.progress" ? data : known.progress,
      head: event.id,
    });
  }

  #put(row: Row): void {
    this.#rows.set(row.id, row);
    this.#sorted = undefined;
  }
}

function isEnd(status: string): boolean {
  return status !== "new" && Object.keys(EXECUTION[status] ?? { _: "" }).length === 0;
}

function newestFirst(a: Row, b: Row): number {
  if (a.created_at !== b.created_at) return a.created_at < b.created_at ? 1 : -1;
  return a.id < b.id ? 1 : -1;
}
