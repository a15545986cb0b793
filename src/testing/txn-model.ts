/**
 * Transactions and ranges a second time, as one would explain them: over plain copies of what the model holds at a revision, by looking at
 * everything. It takes the literals that callers write, with keys and values as text, and says what they must answer and change.
 *
 * Of leases it knows nothing: comparisons and puts of simulations leave them out.
 */
import type { Comparison, Match, Op, RangeOp, Txn } from "../client/transaction.ts";
import type { KeyRange } from "../client/client.ts";
import { CheckFailure, type DataEvent, type DataModel, type ReadValue } from "./history.ts";

/** How a range is asked for, whatever way it is read. */
export type RangeWish = Omit<RangeOp, "range" | "revision">;

export interface RangeValues {
  readonly values: readonly ReadValue[];
  /** undefined: the answer does not tell. */
  readonly count: number | undefined;
  readonly more: boolean;
}

/** What one operation answered; the revision is that of the data as the operation found or left them. */
export type OpAnswer =
  | { readonly kind: "get"; readonly value: ReadValue | undefined }
  | { readonly kind: "put"; readonly revision: number; readonly before: ReadValue | undefined }
  | { readonly kind: "delete"; readonly revision: number; readonly deleted: number; readonly before: readonly ReadValue[] }
  | { readonly kind: "range"; readonly revision: number; readonly found: RangeValues }
  | { readonly kind: "txn"; readonly answer: TxnAnswer };

export interface TxnAnswer {
  readonly succeeded: boolean;
  readonly revision: number;
  readonly results: readonly OpAnswer[];
}

export interface TxnOutcome {
  readonly answer: TxnAnswer;
  /** What it changes, in order; none: it makes no revision. */
  readonly events: readonly DataEvent[];
}

/** Keys are plain ASCII here, so that their order is that of their bytes. */
function covers(range: KeyRange, key: string): boolean {
  if ("prefix" in range) return key.startsWith(range.prefix as string);
  if ("all" in range) return true;
  return key >= (range.start as string) && (range.end === undefined || key < (range.end as string));
}

function inside(range: KeyRange, data: ReadonlyMap<string, ReadValue>): ReadValue[] {
  return [...data.values()].filter(({ key }) => covers(range, key)).sort((one, other) => (one.key < other.key ? -1 : 1));
}

/** What a range of these values answers. */
export function rangeOf(data: ReadonlyMap<string, ReadValue>, range: KeyRange, wish: RangeWish): RangeValues {
  const all = inside(range, data);
  const matching = all.filter(
    ({ modRevision, createRevision }) =>
      modRevision >= (wish.minModRevision ?? 0) &&
      modRevision <= (wish.maxModRevision ?? Number.POSITIVE_INFINITY) &&
      createRevision >= (wish.minCreateRevision ?? 0) &&
      createRevision <= (wish.maxCreateRevision ?? Number.POSITIVE_INFINITY),
  );
  const sortBy = wish.sortBy ?? "key";
  const sign = wish.order === "descending" ? -1 : 1;
  // Where the sorted field is equal, keys ascend, whatever the order.
  matching.sort((one, other) => {
    const left = one[sortBy]!;
    const right = other[sortBy]!;
    return left === right ? 0 : sign * (left < right ? -1 : 1);
  });
  const kept = wish.limit === undefined || wish.limit === 0 ? matching : matching.slice(0, wish.limit);
  return {
    values: kept.map((kv) => (wish.keysOnly === true ? { ...kv, value: "" } : kv)),
    count: all.length,
    more: kept.length < matching.length,
  };
}

/** What is alive at a revision under the prefix, by key. */
export function dataAt(model: DataModel, prefix: string, revision: number): Map<string, ReadValue> {
  return new Map(model.range(prefix, revision).map((kv) => [kv.key, kv]));
}

/** What the transaction, all of whose keys have the prefix, answers and changes when it begins as of `revision`. */
export function runTxn(model: DataModel, prefix: string, revision: number, txn: Txn): TxnOutcome {
  return new Run(model, prefix, revision).run(txn);
}

/** Whether an answer says that something was changed. */
export function hasChanged(answer: TxnAnswer): boolean {
  return answer.results.some(
    (result) =>
      result.kind === "put" || (result.kind === "delete" && result.deleted > 0) || (result.kind === "txn" && hasChanged(result.answer)),
  );
}

class Run {
  readonly #model: DataModel;
  readonly #prefix: string;
  readonly #revision: number;
  /** Comparisons look at this one, nested ones too. */
  readonly #before: ReadonlyMap<string, ReadValue>;
  readonly #data: Map<string, ReadValue>;
  readonly #events: DataEvent[] = [];

  constructor(model: DataModel, prefix: string, revision: number) {
    this.#model = model;
    this.#prefix = prefix;
    this.#revision = revision;
    this.#before = dataAt(model, prefix, revision);
    this.#data = new Map(this.#before);
  }

  run(txn: Txn): TxnOutcome {
    return { answer: this.#txn(txn), events: this.#events };
  }

  get #now(): number {
    return this.#revision + (this.#events.length > 0 ? 1 : 0);
  }

  #txn(txn: Txn): TxnAnswer {
    const succeeded = (txn.compare ?? []).every((compare) => this.#holds(compare));
    const results = ((succeeded ? txn.success : txn.failure) ?? []).map((op) => this.#op(op));
    return { succeeded, revision: this.#now, results };
  }

  #holds(compare: Comparison): boolean {
    const { exists, version, createRevision, modRevision, value } = compare;
    const found = "key" in compare ? this.#found(compare.key as string) : inside(compare.range, this.#before);
    if (exists !== undefined && exists !== found.length > 0) return false;
    const missing = { key: "", value: undefined, version: 0, createRevision: 0, modRevision: 0 };
    return (found.length === 0 ? [missing] : found).every(
      (kv) =>
        matches(version, kv.version) &&
        matches(createRevision, kv.createRevision) &&
        matches(modRevision, kv.modRevision) &&
        (value === undefined || (kv.value !== undefined && matches(value as Match<string>, kv.value))),
    );
  }

  #found(key: string): readonly ReadValue[] {
    const kv = this.#before.get(key);
    return kv === undefined ? [] : [kv];
  }

  #op(op: Op): OpAnswer {
    if ("get" in op) return { kind: "get", value: this.#data.get(op.get as string) };
    if ("txn" in op) return { kind: "txn", answer: this.#txn(op.txn) };
    if ("range" in op) {
      const data = op.revision === undefined ? this.#data : dataAt(this.#model, this.#prefix, op.revision);
      return { kind: "range", found: rangeOf(data, op.range, op), revision: this.#now };
    }
    if ("delete" in op) {
      const target = op.delete;
      const gone = inside(typeof target === "string" ? { start: target, end: `${target}\0` } : (target as KeyRange), this.#data);
      for (const { key } of gone) this.#delete(key);
      return { kind: "delete", deleted: gone.length, before: op.prevKv === true ? gone : [], revision: this.#now };
    }
    const key = op.put as string;
    const before = this.#data.get(key);
    const value = "value" in op ? (op.value as string) : before?.value;
    if (value === undefined)
      throw new CheckFailure("transactions", `a put kept the value of ${key} as of ${this.#revision}, where there was none`);
    this.#put(key, value);
    return { kind: "put", before: op.prevKv === true ? before : undefined, revision: this.#now };
  }

  #put(key: string, value: string): void {
    const before = this.#data.get(key);
    const modRevision = this.#revision + 1;
    const createRevision = before?.createRevision ?? modRevision;
    this.#data.set(key, { key, value, modRevision, createRevision, version: (before?.version ?? 0) + 1 });
    this.#events.push({ kind: "put", key, value, cause: undefined });
  }

  #delete(key: string): void {
    this.#data.delete(key);
    this.#events.push({ kind: "delete", key, value: "", cause: "request" });
  }
}

function matches<T extends number | string>(match: Match<T> | undefined, value: T): boolean {
  if (match === undefined) return true;
  if (typeof match !== "object") return value === match;
  if ("not" in match) return value !== match.not;
  return "lessThan" in match ? value < match.lessThan : value > match.greaterThan;
}
