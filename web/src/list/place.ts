// Where one was in the list, for who comes back to it.
//
// The law of this file: the back button leads to where one was; a link to the list leads to its top,
// where the newest are. So it is kept with the entry of the browser's history, which only the way back
// leads to, and written when one leaves: browsers take few changes of an entry a second.
export interface Place {
  top: number;
  /** The row that the keyboard was at. */
  current: number;
}

/** Note where one is, when one leaves. */
export function keepPlace(place: Place): void {
  history.replaceState({ ...(history.state as object | null), place }, "");
}

/** Where one was, if one has come back. */
export function placeBefore(): Place {
  return (history.state as { place?: Place } | null)?.place ?? { top: 0, current: 0 };
}
