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
import type { BatchSession } from "../batch.ts";
import { ByteWriter, equalBytes } from "./bytes.ts";
import {
  COMMANDS_MAX,
  CommandReader,
  FLAG_EXPECTED,
  FLAG_IGNORE_LEASE,
  FLAG_IGNORE_VALUE,
  FLAG_LEASE,
  FLAG_NO_END,
  FLAG_PREV_KV,
  FLAG_TTL,
  KEPT_BYTES_MAX,
  OP_COMPACT,
  OP_DELETE_KEY,
  OP_DELETE_RANGE,
  OP_FREE_HISTORY,
  OP_HISTORY_LIMITS,
  OP_LEASE_GRANT,
  OP_LEASE_RENEW,
  OP_LEASE_REVOKE,
  OP_NO_SPACE,
  OP_PUT,
  OP_SESSION_CLOSE,
  OP_SESSION_OPEN,
  OP_TXN,
  TXN_OPS_CEILING,
  type RefusalCode,
  LEASES_MAX,
} from "./command.ts";
import { readNoSpace } from "./growth.ts";
import { areHistoryLimits, HISTORY_LIMITS, type HistoryLimits } from "./history-ledger.ts";
import { foundingState } from "./founding-state.ts";
import { HashReading } from "./hash-reading.ts";
import { LeaseChanges } from "./lease-changes.ts";
import { LEASE_ID_BYTES } from "./lease-commands.ts";
import { leaseOfCommand, wordsOfCommand } from "./lease-id.ts";
import { LeaseReading } from "./lease-reading.ts";
import { dueAfter, LEASE_GRANTED, LEASE_OF_PUT, type LeaseColumns } from "./lease-table.ts";
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
import { SessionApplying } from "./session-applying.ts";
import { areSessionBounds } from "./session-bounds.ts";
import { SnapshotReading } from "./snapshot-reading.ts";
import type { Table, TableCursor } from "./table.ts";
import { checkTxn } from "./txn-check.ts";
import { readTxn, TxnReader } from "./txn-codec.ts";
import { TxnReading } from "./txn-reading.ts";
import { isReadOnly, oldestRead } from "./txn-command.ts";
import { TxnRun } from "./txn-run.ts";
import { WatchHub } from "./watch-hub.ts";

export type { Pin } from "./pins.ts";

/** Keys that fall due in one entry: no further lease is begun once so many are gone. The rest goes at the next entry. */
export const EXPIRED_KEYS_MAX = 1_000;
/** So many bytes that are copied or compared beside a command cost about what a record does. */
const BYTES_A_RECORD_LOG2 = 12;

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
  /** What numbers its commands have that do not say their own. */
  readonly session?: BatchSession | undefined;
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
  /** Of the entry: somebody waits for its results. Of the command under way: its result is written, be it only to be remembered. */
  private wantAll = false;
  private wantResults = false;
  private readonly sessions: SessionApplying;
  private revisionBefore = 1;
  private commandsDone = 0;
  private expiryDone = false;
  private expiredKeys = 0;
  /** Bytes of values that puts of the entry have kept; and those of the last command, which cost time. */
  private keptBytes = 0;
  private keptNow = 0;
  private readonly leaseChanges: LeaseChanges;
  private deleting: TableCursor | undefined = undefined;
  private deleted = 0;
  private txn: TxnRun | undefined = undefined;
  private readonly txnReader: TxnReader = new TxnReader();

  constructor(options: KvMachineOptions) {
    const { state } = options;
    this.table = options.table;
    this.data = state?.data ?? new RevisionedData(options.table, options.history ?? HISTORY_LIMITS, 0);
    this.leaseChanges = new LeaseChanges(this.data);
    this.sessions = new SessionApplying(this.data.sessions, this.resultWriter);
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

  /** The last revision whose events are gone. */
  get compactRevision(): number {
    return this.data.ledger.compactRevision;
  }

  /**
   * The first revision that can be read and, but for the present one, whose events may be gone, watched: what callers are told as the compact
   * revision. 1: nothing was compacted.
   */
  get readableFrom(): number {
    return Math.min(this.data.ledger.compactRevision + 1, this.currentRevision);
  }

  get history(): HistoryLimits {
    return this.data.ledger.limits;
  }

  /** Logical, above the compact revision: equal on all members. */
  get historyBytes(): number {
    return this.data.ledger.historyBytes;
  }

  /** Logical bytes of live keys and history: what quotas count. Equal on all members. */
  get usedBytes(): number {
    return this.data.liveBytes + this.data.ledger.historyBytes;
  }

  /** Logical bytes of history that is compacted and still in this member's memory: pins hold it, or its turn to be freed has not come. */
  get heldBytes(): number {
    return Math.max(0, this.table.historyBytes - this.data.ledger.historyBytes);
  }

  /** Of the key's value, as it is at this moment; 0 where there is none. */
  valueBytes(key: Uint8Array): number {
    const ref = key.length === 0 ? 0 : this.data.live(key);
    return ref === 0 ? 0 : this.table.valueBytes(ref);
  }

  /** What it frees to compact history up to and including a revision. */
  bytesFreedBy(revision: number): number {
    return this.data.ledger.bytesThrough(revision);
  }

  /** Up to which revision history must be compacted so that so many logical bytes are freed, or as many as it has; 0: it has none. */
  revisionFreeing(bytes: number): number {
    return this.data.ledger.revisionFreeing(bytes);
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
    this.wantAll = wantResults;
    this.wantResults = wantResults;
    this.resultWriter.clear();
    this.clock = Math.max(this.clock, entry.clockMs);
    this.revisionBefore = this.currentRevision;
    this.commandsDone = 0;
    this.expiryDone = false;
    this.expiredKeys = 0;
    this.keptBytes = 0;
    this.sessions.beginEntry(entry.session, this.clock, wantResults);
    if (entry.commands !== undefined) this.commands.open(entry.commands);
  }

  /** Works on up to `recordsMax` commands and keys. True when the entry is finished. */
  step(recordsMax: number): boolean {
    assert(this.entry !== undefined, "an entry was begun");
    let budget = Math.max(1, recordsMax);
    let finished = false;
    while (budget > 0 && !finished) {
      if (this.leaseChanges.isEnding) {
        budget = this.endLease(budget);
      } else if (this.leaseChanges.isRenewing) {
        budget = this.renewLeases(budget);
      } else if (this.deleting !== undefined) {
        budget = this.deleteKeys(this.deleting, budget);
      } else if (this.txn !== undefined) {
        budget = this.runTxn(this.txn, budget);
      } else if (this.expiryDone) {
        finished = !this.runCommand(this.entry);
        budget -= 1 + (this.keptNow >>> BYTES_A_RECORD_LOG2);
        this.keptNow = 0;
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

  /** The same as of a past revision, which must be readable. */
  readAt(reads: Uint8Array, count: number, revision: number): Uint8Array<ArrayBuffer> | ReadRefused {
    return this.refusal(revision) ?? this.answer(reads, count, revision);
  }

  /** Begins to read a range. A reading that is not read to its end must be cancelled. */
  range(request: RangeRequest, options: RangeOptions = {}): RangeReading {
    return new RangeReading(this.basis(request.revision ?? this.currentRevision, options.pinned), this.table, request, options);
  }

  /**
   * Begins a transaction that only reads (isReadOnly), packed; answers the refusal of one that is none. It must be read to its end or
   * cancelled.
   */
  readTxn(packed: Uint8Array): TxnReading | RefusalCode {
    const txn = readTxn(packed);
    if (typeof txn === "string") return txn;
    const fault = checkTxn(txn, TXN_OPS_CEILING) ?? (isReadOnly(txn) ? undefined : "unsupported");
    if (fault !== undefined) return fault;
    const revision = this.currentRevision;
    const isNewest = (): boolean => revision === this.currentRevision && !this.isInsideCommand;
    const { data, pins, readableFrom, clock: clockMs } = this;
    // What it reads of the past stays, however much is compacted before it comes to that.
    const pin = pins.hold(Math.min(revision, oldestRead(txn, readableFrom)));
    return new TxnReading({ data, pins, revision, readableFrom, clockMs, index: 0, command: 0, keptBytesMax: 0, isNewest }, txn, pin);
  }

  /** One lease and, if wanted, its keys. Only between entries. undefined where there is none that is live. */
  lease(id: string, withKeys: boolean): LeaseReading | undefined {
    assert(this.entry === undefined, "leases are read between entries");
    const { leases } = this.data;
    if (!leases.isLive(id, this.clock)) return undefined;
    const pin = this.pins.holdAnyway(this.currentRevision);
    return new LeaseReading({ table: this.table, leases, id, withKeys, revision: this.currentRevision, pin });
  }

  /** All leases, those that are due and have not gone yet among them: a copy. Only between entries. */
  leaseColumns(): LeaseColumns {
    assert(this.entry === undefined, "leases are read between entries");
    return this.data.leases.copyColumns();
  }

  /**
   * Keeps a revision readable on this member for as long as it is held, also when it is compacted meanwhile: holding one for long costs
   * memory. undefined where the revision is not in memory, or PINS_MAX are held.
   */
  pin(revision: number = this.currentRevision): Pin | undefined {
    return revision < this.freed || revision > this.currentRevision ? undefined : this.pins.hold(revision);
  }

  /** Keeps in memory what history holds now and what it will, until released: for a store that is written behind. */
  holdHistory(): Pin {
    return this.pins.holdAnyway(this.compactRevision);
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
      sessions: this.data.sessions.copy(),
      pin: this.pins.holdAnyway(this.compactRevision),
    });
  }

  /** The state as a new cluster begins with it (founding-state.ts). Only between entries. */
  foundingSnapshot(bumpRevision: number): SnapshotReading {
    assert(this.entry === undefined, "a snapshot falls between entries");
    const { table, currentRevision: revision, compactRevision, clock: clockMs, history: limits, data, pins } = this;
    const leases = data.leases.copyColumns();
    return new SnapshotReading(
      foundingState({ table, revision, compactRevision, clockMs, limits, leases, pin: pins.holdAnyway(compactRevision) }, bumpRevision),
    );
  }

  /** Begins to hash the data as of a revision. A reading that is not read to its end must be cancelled. */
  hash(revision: number = this.currentRevision): HashReading | ReadRefused {
    const basis = this.basis(revision);
    return "refused" in basis ? basis : new HashReading(basis);
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
    // What the last entry did can be watched, and the present revision can be read, however little history there may be.
    this.data.ledger.trim(Math.min(this.revisionBefore, this.currentRevision - 1));
  }

  private beginExpiry(): void {
    const id = this.expiredKeys < EXPIRED_KEYS_MAX ? this.data.leases.due(this.clock) : undefined;
    if (id === undefined) this.expiryDone = true;
    else this.leaseChanges.beginEnding(id, "expiry");
  }

  /** The keys of one lease go at one revision. */
  private endLease(budgetBefore: number): number {
    const { leaseChanges } = this;
    const budget = leaseChanges.endSome(budgetBefore, this.currentRevision + 1);
    if (leaseChanges.isEnding) return budget;
    const { cause, deleted } = leaseChanges;
    if (deleted > 0) this.currentRevision++;
    if (cause === "expiry") this.expiredKeys += Math.max(1, deleted);
    else if (this.wantResults) this.resultWriter.lease(OP_LEASE_REVOKE, this.currentRevision);
    return budget;
  }

  private renewLeases(budgetBefore: number): number {
    const { leaseChanges, resultWriter } = this;
    const budget = leaseChanges.renewSome(budgetBefore, this.clock, this.wantResults ? resultWriter : undefined);
    if (!leaseChanges.isRenewing && this.wantResults) resultWriter.endRenewal(this.currentRevision);
    return budget;
  }

  /** False when there is no further command. */
  private runCommand(entry: MachineEntry): boolean {
    const { commands } = this;
    if (this.sessions.isUnderWay) {
      this.sessions.end(commands.op, this.currentRevision);
      this.wantResults = this.wantAll;
    }
    if (entry.commands === undefined || this.commandsDone >= Math.min(entry.count, COMMANDS_MAX)) return false;
    const fault = commands.next();
    if (fault === "end") return false;
    const command = this.commandsDone++;
    if (fault === undefined && (entry.session !== undefined || commands.sessionLow !== 0 || commands.sessionHigh !== 0)) {
      // What is to be remembered is made on every member; of a put it is nothing but the revision.
      const isPlain = commands.op === OP_PUT && (commands.flags & FLAG_PREV_KV) === 0;
      if (!this.sessions.begin(commands, command, isPlain, this.currentRevision)) return true;
      if (!isPlain) this.wantResults ||= this.sessions.isUnderWay;
    }
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
      case OP_TXN:
        this.beginTxn(entry, command);
        break;
      case OP_COMPACT:
        this.compact(commands.number(0));
        break;
      case OP_FREE_HISTORY:
        this.freeHistory(commands.number(0));
        break;
      case OP_HISTORY_LIMITS:
        this.limitHistory({ revisionsMax: commands.number(0), bytesMax: commands.number(1) });
        break;
      case OP_LEASE_GRANT:
        this.grantLease();
        break;
      case OP_LEASE_RENEW:
        this.leaseChanges.beginRenewal(commands.value());
        if (this.wantResults) this.resultWriter.beginRenewal(commands.valueBytes / LEASE_ID_BYTES);
        break;
      case OP_LEASE_REVOKE:
        // Also one that is due and has not gone yet: its keys go now.
        if (this.data.leases.has(commands.lease!)) this.leaseChanges.beginEnding(commands.lease!, "revocation");
        else this.refuse("leaseNotFound", commands.lease);
        break;
      case OP_NO_SPACE:
        this.refuseForSpace(commands.value());
        break;
      case OP_SESSION_OPEN:
        this.openSession(entry, command, { window: commands.number(0), lifeMs: commands.number(1) });
        break;
      case OP_SESSION_CLOSE:
        if (!this.data.sessions.close(commands.word(0), commands.word(1))) this.refuse("sessionGone", undefined);
        else if (this.wantResults) this.resultWriter.done(OP_SESSION_CLOSE, this.currentRevision);
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
    const keeps = commands.flags & (FLAG_IGNORE_VALUE | FLAG_IGNORE_LEASE);
    const kept = keeps === 0 ? 0 : data.live(key);
    if (keeps !== 0 && kept === 0) {
      // A lease that is not there is told first, as etcd does.
      if ((commands.flags & FLAG_LEASE) !== 0 && !data.leases.isLive(commands.lease!, this.clock))
        this.refuse("leaseNotFound", commands.lease);
      else this.refuse("keyNotFound", undefined);
      return;
    }
    if ((keeps & FLAG_IGNORE_VALUE) !== 0 && !this.keep(this.table.valueBytes(kept))) return;
    const full = data.refusal(key, commands.valueBytes);
    if (full !== undefined) {
      this.refuse(full, undefined);
      return;
    }
    let lease: string | undefined = undefined;
    if ((commands.flags & FLAG_LEASE) !== 0) {
      lease = commands.lease!;
      if (!data.leases.isLive(lease, this.clock)) {
        this.refuse("leaseNotFound", lease);
        return;
      }
    } else if ((commands.flags & FLAG_TTL) !== 0) {
      lease = leaseOfCommand(entry.index, command);
      if (!this.addLease(lease, commands.ttlMs, LEASE_OF_PUT)) return;
    }
    if ((keeps & FLAG_IGNORE_LEASE) !== 0) lease = this.table.lease(kept);
    // A view of the value that stays would not outlive the change.
    const value = (keeps & FLAG_IGNORE_VALUE) !== 0 ? this.table.value(kept).slice() : commands.value();
    const before = data.put(key, value, this.currentRevision + 1, lease);
    this.currentRevision++;
    if (!this.wantResults) return;
    if (isPut) this.resultWriter.put(this.currentRevision, this.table, (commands.flags & FLAG_PREV_KV) === 0 ? 0 : before);
    else this.resultWriter.compareAndSwap(commands.op, this.currentRevision, true);
  }

  private beginTxn(entry: MachineEntry, command: number): void {
    const txn = this.commands.txn(this.txnReader);
    const fault = typeof txn === "string" ? txn : checkTxn(txn, TXN_OPS_CEILING);
    if (fault !== undefined || typeof txn === "string") {
      this.refuse(fault ?? "malformed", undefined);
      return;
    }
    const { data, pins, readableFrom, clock: clockMs, resultWriter } = this;
    const ground = {
      data,
      pins,
      revision: this.currentRevision,
      readableFrom,
      clockMs,
      index: entry.index,
      command,
      keptBytesMax: KEPT_BYTES_MAX - this.keptBytes,
      answers: this.wantResults ? resultWriter.beginTxn() : undefined,
      answersEnd: resultWriter.bytesMax,
      isNewest: undefined,
    };
    this.txn = new TxnRun(ground, txn);
  }

  private runTxn(run: TxnRun, budgetBefore: number): number {
    const budget = run.step(budgetBefore);
    if (!run.isDone) return budget;
    this.txn = undefined;
    this.keptBytes += run.keptBytes;
    this.currentRevision = run.revision;
    if (!this.wantResults) return budget;
    if (run.refusal === undefined) {
      this.resultWriter.endTxn(this.currentRevision, run.succeeded, run.cut);
    } else {
      const { code, lease, max } = run.refusal;
      this.resultWriter.abandonTxn();
      this.resultWriter.refuse(OP_TXN, this.currentRevision, code, lease, max);
    }
    return budget;
  }

  /** Below `revision` nothing is to be read or watched any more. */
  private compact(revision: number): void {
    const { ledger } = this.data;
    const isFuture = revision > this.currentRevision;
    // Where nothing was ever compacted, to compact nothing is no fault.
    const isGone = revision <= ledger.compactRevision + 1 && ledger.compactRevision > 0;
    if (!Number.isSafeInteger(revision) || revision < 0) return this.refuse("malformed", undefined);
    if (isFuture || isGone) {
      const max = isFuture ? this.currentRevision : this.readableFrom;
      if (this.wantResults) this.resultWriter.refuse(OP_COMPACT, this.currentRevision, isFuture ? "future" : "compacted", undefined, max);
      return;
    }
    ledger.compact(Math.max(0, revision - 1));
    if (this.wantResults) this.resultWriter.done(OP_COMPACT, this.currentRevision);
  }

  /** Lets go of history up to and including a revision, the present one at most: that stays readable, but its events are gone. */
  private freeHistory(revision: number): void {
    if (!Number.isSafeInteger(revision) || revision < 0) return this.refuse("malformed", undefined);
    const { ledger } = this.data;
    const through = Math.min(revision, ledger.lastRevision);
    if (through > ledger.compactRevision) ledger.compact(through);
    if (this.wantResults) this.resultWriter.done(OP_FREE_HISTORY, this.currentRevision);
  }

  private limitHistory(limits: HistoryLimits): void {
    if (!areHistoryLimits(limits)) return this.refuse("malformed", undefined);
    this.data.ledger.limit(limits);
    if (this.wantResults) this.resultWriter.done(OP_HISTORY_LIMITS, this.currentRevision);
  }

  /** A command has written part of what it will, so that the table is ahead of the revision. */
  private get isInsideCommand(): boolean {
    return this.leaseChanges.isEnding || this.deleting !== undefined || this.txn !== undefined;
  }

  /** Its id is its place in the log, as that of a lease of a put is: equal on all members and never given twice. */
  private openSession(entry: MachineEntry, command: number, bounds: { readonly window: number; readonly lifeMs: number }): void {
    if (!areSessionBounds(bounds)) return this.refuse("malformed", undefined);
    const { high, low } = wordsOfCommand(entry.index, command);
    const full = this.data.sessions.open({ high, low, ...bounds }, this.clock);
    if (full !== undefined) this.refuse(full, undefined);
    else if (this.wantResults) this.resultWriter.sessionOpened(this.currentRevision, high, low);
  }

  private grantLease(): void {
    const { commands } = this;
    if (!this.addLease(commands.lease!, commands.ttlMs, LEASE_GRANTED)) return;
    if (this.wantResults) this.resultWriter.lease(OP_LEASE_GRANT, this.currentRevision);
  }

  /** False: refused. A client may have chosen any id, also the one that a later put with a time to live would get. */
  private addLease(id: string, ttlMs: number, kind: number): boolean {
    const { leases } = this.data;
    if (leases.has(id)) this.refuse("leaseExists", id);
    else if (leases.count >= LEASES_MAX) this.refuse("leasesMax", undefined);
    else {
      leases.add({ id, ttlMs, dueMs: dueAfter(this.clock, ttlMs), kind });
      return true;
    }
    return false;
  }

  /** False: refused. */
  private keep(bytes: number): boolean {
    if (this.keptBytes + bytes > KEPT_BYTES_MAX) {
      this.refuse("keptBytes", undefined);
      return false;
    }
    this.keptBytes += bytes;
    this.keptNow += bytes;
    return true;
  }

  private expectationHolds(key: Uint8Array): boolean {
    const ref = this.data.live(key);
    if ((this.commands.flags & FLAG_EXPECTED) === 0) return ref === 0;
    return ref !== 0 && equalBytes(this.table.value(ref), this.commands.expected());
  }

  private refuse(code: RefusalCode, lease: string | undefined): void {
    if (this.wantResults || this.sessions.isUnderWay) this.resultWriter.refuse(this.commands.op, this.currentRevision, code, lease);
  }

  /** Its leader had no room for the command that this stands for. */
  private refuseForSpace(value: Uint8Array): void {
    if (!this.wantResults) return;
    const refusal = readNoSpace(value);
    if (refusal === undefined) this.refuse("malformed", undefined);
    else this.resultWriter.refuseForSpace(this.currentRevision, refusal);
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
      if (addPrevious) {
        this.resultWriter.addPrevious(table, ref);
        budget -= table.valueBytes(ref) >>> BYTES_A_RECORD_LOG2;
      }
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

  /** What is compacted may be there for as long as somebody pins it; but it is there for that one alone, on all members alike. */
  private refusal(revision: number, pinned = false): ReadRefused | undefined {
    if (revision > this.currentRevision) return { refused: "future", revision: this.currentRevision };
    if (revision >= this.readableFrom || (pinned && this.pins.holds(revision))) return undefined;
    return { refused: "compacted", revision: this.readableFrom };
  }

  private basis(revision: number, pinned = false): RangeBasis | ReadRefused {
    const refusal = this.refusal(revision, pinned);
    if (refusal !== undefined) return refusal;
    const own = this.pins.hold(revision);
    if (own === undefined) return { refused: "pins", revision: this.currentRevision };
    const newest = revision === this.currentRevision && !this.isInsideCommand;
    return { table: this.table, revision, newest, pin: own };
  }
}
