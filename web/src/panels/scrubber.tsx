// Where in the log the page stands. First version: a slider over the log's ids, and back to live.
import { hasEnded } from "@tailrace/client";
import type { PanelProps } from "./contract.ts";
import css from "./panels.module.css";

export default function Scrubber({ store, position, seek }: PanelProps) {
  const head = store.live.head;
  const ended = hasEnded(store.live);
  const at = position ?? head;
  return (
    <div className={css.scrubber}>
      <input
        type="range"
        min={Math.min(1, head)}
        max={head}
        value={at}
        aria-label="Position in the log"
        aria-valuetext={`Event ${at} of ${head}`}
        onChange={(event) => {
          const chosen = event.target.valueAsNumber;
          seek(chosen >= store.live.head ? null : chosen);
        }}
      />
      <span className="number muted" data-testid="position">
        {at.toLocaleString("en")} / {head.toLocaleString("en")}
      </span>
      <button type="button" className="button" disabled={position === null} onClick={() => seek(null)}>
        {ended ? "End" : "Live"}
      </button>
    </div>
  );
}
