/**
 * Small examples of everything that is written to disk or sent between members, as the shipped code encodes it. The same bytes stand in
 * docs/formats.md, under the same names; formats.test.ts compares the two.
 */
import { mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BATCH_HEADER_BYTES, BATCH_PREFIX_BYTES, writeBatchHeader } from "../../core/batch.ts";
import { ByteWriter } from "../../core/kv/bytes.ts";
import { CommandBatch } from "../../core/kv/command.ts";
import { KvMachine } from "../../core/kv/machine.ts";
import { ReadBatch } from "../../core/kv/read.ts";
import { createTable } from "../../core/kv/table/packed-table.ts";
import { writeWatchEvent } from "../../core/kv/watch-event.ts";
import type { Configuration } from "../../core/raft/configuration.ts";
import { encodeConfiguration } from "../../core/raft/configuration-codec.ts";
import { ENTRY_HEADER_BYTES, sealEntry, type Entry } from "../../core/raft/entry.ts";
import type { Message, SnapshotMeta } from "../../core/raft/message.ts";
import { createNodeFileSystem } from "../../host/node-file-system.ts";
import {
  encodeFounding,
  encodeForward,
  encodeForwardAck,
  encodeSnapshotAck,
  encodeSnapshotBegin,
  encodeSnapshotChunk,
} from "../../node/peer-frames.ts";
import { saveIdentity } from "../../storage/identity-file.ts";
import {
  GROUP_HEADER_BYTES,
  RECORD_ENTRY,
  RECORD_HEAD,
  RECORD_HEADER_BYTES,
  jsonGroup,
  sealGroup,
  writeRecordHeader,
} from "../../storage/log-format.ts";
import { voteRecordBytes, writeVoteRecord, type SegmentHead } from "../../storage/log-state.ts";
import { SnapshotStore } from "../../storage/snapshot-store.ts";
import { encodeFrame } from "../../transport/frame.ts";
import { encodeHello, encodeRefusal, PING_BODY, PONG_BODY } from "../../transport/hello.ts";
import { encodeMessage } from "../../transport/message-codec.ts";

export const MEMBER_A = "0a0b0c0d0e0f1011";
export const MEMBER_B = "1a1b1c1d1e1f2021";

export const configuration: Configuration = {
  incoming: [MEMBER_A],
  outgoing: [],
  learners: [MEMBER_B],
  learnersNext: [],
  members: [
    { id: MEMBER_A, name: "n1", peerAddress: "a:1", clientAddresses: ["c:2"], incarnation: "i1", promotable: false },
    { id: MEMBER_B, name: "n2", peerAddress: "b:1", clientAddresses: [], incarnation: "i2", promotable: true },
  ],
};

export const snapshotMeta: SnapshotMeta = { lastIncludedIndex: 7, lastIncludedTerm: 3, configuration, clockMs: 1000 };

/** A head whose JSON is short: the configuration inside is not looked at by the log. */
export const segmentHead: SegmentHead = {
  segment: 2,
  previous: 1,
  lastIndex: 7,
  lastTerm: 3,
  vote: { term: 3, votedFor: MEMBER_A },
  base: {
    meta: { ...snapshotMeta, configuration: { incoming: [MEMBER_A], outgoing: [], learners: [], learnersNext: [], members: [] } },
    file: null,
  },
};

const utf8 = new TextEncoder();
const bytes = (text: string): Uint8Array => utf8.encode(text);

export function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.byteLength;
  }
  return all;
}

function emptyEntry(): Entry {
  return sealEntry(new Uint8Array(ENTRY_HEADER_BYTES), { index: 8, term: 3, clockMs: 1000.5, kind: "empty" });
}

function commands(): { readonly record: Uint8Array; readonly count: number } {
  const batch = new CommandBatch();
  batch.put(bytes("k"), bytes("v1"), { ttlMs: 5000 });
  batch.put(bytes("k"), bytes("v2"), { prevKv: true });
  batch.compareAndSwap(bytes("k"), bytes("v2"), bytes("v3"));
  batch.deleteKey(bytes("k"), { prevKv: true });
  batch.deleteRange({ start: bytes("a"), end: undefined });
  batch.put(bytes("l"), bytes(""), { lease: "ab" });
  const { count } = batch;
  return { record: batch.finish(), count };
}

function commandEntry(): Entry {
  const { record, count } = commands();
  writeBatchHeader(record, { origin: MEMBER_A, bootId: 0x01020304, sequence: 9, commands: count });
  return sealEntry(record, { index: 8, term: 3, clockMs: 1000, kind: "command" });
}

function machine(history = { revisionsMax: 100, bytesMax: 1_000_000 }): KvMachine {
  return new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }), history, applied: { index: 7, term: 3, clockMs: 1000 } });
}

function apply(kv: KvMachine, entry: { readonly index: number; readonly clockMs: number }, add: (batch: CommandBatch) => void): Uint8Array {
  const batch = new CommandBatch();
  add(batch);
  const { count } = batch;
  kv.begin({ ...entry, term: 3, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count }, true);
  while (!kv.step(1000));
  return kv.results();
}

function results(): Uint8Array {
  const kv = machine();
  const { record, count } = commands();
  kv.begin({ index: 8, term: 3, clockMs: 1000, commands: record.subarray(BATCH_PREFIX_BYTES), count }, true);
  while (!kv.step(1000));
  return kv.results();
}

function readings(): { readonly reads: Uint8Array; readonly answers: Uint8Array } {
  const kv = machine();
  apply(kv, { index: 8, clockMs: 1000 }, (batch) => batch.put(bytes("k"), bytes("v")));
  const batch = new ReadBatch();
  batch.get(bytes("k"));
  batch.get(bytes("none"));
  const { count } = batch;
  const reads = batch.finish();
  return { reads, answers: kv.read(reads, count) };
}

function watchEvents(): Uint8Array {
  const kv = machine();
  apply(kv, { index: 8, clockMs: 1000 }, (batch) => batch.put(bytes("k"), bytes("v"), { ttlMs: 100 }));
  kv.begin({ index: 9, term: 3, clockMs: 1100, commands: undefined, count: 0 }, false);
  while (!kv.step(1000));
  const writer = new ByteWriter();
  for (let at = kv.table.firstEvent; at < kv.table.endEvent; at++) writeWatchEvent(writer, kv.table, kv.table.event(at), true);
  return writer.written().slice();
}

/** History of one revision, so that the stream has a base and an event. */
function snapshotStream(): Uint8Array {
  const kv = machine({ revisionsMax: 2, bytesMax: 1_000_000 });
  apply(kv, { index: 8, clockMs: 1000 }, (batch) => batch.put(bytes("a"), bytes("1")));
  apply(kv, { index: 9, clockMs: 1001 }, (batch) => batch.put(bytes("b"), bytes("2")));
  apply(kv, { index: 10, clockMs: 1002 }, (batch) => batch.put(bytes("c"), bytes("3"), { ttlMs: 5000 }));
  apply(kv, { index: 11, clockMs: 1003 }, (batch) => batch.deleteKey(bytes("a")));
  const reading = kv.snapshot();
  const slices: Uint8Array[] = [];
  for (let slice = reading.read(65_536); slice !== undefined; slice = reading.read(65_536)) slices.push(slice);
  return concatenate(slices);
}

function headGroup(): Uint8Array {
  const group = jsonGroup(RECORD_HEAD, segmentHead);
  sealGroup({ place: { segment: 2, nonce: 0x0badcafe, offset: 0 }, kind: "head", number: 5 }, [group]);
  return group;
}

function dataGroup(): Uint8Array {
  const vote = { term: 3, votedFor: MEMBER_A };
  const { record } = emptyEntry();
  const group = new Uint8Array(GROUP_HEADER_BYTES + voteRecordBytes(vote) + RECORD_HEADER_BYTES + record.byteLength);
  const view = new DataView(group.buffer);
  const at = writeVoteRecord(view, GROUP_HEADER_BYTES, vote);
  group.set(record, writeRecordHeader(view, at, { kind: RECORD_ENTRY, bytes: record.byteLength }));
  sealGroup({ place: { segment: 2, nonce: 0x0badcafe, offset: 512 }, kind: "data", number: 6 }, [group]);
  return group;
}

function files(): { readonly identity: Uint8Array; readonly snapshot: Uint8Array; readonly snapshotName: string } {
  const directory = mkdtempSync(join(tmpdir(), "d-engine-formats-"));
  try {
    const fileSystem = createNodeFileSystem({ sync: false });
    saveIdentity(fileSystem, directory, bytes("{}"));
    let word = 0;
    const store = new SnapshotStore({ fileSystem, directory, random: { uint32: () => ++word } });
    const writer = store.create({
      ...snapshotMeta,
      configuration: { incoming: [], outgoing: [], learners: [], learnersNext: [], members: [] },
    });
    store.write(writer, bytes("stream"));
    store.finish(writer);
    store.close();
    const snapshotName = readdirSync(directory).find((name) => name.endsWith(".snapshot"))!;
    return {
      identity: new Uint8Array(readFileSync(join(directory, "identity"))),
      snapshot: new Uint8Array(readFileSync(join(directory, snapshotName))),
      snapshotName,
    };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

export const snapshotFileName = (): string => files().snapshotName;

const envelope = { from: MEMBER_A, to: MEMBER_B, term: 3 };

export const messages = (): readonly Message[] => [
  { kind: "RequestVote", ...envelope, preVote: true, lastLogIndex: 8, lastLogTerm: 2, transfer: false },
  { kind: "RequestVoteReply", ...envelope, preVote: false, granted: true },
  { kind: "AppendEntries", ...envelope, prevLogIndex: 7, prevLogTerm: 3, commitIndex: 6, entries: [emptyEntry()] },
  { kind: "AppendEntriesReply", ...envelope, success: true, index: 8, conflictIndex: 0, conflictTerm: 0 },
  { kind: "Heartbeat", ...envelope, commitIndex: 8, round: 4 },
  { kind: "HeartbeatReply", ...envelope, round: 4 },
  { kind: "ReadIndex", ...envelope, requestId: 5 },
  { kind: "ReadIndexReply", ...envelope, requestId: 5, index: 8 },
  { kind: "TimeoutNow", ...envelope },
  { kind: "InstallSnapshot", ...envelope, snapshot: snapshotMeta },
];

/** Every example by its name in docs/formats.md. */
export function formatVectors(): ReadonlyMap<string, Uint8Array> {
  const { identity, snapshot } = files();
  const { reads, answers } = readings();
  const meta = { ...snapshotMeta, configuration: { incoming: [], outgoing: [], learners: [], learnersNext: [], members: [] } };
  const hello = {
    clusterId: "c1",
    memberId: MEMBER_A,
    incarnation: "i1",
    name: "n1",
    bootId: 0x01020304,
    protocolMin: 1,
    protocolMax: 1,
    featureLevel: 1,
    electionTimeoutMs: 1000,
  };
  return new Map([
    ["entry", emptyEntry().record],
    ["batch", commandEntry().record.subarray(ENTRY_HEADER_BYTES, ENTRY_HEADER_BYTES + BATCH_HEADER_BYTES)],
    ["commands", commandEntry().record.subarray(BATCH_PREFIX_BYTES)],
    ["results", results()],
    ["reads", reads],
    ["answers", answers],
    ["watch events", watchEvents()],
    ["configuration", encodeConfiguration(configuration)],
    ["segment head", headGroup()],
    ["group", dataGroup()],
    ["snapshot file", snapshot],
    ["snapshot stream", snapshotStream()],
    ["identity file", identity],
    ["frame", encodeFrame("urgent", [concatenate(encodeMessage({ kind: "TimeoutNow", ...envelope }))])],
    ["hello", encodeHello(hello, "consensus")],
    ["refusal", encodeRefusal("no")],
    ["ping", PING_BODY],
    ["pong", PONG_BODY],
    ...messages().map((message): [string, Uint8Array] => [message.kind, concatenate(encodeMessage(message))]),
    ["forward", concatenate(encodeForward({ term: 3, ordinal: 1, record: Uint8Array.of(0xaa, 0xbb) }))],
    ["forward ack", concatenate(encodeForwardAck({ term: 3, bootId: 0x01020304, next: 2 }))],
    ["snapshot begin", concatenate(encodeSnapshotBegin({ term: 3, transfer: 1, bytes: 6, meta }))],
    ["snapshot chunk", concatenate(encodeSnapshotChunk({ transfer: 1, offset: 4, bytes: bytes("am") }))],
    ["snapshot ack", concatenate(encodeSnapshotAck({ transfer: 1, received: 6, outcome: "installed" }))],
    ["founding", concatenate(encodeFounding({ step: "hello", incarnation: MEMBER_B, phase: "founding" }))],
  ]);
}
