/** A socket in memory, for what depends on when exactly the other end reads. */
import { Duplex } from "node:stream";

/** A connection whose other end takes one write at a time, when the test says so. */
export class SlowSocket extends Duplex {
  /** What the other end has read. */
  taken: Buffer = Buffer.alloc(0);
  #take: (() => void) | undefined;

  /** Takes the write that waits; false if there is none. */
  takeWrite(): boolean {
    const take = this.#take;
    this.#take = undefined;
    take?.();
    return take !== undefined;
  }

  setNoDelay(): this {
    return this;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#take = () => {
      this.taken = Buffer.concat([this.taken, chunk]);
      done();
    };
  }
}
