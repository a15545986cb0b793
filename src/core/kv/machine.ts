/**
 * The replicated state machine of the key-value data: applies entries of the log, in order, and answers reads. A pure function of what
 * it is given: members that applied the same entries hold the same state, whatever slices they worked in and whatever was read meanwhile.
 *
 * Revisions are etcd's: an empty store is at 1; each command that changes something adds 1, however many keys it changes; one that changes
 * nothing adds none. Time is the lease clock in the entries: applying one first removes what its reading makes due, each lease at a revision
 * of its own, then runs its commands one by one.
 *
 * Applying never throws at the bytes of a command, whatever they are: what cannot be applied has a refusal as its result. It may stop
 * inside a command after any number of records; readers see whole revisions only.
 */
import { assert } from "../assert.ts";
import { ByteWriter, equalBytes } from "./bytes.ts";
import {
  COMMANDS_MAX,
  CommandReader,
  FLAG_EXPECTED,
  FLAG_LEASE,
  FLAG_NO_END,
  FLAG_PREV_KV,
  FLAG_TTL,
  OP_DELETE_KEY,
  OP_DELETE_RANGE,
  OP_PUT,
  type RefusalCode,
  LEASES_MAX,
} from "./command.ts";
import { HISTORY_LIMITS, type HistoryLimits } from "./history-ledger.ts";
import { leaseOfCommand } from "./lease-id.ts";
import { writeKv } from "./packed-kv.ts";
import { Pins, type Pin } from "./pins.ts";
import { RangeReading, type RangeBasis, type RangeOptions } from "./range-reading.ts";
import {
  ANSWER_ABSENT,
  ANSWER_BYTES_MAX,
  ANSWER_FOUND,
  ANSWER_LEFT_OUT,
  READS_MAX,
  ReadReader,
  type RangeRequest,
  type ReadRefused,
} from "./read.ts";
import { ResultWriter } from "./result.ts";
import { RevisionedData } from "./revisioned-data.ts";
import { SnapshotReading } from "./snapshot-reading.ts";
import type { RecordRef, Table, TableCursor } from "./table.ts";
import { WatchHub } from "./watch-hub.ts";

export type { Pin } from "./pins.ts";

/** Keys that fall due in one entry: no further lease is begun once so many are gone. The rest goes at the next entry. */
export const EXPIRED_KEYS_MAX = 1_000;

/** What a machine begins from, if not from nothing. */
export interface MachineState {
  readonly data: RevisionedData;
  readonly revision: number;
  readonly clockMs: number;
  readonly appliedIndex: number;
  readonly appliedTerm: number;
}

export interface KvMachineOptions {
  /** Empty, or holding `state`. The machine's alone. */
  readonly table: Table;
  /** Must be the same on all members of a cluster. A machine that is restored takes those of the stream. */
  readonly history?: HistoryLimits | undefined;
  readonly state?: MachineState | undefined;
  /** Of an empty machine: the point of the log that it stands for, if not the log's beginning. */
  readonly applied?: { readonly index: number; readonly term: number; readonly clockMs: number } | undefined;
}

/** A committed entry. `commands` undefined: it has none, but its clock counts. Nobody may write to the bytes until it is applied. */
export interface MachineEntry {
  readonly index: number;
  readonly term: number;
  readonly clockMs: number;
  readonly commands: Uint8Array | undefined;
  readonly count: number;
}

/** See above. Between begin() and the step() that answers true, reads and pumps may go on; snapshots may not. */
export class KvMachine {
  readonly table: Table;
  /** Moves to another machine when a snapshot takes this one's place: see WatchHub.rebase(). */
  watches: WatchHub;
  protected readonly data: RevisionedData;
  private readonly pins: Pins = new Pins();
  private readonly commands: CommandReader = new CommandReader();
  private readonly resultWriter: ResultWriter = new ResultWriter();
  private currentRevision = 1;
  private publishedRevision = 0;
  private freed: number;
  private index = 0;
  private term = 0;
  private clock = 0;

  /** The entry under way, and how far it is. */
  private entry: MachineEntry | undefined = undefined;
  private wantResults = false;
  private revisionBefore = 1;
  private commandsDone = 0;
  private expiryDone = false;
  private expiredKeys = 0;
  private expiring: Iterator<RecordRef> | undefined = undefined;
  private deleting: TableCursor | undefined = undefined;
  private deleted = 0;

  constructor(options: KvMachineOptions) {
    const { state } = options;
    this.table = options.table;
    this.data = state?.data ?? new RevisionedData(options.table, options.history ?? HISTORY_LIMITS, 0);
    this.freed = this.data.ledger.compactRevision;
    if (state !== undefined) {
      this.currentRevision = state.revision;
      this.clock = state.clockMs;
      this.index = state.appliedIndex;
      this.term = state.appliedTerm;
    } else if (options.applied !== undefined) {
      this.index = options.applied.index;
      this.term = options.applied.term;
      this.clock = options.applied.clockMs;
    }
    this.publish();
    this.watches = new WatchHub(this);
  }

  /** Of the last whole command. */
  get revision(): number {
    return this.currentRevision;
  }

  get compactRevision(): number {
    return this.data.ledger.compactRevision;
  }

  get history(): HistoryLimits {
    return this.data.ledger.limits;
  }

  /** Logical, above the compact revision: equal on all members. */
  get historyBytes(): number {
    return this.data.ledger.historyBytes;
  }

  /** What was superseded at or before it may be gone from this member's memory. At most the compact revision. */
  get freedRevision(): number {
    return this.freed;
  }

  get appliedIndex(): number {
    return this.index;
  }

  get appliedTerm(): number {
    return this.term;
  }

  get clockMs(): number {
    return this.clock;
  }

  get leases(): number {
    return this.data.leases.count;
  }

  /** An entry was begun and not yet finished. */
  get applying(): boolean {
    return this.entry !== undefined;
  }

  /** The reading of the lease clock at which the next lease falls due. If it has passed, more was due than one entry removes: propose another. */
  nextDue(): number | undefined {
    return this.data.leases.nextDue;
  }

  /** The entry must follow the last one applied, which must be finished. */
  begin(entry: MachineEntry, wantResults: boolean): void {
    assert(this.entry === undefined, "one entry is applied at a time");
    assert(entry.index > this.index, "entries are applied in order");
    this.entry = entry;
    this.wantResults = wantResults;
    this.resultWriter.clear();
    this.clock = Math.max(this.clock, entry.clockMs);
    this.revisionBefore = this.currentRevision;
    this.commandsDone = 0;
    this.expiryDone = false;
    this.expiredKeys = 0;
    if (entry.commands !== undefined) this.commands.open(entry.commands);
  }

  /** Works on up to `recordsMax` commands and keys. True when the entry is finished. */
  step(recordsMax: number): boolean {
    assert(this.entry !== undefined, "an entry was begun");
    let budget = Math.max(1, recordsMax);
    let finished = false;
    while (budget > 0 && !finished) {
      if (this.expiring !== undefined) {
        budget = this.expireKeys(this.expiring, budget);
      } else if (this.deleting !== undefined) {
        budget = this.deleteKeys(this.deleting, budget);
      } else if (this.expiryDone) {
        finished = !this.runCommand(this.entry);
        budget--;
      } else {
        this.beginExpiry();
      }
    }
    if (finished) this.finishEntry(this.entry);
    if (this.publishedRevision !== this.currentRevision) this.publish();
    return finished;
  }

  /** Of the entry just finished, if they were wanted. Once. */
  results(): Uint8Array<ArrayBuffer> {
    return this.resultWriter.take();
  }

  /** Answers packed point reads as of the current revision. Hostile bytes are answered "absent". */
  read(reads: Uint8Array, count: number): Uint8Array<ArrayBuffer> {
    return this.answer(reads, count, this.currentRevision);
  }

  /** The same as of a past revision, which must be readable or pinned. */
  readAt(reads: Uint8Array, count: number, revision: number): Uint8Array<ArrayBuffer> | ReadRefused {
    return this.refusal(revision) ?? this.answer(reads, count, revision);
  }

  /** Begins to read a range. A reading that is not read to its end must be cancelled. */
  range(request: RangeRequest, options: RangeOptions = {}): RangeReading {
    return new RangeReading(this.basis(request.revision ?? this.currentRevision), this.table, request, options);
  }

  /**
   * Keeps a revision readable on this member for as long as it is held, also when it is compacted meanwhile: holding one for long costs
   * memory. undefined where the revision is not in memory, or PINS_MAX are held.
   */
  pin(revision: number = this.currentRevision): Pin | undefined {
    return revision < this.freed || revision > this.currentRevision ? undefined : this.pins.hold(revision);
  }

  /** The state as of now, to be read in slices. Only between entries. */
  snapshot(): SnapshotReading {
    assert(this.entry === undefined, "a snapshot falls between entries");
    return new SnapshotReading({
      table: this.table,
      revision: this.currentRevision,
      compactRevision: this.compactRevision,
      clockMs: this.clock,
      limits: this.history,
      leases: this.data.leases.copyColumns(),
      pin: this.pins.holdAnyway(this.compactRevision),
    });
  }

  /** Equal on members that have applied the same entries. Looks at everything, in one go: for tests and checks. Only between entries. */
  stateHash(): number {
    const reading = this.snapshot();
    while (reading.read(65_536) !== undefined);
    return reading.hash;
  }

  /** Frees memory of history that is no longer part of the state. True when there is nothing left to do now. */
  maintain(recordsMax: number): boolean {
    const wanted = Math.min(this.compactRevision, this.pins.lowestRevision, this.watches.holds());
    this.freed = Math.max(this.freed, wanted);
    return this.table.compact(this.freed, Math.max(1, recordsMax));
  }

  private publish(): void {
    this.publishedRevision = this.currentRevision;
    this.table.publish(this.currentRevision);
  }

  private finishEntry(entry: MachineEntry): void {
    this.commands.close();
    this.index = entry.index;
    this.term = entry.term;
    this.entry = undefined;
    this.data.ledger.trim(this.revisionBefore);
  }

  private beginExpiry(): void {
    const id = this.expiredKeys < EXPIRED_KEYS_MAX ? this.data.leases.due(this.clock) : undefined;
    if (id === undefined) this.expiryDone = true;
    else this.expiring = this.data.leases.end(id);
    this.deleted = 0;
  }

  /** The keys of one lease go at one revision. */
  private expireKeys(refs: Iterator<RecordRef>, budgetBefore: number): number {
    for (let budget = budgetBefore; budget > 0; budget--) {
      const ref = refs.next();
      if (ref.done === true) {
        this.expiring = undefined;
        this.expiredKeys += Math.max(1, this.deleted);
        if (this.deleted > 0) this.currentRevision++;
        return budget - 1;
      }
      this.data.delete(ref.value, this.currentRevision + 1, "expiry");
      this.deleted++;
    }
    return 0;
  }

  /** False when there is no further command. */
  private runCommand(entry: MachineEntry): boolean {
    if (entry.commands === undefined || this.commandsDone >= Math.min(entry.count, COMMANDS_MAX)) return false;
    const { commands } = this;
    const fault = commands.next();
    if (fault === "end") return false;
    const command = this.commandsDone++;
    if (fault !== undefined) {
      if (this.wantResults) this.resultWriter.refuse(commands.op, this.currentRevision, fault, undefined);
      return true;
    }
    switch (commands.op) {
      case OP_DELETE_RANGE:
        this.beginDelete();
        break;
      case OP_DELETE_KEY:
        this.deleteKey();
        break;
      default:
        this.write(entry, command);
    }
    return true;
  }

  /** Put and compare-and-swap. */
  private write(entry: MachineEntry, command: number): void {
    const { commands, data } = this;
    const isPut = commands.op === OP_PUT;
    const key = commands.key();
    if (!isPut && !this.expectationHolds(key)) {
      if (this.wantResults) this.resultWriter.compareAndSwap(commands.op, this.currentRevision, false);
      return;
    }
    const full = data.refusal(key, commands.valueBytes);
    if (full !== undefined) {
      this.refuse(full, undefined);
      return;
    }
    let lease: string | undefined = undefined;
    if ((commands.flags & FLAG_LEASE) !== 0) {
      lease = commands.lease!;
      if (!data.leases.has(lease)) {
        this.refuse("leaseNotFound", lease);
        return;
      }
    } else if ((commands.flags & FLAG_TTL) !== 0) {
      if (data.leases.count >= LEASES_MAX) {
        this.refuse("leasesMax", undefined);
        return;
      }
      lease = leaseOfCommand(entry.index, command);
      const dueMs = Math.min(this.clock + commands.ttlMs, Number.MAX_SAFE_INTEGER);
      data.leases.add({ id: lease, ttlMs: commands.ttlMs, dueMs });
    }
    const before = data.put(key, commands.value(), this.currentRevision + 1, lease);
    this.currentRevision++;
    if (!this.wantResults) return;
    if (isPut) this.resultWriter.put(this.currentRevision, this.table, (commands.flags & FLAG_PREV_KV) === 0 ? 0 : before);
    else this.resultWriter.compareAndSwap(commands.op, this.currentRevision, true);
  }

  private expectationHolds(key: Uint8Array): boolean {
    const ref = this.data.live(key);
    if ((this.commands.flags & FLAG_EXPECTED) === 0) return ref === 0;
    return ref !== 0 && equalBytes(this.table.value(ref), this.commands.expected());
  }

  private refuse(code: RefusalCode, lease: string | undefined): void {
    if (this.wantResults) this.resultWriter.refuse(this.commands.op, this.currentRevision, code, lease);
  }

  private deleteKey(): void {
    const ref = this.data.live(this.commands.key());
    if (this.wantResults) this.resultWriter.beginDelete(OP_DELETE_KEY);
    if (ref !== 0) {
      if (this.wantResults && (this.commands.flags & FLAG_PREV_KV) !== 0) this.resultWriter.addPrevious(this.table, ref);
      this.data.delete(ref, this.currentRevision + 1, "request");
      this.currentRevision++;
    }
    if (this.wantResults) this.resultWriter.endDelete(this.currentRevision, ref === 0 ? 0 : 1);
  }

  private beginDelete(): void {
    const { commands } = this;
    const end = (commands.flags & FLAG_NO_END) === 0 ? commands.value().slice() : undefined;
    this.deleting = this.table.cursor({ start: commands.key().slice(), end }, "ascending");
    this.deleted = 0;
    if (this.wantResults) this.resultWriter.beginDelete(OP_DELETE_RANGE);
  }

  private deleteKeys(cursor: TableCursor, budgetBefore: number): number {
    const { table } = this;
    const addPrevious = this.wantResults && (this.commands.flags & FLAG_PREV_KV) !== 0;
    for (let budget = budgetBefore; budget > 0; budget--) {
      const ref = cursor.next();
      if (ref === 0) {
        this.deleting = undefined;
        if (this.deleted > 0) this.currentRevision++;
        if (this.wantResults) this.resultWriter.endDelete(this.currentRevision, this.deleted);
        return budget - 1;
      }
      if (table.version(ref) === 0) continue;
      if (addPrevious) this.resultWriter.addPrevious(table, ref);
      this.data.delete(ref, this.currentRevision + 1, "request");
      this.deleted++;
    }
    return 0;
  }

  private answer(reads: Uint8Array, count: number, revision: number): Uint8Array<ArrayBuffer> {
    const { table } = this;
    const writer = new ByteWriter(4_096);
    writer.f64(revision);
    const reader = new ReadReader(reads);
    for (let left = Math.min(count, READS_MAX); left > 0; left--) {
      const key = reader.next();
      const newest = key === undefined || key.length === 0 ? 0 : table.find(key);
      const ref = newest === 0 ? 0 : table.asOf(newest, revision);
      if (ref === 0 || table.version(ref) === 0) {
        writer.u8(ANSWER_ABSENT);
      } else if (writer.length >= ANSWER_BYTES_MAX) {
        writer.u8(ANSWER_LEFT_OUT);
      } else {
        writer.u8(ANSWER_FOUND);
        writeKv(writer, table, ref, false);
      }
    }
    return writer.take();
  }

  /** A revision that is compacted but pinned by somebody is there, so that it can be read. */
  private refusal(revision: number): ReadRefused | undefined {
    if (revision > this.currentRevision) return { refused: "future", revision: this.currentRevision };
    if (revision >= this.compactRevision || this.pins.holds(revision)) return undefined;
    return { refused: "compacted", revision: this.compactRevision };
  }

  private basis(revision: number): RangeBasis | ReadRefused {
    const refusal = this.refusal(revision);
    if (refusal !== undefined) return refusal;
    const own = this.pins.hold(revision);
    if (own === undefined) return { refused: "pins", revision: this.currentRevision };
    const newest = revision === this.currentRevision && this.expiring === undefined && this.deleting === undefined;
    return { table: this.table, revision, newest, pin: own };
  }
}
