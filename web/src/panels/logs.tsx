// Log lines: as many as there are, followed, searched, filtered, linked to.
//
// The law of this file: what is seen is in the URL (level, source, lognode, search, times, line);
// lines come from the store and are cut where the scrubber stands; nothing here looks at every line
// in one go (logs/view.ts), and nothing is drawn but what is seen (logs/list.ts).
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useSearch } from "wouter";
import { copied } from "../parts/clipboard.ts";
import { useParam, useSetParams } from "../url.ts";
import type { PanelProps } from "./contract.ts";
import { useStored } from "./follow.ts";
import { Announcer } from "./logs/announce.tsx";
import { filterOf } from "./logs/choice.ts";
import { Ending, Hidden, Jump, Nothing, Trimmed } from "./logs/edges.tsx";
import { Help } from "./logs/help.tsx";
import { keyOf } from "./logs/keys.ts";
import { GONE, linkedBy, linkOf } from "./logs/link.ts";
import { useList, type Align } from "./logs/list.ts";
import css from "./logs/logs.module.css";
import { BLOCK, Block } from "./logs/rows.tsx";
import { textOf } from "./logs/save.ts";
import { Toolbar } from "./logs/toolbar.tsx";
import { timesOf, TIMES } from "./logs/times.ts";
import { useScan } from "./logs/scan.ts";
import { Finder, LogView, nextHit, patternOf } from "./logs/view.ts";

const NO_ROWS: ReadonlySet<number> = new Set();

export default function Logs({ store, version, state, position }: PanelProps) {
  const { lines } = store;
  const [level] = useParam("level");
  const [source] = useParam("source");
  const [node] = useParam("lognode");
  const [search] = useParam("search");
  const [link, setLink] = useParam("line");
  const [timesParam, setTimes] = useParam("times");
  const setParams = useSetParams();
  const times = timesOf(timesParam);
  const [wrap, setWrap] = useStored("logs.wrap", false);
  const [cursor, setCursor] = useState<number>(); // the index of a line
  const [whole, setWhole] = useState(NO_ROWS);
  const [help, setHelp] = useState(false);
  const scroller = useRef<HTMLDivElement>(null);
  const searchBox = useRef<HTMLInputElement>(null);

  const view = useMemo(() => new LogView(lines, filterOf(level, source, node)), [lines, level, source, node]);
  const pattern = useMemo(() => patternOf(search), [search]);
  const finder = useMemo(() => (pattern ? new Finder(view, pattern) : undefined), [view, pattern]);
  useScan([view, finder], version);

  const end = position === null ? lines.end : lines.endAt(position);
  const low = view.rowOf(lines.first);
  const high = Math.min(view.end, view.rowOf(end));
  const phase = store.connection.phase;
  const arrived = phase !== "connecting" && phase !== "catching-up";
  const linked = linkedBy(lines, link, arrived);
  const list = useList({ scroller, view, low, high, wrap, arrived, initially: linked === undefined });
  const { goTo, follow, following } = list;

  const show = useCallback(
    (index: number, align: Align = "center") => {
      follow(false);
      setCursor(index);
      goTo(index, align);
    },
    [follow, goTo],
  );
  // The link that one came by leads to its line, also when that turns out to have another number now.
  const opening = useRef(linked !== undefined);
  useEffect(() => {
    if (opening.current && linked !== undefined && linked !== GONE) show(linked - 1);
  }, [linked, show]);
  useEffect(() => {
    if (arrived) opening.current = false;
  }, [arrived]);

  // Another filter: the line that one was at stays in sight.
  const viewBefore = useRef(view);
  useEffect(() => {
    if (viewBefore.current !== view && viewBefore.current.lines === lines && !following && cursor !== undefined) {
      goTo(cursor);
    }
    viewBefore.current = view;
  }, [view, lines, following, cursor, goTo]);

  const cursorRow = cursor === undefined ? undefined : view.rowOf(cursor);
  const find = (by: 1 | -1, from = cursorRow) => {
    const hit = finder && nextHit(finder.hits, from, by, low, high);
    if (hit !== undefined) show(view.indexOf(hit));
  };
  // What is searched is shown as soon as it is found: from what is seen on, else from the beginning.
  const sought = useRef<{ finder: Finder; from: number } | undefined>(undefined);
  const finderBefore = useRef(finder);
  useEffect(() => {
    if (finder !== finderBefore.current) {
      finderBefore.current = finder;
      sought.current = finder && linked === undefined ? { finder, from: list.seen()[0] } : undefined;
    }
    const seeking = sought.current;
    if (!seeking || !finder) return;
    const place = finder.hits.placeOf(seeking.from);
    if (place < finder.hits.length || finder.settled) {
      sought.current = undefined;
      if (finder.hits.length > 0) find(1, seeking.from - 1);
    }
  });

  const gaps = useMemo(() => {
    const where = store.gaps.map((gap) => [gap.cause === "lost" ? lines.first : lines.endAt(gap.after), gap] as const);
    return new Map(where);
    // eslint-disable-next-line react-hooks/exhaustive-deps -- gaps are only added
  }, [store.gaps.length, lines]);
  const query = useSearch();
  const hrefOf = useCallback(
    (number: number) => {
      const params = new URLSearchParams(query);
      params.set("panel", "logs");
      params.set("line", linkOf(lines, number));
      return `${location.pathname}?${params}`;
    },
    [query, lines],
  );
  const linkTo = (number: number) => {
    setParams({ panel: "logs", line: linkOf(lines, number) }, true);
    follow(false);
    setCursor(number - 1);
  };
  const toEnd = () => {
    setCursor(undefined);
    follow(true);
  };

  const move = (by: number) => {
    if (high <= low) return;
    const [top, bottom] = list.seen();
    const from = cursorRow ?? (by > 0 ? top - 1 : bottom);
    show(view.indexOf(Math.min(Math.max(from + by, low), high - 1)), "nearest");
  };
  const copyLine = () => {
    if (cursor !== undefined) void copied(textOf(view, cursorRow!, cursorRow! + 1).text.replace(/\n$/, ""));
  };
  const pressed = (event: React.KeyboardEvent) => {
    const action = keyOf(event);
    if (!action) return;
    const page = Math.max(list.seen()[1] - list.seen()[0] - 1, 1);
    event.preventDefault();
    if (action === "down") move(1);
    else if (action === "up") move(-1);
    else if (action === "page-down") move(page);
    else if (action === "page-up") move(-page);
    else if (action === "first" && high > low) show(view.indexOf(low));
    else if (action === "last") toEnd();
    else if (action === "follow") follow(!following);
    else if (action === "search") searchBox.current?.select();
    else if (action === "next") find(1);
    else if (action === "previous") find(-1);
    else if (action === "copy") copyLine();
    else if (action === "link" && cursor !== undefined) linkTo(cursor + 1);
    else if (action === "wrap") setWrap(!wrap);
    else if (action === "times") setTimes(TIMES[(TIMES.indexOf(times) + 1) % TIMES.length]);
    else if (action === "help") setHelp(true);
    else if (action === "leave") {
      setCursor(undefined);
      setLink(undefined);
    }
  };
  const clicked = (event: React.MouseEvent) => {
    const target = event.target as HTMLElement;
    const row = target.closest<HTMLElement>("[data-line]");
    if (!row || !getSelection()?.isCollapsed) return;
    const number = Number(row.dataset.line);
    if (target.closest("[data-whole]")) setWhole(new Set(whole).add(number));
    else if (target.closest("a")) {
      if (event.metaKey || event.ctrlKey) return;
      event.preventDefault();
      linkTo(number);
    } else setCursor(number - 1 === cursor ? undefined : number - 1);
  };

  const hits = finder ? finder.hits.placeOf(high) - finder.hits.placeOf(low) : 0;
  const hit = finder && cursorRow !== undefined ? finder.hits.placeOf(cursorRow) : -1;
  const nth = finder && hit >= 0 && finder.hits.at(hit) === cursorRow ? hit - finder.hits.placeOf(low) + 1 : 0;
  const origin = Date.parse(state.started_at ?? state.queued_at ?? "") || lines.get(lines.first)?.ts || 0;
  const numberWidth = Math.max(String(lines.end).length, 3);
  return (
    <div className={css.logs} onKeyDown={pressed}>
      <Toolbar
        store={store}
        view={view}
        low={low}
        high={high}
        seen={list.seen}
        find={{ box: searchBox, hits, nth, searching: finder !== undefined && !finder.settled, go: find }}
        times={times}
        wrap={wrap}
        setWrap={setWrap}
        following={following}
        follow={(on) => (on ? toEnd() : follow(false))}
        copyLine={cursor === undefined ? undefined : copyLine}
        openHelp={() => setHelp(true)}
      />
      <Trimmed first={lines.first} />
      <Hidden linked={linked} view={view} end={end} arrived={arrived} />
      <div className={css.room}>
        <div
          ref={scroller}
          className={css.scroller}
          role="log"
          aria-live="off"
          aria-label="Log lines"
          aria-describedby="log-keys"
          tabIndex={0}
          data-wrap={wrap || undefined}
          data-following={following}
          data-rows={high - low}
          style={{ "--digits": `${numberWidth}ch`, "--of": ofWidth(lines.sources, lines.nodes) } as React.CSSProperties}
          onClick={clicked}
        >
          {high > low ? (
            <div className={css.all} style={{ height: list.height }}>
              {list.blocks.getVirtualItems().map((item) => {
                const from = Math.max((list.base + item.index) * BLOCK, low);
                const to = Math.min((list.base + item.index + 1) * BLOCK, high);
                const inside = (number: number | undefined) =>
                  number !== undefined && number > view.indexOf(from) && number <= view.indexOf(to - 1) + 1 ? number : undefined;
                return (
                  <div
                    key={item.key}
                    ref={wrap ? list.blocks.measureElement : undefined}
                    data-index={item.index}
                    className={css.block}
                    style={{ transform: `translateY(${item.start}px)` }}
                  >
                    <Block
                      view={view}
                      from={from}
                      to={to}
                      pattern={pattern}
                      times={times}
                      origin={origin}
                      cursor={inside(cursor === undefined ? undefined : cursor + 1)}
                      linked={inside(linked)}
                      whole={whole}
                      gaps={gaps}
                      sources={lines.sources.length > 1}
                      nodes={lines.nodes.length > 1}
                      hrefOf={hrefOf}
                    />
                  </div>
                );
              })}
            </div>
          ) : (
            view.settled && (
              <div className={css.nothing}>
                <Nothing store={store} state={state} filtered={lines.end > lines.first && end > lines.first} arrived={arrived} />
              </div>
            )
          )}
          {end === lines.end && (high > low || !view.settled || lines.end === 0) && <Ending store={store} gap={gaps.get(lines.end)} state={state} />}
        </div>
        {!following && high > low && <Jump high={high} arrived={arrived} go={toEnd} />}
      </div>
      <Announcer lines={lines} quiet={!following} cursor={cursor} view={view} />
      <Help open={help} close={() => setHelp(false)} />
    </div>
  );
}

/** As wide as the longest name of a source or a node, within bounds. */
function ofWidth(...names: ReadonlyArray<readonly string[]>): string {
  const longest = Math.max(0, ...names.flat().slice(0, 200).map((name) => name.length));
  return `${Math.min(Math.max(longest, 4), 16)}ch`;
}
