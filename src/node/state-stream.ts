/**
 * The state of this node as a stream for one follower, made as it goes from the moment at which it was begun (Raft 7): no file, and no more
 * of it in memory than is on its way. What the receiver has acknowledged cannot be read again; a receiver that begins anew needs
 * another stream.
 */
import type { SnapshotMeta } from "../core/raft/message.ts";
import { EngineError } from "../errors.ts";
import { OPEN_ENDED } from "./peer-frames.ts";
import type { SnapshotSource } from "./snapshot-maker.ts";
import type { SentSnapshot } from "./snapshot-transfer.ts";

export class StateStream implements SentSnapshot {
  readonly meta: SnapshotMeta;
  readonly isOpenEnded = true;
  bytes: number = OPEN_ENDED;
  readonly #source: SnapshotSource;
  readonly #pause: () => Promise<void>;
  /** What was read and is not acknowledged, in its order. */
  readonly #kept: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  /** Where the next slice of the source begins. */
  #end = 0;
  #released = false;

  constructor(made: { readonly meta: SnapshotMeta; readonly source: SnapshotSource; pause(): Promise<void> }) {
    this.meta = made.meta;
    this.#source = made.source;
    this.#pause = () => made.pause();
  }

  /** One at a time, at an offset at which a slice began or the next begins. Nothing is the end, which `bytes` then tells. */
  async read(offset: number, bytesMax: number): Promise<Uint8Array> {
    const kept = this.#kept.find((slice) => slice.offset === offset);
    if (kept !== undefined) return kept.bytes;
    if (offset !== this.#end) {
      throw new EngineError("INTERNAL", "a stream is read on", { invariant: "a stream of the state is read where it was left" });
    }
    for (;;) {
      const bytes = this.#released ? undefined : await this.#source.read(bytesMax);
      if (bytes === undefined) {
        this.bytes = offset;
        return new Uint8Array(0);
      }
      // Every slice is work: the node's turns go on between two of them.
      await this.#pause();
      if (bytes.byteLength === 0) continue;
      this.#kept.push({ offset, bytes });
      this.#end = offset + bytes.byteLength;
      return bytes;
    }
  }

  onAcked(offset: number): void {
    while (this.#kept.length > 0 && this.#kept[0]!.offset + this.#kept[0]!.bytes.byteLength <= offset) this.#kept.shift();
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.#kept.length = 0;
    this.#source.cancel();
  }
}
