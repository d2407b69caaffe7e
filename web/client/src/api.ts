// The JSON resources of a server, typed.
//
// The law of this file: one method for each resource, no state but where the server is and who
// asks. What the server refuses is a TailraceError.
import type { FlowIR, JsonSchema } from "./ir.ts";
import { problemOf, unreachable } from "./errors.ts";
import type { TailraceEvent } from "./events.ts";
import { Follow, type FollowOptions } from "./follow.ts";

/** An execution as lists show it. */
export interface Entry {
  execution_id: string;
  workspace: string;
  kind: string;
  flow: string;
  status: string;
  created_at: string;
  updated_at: string;
  head: number;
  floor: number;
  bytes: number;
  ephemeral: boolean;
}

/** What can be started. */
export interface Catalog {
  version: string;
  flows: FlowIR[];
  agents: AgentInfo[];
  events: Array<{ type: string; terminal: boolean; control: boolean }>;
}

/** An agent or a task. */
export interface AgentInfo {
  name: string;
  kind: string;
  input_schema: JsonSchema;
  output_schema: JsonSchema | null;
}

/** Who asks, and what they may. */
export interface Session {
  /** Whether the server asks anybody who they are. */
  access: boolean;
  subject: string;
  workspaces: Record<string, string[]>;
  executions: Record<string, string[]>;
  [more: string]: unknown;
}

/** A page of events. */
export interface EventsPage {
  events: TailraceEvent[];
  position: string;
  head: number;
  ended: boolean;
  gap: { from: number; to: number; cause: string } | null;
}

/** What to start. */
export interface StartOptions {
  kind?: string;
  idempotency_key?: string;
  deadline_ms?: number;
  ephemeral?: boolean;
  /** Which of those that wait for a worker goes first. */
  priority?: "low" | "normal" | "high";
  /** Not before this moment (RFC 3339); needs workers. */
  start_at?: string;
}

/** A server. */
export class TailraceClient {
  readonly base: string;
  readonly workspace: string;
  readonly #token: (() => string | undefined) | undefined;
  readonly #fetch: typeof fetch;

  /** `base`: where the server is mounted, such as `http://127.0.0.1:8787` or `…/live`. */
  constructor(
    base: string | URL,
    options: {
      workspace?: string;
      token?: string | (() => string | undefined);
      fetch?: typeof fetch;
    } = {},
  ) {
    this.base = new URL(base).href.replace(/\/$/, "");
    this.workspace = options.workspace ?? "default";
    const { token } = options;
    this.#token = typeof token === "string" ? () => token : token;
    this.#fetch = options.fetch ?? ((...given) => fetch(...given));
  }

  /** The URL of something of the API. */
  url(...parts: string[]): string {
    return [`${this.base}/api/v1`, ...parts.map(encodeURIComponent)].join("/");
  }

  /** The URL of something in the workspace. */
  in(...parts: string[]): string {
    return this.url("workspaces", this.workspace, ...parts);
  }

  /** Follow an execution from the beginning, or a position, to its end. */
  follow(executionId: string, options: FollowOptions = {}): Follow {
    return this.#follow(this.in("executions", executionId, "stream"), options);
  }

  /** Follow many on one connection: these, or all that run and come. */
  followMany(executionIds: readonly string[] = [], options: FollowOptions = {}): Follow {
    const query = { ...options.query, execution: executionIds };
    return this.#follow(this.in("stream"), { ...options, query, many: true });
  }

  /** A page of executions, newest first. */
  list(
    query: { limit?: number; before?: string; status?: string } = {},
    signal?: AbortSignal,
  ): Promise<{ executions: Entry[]; before: string | null }> {
    const url = new URL(this.in("executions"));
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return this.#json("GET", url.href, undefined, signal);
  }

  /** One execution with its nodes, as the server folds it: all of it, or up to the event `at`. */
  get(executionId: string, at?: number, signal?: AbortSignal): Promise<Record<string, unknown>> {
    const url = this.in("executions", executionId);
    return this.#json("GET", at === undefined ? url : `${url}?at=${at}`, undefined, signal);
  }

  /** Start a flow, an agent or a task. */
  start(flow: string, input: unknown, options: StartOptions = {}): Promise<Entry> {
    return this.#json("POST", this.in("executions"), { flow, input, ...options });
  }

  /** Stop an execution. */
  cancel(executionId: string, reason?: string): Promise<Entry> {
    return this.#json("POST", this.in("executions", executionId, "cancel"), { reason });
  }

  /** A page of events after a position. */
  events(
    executionId: string,
    query: { after?: string | number; limit?: number } = {},
    signal?: AbortSignal,
  ): Promise<EventsPage> {
    const url = new URL(this.in("executions", executionId, "events"));
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    return this.#json("GET", url.href, undefined, signal);
  }

  /** A value that was too large for its event, by the digest in its summary. */
  payload(executionId: string, digest: string): Promise<unknown> {
    return this.#json("GET", this.in("executions", executionId, "payloads", digest));
  }

  /** What can be started here. */
  catalog(): Promise<Catalog> {
    return this.#json("GET", this.url("catalog"));
  }

  /** Who asks. */
  session(): Promise<Session> {
    return this.#json("GET", this.url("session"));
  }

  /** Begin a browser's session with a key or a token: from here on its cookie says who asks. */
  async login(token: string): Promise<void> {
    await this.#json("POST", this.url("session"), undefined, undefined, token);
  }

  /** End the browser's session, and its streams. */
  async logout(): Promise<void> {
    await this.#json("DELETE", this.url("session"));
  }

  #follow(url: string, options: FollowOptions): Follow {
    const headers = () => ({ ...this.#who(), ...options.headers?.() });
    return new Follow(url, { fetch: this.#fetch, ...options, headers });
  }

  #who(token = this.#token?.()): Record<string, string> {
    return token ? { Authorization: `Bearer ${token}` } : {};
  }

  async #json<T>(
    method: string,
    url: string,
    body?: unknown,
    signal?: AbortSignal,
    token?: string,
  ): Promise<T> {
    const headers = token === undefined ? this.#who() : this.#who(token);
    if (body !== undefined) headers["Content-Type"] = "application/json";
    let answer: Response;
    try {
      answer = await this.#fetch(url, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        signal: signal ?? null,
      });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw unreachable(url, error);
    }
    if (!answer.ok) throw await problemOf(answer);
    return (answer.status === 204 ? undefined : await answer.json()) as T;
  }
}
