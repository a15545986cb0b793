/** Watches against what a node may send, in whatever order and number. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import { CommandBatch } from "../core/kv/command.ts";
import { BATCH_PREFIX_BYTES } from "../core/batch.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import { EngineError } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import { createNodeClock } from "../host/node-clock.ts";
import type { FromNode, ToNode } from "../node/boundary.ts";
import { CallContext } from "./call-context.ts";
import { Calls } from "./calls.ts";
import type { WatchBatch } from "./client.ts";
import { resolveOptions } from "./engine-options.ts";
import { LocalWatches } from "./local-watches.ts";
import type { WatchDelivery } from "./watch-delivery.ts";

type Watched = FromNode & { readonly kind: "watched" };

interface Scene {
  readonly watches: LocalWatches;
  readonly posted: ToNode[];
  /** The event loop turns once; or the timers run, and it turns. */
  readonly tick: () => Promise<void>;
  readonly timers: () => Promise<void>;
}

/** Watches whose node is the test. */
function create(watchCreditBytes = 256 << 10): Scene {
  const posted: ToNode[] = [];
  let waiting: (() => void)[] = [];
  const clock: Clock = {
    ...createNodeClock(),
    setTimer: (_delayMs, run) => {
      waiting.push(run);
      return { cancel: () => {} };
    },
  };
  const { settings } = resolveOptions({ dataDir: "memory:" });
  const calls = new Calls({
    clock,
    pendingCallsMax: 10,
    requestBytesMax: 1_000_000,
    post: (messages) => void posted.push(...messages),
  });
  const watches = new LocalWatches(new CallContext({ calls, clock, settings: { ...settings, watchCreditBytes } }));
  const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const timers = (): Promise<void> => {
    const due = waiting;
    waiting = [];
    for (const run of due) run();
    return tick();
  };
  return { watches, posted, tick, timers };
}

/** What a hub tells a watch of everything, for one put after another. */
function putsOf(keys: readonly string[]): Watched[] {
  const encoder = new TextEncoder();
  return toldOf((batch) => {
    for (const key of keys) batch.put(encoder.encode(key), encoder.encode(`value of ${key}`));
  });
}

function toldOf(build: (batch: CommandBatch) => void, wanted: { readonly only?: "deletes"; readonly prevKv?: boolean } = {}): Watched[] {
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  const interval = { start: new Uint8Array(0), end: undefined };
  const rest = { fromRevision: undefined, prevKv: false, only: undefined, initial: false, onGap: "throw" } as const;
  machine.watches.add({ id: 1, interval, ...rest, ...wanted });
  machine.watches.credit(1, 1_000_000);
  const batch = new CommandBatch();
  build(batch);
  const { count } = batch;
  machine.begin({ index: 1, term: 1, clockMs: 0, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count }, false);
  while (!machine.step(100));
  return machine.watches.pump(1_000).map(({ ids, kind, revision, bytes, count }) => ({
    kind: "watched",
    watches: ids,
    what: kind,
    revision,
    bytes,
    count,
    reason: undefined,
    compactRevision: 0,
    more: false,
  }));
}

const progress = (watch: number, revision: number): Watched => ({
  kind: "watched",
  watches: [watch],
  what: "progress",
  revision,
  bytes: new Uint8Array(0),
  count: 0,
  reason: undefined,
  compactRevision: 0,
  more: false,
});

const credits = (posted: readonly ToNode[]): (ToNode & { readonly kind: "watchCredit" })[] =>
  posted.filter((message) => message.kind === "watchCredit");

test("what goes to very many watches comes in slices, and nothing overtakes it", async () => {
  const { watches, tick } = create();
  const seen = Array.from({ length: 1_000 }, (): number[] => []);
  const ids = seen.map((revisions) => {
    const id = watches.newId();
    const order = {
      interval: { start: new Uint8Array(0), end: undefined },
      fromRevision: undefined,
      initial: false,
      prevKv: false,
    } as const;
    watches.open(
      id,
      { ...order, only: undefined, onGap: "throw", progressMs: 0, creditBytes: 1_000 },
      {
        onRegistered: () => {},
        onRefused: () => assert.fail("nobody refuses it"),
        onDelivery: ({ watched }: WatchDelivery) => void revisions.push(watched.revision),
        end: () => {},
      },
    );
    return id;
  });
  const [first, second] = putsOf(["a", "b"]) as [Watched, Watched];
  watches.onWatched({ ...first, watches: Float64Array.from(ids) });
  const reached = seen.filter((revisions) => revisions.length > 0).length;
  assert.ok(reached > 0 && reached < 500, `${reached} at once`);
  watches.onWatched({ ...second, watches: [ids.at(-1)!, ids[0]!] });
  for (let i = 0; i < 10; i++) await tick();
  assert.deepEqual(seen[0], [2, 3]);
  assert.deepEqual(seen.at(-1), [2, 3]);
  assert.ok(seen.every((revisions) => revisions[0] === 2));
});

test("each reader of one delivery has objects of its own", async () => {
  const { watches } = create();
  const readers = [watches.watch("a"), watches.watch("a")].map((watch) => watch[Symbol.asyncIterator]());
  const [put] = putsOf(["a"]) as [Watched];
  watches.onWatched({ ...put, watches: [1, 2] });
  const batches = await Promise.all(readers.map((reader) => reader.next()));
  const values = batches.map(({ value }) => {
    const batch = value as WatchBatch;
    assert.ok(batch.kind === "events");
    const [event] = batch.events;
    assert.ok(event?.kind === "put" && event.kv.key === "a" && event.created);
    return event.kv.value;
  });
  values[0]!.fill(0);
  assert.equal(new TextDecoder().decode(values[1]), "value of a");
});

test("a deletion shows its key, its cause and what was there, to people and as JSON", async () => {
  const { watches } = create();
  const reader = watches.watch("a")[Symbol.asyncIterator]();
  const [deletion] = toldOf(
    (batch) => {
      batch.put(new TextEncoder().encode("a"), new TextEncoder().encode("v"));
      batch.deleteKey(new TextEncoder().encode("a"));
    },
    { only: "deletes", prevKv: true },
  ) as [Watched];
  watches.onWatched({ ...deletion, watches: [1] });
  const { value } = await reader.next();
  const batch = value as WatchBatch;
  assert.ok(batch.kind === "events");
  const kv = { key: "a", value: "v", createRevision: 2, modRevision: 2, version: 1 };
  assert.deepEqual(JSON.parse(JSON.stringify(batch)), {
    kind: "events",
    revision: 3,
    events: [{ kind: "delete", key: "a", cause: "request", prevKv: kv }],
  });
  assert.match(inspect(batch.events[0]), /key: 'a'.*cause: 'request'/s);
});

test("what was read goes back a little later, in one message for all watches; at once when it is half of what may come", async () => {
  const puts = putsOf(Array.from({ length: 12 }, () => "a"));
  const costBytes = puts[0]!.bytes.length + 64;
  const { watches, posted, tick, timers } = create(1_024);
  const readers = [watches.watch("a"), watches.watch("a"), watches.watch("a")].map((watch) => watch[Symbol.asyncIterator]());
  for (const put of puts) watches.onWatched({ ...put, watches: [1, 2, 3] });
  for (const reader of readers) await reader.next();
  await tick();
  assert.deepEqual(credits(posted), []);
  await timers();
  assert.deepEqual(credits(posted), [{ kind: "watchCredit", watches: [1, 2, 3], bytes: readers.map(() => costBytes) }]);
  let read = 0;
  while (credits(posted).length === 1) {
    await readers[1]!.next();
    read += costBytes;
    await tick();
  }
  assert.ok(read >= 512 && read < 512 + costBytes);
  assert.deepEqual(credits(posted)[1], { kind: "watchCredit", watches: [2], bytes: [read] });
  await timers();
  assert.equal(credits(posted).length, 2, "nothing is paid twice");
});

test("progress that nobody reads does not pile up, and is paid back", async () => {
  const { watches, posted, timers } = create();
  const watch = watches.watch("a");
  for (let revision = 5; revision <= 100; revision++) watches.onWatched(progress(1, revision));
  const reader = watch[Symbol.asyncIterator]();
  assert.deepEqual(await reader.next(), { done: false, value: { kind: "progress", revision: 100 } });
  await timers();
  const paid = credits(posted).reduce((sum, { bytes }) => sum + Array.from(bytes).reduce((left, right) => left + right, 0), 0);
  assert.equal(paid, 96 * 64);
});

test("a reset that began anew holds what came last, whole", async () => {
  const { watches } = create();
  const reader = watches.watch({ all: true }, { initial: true })[Symbol.asyncIterator]();
  const machine = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }) });
  const batch = new CommandBatch();
  for (const key of ["a", "b", "c"]) batch.put(new TextEncoder().encode(key), new Uint8Array(10));
  machine.begin({ index: 1, term: 1, clockMs: 0, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count: 3 }, false);
  while (!machine.step(100));
  const part = (start: string, end: string | undefined, revision: number, more: boolean): Watched => {
    const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
    const interval = { start: bytes(start), end: end === undefined ? undefined : bytes(end) };
    const all = { limit: 0, order: "ascending", sortBy: "key", keysOnly: false, countOnly: false, revision: undefined } as const;
    const reading = machine.range({ interval, ...all });
    while (!reading.step(10));
    const found = reading.result();
    assert.ok(!("refused" in found));
    return { ...progress(1, revision), what: "reset", bytes: found.kvs, count: found.returned, reason: "initial", more };
  };
  watches.onWatched(part("a", "c", 7, true));
  watches.onWatched(part("a", "b", 9, true));
  watches.onWatched(part("b", undefined, 9, false));
  const { value } = await reader.next();
  const reset = value as WatchBatch;
  assert.ok(reset.kind === "reset" && reset.revision === 9 && reset.reason === "initial");
  assert.deepEqual(
    reset.kvs.map(({ key }) => key),
    ["a", "b", "c"],
  );
});

test("what was on the way when the engine ended is read before its error", async () => {
  const { watches } = create();
  const all = Array.from({ length: 600 }, () => watches.watch("a"));
  const [put] = putsOf(["a"]) as [Watched];
  watches.onWatched({ ...put, watches: Float64Array.from(all, (_, i) => i + 1) });
  watches.end(new EngineError("CLOSED", "the engine is closed", {}));
  const last = all.at(-1)![Symbol.asyncIterator]();
  assert.equal((await last.next()).done, false);
  await assert.rejects(last.next(), { code: "CLOSED" });
  await assert.rejects(last.next(), { code: "CLOSED" });
});

test("calls of next() that wait are answered in turn, and all of them at the end", async () => {
  const { watches } = create();
  const reader = watches.watch("a")[Symbol.asyncIterator]();
  const waiting = [reader.next(), reader.next(), reader.next(), reader.next()];
  for (const put of putsOf(["a", "a"])) watches.onWatched({ ...put, watches: [1] });
  watches.onWatched({ ...progress(1, 9), what: "ended", compactRevision: 12 });
  const settled = await Promise.allSettled(waiting);
  assert.deepEqual(
    settled.map((result) =>
      result.status === "fulfilled" ? (result.value.value as WatchBatch).revision : (result.reason as EngineError).code,
    ),
    [2, 3, "COMPACTED", "COMPACTED"],
  );
});
