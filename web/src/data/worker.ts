// The SharedWorker: one for all tabs of this page in a browser.
//
// The law of this file: it only connects; what is done is in `hub` and `serve`.
import { serve, type Hubs, type Port } from "./serve.ts";

const hubs: Hubs = new Map();

(self as unknown as { onconnect: (event: MessageEvent) => void }).onconnect = (event) => {
  serve(event.ports[0] as unknown as Port, hubs);
};
