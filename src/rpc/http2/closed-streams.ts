/**
 * Which of the peer's streams ended lately, and how. Frames may arrive for a stream that we reset before the peer knew: those are
 * ignored. For one that ended in order, or that the peer skipped, they are errors (RFC 9113 sections 5.1 and 5.1.1). The memory is 256 streams long: about older
 * ones we say that we do not know.
 */
const REMEMBERED = 256;

/** What is known of a stream that is not open. */
export type ClosedStream = "ended" | "reset" | "skipped" | "forgotten";

/** The streams of one connection that ended lately. */
export class ClosedStreams {
  /** At the place of an id, modulo the length: twice the id, plus one if we reset it. */
  #ring: Float64Array | undefined;

  add(id: number, resetByUs: boolean): void {
    this.#ring ??= new Float64Array(REMEMBERED);
    this.#ring[(id >>> 1) % REMEMBERED] = id * 2 + (resetByUs ? 1 : 0);
  }

  /** The id must not be above the newest that the peer has used. */
  lookUp(id: number): ClosedStream {
    if (this.#ring === undefined) return "skipped";
    const found = this.#ring[(id >>> 1) % REMEMBERED]!;
    const foundId = Math.floor(found / 2);
    if (foundId === id) return found % 2 === 1 ? "reset" : "ended";
    return foundId < id ? "skipped" : "forgotten";
  }
}
