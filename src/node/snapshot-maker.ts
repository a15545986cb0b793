/**
 * Snapshots of this node's state (Raft 7): streamed to disk from a pinned revision, a slice at a time, while writes go on; then the
 * log behind it is discarded, but for what a follower that is being replicated to still lacks.
 */
import type { SnapshotMeta } from "../core/raft/message.ts";
import type { Storage } from "../storage/storage.ts";

/** Disk slices: small enough that the log's syncs are not held up behind one. */
export const SNAPSHOT_SLICE_BYTES: number = 256 << 10;

/** After a snapshot that found no room, the next one is tried no sooner. */
const RETRY_MS = 5_000;

export interface SnapshotSource {
  /** At most `bytesMax`, sometimes none; undefined at the end. One at a time. */
  read(bytesMax: number): Uint8Array | undefined | Promise<Uint8Array | undefined>;
  /** Lets go of the revision. */
  cancel(): void;
}

export interface SnapshotMakerOptions {
  readonly storage: Storage;
  readonly logBytesMin: number;
  now(): number;
  /** The state as of now, between two entries, and where in the log that is. undefined: not possible now. */
  begin(): { readonly meta: SnapshotMeta; readonly source: SnapshotSource } | undefined;
  /** Whether this member's own disk has the log up to here. */
  isPersisted(index: number): boolean;
  /** Up to where the log may go, given the snapshot. */
  discardable(lastIncludedIndex: number): number;
  onDiscarded(): void;
  /** Lets the node's other work go on for a turn. */
  pause(): Promise<void>;
  onDone(): void;
}

export class SnapshotMaker {
  readonly #options: SnapshotMakerOptions;
  #running = false;
  #stopped = false;
  #lastBytes = 0;
  #wanted = false;
  /** After one that was abandoned. */
  #notBefore = Number.NEGATIVE_INFINITY;

  constructor(options: SnapshotMakerOptions) {
    this.#options = options;
  }

  get running(): boolean {
    return this.#running;
  }

  /** Makes one as soon as possible, however short the log is: a follower needs it. */
  want(): void {
    this.#wanted = true;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Called once a turn. */
  poll(): void {
    const { storage, logBytesMin } = this.#options;
    if (this.#running || this.#stopped || this.#options.now() < this.#notBefore) return;
    if (!this.#wanted && storage.logBytes <= Math.max(logBytesMin, this.#lastBytes)) return;
    const begun = this.#options.begin();
    if (begun === undefined) return;
    this.#wanted = false;
    this.#running = true;
    this.#make(begun).then(
      () => this.#end(),
      () => {
        // Storage reports its own failure; a full disk abandons the snapshot and the log goes on.
        this.#notBefore = this.#options.now() + RETRY_MS;
        this.#end();
      },
    );
  }

  #end(): void {
    this.#running = false;
    this.#options.onDone();
  }

  async #make({ meta, source }: { readonly meta: SnapshotMeta; readonly source: SnapshotSource }): Promise<void> {
    const { storage } = this.#options;
    try {
      const writer = await storage.createSnapshot(meta);
      try {
        let bytes = 0;
        for (;;) {
          const slice = this.#stopped ? undefined : await source.read(SNAPSHOT_SLICE_BYTES);
          if (slice === undefined) break;
          bytes += slice.byteLength;
          if (slice.byteLength > 0) await writer.write(slice);
          // A slice may be empty, and a write that is gathered with others is done at once: neither would let anything else run.
          await this.#options.pause();
        }
        // What is committed may not be on this member's own disk yet; the log must hold the entry that the snapshot ends with.
        if (this.#stopped || !this.#options.isPersisted(meta.lastIncludedIndex)) return;
        await writer.commit({ resetLog: false });
        this.#lastBytes = bytes;
      } finally {
        await writer.abandon();
      }
    } finally {
      source.cancel();
    }
    if (this.#stopped) return;
    await storage.discard(this.#options.discardable(meta.lastIncludedIndex));
    this.#options.onDiscarded();
  }
}
