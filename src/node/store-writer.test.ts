/**
 * What a node writes to its record store, over lives drawn by chance: entries of puts, deletions, transactions and leases, history of few
 * revisions, batches cut by crashes. Whatever is read back is the state after one of the entries, whole, and none before the one that
 * was named last.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandBatch } from "../core/kv/command.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import { packTxn } from "../core/kv/txn-codec.ts";
import { BATCH_HEADER_BYTES } from "../core/batch.ts";
import { ENTRY_HEADER_BYTES } from "../core/raft/entry.ts";
import { EngineError } from "../errors.ts";
import { SimulatedCrash } from "../testing/sim-file-system.ts";
import type { SimFileSystem } from "../testing/sim-file-system.ts";
import type { DirectPort } from "../storage/test/fixture.ts";
import { entry, meta, newSim, openSim, seededRandom } from "../storage/test/fixture.ts";
import type { Storage } from "../storage/storage.ts";
import { loadStoredState, type StoredSoFar } from "./stored-state.ts";
import { StateStream } from "./state-stream.ts";
import { MachineRestoring, type NodeMachine } from "./node-machine.ts";
import { StoreSink } from "./store-sink.ts";
import { StoreWriter } from "./store-writer.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function emptyMachine(history: { readonly revisionsMax: number; readonly bytesMax: number }): NodeMachine {
  const table = createTable({ hashSeed: { low: 1, high: 2 } });
  return { kv: new KvMachine({ table, history, applied: { index: 1, term: 1, clockMs: 0 } }), table };
}

type Draw = (below: number) => number;

/** The state, and the accounts that are kept of it and are not in the store. */
function standingOf(kv: KvMachine): string {
  const { usedBytes, historyBytes, readableFrom, leases, revision } = kv;
  return [kv.stateHash(), usedBytes, historyBytes, readableFrom, leases, revision, kv.revisionFreeing(2_000), kv.nextDue()].join(" ");
}

/** One entry of a few commands. */
function drawnEntry(draw: Draw, clockMs: number): { readonly commands: Uint8Array; readonly count: number; readonly clockMs: number } {
  const batch = new CommandBatch();
  const key = (): Uint8Array => text(`key ${draw(25)}`);
  const count = 1 + draw(4);
  for (let left = count; left > 0; left--) {
    const what = draw(15);
    if (what < 5) batch.put(key(), new Uint8Array(draw(15) === 0 ? 3_000 : draw(60)).fill(draw(256)));
    else if (what < 6) batch.put(key(), text("with a lease"), { ttlMs: 200 + draw(3_000) });
    else if (what < 8) batch.deleteKey(key());
    else if (what === 12) batch.grantLease(String(1 + draw(4)), 500 + draw(2_000));
    else if (what === 13) batch.put(key(), text("of a lease"), { lease: String(1 + draw(4)) });
    else if (what === 14 && draw(2) === 0) batch.openSession({ window: 1 + draw(200), lifeMs: 1_000 + draw(2_000) });
    else if (what === 14) batch.freeHistory(draw(400));
    else if (what < 9) batch.deleteRange({ start: text(`key ${draw(25)}`), end: draw(2) === 0 ? undefined : text("key 2") });
    else {
      const keys = new Set(Array.from({ length: 2 + draw(6) }, () => `key ${draw(25)}`));
      const how = { lease: undefined, ttlMs: undefined, ignoreValue: false, ignoreLease: false, prevKv: false };
      const success = [...keys].map((name) => ({ kind: "put" as const, key: text(name), value: text(`txn ${draw(100)}`), ...how }));
      batch.txn(packTxn({ compare: [], success, failure: [] }));
    }
  }
  const record = batch.finish();
  return { commands: record.subarray(ENTRY_HEADER_BYTES + BATCH_HEADER_BYTES), count, clockMs };
}

interface Life {
  readonly fileSystem: SimFileSystem;
  /** By the index of the entry: what the state was after it. */
  readonly hashes: Map<number, string>;
  /** The last index that the log named. */
  named: number;
  storage: Storage;
  /** Rejects when power is lost: the disk answers nothing any more. */
  crash: Promise<never>;
  port: DirectPort;
  machine: NodeMachine;
  writer: StoreWriter;
  failure: EngineError | undefined;
  clockMs: number;
}

function createWriter(life: Life, stored: StoredSoFar | undefined, logBytesMin: number): StoreWriter {
  return new StoreWriter({
    storage: life.storage,
    kv: life.machine.kv,
    stored,
    logBytesMin,
    meta: () => ({ ...meta(life.machine.kv.appliedIndex, 1), clockMs: life.machine.kv.clockMs }),
    isPersisted: (index) => index <= life.storage.lastIndex,
    onNamed: async ({ lastIncludedIndex }) => {
      life.named = Math.max(life.named, lastIncludedIndex);
      await life.storage.discard(lastIncludedIndex);
    },
    pause: turn,
    onDone: () => {},
    onFailed: (error) => (life.failure = error),
  });
}

async function apply(life: Life, draw: Draw): Promise<void> {
  life.clockMs += draw(300);
  const made = drawnEntry(draw, life.clockMs);
  const index = life.machine.kv.appliedIndex + 1;
  await life.storage.append({ vote: undefined, entries: [entry(index, 1, 200)] });
  life.machine.kv.begin({ index, term: 1, ...made }, false);
  while (!life.machine.kv.step(3));
  life.hashes.set(index, standingOf(life.machine.kv));
  if (draw(3) > 0) life.machine.kv.maintain(draw(2) === 0 ? 5 : 1_000);
}

async function begin(fileSystem: SimFileSystem, seed: number, history: { revisionsMax: number; bytesMax: number }): Promise<Life> {
  const { storage, port } = await openSim(fileSystem, { seed, segmentBytes: 4096 });
  await storage.found(meta(1, 1));
  const machine = emptyMachine(history);
  const hashes = new Map([[1, standingOf(machine.kv)]]);
  const life: Life = {
    fileSystem,
    hashes,
    named: 0,
    storage,
    crash: crashOf(port),
    port,
    machine,
    writer: undefined!,
    failure: undefined,
    clockMs: 0,
  };
  life.writer = createWriter(life, undefined, 2_000 + (seed % 5) * 2_000);
  return life;
}

function crashOf(port: DirectPort): Promise<never> {
  const crash = port.whenCrashed.then((): never => {
    throw new SimulatedCrash();
  });
  crash.catch(() => {}); // Not every wait is for it.
  return crash;
}

/** Opens what a life has left behind, checks it, and puts it in place. */
async function reopen(life: Life, seed: number, context: string): Promise<void> {
  // The process before is gone, with all that it had begun.
  life.port.crashed = true;
  life.writer.stop();
  const { storage, port } = await openSim(life.fileSystem, { seed, segmentBytes: 4096 });
  life.port = port;
  life.storage = storage;
  life.crash = crashOf(port);
  const { store } = storage;
  if (store === undefined) {
    assert.equal(life.named, 0, `${context}: a store that was named is there`);
    throw new SimulatedCrash();
  }
  const { machine, stored } = await loadStoredState(store, seededRandom(seed), () => {});
  const index = machine.kv.appliedIndex;
  assert.ok(index >= life.named, `${context}: ${index} is behind ${life.named}, which was named`);
  assert.ok(index <= storage.lastIndex && index >= storage.firstIndex - 1, `${context}: ${index} is in the log`);
  assert.equal(standingOf(machine.kv), life.hashes.get(index), `${context}: the state after entry ${index}`);
  assert.equal(storage.recovered.log!.base.lastIncludedIndex, index);
  life.machine = { ...machine, stored };
  life.clockMs = machine.kv.clockMs;
  for (const known of life.hashes.keys()) if (known > index) life.hashes.delete(known);
  // What a real node would replay from its log; here other entries take its place.
  if (storage.lastIndex > index) await storage.append({ vote: undefined, entries: [entry(index + 1, 1, 30)] });
  if (storage.lastIndex > index) {
    machine.kv.begin({ index: index + 1, term: 1, clockMs: life.clockMs, commands: undefined, count: 0 }, false);
    while (!machine.kv.step(100));
    life.hashes.set(index + 1, standingOf(machine.kv));
  }
  life.writer = createWriter(life, stored, 2_000 + (seed % 5) * 2_000);
}

test("what is read back is the state after an entry, whole, whatever was lost with the power", async () => {
  let batches = 0;
  let namings = 0;
  for (let seed = 1; seed <= 80; seed++) {
    const random = seededRandom(seed);
    const draw: Draw = (below) => random.uint32() % below;
    const fileSystem = newSim(seed);
    const life = await begin(fileSystem, seed, { revisionsMax: [5, 20, 100][seed % 3]!, bytesMax: 1 << 20 });
    for (let opening = 0; opening < 4; opening++) {
      const context = `seed ${seed}, opening ${opening}`;
      if (draw(4) > 0) fileSystem.crashAfterOperations(40 + draw(400));
      try {
        for (let step = 0; step < 60; step++) {
          const before = life.writer.stored?.appliedIndex ?? 0;
          await Promise.race([apply(life, draw), life.crash]);
          life.writer.poll();
          if (draw(3) === 0) for (let wait = draw(12); wait > 0; wait--) await turn();
          if (draw(6) === 0) await Promise.race([life.writer.settled(), life.crash]);
          if ((life.writer.stored?.appliedIndex ?? 0) > before) batches++;
        }
        assert.equal(life.failure, undefined, context);
      } catch (error) {
        if (!(error instanceof SimulatedCrash)) throw new Error(context, { cause: error });
      }
      namings += life.named > 0 ? 1 : 0;
      if (draw(3) === 0) fileSystem.endProcess();
      else fileSystem.crash();
      try {
        await reopen(life, seed * 10 + opening, context);
      } catch (error) {
        if (error instanceof SimulatedCrash) break;
        throw error;
      }
    }
  }
  assert.ok(batches > 400 && namings > 100, `${batches} batches, ${namings} openings after a naming`);
});

test("a batch that meets a full disk is given up, and what was stored before stays; with room the next one holds", async () => {
  const random = seededRandom(5);
  const draw: Draw = (below) => random.uint32() % below;
  const fileSystem = newSim(5);
  const life = await begin(fileSystem, 5, { revisionsMax: 20, bytesMax: 1 << 20 });
  for (let step = 0; step < 30; step++) {
    await apply(life, draw);
    life.writer.poll();
    await life.writer.settled();
  }
  const before = life.writer.stored!.appliedIndex;
  assert.ok(before > 1);
  // A file's path is the one that it was opened under: a segment's head has another name until it is whole.
  fileSystem.fail({ operation: "write", errno: "ENOSPC", pathPart: "store-", times: 5 });
  fileSystem.fail({ operation: "create", errno: "ENOSPC", pathPart: "store-", times: 5 });
  let stuck = 0;
  for (let step = 0; step < 300 && life.writer.stored!.appliedIndex === before; step++) {
    await apply(life, draw);
    life.writer.poll();
    await life.writer.settled();
    stuck++;
  }
  assert.equal(life.failure, undefined);
  assert.ok(stuck > 3 && life.writer.stored!.appliedIndex > before, `${stuck} entries without a batch`);
  fileSystem.crash();
  await reopen(life, 6, "after a full disk");
});

test("a state streamed from one store restores into another, which takes the old one's place when it is named", async () => {
  const random = seededRandom(9);
  const draw: Draw = (below) => random.uint32() % below;
  const source = await begin(newSim(9), 9, { revisionsMax: 30, bytesMax: 1 << 20 });
  for (let step = 0; step < 80; step++) {
    await apply(source, draw);
    source.writer.poll();
    await source.writer.settled();
  }
  source.fileSystem.crash();
  await reopen(source, 10, "the source");
  const from = source.machine.kv;
  const snapshotMeta = { ...meta(from.appliedIndex, 1), clockMs: from.clockMs };
  const stream = new StateStream({ meta: snapshotMeta, source: from.snapshot(), pause: turn });
  const restoring = new MachineRestoring(seededRandom(3));
  let offset = 0;
  for (;;) {
    const bytes = await stream.read(offset, 700);
    if (bytes.byteLength === 0) break;
    assert.deepEqual(await stream.read(offset, 700), bytes, "what is not acknowledged is read again");
    assert.equal(restoring.write(bytes), undefined);
    offset += bytes.byteLength;
    stream.onAcked(offset);
  }
  assert.equal(stream.bytes, offset);
  await assert.rejects(stream.read(0, 700));
  stream.release();
  assert.equal(restoring.finish(snapshotMeta), undefined);

  const target = await begin(newSim(11), 11, { revisionsMax: 30, bytesMax: 1 << 20 });
  target.writer.poll();
  await target.writer.settled();
  const old = target.storage.store!.file;
  const sink = new StoreSink({ storage: target.storage, meta: snapshotMeta, settled: () => target.writer.settled(), pause: turn });
  await sink.prepare(restoring, () => {});
  // Before it is named, a crash finds the old store and removes the new one.
  const crashed = target.fileSystem.clone(seededRandom(4));
  crashed.crash();
  const { storage: unchanged } = await openSim(crashed, { segmentBytes: 4096 });
  assert.equal(unchanged.store!.file, old);
  assert.equal(unchanged.lastIndex, 1);
  await sink.commit({ resetLog: true });
  target.named = from.appliedIndex;
  target.hashes.set(from.appliedIndex, standingOf(from));
  for (let wait = 0; wait < 20; wait++) await turn();
  target.fileSystem.crash();
  await reopen(target, 12, "the target");
  assert.notEqual(target.storage.store!.file, old);
  assert.ok(!target.fileSystem.paths().some((path) => path.includes(old)), "the old store is gone");
  for (let step = 0; step < 40; step++) {
    await apply(target, draw);
    target.writer.poll();
    await target.writer.settled();
  }
  target.fileSystem.crash();
  await reopen(target, 13, "the target, gone on");
});
