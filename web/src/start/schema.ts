// What a form is made of: an input's JSON Schema, read.
//
// The law of this file: pure. A field is what can be drawn for a schema; what cannot is a field of
// JSON, so there is no schema without a form. It checks what a person can mend before anything is
// sent; the server checks all of it.
import type { JsonSchema } from "@tailrace/client";

export type Path = ReadonlyArray<string | number>;

/** What is wrong, and where: as the server says it (`parts.0.width`). */
export interface Fault {
  at: string;
  message: string;
}

/** Text that should be JSON, and is not yet. */
export class Draft {
  constructor(
    readonly text: string,
    readonly why: string,
  ) {}
}

interface Common {
  title: string;
  description: string;
  nullable: boolean;
  /** What it is if nothing is said; undefined: there is none. */
  preset: unknown;
  schema: JsonSchema;
}

export type Field = Common &
  (
    | { kind: "text"; format: string; secret: boolean; long: boolean }
    | { kind: "number"; whole: boolean }
    | { kind: "switch" }
    | { kind: "choice"; options: readonly unknown[] }
    | { kind: "list"; items: JsonSchema }
    | { kind: "group"; fields: ReadonlyArray<{ name: string; schema: JsonSchema; required: boolean }> }
    | { kind: "json" }
  );

const DEEPEST = 8;
const SECRET = /pass(word|wd|phrase|code)|^pass$|secret|token$|api[_-]?key|credential|private[_-]?key|authori[sz]ation|^auth$/i;

/** Whether a name says that its value is nobody else's business. */
export function isSecret(name: string, schema: JsonSchema = {}): boolean {
  return SECRET.test(name) || schema.format === "password" || schema.writeOnly === true;
}

/** What can be drawn for a schema. */
export function fieldOf(schema: JsonSchema, root: JsonSchema, name = "", depth = 0): Field {
  const { found, nullable } = resolved(schema, root);
  const type = found.type;
  const common: Common = {
    title: text(schema.title) || text(found.title) || name.replaceAll("_", " "),
    description: text(schema.description) || text(found.description),
    nullable,
    preset: schema.default !== undefined ? schema.default : found.default,
    schema: found,
  };
  if (Array.isArray(found.enum)) return { ...common, kind: "choice", options: found.enum };
  if (found.const !== undefined) return { ...common, kind: "choice", options: [found.const] };
  if (type === "string") {
    const long = typeof common.preset === "string" && common.preset.includes("\n");
    return { ...common, kind: "text", format: text(found.format), secret: isSecret(name, found), long };
  }
  if (type === "integer" || type === "number") return { ...common, kind: "number", whole: type === "integer" };
  if (type === "boolean") return { ...common, kind: nullable ? "choice" : "switch", options: [true, false] } as Field;
  if (depth < DEEPEST && type === "array" && isSchema(found.items)) return { ...common, kind: "list", items: found.items };
  if (depth < DEEPEST && isSchema(found.properties)) {
    const required = Array.isArray(found.required) ? found.required : [];
    const fields = Object.entries(found.properties as Record<string, JsonSchema>).map(([one, of]) => ({
      name: one,
      schema: of,
      required: required.includes(one),
    }));
    return { ...common, kind: "group", fields };
  }
  return { ...common, kind: "json" };
}

/** What a form begins with: what the schema presets, and nothing invented. */
export function initial(schema: JsonSchema, root: JsonSchema, depth = 0): unknown {
  const field = fieldOf(schema, root, "", depth);
  if (field.preset !== undefined) return structuredClone(field.preset);
  if (field.nullable) return null;
  if (field.kind === "list") return [];
  if (field.kind === "switch") return false;
  if (field.kind === "choice" && field.options.length === 1) return field.options[0];
  if (field.kind !== "group") return undefined;
  const made: Record<string, unknown> = {};
  for (const { name, schema: of, required } of field.fields) {
    const value = required || "default" in of ? initial(of, root, depth + 1) : undefined;
    if (value !== undefined) made[name] = value;
  }
  return made;
}

/** What is wrong with a value, as far as a form can tell. */
export function faults(schema: JsonSchema, root: JsonSchema, value: unknown, required = true, path: Path = []): Fault[] {
  const at = path.join(".");
  const no = (message: string) => [{ at, message }];
  if (value instanceof Draft) return no(`This is no JSON: ${value.why}`);
  const field = fieldOf(schema, root, String(path.at(-1) ?? ""), path.length);
  if (value === undefined) return required && field.preset === undefined ? no("This is needed") : [];
  if (value === null && field.nullable) return [];
  const of = field.schema;
  switch (field.kind) {
    case "number":
      if (typeof value !== "number") return no("This is no number");
      if (field.whole && !Number.isInteger(value)) return no("A whole number is needed");
      return limits(of, value).flatMap(no);
    case "text":
      if (typeof value !== "string") return no("This is no text");
      return lengths(of, value).flatMap(no);
    case "list": {
      if (!Array.isArray(value)) return no("This is no list");
      const size = counts(of, value.length).flatMap(no);
      return [...size, ...value.flatMap((one, index) => faults(field.items, root, one, true, [...path, index]))];
    }
    case "group":
      if (typeof value !== "object" || value === null) return no("This is no object");
      return field.fields.flatMap((one) =>
        faults(one.schema, root, (value as Record<string, unknown>)[one.name], one.required, [...path, one.name]),
      );
    default:
      return [];
  }
}

/** A value with one of its parts replaced; undefined takes the part away. */
export function replaced(value: unknown, path: Path, part: unknown): unknown {
  const [name, ...rest] = path;
  if (name === undefined) return part;
  if (typeof name === "number") {
    const list = Array.isArray(value) ? [...value] : [];
    list[name] = replaced(list[name], rest, part);
    return list;
  }
  const made = { ...(typeof value === "object" && value !== null ? value : {}) } as Record<string, unknown>;
  const next = replaced(made[name], rest, part);
  if (next === undefined) delete made[name];
  else made[name] = next;
  return made;
}

/** What a server's fault is at, of the fields that are drawn: the nearest that encloses it. */
export function nearest(at: string, drawn: ReadonlySet<string>): string {
  const parts = at.split(".");
  for (; parts.length > 0; parts.pop()) if (drawn.has(parts.join("."))) return parts.join(".");
  return "";
}

/** The paths of all fields that are drawn for a value. */
export function drawn(schema: JsonSchema, root: JsonSchema, value: unknown, path: Path = []): string[] {
  const field = fieldOf(schema, root, "", path.length);
  const here = path.length > 0 ? [path.join(".")] : [];
  if (field.kind === "list" && Array.isArray(value)) {
    return [...here, ...value.flatMap((one, index) => drawn(field.items, root, one, [...path, index]))];
  }
  if (field.kind === "group") {
    const held = (value ?? {}) as Record<string, unknown>;
    return [...here, ...field.fields.flatMap((one) => drawn(one.schema, root, held[one.name], [...path, one.name]))];
  }
  return here;
}

/** Follow `$ref`, and take `null` out of a choice of one thing or nothing. */
function resolved(schema: JsonSchema, root: JsonSchema): { found: JsonSchema; nullable: boolean } {
  let found = schema;
  let nullable = false;
  for (let steps = 0; steps < DEEPEST; steps++) {
    const ref = found.$ref;
    const only = Array.isArray(found.allOf) && found.allOf.length === 1 ? (found.allOf[0] as JsonSchema) : undefined;
    const choices = (found.anyOf ?? found.oneOf) as JsonSchema[] | undefined;
    const some = choices?.filter((one) => one.type !== "null");
    if (typeof ref === "string") found = pointed(root, ref);
    else if (only) found = only;
    else if (choices && some?.length === 1) {
      nullable ||= some.length < choices.length;
      found = some[0]!;
    } else break;
  }
  if (Array.isArray(found.type)) {
    const types = found.type.filter((type) => type !== "null");
    nullable ||= types.length < found.type.length;
    found = { ...found, type: types.length === 1 ? types[0] : undefined };
  }
  return { found, nullable };
}

function pointed(root: JsonSchema, ref: string): JsonSchema {
  let at: unknown = root;
  for (const part of ref.replace(/^#\/?/, "").split("/")) {
    at = (at as Record<string, unknown> | undefined)?.[part.replaceAll("~1", "/").replaceAll("~0", "~")];
  }
  return isSchema(at) ? at : {};
}

function limits(of: JsonSchema, value: number): string[] {
  const said: string[] = [];
  if (typeof of.minimum === "number" && value < of.minimum) said.push(`At least ${of.minimum}`);
  if (typeof of.maximum === "number" && value > of.maximum) said.push(`At most ${of.maximum}`);
  if (typeof of.exclusiveMinimum === "number" && value <= of.exclusiveMinimum) said.push(`More than ${of.exclusiveMinimum}`);
  if (typeof of.exclusiveMaximum === "number" && value >= of.exclusiveMaximum) said.push(`Less than ${of.exclusiveMaximum}`);
  return said;
}

function lengths(of: JsonSchema, value: string): string[] {
  const said: string[] = [];
  if (typeof of.minLength === "number" && value.length < of.minLength) said.push(`At least ${of.minLength} characters`);
  if (typeof of.maxLength === "number" && value.length > of.maxLength) said.push(`At most ${of.maxLength} characters`);
  if (typeof of.pattern === "string" && !fits(of.pattern, value)) said.push(`It has to match ${of.pattern}`);
  return said;
}

function counts(of: JsonSchema, length: number): string[] {
  if (typeof of.minItems === "number" && length < of.minItems) return [`At least ${of.minItems} of them`];
  if (typeof of.maxItems === "number" && length > of.maxItems) return [`At most ${of.maxItems} of them`];
  return [];
}

function fits(pattern: string, value: string): boolean {
  try {
    return new RegExp(pattern, "u").test(value);
  } catch {
    return true; // a pattern of another language: the server knows it
  }
}

function isSchema(found: unknown): found is JsonSchema {
  return typeof found === "object" && found !== null && !Array.isArray(found);
}

function text(found: unknown): string {
  return typeof found === "string" ? found : "";
}
