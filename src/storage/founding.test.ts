/** A log that is begun anew with another founding, as long as nothing is in it: at every crash it is the one or the other. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SnapshotMeta } from "../core/raft/message.ts";
import { EngineError } from "../errors.ts";
import type { SimFileSystem } from "../testing/sim-file-system.ts";
import { createMemoryStorage } from "./memory-storage.ts";
import type { Storage } from "./storage.ts";
import { entry, meta, newSim, openSim } from "./test/fixture.ts";

function founding(incarnation: string): SnapshotMeta {
  const member = { id: "00000000000000aa", name: "a", peerAddress: "a:1", clientAddresses: [], incarnation, promotable: false };
  return { ...meta(7, 1), configuration: { ...meta().configuration, members: [member] } };
}

const incarnation = (storage: Storage): string | undefined => storage.recovered.log?.base.configuration.members[0]?.incarnation;
const refused = (error: unknown): boolean => EngineError.is(error, "INVALID_ARGUMENT");

async function begin(fileSystem: SimFileSystem, withSnapshot: boolean): Promise<void> {
  const { storage } = await openSim(fileSystem);
  if (withSnapshot) {
    const writer = await storage.createSnapshot({ ...meta(7, 1), configuration: { ...meta().configuration, incoming: [] } });
    await writer.write(new Uint8Array(1_000).fill(3));
    await writer.commit({ resetLog: true });
  }
  await storage.found(founding("1"));
  await storage.close();
}

for (const withSnapshot of [false, true]) {
  const what = withSnapshot ? "a log that begins with a backup" : "a log";
  test(`${what} is begun anew with a later founding, and holds it`, async () => {
    const fileSystem = newSim();
    await begin(fileSystem, withSnapshot);
    const { storage } = await openSim(fileSystem);
    assert.equal(incarnation(storage), "1");
    await storage.found(founding("2"));
    await storage.append({ vote: { term: 2, votedFor: "00000000000000aa" }, entries: [entry(8, 2)] });
    await storage.close();
    const again = await openSim(fileSystem);
    assert.equal(incarnation(again.storage), "2");
    assert.equal(again.storage.lastIndex, 8);
    assert.equal(again.storage.openSnapshot()?.bytes, withSnapshot ? 1_000 : undefined);
    await assert.rejects(again.storage.found(founding("3")), refused);
  });

  test(`${what} that is begun anew is, wherever power is lost, of the one founding or the other`, async () => {
    const before = newSim();
    await begin(before, withSnapshot);
    const found = new Set<string | undefined>();
    for (let operations = 0; ; operations++) {
      const fileSystem = before.clone();
      // oxlint-disable-next-line no-await-in-loop -- one crash after the other
      const { storage, port } = await openSim(fileSystem, { background: false });
      fileSystem.crashAfterOperations(operations);
      // oxlint-disable-next-line no-await-in-loop -- the same
      const isDone = await Promise.race([storage.found(founding("2")).then(() => true), port.whenCrashed.then(() => false)]);
      fileSystem.crash();
      // oxlint-disable-next-line no-await-in-loop -- the same
      const again = await openSim(fileSystem);
      found.add(incarnation(again.storage));
      if (isDone) assert.equal(incarnation(again.storage), "2");
      assert.equal(again.storage.lastIndex, 7);
      assert.equal(again.storage.openSnapshot()?.bytes, withSnapshot ? 1_000 : undefined);
      if (isDone) break;
    }
    assert.deepEqual([...found].sort(), ["1", "2"]);
  });
}

test("a log with a vote is not begun anew", async () => {
  const fileSystem = newSim();
  await begin(fileSystem, false);
  const { storage } = await openSim(fileSystem);
  await storage.append({ vote: { term: 2, votedFor: "00000000000000aa" }, entries: [] });
  await assert.rejects(storage.found(founding("2")), refused);
});

test("in memory a log without an entry is begun anew, and no other", async () => {
  const storage = createMemoryStorage();
  await storage.found(founding("1"));
  await storage.found(founding("2"));
  await storage.append({ vote: undefined, entries: [entry(8, 2)] });
  await assert.rejects(storage.found(founding("3")), refused);
});
