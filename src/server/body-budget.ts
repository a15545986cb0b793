/**
 * How much of HTTP/1.1 bodies one front end holds: node:http bounds none of it, and a client need not send the last byte of any. The beginning of each
 * body is free, so that large ones, sent slowly by whoever wants to do harm, keep no small one out.
 */

/** For all connections together: some dozens of the largest. */
const ALL_BYTES_MAX: number = 128 << 20;
/** Of each body. */
const FREE_BYTES = 16_384;

/** Bytes of bodies that have come and are not answered yet. */
export class BodyBudget {
  /** The largest body. */
  readonly bodyBytesMax: number;
  readonly #bytesMax: number;
  #bytes = 0;

  /** `bytesMax`: of all of them, and never less than one of the largest. */
  constructor(bodyBytesMax: number, bytesMax: number = ALL_BYTES_MAX) {
    this.bodyBytesMax = bodyBytesMax;
    this.#bytesMax = Math.max(bytesMax, bodyBytesMax);
  }

  /** A body grows from `before` to `after` bytes. False: there is no room for it, and nothing was taken. */
  grow(before: number, after: number): boolean {
    const more = counted(after) - counted(before);
    if (this.#bytes + more > this.#bytesMax) return false;
    this.#bytes += more;
    return true;
  }

  /** A body of so many bytes is no longer held. */
  giveBack(bytes: number): void {
    this.#bytes -= counted(bytes);
  }
}

const counted = (bytes: number): number => Math.max(0, bytes - FREE_BYTES);
