// Where things stand.
//
// The law of this file: positions are a pure function of what is asked, so the same graph always
// looks the same. What is learned keeps the place that it once had.
export const CARD = { width: 224, height: 60 } as const;
export const GAP = { across: 24, along: 40 } as const;

export interface Point {
  x: number;
  y: number;
}

export interface Box extends Point {
  width: number;
  height: number;
}

export type Direction = "TB" | "LR";

/** What is to be laid out. */
export interface Request {
  direction: Direction;
  cards: Array<{ id: string; parent: string | undefined }>;
  /** `tiled`: what is in it has an order, and no ranks. */
  regions: Array<{ id: string; parent: string | undefined; tiled: boolean }>;
  edges: Array<{ id: string; from: string; to: string; labelWidth: number }>;
}

/** Where it stands. Boxes by their upper left corner; edges by the points they go through. */
export interface Layout {
  direction: Direction;
  cards: Map<string, Point>;
  regions: Map<string, Box>;
  edges: Map<string, { points: Point[]; label: Point | undefined }>;
}

const COLUMNS = 6;

/**
 * Lay out what is learned, in the order of its coming: each below what it began after, in the same
 * column if that is free. What has a place in `kept` keeps it.
 */
export function grown(ids: readonly string[], edges: Request["edges"], kept: ReadonlyMap<string, Point>): Layout {
  const step = { x: CARD.width + GAP.across, y: CARD.height + GAP.along };
  const taken = new Set<string>();
  const made: Layout = { direction: "TB", cards: new Map(), regions: new Map(), edges: new Map() };
  const cause = new Map(edges.map((edge) => [edge.to, edge.from]));
  for (const id of ids) {
    let at = kept.get(id);
    if (!at) {
      const above = made.cards.get(cause.get(id) ?? "");
      let row = above ? Math.round(above.y / step.y) + 1 : 0;
      const first = above ? Math.round(above.x / step.x) : 0;
      let column: number | undefined;
      for (; column === undefined; row += column === undefined ? 1 : 0) {
        column = columnsFrom(first).find((one) => !taken.has(`${one},${row}`));
      }
      at = { x: column * step.x, y: row * step.y };
    }
    taken.add(`${Math.round(at.x / step.x)},${Math.round(at.y / step.y)}`);
    made.cards.set(id, at);
  }
  for (const { id, from, to } of edges) {
    const points = [port(made.cards.get(from)!, "TB", true), port(made.cards.get(to)!, "TB", false)];
    made.edges.set(id, { points, label: undefined });
  }
  return made;
}

/** Lay out cards and frames in rows, in their order; no edges. */
export function tiled(request: Pick<Request, "cards" | "regions">, columns: number): Layout {
  const made: Layout = { direction: "TB", cards: new Map(), regions: new Map(), edges: new Map() };
  const step = { x: CARD.width + GAP.across, y: CARD.height + GAP.across };
  let [column, y] = [0, 0];
  const newRow = () => {
    if (column > 0) y += step.y;
    column = 0;
  };
  const frames: Array<{ id: string; top: number }> = [];
  const leaveUpTo = (id: string | undefined) => {
    while (frames.length > 0 && frames.at(-1)!.id !== id) {
      newRow();
      const frame = frames.pop()!;
      const inset = 12 * (2 - Math.min(frames.length, 1));
      made.regions.set(frame.id, { x: -inset, y: frame.top, width: columns * step.x - GAP.across + 2 * inset, height: y - frame.top });
      y += GAP.across;
    }
  };
  const regions = new Map(request.regions.map((one) => [one.id, one]));
  const enter = (id: string | undefined): void => {
    if (id === undefined || frames.some((frame) => frame.id === id)) return leaveUpTo(id);
    const parent = regions.get(id)?.parent;
    enter(parent);
    newRow();
    frames.push({ id, top: y });
    y += 36;
  };
  for (const { id, parent } of request.cards) {
    enter(parent);
    made.cards.set(id, { x: column * step.x, y });
    column += 1;
    if (column === columns) newRow();
  }
  leaveUpTo(undefined);
  return made;
}

const MANY = 60;

/** The way that fits a room better: down, or to the right. */
export function directionFor(ranks: Iterable<number>, room: { width: number; height: number }): Direction {
  const sizes = new Map<number, number>();
  for (const rank of ranks) sizes.set(rank, (sizes.get(rank) ?? 0) + 1);
  const [deep, wide] = [sizes.size, Math.max(1, ...sizes.values())];
  const across = (size: number, n: number) => n * (size + GAP.across);
  const along = (size: number, n: number) => n * (size + GAP.along);
  const fit = (width: number, height: number) => Math.min(1, room.width / width, room.height / height);
  const down = fit(across(CARD.width, wide), along(CARD.height, deep));
  const right = fit(along(CARD.width, deep), across(CARD.height, wide));
  // Cards are wide: the ways between many of them take less room beside than above each other.
  return right > down * (deep * wide > MANY ? 0.6 : 1.15) ? "LR" : "TB";
}

/** A path through points that leaves and comes along the direction, and never turns sharply. */
export function curve(points: readonly Point[], direction: Direction): string {
  const [first, ...rest] = points;
  if (!first) return "";
  let path = `M${n(first.x)} ${n(first.y)}`;
  let before = first;
  for (const point of rest) {
    const [mx, my] = [(before.x + point.x) / 2, (before.y + point.y) / 2];
    path +=
      direction === "TB"
        ? `C${n(before.x)} ${n(my)} ${n(point.x)} ${n(my)} ${n(point.x)} ${n(point.y)}`
        : `C${n(mx)} ${n(before.y)} ${n(mx)} ${n(point.y)} ${n(point.x)} ${n(point.y)}`;
    before = point;
  }
  return path;
}

function columnsFrom(first: number): number[] {
  const all = Array.from({ length: COLUMNS }, (_, at) => at);
  return all.sort((a, b) => Math.abs(a - first) - Math.abs(b - first) || a - b);
}

/** Where edges leave a card, and come to it. */
export function port(corner: Point, direction: Direction, out: boolean): Point {
  return direction === "TB"
    ? { x: corner.x + CARD.width / 2, y: corner.y + (out ? CARD.height : 0) }
    : { x: corner.x + (out ? CARD.width : 0), y: corner.y + CARD.height / 2 };
}

function n(value: number): string {
  return String(Math.round(value * 10) / 10);
}
