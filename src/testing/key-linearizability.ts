/**
 * The same question without revisions, as a cross-check: is there an order of one key's operations, each between its call and its
 * answer, in which each answer is right? The search is Wing and Gong's with Lowe's memory of the states seen; it takes only what a
 * register would tell (values), so that it knows nothing of how revisions are made.
 *
 * Bounded: after `stepsMax` steps it gives up and says so, which is neither a pass nor a failure.
 */
import { CheckFailure, isWrite, type Operation } from "./history.ts";

interface KeyOperation {
  readonly operation: Operation;
  readonly call: number;
  /** Infinite where the outcome is unknown: it may take effect at any time, or never. */
  readonly end: number;
  readonly isOptional: boolean;
  /** The value after it, from the value before; false: impossible with what was answered. */
  readonly step: (value: string | undefined) => string | undefined | false;
}

/** Whether every key's operations can be ordered. Keys in `skip` (those that expire) are left out. Answers false where it gave up on a key. */
export function checkKeys(
  operations: readonly Operation[],
  options: { readonly skip: (key: string) => boolean; readonly stepsMax: number },
): boolean {
  const keys = new Map<string, KeyOperation[]>();
  const add = (key: string, operation: KeyOperation): void => {
    const list = keys.get(key) ?? [];
    keys.set(key, list);
    list.push(operation);
  };
  for (const operation of operations) {
    if (operation.outcome === "refused") continue;
    if (!isWrite(operation.body) && (operation.outcome !== "ok" || operation.consistency === "eventual")) continue;
    for (const [key, step] of stepsOf(operation)) {
      if (!options.skip(key))
        add(key, { operation, call: operation.call, end: operation.end, isOptional: operation.outcome === "unknown", step });
    }
  }
  let decided = true;
  for (const [key, list] of keys) {
    const found = findOrder(list, options.stepsMax);
    if (found === false)
      throw new CheckFailure(
        "key linearizability",
        `the operations on ${key} have no order:\n  ${list.map((item) => JSON.stringify(item.operation)).join("\n  ")}`,
      );
    if (found === undefined) decided = false;
  }
  return decided;
}

function stepsOf(operation: Operation): readonly (readonly [key: string, step: KeyOperation["step"]])[] {
  const { body } = operation;
  const isKnown = operation.outcome === "ok";
  switch (body.kind) {
    case "put":
      return [[body.key, () => body.value]];
    case "delete":
      return [[body.key, (value) => (isKnown && (body.deleted !== 0) !== (value !== undefined) ? false : undefined)]];
    case "compareAndSwap":
      return [
        [
          body.key,
          (value) => {
            const swaps = value === body.expected;
            if (isKnown && swaps !== (body.swapped !== false)) return false;
            return swaps ? body.value : value;
          },
        ],
      ];
    case "get":
      if (body.at !== undefined) return [];
      return body.keys.map((key, at) => [key, (value) => (body.values?.[at]?.value === value ? value : false)] as const);
    // Those of transactions and of the past are left to the check by revision, with the keys that transactions write.
    default:
      return [];
  }
}

/** undefined: gave up. */
function findOrder(list: readonly KeyOperation[], stepsMax: number): boolean | undefined {
  const operations = [...list].sort((one, other) => one.call - other.call);
  const taken = new Uint8Array(operations.length);
  const seen = new Set<string>();
  let required = operations.filter((item) => !item.isOptional).length;
  let value: string | undefined;
  // What is taken is all below `first`, and some above it.
  let first = 0;
  const path: { readonly at: number; readonly value: string | undefined; readonly first: number }[] = [];
  let from = 0;
  for (let steps = 0; ; steps++) {
    if (required === 0) return true;
    if (steps > stepsMax) return undefined;
    let next = -1;
    let nextValue: string | undefined;
    // Only what was called before the earliest answer that is still owed may come next.
    let deadline = Number.POSITIVE_INFINITY;
    for (let at = first; at < operations.length; at++) {
      const item = operations[at] as KeyOperation;
      if (item.call > deadline) break;
      if (taken[at] === 0 && item.end < deadline) deadline = item.end;
    }
    for (let at = Math.max(first, from); at < operations.length; at++) {
      const item = operations[at] as KeyOperation;
      if (item.call > deadline) break;
      if (taken[at] === 1) continue;
      const after = item.step(value);
      if (after === false) continue;
      taken[at] = 1;
      const state = stateName(taken, first, after);
      if (seen.has(state)) {
        taken[at] = 0;
        continue;
      }
      seen.add(state);
      next = at;
      nextValue = after;
      break;
    }
    if (next < 0) {
      const last = path.pop();
      if (last === undefined) return false;
      taken[last.at] = 0;
      if (!(operations[last.at] as KeyOperation).isOptional) required++;
      value = last.value;
      first = last.first;
      from = last.at + 1;
      continue;
    }
    path.push({ at: next, value, first });
    if (!(operations[next] as KeyOperation).isOptional) required--;
    value = nextValue;
    while (taken[first] === 1) first++;
    from = 0;
  }
}

function stateName(taken: Uint8Array, first: number, value: string | undefined): string {
  let low = first;
  while (low < taken.length && taken[low] === 1) low++;
  const last = taken.lastIndexOf(1);
  return `${low}:${last < low ? "" : taken.subarray(low, last + 1).join("")}:${value ?? "\u0000"}`;
}
