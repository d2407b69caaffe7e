// What the list is filtered by.
import type { Ref } from "react";
import { ALL, type Row } from "../data/list.ts";
import { wordOf } from "../parts/marks.tsx";
import { distinct, type Filters, type StatusCount } from "./filters.ts";
import css from "./list.module.css";

interface ToolbarProps {
  ref: Ref<HTMLInputElement>;
  rows: readonly Row[];
  counts: readonly StatusCount[];
  loaded: boolean;
  filters: Filters;
  choose: (changed: Partial<Filters>) => void;
}

export function Toolbar({ ref, rows, counts, loaded, filters, choose }: ToolbarProps) {
  return (
    <div className={css.toolbar}>
      <div className={css.statuses} role="group" aria-label="Status">
        {counts.map(({ status, count, more }) => (
          <button
            key={status}
            type="button"
            aria-pressed={filters.status === status}
            onClick={() => choose({ status })}
          >
            {titled(status === ALL ? "all" : wordOf(status))}{" "}
            {loaded && (
              <span className={`number ${css.count}`}>
                {count.toLocaleString("en")}
                {more && "+"}
              </span>
            )}
          </button>
        ))}
      </div>
      <Choice label="Kind" all="Any kind" options={distinct(rows, "kind", filters.kind)} value={filters.kind} onChange={(kind) => choose({ kind })} />
      <Choice label="Flow" all="Any flow" options={distinct(rows, "flow", filters.flow)} value={filters.flow} onChange={(flow) => choose({ flow })} />
      <span className={css.search}>
        <svg viewBox="0 0 14 14" width="13" height="13" aria-hidden>
          <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.5" />
          <path d="M9.2 9.2L12.5 12.5" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" />
        </svg>
        <input
          ref={ref}
          className="input"
          type="search"
          placeholder="Flow, id or error"
          aria-label="Search by flow, id or error"
          aria-keyshortcuts="/"
          value={filters.search}
          onChange={(event) => choose({ search: event.target.value })}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
        />
        <kbd aria-hidden>/</kbd>
      </span>
    </div>
  );
}

interface ChoiceProps {
  label: string;
  all: string;
  options: readonly string[];
  value: string;
  onChange: (value: string) => void;
}

function Choice({ label, all, options, value, onChange }: ChoiceProps) {
  return (
    <select className={`input ${css.choice}`} aria-label={label} value={value} data-set={value !== ""} onChange={(event) => onChange(event.target.value)}>
      <option value="">{all}</option>
      {options.map((option) => (
        <option key={option}>{option}</option>
      ))}
    </select>
  );
}

function titled(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}
