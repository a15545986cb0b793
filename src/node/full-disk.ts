/**
 * A node on a full disk: it tries for room every RETRY_MS, a slice at a time while there is some, and takes from its leader only what the log's
 * reserve is kept for. What it does not take it may as well never have received: its leader sends it again.
 *
 * While more than half of the reserve is left, everything is taken: when the disks of all members fill up at once, what is in their logs
 * already must be written before the deletions behind it can be. The rest is for votes, configurations, deletions, compaction and leases.
 */
import type { Message } from "../core/raft/message.ts";
import { BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, readBatchHeader } from "../core/batch.ts";
import { ENTRY_HEADER_BYTES, type Entry } from "../core/raft/entry.ts";
import type { NodeContext } from "./node-context.ts";

const RETRY_MS = 1_000;

export class FullDisk {
  readonly #context: NodeContext;
  #retryAt = Number.POSITIVE_INFINITY;
  #isRetrying = false;
  /** Of the reserve, as the disk was found full. */
  #reserveBytes = 0;

  constructor(context: NodeContext) {
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
    this.#isRetrying = true;
    storage.makeRoom().then(
      (more) =>
        later(() => {
          this.#isRetrying = false;
          if (storage.full) this.#retryAt = environment.clock.now() + (more ? 0 : RETRY_MS);
        }),
      () => {}, // Storage reports its own failure.
    );
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
    }
  }
}
