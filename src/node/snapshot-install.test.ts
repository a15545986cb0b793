import assert from "node:assert/strict";
import { test } from "node:test";
import { resolveOptions } from "../client/engine-options.ts";
import { BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, writeBatchHeader } from "../core/batch.ts";
import { CommandBatch } from "../core/kv/command.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import { entryPayload, sealEntry, type Entry } from "../core/raft/entry.ts";
import type { Message } from "../core/raft/message.ts";
import { createNodeRandom } from "../host/node-random.ts";
import { createMemoryStorage } from "../storage/memory-storage.ts";
import { encodeMessage } from "../transport/message-codec.ts";
import type { Hello, TransportEvents } from "../transport/transport.ts";
import type { Environment, NodeInside } from "./environment.ts";
import { foundingMeta } from "./founding.ts";
import { bootstrapClusterId, bootstrapMemberId } from "./identity.ts";
import { Node } from "./node.ts";
import { decodeSnapshotAck, encodeFounding, encodeSnapshotBegin, encodeSnapshotChunk, FRAME_SNAPSHOT_ACK } from "./peer-frames.ts";

const bootstrap = { n1: "127.0.0.1:1", n2: "127.0.0.1:2", n3: "127.0.0.1:3" };
const idOf = (name: string): string => bootstrapMemberId(bootstrapClusterId(bootstrap), name);
const LEADER = idOf("n1");

function entryAt(index: number): Entry {
  const batch = new CommandBatch();
  batch.put(Buffer.from("key"), Buffer.from(String(index)));
  const record = batch.finish();
  writeBatchHeader(record, { origin: LEADER, bootId: 1, sequence: index, commands: 1 });
  assert.ok(record.byteLength > BATCH_PREFIX_BYTES);
  return sealEntry(record, { index, term: 2, clockMs: index, kind: "command" });
}

/** The leader's snapshot after these entries. */
function snapshotOf(entries: readonly Entry[]): Uint8Array {
  const kv = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }), applied: { index: 1, term: 1, clockMs: 0 } });
  for (const entry of entries) {
    kv.begin(
      {
        index: entry.index,
        term: entry.term,
        clockMs: entry.clockMs,
        commands: entryPayload(entry).subarray(BATCH_HEADER_BYTES),
        count: 1,
      },
      false,
    );
    while (!kv.step(1_000));
  }
  const reading = kv.snapshot();
  const parts: Uint8Array[] = [];
  for (let part = reading.read(1 << 20); part !== undefined; part = reading.read(1 << 20)) parts.push(part);
  return Buffer.concat(parts);
}

/**
 *   1. The follower holds entries 2 to 10, none known to be committed, and takes over a snapshot of entry 5: its log has that entry and stays.
 *   2. Just as the snapshot is in place the leader says that all ten are committed, and the follower applies them to the state that it has.
 *   3. Only then does the snapshot's state take that one's place: what had been applied, answered and watched up to 10 is back at 5.
 */
test("a snapshot that is taken over while the log goes on never takes the state back", async () => {
  const deferred: (() => void)[] = [];
  const sent: Uint8Array[] = [];
  let events!: TransportEvents;
  let hello!: () => Hello;
  let look!: () => NodeInside;
  let now = 1_000;
  const environment: Environment = {
    clock: { now: () => now, wallNow: () => now, setTimer: () => ({ cancel: () => {} }), defer: (run) => void deferred.push(run) },
    random: createNodeRandom(),
    openStorage: () => Promise.resolve(createMemoryStorage()),
    createTransport: (own, given) => {
      hello = own;
      events = given;
      return Promise.resolve({
        setPeers: () => {},
        send: (_to: string, _lane: string, frame: readonly Uint8Array[]) => {
          sent.push(Buffer.concat(frame));
          return true;
        },
        flush: () => {},
        pendingBytes: () => 0,
        listening: undefined,
        close: () => Promise.resolve(),
      });
    },
    observe: (given) => (look = given),
  };
  const microtasks = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 50; i++) {
      await microtasks();
      for (const run of deferred.splice(0)) run();
    }
  };
  const receive = (frame: readonly Uint8Array[]): void => events.onFrame(LEADER, "bulk", Buffer.concat(frame));
  const { node: options } = resolveOptions({
    dataDir: "memory:",
    name: "n2",
    bootstrap,
    peer: { listen: "127.0.0.1:2" },
    thread: "inline",
  });
  const node = await Node.open(environment, options, () => {});

  const founding = foundingMeta(
    Object.entries(bootstrap).map(([name, peerAddress]) => ({
      id: idOf(name),
      name,
      peerAddress,
      clientAddresses: [],
      incarnation: name === "n2" ? hello().incarnation : "0000000000000001",
      promotable: false,
    })),
  );
  receive(encodeFounding({ step: "propose", founding, round: 1 }));
  await settle();
  receive(encodeFounding({ step: "activate", founding }));
  await settle();
  assert.ok(look().raft !== undefined, "founded");

  const entries = Array.from({ length: 9 }, (_, i) => entryAt(i + 2));
  const append: Message = {
    kind: "AppendEntries",
    from: LEADER,
    to: idOf("n2"),
    term: 2,
    prevLogIndex: 1,
    prevLogTerm: 1,
    commitIndex: 1,
    entries,
  };
  receive(encodeMessage(append));
  await settle();
  assert.deepEqual([look().raft!.lastIndex, look().raft!.commitIndex], [10, 1]);

  const stream = snapshotOf(entries.slice(0, 4));
  receive(
    encodeSnapshotBegin({
      term: 2,
      transfer: 1,
      bytes: stream.byteLength,
      meta: { ...founding, lastIncludedIndex: 5, lastIncludedTerm: 2, clockMs: 5 },
    }),
  );
  await settle();
  receive(encodeSnapshotChunk({ transfer: 1, offset: 0, bytes: stream }));
  let revision = 0;
  // The turn that takes in the chunk; what it sets off happens in microtasks.
  for (const run of deferred.splice(0)) run();
  for (let turn = 0; turn < 50; turn++) {
    now++;
    // Before the microtasks, so that a turn is about to come when the snapshot is in place.
    receive(encodeMessage({ ...append, prevLogIndex: 10, prevLogTerm: 2, commitIndex: 10, entries: [] }));
    await microtasks();
    for (const run of deferred.splice(0)) {
      run();
      assert.ok(look().machine!.revision >= revision, `the state went from revision ${revision} to ${look().machine!.revision}`);
      revision = look().machine!.revision;
    }
  }
  assert.ok(sent.some((frame) => frame[0] === FRAME_SNAPSHOT_ACK && decodeSnapshotAck(frame)?.outcome === "installed"));
  assert.equal(look().machine!.appliedIndex, 10);
  node.kill();
});
