// Which card the keyboard is at.
//
// The law of this file: the drawing is one stop of the Tab key; within it, arrows move.
import { createContext, useContext, useEffect, useRef, useSyncExternalStore, type RefObject } from "react";

/** Holds where the keyboard is; cards read it past the canvas. */
export class Focus {
  /** The card that Tab comes to. */
  at: string | undefined;
  /** The card that is to be focused once it is drawn. */
  wanted: string | undefined;
  /** The node that the page has selected. */
  selected: string | undefined;
  /** The card that the mouse is over. */
  hovered: string | undefined;
  /** Whether the keyboard is in the drawing. */
  inside = false;
  activate: (id: string) => void = () => undefined;
  readonly #listeners = new Set<() => void>();

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  set(change: Partial<Pick<Focus, "at" | "wanted" | "selected" | "hovered" | "inside">>): void {
    Object.assign(this, change);
    for (const listener of this.#listeners) listener();
  }

  /** The cards whose edges are looked at. */
  readonly looked = (): string => [this.hovered, this.inside ? this.at : undefined, this.selected].filter(Boolean).join("\n");
}

export const FocusContext = createContext(new Focus());

interface CardFocus {
  ref: RefObject<HTMLButtonElement | null>;
  tabIndex: number;
  "aria-pressed": boolean;
  onClick: () => void;
  onFocus: () => void;
  onPointerEnter: () => void;
  onPointerLeave: () => void;
}

/** What makes a button a stop of the arrow keys. */
export function useFocus(id: string): CardFocus {
  const focus = useContext(FocusContext);
  const ref = useRef<HTMLButtonElement>(null);
  const isAt = useSyncExternalStore(focus.subscribe, () => focus.at === id);
  const isWanted = useSyncExternalStore(focus.subscribe, () => focus.wanted === id);
  const isSelected = useSyncExternalStore(focus.subscribe, () => focus.selected === id);
  useEffect(() => {
    if (!isWanted) return;
    ref.current?.focus({ preventScroll: true });
    focus.set({ wanted: undefined });
  }, [focus, isWanted]);
  return {
    ref,
    tabIndex: isAt ? 0 : -1,
    "aria-pressed": isSelected,
    onClick: () => focus.activate(id),
    onFocus: () => focus.set({ at: id, inside: true }),
    onPointerEnter: () => focus.set({ hovered: id }),
    onPointerLeave: () => focus.set({ hovered: undefined }),
  };
}
