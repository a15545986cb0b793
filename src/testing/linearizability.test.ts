import assert from "node:assert/strict";
import { test } from "node:test";
import { CheckFailure, DataModel, type DataChange, type Operation, type OperationBody, type ReadValue } from "./history.ts";
import { checkKeys } from "./key-linearizability.ts";
import { checkLinearizability } from "./linearizability.ts";

const model = (changes: readonly (readonly [key: string, value: string | undefined])[]): DataModel => {
  const made = new DataModel();
  for (const [key, value] of changes) {
    const event =
      value === undefined
        ? ({ kind: "delete", key, value: "", cause: "request" } as const)
        : ({ kind: "put", key, value, cause: undefined } as const);
    made.apply({ revision: made.revision + 1, events: [event] });
  }
  return made;
};

interface Shape {
  readonly revision?: number;
  readonly outcome?: Operation["outcome"];
  readonly consistency?: Operation["consistency"];
  readonly node?: string;
}

const operation = (call: number, end: number, body: OperationBody, shape: Shape = {}): Operation => ({
  client: "c",
  node: shape.node ?? "n1#1",
  call,
  end: shape.outcome === "unknown" ? Number.POSITIVE_INFINITY : end,
  body,
  consistency: shape.consistency ?? "linearizable",
  outcome: shape.outcome ?? "ok",
  revision: shape.revision,
});

const put = (call: number, end: number, key: string, value: string, shape: Shape): Operation =>
  operation(call, end, { kind: "put", key, value, ttlMs: undefined }, shape);
const swap = (call: number, end: number, key: string, expected: string | undefined, value: string, swapped: boolean): Operation =>
  operation(call, end, { kind: "compareAndSwap", key, expected, value, swapped });
const get = (call: number, end: number, values: readonly ReadValue[], shape: Shape = {}): Operation =>
  operation(call, end, { kind: "get", keys: values.map((value) => value.key), values }, shape);

const both = (operations: readonly Operation[], data: DataModel): void => {
  checkLinearizability(operations, data);
  assert.equal(checkKeys(operations, { skip: () => false, stepsMax: 10_000 }), true);
};
const rejectedByRevision = (operations: readonly Operation[], data: DataModel, finding: RegExp): void => {
  assert.throws(
    () => checkLinearizability(operations, data),
    (error) => error instanceof CheckFailure && finding.test(error.message),
  );
};
const rejectedByKey = (operations: readonly Operation[]): void => {
  assert.throws(() => checkKeys(operations, { skip: () => false, stepsMax: 10_000 }), CheckFailure);
};

test("a history in which everything follows its revisions passes", () => {
  const data = model([
    ["a", "1"],
    ["b", "2"],
    ["a", "3"],
    ["b", undefined],
  ]);
  both(
    [
      put(0, 1, "a", "1", { revision: 2 }),
      put(1.5, 4, "b", "2", { revision: 3 }),
      get(2, 3, [data.at("a", 2), data.at("b", 2)]),
      put(4, 6, "a", "3", { revision: 4 }),
      get(5, 7, [data.at("a", 4)]),
      swap(5, 7, "a", "9", "never", false),
      operation(8, 9, { kind: "delete", key: "b", deleted: 1 }, { revision: 5 }),
      operation(10, 11, { kind: "range", prefix: "", limit: 0, values: [data.at("a", 5)], count: 1 }, { revision: 5 }),
      operation(10, 11, { kind: "delete", key: "b", deleted: 0 }, { revision: 5 }),
    ],
    data,
  );
});

test("a read that misses a write acknowledged before it is rejected", () => {
  const data = model([
    ["a", "1"],
    ["a", "2"],
  ]);
  const history = [put(0, 1, "a", "1", { revision: 2 }), put(2, 3, "a", "2", { revision: 3 }), get(4, 5, [data.at("a", 2)])];
  rejectedByRevision(history, data, /older than one that came before/);
  rejectedByKey(history);
});

test("two reads in a row that see a new value and then an old one are rejected, though the write is still open", () => {
  const data = model([
    ["a", "1"],
    ["a", "2"],
  ]);
  const history = [
    put(0, 1, "a", "1", { revision: 2 }),
    put(2, 9, "a", "2", { revision: 3 }),
    get(3, 4, [data.at("a", 3)]),
    get(5, 6, [data.at("a", 2)]),
  ];
  rejectedByRevision(history, data, /older/);
  rejectedByKey(history);
});

test("a read of many keys that mixes two moments is rejected", () => {
  const data = model([
    ["a", "1"],
    ["b", "2"],
    ["a", "3"],
  ]);
  rejectedByRevision(
    [
      put(0, 9, "a", "1", { revision: 2 }),
      put(0, 9, "b", "2", { revision: 3 }),
      put(0, 9, "a", "3", { revision: 4 }),
      get(1, 8, [data.at("a", 4), data.at("b", 2)]),
    ],
    data,
    /older/,
  );
});

test("an acknowledged write that is missing, or was given another's revision, is rejected", () => {
  const data = model([["a", "1"]]);
  rejectedByRevision([put(0, 1, "a", "1", { revision: 2 }), put(2, 3, "a", "2", { revision: 3 })], data, /never was/);
  rejectedByRevision([put(0, 1, "a", "1", { revision: 2 }), put(0, 3, "a", "2", { revision: 2 })], data, /not what revision 2 changed/);
});

test("a write that was refused and happened, and one that nobody asked for, are rejected", () => {
  const data = model([["a", "1"]]);
  rejectedByRevision([put(0, 1, "a", "1", { outcome: "refused" })], data, /a refused write is there/);
  rejectedByRevision([], data, /nobody asked for/);
});

test("a write of unknown outcome may have happened, also much later, or not", () => {
  const data = model([
    ["a", "2"],
    ["a", "1"],
  ]);
  const history = [
    put(0, 1, "a", "1", { outcome: "unknown" }),
    put(0, 1, "b", "lost", { outcome: "unknown" }),
    put(2, 3, "a", "2", { revision: 2 }),
    get(4, 5, [data.at("a", 2)]),
    get(6, 7, [data.at("a", 3)]),
  ];
  both(history, data);
});

test("a write that was applied twice is rejected", () => {
  const data = model([
    ["a", "1"],
    ["a", "2"],
    ["a", "1"],
  ]);
  rejectedByRevision([put(0, 9, "a", "1", { revision: 2 }), put(0, 9, "a", "2", { revision: 3 })], data, /a second time/);
});

test("compare and swap is held to the value before it, when it swapped and when it did not", () => {
  const data = model([
    ["a", "1"],
    ["a", "2"],
  ]);
  const first = put(0, 1, "a", "1", { revision: 2 });
  both([first, swap(2, 3, "a", "1", "2", true)], data);
  const wrong = [first, swap(2, 3, "a", undefined, "2", true)];
  rejectedByRevision(wrong, data, /value before was another/);
  rejectedByKey(wrong);
  const refusedWrongly = [first, swap(2, 3, "a", "1", "2", false)];
  rejectedByKey(refusedWrongly);
  rejectedByRevision([first, swap(2, 3, "a", "1", "3", false), put(4, 5, "a", "2", { revision: 3 })], data, /older/);
});

test("an eventual read may be old, but not older than what its node has answered before, and nothing that never was", () => {
  const data = model([
    ["a", "1"],
    ["a", "2"],
  ]);
  const writes = [put(0, 1, "a", "1", { revision: 2, node: "n2#1" }), put(2, 3, "a", "2", { revision: 3, node: "n2#1" })];
  both([...writes, get(4, 5, [data.at("a", 2)], { consistency: "eventual" })], data);
  rejectedByRevision([...writes, get(4, 5, [data.at("a", 2)], { consistency: "eventual", node: "n2#1" })], data, /older/);
  const never = { ...data.at("a", 3), value: "x" };
  rejectedByRevision([...writes, get(4, 5, [never], { consistency: "eventual" })], data, /never was/);
});

test("an expiry is right only for a key that was put with a time to live", () => {
  const data = new DataModel();
  data.apply({ revision: 2, events: [{ kind: "put", key: "a", value: "1", cause: undefined }] });
  data.apply({ revision: 3, events: [{ kind: "delete", key: "a", value: "", cause: "expiry" }] });
  const withTtl = operation(0, 1, { kind: "put", key: "a", value: "1", ttlMs: 5 }, { revision: 2 });
  checkLinearizability([withTtl], data);
  rejectedByRevision([put(0, 1, "a", "1", { revision: 2 })], data, /no lease for that/);
});

const transfer = (call: number, values: readonly [string, string], shape: Shape, answered = true): Operation =>
  operation(
    call,
    call + 1,
    {
      kind: "txn",
      prefix: "",
      txn: {
        compare: [{ key: "a", exists: true }],
        success: [
          { put: "a", value: values[0] },
          { put: "b", value: values[1] },
        ],
      },
      puts: values,
      ...(answered && shape.revision !== undefined
        ? {
            answer: {
              succeeded: true,
              revision: shape.revision,
              results: [0, 1].map(() => ({ kind: "put", before: undefined, revision: shape.revision as number }) as const),
            },
          }
        : {}),
    },
    shape,
  );
const puts = (revision: number, values: Readonly<Record<string, string>>): DataChange => ({
  revision,
  events: Object.entries(values).map(([key, value]) => ({ kind: "put", key, value, cause: undefined })),
});
const dataOf = (...changes: readonly DataChange[]): DataModel => {
  const made = new DataModel();
  for (const change of changes) made.apply(change);
  return made;
};

test("a transaction is what the model does at its revision, whole and once, whether its answer came or not", () => {
  const first = put(0, 1, "a", "1", { revision: 2 });
  const known = transfer(2, ["2", "3"], { revision: 3 });
  const unknown = transfer(2, ["2", "3"], { outcome: "unknown" });
  const whole = dataOf(puts(2, { a: "1" }), puts(3, { a: "2", b: "3" }));
  checkLinearizability([first, known], whole);
  checkLinearizability([first, unknown], whole);
  const half = dataOf(puts(2, { a: "1" }), puts(3, { a: "2" }));
  rejectedByRevision([first, known], half, /revision 3 changed/);
  rejectedByRevision([first, unknown], half, /revision 3 changed/);
  const twice = dataOf(puts(2, { a: "1" }), puts(3, { a: "2", b: "3" }), puts(4, { a: "2", b: "3" }));
  rejectedByRevision([first, unknown], twice, /second time/);
  rejectedByRevision([first, transfer(2, ["2", "3"], { outcome: "refused" })], whole, /refused write is there/);
  // Its comparison does not hold there.
  rejectedByRevision([transfer(0, ["2", "3"], { outcome: "unknown" })], dataOf(puts(2, { a: "2", b: "3" })), /revision 2 changed/);
});

test("an update takes the place of what its last try has seen, and of nothing else", () => {
  const update = (...tries: readonly { readonly value: string; readonly modRevision: number }[]): Operation =>
    operation(2, 3, { kind: "update", key: "a", tries: [...tries] }, { revision: 3 });
  const first = put(0, 1, "a", "1", { revision: 2 });
  const history = dataOf(puts(2, { a: "1" }), puts(3, { a: "2" }));
  checkLinearizability([first, update({ value: "x", modRevision: 0 }, { value: "2", modRevision: 2 })], history);
  rejectedByRevision([first, update({ value: "2", modRevision: 0 })], history, /had seen 0/);
});

const query = (call: number, value: ReadValue, parts: Partial<Operation>, at?: number): Operation => ({
  ...operation(call, call + 1, {
    kind: "query",
    how: "range",
    prefix: "a",
    wish: {},
    found: { values: [value], count: 1, more: false },
    ...(at === undefined ? {} : { at }),
  }),
  ...parts,
});

test("a read of the past is what was there, and what is refused of it is not there", () => {
  const history = dataOf(puts(2, { a: "1" }), puts(3, { a: "2" }));
  const writes = [put(0, 1, "a", "1", { revision: 2 }), put(2, 3, "a", "2", { revision: 3 })];
  checkLinearizability([...writes, query(4, history.at("a", 2), {}, 2)], history);
  rejectedByRevision([...writes, query(4, history.at("a", 3), {}, 2)], history, /a range as of 2/);
  const refused = (code: "COMPACTED" | "FUTURE_REVISION", at: number, revision: number): Operation =>
    query(4, history.at("a", 2), { outcome: "refused", told: { code, revision } }, at);
  checkLinearizability([...writes, refused("COMPACTED", 2, 3), refused("FUTURE_REVISION", 4, 3)], history);
  const compact = operation(4, 5, { kind: "compact", revision: 3 });
  checkLinearizability([...writes, compact, query(6, history.at("a", 3), {}, 3)], history);
  rejectedByRevision([...writes, compact, query(6, history.at("a", 2), {}, 2)], history, /after its compaction/);
  rejectedByRevision([...writes, refused("COMPACTED", 3, 3)], history, /which it is not/);
  rejectedByRevision([...writes, refused("FUTURE_REVISION", 3, 2)], history, /older/);
});

test("an eventual answer is no older than it may be, is not behind the revision it asks for, and not ahead of what anybody has applied", () => {
  const history = dataOf(puts(2, { a: "1" }), puts(3, { a: "2" }));
  const node = "n2#1";
  const writes = [put(0, 1, "a", "1", { revision: 2, node }), put(2, 3, "a", "2", { revision: 3, node })];
  const old = (parts: Partial<Operation>): Operation => query(10, history.at("a", 2), { consistency: "eventual", revision: 2, ...parts });
  checkLinearizability([...writes, old({}), old({ staleMsMax: 8 })], history);
  rejectedByRevision([...writes, old({ staleMsMax: 6 })], history, /older/);
  rejectedByRevision([...writes, old({ minRevision: 3 })], history, /behind the revision/);
  const late = new DataModel();
  late.now = () => 100;
  for (const change of [puts(2, { a: "1" }), puts(3, { a: "2" })]) late.apply(change);
  rejectedByRevision([query(10, history.at("a", 2), { revision: 2 })], late, /before anybody had applied it/);
});

test("the checker of keys gives up on a search that is too long, and says so", () => {
  const data = model([["a", "1"]]);
  const many = Array.from({ length: 30 }, (_, at) => put(0, 1, "a", `u${at}`, { outcome: "unknown" }));
  const history = [...many, get(2, 3, [data.at("a", 1)]), swap(4, 5, "a", undefined, "x", true), get(6, 7, [data.at("a", 2)])];
  assert.equal(checkKeys(history, { skip: () => false, stepsMax: 50 }), false);
});
