/**
 * How many calls began and ended, and the bytes of their messages, in memory that all front ends of a server share: each counts in a part of its own,
 * and whoever is asked tells the sum. Plain numbers, written by one thread each; a reader sees each of them as it was a moment ago.
 */

/** gRPC's codes, from OK to UNAUTHENTICATED. */
const CODES = 17;
/** Beside the methods: bytes received, bytes sent. */
const COMMON = 2;
const METHOD = 1 + CODES;

/** The memory for so many methods and front ends. */
export function createCallCounts(methods: number, frontEnds: number): SharedArrayBuffer {
  return new SharedArrayBuffer(8 * (COMMON + methods * METHOD) * frontEnds);
}

/** As one front end sees them. */
export class CallCounts {
  readonly #all: Float64Array;
  readonly #own: Float64Array;
  readonly #stride: number;

  constructor(buffer: SharedArrayBuffer, place: { readonly frontEnd: number; readonly frontEnds: number }) {
    this.#all = new Float64Array(buffer);
    this.#stride = this.#all.length / place.frontEnds;
    this.#own = this.#all.subarray(place.frontEnd * this.#stride, (place.frontEnd + 1) * this.#stride);
  }

  started(method: number): void {
    this.#own[COMMON + method * METHOD]!++;
  }

  handled(method: number, code: number): void {
    this.#own[COMMON + method * METHOD + 1 + code]!++;
  }

  received(bytes: number): void {
    this.#own[0]! += bytes;
  }

  sent(bytes: number): void {
    this.#own[1]! += bytes;
  }

  get receivedBytes(): number {
    return this.#sum(0);
  }

  get sentBytes(): number {
    return this.#sum(1);
  }

  startedOf(method: number): number {
    return this.#sum(COMMON + method * METHOD);
  }

  handledOf(method: number, code: number): number {
    return this.#sum(COMMON + method * METHOD + 1 + code);
  }

  #sum(at: number): number {
    let sum = 0;
    for (let i = at; i < this.#all.length; i += this.#stride) sum += this.#all[i]!;
    return sum;
  }
}
