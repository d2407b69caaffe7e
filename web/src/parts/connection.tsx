// How the connection stands: a shape and words, always in the header.
//
// The law of this file: every state of Connection is said, with what a person wants to know of it.
// A screen reader is told when the state changes, not when its numbers do.
import type { Connection } from "@tailrace/client";
import { createContext, useContext, useEffect, useState, useSyncExternalStore, type ReactNode } from "react";
import { hurry } from "../data/use.ts";
import { duration, useNow } from "./time.tsx";
import css from "./connection.module.css";

class Holder {
  shown: Connection | undefined;
  readonly #listeners = new Set<() => void>();
  readonly subscribe = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };
  readonly get = () => this.shown;
  set(state: Connection | undefined) {
    this.shown = state;
    for (const listener of this.#listeners) listener();
  }
}

const ConnectionContext = createContext(new Holder());

/** Say how the route's own connection stands: the header shows it. */
export function useConnectionShown(state: Connection): void {
  const holder = useContext(ConnectionContext);
  useEffect(() => holder.set(state), [holder, state]);
  useEffect(() => () => holder.set(undefined), [holder]);
}

/** The header's: of whatever route is shown. */
export function HeaderConnection() {
  const holder = useContext(ConnectionContext);
  const state = useSyncExternalStore(holder.subscribe, holder.get);
  if (!state) return null;
  return (
    <>
      <ConnectionBadge state={state} />
      {state.phase === "reconnecting" && (
        <button type="button" className="button" onClick={hurry}>
          Try now
        </button>
      )}
    </>
  );
}

/** How a connection stands. */
export function ConnectionBadge({ state }: { state: Connection }) {
  const [since, setSince] = useState(() => Date.now());
  useEffect(() => setSince(Date.now()), [state]);
  const at = useNow(state.phase === "reconnecting");
  const { word, detail, title } = told(state, Math.max(0, at - since));
  return (
    <span className={css.badge} data-phase={state.phase} data-how={state.phase === "ended" ? state.how : undefined} title={title} data-testid="connection">
      <svg viewBox="0 0 14 14" width="12" height="12" aria-hidden>
        {shape(state)}
      </svg>
      <span role="status">{word}</span>
      {detail && <span className={`${css.detail} number`}>{detail}</span>}
    </span>
  );
}

function told(state: Connection, passedMs: number): { word: string; detail?: string; title?: string } {
  switch (state.phase) {
    case "connecting":
      return { word: "Connecting" };
    case "live":
      return { word: "Live" };
    case "suspended":
      return { word: "Paused", title: "This tab was in the background; it goes on from where it was." };
    case "catching-up":
      return {
        word: "Catching up",
        detail: `${state.n.toLocaleString("en")} of ${state.m.toLocaleString("en")}`,
      };
    case "reconnecting": {
      const s = Math.ceil(Math.max(0, state.inMs - passedMs) / 1000);
      const id = state.lastId.split("@")[0];
      return {
        word: "Reconnecting",
        // A position in many executions is no number that says anything.
        detail: [s > 0 ? `in ${duration(s * 1000).replace(/\.0+ s/, " s")}` : "now", Number(id) > 0 ? `from event ${Number(id) + 1}` : ""].filter(Boolean).join(" · "),
        title: `Attempt ${state.attempt + 1}${state.why ? ` (${state.why})` : ""}. Nothing is lost: it goes on after ${state.lastId || "the beginning"}.`,
      };
    }
    case "gap": {
      const { from, to, cause } = state.gap;
      return { word: "Gap", detail: `${from}–${to}`, title: `Events ${from} to ${to} cannot come: ${cause}` };
    }
    case "ended":
      return { word: ENDS[state.how] ?? "Ended", title: state.hint ?? `Ended: ${state.how}` };
  }
}

const ENDS: Record<string, string> = {
  completed: "Complete",
  complete: "Complete",
  failed: "Complete, failed",
  cancelled: "Complete, cancelled",
  timed_out: "Complete, timed out",
  lost: "Complete, lost",
  unauthenticated: "Signed out",
  execution_not_found: "Not found",
};

const line = { fill: "none", stroke: "currentColor", strokeWidth: 1.8, strokeLinecap: "round" } as const;

function shape(state: Connection): ReactNode {
  switch (state.phase) {
    case "live":
      return (
        <>
          <circle cx="7" cy="7" r="6" fill="currentColor" opacity="0.2" className="breathing" />
          <circle cx="7" cy="7" r="3.2" fill="currentColor" />
        </>
      );
    case "catching-up": {
      const share = state.m > 0 ? Math.min(state.n / state.m, 1) : 0;
      return (
        <>
          <circle cx="7" cy="7" r="5" {...line} opacity="0.25" />
          <circle cx="7" cy="7" r="5" {...line} strokeDasharray={`${share * 31.4} 32`} transform="rotate(-90 7 7)" />
        </>
      );
    }
    case "connecting":
      return <circle cx="7" cy="7" r="5" {...line} strokeDasharray="3 3" className="turning" />;
    case "reconnecting":
      return <path d="M2 7a5 5 0 0 1 8.5-3.5M12 7a5 5 0 0 1-8.5 3.5M10.8 1v2.8H8M3.2 13v-2.8H6" {...line} strokeWidth={1.5} />;
    case "suspended":
      return <path d="M4.5 3v8M9.5 3v8" {...line} />;
    case "gap":
      return <path d="M1 7h3M10 7h3M6 3l-1 8M9 3l-1 8" {...line} strokeWidth={1.5} />;
    case "ended":
      return <rect x="3" y="3" width="8" height="8" rx="1.5" fill="currentColor" />;
  }
}
