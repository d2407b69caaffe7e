// Stopping an execution: the question, the reason, and what became of it.
//
// The law of this file: nothing is stopped by one press, and what the log says of the end is what
// is shown of it; an execution that was faster than the request completed.
import { hasEnded, type ExecutionState } from "@tailrace/client";
import { useState, type FormEvent } from "react";
import { problemFrom } from "../data/hub.ts";
import type { Problem as What } from "../data/protocol.ts";
import { useClient } from "../data/use.ts";
import css from "./cancel.module.css";
import { Dialog } from "./dialog.tsx";
import { Problem, Refused } from "./problem.tsx";
import { culpritOf } from "./standing.ts";
import { duration, useNow } from "./time.tsx";

interface CancelProps {
  id: string;
  flow: string;
  onAsked?: () => void;
  onClose: () => void;
}

export function CancelDialog({ id, flow, onAsked, onClose }: CancelProps) {
  const client = useClient();
  const [reason, setReason] = useState("");
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState<What>();

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setAsking(true);
    try {
      await client.cancel(id, reason.trim() || undefined);
      onAsked?.();
      onClose();
    } catch (error) {
      setProblem(problemFrom(error));
      setAsking(false);
    }
  };
  return (
    <Dialog title={`Cancel ${flow}?`} onClose={onClose}>
      <form className={css.form} onSubmit={(event) => void submit(event)}>
        <p className="muted">
          What runs is stopped, and what has not begun will not. What was done stays in the log.
          <br />
          <code>{id}</code>
        </p>
        <label>
          <span>
            Reason <span className="muted">(optional, kept in the log)</span>
          </span>
          <input className="input" value={reason} maxLength={1000} data-focus onChange={(event) => setReason(event.target.value)} />
        </label>
        {problem && (problem.status === 401 ? <Refused problem={problem} /> : <Problem problem={problem} />)}
        <div className={css.actions}>
          <button type="button" className="button" onClick={onClose}>
            Keep it running
          </button>
          <button type="submit" className={`button ${css.stop}`} disabled={asking}>
            {asking ? "Asking…" : "Cancel execution"}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

/** What became of an execution, in a line, and where; `asked`: a cancel was asked for here. */
export function Outcome({ state, asked, onNode }: { state: ExecutionState; asked: boolean; onNode: (node: string) => void }) {
  const waits = state.status === "queued" && state.queued_at !== null ? Date.parse(state.queued_at) : undefined;
  const waited = useNow(waits !== undefined) - (waits ?? Infinity) > PATIENCE_MS;
  const said = outcome(state, asked) || (waited ? "It waits for a worker, or for its time." : "");
  const where = culpritOf(state);
  return (
    <p className={css.outcome} role="status" hidden={!said} data-status={state.status} title={said}>
      <span className={css.said}>{said}</span>
      {where !== undefined && (
        <button type="button" className={css.where} onClick={() => onNode(where)}>
          {state.status === "lost" ? "while in" : "in"} {where}
        </button>
      )}
    </p>
  );
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** So long a queue is no news. */
const PATIENCE_MS = 3000;

function outcome(state: ExecutionState, asked: boolean): string {
  const end = (state.end ?? {}) as Record<string, string | undefined>;
  if (state.status === "cancelling") return "It was asked to stop; what runs has yet to.";
  if (!hasEnded(state)) return asked ? "It was asked to stop." : "";
  if (state.status === "failed" && state.error) return `${state.error.type}: ${state.error.message}`.split("\n", 1)[0]!;
  if (state.status === "cancelled") return `Cancelled by ${end.by}${end.reason ? `: ${end.reason}` : ""}`;
  if (state.status === "lost") return sentence(end.reason ?? "its worker went silent");
  if (state.status === "timed_out") return `Stopped at its deadline of ${duration(Number(end.deadline_ms))}`;
  return asked ? `It ${state.status} before it could be stopped.` : "";
}
