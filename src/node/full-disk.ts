/**
 * A node on a full disk: it tries for room every RETRY_MS, a slice at a time while there is some, and takes from its leader only what the log's
 * reserve is kept for. What it does not take it may as well never have received: its leader sends it again.
 *
 * Where there is none, it makes some of what it has: history goes, that of the present revision too, if it is much of what the files hold, as it
 * does for a quota; and what is then no longer in the state goes from the store and the log. So a disk that only its node has filled is never full for
 * ever, once its callers have deleted.
 *
 * While more than half of the reserve is left, everything is taken: when the disks of all members fill up at once, what is in their logs
 * already must be written before the deletions behind it can be. The rest is for votes, configurations, deletions, compaction and leases.
 */
import type { Message } from "../core/raft/message.ts";
import { BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, readBatchHeader } from "../core/batch.ts";
import { ENTRY_HEADER_BYTES, type Entry } from "../core/raft/entry.ts";
import type { NodeContext } from "./node-context.ts";
import type { OwnWrite } from "./own-writes.ts";
import type { Snapshots } from "./snapshots.ts";

const RETRY_MS = 1_000;
/** Room is not tried for while files are freed, but for so long. */
const FREEING_MS_MAX = 10_000;
/** Pauses between two attempts to free files double up to this. */
const FREE_PAUSE_MS_MAX = 64_000;
/** History is let go of if it is more than this part of what the files hold. */
const HISTORY_SHARE = 1 / 64;
const WRITE_TIMEOUT_MS = 10_000;

export interface FullDiskOptions {
  readonly context: NodeContext;
  readonly snapshots: Pick<Snapshots, "isFreeing" | "freeDisk">;
  /** Writes as callers do, through whoever leads. */
  write(write: OwnWrite): void;
}

export class FullDisk {
  readonly #context: NodeContext;
  readonly #options: FullDiskOptions;
  #retryAt = Number.POSITIVE_INFINITY;
  #isRetrying = false;
  /** Of the reserve, as the disk was found full. */
  #reserveBytes = 0;
  #isCompacting = false;
  #freeAt = 0;
  #freePauseMs = RETRY_MS;
  #freeingUntil = 0;

  constructor(options: FullDiskOptions) {
    const { context } = options;
    this.#options = options;
    this.#context = context;
    context.storage.onFullChange(() => {
      this.#onChange();
      context.wake();
    });
    this.#onChange();
  }

  /** When poll() has something to do. */
  get deadline(): number {
    return this.#isRetrying ? Number.POSITIVE_INFINITY : this.#retryAt;
  }

  /** Once a turn. */
  poll(now: number): void {
    const { storage, later, environment } = this.#context;
    if (this.#isRetrying || now < this.#retryAt) return;
    if (this.#options.snapshots.isFreeing && now < this.#freeingUntil) {
      this.#retryAt = now + RETRY_MS;
      return;
    }
    this.#isRetrying = true;
    storage.makeRoom().then(
      (more) =>
        later(() => {
          this.#isRetrying = false;
          if (!storage.full) return;
          const found = environment.clock.now();
          this.#retryAt = found + (more ? 0 : RETRY_MS);
          if (!more) this.#free(found);
        }),
      () => {}, // Storage reports its own failure.
    );
  }

  #free(now: number): void {
    const { state, storage } = this.#context;
    if (!state.isReady || this.#isCompacting) return;
    if (state.historyBytes > storage.diskBytes * HISTORY_SHARE) {
      this.#compact();
      return;
    }
    if (now < this.#freeAt) return;
    this.#freeAt = now + this.#freePauseMs;
    this.#freePauseMs = Math.min(FREE_PAUSE_MS_MAX, 2 * this.#freePauseMs);
    this.#freeingUntil = now + FREEING_MS_MAX;
    this.#options.snapshots.freeDisk();
  }

  #compact(): void {
    const batch = this.#context.state.compaction(Number.POSITIVE_INFINITY);
    if (batch === undefined) return;
    const { record, commands } = batch;
    const end = (): void => {
      this.#isCompacting = false;
      this.#freeAt = 0;
    };
    this.#isCompacting = true;
    this.#options.write({ record, commands, timeoutMs: WRITE_TIMEOUT_MS, done: end, failed: end });
  }

  /** Whether a message may go to Raft. */
  takes(message: Message): boolean {
    const { storage } = this.#context;
    if (!storage.full || message.kind !== "AppendEntries") return true;
    return storage.reserveBytes > this.#reserveBytes / 2 || !message.entries.some((entry) => this.#grows(entry));
  }

  #grows(entry: Entry): boolean {
    if (entry.kind !== "command") return false;
    const { record } = entry;
    const header = readBatchHeader(record.subarray(ENTRY_HEADER_BYTES, ENTRY_HEADER_BYTES + BATCH_HEADER_BYTES));
    return header !== undefined && record.byteLength > BATCH_PREFIX_BYTES && this.#context.state.growth(record, header.commands) !== "none";
  }

  #onChange(): void {
    const { storage, environment } = this.#context;
    if (storage.full) {
      this.#reserveBytes = storage.reserveBytes;
      this.#retryAt = environment.clock.now() + RETRY_MS;
    } else {
      this.#retryAt = Number.POSITIVE_INFINITY;
      this.#freeAt = 0;
      this.#freePauseMs = RETRY_MS;
    }
  }
}
