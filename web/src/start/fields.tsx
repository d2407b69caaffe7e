// The fields of a form, as a schema has them.
//
// The law of this file: a field shows the part of the value at its path, hands up what it becomes,
// and says what is wrong with it where it is wrong.
import type { JsonSchema } from "@tailrace/client";
import { useId, useState, type ReactNode } from "react";
import { Draft, fieldOf, initial, type Fault, type Field, type Path } from "./schema.ts";
import css from "./start.module.css";

export interface FormContext {
  root: JsonSchema;
  faults: readonly Fault[];
  set: (path: Path, value: unknown) => void;
}

interface FieldProps {
  name: string;
  schema: JsonSchema;
  path: Path;
  value: unknown;
  required: boolean;
  form: FormContext;
}

export function FieldView({ name, schema, path, value, required, form }: FieldProps) {
  const field = fieldOf(schema, form.root, name, path.length);
  if (field.kind === "group") return <Group field={field} {...{ path, value, form }} />;
  if (field.kind === "list") return <List field={field} {...{ path, value, form, required }} />;
  return <Single field={field} {...{ path, value, form, required }} />;
}

interface Drawn<F extends Field = Field> {
  field: F;
  path: Path;
  value: unknown;
  form: FormContext;
}

/** The fields of an object; the outermost has no frame. */
export function Group({ field, path, value, form }: Drawn<Field & { kind: "group" }>) {
  const held = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const fields = field.fields.map(({ name, schema, required }) => (
    <FieldView key={name} name={name} schema={schema} path={[...path, name]} value={held[name]} required={required} form={form} />
  ));
  if (path.length === 0) return <>{fields}</>;
  const indexed = typeof path.at(-1) === "number";
  return (
    <fieldset className={css.group} data-field={path.join(".")}>
      {!indexed && <legend>{field.title}</legend>}
      {fields}
      <Faults path={path} form={form} />
    </fieldset>
  );
}

function List({ field, path, value, form, required }: Drawn<Field & { kind: "list" }> & { required: boolean }) {
  const list = Array.isArray(value) ? value : [];
  const without = (index: number) => form.set(path, list.filter((_, at) => at !== index));
  return (
    <fieldset className={css.list} data-field={path.join(".")}>
      <legend>
        {field.title}
        <Needed required={required && field.preset === undefined} />
      </legend>
      {field.description && <p className={css.help}>{field.description}</p>}
      {list.map((one, index) => (
        // A list has no names for its items; what is drawn of one is all in its value.
        <div key={index} className={css.item}>
          <span className={`${css.number} number`} aria-hidden>
            {index + 1}
          </span>
          <div className={css.itemBody}>
            <FieldView name={`${field.title} ${index + 1}`} schema={field.items} path={[...path, index]} value={one} required form={form} />
          </div>
          <button type="button" className="button bare" aria-label={`Remove ${field.title} ${index + 1}`} onClick={() => without(index)}>
            <svg viewBox="0 0 14 14" width="12" height="12" aria-hidden>
              <path d="M3 3l8 8M11 3l-8 8" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" />
            </svg>
          </button>
        </div>
      ))}
      <button
        type="button"
        className={`button ${css.add}`}
        onClick={() => form.set(path, [...list, initial(field.items, form.root) ?? emptyOf(field.items, form.root)])}
      >
        + Add to {field.title.toLowerCase()}
      </button>
      <Faults path={path} form={form} />
    </fieldset>
  );
}

/** One label, one control. */
function Single({ field, path, value, form, required }: Drawn & { required: boolean }) {
  const id = useId();
  const at = path.join(".");
  const bad = form.faults.some((fault) => fault.at === at);
  const indexed = typeof path.at(-1) === "number";
  const common = {
    id,
    "aria-invalid": bad || undefined,
    "aria-required": required || undefined,
    "aria-describedby": `${id}-help ${id}-faults`,
  };
  const control = <Control field={field} value={value} common={common} set={(next) => form.set(path, next)} />;
  if (field.kind === "switch") {
    return (
      <div className={css.field} data-field={at}>
        <span className={css.switch}>
          {control}
          <label htmlFor={id}>{field.title}</label>
        </span>
        <Help id={id} field={field} />
        <Faults path={path} form={form} id={`${id}-faults`} />
      </div>
    );
  }
  return (
    <div className={css.field} data-field={at}>
      <label htmlFor={id} className={indexed ? "unseen" : undefined}>
        {field.title}
        <Needed required={required && field.preset === undefined} />
        {field.kind === "json" && <span className={css.kind}>JSON</span>}
      </label>
      {control}
      <Help id={id} field={field} />
      <Faults path={path} form={form} id={`${id}-faults`} />
    </div>
  );
}

interface ControlProps {
  field: Field;
  value: unknown;
  common: { id: string };
  set: (value: unknown) => void;
}

function Control({ field, value, common, set }: ControlProps): ReactNode {
  const nothing = field.nullable ? null : undefined;
  switch (field.kind) {
    case "switch":
      return <input {...common} type="checkbox" checked={value === true} onChange={(event) => set(event.target.checked)} />;
    case "choice":
      return (
        <select
          {...common}
          className="input"
          value={field.options.findIndex((option) => option === value)}
          onChange={(event) => set(event.target.value === "-1" ? nothing : field.options[Number(event.target.value)])}
        >
          {(field.nullable || value === undefined || !field.options.includes(value)) && <option value={-1}>{field.nullable ? "none" : "Choose…"}</option>}
          {field.options.map((option, index) => (
            <option key={index} value={index}>
              {typeof option === "string" ? option : JSON.stringify(option)}
            </option>
          ))}
        </select>
      );
    case "number":
      return (
        <NumberInput field={field} {...{ value, common, set }} />
      );
    case "json":
      return <Json value={value} common={common} set={set} />;
    default:
      return <Text field={field as Field & { kind: "text" }} {...{ value, common, set }} />;
  }
}

/** A number as it is typed: "1." and "-" are on their way to one. */
function NumberInput({ field, value, common, set }: ControlProps & { field: Field & { kind: "number" } }) {
  const nothing = field.nullable ? null : undefined;
  const [typed, setTyped] = useState("");
  const shown = numberOf(typed, nothing) === value && typed !== "" ? typed : value === undefined || value === null ? "" : String(value);
  return (
    <input
      {...common}
      className="input number"
      inputMode={field.whole ? "numeric" : "decimal"}
      autoComplete="off"
      value={shown}
      placeholder={field.nullable ? "none" : ""}
      onChange={(event) => {
        setTyped(event.target.value);
        set(numberOf(event.target.value, nothing));
      }}
    />
  );
}

const TYPES: Record<string, string> = { "date-time": "datetime-local", date: "date", time: "time", email: "email", uri: "url" };

function Text({ field, value, common, set }: ControlProps & { field: Field & { kind: "text" } }) {
  const shown = value === undefined || value === null ? "" : String(value);
  // Nothing typed is nothing said, but where nothing is what it is by itself.
  const nothing = field.nullable ? null : field.preset === "" ? "" : undefined;
  if (field.long || shown.includes("\n")) {
    return <textarea {...common} className="input mono" rows={5} value={shown} onChange={(event) => set(event.target.value || nothing)} />;
  }
  const type = field.secret ? "password" : (TYPES[field.format] ?? "text");
  const moment = type === "datetime-local";
  return (
    <input
      {...common}
      className="input"
      type={type}
      step={moment || type === "time" ? 1 : undefined}
      autoComplete={field.secret ? "new-password" : "off"}
      spellCheck={false}
      placeholder={field.nullable ? "none" : ""}
      value={moment ? localOf(shown) : shown}
      onChange={(event) => set(event.target.value ? (moment ? new Date(event.target.value).toISOString() : event.target.value) : nothing)}
    />
  );
}

/** What no other field can hold. */
function Json({ value, common, set }: Omit<ControlProps, "field">) {
  const [text, setText] = useState(() => (value instanceof Draft ? value.text : value === undefined ? "" : JSON.stringify(value, null, 2)));
  return (
    <textarea
      {...common}
      className="input mono"
      rows={Math.min(8, Math.max(2, text.split("\n").length))}
      spellCheck={false}
      value={text}
      onChange={(event) => {
        setText(event.target.value);
        set(parsed(event.target.value));
      }}
    />
  );
}

/** JSON, or a draft of it; nothing is nothing. */
export function parsed(text: string): unknown {
  if (!text.trim()) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    return new Draft(text, (error as Error).message);
  }
}

function Help({ id, field }: { id: string; field: Field }) {
  return (
    <p id={`${id}-help`} className={css.help} hidden={!field.description && !(field.kind === "text" && field.secret)}>
      {[field.description, field.kind === "text" && field.secret && "Not kept in this browser."].filter(Boolean).join(" ")}
    </p>
  );
}

function Faults({ path, form, id }: { path: Path; form: FormContext; id?: string }) {
  const at = path.join(".");
  const own = form.faults.filter((fault) => fault.at === at);
  return (
    <p id={id} className={css.fault} hidden={own.length === 0}>
      {own.map((fault) => fault.message).join(". ")}
    </p>
  );
}

function Needed({ required }: { required: boolean }) {
  return required ? (
    <span className={css.needed} title="Needed" aria-hidden>
      *
    </span>
  ) : null;
}

/** A number, or the text that is none. */
function numberOf(text: string, nothing: null | undefined): unknown {
  const number = Number(text);
  return text.trim() === "" ? nothing : Number.isFinite(number) ? number : text;
}

function emptyOf(schema: JsonSchema, root: JsonSchema): unknown {
  return fieldOf(schema, root).kind === "text" ? "" : null;
}

function localOf(text: string): string {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return "";
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
