// The rows of the list, of which only those that are seen exist.
//
// The law of this file: nothing moves under a pointer or the focus. While one is on the rows, or
// the list is scrolled, newer executions wait above, and are counted there.
import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent } from "react";
import type { ListStore, Row } from "../data/list.ts";
import { useTo } from "../url.ts";
import { hold } from "./hold.ts";
import css from "./list.module.css";
import { keepPlace, placeBefore } from "./place.ts";
import { Line } from "./row.tsx";

interface TableProps {
  store: ListStore;
  rows: readonly Row[];
  status: string;
  mayCancel: boolean;
  onCancel: (row: Row) => void;
}

/** Pages that are read by themselves for a filter that few rows match; then a person says more. */
const EAGER_MAX = 5;
const HEIGHTS = { wide: 40, narrow: 62 };
const HEAD = 32;
const NARROW = matchMedia("(max-width: 700px)");

export function Table({ store, rows, status, mayCancel, onCancel }: TableProps) {
  const scroller = useRef<HTMLDivElement>(null);
  const href = useTo();
  const [pointed, setPointed] = useState(false);
  const [focused, setFocused] = useState(false);
  const [before] = useState(placeBefore);
  const [scrolled, setScrolled] = useState(false);
  const [current, setCurrent] = useState(before.current);
  const [narrow, setNarrow] = useState(NARROW.matches);
  const held = useRef<string[] | null>(null);
  const last = useRef<readonly Row[]>([]);
  const eager = useRef(0);

  useEffect(() => {
    const changed = () => setNarrow(NARROW.matches);
    NARROW.addEventListener("change", changed);
    return () => NARROW.removeEventListener("change", changed);
  }, []);

  if (!(pointed || focused || scrolled)) held.current = null;
  else held.current ??= last.current.map((row) => row.id);
  const shown = hold(rows, held.current, (id) => store.get(id));
  useLayoutEffect(() => {
    last.current = shown.rows;
  });

  const height = narrow ? HEIGHTS.narrow : HEIGHTS.wide;
  const margin = narrow ? 0 : HEAD;
  const virtual = useVirtualizer({
    count: shown.rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => height,
    overscan: 8,
    initialOffset: before.top,
    scrollMargin: margin,
    scrollPaddingStart: margin,
    getItemKey: (index) => shown.rows[index]!.id,
  });
  useEffect(() => virtual.measure(), [virtual, height]);

  // Older ones are read when the end comes near; with a filter, until there is something to see.
  const items = virtual.getVirtualItems();
  const end = (items.at(-1)?.index ?? -1) >= shown.rows.length - 20;
  const more = store.loaded && !store.isWhole(status);
  const reading = store.isReading(status);
  const stuck = eager.current >= EAGER_MAX;
  useEffect(() => {
    eager.current = 0;
  }, [shown.rows.length]);
  useEffect(() => {
    if (!more || !end || reading || eager.current >= EAGER_MAX) return;
    eager.current += 1;
    void store.more(status);
  });

  const release = () => {
    held.current = null;
    setPointed(false);
    setFocused(false);
    setScrolled(false);
    scroller.current?.scrollTo({ top: 0 });
  };
  const explain = useCallback((row: Row) => store.explain(row), [store]);
  const step = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor((scroller.current?.clientHeight ?? 400) / height) - 1);
    const by = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = Math.min(Math.max(current + by, 0), shown.rows.length - 1);
    setCurrent(next);
    virtual.scrollToIndex(next);
    // A row that is not seen yet has to be made first.
    if (!focusRow(scroller.current, next)) {
      requestAnimationFrame(() => requestAnimationFrame(() => focusRow(scroller.current, next)));
    }
  };

  return (
    <div
      className={css.table}
      // Not "enter": React does not say that of a pointer that comes from outside the window.
      onPointerOver={(event) => event.pointerType === "mouse" && setPointed(true)}
      onPointerLeave={() => setPointed(false)}
    >
      {shown.waiting > 0 && (
        <button type="button" className={css.waiting} aria-label={`${shown.waiting} new`} onClick={release}>
          <svg viewBox="0 0 14 14" width="11" height="11" aria-hidden>
            <path d="M7 12V2.5M3 6.5l4-4 4 4" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinecap="round" strokeLinejoin="round" />
          </svg>
          {shown.waiting.toLocaleString("en")} new
        </button>
      )}
      <span className="unseen" role="status">
        {shown.waiting > 0 && `${shown.waiting} new executions wait above`}
      </span>
      <div
        ref={scroller}
        className={css.scroll}
        role="table"
        aria-label="Executions"
        aria-rowcount={shown.rows.length + 1}
        onKeyDown={step}
        onFocus={() => setFocused(true)}
        onBlur={(event) => !event.currentTarget.contains(event.relatedTarget) && setFocused(false)}
        onScroll={(event) => setScrolled(event.currentTarget.scrollTop > 0)}
        onClickCapture={({ currentTarget, target }) => {
          const link = (target as HTMLElement).closest<HTMLElement>("a[data-row]");
          if (link) keepPlace({ top: currentTarget.scrollTop, current: Number(link.dataset.row) });
        }}
      >
        <div role="rowgroup" className={css.top}>
          <div role="row" aria-rowindex={1} className={css.head}>
            {["Status", "Flow", "Progress or outcome", "Id", "Duration", "Created", ""].map((name, index) => (
              <span role="columnheader" key={name} className={css[COLUMNS[index]!]}>
                {name || <span className="unseen">Actions</span>}
              </span>
            ))}
          </div>
        </div>
        <div className={css.rows} style={{ height: virtual.getTotalSize() }} role="rowgroup">
          {items.map((item) => {
            const row = shown.rows[item.index]!;
            return (
              <Line
                key={row.id}
                row={row}
                href={href(`/executions/${row.id}`)}
                index={item.index}
                top={item.start - margin}
                current={item.index === Math.min(current, shown.rows.length - 1)}
                mayCancel={mayCancel}
                explain={explain}
                onFocus={setCurrent}
                onCancel={onCancel}
              />
            );
          })}
        </div>
        {more && (
          <p className={css.foot} role="presentation">
            {stuck && !reading ? (
              <button
                type="button"
                className="button"
                onClick={() => {
                  eager.current = 0;
                  void store.more(status);
                }}
              >
                {store.rows.length.toLocaleString("en")} looked through. Look further back
              </button>
            ) : (
              <span className="muted">Reading older ones…</span>
            )}
          </p>
        )}
      </div>
    </div>
  );
}

const COLUMNS = ["status", "name", "what", "id", "time", "when", "act"];

/** Put the focus on a row; false if it does not exist. */
function focusRow(scroller: HTMLElement | null, index: number): boolean {
  const link = scroller?.querySelector<HTMLElement>(`[data-row="${index}"]`);
  link?.focus({ preventScroll: true });
  return Boolean(link);
}
