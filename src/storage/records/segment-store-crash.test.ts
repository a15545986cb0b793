/**
 * Power lost, files cut and bits flipped in the default store. After each the store holds the state after some number of its batches: no
 * fewer than were synced, none that was never made, none by half; or it is refused as corrupt, with file and offset.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { EngineError } from "../../errors.ts";
import { SimulatedCrash } from "../../testing/sim-file-system.ts";
import type { SectorFate, SimFileSystem } from "../../testing/sim-file-system.ts";
import { newSim, seededRandom } from "../test/fixture.ts";
import { numberKey } from "./record-index.ts";
import { SegmentStore } from "./segment-store.ts";
import { openSegmentStore } from "./segment-store-opening.ts";
import { BatchReader, packBatch } from "./store-format.ts";
import type { RecordBatch } from "./record-store.ts";
import type { SegmentStoreOptions } from "./store-segment.ts";

const DIRECTORY = "/data/store";

function optionsOf(fileSystem: SimFileSystem, segmentBytes = 4096): SegmentStoreOptions {
  return { fileSystem, directory: DIRECTORY, segmentBytes, random: seededRandom(11) };
}

function contents(store: SegmentStore): string {
  const reading = store.openReading({ start: new Uint8Array(0) });
  const reader = new BatchReader();
  for (let page = reading.read(10_000); page !== undefined; page = reading.read(10_000)) assert.equal(reader.add(page), undefined);
  return describeRecords(reader.puts);
}

function describeRecords(records: Iterable<readonly [Uint8Array, Uint8Array]>): string {
  return [...records].map(([key, value]) => `${Buffer.from(key).toString("hex")}=${value.byteLength}:${value[0] ?? ""}`).join(" ");
}

/** What the store should hold after each of its batches. */
class Model {
  readonly #records = new Map<string, readonly [Uint8Array, Uint8Array]>();
  readonly states: string[] = [""];
  begun = 0;
  written = 0;
  synced = 0;

  begin({ puts, deletes }: RecordBatch): void {
    for (const key of deletes) this.#records.delete(Buffer.from(key).toString("hex"));
    for (const [key, value] of puts) this.#records.set(Buffer.from(key).toString("hex"), [key, value]);
    const sorted = [...this.#records].sort(([left], [right]) => (left < right ? -1 : 1));
    this.states.push(describeRecords(sorted.map(([, record]) => record)));
    this.begun = this.states.length - 1;
  }

  /** As of where the life went on after a crash. */
  check(found: string, context: string): void {
    const possible = this.states.slice(this.synced);
    assert.ok(possible.includes(found), `${context}: not one of the ${possible.length} last states: ${found.slice(0, 300)}`);
  }
}

/** A small life: appends in the order of revisions, deletions of older ones, a name that is replaced, syncs now and then, rewriting. */
function live(store: SegmentStore, model: Model, about: { readonly seed: number; readonly batches: number }): void {
  const random = seededRandom(about.seed);
  const draw = (below: number): number => random.uint32() % below;
  let revision = 1;
  const alive: Uint8Array[] = [];
  for (let batch = 0; batch < about.batches; batch++) {
    const puts: [Uint8Array, Uint8Array][] = [[new Uint8Array([109, 98]), new Uint8Array(60).fill(batch)]];
    const deletes: Uint8Array[] = [];
    for (let left = draw(5); left >= 0; left--) {
      const key = numberKey(114, revision++, 0);
      puts.push([key, new Uint8Array(draw(30) === 0 ? 5_000 : draw(300)).fill(revision)]);
      alive.push(key);
    }
    while (alive.length > 12) deletes.push(...alive.splice(draw(alive.length - 5), 1));
    const kept = deletes.filter((key) => !puts.some(([other]) => Buffer.from(other).equals(key)));
    alive.push(...deletes.filter((key) => !kept.includes(key)));
    const change = { puts, deletes: kept };
    model.begin(change);
    for (const { part, last } of packBatch(change)) store.write(part, last);
    model.written = model.begun;
    if (draw(6) === 0) {
      store.sync();
      model.synced = model.written;
    }
    if (draw(12) === 0) store.squeeze();
    for (let left = draw(4); left > 0; left--) store.background(draw(2) === 0);
  }
}

function run(fileSystem: SimFileSystem, about: { readonly seed: number; readonly batches: number }): Model {
  const model = new Model();
  try {
    const store = SegmentStore.begin(optionsOf(fileSystem));
    live(store, model, about);
  } catch (error) {
    if (!(error instanceof SimulatedCrash)) throw error;
  }
  return model;
}

function opened(fileSystem: SimFileSystem, context: string): SegmentStore {
  try {
    return openSegmentStore(optionsOf(fileSystem));
  } catch (error) {
    if (error instanceof SimulatedCrash) throw error;
    return assert.fail(`${context}: ${(error as Error).stack}`);
  }
}

const LIFE = { seed: 3, batches: 60 };

function operationsOfLife(seed: number): { readonly operations: number; readonly first: number } {
  const fileSystem = newSim();
  SegmentStore.begin(optionsOf(fileSystem));
  const first = fileSystem.operations;
  const whole = newSim();
  const model = run(whole, { ...LIFE, seed });
  assert.equal(model.written, LIFE.batches);
  return { operations: whole.operations, first };
}

describe("power lost in a store", () => {
  test("in a life without a crash segments are rewritten and go", () => {
    const fileSystem = newSim();
    const model = run(fileSystem, { seed: 3, batches: 400 });
    const segments = fileSystem.paths().filter((path) => path.endsWith(".records"));
    assert.ok(segments.length < 12, `${segments.length} segments`);
    assert.ok(!segments[0]!.includes("000000000001"));
    assert.equal(contents(opened(fileSystem, "reopening")), model.states.at(-1));
  });

  for (const seed of [1, 2, 3]) {
    test(`at every file operation, seed ${seed}`, () => {
      const { operations, first } = operationsOfLife(seed);
      for (let at = first; at < operations; at++) {
        const fileSystem = newSim(seed * 1000 + at);
        fileSystem.crashAfterOperations(at);
        const model = run(fileSystem, { ...LIFE, seed });
        fileSystem.crash();
        model.check(contents(opened(fileSystem, `crash at ${at}`)), `crash at ${at}`);
      }
    });
  }

  test("in opening too, again and again, and after it the store goes on", () => {
    const { operations, first } = operationsOfLife(5);
    for (let at = first; at < operations; at += 3) {
      const fileSystem = newSim(500 + at);
      fileSystem.crashAfterOperations(at);
      const model = run(fileSystem, { ...LIFE, seed: 5 });
      for (let again = 0; again < 8; again++) {
        fileSystem.crash();
        fileSystem.crashAfterOperations(again);
        try {
          openSegmentStore(optionsOf(fileSystem));
        } catch (error) {
          assert.ok(error instanceof SimulatedCrash, `crash at ${at}, then at ${again} of opening: ${String(error)}`);
        }
      }
      fileSystem.crash();
      const store = opened(fileSystem, `crash at ${at}`);
      const before = contents(store);
      model.check(before, `crash at ${at}`);
      for (const { part, last } of packBatch({ puts: [[new Uint8Array([1]), new Uint8Array(9)]], deletes: [] })) store.write(part, last);
      store.sync();
      fileSystem.crash();
      assert.equal(contents(opened(fileSystem, "after going on")), `01=9:0${before === "" ? "" : " "}${before}`);
    }
  });

  test("after a process that died and left its writes in the cache, what was seen once stays", () => {
    const { operations, first } = operationsOfLife(7);
    for (let at = first; at < operations; at += 2) {
      const fileSystem = newSim(900 + at);
      fileSystem.crashAfterOperations(at);
      const model = run(fileSystem, { ...LIFE, seed: 7 });
      fileSystem.endProcess();
      const seen = contents(opened(fileSystem, `end at ${at}`));
      model.check(seen, `end at ${at}`);
      fileSystem.crash();
      assert.equal(contents(opened(fileSystem, `crash after ${at}`)), seen);
    }
  });

  test("in lives of several openings, drawn from a hundred seeds", () => {
    for (let seed = 0; seed < 100; seed++) {
      const fileSystem = newSim(seed);
      const model = new Model();
      let store: SegmentStore | undefined;
      SegmentStore.begin(optionsOf(fileSystem));
      const random = seededRandom(seed ^ 0x77);
      for (let life = 0; life < 4; life++) {
        if (random.uint32() % 4 > 0) fileSystem.crashAfterOperations(random.uint32() % 150);
        const own = new Model();
        try {
          store = openSegmentStore(optionsOf(fileSystem));
          assert.equal(store.records > 0, contents(store) !== "");
          live(store, own, { seed: seed * 10 + life, batches: 25 });
          if (random.uint32() % 2 === 0) store.close();
        } catch (error) {
          if (!(error instanceof SimulatedCrash)) throw new Error(`seed ${seed}, life ${life}`, { cause: error });
        }
        if (random.uint32() % 3 === 0) fileSystem.endProcess();
        else fileSystem.crash();
        const found = contents(opened(fileSystem, `seed ${seed}, life ${life}`));
        // Lives write the same names, so that only the first is compared whole; the others must open and agree with their own count.
        if (life === 0) own.check(found, `seed ${seed}`);
      }
      assert.equal(model.begun, 0);
    }
  });

  test("with any subset of the unsynced sectors of the last batches lost leaves whole batches", () => {
    const fates: readonly SectorFate[] = ["old", "new", "garbage"];
    const fileSystem = newSim();
    const model = new Model();
    const store = SegmentStore.begin(optionsOf(fileSystem, 65_536));
    const write = (change: RecordBatch): void => {
      model.begin(change);
      for (const { part, last } of packBatch(change)) store.write(part, last);
    };
    write({ puts: [[numberKey(114, 1, 0), new Uint8Array(100).fill(1)]], deletes: [] });
    store.sync();
    model.synced = 1;
    write({ puts: [[numberKey(114, 2, 0), new Uint8Array(700).fill(2)]], deletes: [numberKey(114, 1, 0)] });
    write({ puts: [[numberKey(114, 3, 0), new Uint8Array(20).fill(3)]], deletes: [] });
    write({ puts: [[numberKey(114, 4, 0), new Uint8Array(900).fill(4)]], deletes: [numberKey(114, 3, 0)] });
    const sectors = fileSystem.unsyncedSectors;
    assert.equal(sectors, 5);
    const seen = new Set<string>();
    for (let combination = 0; combination < 3 ** sectors; combination++) {
      const copy = fileSystem.clone();
      const chosen = Array.from({ length: sectors }, (_, at) => fates[Math.floor(combination / 3 ** at) % 3]!);
      copy.crash({ sector: (_path, _sector, unsynced) => chosen[unsynced]! });
      const found = contents(openSegmentStore(optionsOf(copy, 65_536)));
      model.check(found, chosen.join());
      seen.add(found);
    }
    assert.equal(seen.size, 4);
  });
});

describe("a store's file", () => {
  /** Batches of about a sector, the first of them synced. */
  function written(synced: number, unsynced: number): { readonly fileSystem: SimFileSystem; readonly path: string; readonly model: Model } {
    const fileSystem = newSim();
    const model = new Model();
    const store = SegmentStore.begin(optionsOf(fileSystem, 65_536));
    for (let batch = 1; batch <= synced + unsynced; batch++) {
      const change = { puts: [[numberKey(114, batch, 0), new Uint8Array(50 + batch * 40).fill(batch)] as const], deletes: [] };
      model.begin(change);
      for (const { part, last } of packBatch(change)) store.write(part, last);
      if (batch === synced) {
        store.sync();
        model.synced = batch;
      }
    }
    return { fileSystem, path: store.end.path, model };
  }

  test("cut at every byte of its last batches leaves whole batches, or is corrupt", () => {
    const { fileSystem, path, model } = written(3, 5);
    const length = fileSystem.contents(path).byteLength;
    for (let cut = 512; cut <= length; cut++) {
      const copy = fileSystem.clone();
      copy.truncate(path, cut);
      let found: string;
      try {
        found = contents(openSegmentStore(optionsOf(copy, 65_536)));
      } catch (error) {
        assert.fail(`cut at ${cut}: ${String(error)}`);
      }
      // Nothing is left that would say what was synced: that the caller has to know.
      assert.ok(model.states.includes(found), `cut at ${cut}`);
      if (cut >= 512 * 5) model.check(found, `cut at ${cut}`);
    }
  });

  test("with any bit flipped is corrupt where it was synced, at that file and offset, and loses unsynced batches otherwise", () => {
    const { fileSystem, path, model } = written(3, 4);
    const length = fileSystem.contents(path).byteLength;
    let corrupt = 0;
    for (let at = 0; at < length; at += 7) {
      const copy = fileSystem.clone();
      copy.flipBit(path, at, at % 8);
      const group = Math.floor(at / 512);
      try {
        const found = contents(openSegmentStore(optionsOf(copy, 65_536)));
        model.check(found, `byte ${at}`);
        assert.ok(group > 3 || found === model.states.at(-1), `byte ${at} was synced`);
      } catch (error) {
        assert.ok(EngineError.is(error, "CORRUPT"), `byte ${at}: ${String(error)}`);
        assert.equal(error.details.path, path);
        assert.equal(error.details.offset, group * 512);
        assert.ok(group <= 3, `byte ${at}`);
        corrupt++;
      }
    }
    assert.ok(corrupt > 50);
  });

  test("that is missing, or cut, before the last is corrupt", () => {
    const fileSystem = newSim();
    run(fileSystem, { seed: 4, batches: 40 });
    const segments = fileSystem.paths().filter((path) => path.endsWith(".records"));
    assert.ok(segments.length > 1);
    for (const [at, path] of segments.entries()) {
      if (at === segments.length - 1) continue;
      const missing = fileSystem.clone();
      missing.remove(path);
      assert.throws(
        () => openSegmentStore(optionsOf(missing)),
        (error) => EngineError.is(error, "CORRUPT"),
        path,
      );
      const cut = fileSystem.clone();
      cut.truncate(path, fileSystem.contents(path).byteLength - 600);
      assert.throws(
        () => openSegmentStore(optionsOf(cut)),
        (error) => EngineError.is(error, "CORRUPT") && error.details.path === path,
        path,
      );
    }
  });

  test("cut or overwritten under a running store is corrupt where it is read", () => {
    for (const harm of ["cut", "overwrite"] as const) {
      const { fileSystem } = written(6, 0);
      const store = openSegmentStore(optionsOf(fileSystem, 65_536));
      // What was not known to be on the disk lies in a new file.
      const { path } = store.end;
      if (harm === "cut") fileSystem.truncate(path, 512 * 4);
      else fileSystem.flipBit(path, 512 * 4 + 120, 3);
      assert.throws(
        () => store.get(numberKey(114, 4, 0)),
        (error) => EngineError.is(error, "CORRUPT") && error.details.path === path && error.details.offset >= 512 * 4,
        harm,
      );
      assert.equal(store.get(numberKey(114, 1, 0))?.byteLength, 90);
    }
  });

  test("that has no room for a batch keeps what it had, and goes on when there is room again", () => {
    for (let free = 0; free < 6; free++) {
      const fileSystem = newSim();
      const store = SegmentStore.begin(optionsOf(fileSystem));
      const put = (at: number, bytes: number): void => {
        for (const { part, last } of packBatch({ puts: [[numberKey(114, at, 0), new Uint8Array(bytes).fill(at)]], deletes: [] })) {
          store.write(part, last);
        }
      };
      put(1, 300);
      fileSystem.limit(free * 512);
      const large = Array.from({ length: 9 }, (_, at) => [numberKey(114, 10 + at, 0), new Uint8Array(100_000).fill(at)] as const);
      assert.throws(() => {
        for (const { part, last } of packBatch({ puts: large, deletes: [numberKey(114, 1, 0)] })) store.write(part, last);
      });
      assert.equal(store.records, 1);
      fileSystem.clearFaults();
      put(2, 200);
      const expected = "72000000000000000100000000=300:1 72000000000000000200000000=200:2";
      assert.equal(contents(store), expected);
      store.sync();
      fileSystem.crash();
      assert.equal(contents(opened(fileSystem, `${free} sectors free`)), expected);
    }
  });
});
