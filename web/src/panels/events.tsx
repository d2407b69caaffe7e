// Every event of the log, in order, each of which can be inspected and linked (`?event=`).
//
// The law of this file: only the rows that are seen exist. It stays at the end while somebody is
// there, and nowhere else moves by itself.
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, useEffect, useMemo, useRef, type KeyboardEvent } from "react";
import css from "../inspect/events.module.css";
import { eventsOf, KINDS, type EventRow, type Kind } from "../inspect/index.ts";
import { offset } from "../inspect/node.tsx";
import { Empty } from "../parts/problem.tsx";
import { clock } from "../parts/time.tsx";
import { useParam, useSetParams } from "../url.ts";
import type { PanelProps } from "./contract.ts";

const ROW = 26;

function Events({ store, version, state, position, selection, select }: PanelProps) {
  const [type] = useParam("type");
  const [of] = useParam("of");
  const setParams = useSetParams();
  const kind: Kind = KINDS.find((one) => one === type) ?? "all";
  const list = useMemo(() => eventsOf(store, kind, of, position), [store, kind, of, position, version]);
  const scroller = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const virtual = useVirtualizer({
    count: list.count,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 12,
  });
  const chosen = selection.event;
  const isDrawn = virtual.getVirtualItems().some(({ index }) => list.at(index).id === chosen);

  useEffect(() => {
    // A link leads to its event; else a log that still grows is read at its end.
    if (chosen !== undefined && list.count > 0) virtual.scrollToIndex(list.indexOf(chosen), { align: "auto" });
  }, [chosen, kind, of, list.count > 0]);
  useEffect(() => {
    if (chosen === undefined && atEnd.current && position === null && state.ended_at === null && list.count > 0) {
      virtual.scrollToIndex(list.count - 1, { align: "end" });
    }
  }, [list.count, chosen, position]);

  const pressed = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 300) / ROW) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || list.count === 0) return;
    event.preventDefault();
    const from = chosen === undefined ? (by > 0 ? -1 : list.count) : list.indexOf(chosen);
    const next = list.at(Math.min(Math.max(from + by, 0), list.count - 1));
    // Each step replaces the entry: going back leads out of the list, not through it.
    setParams({ event: String(next.id), node: undefined });
  };
  return (
    <div className={css.events}>
      <div className={css.bar}>
        <div className={css.kinds} role="group" aria-label="Kind of event">
          {KINDS.map((one) => (
            <button key={one} type="button" aria-pressed={one === kind} onClick={() => setParams({ type: one === "all" ? undefined : one }, true)}>
              {one}
            </button>
          ))}
        </div>
        {of !== undefined && (
          <button type="button" className={`button ${css.of}`} aria-label={`Only of ${of}: show of all nodes`} onClick={() => setParams({ of: undefined }, true)}>
            <span className="clip">of {of}</span> <span aria-hidden>✕</span>
          </button>
        )}
        <span className="number muted" role="status">
          {list.count.toLocaleString("en")} {list.count === 1 ? "event" : "events"}
        </span>
      </div>
      {list.count === 0 ? (
        <Empty title={store.count === 0 ? "Nothing has happened yet" : `No ${kind === "all" ? "" : `${kind} `}events${of ? ` of ${of}` : ""} up to here`} />
      ) : (
        <div
          ref={scroller}
          className={css.scroll}
          role="listbox"
          aria-label="Events"
          tabIndex={0}
          aria-activedescendant={isDrawn ? `event-${chosen}` : undefined}
          onKeyDown={pressed}
          onScroll={({ currentTarget: at }) => (atEnd.current = at.scrollHeight - at.scrollTop - at.clientHeight < ROW)}
        >
          <div style={{ height: virtual.getTotalSize(), position: "relative" }} role="presentation">
            {virtual.getVirtualItems().map(({ index, start }) => {
              const row = list.at(index);
              return (
                <Line key={row.id} {...row} top={start} from={state.started_at ?? state.queued_at} chosen={row.id === chosen} onChoose={() => select({ event: row.id })} />
              );
            })}
          </div>
        </div>
      )}
    </div>
  );
}

interface LineProps extends EventRow {
  top: number;
  from: string | null;
  chosen: boolean;
  onChoose: () => void;
}

const Line = memo(
  function Line({ id, ts, type, node, text, top, from, chosen, onChoose }: LineProps) {
    const [family = "", rest = ""] = split(type);
    return (
      <div
        id={`event-${id}`}
        role="option"
        aria-selected={chosen}
        className={css.row}
        data-event={id}
        data-tone={toneOf(type)}
        style={{ transform: `translateY(${top}px)` }}
        onClick={onChoose}
      >
        <span className={`number ${css.id}`}>{id.toLocaleString("en")}</span>
        <span className={`number ${css.time}`} title={ts === undefined ? undefined : clock(ts)}>
          {ts === undefined ? "" : offset(new Date(ts).toISOString(), from)}
        </span>
        <span className={`clip ${css.type}`}>
          {type ? (
            <>
              <span className="muted">{family}.</span>
              {rest}
            </>
          ) : (
            <span className="muted">not kept here</span>
          )}
        </span>
        <span className={`clip ${css.node}`}>{node}</span>
        <span className={`clip mono ${css.text}`}>{text}</span>
      </div>
    );
  },
  (a, b) => a.id === b.id && a.top === b.top && a.chosen === b.chosen && a.from === b.from && a.type === b.type,
);

function split(type: string): [string, string] {
  const dot = type.indexOf(".");
  return dot < 0 ? ["", type] : [type.slice(0, dot), type.slice(dot + 1)];
}

/** What has to be seen when one looks over many. */
function toneOf(type: string): string | undefined {
  if (/\.(failed|lost|timed_out)$/.test(type)) return "bad";
  if (/\.(retrying|cancelling)$|^warning$/.test(type)) return "warn";
  return /\.completed$/.test(type) ? "ok" : undefined;
}

export default memo(Events);
