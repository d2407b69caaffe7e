// Something that changes often and is drawn seldom.
//
// The law of this file: many changes, one notification for a frame that is drawn, the first at once
// and then one in PACE_MS at most: what comes faster nobody reads, and drawing it would cost the time
// in which a person's click is answered. A hidden page draws none.
const PACE_MS = 50;

/** What React's useSyncExternalStore needs: `version` changes when there is something to draw. */
export class Ticker {
  version = 0;
  readonly #listeners = new Set<() => void>();
  #asked = false;
  #toldAt = -Infinity;

  readonly subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  readonly getVersion = (): number => this.version;

  /** Say that something changed. */
  changed(): void {
    if (this.#asked) return;
    this.#asked = true;
    const wait = this.#toldAt + PACE_MS - performance.now();
    if (wait <= 0) requestAnimationFrame(this.#tell);
    else setTimeout(() => requestAnimationFrame(this.#tell), wait);
  }

  readonly #tell = (): void => {
    this.#asked = false;
    this.#toldAt = performance.now();
    this.version += 1;
    for (const listener of this.#listeners) listener();
  };
}
