// Where in the log the page stands: a track, a player, and the way back to live.
//
// The law of this file: it only says a position; the page shows it.
import { hasEnded } from "@tailrace/client";
import { useMemo, useState, type KeyboardEvent } from "react";
import { rowOf } from "../inspect/index.ts";
import { clock, duration, exactly } from "../parts/time.tsx";
import { SPEEDS, usePlay } from "../scrub/play.ts";
import css from "../scrub/scrub.module.css";
import { Timeline } from "../scrub/timeline.ts";
import { Track } from "../scrub/track.tsx";
import type { PanelProps } from "./contract.ts";

const KEPT = "tailrace.play";

export default function Scrubber({ store, version, position, seek }: PanelProps) {
  const { head } = store.live;
  const ended = hasEnded(store.live);
  const at = Math.min(position ?? head, head);
  const { history } = store; // another, when the log was lost
  const timeline = useMemo(() => new Timeline(), [history]);
  timeline.grow(store, head);
  const [{ speed, skip }, setKept] = useState(settings);
  const set = (changed: Partial<Settings>) => {
    const next = { speed, skip, ...changed };
    setKept(next);
    localStorage.setItem(KEPT, JSON.stringify({ speed: String(next.speed), skip: next.skip }));
  };
  const to = (id: number) => seek(id >= store.live.head ? null : Math.max(1, id));
  const [playing, play] = usePlay({ timeline, position, head, speed, skip, seek });

  const pressed = (event: KeyboardEvent) => {
    const { key } = event;
    if (key === "ArrowRight" || key === "ArrowUp") to(at + 1);
    else if (key === "ArrowLeft" || key === "ArrowDown") to(at - 1);
    else if (key === "PageUp") to(momentAfter(history.moments(), at));
    else if (key === "PageDown") to(momentBefore(history.moments(), at));
    else if (key === "Home") to(1);
    else if (key === "End") seek(null);
    else if (key === " ") play(!playing);
    else return;
    event.preventDefault();
  };

  const ms = timeline.msAt(at);
  return (
    <div className={css.scrubber} data-playing={playing}>
      <div className={css.player}>
        <button type="button" className={`button ${css.play}`} aria-label={playing ? "Pause" : "Play"} disabled={head < 2} onClick={() => play(!playing)}>
          <svg viewBox="0 0 14 14" width="12" height="12" aria-hidden fill="currentColor">
            {playing ? <path d="M3 2h3v10H3zM8 2h3v10H8z" /> : <path d="M3 1.5v11l9-5.5z" />}
          </svg>
        </button>
        <select className={`input number ${css.speed}`} aria-label="Speed" value={String(speed)} onChange={(event) => set({ speed: Number(event.target.value) })}>
          {SPEEDS.map((one) => (
            <option key={one} value={String(one)}>
              {one === Infinity ? "max" : `${one}×`}
            </option>
          ))}
        </select>
        <label className={css.skip} title="A pause takes a second at most">
          <input type="checkbox" checked={skip} onChange={(event) => set({ skip: event.target.checked })} />
          Skip pauses
        </label>
      </div>
      <Track
        {...{ timeline, version, head, at, skip }}
        status={store.live.status}
        rowAt={(id) => rowOf(store, id)}
        onSeek={to}
        onKey={pressed}
      />
      <div className={css.where}>
        <span className="number" title="The event up to which the page is shown, of how many there are">
          <span className={css.of}>event </span>
          <span data-testid="position">
            {at.toLocaleString("en")} / {head.toLocaleString("en")}
          </span>
        </span>
        <span className="number muted" title={head > 0 ? `${exactly(timeline.begin + ms)} (${clock(timeline.begin + ms)})` : undefined}>
          +{duration(ms)}
        </span>
      </div>
      <button
        type="button"
        className={`button ${css.live}`}
        data-live={position === null}
        disabled={position === null}
        onClick={() => {
          play(false);
          seek(null);
        }}
      >
        <svg viewBox="0 0 10 10" width="8" height="8" aria-hidden>
          {ended ? <rect x="1" y="1" width="8" height="8" rx="1.5" fill="currentColor" /> : <circle cx="5" cy="5" r="4" fill="currentColor" />}
        </svg>
        {ended ? "End" : "Live"}
      </button>
    </div>
  );
}

type Moments = ReadonlyArray<{ id: number }>;

function momentAfter(moments: Moments, at: number): number {
  return moments.find((moment) => moment.id > at)?.id ?? Infinity;
}

function momentBefore(moments: Moments, at: number): number {
  return moments.findLast((moment) => moment.id < at)?.id ?? 1;
}

interface Settings {
  speed: number;
  skip: boolean;
}

/** As this browser played last. */
function settings(): Settings {
  try {
    const { speed, skip } = JSON.parse(localStorage.getItem(KEPT) ?? "") as { speed: string; skip: boolean };
    const known = SPEEDS.find((one) => String(one) === speed);
    return { speed: known ?? 1, skip: skip !== false };
  } catch {
    return { speed: 1, skip: true };
  }
}
