// Made by docs/generate.py from `tailrace.events` and `tailrace.lifecycle`;
// change it there.

/** What a value looks like, in place of the value: a node's output, or one that is large.

`altered: true` beside these says that the value itself was another: something in it was
redacted, or JSON has not its type. */
export interface OutputSummary {
  /** The keys, when it is an object. */
  keys?: Array<string>;
  /** Its size as JSON. */
  size_bytes: number;
  /** The beginning of its JSON. */
  preview: string;
  /** Where the preview is not all: fetch it by this (`…/payloads/`). */
  digest?: string | null;
  [more: string]: unknown;
}

/** Why something failed, without a stack trace. */
export interface ErrorInfo {
  /** The exception's class name, or a stable code. */
  type: string;
  /** What a person should read. */
  message: string;
  /** The node it came from. */
  node?: string | null;
  [more: string]: unknown;
}

/** The execution exists; the first event of every log. */
export interface ExecutionQueued {
  /** `workflow`, `agent`, `task` or `workload`. */
  kind: string;
  /** The flow's name, or the command's. */
  flow: string;
  /** The workspace that owns it. */
  workspace?: string;
  /** The input, as validated. */
  input?: unknown;
  /** The flow's IR. */
  graph?: Record<string, unknown> | null;
  /** JSON Schema of an agent's or task's output; text without one. */
  output_schema?: Record<string, unknown> | null;
  /** The time it may take in all. */
  deadline_ms?: number | null;
  /** Of one that an engine outside reports: the silence after which it is lost. */
  lease_ms?: number | null;
  /** The trace that started it (W3C Trace Context). */
  traceparent?: string | null;
  /** It is removed soon after its end. */
  ephemeral?: boolean;
  [more: string]: unknown;
}

/** A worker began to run it. */
export interface ExecutionStarted {
  /** Which worker: host and process id. */
  worker: string;
  [more: string]: unknown;
}

/** How far it is, as far as it knows. */
export interface ExecutionProgress {
  /** 0 to 100. */
  percent?: number | null;
  /** What it is doing. */
  message?: string | null;
  /** Its guess of the time left. */
  eta_ms?: number | null;
  [more: string]: unknown;
}

/** Somebody asked for a cancel; the worker has yet to stop. */
export interface ExecutionCancelling {
  /** Who asked. */
  by: string;
  /** Why. */
  reason?: string | null;
  [more: string]: unknown;
}

/** It ended well. */
export interface ExecutionCompleted {
  /** The capture's output; null when it streamed. */
  output?: unknown;
  /** From started to the end. */
  total_duration_ms: number;
  /** Nodes that completed. */
  node_count?: number;
  /** Values a streaming capture gave. */
  item_count?: number | null;
  /** In place of an output that is too large for an event. */
  output_summary?: OutputSummary | null;
  [more: string]: unknown;
}

/** It ended with an error. */
export interface ExecutionFailed {
  error: ErrorInfo;
  /** From started to the end. */
  total_duration_ms?: number;
  /** A command's exit status. */
  exit_status?: number | null;
  [more: string]: unknown;
}

/** It was stopped on purpose. */
export interface ExecutionCancelled {
  /** Who stopped it. */
  by: string;
  /** Why. */
  reason?: string | null;
  /** From started to the end. */
  total_duration_ms?: number;
  [more: string]: unknown;
}

/** It passed its deadline and was stopped. */
export interface ExecutionTimedOut {
  /** The deadline it had. */
  deadline_ms: number;
  /** From started to the end. */
  total_duration_ms?: number;
  [more: string]: unknown;
}

/** Its worker died or went silent past its lease; written by another process. */
export interface ExecutionLost {
  /** What is known of the end. */
  reason: string;
  /** When its lease ran out. */
  last_seen?: string | null;
  [more: string]: unknown;
}

/** Its inputs are there; it waits for a place to run. */
export interface NodeQueued {
  /** RFC 3339. */
  queued_at?: string | null;
  [more: string]: unknown;
}

/** It runs. */
export interface NodeStarted {
  /** RFC 3339. */
  started_at?: string | null;
  [more: string]: unknown;
}

/** How far the node is. */
export interface NodeProgress {
  /** 0 to 100. */
  percent?: number | null;
  /** What it is doing. */
  message?: string | null;
  [more: string]: unknown;
}

/** It ended well. */
export interface NodeCompleted {
  /** From its start to its end. */
  duration_ms: number;
  /** What it gave. */
  output_summary?: OutputSummary | null;
  /** Values a streaming node gave. */
  item_count?: number | null;
  /** RFC 3339. */
  completed_at?: string | null;
  [more: string]: unknown;
}

/** It raised. */
export interface NodeFailed {
  error: ErrorInfo;
  /** From its start to its end. */
  duration_ms?: number;
  /** RFC 3339. */
  failed_at?: string | null;
  [more: string]: unknown;
}

/** It failed and will be tried again. */
export interface NodeRetrying {
  error: ErrorInfo;
  /** The wait before the next attempt. */
  delay_ms?: number;
  [more: string]: unknown;
}

/** It will not run. */
export interface NodeSkipped {
  /** Why not. */
  reason: string;
  [more: string]: unknown;
}

/** It was stopped while it ran. */
export interface NodeCancelled {
  /** From its start to its end. */
  duration_ms?: number;
  [more: string]: unknown;
}

/** One value of a streaming capture. */
export interface OutputItem {
  /** 0, 1, 2 … */
  index: number;
  /** The value. */
  value: unknown;
  [more: string]: unknown;
}

/** A piece of generated text. */
export interface LlmChunk {
  /** The piece; concatenated, the pieces are the text. */
  text: string;
  /** Code points of the text before this piece. */
  offset: number;
  [more: string]: unknown;
}

/** Tokens used. */
export interface LlmUsage {
  input_tokens?: number | null;
  output_tokens?: number | null;
  [more: string]: unknown;
}

/** An agent calls a tool. */
export interface ToolCall {
  /** Joins the call and its result. */
  call_id: string;
  /** The tool. */
  name: string;
  /** Redacted. */
  input?: unknown;
  [more: string]: unknown;
}

/** A tool answered. */
export interface ToolResult {
  /** Joins the call and its result. */
  call_id: string;
  /** The tool. */
  name: string;
  /** Redacted. */
  output?: unknown;
  error?: ErrorInfo | null;
  /** From call to answer. */
  duration_ms?: number;
  [more: string]: unknown;
}

/** A change to a structured output under construction. */
export interface StructuredDelta {
  /** JSON Patch, RFC 6902. */
  patch: Array<Record<string, unknown>>;
  [more: string]: unknown;
}

/** One line of a log. */
export interface LogLine {
  /** The line, without its line break. */
  line: string;
  /** `debug`, `info`, `warning` or `error`; `critical`, `fatal`, `warn` and `trace` count as the nearest. */
  level?: string;
  /** `stdout`, `stderr` or a logger's name. */
  source: string;
  /** The line was longer and was cut. */
  truncated?: boolean | null;
  [more: string]: unknown;
}

/** Nothing more comes from this source. */
export interface LogSealed {
  /** `stdout`, `stderr` or a logger's name. */
  source: string;
  [more: string]: unknown;
}

/** Something a person should know; the execution goes on. */
export interface WarningEvent {
  /** A stable name. */
  code: string;
  /** What a person should read. */
  message: string;
  [more: string]: unknown;
}

/** Events are missing from here: said, never silent. */
export interface StreamGap {
  /** The first missing id; without an execution, in a stream of many, the number of the first missing execution. */
  from: number;
  /** The last missing id. */
  to: number;
  /** `retention`: trimmed or removed. `lost`: the log was lost or re-created. */
  cause: string;
  [more: string]: unknown;
}

/** The first frame of every stream: where the watcher stands. */
export interface StreamOpen {
  /** The execution, of a stream of one. */
  execution_id?: string | null;
  /** The workspace, of a stream of many. */
  workspace?: string | null;
  /** How many such a stream begins with. */
  executions?: number | null;
  /** The execution's status now. */
  status?: string | null;
  /** Where this stream starts, exclusive. */
  position: string;
  /** The newest id now. */
  head?: number | null;
  /** The life of this log; another epoch is another log. */
  epoch?: string | null;
  /** The client named a position and the log could serve it. */
  resumed: boolean;
  /** As in stream.gap, if one follows. */
  gap?: Record<string, unknown> | null;
  [more: string]: unknown;
}

/** The server is about to end this stream; the execution goes on. */
export interface StreamClosing {
  /** `lifetime`, `shutdown`, `lost` (a gap follows when you resume), or of the credential: `expired` or `revoked`. */
  reason: string;
  /** Reconnect after about this long. */
  retry_ms: number;
  [more: string]: unknown;
}

/** The stream is alive; sent with `?heartbeat=event`. */
export interface Heartbeat {
  [more: string]: unknown;
}

/** What each type of event says. */
export interface Payloads {
  "execution.queued": ExecutionQueued;
  "execution.started": ExecutionStarted;
  "execution.progress": ExecutionProgress;
  "execution.cancelling": ExecutionCancelling;
  "execution.completed": ExecutionCompleted;
  "execution.failed": ExecutionFailed;
  "execution.cancelled": ExecutionCancelled;
  "execution.timed_out": ExecutionTimedOut;
  "execution.lost": ExecutionLost;
  "node.queued": NodeQueued;
  "node.started": NodeStarted;
  "node.progress": NodeProgress;
  "node.completed": NodeCompleted;
  "node.failed": NodeFailed;
  "node.retrying": NodeRetrying;
  "node.skipped": NodeSkipped;
  "node.cancelled": NodeCancelled;
  "output.item": OutputItem;
  "llm.chunk": LlmChunk;
  "llm.usage": LlmUsage;
  "tool.call": ToolCall;
  "tool.result": ToolResult;
  "structured.delta": StructuredDelta;
  "log.line": LogLine;
  "log.sealed": LogSealed;
  "warning": WarningEvent;
  "stream.gap": StreamGap;
  "stream.open": StreamOpen;
  "stream.closing": StreamClosing;
  "heartbeat": Heartbeat;
}

/** A type of the catalog; yours are `custom.<name>`. */
export type EventType = keyof Payloads;

/** The types that end an execution. */
export const TERMINAL: ReadonlySet<string> = new Set(["execution.completed", "execution.failed", "execution.cancelled", "execution.timed_out", "execution.lost"]);

/** The types that are of a stream: without an id, in no log. */
export const CONTROL: ReadonlySet<string> = new Set(["stream.gap", "stream.open", "stream.closing", "heartbeat"]);

/** The life of an execution: status → event → status. */
export const EXECUTION: Record<string, Record<string, string>> = {
  "new": {
    "execution.queued": "queued"
  },
  "queued": {
    "execution.started": "running",
    "execution.cancelling": "cancelling",
    "execution.completed": "completed",
    "execution.cancelled": "cancelled",
    "execution.failed": "failed",
    "execution.timed_out": "timed_out",
    "execution.lost": "lost"
  },
  "running": {
    "execution.started": "running",
    "execution.progress": "running",
    "execution.cancelling": "cancelling",
    "execution.completed": "completed",
    "execution.cancelled": "cancelled",
    "execution.failed": "failed",
    "execution.timed_out": "timed_out",
    "execution.lost": "lost"
  },
  "cancelling": {
    "execution.started": "cancelling",
    "execution.progress": "cancelling",
    "execution.cancelling": "cancelling",
    "execution.completed": "completed",
    "execution.cancelled": "cancelled",
    "execution.failed": "failed",
    "execution.timed_out": "timed_out",
    "execution.lost": "lost"
  },
  "completed": {},
  "failed": {},
  "cancelled": {},
  "timed_out": {},
  "lost": {}
};

/** The life of a node: status → event → status. */
export const NODE: Record<string, Record<string, string>> = {
  "new": {
    "node.queued": "queued",
    "node.started": "running",
    "node.skipped": "skipped"
  },
  "queued": {
    "node.started": "running",
    "node.skipped": "skipped",
    "node.cancelled": "cancelled"
  },
  "running": {
    "node.progress": "running",
    "node.completed": "completed",
    "node.failed": "failed",
    "node.retrying": "retrying",
    "node.cancelled": "cancelled"
  },
  "retrying": {
    "node.queued": "queued",
    "node.started": "running",
    "node.cancelled": "cancelled"
  },
  "completed": {},
  "failed": {},
  "skipped": {},
  "cancelled": {}
};
