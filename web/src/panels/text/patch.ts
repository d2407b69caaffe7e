// JSON Patch (RFC 6902) applied: how a structured output grows.
//
// The law of this file: a document is never changed but replaced, and what a patch does not touch is
// shared with the one before, so that what has not changed need not be drawn anew. Own code: the
// libraries there are change documents in place, or have not been kept.

export interface Operation {
  op: string;
  path: string;
  value?: unknown;
  from?: string;
}

/** A patch that does not fit its document. */
export class PatchError extends Error {
  override readonly name = "PatchError";
}

/** The document after a patch. Throws PatchError. */
export function patched(document: unknown, patch: readonly Operation[]): unknown {
  return patch.reduce((now, operation) => applied(now, operation), document);
}

function applied(document: unknown, operation: Operation): unknown {
  const { op, path, value, from } = operation;
  const way = wayOf(path);
  if (op === "add") return changed(document, way, value, true);
  if (op === "replace") return changed(document, way, value, false);
  if (op === "remove") return removed(document, way);
  if (op === "copy") return changed(document, way, at(document, wayOf(from ?? "")), true);
  if (op === "move") {
    const moved = at(document, wayOf(from ?? ""));
    return changed(removed(document, wayOf(from ?? "")), way, moved, true);
  }
  if (op === "test") {
    if (JSON.stringify(at(document, way)) !== JSON.stringify(value)) throw new PatchError(`test of ${path} fails`);
    return document;
  }
  throw new PatchError(`there is no operation ${op}`);
}

function wayOf(path: string): string[] {
  if (path === "") return [];
  if (!path.startsWith("/")) throw new PatchError(`${path} is no path`);
  return path.slice(1).split("/").map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function at(document: unknown, way: readonly string[]): unknown {
  return way.reduce((now, name) => childOf(now, name), document);
}

function childOf(parent: unknown, name: string): unknown {
  if (Array.isArray(parent)) return parent[placeIn(parent, name, parent.length - 1)];
  if (isObject(parent) && Object.hasOwn(parent, name)) return parent[name];
  throw new PatchError(`there is no ${name}`);
}

function changed(document: unknown, way: readonly string[], value: unknown, insert: boolean): unknown {
  const [name, ...rest] = way;
  if (name === undefined) return value;
  if (rest.length > 0) return withChild(document, name, changed(childOf(document, name), rest, value, insert));
  if (Array.isArray(document) && insert) {
    return document.toSpliced(placeIn(document, name, document.length), 0, value);
  }
  if (!insert) childOf(document, name); // it must be there
  return withChild(document, name, value);
}

function removed(document: unknown, way: readonly string[]): unknown {
  const [name, ...rest] = way;
  if (name === undefined) return null;
  if (rest.length > 0) return withChild(document, name, removed(childOf(document, name), rest));
  childOf(document, name);
  if (Array.isArray(document)) return document.toSpliced(Number(name), 1);
  return Object.fromEntries(Object.entries(document as object).filter(([key]) => key !== name));
}

function withChild(parent: unknown, name: string, value: unknown): unknown {
  if (Array.isArray(parent)) return parent.with(placeIn(parent, name, parent.length - 1), value);
  if (!isObject(parent)) throw new PatchError(`${name} is in nothing`);
  return { ...parent, [name]: value }; // computed: also of the name __proto__ it is an own property
}

function placeIn(list: readonly unknown[], name: string, most: number): number {
  const place = name === "-" ? list.length : /^(0|[1-9]\d*)$/.test(name) ? Number(name) : -1;
  if (place < 0 || place > most) throw new PatchError(`there is no ${name} in a list of ${list.length}`);
  return place;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
