// Lines as they are drawn.
//
// The law of this file: a line is as high as every other (ROW_PX) unless lines wrap, so that where a
// line stands is arithmetic; and a block of lines that has not changed is not drawn again.
import { memo } from "react";
import type { Gap } from "@tailrace/client";
import type { Line } from "../../data/lines.ts";
import { drawings, plain, spansOf, type Span } from "./ansi.ts";
import looks from "./ansi.module.css";
import css from "./logs.module.css";
import { dateTime, stamp, type Times } from "./times.ts";
import type { LogView } from "./view.ts";

/**
 * 1,000,000 of them are 16.0 M px: less than 2^24, where a browser's floats begin to leave out
 * pixels; Firefox ends at 17.9 M, Chromium at 33.5 M.
 */
export const ROW_PX = 16;
/** Lines in a block: the virtualiser counts blocks, so a million lines are 31,250 things to it. */
export const BLOCK = 32;
/** How much of a line is drawn; a longer one says how much more there is, and gives it. */
export const SHOWN_CHARS = 4000;

const LETTERS = { debug: "D", info: "", warning: "W", error: "E" } as const;

/** What a block is drawn from. Compared one by one: each stays the same while nothing changes. */
export interface BlockProps {
  view: LogView;
  from: number;
  to: number;
  pattern: RegExp | undefined;
  times: Times;
  origin: number;
  /** The line that the keyboard is at, and the one that the link is of: numbers, if in this block. */
  cursor: number | undefined;
  linked: number | undefined;
  whole: ReadonlySet<number>;
  gaps: ReadonlyMap<number, Gap>;
  sources: boolean;
  nodes: boolean;
  hrefOf: (number: number) => string;
}

export const Block = memo(function Block(props: BlockProps) {
  const { view, from, to } = props;
  const rows = [];
  for (let row = from; row < to; row++) {
    const line = view.lines.get(view.indexOf(row));
    if (!line) continue;
    const before = row > 0 && props.times === "delta" ? view.lines.get(view.indexOf(row - 1))?.ts : undefined;
    rows.push(<Row key={row} line={line} before={before} {...props} />);
  }
  return rows;
});

function Row({ line, before, ...props }: BlockProps & { line: Line; before: number | undefined }) {
  const { number, level, text } = line;
  const gap = props.gaps.get(number - 1);
  const whole = props.whole.has(number);
  const spans = spansOf(text, props.pattern, whole ? Infinity : SHOWN_CHARS);
  const length = text.length > SHOWN_CHARS ? plain(text).length : 0;
  const redrawn = text.includes("\r") ? drawings(text) : 1;
  return (
    <div
      className={css.row}
      data-line={number}
      data-level={level}
      data-cursor={props.cursor === number || undefined}
      data-linked={props.linked === number || undefined}
      data-gap={gap ? true : undefined}
    >
      <a className={css.number} href={props.hrefOf(number)} tabIndex={-1} title="Link to this line">
        {number}
      </a>
      {props.times !== "none" && (
        <span className={css.time} title={dateTime(line.ts)}>
          {stamp(line.ts, props.times, props.origin, before)}
        </span>
      )}
      <span className={css.level} title={level}>
        {LETTERS[level]}
      </span>
      {props.nodes && (
        <span className={css.of} title={line.node}>
          {line.node}
        </span>
      )}
      {props.sources && (
        <span className={css.of} title={line.source}>
          {line.source}
        </span>
      )}
      <span className={css.text}>
        {spans.map((span, place) => (
          <Part key={place} span={span} />
        ))}
        {redrawn > 1 && <span className={css.note}>drawn {redrawn.toLocaleString("en")} times</span>}
        {length > SHOWN_CHARS && !whole && (
          <button type="button" className={css.more} data-whole={number} tabIndex={-1}>
            {(length - SHOWN_CHARS).toLocaleString("en")} more characters
          </button>
        )}
        {line.truncated && (
          <span className={css.note} title="It was longer than the server keeps (line_max_bytes).">
            cut here
          </span>
        )}
      </span>
      {gap && <span className={css.gap}>{gapWords(gap)}</span>}
    </div>
  );
}

function Part({ span }: { span: Span }) {
  const className = span.looks.map((look) => looks[look]).join(" ") || undefined;
  const style = span.color || span.background ? { color: span.color, background: span.background } : undefined;
  if (span.hit) return <mark className={css.hit}>{span.text}</mark>;
  if (!className && !style) return span.text;
  return (
    <span className={className} style={style}>
      {span.text}
    </span>
  );
}

/** A gap in words. */
export function gapWords(gap: Gap): string {
  const many = gap.to - gap.from + 1;
  const why = gap.cause === "retention" ? "no longer kept" : gap.cause === "lost" ? "the log was lost" : gap.cause;
  const counted = gap.from === 1 && gap.cause === "retention" ? "; lines are counted from here" : "";
  return `${many.toLocaleString("en")} ${many === 1 ? "event" : "events"} missing here: ${why}${counted}`;
}
