import assert from "node:assert/strict";
import { test } from "node:test";
import type { SnapshotFile, SnapshotWriter, Storage } from "../storage/storage.ts";
import { createMemoryStorage } from "../storage/memory-storage.ts";
import { foundingMeta } from "./founding.ts";
import { decodeSnapshotAck, decodeSnapshotChunk, encodeSnapshotAck, encodeSnapshotChunk } from "./peer-frames.ts";
import { SnapshotMaker } from "./snapshot-maker.ts";
import { SnapshotReceiver, SnapshotSender } from "./snapshot-transfer.ts";

const base = foundingMeta([
  { id: "00000000000000aa", name: "a", peerAddress: "", clientAddresses: [], incarnation: "1", promotable: false },
]);
const meta = { ...base, lastIncludedIndex: 50 };

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function foundedStorage(): Promise<Storage> {
  const storage = createMemoryStorage();
  await storage.found(base);
  return storage;
}

test("what arrives before the receiver's file is open is kept, so that no transfer begins with a stall", async () => {
  const storage = await foundedStorage();
  const chunks: Uint8Array[] = [];
  const outcomes: string[] = [];
  let open!: (writer: SnapshotWriter) => void;
  const slow = Object.create(storage, {
    createSnapshot: { value: () => new Promise<SnapshotWriter>((resolve) => (open = resolve)) },
  }) as Storage;
  const receiver = new SnapshotReceiver({
    from: "00000000000000aa",
    begin: { term: 1, transfer: 3, bytes: 20, meta },
    storage: slow,
    restoring: {
      write: (bytes) => void chunks.push(bytes),
      finish: () => undefined,
    },
    ack: ([frame]) => {
      const { outcome, received } = decodeSnapshotAck(frame!)!;
      outcomes.push(`${outcome} ${received}`);
    },
    onComplete: () => ({ resetLog: true }),
    onInstalled: () => {},
    onGivenUp: (reason) => outcomes.push(reason),
  });
  for (const offset of [0, 10])
    receiver.onChunk(Buffer.concat(encodeSnapshotChunk({ transfer: 3, offset, bytes: new Uint8Array(10).fill(offset) })));
  open(await storage.createSnapshot(meta));
  while (outcomes.at(-1) !== "installed 20") {
    assert.ok(outcomes.length < 10, outcomes.join(", "));
    await turn();
  }
  assert.equal(chunks.length, 2);
});

test("a receiver that was opened anew and has nothing gets the stream from its beginning at once", async () => {
  const bytes = new Uint8Array(1 << 20);
  const file: SnapshotFile = {
    meta,
    bytes: bytes.byteLength,
    read: async (offset, bytesMax) => bytes.slice(offset, offset + bytesMax),
    release: () => {},
  };
  const offsets: number[] = [];
  const sender = new SnapshotSender(
    {
      to: "00000000000000bb",
      term: 1,
      transfer: 3,
      file,
      stallMs: 1_000,
      giveUpMs: 10_000,
      send: (_lane, frame) => {
        const chunk = decodeSnapshotChunk(Buffer.concat(frame));
        if (chunk?.transfer === 3) offsets.push(chunk.offset);
        return true;
      },
      onDone: () => {},
    },
    0,
  );
  const ack = (received: number): void =>
    sender.onAck(Buffer.concat(encodeSnapshotAck({ transfer: 3, received, outcome: "receiving" })), 0);
  sender.poll(0);
  for (let i = 0; i < 10; i++) await turn();
  ack(512 << 10);
  for (let i = 0; i < 10; i++) await turn();
  offsets.length = 0;
  ack(0);
  for (let i = 0; i < 10; i++) await turn();
  assert.equal(offsets[0], 0);
});

test("making a snapshot lets the node's turns go on, also where a slice is empty and a write is done at once", async () => {
  const storage = await foundedStorage();
  let turns = 0;
  let slices = 0;
  const done = new Promise<void>((resolve) => {
    const maker = new SnapshotMaker({
      storage,
      logBytesMin: 0,
      now: () => 0,
      begin: () => ({ meta: base, source: { read: () => (slices++ < 100 ? new Uint8Array(slices % 2) : undefined), cancel: () => {} } }),
      isPersisted: () => true,
      discardable: (index) => index,
      onDiscarded: () => {},
      pause: () =>
        new Promise((go) => {
          turns++;
          setImmediate(go);
        }),
      onDone: resolve,
    });
    maker.want();
    maker.poll();
  });
  await done;
  assert.equal(turns, 100);
});
