// What a streaming capture gives: the newest values, as they come.
//
// The law of this file: the newest are on top; a row is drawn once. The page keeps the newest 1,000
// of them (data/execution.ts), and shows SHOWN until it is asked for more.
import type { OutputSummary, TailraceEvent } from "@tailrace/client";
import { memo, useState } from "react";
import { clock } from "../../parts/time.tsx";
import { Aside } from "./cards.tsx";
import { Json, preview } from "./json.tsx";
import css from "./items.module.css";

const SHOWN = 100;
const RATE_MS = 5000;

type Item = TailraceEvent<"output.item">;

interface Props {
  items: readonly Item[];
  total: number;
  live: boolean;
  execution: string;
}

export function Items({ items, total, live, execution }: Props) {
  const [all, setAll] = useState(false);
  const shown = (all ? items.slice() : items.slice(-SHOWN)).reverse();
  const rate = live ? rateOf(items) : 0;
  return (
    <section className={css.items} aria-label="Values">
      <header>
        <h2>Values</h2>
        <span className="muted number">{total.toLocaleString("en")}</span>
        {rate > 0 && <span className={`${css.rate} number`}>{rate < 10 ? rate.toFixed(1) : Math.round(rate).toLocaleString("en")}/s</span>}
      </header>
      <div className={css.head} aria-hidden>
        <span>#</span>
        <span>Time</span>
        <span>Value</span>
      </div>
      <ol aria-label="Newest values first">
        {shown.map((item) => (
          <Row key={item.id} item={item} execution={execution} />
        ))}
      </ol>
      {items.length > shown.length && (
        <button type="button" className="button" onClick={() => setAll(true)}>
          Show {(items.length - shown.length).toLocaleString("en")} more
        </button>
      )}
      {total > items.length && <p className="muted">The newest {items.length.toLocaleString("en")} of {total.toLocaleString("en")} are kept here.</p>}
    </section>
  );
}

const Row = memo(function Row({ item, execution }: { item: Item; execution: string }) {
  const [open, setOpen] = useState(false);
  const { index, value } = item.data;
  const summary = item.data.value_summary as OutputSummary | undefined; // too large for its event
  const label = `Value ${index}`;
  return (
    <li className={css.row} data-item={index}>
      <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
        <span className={`${css.index} number`}>{index}</span>
        <span className={`${css.time} number`}>{clock(Date.parse(item.ts))}</span>
        <code className="clip">{summary ? summary.preview : preview(value, 300)}</code>
      </button>
      {open && (summary ? <Aside summary={summary} label={label} execution={execution} /> : <Json value={value} open={2} label={label} />)}
    </li>
  );
});

/** Values a second, over the last seconds of the log in which they came. */
export function rateOf(items: ReadonlyArray<Pick<Item, "ts">>): number {
  const last = items.at(-1);
  if (!last) return 0;
  const end = Date.parse(last.ts);
  let first = items.length - 1;
  while (first > 0 && end - Date.parse(items[first - 1]!.ts) <= RATE_MS) first--;
  const span = end - Date.parse(items[first]!.ts);
  return span > 0 ? (1000 * (items.length - 1 - first)) / span : 0;
}
