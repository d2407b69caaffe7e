// Which nodes the whole waited for.
//
// The law of this file: a pure function of edges and times. From what ended last back: each was held
// up by the one among its sources that ended last. Without edges, by what ended last before it began.

/** When a node was there, first to last. */
export interface Times {
  from: number;
  to: number;
}

export interface Way {
  from: string;
  to: string;
}

/** The path, from its first node to its last, and how long its nodes held up the whole. */
export interface Path {
  nodes: string[];
  ms: number;
}

/** The critical path. `ways` undefined: the graph is not known. */
export function criticalPath(times: ReadonlyMap<string, Times>, ways: readonly Way[] | undefined): Path {
  const sources = ways && sourcesOf(ways);
  const byEnd = sources ? undefined : [...times].sort((a, b) => a[1].to - b[1].to);
  let at = lastOf(times);
  const nodes: string[] = [];
  let ms = 0;
  let until = at === undefined ? 0 : times.get(at)!.to;
  const seen = new Set<string>();
  while (at !== undefined && !seen.has(at)) {
    seen.add(at);
    nodes.unshift(at);
    const own = times.get(at)!;
    const cause = sources ? latest(sources.get(at) ?? [], times, until) : before(byEnd!, at, own.from);
    // Of a stream's consumer only what came after the stream's end was its own.
    const from = cause === undefined ? own.from : Math.max(own.from, Math.min(times.get(cause)!.to, until));
    ms += Math.max(0, until - from);
    until = cause === undefined ? from : Math.min(times.get(cause)!.to, until);
    at = cause;
  }
  return { nodes, ms };
}

function sourcesOf(ways: readonly Way[]): Map<string, string[]> {
  const sources = new Map<string, string[]>();
  for (const { from, to } of ways) {
    const list = sources.get(to);
    if (list) list.push(from);
    else sources.set(to, [from]);
  }
  return sources;
}

function lastOf(times: ReadonlyMap<string, Times>): string | undefined {
  let best: [string, Times] | undefined;
  for (const one of times) {
    const isLater = !best || one[1].to > best[1].to || (one[1].to === best[1].to && one[1].from > best[1].from);
    if (isLater) best = one;
  }
  return best?.[0];
}

/** The source that ended last; what is still running while its consumer has ended held up nothing. */
function latest(ids: readonly string[], times: ReadonlyMap<string, Times>, until: number): string | undefined {
  let best: string | undefined;
  for (const id of ids) {
    const one = times.get(id);
    if (one && one.to <= until && (best === undefined || one.to > times.get(best)!.to)) best = id;
  }
  return best;
}

/** What ended last before a moment, of nodes in the order of their ends. */
function before(byEnd: ReadonlyArray<readonly [string, Times]>, own: string, moment: number): string | undefined {
  let [low, high] = [0, byEnd.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (byEnd[middle]![1].to <= moment) low = middle + 1;
    else high = middle;
  }
  for (let at = low - 1; at >= 0; at--) if (byEnd[at]![0] !== own) return byEnd[at]![0];
  return undefined;
}
