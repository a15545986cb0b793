/**
 * A scripted life of a disk, with power lost at every one of its file operations. After each crash the recovered state has to be that after
 * some number of the writes: all that were acknowledged, none that was never made, no half of one.
 */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Entry } from "../core/raft/entry.ts";
import type { Vote } from "../core/raft/ready.ts";
import type { FileHandle } from "../host/file-system.ts";
import type { Random } from "../host/random.ts";
import { SimFileSystem, SimulatedCrash } from "../testing/sim-file-system.ts";
import type { LogWrite, Storage } from "./storage.ts";
import type { DirectPort } from "./test/fixture.ts";
import { entry, meta, newSim, openSim, plain, readAll, seededRandom } from "./test/fixture.ts";

interface ModelState {
  readonly vote: Vote;
  readonly base: { readonly index: number; readonly term: number } | undefined;
  readonly snapshot: string | undefined;
  /** From index 1 on, or from behind the snapshot that reset the log. */
  readonly entries: readonly Entry[];
}

const SEGMENT_BYTES = 4096;

/** The states that writes lead through, in order, and how far they are acknowledged. */
class Model {
  readonly states: ModelState[] = [{ vote: { term: 0, votedFor: undefined }, base: undefined, snapshot: undefined, entries: [] }];
  readonly identities: (string | undefined)[] = [undefined];
  acknowledged = 0;
  identityAcknowledged = 0;

  get last(): ModelState {
    return this.states[this.states.length - 1]!;
  }

  /** Notes what is about to be written; call what it answers when that is acknowledged. */
  begin(change: Partial<ModelState>): () => void {
    const at = this.states.push({ ...this.last, ...change }) - 1;
    return () => {
      this.acknowledged = Math.max(this.acknowledged, at);
    };
  }

  async append(storage: Storage, write: LogWrite): Promise<void> {
    const first = write.entries[0]?.index ?? Infinity;
    const kept = this.last.entries.filter((one) => one.index < first);
    const acknowledge = this.begin({ vote: write.vote ?? this.last.vote, entries: [...kept, ...write.entries] });
    await storage.append(write);
    acknowledge();
  }

  async snapshot(storage: Storage, options: { index: number; term: number; bytes: number; resetLog: boolean }): Promise<void> {
    const { index, term, resetLog } = options;
    const writer = await storage.createSnapshot(meta(index, term));
    const stream = snapshotBytes(options.bytes, index);
    for (let at = 0; at < stream.byteLength; at += 100_000) await writer.write(stream.subarray(at, at + 100_000));
    const acknowledge = this.begin({
      base: { index, term },
      snapshot: Buffer.from(stream).toString("base64"),
      ...(resetLog ? { entries: [] } : {}),
    });
    await writer.commit({ resetLog });
    acknowledge();
  }

  async saveIdentity(storage: Storage, identity: string): Promise<void> {
    const at = this.identities.push(identity) - 1;
    await storage.saveIdentity(Buffer.from(identity));
    this.identityAcknowledged = at;
  }
}

function snapshotBytes(bytes: number, salt: number): Uint8Array {
  const stream = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at++) stream[at] = (at * 13 + salt) & 0xff;
  return stream;
}

type Reopen = () => Promise<Storage>;

/** Everything a disk is asked for, in small. */
async function life(model: Model, reopen: Reopen): Promise<void> {
  let storage = await reopen();
  await model.saveIdentity(storage, "identity A");
  const acknowledgeFounding = model.begin({ base: { index: 0, term: 0 } });
  await storage.found(meta());
  acknowledgeFounding();
  await model.append(storage, { vote: { term: 1, votedFor: "00000000000000aa" }, entries: [] });
  for (let index = 1; index <= 8; index++) await model.append(storage, { vote: undefined, entries: [entry(index, 1, 300)] });
  await Promise.all([
    model.append(storage, { vote: undefined, entries: [entry(9, 1, 300), entry(10, 1, 700)] }),
    model.append(storage, { vote: { term: 2, votedFor: undefined }, entries: [entry(11, 1, 10)] }),
    model.append(storage, { vote: undefined, entries: [entry(8, 2, 500), entry(9, 2, 20)] }),
  ]);
  await model.snapshot(storage, { index: 6, term: 1, bytes: 700, resetLog: false });
  await storage.discard(6);
  await model.append(storage, { vote: undefined, entries: [entry(10, 2, 300)] });
  await storage.close();

  storage = await reopen();
  const held = storage.openSnapshot();
  await model.append(storage, { vote: { term: 3, votedFor: "00000000000000bb" }, entries: [entry(10, 3, 9000), entry(11, 3, 40)] });
  for (let index = 12; index <= 18; index++) await model.append(storage, { vote: undefined, entries: [entry(index, 3, 600)] });
  await model.snapshot(storage, { index: 15, term: 3, bytes: 1, resetLog: false });
  held?.release();
  await storage.discard(12);
  await model.append(storage, { vote: undefined, entries: [entry(17, 4, 100)] });
  await model.saveIdentity(storage, "identity B, which is longer than the other one");
  await model.snapshot(storage, { index: 40, term: 6, bytes: 300_000, resetLog: true });
  await model.append(storage, { vote: { term: 7, votedFor: undefined }, entries: [entry(41, 7, 100), entry(42, 7, 2500)] });
  const given = await storage.createSnapshot(meta(41, 7));
  await given.write(snapshotBytes(400_000, 1));
  await given.abandon();
  await storage.close();

  storage = await reopen();
  await model.append(storage, { vote: undefined, entries: [entry(43, 7, 100)] });
  await model.snapshot(storage, { index: 43, term: 7, bytes: 600, resetLog: false });
  await storage.discard(43);
  await model.append(storage, { vote: undefined, entries: [entry(44, 8, 100)] });
  await storage.close();
}

/** A life drawn from a seed: conflicting suffixes, writes at once, snapshots with and without a reset, restarts. */
async function drawnLife(model: Model, reopen: Reopen, random: Random): Promise<void> {
  const draw = (below: number): number => random.uint32() % below;
  let storage = await reopen();
  const acknowledgeFounding = model.begin({ base: { index: 0, term: 0 } });
  await storage.found(meta());
  acknowledgeFounding();
  let term = 1;
  for (let step = 0; step < 40; step++) {
    const base = model.last.base!;
    const last = model.last.entries.at(-1) ?? { index: base.index, term: base.term };
    const what = draw(12);
    if (what < 7) {
      const writes: Promise<void>[] = [];
      for (let write = 0; write <= draw(3); write++) {
        const end = model.last.entries.at(-1)?.index ?? base.index;
        const replaces = draw(4) === 0 && end > base.index;
        if (replaces || draw(5) === 0) term++;
        const first = replaces ? end - draw(Math.min(5, end - base.index)) : end + 1;
        const entries = Array.from({ length: draw(4) }, (_, at) => entry(first + at, term, draw(20) === 0 ? 5000 : draw(700), step));
        const vote = draw(3) === 0 ? { term, votedFor: draw(2) === 0 ? undefined : "00000000000000aa" } : undefined;
        writes.push(model.append(storage, { vote, entries }));
      }
      await Promise.all(writes);
    } else if (what === 7 && last.index > base.index) {
      const index = base.index + 1 + draw(last.index - base.index);
      const at = model.last.entries.find((one) => one.index === index)!;
      await model.snapshot(storage, { index, term: at.term, bytes: draw(900), resetLog: false });
    } else if (what === 8 && draw(3) === 0) {
      await model.snapshot(storage, { index: last.index + 1 + draw(9), term: ++term, bytes: draw(900), resetLog: true });
    } else if (what === 9) {
      await storage.discard(draw(last.index + 1));
    } else if (what === 10) {
      await model.saveIdentity(storage, `identity ${step}`);
    } else if (what === 11) {
      await storage.close();
      storage = await reopen();
    }
  }
}

/** Runs the life until it ends or power is lost. */
async function run(fileSystem: SimFileSystem, seed: number, lived: (model: Model, reopen: Reopen) => Promise<void> = life): Promise<Model> {
  const model = new Model();
  let lost!: (crash: SimulatedCrash) => void;
  const crash = new Promise<never>((_, reject) => (lost = reject));
  let before: DirectPort | undefined;
  const reopen = async (): Promise<Storage> => {
    // Power may have been lost while the one before was closing: nobody lives on to open the next.
    if (before?.crashed === true) throw new SimulatedCrash();
    const { storage, port } = await openSim(fileSystem, { seed, segmentBytes: SEGMENT_BYTES });
    before = port;
    void port.whenCrashed.then(() => lost(new SimulatedCrash()));
    return storage;
  };
  try {
    await Promise.race([lived(model, reopen), crash]);
  } catch (error) {
    if (!(error instanceof SimulatedCrash)) throw error;
  }
  return model;
}

async function snapshotOf(storage: Storage): Promise<string | undefined> {
  const file = storage.openSnapshot();
  if (file === undefined) return undefined;
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < file.bytes; at += pieces.at(-1)!.byteLength) pieces.push(await file.read(at, 256 * 1024));
  file.release();
  return Buffer.concat(pieces).toString("base64");
}

/** Fails unless what is there is one of the states that it may be. */
async function checkRecovered(storage: Storage, model: Model): Promise<void> {
  const log = storage.recovered.log;
  const read = log === undefined ? [] : plain(await readAll(storage));
  const snapshot = await snapshotOf(storage);
  const identity = storage.recovered.identity === undefined ? undefined : Buffer.from(storage.recovered.identity).toString();
  assert.ok(model.identities.slice(model.identityAcknowledged).includes(identity), `identity ${identity}`);
  const problems: string[] = [];
  for (let at = model.acknowledged; at < model.states.length; at++) {
    const problem = difference(model.states[at]!);
    if (problem === undefined) return;
    problems.push(`not state ${at}: ${problem}`);
  }
  assert.fail(problems.join("\n"));

  function difference(state: ModelState): string | undefined {
    if (state.base === undefined || log === undefined) return state.base === undefined && log === undefined ? undefined : "one has no base";
    if (log.vote.term !== state.vote.term || log.vote.votedFor !== state.vote.votedFor) return `vote ${JSON.stringify(log.vote)}`;
    if (log.base.lastIncludedIndex !== state.base.index || log.base.lastIncludedTerm !== state.base.term)
      return `base ${log.base.lastIncludedIndex}`;
    if (snapshot !== state.snapshot) return "snapshot";
    if (log.firstIndex > state.base.index + 1) return `first index ${log.firstIndex}`;
    const entries = state.entries.filter((one) => one.index >= log.firstIndex);
    if (plain(entries).join() !== read.join()) return `entries ${read.map((one) => one.slice(0, 8)).join()}`;
    const last = entries.at(-1)?.index ?? state.base.index;
    if (log.lastIndex !== last || storage.lastIndex !== last) return `last index ${log.lastIndex}`;
    if (plain(log.tail).join() !== read.join()) return "tail";
    const configurations = entries.filter((one) => one.kind === "configuration" && one.index > state.base!.index);
    if (plain(configurations).join() !== plain(log.configurationEntries).join()) return "configuration entries";
    for (const one of entries) {
      if (log.terms.findLast((term) => term.index <= one.index)?.term !== one.term) return `term at ${one.index}`;
    }
    return undefined;
  }
}

async function operationsOfLife(): Promise<number> {
  const fileSystem = newSim();
  const model = await run(fileSystem, 1);
  assert.equal(model.acknowledged, model.states.length - 1);
  return fileSystem.operations;
}

describe("power lost at any file operation loses nothing acknowledged and reads nothing unwritten", () => {
  test("in a life without a crash everything is acknowledged and found again", async () => {
    const fileSystem = newSim();
    const model = await run(fileSystem, 3);
    fileSystem.crash();
    const { storage } = await openSim(fileSystem, { segmentBytes: SEGMENT_BYTES });
    await checkRecovered(storage, model);
    assert.equal(storage.lastIndex, 44);
    const names = fileSystem.paths().filter((path) => path.endsWith(".snapshot") || path.endsWith(".tmp"));
    assert.equal(names.length, 1, names.join());
  });

  for (const seed of [1, 2]) {
    test(`at every operation, seed ${seed}`, async () => {
      const operations = await operationsOfLife();
      assert.ok(operations > 150);
      for (let at = 0; at < operations; at++) {
        const fileSystem = newSim(seed * 1000 + at);
        fileSystem.crashAfterOperations(at);
        const model = await run(fileSystem, seed);
        fileSystem.crash();
        const context = `crash at operation ${at}`;
        const { storage } = await openSim(fileSystem, { segmentBytes: SEGMENT_BYTES }).catch((error: Error) =>
          assert.fail(`${context}: ${error.stack}`),
        );
        await checkRecovered(storage, model).catch((error: Error) => assert.fail(`${context}: ${error.message}`));
      }
    });
  }

  test("in recovery too, again and again, and after it the log goes on", async () => {
    const operations = await operationsOfLife();
    for (let at = 3; at < operations; at += 2) {
      const fileSystem = newSim(7000 + at);
      fileSystem.crashAfterOperations(at);
      const model = await run(fileSystem, at);
      for (let again = 0; again < 12; again++) {
        fileSystem.crash();
        fileSystem.crashAfterOperations(again);
        await openSim(fileSystem, { segmentBytes: SEGMENT_BYTES, seed: again }).catch((error: unknown) => {
          assert.ok(error instanceof SimulatedCrash, `crash at ${at}, then at ${again} of recovery: ${String(error)}`);
        });
      }
      fileSystem.crash();
      const { storage } = await openSim(fileSystem, { segmentBytes: SEGMENT_BYTES });
      await checkRecovered(storage, model).catch((error: Error) => assert.fail(`crash at operation ${at}: ${error.message}`));
      if (storage.recovered.log === undefined) continue;
      const next = storage.lastIndex + 1;
      const before = plain(await readAll(storage));
      await storage.append({ vote: { term: 20, votedFor: undefined }, entries: [entry(next, 20)] });
      fileSystem.crash();
      const after = await openSim(fileSystem, { segmentBytes: SEGMENT_BYTES });
      assert.deepEqual(plain(await readAll(after.storage)), [...before, ...plain([entry(next, 20)])]);
      assert.equal(after.storage.recovered.log!.vote.term, 20);
    }
  });

  test("after a process that died and left its writes in the cache, too", async () => {
    const operations = await operationsOfLife();
    for (let at = 0; at < operations; at += 3) {
      const fileSystem = newSim(9000 + at);
      fileSystem.crashAfterOperations(at);
      const model = await run(fileSystem, at);
      fileSystem.endProcess();
      const first = await openSim(fileSystem, { segmentBytes: SEGMENT_BYTES });
      await checkRecovered(first.storage, model);
      const seen = first.storage.recovered.log === undefined ? undefined : plain(await readAll(first.storage));
      // What a recovered node has once seen it has acknowledged: losing power now must not take it away.
      fileSystem.crash();
      const second = await openSim(fileSystem, { segmentBytes: SEGMENT_BYTES });
      if (seen !== undefined) assert.deepEqual(plain(await readAll(second.storage)), seen, `process ended at operation ${at}`);
    }
  });

  test("in lives drawn from two hundred seeds, twice in each", async () => {
    for (let seed = 0; seed < 200; seed++) {
      const fileSystem = newSim(seed);
      const drawn = (model: Model, reopen: Reopen): Promise<void> => drawnLife(model, reopen, seededRandom(seed));
      if (seed % 4 !== 0) fileSystem.crashAfterOperations(seededRandom(seed ^ 0x5555).uint32() % 220);
      const model = await run(fileSystem, seed, drawn);
      for (let again = 0; again < 2; again++) {
        if (seed % 5 === 0) fileSystem.endProcess();
        else fileSystem.crash();
        const { storage } = await openSim(fileSystem, { segmentBytes: SEGMENT_BYTES }).catch((error: Error) =>
          assert.fail(`seed ${seed}: ${error.stack}`),
        );
        await checkRecovered(storage, model).catch((error: Error) => assert.fail(`seed ${seed}: ${error.message}`));
      }
    }
  });
});

/** Disks that say more than is true: the checks above must find them out. */
class LyingFileSystem extends SimFileSystem {
  lie: "sync" | "directory" = "sync";

  override open(path: string, mode: "create" | "write" | "read"): FileHandle {
    const handle = super.open(path, mode);
    return this.lie === "sync" ? { ...handle, dataSync: () => {} } : handle;
  }

  override syncDirectory(path: string): void {
    if (this.lie !== "directory") super.syncDirectory(path);
  }
}

describe("the crash check finds out a disk that", () => {
  for (const lie of ["sync", "directory"] as const) {
    test(`does not do its work: ${lie}`, async () => {
      let found = 0;
      const operations = await operationsOfLife();
      for (let at = 20; at < operations && found === 0; at += 5) {
        const fileSystem = new LyingFileSystem({ random: seededRandom(at) });
        fileSystem.lie = lie;
        fileSystem.crashAfterOperations(at);
        const model = await run(fileSystem, at);
        fileSystem.crash();
        try {
          const { storage } = await openSim(fileSystem, { segmentBytes: SEGMENT_BYTES });
          await checkRecovered(storage, model);
        } catch {
          found++;
        }
      }
      assert.equal(found, 1);
    });
  }
});
