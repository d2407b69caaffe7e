// A tool's call in its place, and what else was said between texts.
//
// The law of this file: a card says by itself what was called, how it stands, how long it took, what
// went in and what came out; what is long is folded away and can be opened by keyboard.
import type { ErrorInfo, OutputSummary, TailraceEvent } from "@tailrace/client";
import { memo, useState } from "react";
import { problemFrom } from "../../data/hub.ts";
import { useClient } from "../../data/use.ts";
import { Mark, wordOf } from "../../parts/marks.tsx";
import { clock, duration, Duration, exactly } from "../../parts/time.tsx";
import type { Noted, Used } from "./compose.ts";
import { Json, preview } from "./json.tsx";
import css from "./cards.module.css";

/** A tool's call. `over`: the execution has ended, so no result comes any more. */
export const ToolCard = memo(function ToolCard({ used, over, execution }: { used: Used; over: boolean; execution: string }) {
  const { call, result } = used;
  const name = String(call.data.name);
  const error = result?.data.error as ErrorInfo | null | undefined;
  const status = result ? (error ? "failed" : "completed") : over ? "lost" : "running";
  const took = result?.data.duration_ms;
  return (
    <section className={css.card} aria-label={`Tool ${name}: ${over && !result ? "no result" : wordOf(status)}`} data-tool={name} data-status={status}>
      <header className={css.head}>
        <Mark status={status} />
        <strong className="clip">{name}</strong>
        <span className="muted">{over && !result ? "no result" : wordOf(status)}</span>
        <span className={css.took}>
          {typeof took === "number" ? <span className="number">{duration(took)}</span> : <Duration from={call.ts} to={result?.ts ?? (over ? call.ts : null)} />}
        </span>
      </header>
      <Fold label="Input" event={call} field="input" execution={execution} />
      {error ? (
        <div className={css.error} role="note" aria-label="Error">
          <strong>{error.type}</strong> {error.message}
        </div>
      ) : (
        result && <Fold label="Output" event={result} field="output" execution={execution} />
      )}
    </section>
  );
});

/** A value of an event: a line of it, and all of it when opened; what was put aside is asked for then. */
function Fold({ label, event, field, execution }: { label: string; event: TailraceEvent; field: string; execution: string }) {
  const [open, setOpen] = useState(false);
  const value = event.data[field];
  const summary = event.data[`${field}_summary`] as OutputSummary | undefined;
  if ((value === undefined || value === null) && !summary) return null;
  return (
    <details className={css.fold} onToggle={(toggled) => setOpen(toggled.currentTarget.open)}>
      <summary>
        <span className={css.label}>{label}</span>
        {!open && <code className="clip muted">{summary ? summary.preview : preview(value)}</code>}
      </summary>
      {open && (summary ? <Aside summary={summary} label={label} execution={execution} /> : <Json value={value} label={label} />)}
    </details>
  );
}

/** A value that was too large for its event. */
export function Aside({ summary, label, execution }: { summary: OutputSummary; label: string; execution: string }) {
  const client = useClient();
  const [value, setValue] = useState<{ json: unknown }>();
  const [said, say] = useState<string>();
  const digest = (summary as { digest?: string | null }).digest;
  const load = async () => {
    say("Loading …");
    try {
      setValue({ json: await client.payload(execution, digest!) });
    } catch (error) {
      const { message, hint } = problemFrom(error);
      say([message, hint].filter(Boolean).join(" "));
    }
  };
  if (value) return <Json value={value.json} label={label} />;
  return (
    <div className={css.aside}>
      <pre>{summary.preview}…</pre>
      {digest && (
        <button type="button" className="button" onClick={() => void load()}>
          Load all of it ({bytes(summary.size_bytes)})
        </button>
      )}
      <span role="status" className="muted">
        {said}
      </span>
    </div>
  );
}

/** A warning, or an event of the flow's own. */
export const Note = memo(function Note({ noted }: { noted: Noted }) {
  const { type, data } = noted.event;
  const ms = Date.parse(noted.event.ts);
  if (type === "warning") {
    return (
      <p className={css.note} data-type={type}>
        <span className={css.sign} aria-hidden>
          ▲
        </span>
        <strong>Warning</strong> <span>{String(data.message)}</span> <code className="muted">{String(data.code)}</code>
      </p>
    );
  }
  return (
    <p className={css.note} data-type={type}>
      <span className={css.bullet} aria-hidden />
      <strong>{type.replace(/^custom\./, "")}</strong>
      <code className="clip" title={JSON.stringify(data)}>
        {Object.entries(data).map(([key, value]) => `${key}=${preview(value, 60)}`).join("  ")}
      </code>
      <time className="muted number" dateTime={noted.event.ts} title={exactly(ms)}>
        {clock(ms).slice(0, 8)}
      </time>
    </p>
  );
});

/** A size: `312 B`, `64.0 kB`, `2.1 MB`. */
export function bytes(size: number): string {
  if (size < 1000) return `${size} B`;
  return size < 1e6 ? `${(size / 1000).toFixed(1)} kB` : `${(size / 1e6).toFixed(1)} MB`;
}
