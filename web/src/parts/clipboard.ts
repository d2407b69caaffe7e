// Putting text on the clipboard.
//
// The law of this file: who copies is told the truth. Browsers have `navigator.clipboard` on HTTPS and
// on localhost alone; a server in the next room, by plain HTTP, is copied from in the old way.

/** Copy a text; false: the browser would not. */
export async function copied(text: string): Promise<boolean> {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // Refused, as in a frame without the permission: the old way may still do.
  }
  return copiedBySelection(text);
}

function copiedBySelection(text: string): boolean {
  const before = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "unseen";
  area.readOnly = true; // no keyboard comes up on a phone
  // In a modal dialog nothing outside of it can be selected.
  (before?.closest("dialog") ?? document.body).append(area);
  area.select();
  try {
    return document.execCommand("copy");
  } finally {
    area.remove();
    if (before instanceof HTMLElement) before.focus({ preventScroll: true });
  }
}
