// What keys do in the logs.
//
// The law of this file: a key that has a meaning to the browser or to a field is left alone.

export const KEYS = [
  ["j  ↓", "Next line"],
  ["k  ↑", "Line before"],
  ["PageDown  PageUp", "A page on, a page back"],
  ["g  Home", "First line"],
  ["G  End", "Last line, and follow"],
  ["f", "Follow, or stop"],
  ["/", "Search"],
  ["n  N", "Next match, match before"],
  ["Enter", "Link to the line"],
  ["c", "Copy the line"],
  ["w", "Wrap long lines, or not"],
  ["t", "Other times"],
  ["Esc", "Leave the line"],
  ["?", "These keys"],
] as const;

const ACTIONS: Record<string, string> = {
  j: "down",
  ArrowDown: "down",
  k: "up",
  ArrowUp: "up",
  PageDown: "page-down",
  PageUp: "page-up",
  g: "first",
  Home: "first",
  G: "last",
  End: "last",
  f: "follow",
  "/": "search",
  n: "next",
  N: "previous",
  Enter: "link",
  c: "copy",
  w: "wrap",
  t: "times",
  Escape: "leave",
  "?": "help",
};

/** What a key means here; undefined: nothing. */
export function keyOf(event: React.KeyboardEvent): string | undefined {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return undefined;
  const target = event.target as HTMLElement;
  if (target.closest("input, select, textarea, dialog")) return undefined;
  // A button or a link in focus keeps its own key.
  if ((event.key === "Enter" || event.key === " ") && target.closest("button, a")) return undefined;
  return ACTIONS[event.key];
}
