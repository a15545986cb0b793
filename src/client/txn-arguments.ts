/** A caller's transaction, checked and turned into what is packed: whatever it is made of, nothing of it is looked at again. */
import { types } from "node:util";
import { KEY_BYTES_MAX, TXN_DEPTH_MAX } from "../core/kv/command.ts";
import { canonicalLease } from "../core/kv/lease-id.ts";
import type { RangeRequest } from "../core/kv/read.ts";
import type { KeyInterval } from "../core/kv/table.ts";
import type { CompareResult, CompareTarget, TxnCommand, TxnCompare, TxnOp } from "../core/kv/txn-command.ts";
import { invalidArgument } from "../errors.ts";
import { checkFlag, checkNumber, checkOptions, describe, isKey, leaseIdOf, toBytes, toInterval } from "./arguments.ts";
import type { Key, KeyRange, Lease, LeaseId, RangeOptions, Target, Value } from "./client.ts";
import { rangeRequest } from "./range-request.ts";

const NOTHING = new Uint8Array(0);
const KNOWN_TXN: ReadonlySet<string> = new Set(["compare", "success", "failure"]);
const COMPARED: ReadonlySet<string> = new Set(["exists", "version", "createRevision", "modRevision", "value", "lease"]);
const RANGE_FIELDS = [
  "limit",
  "sortBy",
  "order",
  "keysOnly",
  "revision",
  "minModRevision",
  "maxModRevision",
  "minCreateRevision",
  "maxCreateRevision",
];
/** By what says which operation it is. */
const KNOWN_OPS: Readonly<Record<string, ReadonlySet<string>>> = {
  get: new Set(["get"]),
  range: new Set(["range", ...RANGE_FIELDS]),
  put: new Set(["put", "value", "lease", "ignoreLease", "ignoreValue", "prevKv"]),
  delete: new Set(["delete", "prevKv"]),
  txn: new Set(["txn"]),
};
const KINDS = ["put", "get", "delete", "range", "txn"];
const ONE_KIND = "exactly one of get, range, put, delete and txn is wanted";
const MATCHES: Readonly<Record<string, CompareResult>> = { not: "not", lessThan: "less", greaterThan: "greater" };

/** Throws INVALID_ARGUMENT. */
export function toTxnCommand(given: unknown, depth = 1): TxnCommand {
  if (depth > TXN_DEPTH_MAX) throw invalidArgument("txn", `transactions are nested at most ${TXN_DEPTH_MAX} deep`);
  if (typeof given !== "object" || given === null)
    throw invalidArgument("txn", `{ compare, success, failure } is wanted, not ${describe(given)}`);
  checkOptions(given, KNOWN_TXN, "txn");
  const { compare, success, failure } = given as { compare?: unknown; success?: unknown; failure?: unknown };
  const into: TxnCompare[] = [];
  for (const each of listOf(compare, "compare")) addCompare(each, into);
  return {
    compare: into,
    success: toOps(success, "success", depth),
    failure: toOps(failure, "failure", depth),
  };
}

function listOf(given: unknown, argument: string): readonly unknown[] {
  if (given === undefined) return [];
  if (!Array.isArray(given)) throw invalidArgument(argument, `an array is wanted, not ${describe(given)}`);
  return given as unknown[];
}

/** Holes are no operations. */
function toOps(given: unknown, argument: string, depth: number): readonly TxnOp[] {
  const list = listOf(given, argument);
  const ops: TxnOp[] = [];
  for (let i = 0; i < list.length; i++) ops.push(toOp(list[i], depth));
  return ops;
}

/** A key that stays as it is while others are looked at. */
function toOwnKey(key: unknown): Uint8Array {
  if (typeof key === "string" && key.length > KEY_BYTES_MAX) throw invalidArgument("key", `a key has 1 to ${KEY_BYTES_MAX} bytes`);
  const bytes = toBytes(key as Key, "key");
  if (bytes.byteLength === 0 || bytes.byteLength > KEY_BYTES_MAX) throw invalidArgument("key", `a key has 1 to ${KEY_BYTES_MAX} bytes`);
  return bytes;
}

function addCompare(given: unknown, into: TxnCompare[]): void {
  if (typeof given !== "object" || given === null) throw invalidArgument("compare", `an object is wanted, not ${describe(given)}`);
  const compare = given as Record<string, unknown>;
  const ofKey = Object.hasOwn(compare, "key");
  if (ofKey === Object.hasOwn(compare, "range")) throw invalidArgument("compare", "either key or range says what is compared");
  const where: Uint8Array | KeyInterval = ofKey ? toOwnKey(compare["key"]) : toInterval(compare["range"] as KeyRange);
  const before = into.length;
  for (const field of Object.keys(compare)) {
    if (field === "key" || field === "range") continue;
    if (!COMPARED.has(field))
      throw invalidArgument("compare", `unknown option ${field}; known are key, range, ${[...COMPARED].join(", ")}`);
    const wanted = compare[field];
    // What is left out by mistake would otherwise always hold.
    if (wanted === undefined) throw invalidArgument(`compare.${field}`, "it is undefined: leave it out, or say what it must be");
    into.push(field === "exists" ? existence(where, wanted) : comparison(where, field as CompareTarget, wanted));
  }
  if (into.length === before) throw invalidArgument("compare", `one of ${[...COMPARED].join(", ")} is wanted`);
}

function existence(where: Uint8Array | KeyInterval, wanted: unknown): TxnCompare {
  if (typeof wanted !== "boolean") throw invalidArgument("compare.exists", `true or false is wanted, not ${describe(wanted)}`);
  return { where, target: "version", result: wanted ? "greater" : "equal", number: 0, value: NOTHING, lease: undefined };
}

function comparison(where: Uint8Array | KeyInterval, target: CompareTarget, wanted: unknown): TxnCompare {
  const { result, operand } = matchOf(target, wanted);
  if (target === "value") return { where, target, result, number: 0, value: toBytes(operand as Value, "compare.value"), lease: undefined };
  if (target === "lease") return { where, target, result, number: 0, value: NOTHING, lease: comparedLease(operand) };
  if (!Number.isSafeInteger(operand)) throw invalidArgument(`compare.${target}`, `an integer is wanted, not ${describe(operand)}`);
  return { where, target, result, number: operand as number, value: NOTHING, lease: undefined };
}

function matchOf(target: CompareTarget, wanted: unknown): { readonly result: CompareResult; readonly operand: unknown } {
  if (typeof wanted !== "object" || wanted === null || types.isUint8Array(wanted)) return { result: "equal", operand: wanted };
  const names = Object.keys(wanted);
  const result = names.length === 1 ? MATCHES[names[0]!] : undefined;
  if (result === undefined) throw invalidArgument(`compare.${target}`, "a value, { not }, { lessThan } or { greaterThan } is wanted");
  return { result, operand: (wanted as Record<string, unknown>)[names[0]!] };
}

/** "0" is none. */
function comparedLease(operand: unknown): string | undefined {
  if (typeof operand === "string" && /^0{1,16}$/.test(operand)) return undefined;
  const lease = typeof operand === "string" ? canonicalLease(operand) : undefined;
  if (lease === undefined) throw invalidArgument("compare.lease", `1 to 16 lower-case hex digits are wanted, not ${describe(operand)}`);
  return lease;
}

function toOp(given: unknown, depth: number): TxnOp {
  if (typeof given !== "object" || given === null) throw invalidArgument("op", `an object is wanted, not ${describe(given)}`);
  const op = given as Record<string, unknown>;
  let kind: string | undefined;
  for (const one of KINDS) {
    if (!Object.hasOwn(op, one)) continue;
    if (kind !== undefined) throw invalidArgument("op", ONE_KIND);
    kind = one;
  }
  if (kind === undefined) throw invalidArgument("op", ONE_KIND);
  checkOptions(op, KNOWN_OPS[kind]!, kind);
  switch (kind) {
    case "get":
      return { kind: "get", key: toOwnKey(op["get"]) };
    case "range":
      return { kind: "range", request: toRange(op) };
    case "put":
      return toPut(op);
    case "delete": {
      const target = op["delete"] as Target;
      const prevKv = flagOf(op, "prevKv");
      return { kind: "delete", where: isKey(target) ? toOwnKey(target) : toInterval(target), prevKv };
    }
    default:
      return { kind: "txn", txn: toTxnCommand(op["txn"], depth + 1) };
  }
}

function flagOf(op: Readonly<Record<string, unknown>>, name: string): boolean {
  const flag = op[name] as boolean | undefined;
  checkFlag(flag, name);
  return flag ?? false;
}

function toRange(op: Readonly<Record<string, unknown>>): RangeRequest {
  const { range, ...options } = op;
  checkNumber(op["revision"] as number | undefined, "revision", { min: 1 });
  checkFlag(op["keysOnly"] as boolean | undefined, "keysOnly");
  return rangeRequest(toInterval(range as KeyRange), options as RangeOptions, false);
}

function toPut(op: Readonly<Record<string, unknown>>): TxnOp {
  const ignoreValue = flagOf(op, "ignoreValue");
  if (ignoreValue === Object.hasOwn(op, "value")) throw invalidArgument("put", "a put has a value, or ignoreValue: true");
  return {
    kind: "put",
    key: toOwnKey(op["put"]),
    value: ignoreValue ? NOTHING : toBytes(op["value"] as Value, "value"),
    lease: leaseIdOf(op["lease"] as LeaseId | Lease | undefined),
    ttlMs: undefined,
    ignoreValue,
    ignoreLease: flagOf(op, "ignoreLease"),
    prevKv: flagOf(op, "prevKv"),
  };
}
