/**
 * When history is compacted by age, and by which bounds: what a leader proposes, from what every member notes.
 *
 * Which revision was the present one an hour ago is known from samples of (lease clock, revision) that each member takes of the entries it
 * applies: their readings are equal on all members, so a new leader goes on where the old one was, and nothing of it need be part of the
 * state. A member that is opened begins with a sample of what it finds: until that is old enough, what is older is kept longer, never shorter.
 * Bounds on revisions and bytes are part of the state, set through the log by whoever leads, and hold at every entry.
 */
import { CommandBatch } from "../core/kv/command.ts";
import type { KvMachine } from "../core/kv/machine.ts";
import type { NodeOptions } from "./node-options.ts";
import type { StateBatch } from "./replicated-state.ts";

/** How much history is kept. */
export interface HistoryRules {
  /** What is younger is kept, as far as the bounds allow. Infinity: age does not count. */
  readonly ms: number;
  /** So many of the last revisions are kept, however old they are. */
  readonly revisionsMin: number;
  readonly revisionsMax: number;
  /** Logical bytes (docs/formats.md). */
  readonly bytesMax: number;
}

/** As a node's options say. */
export function historyRules(options: NodeOptions): HistoryRules {
  const { historyMs, historyRevisionsMin, historyRevisionsMax, historyBytesMax } = options;
  return { ms: historyMs, revisionsMin: historyRevisionsMin, revisionsMax: historyRevisionsMax, bytesMax: historyBytesMax };
}

interface Sample {
  readonly clockMs: number;
  readonly revision: number;
}

/** Samples in the time that is kept: what is compacted is older than that by at most one part. */
const PARTS = 60;
const SAMPLES_MAX: number = PARTS + 4;
const STEP_MS_MIN = 10;

/** One for each node. */
export class HistoryKeeper {
  readonly #rules: HistoryRules;
  readonly #stepMs: number;
  /** Both rise. The revision was the present one at that reading. */
  #samples: Sample[] = [];

  constructor(rules: HistoryRules, machine: KvMachine) {
    this.#rules = rules;
    this.#stepMs = Math.max(STEP_MS_MIN, rules.ms / PARTS);
    this.reset(machine);
  }

  /** Nothing but a compaction by hand is ever to take history away. */
  get keepsAll(): boolean {
    const { ms, revisionsMax, bytesMax } = this.#rules;
    return ms === Number.POSITIVE_INFINITY && revisionsMax === Number.MAX_SAFE_INTEGER && bytesMax === Number.MAX_SAFE_INTEGER;
  }

  /** Another state has taken the place of the present one. */
  reset(machine: KvMachine): void {
    this.#samples = [{ clockMs: machine.clockMs, revision: machine.revision }];
  }

  /** Entries were applied. Costs next to nothing. */
  note({ clockMs, revision }: KvMachine): void {
    if (clockMs >= this.#samples.at(-1)!.clockMs + this.#stepMs) this.#take(clockMs, revision);
  }

  /** The reading of the lease clock at which upkeep() has something to do, if nothing else happens; infinity: never. */
  dueAt(machine: KvMachine): number {
    const { ms, revisionsMin } = this.#rules;
    if (this.#bounds(machine)) return 0;
    const { readableFrom, revision } = machine;
    if (ms === Number.POSITIVE_INFINITY || revision - revisionsMin <= readableFrom) return Number.POSITIVE_INFINITY;
    const last = this.#samples.at(-1)!;
    // What was made since the last sample is given its age soon, also if nothing more is written.
    const sampledAt = last.revision < revision ? last.clockMs + this.#stepMs : Number.POSITIVE_INFINITY;
    for (const sample of this.#samples) {
      if (sample.revision > readableFrom) return Math.min(sample.clockMs + ms, sampledAt);
    }
    return sampledAt;
  }

  /** What is to be proposed at this reading of the lease clock, by a leader; undefined: nothing. */
  upkeep(machine: KvMachine, clockMs: number): StateBatch | undefined {
    if (clockMs < this.dueAt(machine)) return undefined;
    const { ms, revisionsMin, revisionsMax, bytesMax } = this.#rules;
    const batch = new CommandBatch(128);
    if (this.#bounds(machine)) batch.limitHistory({ revisionsMax, bytesMax });
    if (clockMs >= this.#samples.at(-1)!.clockMs + this.#stepMs) this.#take(clockMs, machine.revision);
    let old = 0;
    for (const sample of this.#samples) {
      if (sample.clockMs <= clockMs - ms) old = sample.revision;
    }
    const revision = Math.min(old, machine.revision - revisionsMin);
    if (revision > machine.readableFrom) batch.compact(revision);
    const commands = batch.count;
    return commands === 0 ? undefined : { record: batch.finish(), commands, bytes: 0 };
  }

  /** Whether the state has other bounds than these rules. */
  #bounds({ history }: KvMachine): boolean {
    return history.revisionsMax !== this.#rules.revisionsMax || history.bytesMax !== this.#rules.bytesMax;
  }

  #take(clockMs: number, revision: number): void {
    this.#samples.push({ clockMs, revision });
    // Of those that are old enough the newest says all.
    while (this.#samples.length > 2 && this.#samples[1]!.clockMs <= clockMs - this.#rules.ms) this.#samples.shift();
    if (this.#samples.length > SAMPLES_MAX) this.#samples.shift();
  }
}
