/** What callers pass, checked before anything is sent: wrong types, unknown options, text that cannot be a key. */
import { types } from "node:util";
import { KEY_BYTES_MAX } from "../core/kv/command.ts";
import { canonicalLease } from "../core/kv/lease-id.ts";
import { invalidArgument } from "../errors.ts";
import type { KeyInterval } from "../core/kv/table.ts";
import type { Key, KeyRange, Lease, LeaseId, Target, Value } from "./client.ts";

const EMPTY = new Uint8Array(0);
const keyScratch = Buffer.allocUnsafeSlow(4096);
const valueScratch = Buffer.allocUnsafeSlow(4096);

/** Text becomes UTF-8. A lone surrogate is refused: two different texts would become the same bytes. */
export function toBytes(value: string | Uint8Array, argument: string): Uint8Array {
  if (typeof value === "string") {
    if (!(value as string & { isWellFormed(): boolean }).isWellFormed())
      throw invalidArgument(argument, "text with a lone surrogate has no UTF-8 form");
    return Buffer.from(value, "utf8");
  }
  // Of whatever realm; what only looks like bytes is none.
  if (!types.isUint8Array(value)) throw invalidArgument(argument, `text or bytes are wanted, not ${describe(value)}`);
  const prototype: unknown = Object.getPrototypeOf(value);
  const isPlain = (prototype === Uint8Array.prototype || prototype === Buffer.prototype) && !Object.hasOwn(value, "length");
  // Of a subclass, which may say of itself what it likes, the bytes alone count.
  const bytes = isPlain ? value : new Uint8Array(value as Uint8Array);
  if (bytes.byteLength === 0 && isDetached(value))
    throw invalidArgument(argument, "its buffer was transferred away: it has no bytes any more");
  return bytes;
}

function isDetached(bytes: Uint8Array): boolean {
  try {
    // A view can be made of any buffer but one that is gone.
    return new Uint8Array(bytes.buffer).byteLength < 0;
  } catch {
    return true;
  }
}

/** The same for something that is copied before the next call: short text is written where the last one was, which saves an allocation. */
function toTransientBytes(value: string | Uint8Array, argument: string, scratch: Buffer): Uint8Array {
  if (typeof value !== "string" || value.length * 3 > scratch.byteLength) return toBytes(value, argument);
  if (!(value as string & { isWellFormed(): boolean }).isWellFormed())
    throw invalidArgument(argument, "text with a lone surrogate has no UTF-8 form");
  return scratch.subarray(0, scratch.write(value, 0, "utf8"));
}

/** Valid until the next call of this function. */
export function toValue(value: Value): Uint8Array {
  return toTransientBytes(value, "value", valueScratch);
}

/** Where writeKey() leaves keys. */
export const writtenKey: Uint8Array = keyScratch;

/** Writes a short key of plain characters to `writtenKey` and answers its length; 0: toKey() must do it. */
export function writeKey(key: Key): number {
  if (typeof key !== "string" || key.length > 64) return 0;
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i);
    if (unit > 0x7f) return 0;
    writtenKey[i] = unit;
  }
  return key.length;
}

/** Valid until the next call of this function. */
export function toKey(key: Key): Uint8Array {
  const written = writeKey(key);
  if (written > 0) return keyScratch.subarray(0, written);
  // Text has at least as many bytes as units, and need not be encoded to be refused.
  const bytes = typeof key === "string" && key.length > KEY_BYTES_MAX ? undefined : toTransientBytes(key, "key", keyScratch);
  if (bytes === undefined || bytes.byteLength === 0 || bytes.byteLength > KEY_BYTES_MAX)
    throw invalidArgument("key", `a key has 1 to ${KEY_BYTES_MAX} bytes`);
  return bytes;
}

/** The id of a lease that is named by it, or held. Throws INVALID_ARGUMENT where it is neither. */
export function leaseIdOf(lease: LeaseId | Lease): string;
export function leaseIdOf(lease: LeaseId | Lease | undefined): string | undefined;
export function leaseIdOf(lease: LeaseId | Lease | undefined): string | undefined {
  if (lease === undefined) return undefined;
  const id: unknown = typeof lease === "object" && lease !== null ? lease.id : lease;
  const canonical = typeof id === "string" ? canonicalLease(id) : undefined;
  if (canonical === undefined)
    throw invalidArgument("lease", `1 to 16 lower-case hex digits, not all zero, are wanted, not ${describe(id)}`);
  return canonical;
}

export function isKey(target: Target): target is Key {
  return typeof target === "string" || types.isUint8Array(target);
}

/** The interval that a range names. What selects everything must say so. */
export function toInterval(range: KeyRange): KeyInterval {
  if (typeof range !== "object" || range === null)
    throw invalidArgument("range", `{ prefix }, { start, end? } or { all: true } is wanted, not ${describe(range)}`);
  const given = range as { prefix?: Key; start?: Key; end?: Key; all?: boolean };
  const has = (name: string): boolean => Object.hasOwn(given, name);
  for (const name of Object.keys(given)) {
    if (!["prefix", "start", "end", "all"].includes(name)) throw invalidArgument("range", `unknown property ${name}`);
  }
  if (Number(has("prefix")) + Number(has("start")) + Number(has("all")) !== 1) {
    throw invalidArgument("range", "exactly one of prefix, start and all is wanted; everything is { all: true }");
  }
  if (has("all")) {
    if (given.all !== true || has("end")) throw invalidArgument("range", "all must be true, and stand alone");
    return { start: EMPTY, end: undefined };
  }
  if (has("prefix")) {
    if (given.prefix === undefined) throw invalidArgument("prefix", "it is undefined; everything is { all: true }");
    if (has("end")) throw invalidArgument("range", "a prefix has no end");
    const start = new Uint8Array(toBytes(given.prefix, "prefix"));
    if (start.byteLength === 0) throw invalidArgument("prefix", "it is empty; everything is { all: true }");
    return { start, end: prefixEnd(start) };
  }
  if (given.start === undefined) throw invalidArgument("start", "it is undefined; everything is { all: true }");
  if (has("end") && given.end === undefined) throw invalidArgument("end", "it is undefined; leave it out for a range to the last key");
  const start = new Uint8Array(toBytes(given.start, "start"));
  return { start, end: given.end === undefined ? undefined : new Uint8Array(toBytes(given.end, "end")) };
}

export function toTargetInterval(target: Target): KeyInterval {
  if (!isKey(target)) return toInterval(target);
  const start = new Uint8Array(toKey(target));
  const end = new Uint8Array(start.byteLength + 1);
  end.set(start);
  return { start, end };
}

/** The first key behind all that begin with the prefix; undefined if there is none. */
function prefixEnd(prefix: Uint8Array): Uint8Array | undefined {
  let length = prefix.byteLength;
  while (length > 0 && prefix[length - 1] === 0xff) length--;
  if (length === 0) return undefined;
  const end = prefix.slice(0, length);
  end[length - 1]!++;
  return end;
}

/** Refuses options that nobody knows: a misspelt one would otherwise be ignored. */
export function checkOptions(options: object | undefined, known: ReadonlySet<string>, argument: string): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null) throw invalidArgument(argument, `an object is wanted, not ${describe(options)}`);
  for (const name of Object.keys(options)) {
    if (!known.has(name)) throw invalidArgument(argument, `unknown option ${name}; known are ${[...known].join(", ")}`);
  }
}

export function checkNumber(
  value: number | undefined,
  argument: string,
  bounds: { readonly min: number; readonly max?: number; readonly integer?: boolean },
): void {
  if (value === undefined) return;
  const { min, max = Number.MAX_SAFE_INTEGER, integer = true } = bounds;
  const fits = typeof value === "number" && value >= min && value <= max && (!integer || Number.isInteger(value));
  if (!fits)
    throw invalidArgument(argument, `${integer ? "an integer" : "a number"} from ${min} to ${max} is wanted, not ${describe(value)}`);
}

/** An AbortSignal, or what behaves as one. */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal === undefined) return;
  const given = signal as Partial<AbortSignal> | null;
  const fits =
    typeof given === "object" &&
    given !== null &&
    typeof given.aborted === "boolean" &&
    typeof given.addEventListener === "function" &&
    typeof given.removeEventListener === "function";
  if (!fits) throw invalidArgument("signal", `an AbortSignal is wanted, not ${describe(signal)}`);
}

const FOLLOW_OPTIONS: ReadonlySet<string> = new Set(["signal"]);

/** The signal that ends the following of a value. Throws INVALID_ARGUMENT where the options are none, or hold anything else. */
export function followSignal(options: { readonly signal?: AbortSignal }): AbortSignal | undefined {
  checkOptions(options, FOLLOW_OPTIONS, "options");
  const { signal } = options;
  checkSignal(signal);
  return signal;
}

export function checkFlag(value: boolean | undefined, argument: string): void {
  if (value !== undefined && typeof value !== "boolean") throw invalidArgument(argument, `true or false is wanted, not ${describe(value)}`);
}

export function checkTimeout(timeoutMs: number | undefined): void {
  if (timeoutMs === Number.POSITIVE_INFINITY) return;
  checkNumber(timeoutMs, "timeoutMs", { min: 0, integer: false });
}

export function checkChoice(value: string | undefined, argument: string, choices: readonly string[]): void {
  if (value !== undefined && !choices.includes(value))
    throw invalidArgument(argument, `one of ${choices.join(", ")} is wanted, not ${describe(value)}`);
}

export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === "object") return nameOfObject(value);
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}...` : value);
  return `${typeof value} ${String(value)}`;
}

function nameOfObject(value: object): string {
  if (types.isProxy(value)) return "a Proxy";
  if (Array.isArray(value)) return "an array";
  const name: unknown = value.constructor?.name;
  if (typeof name !== "string" || name === "" || name === "Object") return "an object";
  return `${/^[AEIOU]/.test(name) ? "an" : "a"} ${name}`;
}
