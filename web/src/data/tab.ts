// The tab's side of the hub: subscriptions that survive the tab's being hidden.
//
// The law of this file: a hidden tab follows nothing. It says where it stands, and goes on from
// there when it is looked at again; the log has kept what came in between.
import type { Connection } from "@tailrace/client";
import { HERE_MS, type Ask, type Problem, type Subject, type Told } from "./protocol.ts";
import { serve, type Port } from "./serve.ts";

/** How long a tab is hidden before it stops following: looking away for a moment costs nothing. */
const HIDDEN_MS = 5000;

/** What a subscription tells. */
export interface Listener {
  /** Envelopes as JSON, one a line. */
  events(lines: string): void;
  state(state: Connection): void;
  failed(problem: Problem): void;
}

interface Subscription {
  subject: Subject;
  listener: Listener;
  workspace: string;
  over: boolean;
}

/** Where the server is: one folder above the page's. */
export const BASE = new URL("..", document.baseURI).href.replace(/\/$/, "");

/** This tab's connection to the hub. */
export class Tab {
  readonly #port: MessagePort;
  readonly #subscriptions = new Map<number, Subscription>();
  #last = 0;
  #suspended = false;
  #hiding: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    this.#port = connect();
    this.#port.onmessage = ({ data }: MessageEvent<Told>) => this.#told(data);
    setInterval(() => !this.#suspended && this.#ask({ t: "here" }), HERE_MS);
    document.addEventListener("visibilitychange", () => this.#looked());
    addEventListener("online", () => this.hurry());
    addEventListener("pagehide", () => this.#suspend());
    addEventListener("pageshow", (event) => event.persisted && this.#resume());
  }

  /** Follow something; returns the way to stop. */
  subscribe(subject: Subject, workspace: string, listener: Listener): () => void {
    const sub = ++this.#last;
    this.#subscriptions.set(sub, { subject, listener, workspace, over: false });
    if (!this.#suspended) this.#open(sub);
    return () => {
      this.#subscriptions.delete(sub);
      this.#ask({ t: "close", sub });
    };
  }

  /** Do not wait for the next try: ask the server now. */
  hurry(): void {
    this.#ask({ t: "hurry" });
  }

  #open(sub: number): void {
    const { subject, workspace } = this.#subscriptions.get(sub)!;
    this.#ask({ t: "open", sub, base: BASE, workspace, subject });
  }

  #told(told: Told): void {
    const subscription = this.#subscriptions.get(told.sub);
    if (!subscription || this.#suspended) return;
    const { listener, subject } = subscription;
    if (told.t === "events") {
      listener.events(told.lines);
      if (subject.kind === "execution") subject.after = told.position;
      this.#ask({ t: "handled", sub: told.sub, size: told.lines.length });
    } else if (told.t === "forgotten") {
      this.#open(told.sub);
    } else if (told.t === "state") {
      subscription.over = told.state.phase === "ended";
      listener.state(told.state);
    } else {
      subscription.over = true;
      listener.failed(told.problem);
    }
  }

  #looked(): void {
    clearTimeout(this.#hiding);
    if (document.visibilityState === "visible") this.#resume();
    else this.#hiding = setTimeout(() => this.#suspend(), HIDDEN_MS);
  }

  #suspend(): void {
    if (!this.#suspended) {
      this.#suspended = true;
      for (const { listener, over } of this.#subscriptions.values()) {
        if (!over) listener.state({ phase: "suspended" });
      }
    }
    this.#ask({ t: "bye" });
  }

  #resume(): void {
    if (!this.#suspended) return;
    this.#suspended = false;
    for (const [sub, { over }] of this.#subscriptions) if (!over) this.#open(sub);
  }

  #ask(ask: Ask): void {
    this.#port.postMessage(ask);
  }
}

/** The hub: in a worker that all tabs share, or, where there is none, in this tab. */
function connect(): MessagePort {
  if (typeof SharedWorker !== "undefined") {
    const worker = new SharedWorker(new URL("./worker.ts", import.meta.url), {
      type: "module",
      name: "tailrace",
    });
    return worker.port;
  }
  const { port1, port2 } = new MessageChannel();
  serve(port2 as unknown as Port, new Map());
  return port1;
}
