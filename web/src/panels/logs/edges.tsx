// What stands around the lines: where they begin, where they end, and what is not there.
//
// The law of this file: nothing is missing silently. What is not shown is said, and where to get it.
import { hasEnded, type ExecutionState, type Gap } from "@tailrace/client";
import { useRef } from "react";
import type { ExecutionStore } from "../../data/execution.ts";
import { Mark, wordOf } from "../../parts/marks.tsx";
import { Empty } from "../../parts/problem.tsx";
import { duration, tookOf } from "../../parts/time.tsx";
import { useSetParams } from "../../url.ts";
import css from "./logs.module.css";
import { GONE } from "./link.ts";
import { gapWords } from "./rows.tsx";
import type { LogView } from "./view.ts";

/** No filter, no line. */
export const NO_FILTER = { level: undefined, source: undefined, lognode: undefined };

/** The oldest lines are no longer in the page. */
export function Trimmed({ first }: { first: number }) {
  if (first === 0) return null;
  return (
    <p className={css.strip}>
      Lines 1 to {first.toLocaleString("en")} are no longer held by this page. Download → The whole log has them.
    </p>
  );
}

/** The line that a link is of is not shown, and why. */
export function Hidden({ linked, view, end, arrived }: { linked: number | undefined; view: LogView; end: number; arrived: boolean }) {
  const setParams = useSetParams();
  if (linked === undefined || !arrived) return null;
  const index = linked - 1;
  const { lines } = view;
  const number = linked.toLocaleString("en");
  if (linked === GONE) return <p className={css.strip}>The line that this link is of is no longer kept.</p>;
  if (index < lines.first) return <p className={css.strip}>Line {number} is no longer held by this page.</p>;
  if (index >= end) {
    const there = index < lines.end ? `Line ${number} comes after the position shown.` : `There is no line ${number}: the last one is ${lines.end.toLocaleString("en")}.`;
    return <p className={css.strip}>{there}</p>;
  }
  if (!view.settled || view.indexOf(view.rowOf(index)) === index) return null;
  return (
    <p className={css.strip}>
      Line {number} does not pass the filters.
      <button type="button" className="button" onClick={() => setParams(NO_FILTER)}>
        Show all lines
      </button>
    </p>
  );
}

/** There are no lines. */
export function Nothing({ store, state, filtered, arrived }: { store: ExecutionStore; state: ExecutionState; filtered: boolean; arrived: boolean }) {
  const setParams = useSetParams();
  if (filtered) {
    return (
      <Empty title="No line passes the filters">
        <p>
          {store.lines.end.toLocaleString("en")} {store.lines.end === 1 ? "line is" : "lines are"} hidden.
        </p>
        <p>
          <button type="button" className="button" onClick={() => setParams(NO_FILTER)}>
            Show all lines
          </button>
        </p>
      </Empty>
    );
  }
  if (!arrived) return null;
  if (hasEnded(state)) return <Empty title="It logged nothing">What nodes print, and what they log with Python's logging, is here.</Empty>;
  return <Empty title="No log lines yet">What nodes print and log appears here as it happens.</Empty>;
}

/** After the last line: from where nothing more comes, and how it ended. */
export function Ending({ store, gap, state }: { store: ExecutionStore; gap: Gap | undefined; state: ExecutionState }) {
  // Of a log whose beginning is gone there is no state, but the stream has said how it ended.
  const { connection } = store;
  const status = hasEnded(state) ? state.status : connection.phase === "ended" ? connection.how : undefined;
  const sealed = [...store.sealed];
  if (!status && !gap && sealed.length === 0) return null;
  const exit = state.end?.exit_status;
  const took = tookOf(state);
  return (
    <footer className={css.ending}>
      {gap && <span className={css.endingGap}>{gapWords(gap)}</span>}
      {sealed.length > 0 && <span>{sealed.join(", ")} closed</span>}
      {status && (
        <span className={css.ended}>
          <Mark status={status} size={12} />
          {wordOf(status)}
          {took !== undefined && ` after ${duration(took)}`}
          {typeof exit === "number" && `, exit status ${exit}`}
        </span>
      )}
    </footer>
  );
}

/** To the end, and how much has come there since one looked away. */
export function Jump({ high, arrived, go }: { high: number; arrived: boolean; go: () => void }) {
  const left = useRef(high); // mounted when the end was left
  if (!arrived) left.current = high; // what is read of the past is not new
  const more = Math.max(high - left.current, 0);
  return (
    <button type="button" className={`button ${css.jump}`} onClick={go}>
      <svg viewBox="0 0 12 12" width="11" height="11" aria-hidden fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" strokeLinejoin="round">
        <path d="M6 1.5v8M2.5 6.5L6 10l3.5-3.5" />
      </svg>
      Jump to latest
      {more > 0 && <span className="number">· {more.toLocaleString("en")} new</span>}
    </button>
  );
}
