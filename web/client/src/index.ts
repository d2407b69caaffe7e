// @tailrace/client: follow executions from a browser, or from Node.js.
export * from "./api.ts";
export * from "./catalog.ts";
export * from "./errors.ts";
export * from "./events.ts";
export * from "./fold.ts";
export * from "./follow.ts";
export * from "./history.ts";
export * from "./ir.ts";
export * from "./sse.ts";
export * from "./state.ts";
