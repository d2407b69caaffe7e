// Something that changes often and is drawn seldom.
//
// The law of this file: many changes, one notification for each frame that is drawn; a hidden page
// draws none.

/** What React's useSyncExternalStore needs: `version` changes when there is something to draw. */
export class Ticker {
  version = 0;
  readonly #listeners = new Set<() => void>();
  #asked = false;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly getVersion = (): number => this.version;

  /** Say that something changed. */
  changed(): void {
    if (this.#asked) return;
    this.#asked = true;
    requestAnimationFrame(() => {
      this.#asked = false;
      this.version += 1;
      for (const listener of this.#listeners) listener();
    });
  }
}
