// How an execution is started, beside its input.
import type { StartOptions } from "@tailrace/client";
import css from "./start.module.css";

export interface Chosen {
  /** Seconds, as typed. */
  deadline: string;
  priority: "low" | "normal" | "high";
  /** A local moment, as the browser's field has it. */
  startAt: string;
  ephemeral: boolean;
}

export const UNSET: Chosen = { deadline: "", priority: "normal", startAt: "", ephemeral: false };

/** What is sent: only what was chosen, so that an older server understands the rest. */
export function optionsOf(chosen: Chosen): StartOptions {
  const seconds = Number(chosen.deadline);
  return {
    ...(seconds > 0 ? { deadline_ms: Math.round(seconds * 1000) } : {}),
    ...(chosen.priority === "normal" ? {} : { priority: chosen.priority }),
    ...(chosen.startAt ? { start_at: new Date(chosen.startAt).toISOString() } : {}),
    ...(chosen.ephemeral ? { ephemeral: true } : {}),
  };
}

export function More({ chosen, onChange }: { chosen: Chosen; onChange: (chosen: Chosen) => void }) {
  const set = (changed: Partial<Chosen>) => onChange({ ...chosen, ...changed });
  return (
    <details className={css.more}>
      <summary>More</summary>
      <div className={css.options}>
        <label>
          Deadline, in seconds
          <input className="input number" inputMode="decimal" value={chosen.deadline} placeholder="as the flow has it" onChange={(event) => set({ deadline: event.target.value })} />
        </label>
        <label>
          Priority
          <select className="input" value={chosen.priority} onChange={(event) => set({ priority: event.target.value as Chosen["priority"] })}>
            <option value="high">high</option>
            <option value="normal">normal</option>
            <option value="low">low</option>
          </select>
        </label>
        <label>
          Start at
          <input className="input" type="datetime-local" step={1} value={chosen.startAt} onChange={(event) => set({ startAt: event.target.value })} />
        </label>
        <label className={css.switch}>
          <input type="checkbox" checked={chosen.ephemeral} onChange={(event) => set({ ephemeral: event.target.checked })} />
          Remove it soon after its end
        </label>
      </div>
      <p className={css.help}>Priority and a later start need workers (tailrace worker).</p>
    </details>
  );
}
