// One execution in the list.
import { memo, useEffect } from "react";
import { Link } from "wouter";
import type { Row } from "../data/list.ts";
import { Status } from "../parts/marks.tsx";
import { Ago, Duration } from "../parts/time.tsx";
import css from "./list.module.css";

interface RowProps {
  row: Row;
  href: string;
  index: number;
  top: number;
  current: boolean;
  mayCancel: boolean;
  explain: (row: Row) => void;
  onFocus: (index: number) => void;
  onCancel: (row: Row) => void;
}

const STOPPABLE = new Set(["queued", "running"]);
/** Ends of which somebody wants to know why. */
const ASKED = new Set(["failed", "timed_out", "lost", "cancelled"]);

export const Line = memo(function Line({ row, href, index, top, current, mayCancel, explain, onFocus, onCancel }: RowProps) {
  const asks = ASKED.has(row.status) && row.why === undefined;
  useEffect(() => {
    if (asks) explain(row);
  }, [asks, row, explain]);
  return (
    <div
      role="row"
      aria-rowindex={index + 2}
      className={css.row}
      style={{ transform: `translateY(${top}px)` }}
      data-execution={row.id}
      data-status={row.status}
    >
      <span role="cell" className={css.status}>
        <Status status={row.status} />
      </span>
      <span role="cell" className={css.name}>
        <Link href={href} className={css.link} tabIndex={current ? 0 : -1} data-row={index} onFocus={() => onFocus(index)}>
          <span className="clip" title={row.flow}>
            {row.flow}
          </span>
        </Link>
        {row.kind !== "workflow" && <span className="tag">{row.kind}</span>}
        {row.attempt > 1 && <span className={`tag ${css.again}`}>attempt {row.attempt}</span>}
        {row.ephemeral && (
          <span className="tag" title="It is removed soon after its end">
            ephemeral
          </span>
        )}
      </span>
      <span role="cell" className={css.what}>
        <What row={row} />
      </span>
      <span role="cell" className={`mono muted ${css.id}`} title={row.id}>
        {row.id.length > 12 ? row.id.slice(-8) : row.id}
      </span>
      <span role="cell" className={css.time}>
        <Duration from={row.started_at ?? row.created_at} to={row.ended_at} />
      </span>
      <span role="cell" className={`muted ${css.when}`}>
        <span className={css.ago}>
          <Ago at={row.created_at} />
        </span>
        <span className={`number ${css.exact}`} aria-hidden>
          {exactly(row.created_at)}
        </span>
      </span>
      <span role="cell" className={css.act}>
        {mayCancel && STOPPABLE.has(row.status) && (
          <button type="button" className="button bare" aria-label={`Cancel ${row.flow} ${row.id.slice(-8)}`} title="Cancel" onClick={() => onCancel(row)}>
            <svg viewBox="0 0 14 14" width="14" height="14" aria-hidden>
              <circle cx="7" cy="7" r="5.6" fill="none" stroke="currentColor" strokeWidth="1.4" />
              <rect x="5" y="5" width="4" height="4" rx="0.8" fill="currentColor" />
            </svg>
          </button>
        )}
      </span>
    </div>
  );
});

/** How far it is, or why it ended so. */
function What({ row }: { row: Row }) {
  if (row.ended_at !== null) {
    if (!row.why) return null;
    const bad = row.status !== "cancelled";
    return (
      <span className={`clip ${bad ? css.bad : "muted"}`} title={row.why}>
        {row.why}
      </span>
    );
  }
  const { percent, message } = row.progress ?? {};
  if (percent === undefined && !message) return null;
  const known = percent ?? undefined;
  return (
    <span className={css.progress}>
      {known !== undefined && <progress value={known} max={100} aria-label={`Progress of ${row.flow}`} />}
      {known !== undefined && <span className="number muted">{Math.round(known)} %</span>}
      <span className="clip muted">{message}</span>
    </span>
  );
}

function exactly(at: string): string {
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString(
    undefined,
    today ? { timeStyle: "medium" } : { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" },
  );
}
