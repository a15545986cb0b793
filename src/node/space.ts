/**
 * Whether there is room for more: in the quota on logical bytes and keys, history included (docs/formats.md), and on this node's disk. A
 * leader judges by its own limits what it proposes, for whomever, with what is on its way counted in; every node judges what its own
 * callers write. What finds no room is refused, for a typed reason and with nothing changed; what makes nothing grow always passes.
 *
 * Refusal begins at the limit and ends below RESUME of it, so that it does not flicker. Before it, a leader compacts history early, unless
 * that is kept "forever": it frees what only the past needs. What members may never exceed, whatever their settings, is checked in applying and is part of the state.
 */
import { EngineError, noSpace } from "../errors.ts";
import type { SpaceRefusal } from "../core/kv/growth.ts";
import { writeBatchHeader } from "../core/batch.ts";
import type { Raft } from "../core/raft/raft.ts";
import type { NodeContext } from "./node-context.ts";

/** Growth is admitted again below this share of a limit. */
const RESUME = 0.95;
/** History is compacted early above the first share of the quota, down to the second; not for less of it than the third. */
const COMPACT_ABOVE = 0.9;
const COMPACT_TO = 0.8;
const COMPACT_LEAST = 1 / 64;

/** What is on its way through the log of this leader. A compaction's bytes are below zero. */
interface Proposed {
  readonly index: number;
  readonly bytes: number;
  readonly keys: number;
}

export class Space {
  readonly #context: NodeContext;
  /** Passed, and not yet back below RESUME. */
  #over: "quota" | "keys" | undefined;
  /** Of the term in which this node leads; ends when what was proposed is applied. Bounded by the bytes that a leader has uncommitted. */
  #proposed: Proposed[] = [];
  #proposedBytes = 0;
  #proposedKeys = 0;
  #term = 0;
  /** Where the last early compaction lies in the log. */
  #compactionIndex = 0;

  constructor(context: NodeContext) {
    this.#context = context;
  }

  /** Why growth is refused now; undefined where it is not. */
  get refusal(): SpaceRefusal | undefined {
    const { storage } = this.#context;
    if (storage.full) return { of: "disk", used: storage.diskBytes, max: storage.diskBytes };
    return this.#over === undefined ? undefined : this.#overBy(this.#over);
  }

  /** What a caller is told whose write finds no room. */
  error(): EngineError {
    const { of, used, max } = this.refusal ?? this.#overBy("quota");
    return noSpace(of, used, max);
  }

  /** Which commands of a batch find no room. Costs next to nothing while there is plenty. May compact history for it, in front of it. */
  shortOf(record: Uint8Array, commands: number): "none" | "some" | "all" {
    const { state, options, storage, raft } = this.#context;
    const { bytes: cost, keys: added } = state.growthCost(record, commands);
    const keys = state.keys + this.#proposedKeys + added;
    if (keys <= options.keysMax && this.#over === undefined && !storage.full) {
      if (this.#bytes + cost <= options.dataBytesMax) return "none";
      // A leader makes room of history; another leaves that to its leader.
      if (raft?.role === "leader") this.#compact(raft, cost);
      else if (!this.#keepsHistory && state.usedBytes - state.historyBytes + cost <= options.dataBytesMax) return "none";
    }
    const isOver = this.#bytes + cost > options.dataBytesMax;
    if (!isOver && keys <= options.keysMax && this.#over === undefined && !storage.full) return "none";
    const short = state.growth(record, commands);
    if (short !== "none" && (isOver || keys > options.keysMax)) this.#over ??= isOver ? "quota" : "keys";
    return short;
  }

  /** The batch with what finds no room replaced by its refusal; undefined where the state has no such thing. */
  withoutGrowth(record: Uint8Array, commands: number): Uint8Array | undefined {
    return this.#context.state.withoutGrowth(record, commands, this.refusal ?? this.#overBy("quota"));
  }

  /** This leader has proposed a batch. */
  onProposed(index: number, record: Uint8Array, commands: number): void {
    this.#add({ index, ...this.#context.state.growthCost(record, commands) });
  }

  /** Once a turn, after applying. */
  poll(raft: Raft): void {
    const { state, options } = this.#context;
    if (raft.role !== "leader") this.#forget();
    else if (raft.term !== this.#term) this.#lead(raft);
    this.#settle(state.appliedIndex);
    if (this.#over === "quota" && state.usedBytes < options.dataBytesMax * RESUME) this.#over = undefined;
    else if (this.#over === "keys" && state.keys < options.keysMax * RESUME) this.#over = undefined;
    if (raft.role === "leader" && this.#bytes > options.dataBytesMax * COMPACT_ABOVE) this.#compact(raft, 0);
  }

  /** History is for its owner to compact: it has no bound of its own. */
  get #keepsHistory(): boolean {
    const { historyMs, historyRevisionsMax, historyBytesMax } = this.#context.options;
    const all = Number.MAX_SAFE_INTEGER;
    return historyMs === Number.POSITIVE_INFINITY && historyRevisionsMax === all && historyBytesMax === all;
  }

  /** With what is on its way. */
  get #bytes(): number {
    return this.#context.state.usedBytes + this.#proposedBytes;
  }

  /** One at a time. */
  #compact(raft: Raft, extra: number): void {
    const { state, options, identity, bootId } = this.#context;
    const { dataBytesMax } = options;
    if (!raft.ready) return;
    if (state.appliedIndex < this.#compactionIndex || state.historyBytes < dataBytesMax * COMPACT_LEAST) return;
    const wanted = this.#bytes + extra - dataBytesMax * COMPACT_TO;
    const batch = state.compaction(wanted);
    if (batch === undefined) return;
    // Nobody's: no call waits for a batch of this number.
    writeBatchHeader(batch.record, { origin: identity.memberId, bootId, sequence: 0, commands: batch.commands });
    const entry = raft.propose(batch.record, "command");
    if (entry === undefined) return;
    this.#compactionIndex = entry.index;
    this.#add({ index: entry.index, bytes: -batch.bytes, keys: 0 });
  }

  #overBy(of: "quota" | "keys"): SpaceRefusal {
    const { state, options } = this.#context;
    return of === "keys" ? { of, used: state.keys, max: options.keysMax } : { of, used: state.usedBytes, max: options.dataBytesMax };
  }

  /** What earlier terms left in this log may still be applied. */
  #lead(raft: Raft): void {
    this.#forget();
    this.#term = raft.term;
    this.#add({ index: raft.lastIndex, bytes: raft.unsettledBytes, keys: 0 });
  }

  #add(proposed: Proposed): void {
    this.#proposed.push(proposed);
    this.#proposedBytes += proposed.bytes;
    this.#proposedKeys += proposed.keys;
  }

  #settle(appliedIndex: number): void {
    let applied = 0;
    while (applied < this.#proposed.length && this.#proposed[applied]!.index <= appliedIndex) {
      const { bytes, keys } = this.#proposed[applied++]!;
      this.#proposedBytes -= bytes;
      this.#proposedKeys -= keys;
    }
    if (applied > 0) this.#proposed.splice(0, applied);
  }

  #forget(): void {
    if (this.#proposed.length === 0) return;
    this.#proposed = [];
    this.#proposedBytes = 0;
    this.#proposedKeys = 0;
  }
}
