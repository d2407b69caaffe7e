// What the whole took, above; the row that is looked at, below.
import { Mark } from "../../parts/marks.tsx";
import type { Path } from "./critical.ts";
import { Diamond, said } from "./row.tsx";
import type { Bar, Figures } from "./rows.ts";
import { fine as duration } from "./ticks.ts";
import css from "./waterfall.module.css";

export interface HeadProps {
  figures: Figures;
  path: Path;
  isCriticalOnly: boolean;
  setCriticalOnly: (only: boolean) => void;
  isZoomed: boolean;
  zoomOut: () => void;
  /** To what is selected; undefined: nothing is. */
  zoomTo: (() => void) | undefined;
}

export function Head({ figures, path, isCriticalOnly, setCriticalOnly, isZoomed, zoomOut, zoomTo }: HeadProps) {
  const { total, busy, waiting } = figures;
  return (
    <div className={css.head}>
      <dl className={css.figures}>
        <Figure name="Total" value={duration(total)} />
        <Figure name="Busy" value={duration(busy)} more={total > 0 && busy / total >= 1.05 ? `${(busy / total).toFixed(1)} at once` : undefined} />
        <Figure name="Waiting" value={duration(waiting)} />
      </dl>
      <span className={css.acts}>
        {path.nodes.length > 0 && (
          <button type="button" className="button" aria-pressed={isCriticalOnly} onClick={() => setCriticalOnly(!isCriticalOnly)} title={path.nodes.join(" → ")}>
            <Diamond />
            Critical path
            <span className={`${css.pathTook} number`}>{duration(path.ms)}</span>
          </button>
        )}
        <button type="button" className="button" disabled={!zoomTo} onClick={zoomTo}>
          Zoom to selection
        </button>
        <button type="button" className="button" disabled={!isZoomed} onClick={zoomOut}>
          Show all
        </button>
      </span>
    </div>
  );
}

function Figure({ name, value, more }: { name: string; value: string; more?: string | undefined }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="number">
        {value}
        {more && <span className="muted"> {more}</span>}
      </dd>
    </div>
  );
}

/** The row that is looked at, by mouse or by key; else how to. */
export function Detail({ bar, status, begin, end, isCritical }: { bar: Bar | undefined; status: string; begin: number; end: number; isCritical: boolean }) {
  return (
    <div className={css.detail} data-testid="detail">
      {bar ? (
        <>
          <Mark status={status} size={12} />
          <strong className="clip">{bar.node}</strong>
          {!bar.isOnly && <span>attempt {bar.attempt}</span>}
          <span className="muted number">{said(bar, status, begin, end)}</span>
          {isCritical && <span className={css.isCritical}>on the critical path</span>}
          {bar.error && <span className={`clip ${css.error}`}>{bar.error}</span>}
        </>
      ) : (
        <span className="muted">
          <span className={css.key} data-piece="wait" />
          queued
          <span className={css.key} data-piece="run" />
          runs
          <span className={css.key} data-piece="pause" />
          until tried again
          <Diamond />
          on the critical path
        </span>
      )}
    </div>
  );
}
