// How a connection stands, as data that can be shown.
//
// The law of this file: every state a watcher can be in is one of these, and each says what a
// person wants to know of it. Nothing here does anything.

/** Ids that cannot come: `from` and `to` are the first and the last of them. */
export interface Gap {
  from: number;
  to: number;
  /** `retention`: no longer kept. `lost`: the log was lost, and perhaps made again. */
  cause: string;
  /** Where it happened: the last id before it, as the watcher stood. */
  after: number;
}

/** How a connection stands. */
export type Connection =
  | { phase: "connecting" }
  | { phase: "catching-up"; n: number; m: number }
  | { phase: "live" }
  | { phase: "reconnecting"; lastId: string; inMs: number; attempt: number; why: string }
  | { phase: "gap"; gap: Gap }
  | { phase: "suspended" }
  /** `how`: a status such as `completed`, `closed` by the caller, or an error's code. */
  | { phase: "ended"; how: string; hint?: string };
