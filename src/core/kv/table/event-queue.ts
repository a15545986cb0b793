/**
 * The events that history holds, oldest first: references in chunks that are added behind and dropped in front. Four bytes an event.
 */
import { assert } from "../../assert.ts";

const CHUNK_LOG2 = 13;
const CHUNK = 1 << CHUNK_LOG2;

export class EventQueue {
  /** Position of the first event held. */
  first = 0;
  /** Position behind the last one. */
  end = 0;
  #chunks: Uint32Array[] = [];
  /** Position of the first place of the first chunk, a multiple of CHUNK. */
  #base = 0;
  #spare: Uint32Array | undefined;

  get memoryBytes(): number {
    return (this.#chunks.length + (this.#spare === undefined ? 0 : 1)) * CHUNK * 4;
  }

  push(ref: number): void {
    const at = this.end - this.#base;
    if (at === this.#chunks.length * CHUNK) {
      this.#chunks.push(this.#spare ?? new Uint32Array(CHUNK));
      this.#spare = undefined;
    }
    this.#chunks[at >>> CHUNK_LOG2]![at & (CHUNK - 1)] = ref;
    this.end++;
  }

  at(position: number): number {
    assert(position >= this.first && position < this.end, "an event that is asked for is held");
    const at = position - this.#base;
    return this.#chunks[at >>> CHUNK_LOG2]![at & (CHUNK - 1)]!;
  }

  /** Lets go of the first event. */
  shift(): void {
    assert(this.first < this.end, "an event that is dropped is held");
    this.first++;
    if (this.first - this.#base === CHUNK) {
      this.#spare = this.#chunks.shift();
      this.#base += CHUNK;
    }
  }
}
