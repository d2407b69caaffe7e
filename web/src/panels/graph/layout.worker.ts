// Finds layouts beside the page: dagre takes a second for 500 nodes, and nothing may wait for that.
import type { Request } from "./layout.ts";
import { ranked } from "./ranked.ts";

addEventListener("message", ({ data }: MessageEvent<{ turn: number; request: Request }>) => {
  postMessage({ turn: data.turn, layout: ranked(data.request) });
});
