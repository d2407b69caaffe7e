// Where in the log the page stands: at once on the page, and soon in the URL (`?at=`).
//
// The law of this file: the URL follows what is shown, and leads where somebody else changed it (a
// link, the back button). Browsers take few changes of the address a second; a slider makes sixty.
import { useCallback, useEffect, useRef, useState } from "react";
import { useParam } from "./url.ts";

const WRITE_MS = 250;

/** The position (an event's id; null is live, or the end), and the way to another. */
export function usePosition(): [number | null, (to: number | null) => void] {
  const [at, setAt] = useParam("at");
  const asked = positionOf(at);
  const [shown, setShown] = useState(asked);
  const written = useRef(asked);
  const wanted = useRef(asked);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const write = useRef(setAt);
  useEffect(() => {
    write.current = setAt;
  });

  useEffect(() => {
    if (asked === written.current) return; // it is what was written here
    clearTimeout(timer.current);
    timer.current = undefined;
    written.current = wanted.current = asked;
    setShown(asked);
  }, [asked]);
  useEffect(() => () => clearTimeout(timer.current), []);

  const seek = useCallback((to: number | null) => {
    wanted.current = to;
    setShown(to);
    timer.current ??= setTimeout(() => {
      timer.current = undefined;
      if (wanted.current === written.current) return;
      written.current = wanted.current;
      write.current(wanted.current === null ? undefined : String(wanted.current));
    }, WRITE_MS);
  }, []);
  return [shown, seek];
}

function positionOf(text: string | undefined): number | null {
  const value = text === undefined ? Number.NaN : Number(text);
  return Number.isSafeInteger(value) && value >= 0 ? value : null;
}
