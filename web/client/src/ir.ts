// A flow's graph as data (schemas/flow-ir.schema.json): what a page needs of it.
//
// The law of this file: only shapes. An execution of an agent, or of an engine outside, has none:
// its nodes are learned while it runs.

export type JsonSchema = Record<string, unknown>;

/** One step. */
export interface NodeIR {
  id: string;
  kind: "trigger" | "inline" | "activity" | "subflow" | "capture";
  summary?: string;
  streaming?: boolean;
  map?: { param: string; concurrency: number };
  in_schema?: JsonSchema;
  out_schema?: JsonSchema;
  effects?: string;
  determinism?: string;
  resources?: string[];
  retry?: { attempts: number; delay_ms: number; backoff: number; jitter: number; on: string[] };
  timeout_ms?: number;
}

/** One value's way, or, without `param`, only an order. */
export interface EdgeIR {
  from: string;
  to: string;
  param?: string;
  buffer?: number;
  timeout_ms?: number;
  when?: string;
}

/** The whole graph. */
export interface FlowIR {
  ir_version: number;
  name: string;
  summary?: string;
  trigger: { method?: string; path?: string; input_schema: JsonSchema };
  capture: string;
  deadline_ms?: number;
  nodes: NodeIR[];
  edges: EdgeIR[];
}
