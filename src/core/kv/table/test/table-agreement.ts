/**
 * The property that every table must have: after any sequence of changes it answers every question as the simple table does. Exported as a
 * function of the table under test, so that canaries, tables with one thing wrong, go through the same.
 */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import type { DeletionCause, KeyInterval, RecordRef, Table } from "../../table.ts";
import { compareKeys, createSimpleTable } from "../../test/simple-table.ts";

type Step =
  | { readonly kind: "put"; readonly key: number; readonly value: number; readonly lease: boolean; readonly sameRevision: boolean }
  | { readonly kind: "delete"; readonly key: number; readonly cause: DeletionCause; readonly sameRevision: boolean }
  | { readonly kind: "compact"; readonly back: number; readonly recordsMax: number }
  | { readonly kind: "cursor"; readonly interval: readonly [number, number]; readonly ascending: boolean }
  | { readonly kind: "next"; readonly cursor: number; readonly times: number }
  | { readonly kind: "count"; readonly interval: readonly [number, number] }
  | { readonly kind: "seek"; readonly back: number };

export interface AgreementOptions {
  readonly create: () => Table;
  readonly keys: readonly Uint8Array[];
  /** Bytes of a value, by its number. */
  readonly valueBytes: (value: number) => number;
  readonly steps: number;
  readonly runs: number;
  readonly seed: number;
  /** Looks for the shortest sequence that fails; true unless told otherwise. */
  readonly shrinks?: boolean;
}

/** Throws what fast-check throws at the first table that disagrees. */
export function checkAgreement(options: AgreementOptions): void {
  const place = fc.nat(options.keys.length - 1);
  const interval = fc.tuple(fc.integer({ min: -1, max: options.keys.length - 1 }), fc.integer({ min: -1, max: options.keys.length - 1 }));
  const cause = fc.constantFrom<DeletionCause>("request", "expiry", "revocation");
  const back = fc.nat(30);
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 8,
      arbitrary: fc.record({
        kind: fc.constant("put" as const),
        key: place,
        value: fc.nat(255),
        lease: fc.boolean(),
        sameRevision: fc.boolean(),
      }),
    },
    { weight: 5, arbitrary: fc.record({ kind: fc.constant("delete" as const), key: place, cause, sameRevision: fc.boolean() }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("compact" as const), back, recordsMax: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("cursor" as const), interval, ascending: fc.boolean() }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("next" as const), cursor: fc.nat(7), times: fc.integer({ min: 1, max: 5 }) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("count" as const), interval }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("seek" as const), back }) },
  );
  const restored = fc.uniqueArray(place, { maxLength: 8 });
  const property = fc.property(restored, fc.array(step, { maxLength: options.steps, size: "max" }), (base, steps) =>
    run(options, base, steps),
  );
  fc.assert(property, { numRuns: options.runs, seed: options.seed, endOnFailure: options.shrinks === false });
}

function run(options: AgreementOptions, base: readonly number[], steps: readonly Step[]): void {
  const tested = options.create();
  const model = createSimpleTable();
  const both = [tested, model] as const;
  const cursors: (readonly [() => RecordRef, () => RecordRef])[] = [];
  let revision = 1;

  for (const [i, place] of base.entries()) {
    const key = options.keys[place]!;
    const value = bytesOf(options.valueBytes(place), place);
    for (const table of both)
      table.restore({ key, value, revision: 100 - i, createRevision: 3, version: 7_000_000_000 + i, lease: undefined });
    revision = 100;
  }
  for (const table of both) table.publish(revision);

  for (const step of steps) {
    switch (step.kind) {
      case "put": {
        revision = after(model, revision, step.sameRevision, options.keys[step.key]!);
        const value = bytesOf(options.valueBytes(step.value), step.value);
        const lease = step.lease ? `89abcdef${step.value.toString(16).padStart(8, "0")}` : undefined;
        for (const table of both) table.put({ key: options.keys[step.key]!, value, revision, lease });
        break;
      }
      case "delete": {
        const key = options.keys[step.key]!;
        const head = model.find(key);
        if (head === 0 || model.deletionCause(head) !== undefined) continue;
        revision = after(model, revision, step.sameRevision, key);
        for (const table of both) table.delete({ key, revision, cause: step.cause });
        break;
      }
      case "compact": {
        const answers = both.map((table) => table.compact(revision - step.back, step.recordsMax));
        assert.equal(answers[0], answers[1], "whether compaction is finished");
        break;
      }
      case "cursor": {
        const interval = intervalOf(options, step.interval);
        const [left, right] = both.map((table) => table.cursor(interval, step.ascending ? "ascending" : "descending"));
        cursors.unshift([() => left!.next(), () => right!.next()]);
        if (cursors.length > 8) cursors.pop();
        break;
      }
      case "next": {
        const cursor = cursors[step.cursor % Math.max(1, cursors.length)];
        if (cursor === undefined) continue;
        for (let i = 0; i < step.times; i++) sameRecord(tested, cursor[0](), model, cursor[1]());
        break;
      }
      case "count":
        assert.equal(tested.count(intervalOf(options, step.interval)), model.count(intervalOf(options, step.interval)), "count");
        break;
      case "seek":
        assert.equal(tested.seekEvent(revision - step.back), model.seekEvent(revision - step.back), "place of the event");
        break;
    }
    for (const table of both) table.publish(revision);
    sameSizes(tested, model);
  }
  sameEverything(options, tested, model);
}

/** Within one revision a key has one event. */
function after(model: Table, revision: number, same: boolean, key: Uint8Array): number {
  const head = model.find(key);
  return same && (head === 0 || model.revision(head) < revision) ? revision : revision + 1;
}

function sameSizes(tested: Table, model: Table): void {
  assert.equal(tested.keys, model.keys, "live keys");
  assert.equal(tested.dataBytes, model.dataBytes, "data bytes");
  assert.equal(tested.historyBytes, model.historyBytes, "history bytes");
  assert.equal(tested.firstEvent, model.firstEvent, "first event");
  assert.equal(tested.endEvent, model.endEvent, "end of events");
}

function sameEverything(options: AgreementOptions, tested: Table, model: Table): void {
  for (const key of options.keys) {
    let left = tested.find(key);
    let right = model.find(key);
    for (;;) {
      sameRecord(tested, left, model, right);
      if (left === 0) break;
      const at = model.revision(right) - 1;
      sameRecord(tested, tested.asOf(tested.find(key), at), model, model.asOf(model.find(key), at));
      left = tested.previous(left);
      right = model.previous(right);
    }
  }
  for (let position = model.firstEvent; position < model.endEvent; position++)
    sameRecord(tested, tested.event(position), model, model.event(position));
  for (const order of ["ascending", "descending"] as const) {
    const everything: KeyInterval = { start: new Uint8Array(0), end: undefined };
    const left = tested.cursor(everything, order);
    const right = model.cursor(everything, order);
    for (;;) {
      const ref = left.next();
      sameRecord(tested, ref, model, right.next());
      if (ref === 0) break;
    }
  }
  for (let i = -1; i < options.keys.length; i += 3) {
    assert.equal(tested.count(intervalOf(options, [i, -1])), model.count(intervalOf(options, [i, -1])), "count to the end");
  }
}

function sameRecord(tested: Table, left: RecordRef, model: Table, right: RecordRef): void {
  assert.equal(left === 0, right === 0, "whether there is a record");
  if (left === 0) return;
  assert.ok(compareKeys(tested.key(left), model.key(right)) === 0, "key");
  assert.ok(compareKeys(tested.value(left), model.value(right)) === 0, "value");
  assert.equal(tested.revision(left), model.revision(right), "revision");
  assert.equal(tested.createRevision(left), model.createRevision(right), "create revision");
  assert.equal(tested.version(left), model.version(right), "version");
  assert.equal(tested.lease(left), model.lease(right), "lease");
  assert.equal(tested.deletionCause(left), model.deletionCause(right), "cause");
}

/** -1 is open: an empty start, no end. */
function intervalOf(options: AgreementOptions, [start, end]: readonly [number, number]): KeyInterval {
  return { start: start < 0 ? new Uint8Array(0) : options.keys[start]!, end: end < 0 ? undefined : options.keys[end]! };
}

export function bytesOf(length: number, fill: number): Uint8Array {
  return new Uint8Array(length).fill(fill);
}

/** Keys that try the comparisons: prefixes of each other, zeros at the end, single bytes, a long common beginning, an order of bytes above 127. */
export function awkwardKeys(): Uint8Array[] {
  const texts = [
    "a",
    "a\0",
    "a\0\0",
    "a\0b",
    "\0",
    "\xff",
    "\xff\xff",
    "\x7f",
    "\x80",
    "12345678",
    "12345678\0",
    "123456789",
    "1234567",
    "1234567\0",
  ];
  for (let i = 0; i < 26; i++) texts.push(`service/region/${String.fromCharCode(97 + i)}`, `service/region/${i}/node`);
  texts.push("k".repeat(300), "k".repeat(301), `${"k".repeat(300)}\0`);
  return texts.map((text) => Uint8Array.from(text, (character) => character.charCodeAt(0)));
}
