// A JSON value, to look into.
//
// The law of this file: nothing is drawn before it is opened, nor more than STEP of one list at
// once; a part that stayed the same object is not drawn again.
import { memo, useState } from "react";
import { Copy } from "../../parts/problem.tsx";
import css from "./json.module.css";

const STEP = 100;
const LONG = 600;

/** A value with a way to copy it. `open`: how deep it is open at first. */
export function Json({ value, open = 1, label }: { value: unknown; open?: number; label: string }) {
  return (
    <div className={css.json} role="group" aria-label={label}>
      <div className={css.copy}>
        <Copy text={JSON.stringify(value, null, 2) ?? "null"} label={`Copy ${label.toLowerCase()}`} />
      </div>
      <Value value={value} open={open} />
    </div>
  );
}

const Value = memo(function Value({ name, value, open }: { name?: string; value: unknown; open: number }) {
  if (typeof value === "object" && value !== null) return <Branch name={name} value={value} open={open} />;
  return (
    <div className={css.leaf}>
      {name !== undefined && <Key name={name} />}
      <Leaf value={value} />
    </div>
  );
});

function Branch({ name, value, open }: { name?: string | undefined; value: object; open: number }) {
  const [opened, setOpened] = useState<boolean>();
  const [most, setMost] = useState(STEP);
  const list = Array.isArray(value);
  const size = list ? value.length : Object.keys(value).length;
  const shown = (opened ?? open > 0) && size > 0;
  const [begin, end] = list ? ["[", "]"] : ["{", "}"];
  if (size === 0) {
    return (
      <div className={css.leaf}>
        {name !== undefined && <Key name={name} />}
        <span className={css.sign}>{begin + end}</span>
      </div>
    );
  }
  return (
    <div className={css.branch}>
      <button type="button" aria-expanded={shown} onClick={() => setOpened(!shown)}>
        <svg viewBox="0 0 10 10" width="9" height="9" aria-hidden data-open={shown}>
          <path d="M3 1.5L7 5 3 8.5" fill="none" stroke="currentColor" strokeWidth="1.5" />
        </svg>
        {name !== undefined && <Key name={name} />}
        <span className={css.sign}>{begin}</span>
        {!shown && <span className={css.size}>{list ? `${size.toLocaleString("en")} items` : keysOf(value)}</span>}
        {!shown && <span className={css.sign}>{end}</span>}
      </button>
      {shown && (
        <div className={css.inside}>
          {(list ? value.slice(0, most).map((one, at) => [String(at), one] as const) : Object.entries(value).slice(0, most)).map(([key, one]) => (
            <Value key={key} name={key} value={one} open={open - 1} />
          ))}
          {size > most && (
            <button type="button" className={css.more} onClick={() => setMost(most + 10 * STEP)}>
              {(size - most).toLocaleString("en")} more
            </button>
          )}
        </div>
      )}
      {shown && <div className={css.sign}>{end}</div>}
    </div>
  );
}

function keysOf(value: object): string {
  const keys = Object.keys(value);
  return keys.length > 3 ? `${keys.slice(0, 3).join(", ")} … ${keys.length}` : keys.join(", ");
}

function Key({ name }: { name: string }) {
  return <span className={css.key}>{name}:&nbsp;</span>;
}

function Leaf({ value }: { value: unknown }) {
  const [whole, setWhole] = useState(false);
  if (typeof value !== "string") return <span className={css[typeof value] ?? css.null}>{String(value)}</span>;
  const cut = value.length > LONG && !whole;
  return (
    <span className={css.string}>
      "{cut ? value.slice(0, LONG) : value}"
      {cut && (
        <button type="button" className={css.more} onClick={() => setWhole(true)}>
          {(value.length - LONG).toLocaleString("en")} more characters
        </button>
      )}
    </span>
  );
}

/** A value in one line. */
export function preview(value: unknown, most = 120): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text === undefined ? "" : text.length > most ? `${text.slice(0, most)}…` : text;
}
