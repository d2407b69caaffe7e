// One execution: its panels, live or at any position of its log.
import { hasEnded } from "@tailrace/client";
import { Suspense, useCallback, useEffect, useState } from "react";
import { Link, useLocation } from "wouter";
import type { ExecutionStore } from "../data/execution.ts";
import { useExecution } from "../data/use.ts";
import { useMayRun } from "../data/workspace.ts";
import { CancelDialog, Outcome } from "../parts/cancel.tsx";
import { useConnectionShown } from "../parts/connection.tsx";
import { Boundary } from "../parts/boundary.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { Status } from "../parts/marks.tsx";
import { Copy, Gaps, Refused } from "../parts/problem.tsx";
import { duration, Duration, NowContext, tookOf } from "../parts/time.tsx";
import { timeAt } from "../inspect/index.ts";
import { Inspector, PANELS, panelOf, Scrubber, Start, type PanelProps, type Selection } from "../panels/contract.ts";
import { usePosition } from "../position.ts";
import { useParam, useSetParams, useTo } from "../url.ts";
import css from "./execution.module.css";

export default function Execution({ id }: { id: string }) {
  const store = useExecution(id);
  useConnectionShown(store.connection);
  const [node] = useParam("node");
  const [event] = useParam("event");
  const setParams = useSetParams();
  const [panelId = firstPanel(store), setPanel] = useParam("panel");

  const [position, seek] = usePosition();
  const select = useCallback(
    (chosen: Selection) => setParams({ node: chosen.node, event: chosen.event?.toString() }, true),
    [setParams],
  );
  const state = store.at(position);
  const name = nameOf(store);
  useEffect(() => {
    document.title = `${name === CONNECTING ? id : name} · Tailrace`;
  }, [name, id]);

  if (store.problem && (store.count === 0 || store.problem.status === 401)) return <Refused problem={store.problem} />;
  const props: PanelProps = {
    store,
    version: store.version,
    state,
    position,
    seek,
    selection: { node, event: numberOf(event) },
    select,
  };
  const { Panel } = panelOf(panelId);
  return (
    <NowContext.Provider value={position === null ? null : timeAt(store, position)}>
      <div className={css.page} data-execution={id} data-status={store.statusOf(state)} data-count={store.count}>
        <Top name={name} {...props} />
        <Gaps gaps={store.gaps} />
        <div className={css.body}>
          <section className={css.main}>
            <Tabs store={store} chosen={panelId} choose={(panel) => setPanel(panel, true)} />
            <div className={css.panel} role="tabpanel" id="panel" aria-labelledby={`tab-${panelId}`} tabIndex={0}>
              <Boundary key={panelId}>
                <Suspense fallback={null}>
                  <Panel {...props} />
                </Suspense>
              </Boundary>
            </div>
          </section>
          <aside className={css.aside} aria-label="Inspector" tabIndex={0}>
            <Boundary>
              <Suspense fallback={null}>
                <Inspector {...props} />
              </Suspense>
            </Boundary>
          </aside>
        </div>
        <footer className={css.foot}>
          <Suspense fallback={null}>
            <Scrubber {...props} />
          </Suspense>
        </footer>
      </div>
    </NowContext.Provider>
  );
}

function Top({ name, store, state, position, seek, select }: PanelProps & { name: string }) {
  const to = useTo();
  const mayRun = useMayRun();
  const kind = store.live.kind;
  const from = state.started_at ?? state.queued_at;
  const known = tookOf(state);
  const took = from ? <Duration from={from} to={state.ended_at} /> : known !== undefined && <span className="number">{duration(known)}</span>;
  const [asking, setAsking] = useState(false);
  const [asked, setAsked] = useState(false);
  const [again, setAgain] = useState(false);
  const [, go] = useLocation();
  // What was reported from outside, and commands, are started elsewhere.
  const repeatable = mayRun && hasEnded(store.live) && store.live.flow !== "" && kind !== "workload" && store.live.lease_ms === null;
  const stoppable = mayRun && !hasEnded(store.live) && store.statusOf(store.live) !== "new" && store.live.status !== "cancelling";
  return (
    <header className={css.top}>
      <nav aria-label="Where this is" className={css.crumbs}>
        <Link href={to("/")} className="muted">
          Executions
        </Link>
        <span aria-hidden className="muted">
          /
        </span>
        <h1 tabIndex={-1} className="clip" title={name}>
          {name}
        </h1>
        {kind && <span className="tag">{kind}</span>}
        {state.attempt > 1 && <span className="tag">attempt {state.attempt}</span>}
      </nav>
      <Status status={store.statusOf(state)} />
      {took && <span className={css.fact}>{took}</span>}
      {position !== null && (
        <button type="button" className={`tag ${css.past}`} onClick={() => seek(null)} title={hasEnded(store.live) ? "Show how it ended" : "Show it live"}>
          as of event {Math.min(position, store.live.head).toLocaleString("en")} of {store.live.head.toLocaleString("en")} <span aria-hidden>✕</span>
        </button>
      )}
      <Outcome state={state} asked={asked} onNode={(node) => select({ node })} />
      <span className={`${css.fact} ${css.id}`}>
        <code className="muted">{store.id}</code>
        <Copy text={store.id} label="Copy the id" />
      </span>
      {stoppable && (
        <button type="button" className="button danger" onClick={() => setAsking(true)} disabled={asked}>
          Cancel
        </button>
      )}
      {repeatable && (
        <button type="button" className="button" onClick={() => setAgain(true)}>
          Run again
        </button>
      )}
      {again && (
        <Dialog title="Run again" onClose={() => setAgain(false)}>
          <Suspense fallback={null}>
            <Start again={{ flow: name, input: inputOf(store) }} onClose={() => setAgain(false)} onStarted={(id) => go(to(`/executions/${id}`))} />
          </Suspense>
        </Dialog>
      )}
      {asking && (
        <CancelDialog id={store.id} flow={name} onAsked={() => setAsked(true)} onClose={() => setAsking(false)} />
      )}
    </header>
  );
}

function Tabs({ store, chosen, choose }: { store: ExecutionStore; chosen: string; choose: (id: string) => void }) {
  const step = (event: React.KeyboardEvent) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (by === undefined) return;
    const now = PANELS.findIndex((panel) => panel.id === chosen);
    const next = PANELS[(now + by + PANELS.length) % PANELS.length]!;
    choose(next.id);
    document.getElementById(`tab-${next.id}`)?.focus();
  };
  return (
    <div className={css.tabs} role="tablist" aria-label="Panels" onKeyDown={step}>
      {PANELS.map(({ id, label, count }) => {
        const many = count(store);
        return (
          <button
            key={id}
            type="button"
            role="tab"
            id={`tab-${id}`}
            aria-selected={id === chosen}
            aria-controls="panel"
            tabIndex={id === chosen ? 0 : -1}
            onClick={() => choose(id)}
          >
            {label}
            {many > 0 && <span className={`${css.count} number`}>{many.toLocaleString("en")}</span>}
          </button>
        );
      })}
    </div>
  );
}

/** What speaks is shown speaking; a command its lines; everything else its graph. */
function firstPanel(store: ExecutionStore): string {
  const kind = store.live.kind;
  if (store.missing !== null && hasEnded(store.live) && store.live.nodes.size === 0 && store.lines.end > 0) return "logs";
  if (kind === "agent" || (kind === "task" && store.pieces.length > 0)) return "text";
  return kind === "workload" ? "logs" : "graph";
}

const CONNECTING = "…";

/** What it is called. */
function nameOf(store: ExecutionStore): string {
  const { phase } = store.connection;
  return store.live.flow || (phase === "connecting" ? CONNECTING : `Execution ${store.id.slice(-8)}`);
}

/** What it was started with; undefined: the log has only a summary of it, or not even that. */
function inputOf(store: ExecutionStore): unknown {
  const first = store.history.moments()[0];
  if (first?.type !== "execution.queued") return store.live.input ?? undefined;
  return (first.data as { input_summary?: unknown }).input_summary === undefined ? store.live.input : undefined;
}

function numberOf(text: string | undefined): number | undefined {
  const value = text === undefined ? Number.NaN : Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}
