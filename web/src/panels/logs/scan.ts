// Scanning, a slice at a time.
//
// The law of this file: the page gets its turn after every slice, and is drawn anew only when
// something was found.
import { useEffect, useReducer } from "react";
import type { Scanner } from "./view.ts";

/** How long a scanner may work before the page gets its turn. */
const SLICE_MS = 8;

/** Let scanners look at what has come, a slice at a time; draws anew when they found something. */
export function useScan(scanners: ReadonlyArray<Scanner | undefined>, version: number): void {
  const [, draw] = useReducer((times: number) => times + 1, 0);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const step = () => {
      const before = sum(scanners);
      const deadline = performance.now() + SLICE_MS;
      let more = false;
      for (const scanner of scanners) more = (scanner?.advance(deadline) ?? false) || more;
      if (sum(scanners) !== before) draw();
      if (more) timer = setTimeout(step, 0);
    };
    step();
    return () => clearTimeout(timer);
    // eslint-disable-next-line react-hooks/exhaustive-deps -- the scanners, one by one
  }, [...scanners, version]);
}

function sum(scanners: ReadonlyArray<Scanner | undefined>): number {
  return scanners.reduce((total, scanner) => total + (scanner?.progress ?? 0), 0);
}
