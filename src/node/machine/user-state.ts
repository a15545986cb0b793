/**
 * A user's own state machine as the state of a node. It is trusted neither to be fast nor to be right: what it throws while it applies, and
 * answers that do not fit, stop the node with an error that names it and the entry; entries, queries and images go through it a share at a
 * time. It holds nothing but what it was given: its commands are copies.
 *
 * There is one machine for as long as the node is open. A snapshot from the leader is on this disk, and named by the log, before the machine is
 * told to restore it; until it has, nothing is applied and nothing read.
 */
import { ByteWriter } from "../../core/kv/bytes.ts";
import type { SnapshotMeta } from "../../core/raft/message.ts";
import { EngineError, toWire } from "../../errors.ts";
import type { Clock } from "../../host/clock.ts";
import type { SnapshotFile } from "../../storage/storage.ts";
import type { CallId, ToNode } from "../boundary.ts";
import type { ReplicatedState, StateCall, StateEntry, StateHost } from "../replicated-state.ts";
import type { SnapshotSource } from "../snapshot-maker.ts";
import type { StateRestoring } from "../snapshot-transfer.ts";
import { OPAQUE_COMMANDS_MAX, OpaqueReader, writeAnswer } from "./opaque-commands.ts";
import type { Command } from "./state-machine.ts";
import { describe, type UserMachine } from "./user-machine.ts";
import { UserRestoring } from "./user-snapshot.ts";

/** Commands of one call of apply(). */
const SLICE_COMMANDS = 256;
/** Queries of one turn take about this long. */
const TURN_MS_MAX = 4;
/** After an image that failed: no sooner than this is another asked for. */
const SNAPSHOT_RETRY_MS = 10_000;
/** A machine that is asked for a slice of its image and gives none for this long is asked for no more of it. */
const SLICE_MS_MAX = 60_000;

const encoder = new TextEncoder();
const NOTHING: Uint8Array = new Uint8Array(0);

export interface UserStateOptions {
  readonly machine: UserMachine;
  readonly host: StateHost;
  readonly clock: Clock;
  /** What the machine stands at: the founding, or the snapshot that was restored. */
  readonly applied: { readonly index: number; readonly clockMs: number };
  /** The newest snapshot on this disk, held until it is released. */
  openSnapshot(): SnapshotFile | undefined;
}

interface Query {
  readonly call: CallId;
  readonly deadline: number;
  readonly timeoutMs: number;
  readonly reader: OpaqueReader;
  readonly answers: ByteWriter;
  left: number;
}

export class UserState implements ReplicatedState {
  readonly #machine: UserMachine;
  readonly #host: StateHost;
  readonly #clock: Clock;
  readonly #openSnapshot: () => SnapshotFile | undefined;
  #appliedIndex: number;
  #clockMs: number;

  /** The entry under way. */
  #entry: StateEntry | undefined;
  #commands: OpaqueReader = new OpaqueReader(NOTHING);
  #left = 0;
  #wantResults = false;
  readonly #results = new ByteWriter();

  /** In the order in which they may be answered. At most as many as callers may have calls pending. */
  #queries: Query[] = [];
  #queriesExpireAt = Number.POSITIVE_INFINITY;
  /** Settles without an error. */
  #restoring: Promise<void> | undefined;
  #isClosing = false;
  #snapshotNotBefore = Number.NEGATIVE_INFINITY;

  constructor({ machine, host, clock, applied, openSnapshot }: UserStateOptions) {
    this.#machine = machine;
    this.#host = host;
    this.#clock = clock;
    this.#appliedIndex = applied.index;
    this.#clockMs = applied.clockMs;
    this.#openSnapshot = openSnapshot;
    machine.log = host.log;
  }

  // ------------------------------------------------------------------------------------------------------------ applying

  get isReady(): boolean {
    return this.#restoring === undefined;
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  /** There are none: the place in the log is what a user's data goes by. */
  get revision(): number {
    return 0;
  }

  get clockMs(): number {
    return this.#clockMs;
  }

  begin(entry: StateEntry, wantResults: boolean): void {
    this.#entry = entry;
    this.#wantResults = wantResults;
    this.#clockMs = Math.max(this.#clockMs, entry.clockMs);
    // A copy: log, links and machine must not see what one of them does to the bytes.
    this.#commands = new OpaqueReader(entry.commands === undefined ? NOTHING : new Uint8Array(entry.commands));
    this.#left = Math.min(entry.count, OPAQUE_COMMANDS_MAX);
    if (wantResults) this.#results.f64(entry.index);
  }

  step(recordsMax: number): boolean {
    const { index, term, clockMs: proposedAtMs } = this.#entry!;
    const slice = Math.max(1, Math.min(recordsMax, SLICE_COMMANDS));
    const commands: Command[] = [];
    while (this.#left > 0 && commands.length < slice) {
      this.#left--;
      const bytes = this.#commands.next();
      // A batch that is not whole ends here, on every member alike.
      if (bytes === undefined) this.#left = 0;
      else commands.push({ index, term, proposedAtMs, bytes });
    }
    if (commands.length > 0) {
      const answers = this.#machine.apply(commands, index);
      if (this.#wantResults) for (const answer of answers) writeAnswer(this.#results, "answer", answer);
    }
    if (this.#left > 0) return false;
    this.#entry = undefined;
    this.#commands = new OpaqueReader(NOTHING);
    this.#appliedIndex = index;
    return true;
  }

  results(): Uint8Array<ArrayBuffer> {
    return this.#results.take();
  }

  nextDue(): undefined {
    return undefined;
  }

  maintain(): boolean {
    return true;
  }

  // --------------------------------------------------------------------------------------------------------------- space

  /** What a machine holds is its own affair. */
  get usedBytes(): number {
    return 0;
  }

  get historyBytes(): number {
    return 0;
  }

  get keys(): number {
    return 0;
  }

  /** Any command may make it grow: on a full disk none is taken. */
  growth(_record: Uint8Array, commands: number): "none" | "all" {
    return commands === 0 ? "none" : "all";
  }

  growthCost(record: Uint8Array): { bytes: number; keys: number } {
    return { bytes: record.byteLength, keys: 0 };
  }

  withoutGrowth(): undefined {
    return undefined;
  }

  upkeep(): undefined {
    return undefined;
  }

  get upkeepAt(): number {
    return Number.POSITIVE_INFINITY;
  }

  compaction(): undefined {
    return undefined;
  }

  // ----------------------------------------------------------------------------------------------------------- snapshots

  snapshot(): SnapshotSource | undefined {
    if (!this.isReady || this.#clock.now() < this.#snapshotNotBefore) return undefined;
    try {
      const source = this.#machine.snapshot();
      return {
        read: (bytesMax) =>
          this.#withinTime(source.read(bytesMax)).catch((error: unknown) => {
            this.#onSnapshotFailed(error);
            throw error;
          }),
        cancel: () => source.cancel(),
      };
    } catch (error) {
      this.#onSnapshotFailed(error);
      return undefined;
    }
  }

  /** The log goes on without it, and is not discarded meanwhile. */
  #onSnapshotFailed(error: unknown): void {
    this.#snapshotNotBefore = this.#clock.now() + SNAPSHOT_RETRY_MS;
    this.#host.log("error", "the state machine gave no snapshot", { machine: this.#machine.name, reason: describe(error) });
  }

  #withinTime<T>(slice: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.setTimer(SLICE_MS_MAX, () => reject(new Error(`nothing of its snapshot within ${SLICE_MS_MAX} ms`)));
      slice.then(resolve, reject).finally(() => timer.cancel());
    });
  }

  beginRestoring(): StateRestoring {
    return new UserRestoring();
  }

  replace(_restored: StateRestoring, meta: SnapshotMeta): void {
    this.#entry = undefined;
    this.#commands = new OpaqueReader(NOTHING);
    this.#left = 0;
    this.#results.take();
    this.#appliedIndex = meta.lastIncludedIndex;
    this.#clockMs = meta.clockMs;
    const file = this.#openSnapshot();
    if (file === undefined || file.meta.lastIncludedIndex !== meta.lastIncludedIndex) {
      file?.release();
      throw new EngineError("INTERNAL", "the snapshot that was installed is not there", { invariant: "an installed snapshot is on disk" });
    }
    this.#restoring = this.#machine.restore(file).then(
      () => {
        this.#restoring = undefined;
        this.#host.wake();
      },
      // It holds part of one state and part of another, and is asked nothing any more.
      (error: unknown) => {
        if (!this.#isClosing) this.#host.fail(error as EngineError);
      },
    );
  }

  // ------------------------------------------------------------------------------------------------------------- callers

  shared(): undefined {
    return undefined;
  }

  onRaftMoved(): void {
    // Nothing of a user's machine is in shared memory.
  }

  onApplied(): void {
    // The same.
  }

  publish(): void {
    // The same.
  }

  onCaughtUp(): boolean {
    return false;
  }

  get holdsCalls(): boolean {
    return false;
  }

  onCall(call: StateCall, now: number): void {
    if (call.kind !== "query") return; // The client of a user's machine sends no other.
    this.#host.read(call, now, () => this.#addQuery(call, now + call.timeoutMs));
  }

  #addQuery({ call, queries, count, timeoutMs }: ToNode & { readonly kind: "query" }, deadline: number): void {
    this.#queries.push({ call, deadline, timeoutMs, reader: new OpaqueReader(queries), answers: new ByteWriter(), left: count });
    this.#queriesExpireAt = Math.min(this.#queriesExpireAt, deadline);
  }

  cancel(call: CallId): void {
    if (this.#queries.length > 0) this.#queries = this.#queries.filter((query) => query.call !== call);
  }

  pump(): boolean {
    if (this.#queries.length === 0 || !this.isReady) return false;
    const until = this.#clock.now() + TURN_MS_MAX;
    let answered = 0;
    for (const query of this.#queries) {
      while (query.left > 0 && this.#clock.now() < until) {
        query.left--;
        this.#answer(query);
      }
      if (query.left > 0) break;
      this.#host.post({ kind: "answers", call: query.call, answers: query.answers.take() });
      answered++;
    }
    this.#queries.splice(0, answered);
    return this.#queries.length > 0;
  }

  #answer({ reader, answers }: Query): void {
    try {
      writeAnswer(answers, "answer", this.#machine.read(new Uint8Array(reader.next() ?? NOTHING)));
    } catch (error) {
      writeAnswer(answers, "refused", encoder.encode(describe(error)));
    }
  }

  expire(now: number): number {
    if (now < this.#queriesExpireAt) return this.#queriesExpireAt;
    let next = Number.POSITIVE_INFINITY;
    this.#queries = this.#queries.filter(({ call, deadline, timeoutMs }) => {
      if (deadline > now) {
        next = Math.min(next, deadline);
        return true;
      }
      const error = new EngineError("TIMEOUT", `the state machine did not come to the query within ${timeoutMs} ms`, {
        timeoutMs,
        waitedFor: "queue",
      });
      this.#host.post({ kind: "failed", call, error: toWire(error) });
      return false;
    });
    this.#queriesExpireAt = next;
    return next;
  }

  get deadline(): number {
    return Number.POSITIVE_INFINITY;
  }

  get expireAt(): number {
    return this.#queries.length === 0 ? Number.POSITIVE_INFINITY : this.#queriesExpireAt;
  }

  failAll(make: () => EngineError): void {
    for (const { call } of this.#queries) this.#host.post({ kind: "failed", call, error: toWire(make()) });
    this.#queries = [];
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#machine.endRestoring();
    await this.#restoring;
    await this.#machine.close();
  }
}
