// When a line was said, in the way that was chosen.
import { clock, exactly } from "../../parts/time.tsx";

export const TIMES = ["clock", "start", "delta", "none"] as const;
export type Times = (typeof TIMES)[number];
export const TIME_WORDS: Record<Times, string> = {
  clock: "Clock",
  start: "Since start",
  delta: "Since line before",
  none: "No times",
};

export function timesOf(text: string | undefined): Times {
  return TIMES.find((one) => one === text) ?? "clock";
}

/** A line's time: of the clock, since the execution's start, or since the line before. */
export function stamp(ts: number, times: Times, origin: number, before: number | undefined): string {
  if (times === "clock") return clock(ts);
  if (times === "start") return since(ts - origin);
  return before === undefined ? "" : since(ts - before);
}

/** `+0.012`, `+1:02.345`, `+2:00:01.000`. */
export function since(ms: number): string {
  const sign = ms < 0 ? "-" : "+";
  const whole = Math.abs(Math.round(ms));
  const seconds = Math.floor(whole / 1000) % 60;
  const minutes = Math.floor(whole / 60_000) % 60;
  const hours = Math.floor(whole / 3_600_000);
  const tail = `.${String(whole % 1000).padStart(3, "0")}`;
  const two = (value: number) => String(value).padStart(2, "0");
  if (hours > 0) return `${sign}${hours}:${two(minutes)}:${two(seconds)}${tail}`;
  if (minutes > 0) return `${sign}${minutes}:${two(seconds)}${tail}`;
  return `${sign}${seconds}${tail}`;
}

/** When exactly, here and in UTC: a clock alone does not say of which zone it is. */
export function dateTime(ms: number): string {
  return `${exactly(ms)}\n${new Date(ms).toISOString()}`;
}
