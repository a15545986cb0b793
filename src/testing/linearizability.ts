/**
 * Whether a history of calls is linearizable, told from revisions. Every answer says as of which revision it is, so the order that an
 * ordinary checker has to search for is given, and the check is total and cheap (it covers ranges, many keys and leases alike):
 *
 *   order    if A was answered before B was called, A's revision is not above B's; below it, if B changed something. Where an answer does
 *            not tell its revision (a value alone), it is held to be the first that fits. Reads that asked for no more than "eventual" are
 *            only held to the answering node's own past, to nothing newer than the end, and to what had been acknowledged so long before as
 *            they asked. Nobody is told of a revision before a member has applied it.
 *   content  what each answer says is what the model of the changes says at its revision, or at the past one that was asked for; and a
 *            transaction answers and changes what a plain account of transactions does with the state before it.
 *   writes   every acknowledged write is exactly the change at its revision; every change is a write that was asked for, not before it
 *            was asked for, once, or an expiry. A write of unknown outcome is settled by its unique value.
 */
import {
  CheckFailure,
  isWrite,
  valuesOf,
  type DataChange,
  type DataEvent,
  type DataModel,
  type Operation,
  type OperationBody,
  type ReadValue,
} from "./history.ts";
import type { Txn } from "../client/transaction.ts";
import { dataAt, hasChanged, rangeOf, runTxn } from "./txn-model.ts";

const CHECK = "linearizability";

/** Throws CheckFailure with the operations that cannot be ordered. */
export function checkLinearizability(operations: readonly Operation[], model: DataModel): void {
  const claimed = new Map<number, Operation>();
  for (const operation of operations) {
    if (operation.outcome === "refused") checkRefused(operation, model);
    checkTold(operation, model);
    if (operation.outcome === "ok") checkAnswer(operation, model, claimed);
    if (operation.outcome === "unknown") checkUnknown(operation, model);
  }
  checkEveryChangeWasAsked(operations, model, claimed);
  checkOrder(operations, model);
  checkCompacted(operations);
}

function fail(finding: string, ...operations: readonly Operation[]): never {
  throw new CheckFailure(CHECK, [finding, ...operations.map((operation) => JSON.stringify(operation))].join("\n  "));
}

function checkRefused(operation: Operation, model: DataModel): void {
  for (const value of valuesOf(operation.body)) {
    const revision = model.putAt(value);
    if (revision !== undefined) fail(`a refused write is there, at revision ${revision}`, operation);
  }
}

/** A read of the past that was refused: what it asked for is beyond what it was told that there is. */
function checkTold({ told, body, ...rest }: Operation, model: DataModel): void {
  if (told === undefined) return;
  const operation = { told, body, ...rest };
  const asked = pastOf(body);
  if (told.revision > model.revision) fail(`told of a revision that never was (the last is ${model.revision})`, operation);
  // What history begins with can be read, and compacted to once: it is refused the second time.
  const isSo = asked.some((revision) =>
    told.code === "FUTURE_REVISION"
      ? revision > told.revision
      : body.kind === "compact"
        ? revision <= told.revision
        : revision < told.revision,
  );
  if (!isSo) fail(`refused as ${told.code}, which it is not`, operation);
  if (model.appliedAt(told.revision) > operation.end) fail(`told of revision ${told.revision} before anybody had applied it`, operation);
}

/** What somebody was told to be compacted is not read afterwards, at least where the read asks for what is acknowledged. */
function checkCompacted(operations: readonly Operation[]): void {
  const compactions = operations.filter(({ body, outcome }) => body.kind === "compact" && outcome === "ok");
  const revisionOf = ({ body }: Operation): number => (body.kind === "compact" ? body.revision : 0);
  for (const operation of operations) {
    if (operation.outcome !== "ok" || isEventual(operation) || operation.body.kind === "compact") continue;
    const pasts = operation.body.kind === "txn" ? [] : pastOf(operation.body);
    if (pasts.length === 0) continue;
    const lowest = Math.min(...pasts);
    const compaction = compactions.find((one) => one.end < operation.call && revisionOf(one) > lowest);
    if (compaction !== undefined) fail(`revision ${lowest} was read after its compaction`, compaction, operation);
  }
}

/** The past revisions that it asks for. */
function pastOf(body: OperationBody): readonly number[] {
  switch (body.kind) {
    case "get":
    case "query":
      return body.at === undefined ? [] : [body.at];
    case "compact":
      return [body.revision];
    case "txn":
      return pastsOf(body.txn);
    default:
      return [];
  }
}

function pastsOf({ success = [], failure = [] }: Txn): readonly number[] {
  return [...success, ...failure].flatMap((op) => {
    if ("txn" in op) return pastsOf(op.txn);
    return "range" in op && op.revision !== undefined ? [op.revision] : [];
  });
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
  if (revision !== undefined && model.appliedAt(revision) > operation.end)
    fail(`answered as of revision ${revision} before anybody had applied it`, operation);
  if (revision !== undefined && revision < (operation.minRevision ?? 0))
    fail(`the answer is behind the revision that was asked for`, operation);
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
        if (body.at === undefined) continue;
        const expected = model.at(body.keys[at] as string, body.at);
        if (!sameValue(value, expected)) fail(`a read of the past where the model has ${JSON.stringify(expected)}`, operation);
      }
      break;
    case "range":
      checkRange(operation, body, model);
      break;
    case "query":
      checkQuery(operation, body, model);
      break;
    case "txn":
      checkTxn(operation, body, model, claimed);
      break;
    case "update": {
      const last = body.tries.at(-1);
      if (revision === undefined || last === undefined) fail("an update without a revision", operation);
      claim(operation, revision, { kind: "put", key: body.key, value: last.value, cause: undefined }, model, claimed);
      break;
    }
    case "compact":
      break;
  }
}

/** A transaction's answer is that of the model, as of the revision before if it changed something, and so is its change. */
function checkTxn(
  operation: Operation,
  { prefix, txn, answer }: OperationBody & { readonly kind: "txn" },
  model: DataModel,
  claimed: Map<number, Operation>,
): void {
  const { revision } = operation;
  if (revision === undefined || answer === undefined) fail("a transaction without a revision", operation);
  const changed = hasChanged(answer);
  const expected = runTxn(model, prefix, changed ? revision - 1 : revision, txn);
  if (!isSame(answer, expected.answer))
    fail(`a transaction answered other than the model, which has ${JSON.stringify(expected.answer)}`, operation);
  if (changed) claimTxn(operation, revision, expected.events, model, claimed);
}

function claimTxn(
  operation: Operation,
  revision: number,
  events: readonly DataEvent[],
  model: DataModel,
  claimed: Map<number, Operation>,
): void {
  const change = model.change(revision);
  const same =
    change?.events.length === events.length &&
    events.every((event, at) => {
      const found = change.events[at] as DataEvent;
      return found.kind === event.kind && found.key === event.key && found.value === event.value && found.cause === event.cause;
    });
  if (!same) fail(`revision ${revision} changed ${JSON.stringify(change?.events)}, and the model ${JSON.stringify(events)}`, operation);
  claimRevision(operation, revision, claimed);
}

function checkQuery(operation: Operation, body: OperationBody & { readonly kind: "query" }, model: DataModel): void {
  const { prefix, wish, at, found = {}, how } = body;
  const asOf = at ?? operation.revision;
  if (asOf === undefined) {
    if (how !== "count") fail("a range without a revision", operation);
    return;
  }
  const expected = rangeOf(dataAt(model, prefix, asOf), { prefix }, wish);
  const isSame =
    (found.count === undefined || found.count === expected.count) &&
    (found.more === undefined || found.more === expected.more) &&
    (found.values === undefined ||
      (found.values.length === expected.values.length &&
        found.values.every((value, i) => sameValue(value, expected.values[i] as ReadValue))));
  if (!isSame) fail(`a range as of ${asOf} where the model has ${JSON.stringify(expected)}`, operation);
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
  claimRevision(operation, revision, claimed);
}

function claimRevision(operation: Operation, revision: number, claimed: Map<number, Operation>): void {
  const other = claimed.get(revision);
  if (other !== undefined) fail(`two writes were given revision ${revision}`, other, operation);
  claimed.set(revision, operation);
}

/** Whether two answers say the same; what is undefined is as good as missing. */
function isSame(one: unknown, other: unknown): boolean {
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return one === other;
  const names = new Set([...Object.keys(one), ...Object.keys(other)]);
  return [...names].every((name) => isSame(Reflect.get(one, name), Reflect.get(other, name)));
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
function checkEveryChangeWasAsked(operations: readonly Operation[], model: DataModel, claimed: Map<number, Operation>): void {
  const writers = new Map<string, Operation>();
  const openDeletes = new Map<string, number>();
  for (const operation of operations) {
    const { body } = operation;
    for (const value of valuesOf(body)) writers.set(value, operation);
    if (body.kind === "delete" && operation.outcome === "unknown") openDeletes.set(body.key, (openDeletes.get(body.key) ?? 0) + 1);
  }
  const done = new Map<Operation, number>();
  for (let revision = 2; revision <= model.revision; revision++) {
    const change = model.change(revision);
    const transaction = change === undefined ? undefined : transactionOf(change, writers, model);
    if (transaction !== undefined) {
      const other = done.get(transaction);
      if (other !== undefined) fail(`a transaction was applied twice, at revisions ${other} and ${revision}`, transaction);
      done.set(transaction, revision);
      if (claimed.get(revision) === transaction) continue;
      const { prefix, txn } = transaction.body as OperationBody & { readonly kind: "txn" };
      claimTxn(transaction, revision, runTxn(model, prefix, revision - 1, txn).events, model, claimed);
      if (transaction.outcome === "ok") fail(`a transaction was applied at revision ${revision}, too`, transaction);
      continue;
    }
    for (const event of change?.events ?? []) {
      if (event.kind === "put") {
        const writer = writers.get(event.value);
        if (writer !== undefined && model.putAt(event.value) !== revision) fail(`revision ${revision} puts a value a second time`, writer);
        if (writer?.body.kind === "update") checkUpdate(writer, writer.body, event.value, revision, model);
        if (writer === undefined || !("key" in writer.body) || writer.body.key !== event.key) {
          fail(`revision ${revision} puts ${event.key} = ${event.value}, which nobody asked for`);
        }
      } else if (event.cause === "request") {
        if (claimed.has(revision)) continue;
        const open = openDeletes.get(event.key) ?? 0;
        if (open === 0) fail(`revision ${revision} deletes ${event.key}, which nobody asked for`);
        openDeletes.set(event.key, open - 1);
      } else {
        const before = model.at(event.key, revision - 1).value;
        const writer = before === undefined ? undefined : writers.get(before);
        const { body } = writer ?? {};
        const mayEnd = body?.kind === "put" && (body.lease !== undefined || (body.ttlMs !== undefined && event.cause === "expiry"));
        if (!mayEnd) fail(`revision ${revision} ends ${event.key} by ${event.cause}, which had no lease for that`);
      }
    }
  }
}

/** Whose transaction made a change: it put a value that was not there before. A change that only deletes is told by its answer, if at all. */
function transactionOf(change: DataChange, writers: ReadonlyMap<string, Operation>, model: DataModel): Operation | undefined {
  for (const { kind, value } of change.events) {
    const writer = kind === "put" && model.putAt(value) === change.revision ? writers.get(value) : undefined;
    if (writer?.body.kind === "txn") return writer;
  }
  return undefined;
}

/** Only the last try may have been put, and in place of nothing but what it had seen. */
function checkUpdate(
  operation: Operation,
  { key, tries }: OperationBody & { readonly kind: "update" },
  value: string,
  revision: number,
  model: DataModel,
): void {
  const last = tries.at(-1);
  if (last?.value !== value) fail(`revision ${revision} holds a try of an update that was made again`, operation);
  const before = model.at(key, revision - 1).modRevision;
  if (before !== last.modRevision)
    fail(`revision ${revision} updates what is of revision ${before}, and the update had seen ${last.modRevision}`, operation);
}

/**
 * Sweeps over calls and answers in the order of time, giving each operation the first revision that fits it and what came before. Since
 * every operation asks only to be no lower than some others, the first that fits is never worse than a later one.
 */
function checkOrder(operations: readonly Operation[], model: DataModel): void {
  const answered = operations.filter(({ outcome, told }) => outcome === "ok" || told?.code === "FUTURE_REVISION");
  const byCall = [...answered].sort((one, other) => one.call - other.call);
  const byEnd = [...answered].sort((one, other) => one.end - other.end);
  const revisions = new Map<Operation, number>();
  let floor: Operation | undefined;
  const floors = new Map<string, Operation>();
  /** How the floor rose, for those that ask for no more than what was acknowledged some time ago. */
  const rises: Operation[] = [];
  const revisionOf = (operation: Operation | undefined): number => (operation === undefined ? 1 : (revisions.get(operation) as number));
  let ended = 0;
  for (const operation of byCall) {
    for (let before = byEnd[ended]; before !== undefined && before.end < operation.call; before = byEnd[++ended]) {
      if (!isEventual(before) && revisionOf(before) > revisionOf(floor)) {
        floor = before;
        rises.push(before);
      }
      if (revisionOf(before) > revisionOf(floors.get(before.node))) floors.set(before.node, before);
    }
    let bound = isEventual(operation) ? floors.get(operation.node) : floor;
    const { staleMsMax } = operation;
    if (isEventual(operation) && staleMsMax !== undefined) {
      const old = rises.findLast((before) => before.end < operation.call - staleMsMax);
      if (revisionOf(old) > revisionOf(bound)) bound = old;
    }
    const revision = firstFit(operation, Math.max(revisionOf(bound), operation.minRevision ?? 0), model);
    // Where the answer does not tell its revision, the first that fits may have come too late for it.
    if (revision !== undefined && model.appliedAt(revision) > operation.end)
      fail(
        `an answer is of none of the revisions that there were by then, as of ${revisionOf(bound)} and later`,
        ...(bound === undefined ? [] : [bound]),
        operation,
      );
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
  const { body, revision, told } = operation;
  if (told !== undefined) return told.revision >= floor ? told.revision : undefined;
  if (changes(body)) return (revision as number) > floor ? revision : undefined;
  if (revision !== undefined) return revision >= floor ? revision : undefined;
  if (body.kind === "compareAndSwap") return model.firstWhere(body.key, floor, (value) => value.value !== body.expected);
  // The past is there for good; who answers has come so far.
  if ((body.kind === "get" || body.kind === "query") && body.at !== undefined) return Math.max(floor, body.at);
  if (body.kind === "query") return firstCount(body, floor, model);
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

/** A count does not tell its revision. */
function firstCount({ prefix, found }: OperationBody & { readonly kind: "query" }, floor: number, model: DataModel): number | undefined {
  for (let revision = floor; revision <= model.revision; revision++) {
    if (model.range(prefix, revision).length === found?.count) return revision;
  }
  return undefined;
}

function changes(body: OperationBody): boolean {
  if (body.kind === "put" || body.kind === "update") return true;
  if (body.kind === "txn") return body.answer !== undefined && hasChanged(body.answer);
  if (body.kind === "delete") return body.deleted !== 0;
  return body.kind === "compareAndSwap" && body.swapped !== false;
}
