// A JSON value as rows that can be folded.
//
// The law of this file: pure; a row exists only where all above it are open, so a value of any size
// costs what is open of it.
export type Path = ReadonlyArray<string | number>;

export interface TreeRow {
  /** The path as text: unique in a value. */
  id: string;
  path: Path;
  depth: number;
  /** The name or index in what holds it; undefined: the value itself. */
  name: string | number | undefined;
  value: unknown;
  /** How many it holds; null: it holds nothing, ever. */
  size: number | null;
  open: boolean;
}

const IDENTIFIER = /^[A-Za-z_$][\w$]*$/;

/** A path as code reads it: `output.zones[3].name`. */
export function written(path: Path, root = "$"): string {
  return path.reduce<string>((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    return IDENTIFIER.test(part) ? `${text}.${part}` : `${text}[${JSON.stringify(part)}]`;
  }, root);
}

/** The rows of a value, of which these are open. */
export function rowsOf(value: unknown, open: ReadonlySet<string>): TreeRow[] {
  const rows: TreeRow[] = [];
  const walk = (one: unknown, path: Path, name: string | number | undefined) => {
    const id = written(path);
    const inside = childrenOf(one);
    const isOpen = inside !== null && open.has(id);
    rows.push({ id, path, depth: path.length, name, value: one, size: inside?.length ?? null, open: isOpen });
    if (isOpen) for (const [key, child] of inside) walk(child, [...path, key], key);
  };
  walk(value, [], undefined);
  return rows;
}

/** What to open at first: all of a small value, the outermost of a large one. */
export function openedAtFirst(value: unknown, most = 60): Set<string> {
  const open = new Set<string>();
  let level: Array<[Path, unknown]> = [[[], value]];
  let seen = 0;
  while (level.length > 0) {
    const next: Array<[Path, unknown]> = [];
    for (const [path, one] of level) for (const [key, child] of childrenOf(one) ?? []) next.push([[...path, key], child]);
    seen += next.length;
    if (next.length === 0 || (seen > most && open.size > 0)) break;
    for (const [path, one] of level) if (childrenOf(one) !== null) open.add(written(path));
    level = next;
  }
  return open;
}

/** How many a value holds at all depths, counted no further than needed. */
export function sizeOf(value: unknown, most: number): number {
  let count = 0;
  const walk = (one: unknown) => {
    for (const [, child] of childrenOf(one) ?? []) {
      if (++count >= most) return;
      walk(child);
    }
  };
  walk(value);
  return Math.min(count, most);
}

export interface Match {
  path: Path;
  id: string;
}

/** Where a text is, in names and in values; at most so many. */
export function found(value: unknown, wanted: string, most = 1000): Match[] {
  const text = wanted.toLowerCase();
  const matches: Match[] = [];
  if (!text) return matches;
  const walk = (one: unknown, path: Path, name: string) => {
    if (matches.length >= most) return;
    const inside = childrenOf(one);
    const here = inside === null ? String(one).toLowerCase().includes(text) : false;
    if (here || name.toLowerCase().includes(text)) matches.push({ path, id: written(path) });
    for (const [key, child] of inside ?? []) walk(child, [...path, key], String(key));
  };
  walk(value, [], "");
  return matches;
}

/** The ids of all that holds a path. */
export function above(path: Path): string[] {
  return path.map((_, length) => written(path.slice(0, length)));
}

function childrenOf(value: unknown): Array<[string | number, unknown]> | null {
  if (Array.isArray(value)) return value.map((one, index): [number, unknown] => [index, one]);
  return typeof value === "object" && value !== null ? Object.entries(value) : null;
}
