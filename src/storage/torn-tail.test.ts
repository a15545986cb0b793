import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { crc32 } from "node:zlib";
import { EngineError } from "../errors.ts";
import type { SectorFate, SimFileSystem } from "../testing/sim-file-system.ts";
import { GROUP_HEADER_BYTES, SECTOR_BYTES, readGroupHeader } from "./log-format.ts";
import { DIRECTORY, entry, meta, newSim, openSim, plain, readAll, seededRandom } from "./test/fixture.ts";

interface Written {
  readonly fileSystem: SimFileSystem;
  /** The segment in use. */
  readonly path: string;
  /** Of its groups of data, the head left out. */
  readonly groups: readonly { readonly offset: number; readonly bytes: number; readonly lastIndex: number }[];
}

/** Groups found by their headers alone. */
function groupsOf(fileSystem: SimFileSystem, path: string): { offset: number; bytes: number; number: number }[] {
  const bytes = fileSystem.contents(path);
  const found: { offset: number; bytes: number; number: number }[] = [];
  for (let offset = 0; offset < bytes.byteLength;) {
    const header = readGroupHeader(bytes.subarray(offset));
    if (header === undefined) break;
    found.push({ offset, bytes: GROUP_HEADER_BYTES + header.recordBytes, number: header.number });
    offset += Math.ceil((GROUP_HEADER_BYTES + header.recordBytes) / SECTOR_BYTES) * SECTOR_BYTES;
  }
  return found;
}

function segmentsOf(fileSystem: SimFileSystem): readonly string[] {
  return fileSystem.paths().filter((path) => path.endsWith(".log"));
}

async function written(payloads: readonly number[], segmentBytes = 64 * 1024): Promise<Written> {
  const fileSystem = newSim();
  const { storage } = await openSim(fileSystem, { background: false, segmentBytes });
  await storage.found(meta());
  let index = 1;
  for (const payload of payloads) await storage.append({ vote: undefined, entries: [entry(index++, 1, payload)] });
  const path = segmentsOf(fileSystem).at(-1)!;
  const first = payloads.length - groupsOf(fileSystem, path).length + 2;
  const groups = groupsOf(fileSystem, path)
    .slice(1)
    .map(({ offset, bytes }, at) => ({ offset, bytes, lastIndex: first + at }));
  return { fileSystem, path, groups };
}

const PAYLOADS = [40, 900, 10, 300, 600, 77];

async function openedEntries(fileSystem: SimFileSystem): Promise<readonly string[]> {
  const { storage } = await openSim(fileSystem, { background: false, segmentBytes: 64 * 1024 });
  const entries = plain(await readAll(storage));
  assert.deepEqual(plain(storage.recovered.log!.tail), entries);
  return entries;
}

const expected = (count: number): readonly string[] => plain(PAYLOADS.slice(0, count).map((payload, at) => entry(at + 1, 1, payload)));

async function openError(fileSystem: SimFileSystem): Promise<EngineError> {
  const opened = openSim(fileSystem, { background: false, segmentBytes: 64 * 1024 });
  const error = await opened.then(
    () => assert.fail("it must not open"),
    (thrown: unknown) => thrown,
  );
  assert.ok(EngineError.is(error));
  return error;
}

async function assertCorrupt(fileSystem: SimFileSystem, at: { readonly path: string; readonly offset: number }): Promise<void> {
  const error = await openError(fileSystem);
  assert.ok(EngineError.is(error, "CORRUPT"), error.message);
  assert.deepEqual({ path: error.details.path, offset: error.details.offset }, at);
}

describe("a torn tail", () => {
  test("cut at every byte of the last groups, leaves exactly the groups that are whole", async () => {
    const { fileSystem, path, groups } = await written(PAYLOADS);
    const last = groups.at(-1)!;
    for (let cut = groups[2]!.offset; cut <= last.offset + last.bytes; cut++) {
      const copy = fileSystem.clone();
      copy.truncate(path, cut);
      const whole = groups.filter(({ offset, bytes }) => offset + bytes <= cut).length;
      assert.deepEqual(await openedEntries(copy), expected(whole), `cut at ${cut}`);
    }
  });

  test("with any bit of its header or records flipped, is dropped whole", async () => {
    const { fileSystem, path, groups } = await written(PAYLOADS);
    const last = groups.at(-1)!;
    for (let at = 0; at < last.bytes; at++) {
      const bits = at < GROUP_HEADER_BYTES ? [0, 1, 2, 3, 4, 5, 6, 7] : [at % 8];
      for (const bit of bits) {
        const copy = fileSystem.clone();
        copy.flipBit(path, last.offset + at, bit);
        assert.deepEqual(await openedEntries(copy), expected(groups.length - 1), `byte ${at}, bit ${bit}`);
      }
    }
  });

  test("of any subset of its unsynced sectors, is dropped whole or was whole", async () => {
    const fates: readonly SectorFate[] = ["old", "new", "garbage"];
    const { fileSystem, payload, sectors } = await unsyncedAppend(5);
    for (let combination = 0; combination < 3 ** sectors; combination++) {
      const copy = fileSystem.clone();
      const chosen = Array.from({ length: sectors }, (_, at) => fates[Math.floor(combination / 3 ** at) % 3]!);
      copy.crash({ sector: (_path, _sector, unsynced) => chosen[unsynced]! });
      const { storage } = await openSim(copy, { background: false });
      const whole = chosen.every((fate) => fate === "new");
      const wanted = whole ? [entry(1, 1), entry(2, 1), entry(3, 1, payload)] : [entry(1, 1), entry(2, 1)];
      assert.deepEqual(plain(await readAll(storage)), plain(wanted), chosen.join());
    }
  });

  test("of many sectors, by a hundred draws, is dropped whole or was whole", async () => {
    const { fileSystem, payload } = await unsyncedAppend(40);
    const outcomes = new Set<number>();
    for (let seed = 0; seed < 100; seed++) {
      const copy = fileSystem.clone(seededRandom(seed));
      copy.crash();
      const { storage } = await openSim(copy, { background: false });
      const entries = plain(await readAll(storage));
      assert.deepEqual(entries, plain([entry(1, 1), entry(2, 1), entry(3, 1, payload)]).slice(0, entries.length));
      outcomes.add(entries.length);
    }
    assert.deepEqual([...outcomes], [2]);
  });

  test("is gone for good: what is written after it is found again", async () => {
    const { fileSystem, path, groups } = await written(PAYLOADS);
    fileSystem.truncate(path, groups.at(-1)!.offset + 20);
    const { storage } = await openSim(fileSystem, { background: false, segmentBytes: 64 * 1024 });
    await storage.append({ vote: { term: 2, votedFor: "x" }, entries: [entry(6, 2, 500)] });
    fileSystem.crash();
    assert.deepEqual(await openedEntries(fileSystem), [...expected(5), ...plain([entry(6, 2, 500)])]);
  });
});

describe("rot", () => {
  test("of any bit of an earlier group is CORRUPT at that group", async () => {
    const { fileSystem, path, groups } = await written(PAYLOADS);
    const group = groups[2]!;
    for (let at = 0; at < group.bytes; at++) {
      const bits = at < GROUP_HEADER_BYTES ? [0, 1, 2, 3, 4, 5, 6, 7] : [at % 8];
      for (const bit of bits) {
        const copy = fileSystem.clone();
        copy.flipBit(path, group.offset + at, bit);
        await assertCorrupt(copy, { path, offset: group.offset });
      }
    }
  });

  test("of a long group, wherever it is, is CORRUPT at its start", async () => {
    const { fileSystem, path, groups } = await written([100, 9000, 100]);
    for (let at = 0; at < groups[1]!.bytes; at += 97) {
      const copy = fileSystem.clone();
      copy.flipBit(path, groups[1]!.offset + at, at % 8);
      await assertCorrupt(copy, { path, offset: groups[1]!.offset });
    }
  });

  test("of a segment's head is CORRUPT, for a head is synced before the segment has its name", async () => {
    const { fileSystem, path, groups } = await written(PAYLOADS);
    const headBytes = groupsOf(fileSystem, path)[0]!.bytes;
    for (let at = 0; at < headBytes; at++) {
      const copy = fileSystem.clone();
      copy.flipBit(path, at, at % 8);
      await assertCorrupt(copy, { path, offset: 0 });
      const empty = fileSystem.clone();
      empty.truncate(path, groups[0]!.offset);
      empty.flipBit(path, at, at % 8);
      await assertCorrupt(empty, { path, offset: 0 });
    }
  });

  test("of the last group of a segment that another follows is CORRUPT, not a torn tail", async () => {
    const { fileSystem } = await written(
      Array.from({ length: 12 }, () => 900),
      4096,
    );
    const paths = segmentsOf(fileSystem);
    assert.ok(paths.length >= 3);
    const last = groupsOf(fileSystem, paths[1]!).at(-1)!;
    fileSystem.flipBit(paths[1]!, last.offset + 50, 3);
    await assertCorrupt(fileSystem, { path: paths[1]!, offset: last.offset });
  });

  test("of the zeros behind a group's records changes nothing", async () => {
    const { fileSystem, path, groups } = await written(PAYLOADS);
    fileSystem.flipBit(path, groups[2]!.offset + groups[2]!.bytes + 1, 0);
    assert.deepEqual(await openedEntries(fileSystem), expected(PAYLOADS.length));
  });

  test("found while reading is CORRUPT, and ends the storage", async () => {
    const fileSystem = newSim();
    const { storage } = await openSim(fileSystem, { background: false });
    await storage.found(meta());
    await storage.append({ vote: undefined, entries: [entry(1, 1, 300)] });
    const path = segmentsOf(fileSystem)[0]!;
    const [, group] = groupsOf(fileSystem, path);
    fileSystem.flipBit(path, group!.offset + 100, 1);
    const code = { code: "CORRUPT" };
    await assert.rejects(storage.read({ from: 1, through: 1, bytesMax: 1000 }), code);
    await assert.rejects(storage.append({ vote: undefined, entries: [entry(2, 1)] }), code);
    assert.equal((await storage.failed).code, "CORRUPT");
  });

  test("a missing segment between others is CORRUPT, named", async () => {
    const { fileSystem } = await written(
      Array.from({ length: 16 }, () => 900),
      4096,
    );
    const paths = segmentsOf(fileSystem);
    assert.ok(paths.length >= 4);
    fileSystem.remove(paths[1]!);
    await assertCorrupt(fileSystem, { path: paths[1]!, offset: 0 });
    const first = fileSystem.clone();
    const { fileSystem: other } = await written(
      Array.from({ length: 16 }, () => 900),
      4096,
    );
    other.remove(segmentsOf(other)[0]!);
    await assertCorrupt(other, { path: segmentsOf(first)[0]!, offset: 0 });
  });

  test("a segment in another's place is CORRUPT", async () => {
    const { fileSystem } = await written(
      Array.from({ length: 16 }, () => 900),
      4096,
    );
    const paths = segmentsOf(fileSystem);
    fileSystem.rename(paths[0]!, paths[1]!);
    await assertCorrupt(fileSystem, { path: paths[1]!, offset: 0 });
  });
});

test("a newer format is INCOMPATIBLE, told from rot by its checksum", async () => {
  const { fileSystem, path, groups } = await written(PAYLOADS);
  const { offset, bytes } = groups[1]!;
  const file = fileSystem.open(path, "write");
  const group = fileSystem.contents(path).slice(offset, offset + bytes);
  group[4] = 2;
  const salt = new DataView(new ArrayBuffer(16));
  salt.setFloat64(0, Number(/(\d+)\.log$/.exec(path)![1]), true);
  salt.setFloat64(8, offset, true);
  const header = group.slice(0, GROUP_HEADER_BYTES).fill(0, 12, 16);
  const checksum = crc32(group.subarray(GROUP_HEADER_BYTES), crc32(header, crc32(new Uint8Array(salt.buffer))));
  new DataView(group.buffer).setUint32(12, checksum, true);
  file.write(group, offset);
  const error = await openError(fileSystem);
  assert.ok(EngineError.is(error, "INCOMPATIBLE"));
  assert.equal(error.details.found, "2");
});

test("a value that holds the bytes of a group does not pass for one", async () => {
  const { fileSystem, path, groups } = await written(PAYLOADS);
  const stolen = fileSystem.contents(path).slice(groups[0]!.offset, groups[0]!.offset + groups[0]!.bytes);
  new DataView(stolen.buffer).setFloat64(16, 99, true);
  const { storage } = await openSim(fileSystem, { background: false, segmentBytes: 64 * 1024 });
  const forged = entry(7, 1, 4000);
  for (let at = SECTOR_BYTES - GROUP_HEADER_BYTES - 8; at + stolen.byteLength < forged.record.byteLength; at += SECTOR_BYTES)
    forged.record.set(stolen, at);
  await storage.append({ vote: undefined, entries: [forged] });
  const current = segmentsOf(fileSystem).at(-1)!;
  const last = groupsOf(fileSystem, current).at(-1)!;
  fileSystem.flipBit(current, last.offset + GROUP_HEADER_BYTES + 20, 0);
  assert.deepEqual(await openedEntries(fileSystem), expected(PAYLOADS.length));
});

/** A disk on which entries 1 and 2 are synced and entry 3 was written and not synced when power was lost. */
async function unsyncedAppend(sectors: number): Promise<{ fileSystem: SimFileSystem; payload: number; sectors: number }> {
  const fileSystem = newSim();
  const { storage, port } = await openSim(fileSystem, { background: false, segmentBytes: 64 * 1024 });
  await storage.found(meta());
  await storage.append({ vote: undefined, entries: [entry(1, 1), entry(2, 1)] });
  const payload = sectors * SECTOR_BYTES - GROUP_HEADER_BYTES - 8 - 32;
  // The write is done, the sync is not.
  fileSystem.crashAfterOperations(1);
  void storage.append({ vote: undefined, entries: [entry(3, 1, payload)] });
  await port.whenCrashed;
  assert.equal(fileSystem.unsyncedSectors, sectors);
  assert.ok(fileSystem.paths().every((path) => path.startsWith(DIRECTORY)));
  return { fileSystem, payload, sectors };
}
