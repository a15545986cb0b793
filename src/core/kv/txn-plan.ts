/**
 * Which branches a transaction takes: its comparisons, looked at in slices, as of one revision. Nested transactions are decided by the same
 * state, that of before the transaction, and only along the path that is taken.
 */
import { compareBytes, sharedBytes } from "./bytes.ts";
import { leaseHigh, leaseLow } from "./lease-id.ts";
import type { RecordRef, Table, TableCursor } from "./table.ts";
import { isOneKey, type CompareResult, type TxnCommand, type TxnCompare, type TxnOp } from "./txn-command.ts";

/** A transaction with the branch that it takes. */
export interface PlannedTxn {
  readonly txn: TxnCommand;
  succeeded: boolean;
  /** The operations of the branch taken, and the plans of the nested transactions among them, in order. */
  ops: readonly TxnOp[];
  nested: readonly PlannedTxn[];
}

/** So many bytes that are compared cost about what a record does. */
const COMPARED_BYTES_A_RECORD_LOG2 = 10;
const NO_OPS: readonly TxnOp[] = [];
const NO_PLANS: readonly PlannedTxn[] = [];

/** step() until `isDone`; then `root` says it all. */
export class TxnPlanning {
  readonly root: PlannedTxn;
  private readonly table: Table;
  private readonly revision: number;
  /** Not decided yet; the last is being looked at. */
  private readonly waiting: PlannedTxn[];
  private at = 0;
  /** The comparison at `at` is of an interval, of which `cursor` has seen part. */
  private cursor: TableCursor | undefined = undefined;
  private cursorFound = false;
  /** Bytes of values, by the last comparison. */
  private compared = 0;

  constructor(table: Table, txn: TxnCommand, revision: number) {
    this.table = table;
    this.revision = revision;
    this.root = plan(txn);
    this.waiting = [this.root];
  }

  get isDone(): boolean {
    return this.waiting.length === 0;
  }

  /** Looks at up to `budget` keys and comparisons. Answers what is left of it. */
  step(budgetBefore: number): number {
    let budget = budgetBefore;
    while (budget > 0 && this.waiting.length > 0) {
      const current = this.waiting.at(-1)!;
      const compare = current.txn.compare[this.at];
      budget--;
      if (compare === undefined) this.decide(current, true);
      else {
        const holds = this.evaluate(compare);
        budget -= this.compared >>> COMPARED_BYTES_A_RECORD_LOG2;
        this.compared = 0;
        if (holds === undefined) continue;
        this.cursor = undefined;
        if (holds) this.at++;
        else this.decide(current, false);
      }
    }
    return budget;
  }

  private decide(current: PlannedTxn, succeeded: boolean): void {
    this.at = 0;
    this.waiting.pop();
    current.succeeded = succeeded;
    current.ops = succeeded ? current.txn.success : current.txn.failure;
    let nested: PlannedTxn[] | undefined;
    for (const op of current.ops) {
      if (op.kind !== "txn") continue;
      const each = plan(op.txn);
      nested ??= [];
      nested.push(each);
      this.waiting.push(each);
    }
    if (nested !== undefined) current.nested = nested;
  }

  /** undefined: one key of its interval was looked at, and there may be more. */
  private evaluate(compare: TxnCompare): boolean | undefined {
    const { table } = this;
    if (isOneKey(compare.where)) return this.holds(compare, this.asOf(table.find(compare.where)));
    if (this.cursor === undefined) {
      this.cursor = table.cursor(compare.where, "ascending");
      this.cursorFound = false;
    }
    const newest = this.cursor.next();
    // An interval without a key is compared as a key that is not there.
    if (newest === 0) return this.cursorFound || this.holds(compare, 0);
    const ref = this.asOf(newest);
    if (ref === 0) return undefined;
    this.cursorFound = true;
    return this.holds(compare, ref) ? undefined : false;
  }

  /** The live record as of the revision; 0 if there is none. */
  private asOf(newest: RecordRef): RecordRef {
    const ref = newest === 0 ? 0 : this.table.asOf(newest, this.revision);
    return ref === 0 || this.table.version(ref) === 0 ? 0 : ref;
  }

  private holds(compare: TxnCompare, ref: RecordRef): boolean {
    const { table } = this;
    const { target, result } = compare;
    switch (target) {
      case "value": {
        if (ref === 0) return false;
        const value = table.value(ref);
        const shared = sharedBytes(value, compare.value);
        this.compared += shared;
        return isSo(result, compareBytes(value.subarray(shared), compare.value.subarray(shared)));
      }
      case "lease":
        return isSo(result, compareLeases(ref === 0 ? undefined : table.lease(ref), compare.lease));
      case "version":
        return isSo(result, (ref === 0 ? 0 : table.version(ref)) - compare.number);
      case "createRevision":
        return isSo(result, (ref === 0 ? 0 : table.createRevision(ref)) - compare.number);
      case "modRevision":
        return isSo(result, (ref === 0 ? 0 : table.revision(ref)) - compare.number);
    }
  }
}

function plan(txn: TxnCommand): PlannedTxn {
  return { txn, succeeded: false, ops: NO_OPS, nested: NO_PLANS };
}

function isSo(result: CompareResult, difference: number): boolean {
  switch (result) {
    case "equal":
      return difference === 0;
    case "not":
      return difference !== 0;
    case "less":
      return difference < 0;
    case "greater":
      return difference > 0;
  }
}

/** As signed 64-bit numbers, none being 0. */
function compareLeases(left: string | undefined, right: string | undefined): number {
  const high = (id: string | undefined): number => (id === undefined ? 0 : leaseHigh(id.padStart(16, "0")) | 0);
  const low = (id: string | undefined): number => (id === undefined ? 0 : leaseLow(id.padStart(16, "0")));
  return high(left) - high(right) || low(left) - low(right);
}
