/**
 * Transactions a second time, as one would explain them: the path is found by recursion, duplicate keys by trying every path, and every
 * operation works on a copy of the whole state. Keys and values are strings of chars below 256.
 */
import type { RangeRequest } from "../read.ts";
import type { CompareResult, CompareTarget } from "../txn-command.ts";
import type { Model, ModelKv } from "./model.ts";

export interface ModelWhere {
  readonly start: string;
  /** null: the key `start` alone. */
  readonly end: string | undefined | null;
}

export interface ModelCompare extends ModelWhere {
  readonly target: CompareTarget;
  readonly result: CompareResult;
  readonly number: number;
  readonly value: string;
  readonly lease: string | undefined;
}

export interface ModelRangeOptions {
  readonly start: string;
  readonly end: string | undefined;
  readonly limit: number;
  readonly order: RangeRequest["order"];
  readonly sortBy: RangeRequest["sortBy"];
  readonly keysOnly: boolean;
  readonly countOnly: boolean;
  /** Inclusive; undefined: no bound. */
  readonly minModRevision?: number | undefined;
  readonly maxModRevision?: number | undefined;
  readonly minCreateRevision?: number | undefined;
  readonly maxCreateRevision?: number | undefined;
}

export type ModelOp =
  | {
      readonly op: "put";
      readonly key: string;
      readonly value: string;
      readonly lease?: string;
      readonly ttlMs?: number;
      readonly keep?: "value" | "lease" | "both";
      readonly prevKv?: boolean;
    }
  | (ModelWhere & { readonly op: "delete"; readonly prevKv?: boolean })
  | { readonly op: "get"; readonly key: string }
  | (ModelRangeOptions & { readonly op: "range"; readonly revision: number | undefined })
  | { readonly op: "txn"; readonly txn: ModelTxn };

export interface ModelTxn {
  readonly compare: readonly ModelCompare[];
  readonly success: readonly ModelOp[];
  readonly failure: readonly ModelOp[];
}

/** Of one operation; those of a nested transaction come behind its own. */
export interface ModelAnswer {
  readonly kind: string;
  readonly revision: number;
  readonly number: number;
  readonly flag: boolean;
  readonly kvs: readonly ModelKv[];
}

export interface ModelTxnResult {
  readonly refusal: string | undefined;
  readonly max: number;
  readonly succeeded: boolean;
  readonly answers: readonly ModelAnswer[];
}

type Change = { key: string; put: { value: string; lease: string | undefined } | undefined; cause: string | undefined };

/** Whether some path through it writes a key twice. */
export function writesTwice(txn: ModelTxn): boolean {
  return pathsOf(txn).some((writes) => {
    const puts = writes.filter((write) => write.op === "put");
    const deletions = writes.filter((write) => write.op === "delete");
    if (new Set(puts.map(({ key }) => key)).size < puts.length) return true;
    return puts.some(({ key }) => deletions.some((deletion) => covers(deletion, key)));
  });
}

type Write = ModelOp & { readonly op: "put" | "delete" };

function pathsOf(txn: ModelTxn): Write[][] {
  return [txn.success, txn.failure].flatMap((ops) => {
    let paths: Write[][] = [[]];
    for (const op of ops) {
      if (op.op === "put" || op.op === "delete") paths = paths.map((path) => [...path, op]);
      else if (op.op === "txn") paths = paths.flatMap((path) => pathsOf(op.txn).map((inner) => [...path, ...inner]));
    }
    return paths;
  });
}

function covers({ start, end }: ModelWhere, key: string): boolean {
  return end === null ? key === start : key >= start && (end === undefined || key < end);
}

/** What a range of these kvs answers. */
export function rangeOf(
  all: readonly ModelKv[],
  options: ModelRangeOptions,
): { readonly kvs: readonly ModelKv[]; readonly count: number; readonly more: boolean } {
  const inside = all.filter(({ key }) => covers(options, key));
  const matching = inside.filter(
    (kv) =>
      kv.modRevision >= (options.minModRevision ?? 0) &&
      kv.modRevision <= (options.maxModRevision ?? Number.POSITIVE_INFINITY) &&
      kv.createRevision >= (options.minCreateRevision ?? 0) &&
      kv.createRevision <= (options.maxCreateRevision ?? Number.POSITIVE_INFINITY),
  );
  const sign = options.order === "ascending" ? 1 : -1;
  const sorted = matching
    .sort((left, right) => (left.key < right.key ? -1 : 1))
    .sort((left, right) => {
      const a = left[options.sortBy];
      const b = right[options.sortBy];
      return sign * (a < b ? -1 : a > b ? 1 : 0);
    });
  const kept = options.countOnly ? [] : options.limit > 0 ? sorted.slice(0, options.limit) : sorted;
  return {
    kvs: kept.map((kv) => (options.keysOnly ? { ...kv, value: "" } : kv)),
    count: inside.length,
    more: !options.countOnly && kept.length < matching.length,
  };
}

function numberOf(kv: ModelKv | undefined, target: CompareTarget): number | bigint {
  switch (target) {
    case "version":
    case "createRevision":
    case "modRevision":
      return kv?.[target] ?? 0;
    default:
      return BigInt.asIntN(64, BigInt(`0x${kv?.lease ?? "0"}`));
  }
}

function holds(compare: ModelCompare, state: ReadonlyMap<string, ModelKv>): boolean {
  const found = [...state.values()].filter(({ key }) => covers(compare, key));
  const one = (kv: ModelKv | undefined): boolean => {
    const { target, result } = compare;
    if (target === "value" && kv === undefined) return false;
    const left = target === "value" ? kv!.value : numberOf(kv, target);
    const right =
      target === "value" ? compare.value : target === "lease" ? BigInt.asIntN(64, BigInt(`0x${compare.lease ?? "0"}`)) : compare.number;
    return { equal: left === right, not: left !== right, less: left < right, greater: left > right }[result];
  };
  return found.length === 0 ? one(undefined) : found.every(one);
}

interface Path {
  readonly succeeded: boolean;
  readonly steps: readonly { readonly op: ModelOp; readonly nested: Path | undefined }[];
}

function pathOf(txn: ModelTxn, state: ReadonlyMap<string, ModelKv>): Path {
  const succeeded = txn.compare.every((compare) => holds(compare, state));
  const ops = succeeded ? txn.success : txn.failure;
  return { succeeded, steps: ops.map((op) => ({ op, nested: op.op === "txn" ? pathOf(op.txn, state) : undefined })) };
}

function opsOf(path: Path): ModelOp[] {
  return path.steps.flatMap(({ op, nested }) => (nested === undefined ? [op] : opsOf(nested)));
}

/** Does it, or refuses it. */
export function runTxn(model: Model, txn: ModelTxn, leaseId: string): ModelTxnResult {
  const refused = (refusal: string, max = 0): ModelTxnResult => ({ refusal, max, succeeded: false, answers: [] });
  if (writesTwice(txn)) return refused("duplicateKey");
  const { revision, state } = model;
  const path = pathOf(txn, state);
  // Puts first, whatever the order.
  for (const op of opsOf(path)) {
    if (op.op !== "put") continue;
    if (op.keep !== undefined && !state.has(op.key)) return refused("keyNotFound");
    if (op.lease !== undefined && (model.lease(op.lease)?.dueMs ?? 0) <= model.clockMs) return refused("leaseNotFound");
    if (op.ttlMs !== undefined && model.lease(leaseId) !== undefined) return refused("leaseExists");
  }
  for (const op of opsOf(path)) {
    if (op.op !== "range" || op.revision === undefined) continue;
    if (op.revision > revision) return refused("future", revision);
    if (op.revision <= model.compactRevision) return refused("compacted", model.compactRevision + 1);
  }
  const work = new Map(state);
  const changes: Change[] = [];
  const answers: ModelAnswer[] = [];
  const now = (): number => revision + (changes.length > 0 ? 1 : 0);
  const answer = (kind: string, parts: Partial<ModelAnswer> = {}): number =>
    answers.push({ kind, revision: now(), number: 0, flag: false, kvs: [], ...parts });
  const go = (each: Path): void => {
    for (const { op, nested } of each.steps) {
      switch (op.op) {
        case "put": {
          const before = work.get(op.key);
          if (op.ttlMs !== undefined) model.leases.push({ id: leaseId, ttlMs: op.ttlMs, dueMs: model.clockMs + op.ttlMs, ofPut: true });
          const value = op.keep === "value" || op.keep === "both" ? before!.value : op.value;
          const lease = op.keep === "lease" || op.keep === "both" ? before!.lease : op.ttlMs === undefined ? op.lease : leaseId;
          const createRevision = before?.createRevision ?? revision + 1;
          work.set(op.key, { key: op.key, value, lease, createRevision, modRevision: revision + 1, version: (before?.version ?? 0) + 1 });
          changes.push({ key: op.key, put: { value, lease }, cause: undefined });
          answer("put", { kvs: op.prevKv === true && before !== undefined ? [before] : [] });
          break;
        }
        case "delete": {
          const gone = [...work.values()].filter(({ key }) => covers(op, key)).sort((left, right) => (left.key < right.key ? -1 : 1));
          for (const { key } of gone) {
            work.delete(key);
            changes.push({ key, put: undefined, cause: "request" });
          }
          answer("delete", { number: gone.length, kvs: op.prevKv === true ? gone : [] });
          break;
        }
        case "get": {
          const kv = work.get(op.key);
          answer("get", { number: kv === undefined ? 0 : 1, kvs: kv === undefined ? [] : [kv] });
          break;
        }
        case "range": {
          const { kvs, count, more } = rangeOf(op.revision === undefined ? [...work.values()] : model.sorted(op.revision), op);
          answer("range", { number: count, flag: more, kvs });
          break;
        }
        case "txn": {
          const at = answer("txn") - 1;
          go(nested!);
          answers[at] = { ...answers[at]!, flag: nested!.succeeded, revision: now() };
        }
      }
    }
  };
  go(path);
  if (changes.length > 0) model.change(changes);
  return { refusal: undefined, max: 0, succeeded: path.succeeded, answers };
}
