/**
 * What the peer may still send on a connection (RFC 9113 section 5.2). It is granted again as data arrives, not as it is read, so that a stream
 * that nobody reads does not stop the others; only when more than `unreadBytesMax` lies unread does the window shrink.
 */
import type { Http2Limits } from "./limits.ts";

/** The receive window of one connection. */
export class ReceiveWindow {
  readonly #windowBytes: number;
  readonly #unreadBytesMax: number;
  #left: number;
  #unread = 0;

  constructor(limits: Http2Limits) {
    this.#windowBytes = limits.connectionWindowBytes;
    this.#unreadBytesMax = limits.unreadBytesMax;
    this.#left = limits.connectionWindowBytes;
  }

  /** So many bytes have come, padding included. False: more than the window allowed. */
  take(bytes: number): boolean {
    this.#left -= bytes;
    this.#unread += bytes;
    return this.#left >= 0;
  }

  /** So many bytes were read, or never will be. */
  read(bytes: number): void {
    this.#unread -= bytes;
  }

  /** What to grant now: what the window lacks, once that is half of it, else 0. It counts as granted. */
  grant(): number {
    const excess = this.#unread - this.#unreadBytesMax;
    const lacking = this.#windowBytes - this.#left - (excess > 0 ? excess : 0);
    if (lacking * 2 < this.#windowBytes) return 0;
    this.#left += lacking;
    return lacking;
  }
}
