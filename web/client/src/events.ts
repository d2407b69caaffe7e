// The envelope of an event, typed by the catalog.
//
// The law of this file: readers pass through what they do not know. An unknown type, or an unknown
// field, is an event like any other; nothing here refuses one.
import { TERMINAL, type EventType, type Payloads } from "./catalog.ts";

/** One fact of an execution's log, or (without an id) something a stream says of itself. */
export interface TailraceEvent<T extends string = string> {
  /** The sequence in its execution: 1, 2, 3 … without a hole. Null: of the stream, in no log. */
  id: number | null;
  type: T;
  /** RFC 3339, UTC. */
  ts: string;
  execution_id: string;
  node?: string;
  attempt?: number;
  data: T extends EventType ? Payloads[T] : Record<string, unknown>;
}

/** Whether an event is of a type; narrows its data. */
export function is<T extends EventType>(
  event: TailraceEvent,
  type: T,
): event is TailraceEvent<T> {
  return event.type === type;
}

/** Whether an event ends its execution. */
export function isTerminal(event: { type: string }): boolean {
  return TERMINAL.has(event.type);
}
