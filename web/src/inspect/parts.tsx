// What nodes, events and executions are shown with.
import type { OutputSummary, ErrorInfo } from "@tailrace/client";
import { useEffect, useState, type ReactNode } from "react";
import { problemFrom } from "../data/hub.ts";
import type { Problem as What } from "../data/protocol.ts";
import { useClient } from "../data/use.ts";
import { Copy, Problem } from "../parts/problem.tsx";
import css from "./inspect.module.css";
import { Json } from "./json.tsx";

/** A part with a title; `folded`: what few look at. */
export function Section({ title, note, folded = false, children }: { title: string; note?: ReactNode; folded?: boolean; children: ReactNode }) {
  const [shown, setShown] = useState(!folded);
  if (folded) {
    return (
      <details className={css.section} onToggle={(event) => setShown(event.currentTarget.open)}>
        <summary>{title}</summary>
        {shown && children}
      </details>
    );
  }
  return (
    <section className={css.section}>
      <h3>
        {title}
        {note && <span className={css.note}>{note}</span>}
      </h3>
      {children}
    </section>
  );
}

/** Names and values, in two columns. */
export function Facts({ facts }: { facts: ReadonlyArray<readonly [string, ReactNode]> }) {
  const said = facts.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return (
    <dl className={css.facts}>
      {said.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

/** An error: what it is, what it says, and where it came from, if its reporter told. */
export function Failure({ error, node, onNode }: { error: ErrorInfo; node?: string | undefined; onNode?: (node: string) => void }) {
  const trace = ["traceback", "stack", "stacktrace"].map((name) => error[name]).find((one) => typeof one === "string" && one);
  return (
    <div className={css.failure}>
      <div className={css.failureHead}>
        <strong>{error.type}</strong>
        <Copy text={`${error.type}: ${error.message}${trace ? `\n${String(trace)}` : ""}`} label="Copy the error" />
      </div>
      <p>{error.message}</p>
      {node && onNode && (
        <button type="button" className={css.from} onClick={() => onNode(node)}>
          in {node}
        </button>
      )}
      {typeof trace === "string" && (
        <details>
          <summary>Traceback</summary>
          <pre>{trace}</pre>
        </details>
      )}
    </div>
  );
}

/** A value of which the log may have only the beginning: the rest is fetched when it is asked for. */
export function Output({ id, summary, name }: { id: string; summary: OutputSummary; name: string }) {
  const client = useClient();
  const [whole, setWhole] = useState<{ of: string; value: unknown }>();
  const [problem, setProblem] = useState<What>();
  const { digest, preview } = summary;
  useEffect(() => setProblem(undefined), [digest]);
  if (digest && whole?.of === digest) return <Json key={digest} value={whole.value} name={name} />;
  if (!digest) {
    const value = read(preview);
    return value === undefined ? <pre className={css.pre}>{preview}</pre> : <Json key={preview} value={value} name={name} />;
  }
  const fetchIt = () =>
    client.payload(id, digest).then(
      (value) => setWhole({ of: digest, value }),
      (error: unknown) => setProblem(problemFrom(error)),
    );
  return (
    <div className={css.large}>
      <pre className={css.pre}>{preview}…</pre>
      {problem ? (
        <Problem problem={problem} />
      ) : (
        <button type="button" className="button" onClick={() => void fetchIt()}>
          Show all {bytes(summary.size_bytes)}
        </button>
      )}
    </div>
  );
}

/** A size as people read it. */
export function bytes(count: number): string {
  if (count < 1000) return `${count} B`;
  if (count < 1e6) return `${(count / 1000).toFixed(count < 10_000 ? 1 : 0)} kB`;
  return `${(count / 1e6).toFixed(1)} MB`;
}

function read(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
