/** The parts below a call: deadlines, message framing, inbox, budgets. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { grpcMessage } from "../test/raw-peer.ts";
import { Deadlines, type Timed } from "./deadlines.ts";
import { Inbox } from "./inbox.ts";
import { MemoryBudget } from "../http2/memory-budget.ts";
import { MessageReader } from "./message-framing.ts";
import type { RpcError } from "./status.ts";

test("Deadlines pass in their order, and those that were removed do not", async () => {
  const deadlines = new Deadlines({ keepsAlive: true });
  const passed: number[] = [];
  const startMs = performance.now();
  const make = (afterMs: number): Timed => ({
    deadlineAtMs: startMs + afterMs,
    heapIndex: -1,
    onDeadline: () => void passed.push(afterMs),
  });
  const times = Array.from({ length: 200 }, (_, i) => ((i * 7919) % 200) / 10);
  const made = times.map(make);
  for (const one of made) deadlines.add(one);
  for (const [i, one] of made.entries()) if (i % 3 === 0) deadlines.remove(one);
  for (const one of made) if (one.heapIndex === -1) deadlines.remove(one);
  await new Promise<void>((resolve) => deadlines.add({ ...make(25), onDeadline: resolve }));
  assert.deepEqual(
    passed,
    times.filter((_, i) => i % 3 !== 0).sort((a, b) => a - b),
  );
  assert.equal(deadlines.size, 0);
});

test("The heap of deadlines stays a heap under any additions and removals", () => {
  fc.assert(
    fc.property(fc.array(fc.record({ at: fc.nat(50), remove: fc.nat() }), { maxLength: 60 }), (steps) => {
      const deadlines = new Deadlines({ keepsAlive: false });
      const inside: Timed[] = [];
      for (const { at, remove } of steps) {
        const timed: Timed = { deadlineAtMs: performance.now() + 1e6 + at, heapIndex: -1, onDeadline() {} };
        deadlines.add(timed);
        inside.push(timed);
        if (remove % 3 === 0) deadlines.remove(inside.splice(remove % inside.length, 1)[0]!);
        const byPlace = inside.toSorted((a, b) => a.heapIndex - b.heapIndex);
        assert.deepEqual(
          byPlace.map((one) => one.heapIndex),
          byPlace.map((_, i) => i),
        );
        for (const [i, one] of byPlace.entries()) if (i > 0) assert.ok(byPlace[(i - 1) >> 1]!.deadlineAtMs <= one.deadlineAtMs);
      }
      deadlines.clear();
      assert.equal(deadlines.size, 0);
    }),
  );
});

interface Read {
  readonly messages: string[];
  readonly problem: RpcError | undefined;
  readonly frameBytes: number;
  readonly reader: MessageReader;
}

function read(
  chunks: readonly Buffer[],
  options: { readonly isCompressed?: boolean; readonly bytesMax?: number; readonly budget?: MemoryBudget } = {},
): Read {
  const messages: string[] = [];
  let frameBytes = 0;
  const sink = {
    onInflated: () => true,
    onMessage: (bytes: Uint8Array, inFrame: number): boolean => {
      messages.push(Buffer.from(bytes).toString("hex"));
      frameBytes += inFrame;
      return true;
    },
  };
  const reader = new MessageReader(sink, options.bytesMax ?? 100_000, options.budget ?? new MemoryBudget(1_000_000));
  reader.isCompressed = options.isCompressed ?? false;
  let problem: RpcError | undefined;
  for (const chunk of chunks) {
    // With something before and after, as frames lie in a socket's buffer; destroyed after the call.
    const source = Buffer.concat([Buffer.from("<<"), chunk, Buffer.from(">>")]);
    problem ??= reader.push(source, 2, 2 + chunk.length);
    source.fill(0);
  }
  return { messages, problem, frameBytes, reader };
}

test("Messages are the same however their bytes are cut into frames, compressed or not, and the memory of collecting them is given back", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.uint8Array({ maxLength: 50 }), fc.boolean()), { maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }),
      (messages, cuts) => {
        const bytes = Buffer.concat(messages.map(([message, zip]) => grpcMessage(zip ? gzipSync(message) : message, zip ? 1 : 0)));
        const chunks: Buffer[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const length = cuts[i % cuts.length]!;
          chunks.push(bytes.subarray(at, at + length));
          at += length;
        }
        const budget = new MemoryBudget(1_000_000);
        const result = read(chunks, { isCompressed: true, budget });
        assert.equal(result.problem, undefined);
        assert.deepEqual(
          result.messages,
          messages.map(([message]) => Buffer.from(message).toString("hex")),
        );
        assert.equal(result.reader.isBetweenMessages, true);
        assert.equal(budget.bytes, 0);
        assert.ok(result.frameBytes <= bytes.length);
      },
    ),
  );
});

for (const [name, chunk, code, options] of [
  ["an unknown flag", grpcMessage(Buffer.from("x"), 2), 13, {}],
  ["compression that was not announced", grpcMessage(gzipSync("x"), 1), 13, {}],
  ["compression that is malformed", grpcMessage(Buffer.from("no gzip"), 1), 13, { isCompressed: true }],
  ["a length above the limit", Buffer.from([0, 0, 0, 0, 11]), 8, { bytesMax: 10 }],
  ["inflated bytes above the limit", grpcMessage(gzipSync(Buffer.alloc(1000)), 1), 8, { isCompressed: true, bytesMax: 500 }],
  ["more than the budget", Buffer.concat([Buffer.from([0, 0, 0, 40, 0]), Buffer.alloc(5000)]), 8, { budget: new MemoryBudget(4500) }],
] as const) {
  test(`A reader refuses ${name}`, () => {
    const result = read([chunk], options);
    assert.equal(result.problem?.code, code);
    result.reader.release();
  });
}

test("An inbox gives messages in order to one reader, and grants their bytes when they are read", async () => {
  let granted = 0;
  const inbox = new Inbox<number>(
    (bytes) => (granted += bytes),
    () => {},
  );
  for (let i = 0; i < 3; i++) assert.equal(inbox.add(i, 10, 20), false);
  assert.equal(granted, 0);
  assert.deepEqual(await inbox.next(), { value: 0, done: false });
  assert.equal(granted, 10);
  await inbox.next();
  await inbox.next();
  const waiting = [inbox.next(), inbox.next()];
  assert.equal(inbox.add(3, 10, 20), true);
  inbox.end(undefined);
  assert.deepEqual(await Promise.all(waiting), [
    { value: 3, done: false },
    { value: undefined, done: true },
  ]);
  assert.deepEqual(await inbox.next(), { value: undefined, done: true });
  assert.equal(granted, 30);
});

test("An inbox that ends with an error drops what waits, and tells each reader", async () => {
  let granted = 0;
  const inbox = new Inbox<number>(
    (bytes) => (granted += bytes),
    () => {},
  );
  inbox.add(1, 10, 20);
  inbox.end(new Error("lost"));
  inbox.end(undefined);
  assert.equal(granted, 10);
  await assert.rejects(inbox.next(), /lost/);
  await assert.rejects(inbox.next(), /lost/);
  assert.equal(inbox.add(2, 10, 20), true);
});

test("Leaving an iteration early is told once, and grants what waits", async () => {
  let granted = 0;
  let abandoned = 0;
  const inbox = new Inbox<number>(
    (bytes) => (granted += bytes),
    () => abandoned++,
  );
  inbox.add(1, 10, 20);
  inbox.add(2, 10, 20);
  for await (const message of { [Symbol.asyncIterator]: () => inbox }) {
    assert.equal(message, 1);
    break;
  }
  assert.deepEqual([granted, abandoned], [20, 1]);
  await inbox.return();
  assert.equal(abandoned, 1);
});

test("Who waits for a message while the iteration is left is told that it is over", async () => {
  const inbox = new Inbox<number>(
    () => {},
    () => inbox.end(new Error("cancelled")),
  );
  const waiting = [inbox.next(), inbox.next()];
  await inbox.return();
  for (const next of waiting) assert.deepEqual(await next, { value: undefined, done: true });
});

test("A listener of an inbox is given what waits, then what comes, then the end", () => {
  const seen: unknown[] = [];
  let granted = 0;
  const inbox = new Inbox<number>(
    (bytes) => (granted += bytes),
    () => {},
  );
  inbox.add(1, 10, 20);
  inbox.listen({ onMessage: (message) => seen.push(message), onEnd: (error) => seen.push(error) });
  assert.equal(inbox.add(2, 10, 20), true);
  inbox.end(undefined);
  assert.deepEqual(seen, [1, 2, undefined]);
  assert.equal(granted, 10);
});

test("A budget never goes beyond its bound, nor beyond its parent's", () => {
  const parent = new MemoryBudget(100);
  const one = new MemoryBudget(80, parent);
  const other = new MemoryBudget(80, parent);
  assert.equal(one.take(80), true);
  assert.equal(one.take(1), false);
  assert.equal(other.take(30), false);
  assert.equal(other.bytes, 0);
  one.give(50);
  assert.equal(other.take(30), true);
  assert.equal(parent.bytes, 60);
});
