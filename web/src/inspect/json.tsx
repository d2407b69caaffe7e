// A JSON value, folded, searched and copied.
//
// The law of this file: only the rows that are seen exist; the row that is looked at is shown whole
// below, with its path.
import { useVirtualizer } from "@tanstack/react-virtual";
import { useId, useMemo, useRef, useState, type KeyboardEvent } from "react";
import { Copy } from "../parts/problem.tsx";
import css from "./json.module.css";
import { above, found, openedAtFirst, rowsOf, sizeOf, written, type TreeRow } from "./tree.ts";

const ROW = 22;
const SHOWN_MAX = 18; // rows, before it scrolls
const SEARCHED_FROM = 6;
/** So much of a text stands in its row. */
const CLIPPED = 160;

export function Json({ value, name }: { value: unknown; name: string }) {
  const uid = useId();
  const [open, setOpen] = useState(() => openedAtFirst(value));
  const [search, setSearch] = useState("");
  const [at, setAt] = useState(0);
  const [chosen, setChosen] = useState<string>();
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useMemo(() => rowsOf(value, open), [value, open]);
  const matches = useMemo(() => found(value, search), [value, search]);
  const marked = useMemo(() => new Set(matches.map((match) => match.id)), [matches]);
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW,
    overscan: 6,
  });
  const current = rows.findIndex((row) => row.id === chosen);

  const go = (index: number, among: readonly TreeRow[] = rows) => {
    const row = among[Math.min(Math.max(index, 0), among.length - 1)];
    if (!row) return;
    setChosen(row.id);
    virtual.scrollToIndex(among.indexOf(row));
  };
  const toggle = (row: TreeRow, to = !row.open) => {
    const next = new Set(open);
    if (to) next.add(row.id);
    else next.delete(row.id);
    setOpen(next);
  };
  const show = (index: number, among = matches) => {
    const match = among[index];
    if (!match) return;
    setAt(index);
    const opened = new Set([...open, ...above(match.path)]);
    setOpen(opened);
    setChosen(match.id);
    const place = rowsOf(value, opened).findIndex((row) => row.id === match.id);
    requestAnimationFrame(() => virtual.scrollToIndex(place, { align: "center" }));
  };
  const pressed = (event: KeyboardEvent) => {
    const row = rows[current];
    const parent = row && rows.findIndex((one) => one.id === written(row.path.slice(0, -1)));
    if (event.key === "ArrowDown") go(current + 1);
    else if (event.key === "ArrowUp") go(current - 1);
    else if (event.key === "Home") go(0);
    else if (event.key === "End") go(rows.length - 1);
    else if (event.key === "ArrowRight" && row?.size) row.open ? go(current + 1) : toggle(row, true);
    else if (event.key === "ArrowLeft" && row) row.open ? toggle(row, false) : parent !== undefined && go(parent);
    else if (event.key === "Enter" && row?.size) toggle(row);
    else return;
    event.preventDefault();
  };

  const looked = rows[current];
  const searchable = useMemo(() => sizeOf(value, SEARCHED_FROM) >= SEARCHED_FROM, [value]);
  return (
    <div className={css.json}>
      <div className={css.bar} data-search={searchable}>
        {searchable && (
          <input
            className="input"
            type="search"
            placeholder="Search"
            aria-label={`Search in ${name}`}
            value={search}
            onChange={(event) => {
              setSearch(event.target.value);
              show(0, found(value, event.target.value));
            }}
            onKeyDown={(event) => {
              if (event.key === "Enter" && matches.length > 0) {
                show((at + (event.shiftKey ? matches.length - 1 : 1)) % matches.length);
              }
            }}
          />
        )}
        {search && (
          <span className={`${css.count} number`} role="status">
            {matches.length === 0 ? "none" : `${at + 1} of ${matches.length}`}
          </span>
        )}
        <Copy text={JSON.stringify(value, null, 2) ?? ""} label={`Copy ${name}`} />
      </div>
      <div
        ref={scroller}
        className={css.scroll}
        style={{ height: Math.min(rows.length, SHOWN_MAX) * ROW + 2 }}
        role="tree"
        aria-label={name}
        tabIndex={0}
        aria-activedescendant={looked && `${uid}-${current}`}
        onKeyDown={pressed}
        onFocus={() => chosen === undefined && rows[0] && setChosen(rows[0].id)}
      >
        <div style={{ height: virtual.getTotalSize(), position: "relative" }} role="presentation">
          {virtual.getVirtualItems().map(({ index, start }) => {
            const row = rows[index]!;
            return (
              <div
                key={row.id}
                id={`${uid}-${index}`}
                role="treeitem"
                aria-level={row.depth + 1}
                aria-expanded={row.size ? row.open : undefined}
                aria-selected={row.id === chosen}
                className={css.row}
                data-match={marked.has(row.id) || undefined}
                style={{ transform: `translateY(${start}px)`, paddingLeft: 4 + row.depth * 14 }}
                onClick={() => {
                  setChosen(row.id);
                  if (row.size) toggle(row);
                }}
              >
                <span className={css.fold} aria-hidden>
                  {row.size ? (row.open ? "▾" : "▸") : ""}
                </span>
                {row.name !== undefined && <span className={typeof row.name === "number" ? css.index : css.key}>{row.name}</span>}
                <Value row={row} />
              </div>
            );
          })}
        </div>
      </div>
      {looked && (
        <div className={css.looked}>
          <code className="clip" title={written(looked.path)}>
            {written(looked.path)}
          </code>
          <Copy text={written(looked.path)} label="Copy the path" />
          <Copy text={copied(looked.value)} label="Copy the value" />
          {typeof looked.value === "string" && looked.value.length > 40 && <pre>{looked.value}</pre>}
        </div>
      )}
    </div>
  );
}

function Value({ row }: { row: TreeRow }) {
  const { value, size } = row;
  if (size !== null) {
    const [from, to] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
    return (
      <span className={css.holds}>
        {size === 0 ? `${from}${to}` : row.open ? from : `${from} ${size.toLocaleString("en")} ${to}`}
      </span>
    );
  }
  const text = typeof value === "string" ? JSON.stringify(value.slice(0, CLIPPED)) : String(value);
  return <span className={`clip ${css[value === null ? "null" : typeof value] ?? ""}`}>{text}</span>;
}

function copied(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}
