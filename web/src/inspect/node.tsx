// One node, more closely: as it is at the position that is shown.
import type { ExecutionState, Try } from "@tailrace/client";
import { Mark, Status, wordOf } from "../parts/marks.tsx";
import { standing } from "../parts/standing.ts";
import { clock, day, Duration, duration, exactly } from "../parts/time.tsx";
import type { Selection } from "../panels/contract.ts";
import css from "./inspect.module.css";
import { Json } from "./json.tsx";
import { bytes, Facts, Failure, Output, Section } from "./parts.tsx";

interface NodeProps {
  state: ExecutionState;
  name: string;
  select: (selection: Selection) => void;
  onEvents: () => void;
}

export function NodeView({ state, name, select, onEvents }: NodeProps) {
  const node = state.nodes.get(name);
  const planned = state.graph?.nodes.find((one) => one.id === name);
  const waited = node?.queued_at && node.started_at ? Date.parse(node.started_at) - Date.parse(node.queued_at) : null;
  const summary = node?.output_summary;
  const into = state.graph?.edges.filter((edge) => edge.to === name && edge.param) ?? [];
  return (
    <>
      {planned?.summary && <p className="muted">{planned.summary}</p>}
      {node?.reason && <p className="muted">Skipped: {node.reason}</p>}
      <Facts
        facts={[
          ["Status", <Status status={standing(node?.status, state)} />],
          ["Ran for", node?.started_at ? <Duration from={node.started_at} to={node.ended_at ?? state.ended_at} /> : null],
          ["Waited", waited === null ? null : <span className="number">{duration(waited)}</span>],
          ["Started", node?.started_at && <Moment at={node.started_at} from={state.started_at} />],
          ["Ended", node?.ended_at && <Moment at={node.ended_at} from={state.started_at} />],
          ["Attempt", node && node.attempt > 1 ? String(node.attempt) : null],
          ["Items", node?.item_count?.toLocaleString("en") ?? null],
          ["Kind", planned?.kind],
          ["Last event", node ? <EventLink id={node.at} select={select} /> : null],
        ]}
      />
      {/* Of one that was tried again and did well, the tries below tell of the errors. */}
      {node?.error && node.status !== "completed" && <Failure error={node.error} />}
      {into.length > 0 && (
        <Section title="Input">
          <ul className={css.inputs}>
            {into.map((edge) => (
              <li key={`${edge.from}.${edge.param}`}>
                <Input edge={edge} state={state} select={select} />
              </li>
            ))}
          </ul>
        </Section>
      )}
      {summary && (
        <Section title="Output" note={bytes(summary.size_bytes)}>
          <Output id={state.execution_id} summary={summary} name={`output of ${name}`} />
        </Section>
      )}
      {node && node.tries.length > 0 && (
        <Section title={node.tries.length === 1 ? "Attempt" : "Attempts"}>
          <ol className={css.tries}>
            {node.tries.map((one) => (
              <Attempt key={`${one.attempt}-${one.started_at ?? one.queued_at}`} one={one} state={state} />
            ))}
          </ol>
        </Section>
      )}
      <button type="button" className={`button ${css.link}`} onClick={onEvents}>
        Events of {name}
      </button>
      {node && (
        <Section title="Raw" folded>
          <Json key={node.at} value={planned ? { state: node, plan: planned } : node} name={`state of ${name}`} />
        </Section>
      )}
    </>
  );
}

/** Where an argument comes from, and what it was. */
function Input({ edge, state, select }: { edge: { from: string; param?: string }; state: ExecutionState; select: NodeProps["select"] }) {
  const source = state.nodes.get(edge.from);
  const given = state.input as Record<string, unknown> | null;
  const isTrigger = state.graph?.nodes.find((one) => one.id === edge.from)?.kind === "trigger";
  const preview = isTrigger ? JSON.stringify(given?.[edge.param ?? ""] ?? given) : source?.output_summary?.preview;
  return (
    <>
      <code>{edge.param}</code>
      <span className="muted">
        {" from "}
        {isTrigger ? (
          "the input"
        ) : (
          <button type="button" className={css.from} onClick={() => select({ node: edge.from })}>
            {edge.from}
          </button>
        )}
      </span>
      <span className={`clip mono ${css.preview}`} title={preview}>
        {preview ?? "not there yet"}
      </span>
    </>
  );
}

function Attempt({ one, state }: { one: Try; state: ExecutionState }) {
  const waited = one.queued_at && one.started_at ? Date.parse(one.started_at) - Date.parse(one.queued_at) : 0;
  return (
    <li>
      <Mark status={standing(one.status, state)} alone />
      <span className="number">{one.attempt}</span>
      <span className="muted number">{one.started_at ? offset(one.started_at, state.started_at) : wordOf(standing("new", state))}</span>
      <Duration from={one.started_at ?? one.queued_at} to={one.ended_at ?? state.ended_at} />
      {waited >= 1 && <span className="muted">after {duration(waited)}</span>}
      {one.error && (
        <span className={css.why} title={one.error.message}>
          {one.error.type}: {one.error.message}
        </span>
      )}
    </li>
  );
}

/** A moment: on the clock, and since the start. */
export function Moment({ at, from }: { at: string; from: string | null }) {
  const ms = Date.parse(at);
  return (
    <time dateTime={at} className="number" title={`${exactly(ms)}\n${at}`}>
      {day(ms) && `${day(ms)}, `}
      {clock(ms)}
      {from && <span className="muted"> {offset(at, from)}</span>}
    </time>
  );
}

export function EventLink({ id, select }: { id: number; select: NodeProps["select"] }) {
  return (
    <button type="button" className={`${css.from} number`} onClick={() => select({ event: id })}>
      {id.toLocaleString("en")}
    </button>
  );
}

/** A time since the start. */
export function offset(at: string, from: string | null): string {
  if (!from) return "";
  const ms = Date.parse(at) - Date.parse(from);
  return `${ms < 0 ? "−" : "+"}${duration(Math.abs(ms))}`;
}

