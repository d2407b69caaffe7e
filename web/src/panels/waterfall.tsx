// When each node waited and ran, one row a try.
//
// The law of this file: every bar is between two moments of the log. The axis is of the whole log, so
// it stays where it is while the page goes through its positions.
import { useVirtualizer } from "@tanstack/react-virtual";
import { hasEnded } from "@tailrace/client";
import { useMemo, useRef, useState, type KeyboardEvent } from "react";
import { Empty } from "../parts/problem.tsx";
import { standing } from "../parts/standing.ts";
import { moment, useNow } from "../parts/time.tsx";
import type { PanelProps } from "./contract.ts";
import { momentAt } from "./graph/feed.ts";
import { Axis, Lines, type Range } from "./waterfall/axis.tsx";
import { criticalPath, type Path, type Times } from "./waterfall/critical.ts";
import { Detail, Head } from "./waterfall/head.tsx";
import { Row, Whole } from "./waterfall/row.tsx";
import { barsOf, figuresOf, type Bar } from "./waterfall/rows.ts";
import css from "./waterfall/waterfall.module.css";

const ROW = 26;

export default function Waterfall(props: PanelProps) {
  const { store, version, state, position, seek, selection, select } = props;
  const now = useNow(position === null && !hasEnded(state) && state.started_at !== null);
  const [range, setRange] = useState<Range>();
  const [isCriticalOnly, setCriticalOnly] = useState(false);
  const [at, setAt] = useState<string>();
  const scroll = useRef<HTMLDivElement>(null);

  const begin = firstMoment(store);
  const known = position === null ? lastMoment(store) : momentAt(store, position);
  const end = position === null && !hasEnded(state) ? Math.max(known, now) : known;
  const whole: Range = { from: begin, to: Math.max(begin + 1, position === null ? end : endOf(props, now)) };
  const shown = range ?? whole;

  const all = useMemo(() => barsOf(state), [state, version, position]);
  const path = useMemo(() => pathOf(props, all, end), [all, end]);
  const critical = useMemo(() => new Set(path.nodes), [path]);
  const bars = isCriticalOnly ? all.filter((bar) => critical.has(bar.node)) : all;
  const rows = useVirtualizer({ count: bars.length, getScrollElement: () => scroll.current, estimateSize: () => ROW, overscan: 10 });

  if (begin === 0) {
    return hasEnded(state) ? <Empty title="No times are kept of it" /> : <Empty title="Nothing ran yet">Bars appear here as nodes start.</Empty>;
  }
  // Of a log whose beginning is gone it ran at least since what is kept.
  const started = state.started_at === null ? (state.queued_at === null ? begin : undefined) : moment(state.started_at);
  const runSpan = started === undefined ? undefined : { from: started, to: state.ended_at === null ? null : moment(state.ended_at) };
  const figures = figuresOf(all, runSpan ?? { from: begin, to: begin }, end);
  const focused = bars.find((bar) => bar.key === at);
  const zoomTo = (one: Bar | undefined) => one && setRange(around(all.filter((bar) => bar.node === one.node), end));
  const go = (to: number) => {
    const bar = bars[Math.min(Math.max(to, 0), bars.length - 1)];
    if (!bar) return;
    rows.scrollToIndex(bars.indexOf(bar));
    setAt(bar.key);
    requestAnimationFrame(() => scroll.current?.querySelector<HTMLElement>(`[data-key="${CSS.escape(bar.key)}"]`)?.focus());
  };
  const press = (event: KeyboardEvent) => {
    const from = bars.findIndex((bar) => bar.key === at);
    const page = Math.max(1, Math.floor((scroll.current?.clientHeight ?? 0) / ROW) - 2);
    const to = { ArrowDown: from + 1, ArrowUp: from - 1, PageDown: from + page, PageUp: from - page, Home: 0, End: bars.length - 1 }[event.key];
    if (to !== undefined) go(to);
    else if (event.key === "z") zoomTo(bars[from]);
    else if (event.key === "Escape" || event.key === "0") setRange(undefined);
    else return;
    event.preventDefault();
  };
  const shownMoment = position === null ? undefined : end;
  const tabStop = focused?.key ?? bars[0]?.key;
  return (
    <div className={css.waterfall}>
      <Head
        figures={figures}
        path={path}
        isCriticalOnly={isCriticalOnly}
        setCriticalOnly={setCriticalOnly}
        isZoomed={range !== undefined}
        zoomOut={() => setRange(undefined)}
        zoomTo={selection.node === undefined ? undefined : () => zoomTo(all.find((bar) => bar.node === selection.node))}
      />
      <div ref={scroll} className={css.scroll}>
        <Axis begin={begin} whole={whole} shown={shown} moment={shownMoment} zoom={setRange} seek={(to) => seek(positionAt(store, to))} />
        <div className={css.content}>
          <Lines begin={begin} shown={shown} moment={shownMoment} />
          <Whole name={state.flow || "execution"} state={state} run={runSpan} begin={begin} shown={shown} end={end} />
          <ol className={css.rows} aria-label="Timeline of nodes" style={{ height: rows.getTotalSize() }} onKeyDown={press}>
            {rows.getVirtualItems().map(({ index, start }) => {
              const bar = bars[index]!;
              return (
                <Row
                  key={bar.key}
                  bar={bar}
                  status={standing(bar.status, state)}
                  place={{ index, of: bars.length, top: start }}
                  begin={begin}
                  shown={shown}
                  end={end}
                  isCritical={critical.has(bar.node)}
                  isSelected={selection.node === bar.node}
                  isTabStop={bar.key === tabStop}
                  look={setAt}
                  select={select}
                />
              );
            })}
          </ol>
          {bars.length === 0 && <p className={css.none}>{hasEnded(state) ? "No node ran." : "No node has started yet."}</p>}
        </div>
      </div>
      <Detail bar={focused} status={standing(focused?.status, state)} begin={begin} end={end} isCritical={focused !== undefined && critical.has(focused.node)} />
    </div>
  );
}

/** Where the axis begins: when it was queued, or the first moment that is kept; 0: nothing is. */
function firstMoment(store: PanelProps["store"]): number {
  const first = store.live.queued_at ?? store.history.moments()[0]?.ts;
  return first ? moment(first) : 0;
}

function lastMoment(store: PanelProps["store"]): number {
  const last = store.history.moments().at(-1);
  return last ? moment(last.ts) : 0;
}

/** The end of the whole log, or now. */
function endOf({ store }: PanelProps, now: number): number {
  return hasEnded(store.live) ? lastMoment(store) : Math.max(lastMoment(store), now);
}

/** The position of the last event that moved something before a moment; null: the end. */
function positionAt(store: PanelProps["store"], to: number): number | null {
  const moments = store.history.moments();
  let [low, high] = [0, moments.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (moment(moments[middle]!.ts) <= to) low = middle + 1;
    else high = middle;
  }
  return low === moments.length ? null : (moments[Math.max(low - 1, 0)]?.id ?? null);
}

function pathOf({ state }: PanelProps, bars: readonly Bar[], end: number): Path {
  const times = new Map<string, Times>();
  for (const bar of bars) {
    const to = bar.run ? (bar.run.to ?? end) : bar.wait ? (bar.wait.to ?? end) : bar.at;
    const known = times.get(bar.node);
    times.set(bar.node, { from: known?.from ?? bar.at, to: Math.max(known?.to ?? to, to) });
  }
  return criticalPath(times, state.graph?.edges);
}

/** Some bars and a little around them. */
function around(bars: readonly Bar[], end: number): Range | undefined {
  if (bars.length === 0) return undefined;
  const from = Math.min(...bars.map((bar) => bar.pause?.from ?? bar.at));
  const to = Math.max(...bars.map((bar) => (bar.run ? (bar.run.to ?? end) : (bar.wait?.to ?? bar.at))));
  const more = Math.max((to - from) * 0.08, 0.05);
  return { from: from - more, to: to + more };
}
