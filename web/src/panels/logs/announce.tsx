// What a screen reader is told of the logs.
//
// The law of this file: not every line, but that lines came, at most every EVERY_MS, and only while
// the end is followed; and the line that the keyboard is at, whole.
import { useEffect, useRef, useState } from "react";
import type { LineStore } from "../../data/lines.ts";
import { plain } from "./ansi.ts";
import { KEYS } from "./keys.ts";
import type { LogView } from "./view.ts";

export const EVERY_MS = 5000;

interface Props {
  lines: LineStore;
  quiet: boolean;
  cursor: number | undefined;
  view: LogView;
}

export function Announcer({ lines, quiet, cursor, view }: Props) {
  const [said, say] = useState("");
  const told = useRef({ end: lines.end, errors: lines.counts.error });
  const silent = useRef(quiet);
  silent.current = quiet;
  useEffect(() => {
    told.current = { end: lines.end, errors: lines.counts.error };
    const timer = setInterval(() => {
      const now = { end: lines.end, errors: lines.counts.error };
      if (!silent.current && now.end > told.current.end) say(news(now.end - told.current.end, now.errors - told.current.errors));
      told.current = now;
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [lines]);
  useEffect(() => {
    const line = cursor === undefined ? undefined : view.lines.get(cursor);
    if (line) say(`Line ${line.number}, ${line.level}: ${plain(line.text).slice(0, 500)}`);
  }, [cursor, view]);
  return (
    <>
      <p className="unseen" id="log-keys">
        {`Keys: ${KEYS.map(([keys, what]) => `${keys.replace("  ", " or ")}: ${what}`).join(". ")}.`}
      </p>
      <p className="unseen" role="status" aria-live="polite" data-testid="log-news">
        {said}
      </p>
    </>
  );
}

/** What came, in words. */
export function news(lines: number, errors: number): string {
  const many = `${lines.toLocaleString("en")} new ${lines === 1 ? "line" : "lines"}`;
  return errors > 0 ? `${many}, ${errors.toLocaleString("en")} of them ${errors === 1 ? "an error" : "errors"}` : many;
}
