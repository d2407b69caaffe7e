// One event of the log, as it is.
import type { ErrorInfo, ExecutionState, OutputSummary, TailraceEvent } from "@tailrace/client";
import { useEffect, useState } from "react";
import { problemFrom } from "../data/hub.ts";
import type { Problem as What } from "../data/protocol.ts";
import { useClient } from "../data/use.ts";
import type { Selection } from "../panels/contract.ts";
import { Problem } from "../parts/problem.tsx";
import css from "./inspect.module.css";
import { Json } from "./json.tsx";
import { Moment } from "./node.tsx";
import { Facts, Failure, Output, Section } from "./parts.tsx";

interface EventProps {
  id: number;
  head: number;
  state: ExecutionState;
  executionId: string;
  position: number | null;
  seek: (position: number | null) => void;
  select: (selection: Selection) => void;
}

export function EventView({ id, head, state, executionId, position, seek, select }: EventProps) {
  const client = useClient();
  const [event, setEvent] = useState<TailraceEvent>();
  const [problem, setProblem] = useState<What>();
  const missing = id > head;
  useEffect(() => {
    const leave = new AbortController();
    setProblem(undefined);
    if (missing) return;
    client.events(executionId, { after: id - 1, limit: 1 }, leave.signal).then(
      ({ events }) => {
        const [found] = events;
        if (found?.id === id) setEvent(found);
        else setProblem({ code: "gap", message: `Event ${id} is no longer kept`, status: 410 });
      },
      (error: unknown) => !leave.signal.aborted && setProblem(problemFrom(error)),
    );
    return () => leave.abort();
  }, [client, executionId, id, missing]);

  const steps = (
    <div className={css.steps}>
      <button type="button" className="button" disabled={id <= 1} onClick={() => select({ event: id - 1 })}>
        Previous
      </button>
      <button type="button" className="button" disabled={id >= head} onClick={() => select({ event: id + 1 })}>
        Next
      </button>
      <button type="button" className="button" disabled={position === id || missing} onClick={() => seek(id)}>
        Show the page at it
      </button>
    </div>
  );
  if (problem) return <>{steps}<Problem problem={problem} /></>;
  if (missing) return <>{steps}<p className="muted">The log has {head.toLocaleString("en")} events so far.</p></>;
  if (!event || event.id !== id) return steps;
  const { error, output_summary: summary } = event.data as { error?: ErrorInfo; output_summary?: OutputSummary };
  const { node } = event;
  return (
    <>
      {steps}
      <Facts
        facts={[
          ["Event", <span className="number">{id.toLocaleString("en")}</span>],
          ["Time", <Moment at={event.ts} from={state.started_at} />],
          [
            "Node",
            node && (
              <button type="button" className={css.from} onClick={() => select({ node })}>
                {node}
              </button>
            ),
          ],
          ["Attempt", event.attempt && event.attempt > 1 ? String(event.attempt) : null],
        ]}
      />
      {error?.type && <Failure error={error} />}
      {summary?.digest && (
        <Section title="Output">
          <Output id={executionId} summary={summary} name={`output in event ${id}`} />
        </Section>
      )}
      <Section title="Data">
        <Json key={`data-${id}`} value={event.data} name={`data of event ${id}`} />
      </Section>
      <Section title="Raw" folded>
        <Json key={`raw-${id}`} value={event} name={`event ${id}`} />
      </Section>
    </>
  );
}
