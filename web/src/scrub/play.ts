// Playing a log: the position moves as time did, or faster.
//
// The law of this file: one step for each frame that is drawn; a person who moves the position is
// followed, and the end stops it. Where motion is not wanted it goes in steps of STEP_MS.
import { useEffect, useRef, useState } from "react";
import type { Timeline } from "./timeline.ts";

export const SPEEDS = [0.5, 1, 2, 5, 10, 100, Infinity] as const;
/** How long a whole log takes at the greatest speed; each event is at least one frame. */
const FASTEST_MS = 5000;
const STEP_MS = 400;

export interface Playing {
  timeline: Timeline;
  position: number | null;
  head: number;
  speed: number;
  skip: boolean;
  seek: (position: number | null) => void;
}

/** Whether it plays, and the switch. */
export function usePlay(now: Playing): [boolean, (playing: boolean) => void] {
  const [playing, setPlaying] = useState(false);
  const latest = useRef(now);
  useEffect(() => {
    latest.current = now;
  });

  useEffect(() => {
    if (!playing) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const { position, head, timeline, skip } = latest.current;
    const begins = position === null || position >= head;
    let said: number | null = begins ? 1 : position;
    let at = begins ? 0 : timeline.msAt(position, skip);
    let skipping = skip;
    let last = performance.now();
    if (begins) latest.current.seek(1);
    let frame = requestAnimationFrame(function step(time) {
      frame = requestAnimationFrame(step);
      const passed = time - last;
      if (calm && passed < STEP_MS) return;
      last = time;
      const { timeline, position, head, speed, skip, seek } = latest.current;
      if ((position !== said && position !== null) || skip !== skipping) {
        at = timeline.msAt(position ?? head, skip); // somebody else moved it
        said = position ?? head;
        skipping = skip;
      }
      const total = timeline.total(skip);
      at += speed === Infinity ? (passed * total) / FASTEST_MS : passed * speed;
      let next = Math.max(timeline.idAt(at, skip), said ?? 1);
      if (speed === Infinity && next === said) {
        next += 1;
        at = Math.max(at, timeline.msAt(next, skip));
      }
      if (next >= head || at > total) {
        seek(null);
        setPlaying(false);
      } else if (next !== said) {
        said = next;
        seek(next);
      }
    });
    return () => cancelAnimationFrame(frame);
  }, [playing]);
  return [playing, setPlaying];
}
