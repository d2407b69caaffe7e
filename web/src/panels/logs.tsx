// Log lines. First version: the newest that fit a page, as plain text.
import { Empty } from "../parts/problem.tsx";
import { clock } from "../parts/time.tsx";
import type { PanelProps } from "./contract.ts";
import css from "./panels.module.css";

const SHOWN = 300;

export default function Logs({ store, position }: PanelProps) {
  const { lines } = store;
  const end = position === null ? lines.end : lines.endAt(position);
  if (end === lines.first) return <Empty title="No log lines">What nodes print and log appears here.</Empty>;
  const shown = [];
  for (let index = Math.max(lines.first, end - SHOWN); index < end; index++) shown.push(lines.get(index)!);
  return (
    <ol className={css.lines} aria-label="Log lines">
      {shown.map((line) => (
        <li key={line.number} data-level={line.level}>
          <span className={css.lineNumber}>{line.number}</span>
          <span className={css.lineTime}>{clock(line.ts)}</span>
          <span className={css.lineText}>{line.text}</span>
        </li>
      ))}
    </ol>
  );
}
