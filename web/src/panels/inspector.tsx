// One node, or the whole execution, more closely. First version.
import { Status } from "../parts/marks.tsx";
import { Duration } from "../parts/time.tsx";
import type { PanelProps } from "./contract.ts";
import css from "./panels.module.css";

export default function Inspector({ state, selection, select }: PanelProps) {
  const node = selection.node === undefined ? undefined : state.nodes.get(selection.node);
  const planned = state.graph?.nodes.find((one) => one.id === selection.node);
  if (selection.node !== undefined) {
    return (
      <div className={css.inspector}>
        <header>
          <h2>{selection.node}</h2>
          <button type="button" className="button bare" onClick={() => select({})} aria-label="Close">
            ✕
          </button>
        </header>
        <Status status={node?.status ?? "new"} />
        {planned?.summary && <p className="muted">{planned.summary}</p>}
        {node?.error && <Failure error={node.error} />}
        {node?.output_summary && (
          <Section title="Output">
            <pre>{node.output_summary.preview}</pre>
          </Section>
        )}
        {node && node.tries.length > 0 && (
          <Section title="Tries">
            <ol>
              {node.tries.map((one) => (
                <li key={one.attempt} className={css.try}>
                  <Status status={one.status} />
                  <Duration from={one.started_at} to={one.ended_at} />
                </li>
              ))}
            </ol>
          </Section>
        )}
      </div>
    );
  }
  return (
    <div className={css.inspector}>
      <header>
        <h2>Execution</h2>
      </header>
      {state.error && <Failure error={state.error} />}
      <Section title="Input">
        <pre>{JSON.stringify(state.input, null, 2)}</pre>
      </Section>
      {state.output !== null && (
        <Section title="Output">
          <pre>{JSON.stringify(state.output, null, 2)}</pre>
        </Section>
      )}
    </div>
  );
}

function Section({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <section>
      <h3>{title}</h3>
      {children}
    </section>
  );
}

function Failure({ error }: { error: { type: string; message: string } }) {
  return (
    <div className={css.failure}>
      <strong>{error.type}</strong>
      <p>{error.message}</p>
    </div>
  );
}
