// What runs, and what has started lately, in one calm line.
//
// The law of this file: a number is shown only when it is known; a page of the list that does not
// reach back an hour says what it reaches.
import type { ListStore } from "../data/list.ts";
import { Mark } from "../parts/marks.tsx";
import { useNow } from "../parts/time.tsx";
import { lately } from "./filters.ts";
import css from "./list.module.css";

const HEIGHT = 18;

export function Summary({ store, running, onFailed }: { store: ListStore; running: number; onFailed: () => void }) {
  const now = useNow();
  const seen = lately(store, Math.max(now, Date.now()));
  if (!store.loaded || store.rows.length === 0) return null;
  const span = seen?.minutes === 60 ? "hour" : `${seen?.minutes} minutes`;
  const most = Math.max(1, ...(seen?.bins ?? []));
  return (
    <div className={css.summary}>
      <span className={css.figure}>
        <Mark status={running > 0 ? "running" : "queued"} />
        <strong className="number">
          {running.toLocaleString("en")}
          {store.isWhole("running") ? "" : "+"}
        </strong>{" "}
        running
      </span>
      {seen && (
        <>
          <span className={css.figure}>
            <svg
              viewBox={`0 0 ${seen.bins.length * 4 - 1} ${HEIGHT}`}
              width={seen.bins.length * 4 - 1}
              height={HEIGHT}
              className={css.spark}
              role="img"
              aria-label={`Starts in the last ${span}, oldest first: ${seen.bins.join(", ")}`}
            >
              {seen.bins.map((count, index) => {
                const height = count === 0 ? 1 : Math.max(3, (count / most) * HEIGHT);
                return <rect key={index} x={index * 4} y={HEIGHT - height} width="3" height={height} rx="0.5" data-empty={count === 0} />;
              })}
            </svg>
            <strong className="number">{seen.started.toLocaleString("en")}</strong> started in the last {span}
          </span>
          {seen.failed > 0 && (
            <button type="button" className={css.failures} onClick={onFailed}>
              <Mark status="failed" />
              <strong className="number">{seen.failed.toLocaleString("en")}</strong> of them failed
            </button>
          )}
        </>
      )}
    </div>
  );
}
