import assert from "node:assert/strict";
import { test } from "node:test";
import type { Entry } from "../core/raft/entry.ts";
import { entry, meta, newSim, openSim, plain, readAll } from "./test/fixture.ts";

test("a segment is full before the next begins, and a spare of zeros lies ready", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem, { segmentBytes: 8192 });
  await storage.found(meta());
  for (let index = 1; index <= 60; index++) await storage.append({ vote: undefined, entries: [entry(index, 1, 400)] });
  const segments = fileSystem.paths().filter((path) => path.endsWith(".log"));
  assert.ok(segments.length >= 4);
  for (const path of segments.slice(1)) assert.equal(fileSystem.contents(path).byteLength, 8192);
  assert.ok(fileSystem.contents("/data/spare").every((byte) => byte === 0));
  assert.ok(storage.diskBytes >= segments.length * 8192);
  assert.deepEqual(plain(await readAll(storage)), plain(Array.from({ length: 60 }, (_, at) => entry(at + 1, 1, 400))));
});

test("a group larger than a segment has a segment of its own size", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem, { segmentBytes: 4096 });
  await storage.found(meta());
  const entries = [entry(1, 1), entry(2, 1, 50_000), entry(3, 1), entry(4, 1, 20_000)];
  for (const one of entries) await storage.append({ vote: undefined, entries: [one] });
  assert.deepEqual(plain(await readAll(storage)), plain(entries));
  fileSystem.crash();
  const reopened = await openSim(fileSystem, { segmentBytes: 4096 });
  assert.deepEqual(plain(await readAll(reopened.storage)), plain(entries));
});

test("one sync makes a group durable, and writes made while it is under way share the next", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem, { background: false, segmentBytes: 1024 * 1024 });
  await storage.found(meta());
  const before = fileSystem.counts.dataSync;
  await Promise.all(Array.from({ length: 100 }, (_, at) => storage.append({ vote: undefined, entries: [entry(at + 1, 1)] })));
  assert.ok(fileSystem.counts.dataSync - before <= 4, String(fileSystem.counts.dataSync - before));
});

test("an acknowledged write is on the disk whatever else is lost", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem);
  await storage.found(meta());
  for (let index = 1; index <= 30; index++) {
    await storage.append({ vote: { term: index, votedFor: "x" }, entries: [entry(index, index, 300)] });
    const { storage: copy } = await openSim(fileSystem.durableCopy());
    assert.equal(copy.lastIndex, index);
    assert.deepEqual(copy.recovered.log!.vote, { term: index, votedFor: "x" });
  }
});

test("recovery hands over as many of the last entries as asked for, and all configuration entries", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem);
  await storage.found(meta());
  const entries = Array.from({ length: 50 }, (_, at) => entry(at + 1, 1 + Math.floor(at / 20), 200));
  for (const one of entries) await storage.append({ vote: undefined, entries: [one] });
  fileSystem.crash();
  const { storage: reopened } = await openSim(fileSystem, { tailBytesMax: 232 * 5 });
  const log = reopened.recovered.log!;
  assert.deepEqual(plain(log.tail), plain(entries.slice(-5)));
  assert.deepEqual(plain(log.configurationEntries), plain(entries.filter((one) => one.kind === "configuration")));
  assert.deepEqual(log.terms, [
    { index: 0, term: 0 },
    { index: 1, term: 1 },
    { index: 21, term: 2 },
    { index: 41, term: 3 },
  ]);
  assert.deepEqual(plain(await readAll(reopened)), plain(entries));
});

test("the last entry is handed over though it is larger than what was asked for", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem);
  await storage.found(meta());
  const entries = [entry(1, 1, 100), entry(2, 1, 3000), entry(3, 1, 5000)];
  for (const one of entries) await storage.append({ vote: undefined, entries: [one] });
  fileSystem.crash();
  const { storage: reopened } = await openSim(fileSystem, { tailBytesMax: 1000 });
  assert.deepEqual(plain(reopened.recovered.log!.tail), plain(entries.slice(2)));
});

test("a group is read from the disk once, though it is asked for in many slices", async () => {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem, { background: false });
  await storage.found(meta());
  const entries = Array.from({ length: 20 }, (_, at) => entry(at + 1, 1, 200));
  await storage.append({ vote: undefined, entries });
  const [path] = fileSystem.paths().filter((name) => name.endsWith(".log"));
  const found: Entry[] = [];
  while (found.length < entries.length) {
    found.push(...(await storage.read({ from: found.length + 1, through: 20, bytesMax: 500 })));
    // To read it again would be to find it rotten.
    if (found.length < 4) fileSystem.flipBit(path!, 3000, 1);
  }
  assert.deepEqual(plain(found), plain(entries));
});

test("restarting again and again keeps one copy of the log", async () => {
  const fileSystem = newSim();
  let { storage } = await openSim(fileSystem, { background: false });
  await storage.found(meta());
  for (let restart = 0; restart < 10; restart++) {
    await storage.append({ vote: undefined, entries: [entry(restart + 1, 1, 300)] });
    await storage.close();
    ({ storage } = await openSim(fileSystem, { background: false, seed: restart }));
    assert.equal(storage.lastIndex, restart + 1);
    assert.equal(fileSystem.paths().filter((path) => path.endsWith(".log")).length, 1);
  }
});

test("more than can wait for the disk is refused at once, and nothing of it is written", async () => {
  const { storage } = await openSim(newSim(), { background: false, gatheredBytesMax: 20_000 });
  await storage.found(meta());
  const outcomes: Promise<void>[] = [];
  for (let index = 1; index <= 5; index++) outcomes.push(storage.append({ vote: undefined, entries: [entry(index, 1, 10_000)] }));
  // Two are on their way, two gather.
  await assert.rejects(outcomes[4]!, { code: "OVERLOADED" });
  await Promise.all(outcomes.slice(0, 4));
  assert.equal(storage.lastIndex, 4);
  await storage.append({ vote: undefined, entries: [entry(5, 1)] });
});

test("a segment that is discarded becomes a spare as it is, and what it held is never read for what the next one holds", async () => {
  const fileSystem = newSim();
  let { storage } = await openSim(fileSystem, { segmentBytes: 8192 });
  await storage.found(meta());
  let index = 0;
  for (let round = 1; round <= 4; round++) {
    for (let at = 0; at < 60; at++) await storage.append({ vote: undefined, entries: [entry(++index, round, 400)] });
    const snapshot = await storage.createSnapshot(meta(index - 10, round));
    await snapshot.write(new Uint8Array(10));
    await snapshot.commit({ resetLog: false });
    await storage.discard(index - 10);
    assert.equal(fileSystem.contents("/data/spare-next").byteLength, 8192, `round ${round}`);
    // What lies behind the last group of the segment in use is now, as often as not, a valid group of an older one.
    fileSystem.crash();
    ({ storage } = await openSim(fileSystem, { segmentBytes: 8192 }));
    assert.equal(fileSystem.exists("/data/spare-next"), false);
    assert.equal(storage.lastIndex, index, `round ${round}`);
  }
  const kept = await readAll(storage);
  assert.deepEqual(plain(kept), plain(kept.map((one) => entry(one.index, one.term, 400))));
});
