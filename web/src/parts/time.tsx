// Times and durations as people read them.
//
// The law of this file: what ticks is told by one clock for the whole page, once a second, and only
// while the page is seen; nothing that has ended ticks.
import { createContext, useContext, useSyncExternalStore } from "react";

const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let second = Date.now();

function tick() {
  if (document.visibilityState === "hidden") return;
  second = Date.now();
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(tick, 1000);
  return () => {
    listeners.delete(listener);
    if (listeners.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

/** The moment that is shown as now, where a page shows another than that; null: the clock's. */
export const NowContext = createContext<number | null>(null);

/** Now, to the second; draws anew when it changes. Of a past position: the moment of that. */
export function useNow(ticking = true): number {
  const shown = useContext(NowContext);
  const clock = useSyncExternalStore(ticking && shown === null ? subscribe : never, theSecond);
  return shown ?? clock;
}

function never(): () => void {
  return () => undefined;
}

function theSecond(): number {
  return second;
}

/** A duration: `340 ms`, `2.41 s`, `3 m 20 s`, `2 h 5 m`, `3 d 4 h`. */
export function duration(ms: number): string {
  if (ms < 0) return "0 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${s.toFixed(2)} s`;
  if (s < 60) return `${s.toFixed(1)} s`;
  const whole = Math.floor(s);
  if (whole < 3600) return `${Math.floor(whole / 60)} m ${whole % 60} s`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} m`;
  return `${Math.floor(whole / 86_400)} d ${Math.floor((whole % 86_400) / 3600)} h`;
}

/** A moment with its microseconds, which Date leaves out. */
export function moment(ts: string): number {
  const more = /\.\d{3}(\d{1,6})/.exec(ts);
  return Date.parse(ts) + (more ? Number(`0.${more[1]}`) : 0);
}

/** The time between two moments, or since one while there is no other: then it ticks. */
export function Duration({ from, to }: { from: string | null; to: string | null }) {
  const at = useNow(from !== null && to === null);
  const past = useContext(NowContext) !== null;
  if (from === null) return <span className="muted">–</span>;
  const ms = (to === null ? (past ? at : Math.max(at, Date.now())) : moment(to)) - moment(from);
  // What ticks is told in whole seconds: nobody reads hundredths that change.
  const told = to === null && !past ? duration(Math.max(Math.floor(ms / 1000), 0) * 1000).replace(/\.0+ s/, " s") : duration(ms);
  return <span className="number">{told === "0 ms" && to === null && !past ? "0 s" : told}</span>;
}

/** How long an execution took that has ended: the same figure wherever it is said. */
export function tookOf({ started_at, ended_at, total_duration_ms }: { started_at: string | null; ended_at: string | null; total_duration_ms: number | null }): number | undefined {
  if (started_at && ended_at) return moment(ended_at) - moment(started_at);
  return total_duration_ms ?? undefined; // the beginning of its log is gone
}

/** A moment: how long ago, and when exactly. */
export function Ago({ at }: { at: string }) {
  const now = useSyncExternalStore(subscribe, theSecond);
  const date = new Date(at);
  return (
    <time dateTime={at} title={exactly(date.getTime())} className="number">
      {ago(Math.max(now, Date.now()) - date.getTime())}
    </time>
  );
}

function ago(ms: number): string {
  const s = Math.floor(ms / 1000);
  if (s < 5) return "just now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

/** A moment with its date and the zone of the clock: what a tooltip says. */
export function exactly(ms: number): string {
  return EXACT.format(ms);
}

const EXACT = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" }); // made once: it is slow

/** A moment's day where it is not today's: a time alone would be taken for today's. */
export function day(ms: number, now = Date.now()): string {
  const date = new Date(ms);
  if (date.toDateString() === new Date(now).toDateString()) return "";
  const year = date.getFullYear() === new Date(now).getFullYear() ? {} : ({ year: "numeric" } as const);
  return date.toLocaleDateString(undefined, { month: "short", day: "numeric", ...year });
}

/** A moment of today's clock, to the millisecond. */
export function clock(ms: number): string {
  const date = new Date(ms);
  const two = (n: number) => String(n).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}
