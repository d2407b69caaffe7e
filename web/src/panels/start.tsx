// Starts a flow: a form made from its input's schema, or the same as JSON.
//
// The law of this file: there is one value; the form and the JSON are two views of it. What the
// server refuses is said at the field that it is about. A form that is made here and not by a
// library: those that make forms from schemas compile their checks with `eval`, which the page's
// policy forbids.
import { TailraceError, type AgentInfo, type Catalog, type FlowIR, type JsonSchema, type StartOptions } from "@tailrace/client";
import { flushSync } from "react-dom";
import { useContext, useEffect, useRef, useState, type FormEvent } from "react";
import { problemFrom } from "../data/hub.ts";
import type { Problem as What } from "../data/protocol.ts";
import { useClient } from "../data/use.ts";
import { WorkspaceContext } from "../data/workspace.ts";
import { Empty, Problem, Refused } from "../parts/problem.tsx";
import { FieldView, Group, parsed } from "../start/fields.tsx";
import { keep, kept } from "../start/memory.ts";
import { More, optionsOf, UNSET, type Chosen } from "../start/more.tsx";
import { Draft, drawn, faults, fieldOf, initial, nearest, replaced, type Fault, type Path } from "../start/schema.ts";
import { useParam } from "../url.ts";
import type { StartProps } from "./contract.ts";
import css from "../start/start.module.css";

interface Startable {
  name: string;
  kind: string;
  summary: string;
  schema: JsonSchema;
}

export default function Start({ again, onStarted, onClose }: StartProps) {
  const client = useClient();
  const [asked] = useParam("start");
  const [catalog, setCatalog] = useState<readonly Startable[]>();
  const [problem, setProblem] = useState<What>();
  const [chosen, setChosen] = useState<string>();
  useEffect(() => {
    client.catalog().then(
      (found) => setCatalog(startables(found)),
      (error: unknown) => setProblem(problemFrom(error)),
    );
  }, [client]);

  if (problem) return problem.status === 401 ? <Refused problem={problem} /> : <Problem problem={problem} />;
  if (!catalog) return <p className={css.loading}>Reading what can be started…</p>;
  if (catalog.length === 0) {
    return (
      <Empty title="This server has no flows" command="tailrace serve etl answer">
        Name the flows that it may run when you start it.
      </Empty>
    );
  }
  const wanted = chosen ?? again?.flow ?? asked;
  const found = catalog.find((one) => one.name === wanted);
  if (again && wanted === again.flow && !found) {
    return (
      <Empty title={`This server does not run ${again.flow}`} command={`tailrace serve ${again.flow}`}>
        Name it among the flows of a server on the same store.
      </Empty>
    );
  }
  const what = found ?? catalog[0]!;
  const picker = (
    <label className={css.flow}>
      Flow
      <select className="input" autoFocus value={what.name} onChange={(event) => setChosen(event.target.value)}>
        {["workflow", "agent", "task"].map((kind) => {
          const those = catalog.filter((one) => one.kind === kind);
          return those.length === 0 ? null : (
            <optgroup key={kind} label={`${kind}s`}>
              {those.map(({ name }) => (
                <option key={name}>{name}</option>
              ))}
            </optgroup>
          );
        })}
      </select>
      {what.summary && <span className={css.help}>{what.summary}</span>}
    </label>
  );
  return <Form key={what.name} what={what} again={what.name === again?.flow ? again : undefined} picker={picker} onStarted={onStarted} onClose={onClose} />;
}

interface FormProps extends StartProps {
  what: Startable;
  picker: React.ReactNode;
}

function Form({ what, again, picker, onStarted, onClose }: FormProps) {
  const client = useClient();
  const workspace = useContext(WorkspaceContext);
  const { schema } = what;
  const field = fieldOf(schema, schema);
  const last = useState(() => (again ? again.input : kept(workspace, what.name)))[0];
  const lacking = again && lackingOf(again.input);
  const [value, setValue] = useState<unknown>(() => beginning(schema, last));
  const [view, setView] = useState<"form" | "json">(field.kind === "group" ? "form" : "json");
  const [found, setFound] = useState<readonly Fault[]>([]);
  const [more, setMore] = useState<Chosen>(UNSET);
  const [sending, setSending] = useState(false);
  const [problem, setProblem] = useState<What>();
  const form = useRef<HTMLFormElement>(null);

  const told = (list: readonly Fault[]) => {
    // Drawn at once, so that the first of them can take the focus.
    flushSync(() => setFound(list));
    form.current?.querySelector<HTMLElement>("[aria-invalid='true']")?.focus();
  };
  const set = (path: Path, part: unknown) => {
    const at = path.join(".");
    setValue((before: unknown) => replaced(before, path, part));
    setFound((before) => before.filter((fault) => fault.at !== at && !fault.at.startsWith(`${at}.`)));
  };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setProblem(undefined);
    const wrong = faults(schema, schema, value);
    if (wrong.length > 0) return told(wrong);
    setSending(true);
    try {
      const options: StartOptions = optionsOf(more);
      const { execution_id } = await client.start(what.name, value, options);
      keep(workspace, what.name, value);
      onStarted(execution_id);
    } catch (error) {
      setSending(false);
      setProblem(problemFrom(error));
      const places = new Set(view === "form" ? drawn(schema, schema, value) : []);
      const said = error instanceof TailraceError ? error.problems : [];
      told(said.map(({ at, message }) => ({ at: nearest(at, places), message: places.size > 0 && nearest(at, places) === at ? message : `${at}: ${message}` })));
    }
  };

  const context = { root: schema, faults: found, set };
  const general = found.filter((fault) => fault.at === "");
  return (
    <form ref={form} className={css.form} noValidate onSubmit={(event) => void submit(event)} onKeyDown={(event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.current?.requestSubmit()}>
      <div className={css.body}>
        {picker}
        <div className={css.views} role="group" aria-label="Input as">
          {(["form", "json"] as const).map((one) => (
            <button
              key={one}
              type="button"
              aria-pressed={view === one}
              disabled={one === "form" && (value instanceof Draft || field.kind !== "group")}
              onClick={() => setView(one)}
            >
              {one === "form" ? "Form" : "JSON"}
            </button>
          ))}
          {last !== undefined && (
            <button
              type="button"
              className={css.reset}
              onClick={() => {
                setValue(initial(schema, schema));
                setFound([]);
              }}
            >
              Use the presets
            </button>
          )}
        </div>
        {view === "json" ? (
          <JsonView key={what.name} value={value} bad={found.length > 0} onChange={(next) => set([], next)} />
        ) : field.kind === "group" ? (
          field.fields.length === 0 ? (
            <p className="muted">It takes no input.</p>
          ) : (
            <Group field={field} path={[]} value={value} form={context} />
          )
        ) : (
          <FieldView name="input" schema={schema} path={[]} value={value} required form={context} />
        )}
        {(view === "json" ? found : general).map((fault) => (
          <p key={fault.at + fault.message} className={css.fault}>
            {view === "json" && fault.at ? `${fault.at}: ` : ""}
            {fault.message}
          </p>
        ))}
        {lacking && (
          <p className={css.fault} role="note">
            {lacking}
          </p>
        )}
        <More chosen={more} onChange={setMore} />
        {problem && (problem.status === 401 ? <Refused problem={problem} /> : <Problem problem={problem} />)}
      </div>
      <footer className={css.actions}>
        <span className={css.help}>
          <kbd>Ctrl</kbd> <kbd>Enter</kbd> starts it
        </span>
        <button type="button" className="button" onClick={onClose}>
          Close
        </button>
        <button type="submit" className="button primary" disabled={sending}>
          {sending ? "Starting…" : "Start"}
        </button>
      </footer>
    </form>
  );
}

function JsonView({ value, bad, onChange }: { value: unknown; bad: boolean; onChange: (value: unknown) => void }) {
  const [text, setText] = useState(() => (value instanceof Draft ? value.text : JSON.stringify(value ?? {}, replacer, 2)));
  return (
    <label className={css.field}>
      <span className="unseen">Input as JSON</span>
      <textarea
        className="input mono"
        rows={Math.min(18, Math.max(8, text.split("\n").length + 1))}
        spellCheck={false}
        aria-invalid={bad || undefined}
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          onChange(parsed(event.target.value));
        }}
      />
    </label>
  );
}

/** A draft inside a form is shown as the text that it is. */
function replacer(_: string, value: unknown): unknown {
  return value instanceof Draft ? value.text : value;
}

/** Whether the log has a mark in place of a secret: it is nothing to start with. */
function isRedacted(value: unknown): boolean {
  return JSON.stringify(value)?.includes("[redacted:") ?? false;
}

/** What of an input cannot be given again, if anything. */
function lackingOf(input: unknown): string | undefined {
  if (input === undefined) return "Its input was too large for this page: these are the presets.";
  const secret = Object.entries(input ?? {}).filter(([, value]) => isRedacted(value));
  return secret.length > 0 ? `Secrets are not kept. Fill in again: ${secret.map(([name]) => name).join(", ")}.` : undefined;
}

/** What was started with last, where that still fits; what the schema has beside it is preset. */
function beginning(schema: JsonSchema, last: unknown): unknown {
  const preset = initial(schema, schema);
  if (typeof last !== "object" || last === null || typeof preset !== "object" || preset === null) return preset;
  const field = fieldOf(schema, schema);
  const known = new Set(field.kind === "group" ? field.fields.map((one) => one.name) : Object.keys(last));
  const fitting = Object.entries(last).filter(([name, value]) => known.has(name) && !isRedacted(value));
  return { ...preset, ...Object.fromEntries(fitting) };
}

function startables(catalog: Catalog): Startable[] {
  const flows = catalog.flows.map((one: FlowIR) => ({
    name: one.name,
    kind: "workflow",
    summary: one.summary ?? "",
    schema: one.trigger.input_schema,
  }));
  const agents = catalog.agents.map((one: AgentInfo) => ({ name: one.name, kind: one.kind, summary: "", schema: one.input_schema }));
  return [...flows, ...agents];
}
