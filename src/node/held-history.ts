/**
 * A bound on the history that readers at length, backups and scans, keep from being freed after it was compacted: the quota knows nothing of it, and
 * a client that takes its time, or means harm, would have it grow for as long as others write. Beyond the bound they are given up one by one, oldest first.
 */

/** It may be as much as all that the quota counts, and always so much. */
const HELD_BYTES_MIN = 256 << 20;
/** Between two looks, so that what was let go of is freed before the next one has to go. */
const LOOK_MS = 1_000;

/** Who reads at length. */
export interface LongReaders {
  /** Gives up the one that began first, in favour of everybody else. False: there is none. */
  giveUpOldest(max: number): boolean;
}

export interface HeldState {
  readonly heldBytes: number;
  readonly usedBytes: number;
}

export class HeldHistory {
  readonly #readers: readonly LongReaders[];
  readonly #bytesMin: number;
  #lookAt = 0;
  #seenBytes = 0;

  /** Of the first readers first. */
  constructor(readers: readonly LongReaders[], bytesMin: number = HELD_BYTES_MIN) {
    this.#readers = readers;
    this.#bytesMin = bytesMin;
  }

  /** Once a turn, while there are readers. */
  poll(state: HeldState, now: number): void {
    if (now < this.#lookAt) return;
    this.#lookAt = now + LOOK_MS;
    const { heldBytes, usedBytes } = state;
    const isFalling = heldBytes < this.#seenBytes;
    this.#seenBytes = heldBytes;
    const max = Math.max(this.#bytesMin, usedBytes);
    if (heldBytes <= max || isFalling) return;
    for (const readers of this.#readers) if (readers.giveUpOldest(max)) return;
  }
}
