/**
 * Feeds committed entries to the state machine, in order, a slice at a time: a large command may take many turns, and Raft's turns go
 * on meanwhile. Entries that have left memory come back from the disk.
 */
import { BATCH_HEADER_BYTES, BATCH_VERSION, readBatchHeader, type BatchHeader } from "../core/batch.ts";
import { entryPayload, type Entry } from "../core/raft/entry.ts";
import type { Raft } from "../core/raft/raft.ts";
import type { Storage } from "../storage/storage.ts";
import { assert, EngineError } from "../errors.ts";
import type { ReplicatedState } from "./replicated-state.ts";

/** Records of one slice of apply: about a millisecond. */
const SLICE_RECORDS = 1_000;
/** One turn applies for about this long, so that heartbeats are never late. */
const TURN_MS_MAX = 5;
const READ_BYTES_MAX: number = 4 << 20;
const NO_ENTRIES: readonly Entry[] = [];

export interface ApplierOptions {
  readonly raft: Raft;
  readonly storage: Storage;
  readonly state: ReplicatedState;
  now(): number;
  /** What one turn applies at most. */
  readonly turnRecordsMax?: number | undefined;
  /** Called before the first entry of a later term than any before is applied. */
  onTerm(term: number): void;
  /** Whether this node's callers wait for the results. */
  wants(header: BatchHeader): boolean;
  onResults(header: BatchHeader, results: Uint8Array): void;
  onConfiguration(): void;
  /** Something arrived from the disk: run a turn. */
  wake(): void;
}

export class Applier {
  readonly #options: ApplierOptions;
  readonly #state: ReplicatedState;
  /** Counts what took the state's place: what was read for the one before is of no use. */
  #replaced = 0;
  /** The entry that is being applied. */
  #current: { readonly entry: Entry; readonly wanted: BatchHeader | undefined } | undefined;
  #term = 0;
  #reading = false;
  #block: readonly Entry[] = [];
  #at = 0;

  constructor(options: ApplierOptions) {
    this.#options = options;
    this.#state = options.state;
  }

  /** Between two entries: when a snapshot may begin. */
  get isBetweenEntries(): boolean {
    return this.#current === undefined;
  }

  /** A snapshot took the state's place. */
  onStateReplaced(): void {
    this.#replaced++;
    this.#current = undefined;
    this.#block = [];
    this.#at = 0;
  }

  /** Applies for about a turn. True if more could be applied at once. */
  run(): boolean {
    const { raft, now } = this.#options;
    if (!this.#state.isReady) return false;
    const until = now() + TURN_MS_MAX;
    let left = this.#options.turnRecordsMax ?? Number.POSITIVE_INFINITY;
    for (;;) {
      if (this.#current !== undefined) {
        if (left <= 0) return true;
        const slice = Math.min(SLICE_RECORDS, left);
        left -= slice;
        if (!this.#state.step(slice)) {
          if (now() >= until) return true;
          continue;
        }
        this.#finish(this.#current);
      }
      const next = this.#state.appliedIndex + 1;
      if (next > raft.commitIndex) {
        // What was applied is not kept in memory from here.
        this.#block = NO_ENTRIES;
        return false;
      }
      const entry = this.#peek(next);
      if (entry === undefined) return false;
      if (now() >= until) return true;
      this.#at++;
      this.#begin(entry);
    }
  }

  #begin(entry: Entry): void {
    if (entry.term > this.#term) {
      this.#term = entry.term;
      this.#options.onTerm(entry.term);
    }
    const payload = entryPayload(entry);
    const header = entry.kind === "command" ? readBatchHeader(payload) : undefined;
    if (entry.kind === "command" && header === undefined) {
      // To skip it would be to differ from the members that understand it.
      throw new EngineError("INCOMPATIBLE", `entry ${entry.index} holds a batch that this version does not know: update this member`, {
        what: "batch version",
        found: String(payload[0]),
        supported: String(BATCH_VERSION),
      });
    }
    const wanted = header !== undefined && this.#options.wants(header) ? header : undefined;
    this.#state.begin(
      {
        index: entry.index,
        term: entry.term,
        clockMs: entry.clockMs,
        commands: header === undefined ? undefined : payload.subarray(BATCH_HEADER_BYTES),
        count: header?.commands ?? 0,
        session: header?.session,
      },
      wanted !== undefined,
    );
    this.#current = { entry, wanted };
  }

  #finish({ entry, wanted }: { readonly entry: Entry; readonly wanted: BatchHeader | undefined }): void {
    this.#current = undefined;
    assert(this.#state.appliedIndex === entry.index, "the state machine has applied the entry that it was given");
    if (wanted !== undefined) this.#options.onResults(wanted, this.#state.results());
    if (entry.kind === "configuration") this.#options.onConfiguration();
    this.#options.raft.onApplied(entry.index);
  }

  /** The committed entry at `index`, if it is at hand. Committed entries never change, so that a block of them may be kept. */
  #peek(index: number): Entry | undefined {
    const entry = this.#block[this.#at];
    if (entry?.index === index) return entry;
    const { raft } = this.#options;
    this.#block = raft.entries(index, raft.commitIndex, READ_BYTES_MAX);
    this.#at = 0;
    if (this.#block.length === 0) this.#read(index);
    return this.#block[0];
  }

  #read(from: number): void {
    if (this.#reading) return;
    this.#reading = true;
    const { raft, storage } = this.#options;
    const replaced = this.#replaced;
    storage.read({ from, through: raft.commitIndex, bytesMax: READ_BYTES_MAX }).then(
      (entries) => {
        this.#reading = false;
        if (replaced === this.#replaced) {
          this.#block = entries;
          this.#at = 0;
        }
        this.#options.wake();
      },
      () => {
        this.#reading = false; // Storage reports its own failure; entries that a snapshot has overtaken are not asked for again.
      },
    );
  }
}
