// A text that grows, cut into what is settled and what may still change.
//
// The law of this file: what is settled is never looked at again, so that drawing a text of 100 kB
// that grows costs what its last block costs. Joined, settled and tail are the text.

/** Something that turns growing text into blocks. */
export interface Settler<Block> {
  readonly settled: Block[];
  tail: Block;
  /** Take those pieces that are new. */
  take(pieces: readonly string[]): void;
}

/** A settled block has about so many characters. */
const BLOCK_CHARS = 4096;

/** Text as it is: cut at line ends. */
export class Plain implements Settler<string> {
  readonly settled: string[] = [];
  tail = "";
  #taken = 0;

  take(pieces: readonly string[]): void {
    if (this.#taken === pieces.length) return;
    this.tail += pieces.slice(this.#taken).join("");
    this.#taken = pieces.length;
    while (this.tail.length > 2 * BLOCK_CHARS) {
      const cut = this.tail.lastIndexOf("\n", 2 * BLOCK_CHARS) + 1;
      if (cut === 0 && this.tail.length < 16 * BLOCK_CHARS) return; // a long line stays whole, for a while
      const end = cut || whole(this.tail, BLOCK_CHARS);
      this.settled.push(this.tail.slice(0, end));
      this.tail = this.tail.slice(end);
    }
  }
}

/** A place to cut that is not within a character. */
function whole(text: string, at: number): number {
  const code = text.charCodeAt(at - 1);
  return code >= 0xd800 && code < 0xdc00 ? at - 1 : at;
}
