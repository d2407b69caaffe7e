// The axis: ticks, the moment that is shown, a part to zoom to.
import { useRef, useState, type PointerEvent } from "react";
import { fine as duration, ticks } from "./ticks.ts";
import css from "./waterfall.module.css";

/** A part of the time, in milliseconds since 1970. */
export interface Range {
  from: number;
  to: number;
}

export interface AxisProps {
  begin: number;
  whole: Range;
  shown: Range;
  /** The moment of the position that is shown. */
  moment: number | undefined;
  zoom: (range: Range | undefined) => void;
  /** Go to a moment. */
  seek: (moment: number) => void;
}

/** A moment's place in a range, in percent. */
export function share(at: number, { from, to }: Range): number {
  return (100 * (at - from)) / (to - from);
}

/** Drag to zoom, click to go there, click twice for everything. */
export function Axis({ begin, whole, shown, moment, zoom, seek }: AxisProps) {
  const track = useRef<HTMLDivElement>(null);
  const [drag, setDrag] = useState<[number, number]>();
  const at = (event: PointerEvent) => {
    const { left, width } = track.current!.getBoundingClientRect();
    return shown.from + (shown.to - shown.from) * Math.min(Math.max((event.clientX - left) / width, 0), 1);
  };
  const down = (event: PointerEvent<HTMLDivElement>) => {
    event.currentTarget.setPointerCapture(event.pointerId);
    setDrag([at(event), at(event)]);
  };
  const up = (event: PointerEvent) => {
    if (!drag) return;
    const [from, to] = [Math.min(drag[0], at(event)), Math.max(drag[0], at(event))];
    setDrag(undefined);
    if (Math.abs(share(to, shown) - share(from, shown)) > 0.7) zoom({ from, to });
    else seek(from);
  };
  const marked = drag && { from: Math.min(...drag), to: Math.max(...drag) };
  return (
    <div className={css.axis} title="Drag to zoom, click to go there">
      <div />
      <div
        ref={track}
        className={css.ticks}
        onPointerDown={down}
        onPointerMove={(event) => drag && setDrag([drag[0], at(event)])}
        onPointerUp={up}
        onDoubleClick={() => zoom(undefined)}
        data-testid="axis"
      >
        {placesOf(begin, shown).map(({ ms, label }) => (
          <span key={ms} className={`${css.tick} number`} style={{ left: `${share(begin + ms, shown)}%` }}>
            {label}
          </span>
        ))}
        {marked && <span className={css.brush} style={{ left: `${share(marked.from, shown)}%`, width: `${share(marked.to, shown) - share(marked.from, shown)}%` }} />}
        {moment !== undefined && isIn(moment, shown) && (
          <span className={`${css.moment} number`} data-testid="moment" style={{ left: `${share(moment, shown)}%` }}>
            {duration(moment - begin)}
          </span>
        )}
      </div>
      <div className={css.whole}>{shown === whole ? "" : duration(shown.to - shown.from)}</div>
    </div>
  );
}

/** The lines below the axis: the ticks' behind the bars, the moment's before them. */
export function Lines({ begin, shown, moment }: Pick<AxisProps, "begin" | "shown" | "moment">) {
  return (
    <>
      <div className={css.lines} aria-hidden>
        {placesOf(begin, shown).map(({ ms }) => (
          <i key={ms} style={{ left: `${share(begin + ms, shown)}%` }} />
        ))}
      </div>
      <div className={css.lines} data-front aria-hidden>
        {moment !== undefined && isIn(moment, shown) && <i style={{ left: `${share(moment, shown)}%` }} />}
      </div>
    </>
  );
}

function placesOf(begin: number, shown: Range) {
  return ticks(shown.from - begin, shown.to - begin, 7);
}

function isIn(moment: number, { from, to }: Range): boolean {
  return moment >= from && moment <= to;
}
