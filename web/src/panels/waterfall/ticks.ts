// Nice places on an axis of time.
//
// The law of this file: ticks are at round times, as people count them: by tens below a second, by
// sixties above.
import { duration } from "../../parts/time.tsx";

const BELOW_S = [1, 2, 5, 10, 20, 50, 100, 200, 500];
const ABOVE_S = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];
const STEPS = [0.1, 0.2, 0.5, ...BELOW_S, ...ABOVE_S.map((s) => s * 1000)];

export interface Tick {
  ms: number;
  label: string;
}

/** Ticks between two times (milliseconds after the beginning), `most` at most. */
export function ticks(from: number, to: number, most: number): Tick[] {
  const least = (to - from) / Math.max(most, 1);
  const last = STEPS.at(-1)!;
  const step = STEPS.find((one) => one >= least) ?? Math.ceil(least / last) * last;
  const made: Tick[] = [];
  // By whole numbers of steps: sums of fractions would drift.
  for (let n = Math.ceil(from / step - 1e-9); n * step <= to + step * 1e-9; n++) {
    made.push({ ms: n * step, label: tickLabel(n * step, step) });
  }
  return made;
}

/** A time on the axis, as exact as its step is fine. */
export function tickLabel(ms: number, step: number): string {
  if (ms === 0) return "0";
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  if (step < 1000 && Math.abs(ms) < 1000) return `${ms.toFixed(step < 1 ? digits : 0)} ms`;
  const s = ms / 1000;
  if (step < 1000 && Math.abs(s) < 60) return `${s.toFixed(Math.min(digits + 3, 3 - Math.floor(Math.log10(step) + 1e-9)))} s`;
  const whole = Math.floor(s + 1e-9);
  const rest = step < 1000 ? (s % 60).toFixed(3 - Math.floor(Math.log10(step) + 1e-9)) : String(whole % 60);
  if (whole < 60) return `${rest} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} m${Number(rest) ? ` ${rest} s` : ""}`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h${whole % 3600 ? ` ${Math.floor((whole % 3600) / 60)} m` : ""}`;
  return `${Math.floor(whole / 86_400)} d${whole % 86_400 ? ` ${Math.floor((whole % 86_400) / 3600)} h` : ""}`;
}

/** A duration, with its tenths where there are few milliseconds. */
export function fine(ms: number): string {
  return ms > 0 && ms < 9.95 ? `${ms < 0.05 ? "<0.1" : ms.toFixed(1)} ms` : duration(ms);
}
