// Where lines stand, and how one is brought into sight.
//
// The law of this file: the scroller is as high as all its lines, of which a few blocks are drawn.
// Somewhere to go to is remembered until the line is there, and gone to once.
import { useVirtualizer, defaultRangeExtractor, type Virtualizer } from "@tanstack/react-virtual";
import { useCallback, useLayoutEffect, useReducer, useRef, type RefObject } from "react";
import { BLOCK, ROW_PX } from "./rows.tsx";
import { useFollow, type Following } from "../follow.ts";
import type { LogView } from "./view.ts";

export type Align = "center" | "nearest";

export interface List extends Following {
  blocks: Virtualizer<HTMLDivElement, Element>;
  /** The number of the first block. */
  base: number;
  height: number;
  /** Bring a line into sight, as soon as it is there. */
  goTo: (index: number, align?: Align) => void;
  /** The rows that are seen, from and to (exclusive). */
  seen: () => [number, number];
}

interface Given {
  scroller: RefObject<HTMLDivElement | null>;
  view: LogView;
  low: number;
  high: number;
  wrap: boolean;
  /** Whether the log has come as far as it goes for now. */
  arrived: boolean;
  initially: boolean;
}

export function useList({ scroller, view, low, high, wrap, arrived, initially }: Given): List {
  const base = Math.floor(low / BLOCK);
  const count = Math.max(Math.ceil(high / BLOCK) - base, 0);
  const { following, follow } = useFollow(scroller, initially);
  const rowsIn = (place: number) => {
    const first = (base + place) * BLOCK;
    return Math.min(first + BLOCK, high) - Math.max(first, low);
  };
  const blocks = useVirtualizer<HTMLDivElement, Element>({
    count,
    getScrollElement: () => scroller.current,
    estimateSize: (place) => rowsIn(place) * ROW_PX,
    // Sizes are computed anew when the keys' function is another: the last block grows with `high`.
    getItemKey: useCallback((place: number) => base + place, [base, low, high, wrap, view]),
    overscan: 1,
    // It scrolls there when it is first drawn: to the beginning, it would look as if a person had gone up.
    initialOffset: () => (following ? (high - low) * ROW_PX : 0),
    // What is appended while the end is followed is drawn at once, not after the scrolling is noticed.
    rangeExtractor: (range) => {
      if (!following) return defaultRangeExtractor(range);
      const fit = Math.ceil((scroller.current?.clientHeight ?? 0) / (BLOCK * ROW_PX)) + 1;
      const first = Math.max(count - fit, 0);
      return Array.from({ length: count - first }, (_, at) => first + at);
    },
  });

  const sizes = useRef({ view, wrap });
  if (sizes.current.view !== view || sizes.current.wrap !== wrap) {
    sizes.current = { view, wrap };
    blocks.measure(); // what was measured was of other lines, or of another width
  }

  // Lines that went at the beginning: who reads on stays where he is.
  const lowBefore = useRef({ view, low });
  useLayoutEffect(() => {
    const gone = lowBefore.current.view === view ? low - lowBefore.current.low : 0;
    lowBefore.current = { view, low };
    if (gone > 0 && !following && scroller.current) scroller.current.scrollTop -= gone * ROW_PX;
  }, [view, low, following, scroller]);

  const target = useRef<{ index: number; align: Align; tries: number }>(undefined);
  const [, draw] = useReducer((times: number) => times + 1, 0);
  const goTo = useCallback((index: number, align: Align = "center") => {
    target.current = { index, align, tries: 0 };
    draw();
  }, []);
  useLayoutEffect(() => {
    const element = scroller.current;
    const going = target.current;
    if (!element || !going || !view.settled) return;
    if (going.index >= view.lines.end || (!arrived && view.lines.end < going.index + 500)) return;
    const row = view.rowOf(going.index);
    if (row >= high && !arrived) return;
    if (!wrap) {
      place(element, (Math.min(Math.max(row, low), high - 1) - low) * ROW_PX, going.align);
      target.current = undefined;
      return;
    }
    const drawn = element.querySelector(`[data-line="${view.indexOf(Math.min(row, view.end - 1)) + 1}"]`);
    if (drawn) drawn.scrollIntoView({ block: going.align });
    else blocks.scrollToIndex(Math.floor(row / BLOCK) - base, { align: "center" });
    if (drawn || going.tries++ > 5) target.current = undefined;
    else requestAnimationFrame(draw); // it is drawn where it was thought to be; look again
  });

  const seen = useCallback((): [number, number] => {
    const element = scroller.current;
    if (!element) return [low, low];
    const { top, bottom } = element.getBoundingClientRect();
    const rows = [...element.querySelectorAll<HTMLElement>("[data-line]")].filter((row) => {
      const box = row.getBoundingClientRect();
      return box.bottom > top + 1 && box.top < bottom - 1;
    });
    const numbers = rows.map((row) => view.rowOf(Number(row.dataset.line) - 1));
    return numbers.length === 0 ? [low, low] : [Math.min(...numbers), Math.max(...numbers) + 1];
  }, [scroller, view, low]);

  return { blocks, base, height: blocks.getTotalSize(), goTo, seen, following, follow };
}

function place(element: HTMLElement, top: number, align: Align): void {
  const { clientHeight } = element;
  const above = top < element.scrollTop;
  const below = top + ROW_PX > element.scrollTop + clientHeight;
  if (align === "center") element.scrollTop = top - clientHeight / 2 + ROW_PX;
  else if (above) element.scrollTop = top;
  else if (below) element.scrollTop = top + ROW_PX - clientHeight;
}
