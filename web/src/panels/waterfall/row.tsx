// One try of a node: when it waited, and when it ran.
import type { ExecutionState } from "@tailrace/client";
import { colourOf, Mark, wordOf } from "../../parts/marks.tsx";
import type { PanelProps } from "../contract.ts";
import { share, type Range } from "./axis.tsx";
import { type Bar, type Span } from "./rows.ts";
import { fine as duration } from "./ticks.ts";
import css from "./waterfall.module.css";

export interface RowProps {
  bar: Bar;
  /** How it stands: of what has ended, nothing runs (parts/standing.ts). */
  status: string;
  place: { index: number; of: number; top: number };
  begin: number;
  shown: Range;
  end: number;
  isCritical: boolean;
  isSelected: boolean;
  isTabStop: boolean;
  look: (key: string) => void;
  select: PanelProps["select"];
}

export function Row({ bar, status, place, begin, shown, end, isCritical, isSelected, isTabStop, look, select }: RowProps) {
  const { run } = bar;
  return (
    <li aria-setsize={place.of} aria-posinset={place.index + 1} style={{ transform: `translateY(${place.top}px)` }}>
      <button
        type="button"
        className={css.row}
        data-key={bar.key}
        data-bar={bar.node}
        data-attempt={bar.attempt}
        data-status={status}
        data-critical={isCritical || undefined}
        aria-pressed={isSelected}
        tabIndex={isTabStop ? 0 : -1}
        onFocus={() => look(bar.key)}
        onPointerEnter={() => look(bar.key)}
        onClick={() => select({ node: bar.node })}
      >
        <span className={css.name} data-again={!bar.isFirst || undefined}>
          <Mark status={status} size={12} alone />
          <span className="clip" title={bar.node}>{bar.isFirst ? bar.node : <span className="unseen">{bar.node}</span>}</span>
          {!bar.isOnly && <span className={css.try}><span>attempt </span>{bar.attempt}</span>}
          {isCritical && bar.isFirst && <Diamond alone />}
        </span>
        <span className={css.track}>
          <Piece kind="pause" span={bar.pause} shown={shown} end={end} />
          <Piece kind="wait" span={bar.wait} shown={shown} end={end} />
          <Piece kind="run" span={run} shown={shown} end={end} status={status} isCritical={isCritical} />
          {!run && !bar.wait && <span className={css.dot} style={{ left: `${share(bar.at, shown)}%` }} />}
        </span>
        <span className={`${css.took} number`}>{run ? duration((run.to ?? end) - run.from) : "–"}</span>
        <span className="unseen">{said(bar, status, begin, end)}</span>
      </button>
    </li>
  );
}

/** The execution itself: how long it was queued, how long it ran. */
export function Whole({ name, state, run, begin, shown, end }: { name: string; state: ExecutionState; run: Span | undefined; begin: number; shown: Range; end: number }) {
  return (
    <div className={`${css.row} ${css.execution}`}>
      <span className={css.name}>
        <Mark status={state.status} size={12} />
        <span className="clip" title={name}>{name}</span>
      </span>
      <span className={css.track}>
        <Piece kind="wait" span={{ from: begin, to: run?.from ?? null }} shown={shown} end={end} />
        <Piece kind="run" span={run} shown={shown} end={end} status={state.status} />
      </span>
      <span className={`${css.took} number`}>{duration((run?.to ?? end) - (run?.from ?? begin))}</span>
    </div>
  );
}

interface PieceProps {
  kind: "pause" | "wait" | "run";
  span: Span | undefined;
  shown: Range;
  end: number;
  status?: string;
  isCritical?: boolean;
}

function Piece({ kind, span, shown, end, status, isCritical }: PieceProps) {
  if (!span) return null;
  const to = Math.max(span.to ?? end, span.from);
  if (to < shown.from || span.from > shown.to) return null;
  // What is outside is cut here: bars a million pixels wide are drawn by no browser.
  const left = Math.max(share(span.from, shown), -1);
  const right = Math.min(share(to, shown), 101);
  return (
    <span
      className={css[kind]}
      data-piece={kind}
      data-open={span.to === null || undefined}
      data-critical={isCritical || undefined}
      style={{ left: `${left}%`, width: `max(${kind === "run" ? 3 : 0}px, ${right - left}%)`, color: status && colourOf(status) }}
    />
  );
}

/** The mark of the critical path; alone, it says so to who cannot see it. */
export function Diamond({ alone = false }: { alone?: boolean }) {
  const told = alone ? { role: "img", "aria-label": "on the critical path" } : { "aria-hidden": true };
  return (
    <svg viewBox="0 0 10 10" width="9" height="9" className={css.diamond} {...told}>
      <path d="M5 0.5L9.5 5 5 9.5 0.5 5z" fill="currentColor" />
    </svg>
  );
}

/** A try in words. */
export function said(bar: Bar, status: string, begin: number, end: number): string {
  const took = (span: Span | undefined) => (span ? Math.max(0, (span.to ?? end) - span.from) : 0);
  const parts = [wordOf(status), `at ${duration(bar.at - begin)}`];
  if (bar.pause) parts.push(`paused ${duration(took(bar.pause))} before`);
  if (bar.wait) parts.push(`waited ${duration(took(bar.wait))}`);
  if (bar.run) parts.push(`${bar.run.to === null && status === "running" ? "has run" : "ran"} ${duration(took(bar.run))}`);
  return parts.join(", ");
}
