/**
 * Whether a history of calls is linearizable, told from revisions. Every answer says as of which revision it is, so the order that an
 * ordinary checker has to search for is given, and the check is total and cheap (it covers ranges, many keys and leases alike):
 *
 *   order    if A was answered before B was called, A's revision is not above B's; below it, if B changed something. Where an answer does
 *            not tell its revision (a value alone), it is held to be the first that fits. Reads that asked for no more than "eventual" are
 *            only held to the answering node's own past, and to nothing newer than the end.
 *   content  what each answer says is what the model of the changes says at its revision.
 *   writes   every acknowledged write is exactly the change at its revision; every change is a write that was asked for, not before it
 *            was asked for, once, or an expiry. A write of unknown outcome is settled by its unique value.
 */
import { CheckFailure, isWrite, type DataEvent, type DataModel, type Operation, type OperationBody, type ReadValue } from "./history.ts";

const CHECK = "linearizability";

/** Throws CheckFailure with the operations that cannot be ordered. */
export function checkLinearizability(operations: readonly Operation[], model: DataModel): void {
  const claimed = new Map<number, Operation>();
  for (const operation of operations) {
    if (operation.outcome === "refused") checkRefused(operation, model);
    if (operation.outcome === "ok") checkAnswer(operation, model, claimed);
    if (operation.outcome === "unknown") checkUnknown(operation, model);
  }
  checkEveryChangeWasAsked(operations, model, claimed);
  checkOrder(operations, model);
}

function fail(finding: string, ...operations: readonly Operation[]): never {
  throw new CheckFailure(CHECK, [finding, ...operations.map((operation) => JSON.stringify(operation))].join("\n  "));
}

function checkRefused(operation: Operation, model: DataModel): void {
  const { body } = operation;
  if ((body.kind === "put" || body.kind === "compareAndSwap") && model.putAt(body.value) !== undefined) {
    fail(`a refused write is there, at revision ${model.putAt(body.value)}`, operation);
  }
}

function checkUnknown(operation: Operation, model: DataModel): void {
  const { body } = operation;
  if (body.kind !== "compareAndSwap") return;
  const revision = model.putAt(body.value);
  if (revision !== undefined && model.at(body.key, revision - 1).value !== body.expected) {
    fail(`a swap happened at revision ${revision} though the value before it was another`, operation);
  }
}

function checkAnswer(operation: Operation, model: DataModel, claimed: Map<number, Operation>): void {
  const { body, revision } = operation;
  if (revision !== undefined && revision > model.revision)
    fail(`answered as of a revision that never was (the last is ${model.revision})`, operation);
  switch (body.kind) {
    case "put":
      if (revision === undefined) fail("a put without a revision", operation);
      claim(operation, revision, { kind: "put", key: body.key, value: body.value, cause: undefined }, model, claimed);
      break;
    case "delete":
      if (body.deleted === 0) {
        if (revision !== undefined && model.at(body.key, revision).value !== undefined)
          fail("deleted nothing, but the key was there", operation);
      } else {
        if (revision === undefined) fail("a delete without a revision", operation);
        claim(operation, revision, { kind: "delete", key: body.key, value: "", cause: "request" }, model, claimed);
      }
      break;
    case "compareAndSwap": {
      const made = model.putAt(body.value);
      if (body.swapped === false) {
        if (made !== undefined) fail(`said not to have swapped, but did at revision ${made}`, operation);
      } else {
        if (made === undefined) fail("said to have swapped, but the value is nowhere", operation);
        operation.revision ??= made;
        claim(operation, made, { kind: "put", key: body.key, value: body.value, cause: undefined }, model, claimed);
        if (model.at(body.key, made - 1).value !== body.expected) fail("swapped though the value before was another", operation);
      }
      break;
    }
    case "get":
      for (const [at, value] of (body.values ?? []).entries()) {
        checkValue(operation, value, body.keys[at] as string, model);
      }
      break;
    case "range":
      checkRange(operation, body, model);
      break;
  }
}

/** The change at `revision` is this operation's, and no other's. */
function claim(operation: Operation, revision: number, event: DataEvent, model: DataModel, claimed: Map<number, Operation>): void {
  const change = model.change(revision);
  const found = change?.events[0];
  const fits =
    change?.events.length === 1 &&
    found !== undefined &&
    found.kind === event.kind &&
    found.key === event.key &&
    found.value === event.value;
  if (!fits) fail(`an acknowledged write is not what revision ${revision} changed: ${JSON.stringify(change)}`, operation);
  const other = claimed.get(revision);
  if (other !== undefined) fail(`two writes were given revision ${revision}`, other, operation);
  claimed.set(revision, operation);
}

function sameValue(one: ReadValue, other: ReadValue): boolean {
  return (
    one.key === other.key &&
    one.value === other.value &&
    one.modRevision === other.modRevision &&
    one.createRevision === other.createRevision &&
    one.version === other.version
  );
}

function checkValue(operation: Operation, value: ReadValue, key: string, model: DataModel): void {
  const expected = operation.revision === undefined && value.value !== undefined ? model.at(key, value.modRevision) : undefined;
  if (expected !== undefined && !sameValue(value, expected)) {
    fail(`read ${JSON.stringify(value)}, which never was; the model has ${JSON.stringify(expected)}`, operation);
  }
}

function checkRange(operation: Operation, body: OperationBody & { readonly kind: "range" }, model: DataModel): void {
  const { revision } = operation;
  if (revision === undefined) fail("a range without a revision", operation);
  const expected = model.range(body.prefix, revision);
  const wanted = body.limit === 0 ? expected : expected.slice(0, body.limit);
  const values = body.values ?? [];
  const same = values.length === wanted.length && values.every((value, at) => sameValue(value, wanted[at] as ReadValue));
  if (!same) fail(`a range holds ${JSON.stringify(values)} where the model has ${JSON.stringify(wanted)}`, operation);
  if (body.count !== undefined && body.count !== expected.length) fail(`a range counts ${body.count} of ${expected.length}`, operation);
}

/** Every change was asked for, once, and not before it was asked for. Expiries need a put with a time to live. */
function checkEveryChangeWasAsked(operations: readonly Operation[], model: DataModel, claimed: ReadonlyMap<number, Operation>): void {
  const writers = new Map<string, Operation>();
  const openDeletes = new Map<string, number>();
  for (const operation of operations) {
    const { body } = operation;
    if (body.kind === "put" || body.kind === "compareAndSwap") writers.set(body.value, operation);
    if (body.kind === "delete" && operation.outcome === "unknown") openDeletes.set(body.key, (openDeletes.get(body.key) ?? 0) + 1);
  }
  const seen = new Set<string>();
  for (let revision = 2; revision <= model.revision; revision++) {
    for (const event of model.change(revision)?.events ?? []) {
      if (event.kind === "put") {
        const writer = writers.get(event.value);
        if (writer === undefined || !("key" in writer.body) || writer.body.key !== event.key) {
          fail(`revision ${revision} puts ${event.key} = ${event.value}, which nobody asked for`);
        }
        if (seen.has(event.value)) fail(`revision ${revision} puts a value a second time`, writer);
        seen.add(event.value);
      } else if (event.cause === "request") {
        if (claimed.has(revision)) continue;
        const open = openDeletes.get(event.key) ?? 0;
        if (open === 0) fail(`revision ${revision} deletes ${event.key}, which nobody asked for`);
        openDeletes.set(event.key, open - 1);
      } else {
        const before = model.at(event.key, revision - 1).value;
        const writer = before === undefined ? undefined : writers.get(before);
        if (writer?.body.kind !== "put" || writer.body.ttlMs === undefined)
          fail(`revision ${revision} expires ${event.key}, which had no time to live`);
      }
    }
  }
}

/**
 * Sweeps over calls and answers in the order of time, giving each operation the first revision that fits it and what came before. Since
 * every operation asks only to be no lower than some others, the first that fits is never worse than a later one.
 */
function checkOrder(operations: readonly Operation[], model: DataModel): void {
  const answered = operations.filter((operation) => operation.outcome === "ok");
  const byCall = [...answered].sort((one, other) => one.call - other.call);
  const byEnd = [...answered].sort((one, other) => one.end - other.end);
  const revisions = new Map<Operation, number>();
  let floor: Operation | undefined;
  const floors = new Map<string, Operation>();
  const revisionOf = (operation: Operation | undefined): number => (operation === undefined ? 1 : (revisions.get(operation) as number));
  let ended = 0;
  for (const operation of byCall) {
    for (let before = byEnd[ended]; before !== undefined && before.end < operation.call; before = byEnd[++ended]) {
      if (!isEventual(before) && revisionOf(before) > revisionOf(floor)) floor = before;
      if (revisionOf(before) > revisionOf(floors.get(before.node))) floors.set(before.node, before);
    }
    const bound = isEventual(operation) ? floors.get(operation.node) : floor;
    const revision = firstFit(operation, revisionOf(bound), model);
    if (revision === undefined) {
      fail(
        `an answer is older than one that came before it was asked for, as of ${revisionOf(bound)}`,
        ...(bound === undefined ? [] : [bound]),
        operation,
      );
    }
    revisions.set(operation, revision);
  }
}

function isEventual(operation: Operation): boolean {
  return operation.consistency === "eventual" && !isWrite(operation.body);
}

/** The first revision, no lower than `floor`, as of which the answer is right. */
function firstFit(operation: Operation, floor: number, model: DataModel): number | undefined {
  const { body, revision } = operation;
  if (changes(body)) return (revision as number) > floor ? revision : undefined;
  if (revision !== undefined) return revision >= floor ? revision : undefined;
  if (body.kind === "compareAndSwap") return model.firstWhere(body.key, floor, (value) => value.value !== body.expected);
  if (body.kind !== "get") return floor;
  // All keys at once: move on until none of them asks to move on further.
  let fit = floor;
  for (let settled = 0; settled < body.keys.length;) {
    settled = 0;
    for (const [at, key] of body.keys.entries()) {
      const wanted = body.values?.[at] as ReadValue;
      const first = model.firstWhere(key, fit, (value) => sameValue(value, wanted));
      if (first === undefined) return undefined;
      if (first === fit) settled++;
      fit = first;
    }
  }
  return fit;
}

function changes(body: OperationBody): boolean {
  if (body.kind === "put") return true;
  if (body.kind === "delete") return body.deleted !== 0;
  return body.kind === "compareAndSwap" && body.swapped !== false;
}
