// The hub's side of a port: what a tab asks, done.
//
// The law of this file: a tab that is gone holds nothing. It says so when it can (`bye`), and when
// it could not, its silence does.
import { TailraceClient } from "@tailrace/client";
import { Hub, Sub } from "./hub.ts";
import { GONE_MS, type Ask, type Told } from "./protocol.ts";

/** Something that passes messages: a MessagePort, or what a test has. */
export interface Port {
  postMessage(message: Told): void;
  onmessage: ((event: MessageEvent<Ask>) => void) | null;
}

/** The hubs of a worker: one for each workspace. */
export type Hubs = Map<string, Hub>;

/** Serve a tab. */
export function serve(port: Port, hubs: Hubs): void {
  const leaving = new Map<number, { sub: Sub; leave: () => void }>();
  let timer = setTimeout(silent, GONE_MS);

  /** It may be dead, or its machine slept: in case it is not dead, it is told. */
  function silent() {
    for (const { sub } of leaving.values()) sub.forget();
    bye();
  }

  function bye() {
    for (const { leave } of leaving.values()) leave();
    leaving.clear();
  }

  function open(ask: Ask & { t: "open" }) {
    const key = `${ask.base} ${ask.workspace}`;
    let hub = hubs.get(key);
    if (!hub) {
      hub = new Hub(new TailraceClient(ask.base, { workspace: ask.workspace }));
      hubs.set(key, hub);
    }
    const at = hub;
    const { subject } = ask;
    const after = subject.kind === "execution" ? subject.after : undefined;
    const sub = new Sub(after, (message) => port.postMessage({ ...message, sub: ask.sub }));
    const leave = () => {
      if (subject.kind === "execution") at.unwatch(subject.id, sub);
      else at.unlist(sub);
      if (at.idle) hubs.delete(key);
    };
    leaving.set(ask.sub, { sub, leave });
    if (subject.kind === "execution") at.watch(subject.id, sub);
    else at.list(sub);
  }

  port.onmessage = ({ data: ask }) => {
    clearTimeout(timer);
    timer = setTimeout(silent, GONE_MS);
    if (ask.t === "open") open(ask);
    else if (ask.t === "handled") leaving.get(ask.sub)?.sub.handled(ask.size);
    else if (ask.t === "close") {
      leaving.get(ask.sub)?.leave();
      leaving.delete(ask.sub);
    } else if (ask.t === "hurry") for (const hub of hubs.values()) hub.hurry();
    else if (ask.t === "bye") bye();
  };
}
