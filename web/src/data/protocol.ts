// What tabs and the hub of streams say to each other.
//
// The law of this file: events travel as text, many in one message; whoever gets them says when it
// has handled them. Nothing here is kept by both sides.
import type { Connection } from "@tailrace/client";

/** What a tab wants to see. */
export type Subject =
  /** One execution, from a position (exclusive) to its end. */
  | { kind: "execution"; id: string; after: string | undefined }
  /** What happens to executions in the workspace: their `execution.*` events from now on. */
  | { kind: "list" };

/** Tab → hub. `sub` is a number that the tab chose. */
export type Ask =
  | { t: "open"; sub: number; base: string; workspace: string; subject: Subject }
  | { t: "close"; sub: number }
  /** So many characters of events were handled. */
  | { t: "handled"; sub: number; size: number }
  /** Still here; a tab that says nothing for GONE_MS is gone. */
  | { t: "here" }
  /** Ask the server again now, instead of waiting before the next try. */
  | { t: "hurry" }
  | { t: "bye" };

/** Hub → tab. */
export type Told =
  /** Envelopes, one a line; `position` is where a reader stands after them. */
  | { t: "events"; sub: number; lines: string; position: string }
  | { t: "state"; sub: number; state: Connection }
  /** It is over, and why: a TailraceError's parts. */
  | { t: "failed"; sub: number; problem: Problem }
  /** The tab was taken for gone (a machine that slept): who is still there opens it again. */
  | { t: "forgotten"; sub: number };

/** A TailraceError, as a message carries it. */
export interface Problem {
  code: string;
  message: string;
  hint?: string | undefined;
  status: number;
}

export const HERE_MS = 15_000;
export const GONE_MS = 60_000;
