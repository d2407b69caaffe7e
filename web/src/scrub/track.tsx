// The track: what happened when, and where the page stands in it.
//
// The law of this file: it is a slider, for the keyboard and for screen readers too. Kinds of marks
// differ in height, not only in colour.
import { useMemo, useRef, useState, type KeyboardEvent, type PointerEvent } from "react";
import type { EventRow } from "../inspect/index.ts";
import { duration } from "../parts/time.tsx";
import css from "./scrub.module.css";
import type { MarkKind, Timeline } from "./timeline.ts";

const WIDTH = 1000;
const HEIGHT = 30;
const BINS = 160;
/** From which height a mark of a kind stands up. */
const TOPS: Record<MarkKind, number> = { start: 25, retry: 15, failure: 3, end: 0 };

interface TrackProps {
  timeline: Timeline;
  version: number;
  head: number;
  at: number;
  skip: boolean;
  status: string;
  rowAt: (id: number) => EventRow;
  onSeek: (id: number) => void;
  onKey: (event: KeyboardEvent) => void;
}

export function Track({ timeline, version, head, at, skip, status, rowAt, onSeek, onKey }: TrackProps) {
  const ref = useRef<HTMLDivElement>(null);
  const [hovered, setHovered] = useState<number>();
  const area = useMemo(() => areaOf(timeline.density(BINS, skip)), [timeline, version, skip]);
  const marks = useMemo(() => pathsOf(timeline, skip), [timeline, version, skip]);
  const share = head === 0 ? 0 : timeline.shareOf(at, skip);

  const shareAt = (event: PointerEvent) => {
    const { left, width } = ref.current!.getBoundingClientRect();
    return Math.min(Math.max((event.clientX - left) / width, 0), 1);
  };
  const moved = (event: PointerEvent) => {
    const to = shareAt(event);
    setHovered(to);
    if (event.buttons & 1 && ref.current?.hasPointerCapture(event.pointerId)) onSeek(timeline.idAtShare(to, skip));
  };
  const shown = hovered === undefined ? undefined : rowAt(timeline.idAtShare(hovered, skip));
  return (
    <div
      ref={ref}
      className={css.track}
      role="slider"
      tabIndex={0}
      aria-label="Position in the log"
      aria-valuemin={Math.min(1, head)}
      aria-valuemax={head}
      aria-valuenow={at}
      aria-valuetext={`Event ${at} of ${head}, ${duration(timeline.msAt(at))} after the start`}
      onKeyDown={onKey}
      onPointerDown={(event) => {
        ref.current!.setPointerCapture(event.pointerId);
        onSeek(timeline.idAtShare(shareAt(event), skip));
      }}
      onPointerMove={moved}
      onPointerLeave={() => setHovered(undefined)}
    >
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden>
        <path d={area} className={css.area} />
        <rect x="0" y="0" width={share * WIDTH} height={HEIGHT} className={css.passed} />
        <g className={css.marks}>
          <path d={marks.start} className={css.start} />
          <path d={marks.retry} className={css.retry} />
          <path d={marks.failure} className={css.failure} />
          <path d={marks.end} className={css.end} data-status={status} />
        </g>
      </svg>
      <span className={css.thumb} style={{ left: `${share * 100}%` }} />
      {hovered !== undefined && shown && (
        <span className={css.tip} style={{ left: `clamp(70px, ${hovered * 100}%, calc(100% - 70px))` }} aria-hidden>
          <strong className="number">+{duration(timeline.msAt(shown.id))}</strong> event {shown.id.toLocaleString("en")}
          <br />
          <span className="clip">
            {shown.type} {shown.node}
          </span>
        </span>
      )}
    </div>
  );
}

/** The number of events over time, as an area; of few and of many both are seen. */
function areaOf(counts: readonly number[]): string {
  const most = Math.max(1, ...counts);
  const step = WIDTH / counts.length;
  const tops = counts.map((count, index) => {
    const y = HEIGHT - 2 - Math.sqrt(count / most) * (HEIGHT - 8);
    return `L${(index * step).toFixed(1)} ${y.toFixed(1)}H${((index + 1) * step).toFixed(1)}`;
  });
  return `M0 ${HEIGHT}${tops.join("")}V${HEIGHT}Z`;
}

/** One path for each kind, with one line at most in each place. */
function pathsOf(timeline: Timeline, skip: boolean): Record<MarkKind, string> {
  const places: Record<MarkKind, Set<number>> = { start: new Set(), retry: new Set(), failure: new Set(), end: new Set() };
  for (const { id, kind } of timeline.marks) places[kind].add(Math.round(timeline.shareOf(id, skip) * WIDTH));
  const path = (kind: MarkKind) => [...places[kind]].map((x) => `M${x} ${TOPS[kind]}V${HEIGHT}`).join("");
  return { start: path("start"), retry: path("retry"), failure: path("failure"), end: path("end") };
}
