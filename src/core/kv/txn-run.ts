/**
 * One transaction being done, in slices: first its comparisons decide the path (txn-plan.ts), then what the path needs is checked, and only
 * then is anything written. So a transaction is refused whole, or done whole; readers see nothing of it before its revision is theirs.
 *
 * Its writes have one revision, their events the order of the operations. Its reads see its earlier writes. Where nobody waits for the answers
 * on this member, nothing is read. Read-only transactions run outside the log in the same way, as of a revision that they pin.
 */
import type { ByteWriter } from "./bytes.ts";
import { LEASES_MAX, type RefusalCode } from "./command.ts";
import { RECORD_OVERHEAD_BYTES } from "./history-ledger.ts";
import { leaseOfCommand } from "./lease-id.ts";
import { dueAfter, LEASE_OF_PUT } from "./lease-table.ts";
import { writeKv } from "./packed-kv.ts";
import type { Pins } from "./pins.ts";
import { RangeReading } from "./range-reading.ts";
import type { RangeRequest } from "./read.ts";
import type { RevisionedData } from "./revisioned-data.ts";
import type { RecordRef, TableCursor } from "./table.ts";
import { KIND_DELETE, KIND_GET, KIND_PUT, KIND_RANGE, KIND_TXN } from "./txn-codec.ts";
import { isOneKey, type TxnCommand, type TxnDelete, type TxnOp, type TxnPut } from "./txn-command.ts";
import { TxnPlanning, type PlannedTxn } from "./txn-plan.ts";
import { ANSWER_MORE, ANSWER_SUCCEEDED, closeAnswer, openAnswer } from "./txn-result.ts";

/** What a transaction runs on. */
export interface TxnGround {
  readonly data: RevisionedData;
  readonly pins: Pins;
  /** The revision as of which it begins, whole. */
  readonly revision: number;
  /** The first revision that a range of it may ask for. */
  readonly readableFrom: number;
  /** The reading of the lease clock. */
  readonly clockMs: number;
  /** Its place in the log, which is the id of the lease that a put with a time to live makes. */
  readonly index: number;
  readonly command: number;
  /** Of the values that its puts keep, together. */
  readonly keptBytesMax: number;
  /** Where answers are packed, and how long it may grow; undefined: nobody asks. */
  readonly answers: ByteWriter | undefined;
  readonly answersEnd: number;
  /** For a read beside others' writes: whether the table holds nothing newer than `revision` at this moment. undefined: nobody else writes. */
  readonly isNewest: (() => boolean) | undefined;
}

/** Why it was refused. Nothing was written. */
export interface TxnRefusal {
  readonly code: RefusalCode;
  /** Of "compacted" and "future": the first readable and the present revision. Else undefined: the code's own. */
  readonly max: number | undefined;
  readonly lease: string | undefined;
}

/** A transaction whose operations are being gone through, and how far. */
interface Frame {
  readonly plan: PlannedTxn;
  at: number;
  nested: number;
  /** Where its answer begins; -1 for the outermost, which has none. */
  answerAt: number;
}

interface LeaseTerms {
  readonly id: string;
  readonly ttlMs: number;
  readonly dueMs: number;
}

type Phase = "plan" | "check" | "room" | "run" | "done";

const NO_FRAMES: Frame[] = [];
/** So many bytes that are copied cost about what a record does. */
const COPIED_BYTES_A_RECORD_LOG2 = 12;

/** step() until `isDone`. */
export class TxnRun {
  refusal: TxnRefusal | undefined = undefined;
  /** Whether it wrote, and so makes a revision. */
  changed = false;
  /** There would have been more to answer than there may be: all answers are left out. */
  cut = false;
  /** Of values that its puts have kept. */
  keptBytes = 0;
  private readonly ground: TxnGround;
  private readonly planning: TxnPlanning;
  private readonly answers: ByteWriter | undefined;
  private readonly answersAt: number;
  private phase: Phase = "plan";
  private frames: Frame[] = NO_FRAMES;
  /** What the puts may add at most; looked at closely only where it would be too much. */
  private keys = 0;
  private bytes = 0;
  private keeping = 0;
  private leases: LeaseTerms[] | undefined = undefined;
  /** Of the operation under way, beside itself. */
  private cost = 0;
  private deleting: TableCursor | undefined = undefined;
  private deleted = 0;
  private previous = 0;
  private reading: RangeReading | undefined = undefined;
  private answerAt = 0;

  /** The first range at a revision that cannot be read. */
  private unreadable: { readonly code: "future" | "compacted"; readonly max: number } | undefined = undefined;

  constructor(ground: TxnGround, txn: TxnCommand) {
    this.ground = ground;
    this.planning = new TxnPlanning(ground.data.table, txn, ground.revision);
    this.answers = ground.answers;
    this.answersAt = ground.answers?.length ?? 0;
  }

  get isDone(): boolean {
    return this.phase === "done";
  }

  /** Of the outermost transaction, once its path is known. */
  get succeeded(): boolean {
    return this.planning.root.succeeded;
  }

  /** The revision of the data as this transaction sees it now. */
  get revision(): number {
    return this.ground.revision + (this.changed ? 1 : 0);
  }

  /** Works on up to `budget` comparisons, operations and keys. Answers what is left of it. */
  step(budgetBefore: number): number {
    let budget = budgetBefore;
    if (this.phase === "plan") {
      budget = this.planning.step(budget);
      if (!this.planning.isDone) return 0;
      this.begin("check");
    }
    while (budget > 0 && this.phase !== "done") {
      if (this.deleting !== undefined) budget = this.deleteKeys(this.deleting, budget);
      else if (this.reading !== undefined) budget = this.readRange(this.reading, budget);
      else {
        this.operate();
        budget -= 1 + this.cost;
        this.cost = 0;
      }
    }
    return budget;
  }

  /** Gives up what it holds; only before anything was written. */
  cancel(): void {
    this.reading?.cancel();
    this.reading = undefined;
    this.phase = "done";
  }

  private begin(phase: Phase): void {
    this.phase = phase;
    const { root } = this.planning;
    this.frames = [{ plan: root, at: 0, nested: 0, answerAt: -1 }];
    if (phase === "run") this.answers?.u32(root.ops.length);
  }

  /** The next operation of the path, in this phase; or the next phase. */
  private operate(): void {
    const frame = this.frames.at(-1)!;
    const op = frame.plan.ops[frame.at];
    if (op === undefined) {
      this.leave(frame);
      return;
    }
    frame.at++;
    if (op.kind === "txn") this.enter(frame);
    else if (this.phase === "check") this.check(op);
    else if (this.phase === "room") this.measure(op);
    else this.run(op);
  }

  private enter(frame: Frame): void {
    const plan = frame.plan.nested[frame.nested++]!;
    const answerAt = this.phase === "run" && this.answers !== undefined && !this.cut ? openAnswer(this.answers, KIND_TXN) : -1;
    this.frames.push({ plan, at: 0, nested: 0, answerAt });
  }

  private leave(frame: Frame): void {
    this.frames.pop();
    if (frame.answerAt >= 0 && !this.cut) {
      const { plan } = frame;
      const flags = plan.succeeded ? ANSWER_SUCCEEDED : 0;
      closeAnswer(this.answers!, frame.answerAt, { flags, items: plan.ops.length, revision: this.revision, number: 0 });
    }
    if (this.frames.length > 0) return;
    const { data } = this.ground;
    switch (this.phase) {
      case "check":
        if (this.unreadable !== undefined) return this.refuse(this.unreadable.code, undefined, this.unreadable.max);
        if (data.lacksRoom(this.keys, this.bytes) === undefined) return this.begin("run");
        this.keys = 0;
        this.bytes = 0;
        return this.begin("room");
      case "room": {
        const full = data.lacksRoom(this.keys, this.bytes);
        return full === undefined ? this.begin("run") : this.refuse(full);
      }
      default:
        this.phase = "done";
    }
  }

  private refuse(code: RefusalCode, lease?: string, max?: number): void {
    this.refusal = { code, max, lease };
    this.phase = "done";
  }

  private check(op: TxnOp): void {
    if (op.kind === "put") this.checkPut(op);
    else if (op.kind === "range") this.checkRange(op.request);
  }

  private checkRange({ revision }: RangeRequest): void {
    const { ground } = this;
    if (revision === undefined) return;
    // Told once all puts have been looked at: what is refused of them comes first, as with etcd.
    if (revision > ground.revision) this.unreadable ??= { code: "future", max: ground.revision };
    else if (revision < ground.readableFrom) this.unreadable ??= { code: "compacted", max: ground.readableFrom };
  }

  private checkPut(op: TxnPut): void {
    const { data, clockMs } = this.ground;
    this.keys++;
    this.bytes += RECORD_OVERHEAD_BYTES + op.key.length + op.value.length;
    if (op.ignoreValue || op.ignoreLease) {
      const ref = data.live(op.key);
      if (ref === 0) return this.refuse("keyNotFound");
      // Taken for new, for now.
      if (op.ignoreValue) {
        const kept = data.table.valueBytes(ref);
        this.bytes += kept;
        this.keeping += kept;
        if (this.keeping > this.ground.keptBytesMax) return this.refuse("keptBytes");
      }
    }
    if (op.lease !== undefined) {
      if (!data.leases.isLive(op.lease, clockMs)) return this.refuse("leaseNotFound", op.lease);
      this.leases ??= [];
      this.leases.push({ id: op.lease, ttlMs: data.leases.ttlOf(op.lease)!, dueMs: data.leases.dueOf(op.lease)! });
    } else if (op.ttlMs !== undefined) {
      const leaseId = this.leaseId();
      if (data.leases.has(leaseId)) return this.refuse("leaseExists", leaseId);
      if (data.leases.count >= LEASES_MAX) return this.refuse("leasesMax");
    }
  }

  /** What the operation adds. What the transaction's own deletions give back is not counted. */
  private measure(op: TxnOp): void {
    if (op.kind !== "put") return;
    const { data } = this.ground;
    const ref = data.live(op.key);
    if (ref === 0) {
      this.keys++;
      this.bytes += RECORD_OVERHEAD_BYTES + op.key.length + op.value.length;
    } else if (!op.ignoreValue) {
      this.bytes += Math.max(0, op.value.length - data.table.valueBytes(ref));
    }
  }

  private run(op: TxnOp): void {
    switch (op.kind) {
      case "put":
        return this.put(op);
      case "delete":
        return this.delete(op);
      case "get":
        return this.get(op.key);
      case "range":
        return this.beginRange(op.request);
      case "txn":
    }
  }

  private put(op: TxnPut): void {
    const { data, revision, clockMs } = this.ground;
    const { table, leases } = data;
    const before = op.ignoreValue || op.ignoreLease ? data.live(op.key) : 0;
    // A view would not outlive the change.
    const value = op.ignoreValue ? table.value(before).slice() : op.value;
    let lease = op.ignoreLease ? table.lease(before) : op.lease;
    if (op.lease !== undefined) this.keepLease(op.lease);
    if (op.ttlMs !== undefined) {
      lease = this.leaseId();
      leases.add({ id: lease, ttlMs: op.ttlMs, dueMs: dueAfter(clockMs, op.ttlMs), kind: LEASE_OF_PUT });
    }
    if (op.ignoreValue) {
      this.keptBytes += value.length;
      this.cost += value.length >>> COPIED_BYTES_A_RECORD_LOG2;
    }
    const replaced = data.put(op.key, value, revision + 1, lease);
    this.changed = true;
    this.openAnswer(KIND_PUT);
    if (op.prevKv && replaced !== 0) this.answerKv(replaced);
    this.closeAnswer(0, 0);
  }

  private leaseId(): string {
    return leaseOfCommand(this.ground.index, this.ground.command);
  }

  /** One that a put made has ended with its last key if that was written before in this transaction: it was there when that began. */
  private keepLease(id: string): void {
    const { leases } = this.ground.data;
    if (leases.has(id)) return;
    const terms = this.leases?.find((one) => one.id === id);
    if (terms !== undefined) leases.add({ ...terms, kind: LEASE_OF_PUT });
  }

  private delete(op: TxnDelete): void {
    const { data } = this.ground;
    this.openAnswer(KIND_DELETE);
    this.deleted = 0;
    if (!isOneKey(op.where)) {
      this.deleting = data.table.cursor(op.where, "ascending");
      return;
    }
    const ref = data.live(op.where);
    if (ref !== 0) this.deleteRecord(ref, op.prevKv);
    this.closeAnswer(0, this.deleted);
  }

  private deleteRecord(ref: RecordRef, prevKv: boolean): void {
    const { data, revision } = this.ground;
    if (prevKv) this.answerKv(ref);
    data.delete(ref, revision + 1, "request");
    this.changed = true;
    this.deleted++;
  }

  private deleteKeys(cursor: TableCursor, budgetBefore: number): number {
    const { table } = this.ground.data;
    const { prevKv } = this.current() as TxnDelete;
    for (let budget = budgetBefore; budget > 0; budget--) {
      const ref = cursor.next();
      if (ref === 0) {
        this.deleting = undefined;
        this.closeAnswer(0, this.deleted);
        return budget - 1;
      }
      if (table.version(ref) > 0) this.deleteRecord(ref, prevKv);
      budget -= this.cost;
      this.cost = 0;
    }
    return 0;
  }

  /** The operation that is under way. */
  private current(): TxnOp {
    const frame = this.frames.at(-1)!;
    return frame.plan.ops[frame.at - 1]!;
  }

  private get(key: Uint8Array): void {
    if (this.answers === undefined || this.cut) return;
    const { table } = this.ground.data;
    const newest = table.find(key);
    const ref = newest === 0 ? 0 : table.asOf(newest, this.revision);
    const isLive = ref !== 0 && table.version(ref) > 0;
    this.openAnswer(KIND_GET);
    if (isLive) this.answerKv(ref);
    this.closeAnswer(0, isLive ? 1 : 0);
  }

  private beginRange(request: RangeRequest): void {
    const { answers, ground } = this;
    if (answers === undefined || this.cut) return;
    const { table } = ground.data;
    const revision = request.revision ?? this.revision;
    const newest = revision === this.revision && (ground.isNewest === undefined || ground.isNewest());
    const basis = { table, revision, newest, pin: ground.pins.holdAnyway(revision) };
    const answerBytesMax = Math.max(0, ground.answersEnd - answers.length);
    this.reading = new RangeReading(basis, table, request, { answerBytesMax });
  }

  private readRange(reading: RangeReading, budget: number): number {
    if (!reading.step(budget)) return 0;
    this.reading = undefined;
    const result = reading.result();
    if ("refused" in result) {
      this.cutAnswers();
      return 0;
    }
    this.openAnswer(KIND_RANGE);
    this.answers!.raw(result.kvs);
    this.previous = result.returned;
    this.closeAnswer(result.more ? ANSWER_MORE : 0, result.count);
    // What it looked at is not known here; it was not more.
    return 0;
  }

  private openAnswer(kind: number): void {
    if (this.answers === undefined || this.cut) return;
    this.answerAt = openAnswer(this.answers, kind);
    this.previous = 0;
  }

  private answerKv(ref: RecordRef): void {
    const { answers, ground } = this;
    if (answers === undefined || this.cut) return;
    const { table } = ground.data;
    if (answers.length + table.valueBytes(ref) > ground.answersEnd) return this.cutAnswers();
    writeKv(answers, table, ref, false);
    this.cost += table.valueBytes(ref) >>> COPIED_BYTES_A_RECORD_LOG2;
    this.previous++;
  }

  private closeAnswer(flags: number, number: number): void {
    if (this.answers === undefined || this.cut) return;
    if (this.answers.length > this.ground.answersEnd) return this.cutAnswers();
    closeAnswer(this.answers, this.answerAt, { flags, items: this.previous, revision: this.revision, number });
  }

  private cutAnswers(): void {
    this.cut = true;
    this.answers!.length = this.answersAt;
  }
}
