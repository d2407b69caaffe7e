// A server in a test: it keeps logs, and answers as docs/wire.md says. Connections are cut where a
// test says so.
import type { TailraceEvent } from "../client/src/index.ts";

/** One answer's end: what is written comes at once. */
export class Connection {
  readonly url: URL;
  readonly headers: Headers;
  readonly #controller: ReadableStreamDefaultController<Uint8Array>;
  open = true;

  constructor(url: URL, headers: Headers, controller: ReadableStreamDefaultController<Uint8Array>) {
    [this.url, this.headers, this.#controller] = [url, headers, controller];
  }
  write(text: string): void {
    if (this.open) this.#controller.enqueue(new TextEncoder().encode(text));
  }
  close(): void {
    if (this.open) this.#controller.close();
    this.open = false;
  }
  /** As a connection that breaks. */
  cut(): void {
    if (this.open) this.#controller.error(new TypeError("network error"));
    this.open = false;
  }
}

/** What `fetch` does here, and what it was asked. */
export class Origin {
  /** Logs by execution id. */
  readonly logs = new Map<string, TailraceEvent[]>();
  readonly connections: Connection[] = [];
  /** Refusals to give first: a status and a problem document. */
  readonly refusals: Array<{ status: number; body?: unknown; headers?: Record<string, string> }> = [];
  epoch = "e1";
  /** The most streams that were open at a time. */
  most = 0;

  get open(): Connection[] {
    return this.connections.filter((one) => one.open);
  }

  /** Add events to a log, and tell who follows it. */
  add(id: string, ...types: Array<string | [string, Record<string, unknown>]>): void {
    const log = this.logs.get(id) ?? [];
    this.logs.set(id, log);
    for (const given of types) {
      const [type, data] = typeof given === "string" ? [given, {}] : given;
      const event = { id: log.length + 1, type, ts: "2026-01-01T00:00:00.000000Z", execution_id: id, data };
      log.push(event);
      for (const connection of this.open) this.#push(connection, event);
    }
  }

  readonly fetch = ((input: URL | string, init: RequestInit = {}): Promise<Response> => {
    const url = new URL(input);
    const refusal = this.refusals.shift();
    if (refusal) {
      const { status, body, headers } = refusal;
      if (status === 0) return Promise.reject(new TypeError("Failed to fetch"));
      return Promise.resolve(new Response(JSON.stringify(body ?? null), { status, headers: headers ?? {} }));
    }
    return Promise.resolve(this.#answer(url, new Headers(init.headers), init.signal ?? undefined));
  }) as typeof fetch;

  #answer(url: URL, headers: Headers, signal: AbortSignal | undefined): Response {
    const one = /executions\/([^/]+)\/stream$/.exec(url.pathname)?.[1];
    const ids = one ? [one] : url.searchParams.getAll("execution");
    const missing = ids.find((id) => !this.logs.has(id));
    if (missing) {
      const body = { code: "execution_not_found", detail: `There is no execution '${missing}' here`, retryable: false };
      return new Response(JSON.stringify(body), { status: 404 });
    }
    const asked = headers.get("last-event-id");
    const after = Number.parseInt(asked ?? "0", 10) || 0;
    const log = one ? this.logs.get(one)! : [];
    if (one && after > 0 && after === log.length && log.at(-1)!.type === "execution.completed") {
      return new Response(null, { status: 204 });
    }
    let connection: Connection | undefined;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        connection = new Connection(url, headers, controller);
        this.connections.push(connection);
        this.most = Math.max(this.most, this.open.length);
        this.#begin(connection, one, ids, after);
      },
      cancel: () => {
        connection!.open = false;
      },
    });
    signal?.addEventListener("abort", () => connection!.cut());
    return new Response(body, { headers: { "content-type": "text/event-stream; charset=utf-8" } });
  }

  #begin(connection: Connection, one: string | undefined, ids: string[], after: number): void {
    connection.write("retry: 1\n\n");
    const head = one ? this.logs.get(one)!.length : null;
    const open = { position: `${after}@${this.epoch}`, head, epoch: one ? this.epoch : null, resumed: after > 0 };
    connection.write(`event: stream.open\ndata: ${JSON.stringify({ id: null, type: "stream.open", data: open })}\n\n`);
    const tail = Number(connection.url.searchParams.get("tail") ?? Infinity);
    for (const id of ids) {
      const log = this.logs.get(id)!;
      for (const event of one ? log.slice(after) : log.slice(Math.max(0, log.length - tail))) {
        this.#push(connection, event);
      }
    }
    if (connection.url.searchParams.get("follow") === "false") connection.close();
  }

  #push(connection: Connection, event: TailraceEvent): void {
    const one = /executions\/([^/]+)\/stream$/.exec(connection.url.pathname)?.[1];
    const ids = one ? [one] : connection.url.searchParams.getAll("execution");
    if (!ids.includes(event.execution_id)) return;
    const id = one ? event.id : `9_1.${event.id}.abcd`;
    connection.write(`id: ${id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
    if (one && event.type === "execution.completed") connection.close();
  }
}

/** Wait until something is so; vitest's timeout is the limit. */
export async function until<T>(condition: () => T): Promise<T> {
  for (;;) {
    const found = condition();
    if (found) return found;
    await new Promise((wake) => setTimeout(wake, 1));
  }
}
