// What is selected, more closely: a node, an event, or else the execution itself.
//
// The law of this file: it shows the position that the page shows. What the store has is not asked
// for again; what is large, and events as they are, are fetched when somebody wants them.
import { hasEnded, toDict, type OutputSummary } from "@tailrace/client";
import { useEffect } from "react";
import { EventView } from "../inspect/event.tsx";
import css from "../inspect/inspect.module.css";
import { Json } from "../inspect/json.tsx";
import { Moment, NodeView } from "../inspect/node.tsx";
import { bytes, Facts, Failure, Output, Section } from "../inspect/parts.tsx";
import { Status, wordOf } from "../parts/marks.tsx";
import { culpritOf, standing } from "../parts/standing.ts";
import { Duration, duration, tookOf } from "../parts/time.tsx";
import { useSetParams } from "../url.ts";
import type { PanelProps } from "./contract.ts";

export default function Inspector({ store, state, position, seek, selection, select }: PanelProps) {
  const setParams = useSetParams();
  const { node, event } = selection;
  const open = node !== undefined || event !== undefined;
  useEffect(() => {
    if (!open) return;
    // Anywhere: what was pressed to get here may be gone, and the focus with it.
    const pressed = (key: KeyboardEvent) => {
      const at = key.target as HTMLElement;
      if (key.key === "Escape" && !key.defaultPrevented && !at.closest("dialog, input, textarea, select")) select({});
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [open, select]);
  const title = event !== undefined ? `Event ${event.toLocaleString("en")}` : node;
  if (title === undefined) return <Whole store={store} state={state} select={select} />;
  return (
    <div className={css.inspector} data-open>
      <header>
        <h2 className="clip" title={title}>
          {title}
        </h2>
        <button type="button" className="button bare" onClick={() => select({})} aria-label="Close">
          <svg viewBox="0 0 14 14" width="12" height="12" aria-hidden>
            <path d="M2.5 2.5l9 9M11.5 2.5l-9 9" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" />
          </svg>
        </button>
      </header>
      {event !== undefined ? (
        <EventView id={event} head={store.live.head} executionId={store.id} {...{ state, position, seek, select }} />
      ) : (
        <NodeView
          state={state}
          name={node!}
          select={select}
          onEvents={() => setParams({ panel: "events", of: node }, true)}
        />
      )}
    </div>
  );
}

function Whole({ store, state, select }: Pick<PanelProps, "store" | "state" | "select">) {
  const took = tookOf(state);
  const waited = state.queued_at && state.started_at ? Date.parse(state.started_at) - Date.parse(state.queued_at) : 0;
  const queued = state.started_at === null ? state.queued_at : null; // while it waits, since when
  const counts = new Map<string, number>();
  for (const node of state.nodes.values()) {
    const status = standing(node.status, state);
    counts.set(status, (counts.get(status) ?? 0) + 1);
  }
  const large = (state.end as { output_summary?: OutputSummary } | null)?.output_summary;
  return (
    <div className={css.inspector}>
      <header>
        <h2>Execution</h2>
      </header>
      <Facts
        facts={[
          ["Status", <Status status={store.statusOf(state)} />],
          ["Ran for", state.started_at ? <Duration from={state.started_at} to={state.ended_at} /> : took === undefined ? null : <span className="number">{duration(took)}</span>],
          ["Waited", waited >= 1 ? <span className="number">{duration(waited)}</span> : null],
          ["Queued", queued && <Moment at={queued} from={null} />],
          ["Started", state.started_at && <Moment at={state.started_at} from={null} />],
          ["Ended", state.ended_at && <Moment at={state.ended_at} from={null} />],
          ["Nodes", [...counts].map(([status, count]) => `${count} ${wordOf(status)}`).join(", ")],
          ["Items", state.item_count > 0 ? state.item_count.toLocaleString("en") : null],
        ]}
      />
      {state.error && <Failure error={state.error} node={culpritOf(state)} onNode={(node) => select({ node })} />}
      {state.input !== null && (
        <Section title="Input">
          <Json key={state.execution_id} value={state.input} name="input" />
        </Section>
      )}
      {large ? (
        <Section title="Output" note={bytes(large.size_bytes)}>
          <Output id={state.execution_id} summary={large} name="output" />
        </Section>
      ) : (
        state.output !== null && (
          <Section title="Output">
            <Json key={`${state.execution_id}-${state.head}`} value={state.output} name="output" />
          </Section>
        )
      )}
      {hasEnded(state) && (
        <Section title="Raw" folded>
          <Json key={`${state.execution_id}-${state.head}`} value={toDict(state)} name="execution" />
        </Section>
      )}
    </div>
  );
}
