// What the list says of an execution: its name and kind, where its log says them no more.
//
// The law of this file: it is asked only where the log cannot say it (retention took its beginning),
// and at most PAGES_MAX pages are read: who is not found in those stays without a name.
import type { Entry, TailraceClient } from "@tailrace/client";

const PAGE = 200; // the most that the server gives at once
const PAGES_MAX = 10;

/** The list's entry of an execution; undefined: it is not among the newest two thousand. */
export async function entryOf(client: Pick<TailraceClient, "list">, id: string, signal: AbortSignal): Promise<Entry | undefined> {
  let before: string | null = null;
  for (let page = 0; page < PAGES_MAX; page++) {
    const read: { executions: Entry[]; before: string | null } = await client.list({ limit: PAGE, ...(before ? { before } : {}) }, signal);
    const found = read.executions.find((one) => one.execution_id === id);
    if (found || read.before === null) return found;
    before = read.before;
  }
  return undefined;
}
