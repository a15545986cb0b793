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
import { withoutGrowth } from "../../core/kv/growth.ts";
import { stampSession } from "../../core/kv/session-stamp.ts";
import { KvMachine } from "../../core/kv/machine.ts";
import { ReadBatch } from "../../core/kv/read.ts";
import { packTxn } from "../../core/kv/txn-codec.ts";
import type { TxnCommand } from "../../core/kv/txn-command.ts";
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
import { encodeAnnounce, encodeMoveLeader, encodeMoveLeaderAnswer } from "../../node/cluster-frames.ts";
import { BackupWriter } from "../../storage/backup-writer.ts";
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
import { userVectors } from "./user-vectors.ts";
import { storeSegment } from "./store-vector.ts";

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

function leaseCommands(): { readonly commands: Uint8Array; readonly results: Uint8Array } {
  const kv = machine();
  const batch = new CommandBatch();
  batch.grantLease("ab", 5000);
  batch.renewLeases(["ab", "cd"]);
  batch.revokeLease("ab");
  batch.revokeLease("ab");
  const { count } = batch;
  const packed = batch.finish().subarray(BATCH_PREFIX_BYTES);
  kv.begin({ index: 8, term: 3, clockMs: 1000, commands: packed, count }, true);
  while (!kv.step(1000));
  return { commands: packed, results: kv.results() };
}

const txnExample: TxnCommand = {
  compare: [
    { where: bytes("k"), target: "version", result: "greater", number: 0, value: bytes(""), lease: undefined },
    { where: { start: bytes("a"), end: undefined }, target: "value", result: "equal", number: 0, value: bytes("v"), lease: undefined },
  ],
  success: [
    {
      kind: "put",
      key: bytes("k"),
      value: bytes("w"),
      lease: undefined,
      ttlMs: undefined,
      ignoreValue: false,
      ignoreLease: true,
      prevKv: true,
    },
    { kind: "delete", where: { start: bytes("x"), end: bytes("y") }, prevKv: false },
    { kind: "txn", txn: { compare: [], success: [{ kind: "get", key: bytes("k") }], failure: [] } },
  ],
  failure: [
    {
      kind: "range",
      request: {
        interval: { start: bytes("k"), end: undefined },
        limit: 1,
        order: "descending",
        sortBy: "modRevision",
        keysOnly: true,
        countOnly: false,
        revision: 2,
        minModRevision: 2,
      },
    },
  ],
};

function txnCommands(): { readonly commands: Uint8Array; readonly results: Uint8Array } {
  const kv = machine();
  apply(kv, { index: 8, clockMs: 1000 }, (batch) => batch.put(bytes("k"), bytes("v")));
  const batch = new CommandBatch();
  batch.txn(packTxn(txnExample));
  batch.txn(packTxn(txnExample));
  batch.compact(2);
  batch.compact(2);
  batch.limitHistory({ revisionsMax: 100, bytesMax: 1024 });
  const { count } = batch;
  const packed = batch.finish().subarray(BATCH_PREFIX_BYTES);
  kv.begin({ index: 9, term: 3, clockMs: 1000, commands: packed, count }, true);
  while (!kv.step(1000));
  return { commands: packed, results: kv.results() };
}

function spaceCommands(): { readonly commands: Uint8Array; readonly results: Uint8Array } {
  const kv = machine();
  const batch = new CommandBatch();
  batch.put(bytes("k"), bytes("v"));
  batch.freeHistory(0);
  const { count } = batch;
  const packed = withoutGrowth(batch.finish(), count, { of: "quota", used: 10, max: 8 }).subarray(BATCH_PREFIX_BYTES);
  kv.begin({ index: 8, term: 3, clockMs: 1000, commands: packed, count }, true);
  while (!kv.step(1000));
  return { commands: packed, results: kv.results() };
}

/** A session is opened, writes twice, the second time what it wrote before, and is closed; and the state before its end. */
function sessionCommands(): { readonly commands: Uint8Array; readonly results: Uint8Array; readonly stream: Uint8Array } {
  const kv = machine();
  const parts: { readonly commands: Uint8Array; readonly results: Uint8Array }[] = [];
  const session = { high: 0, low: 0x80000, sequence: 2, acked: 1 };
  const run = (index: number, sessions: boolean, fill: (batch: CommandBatch) => void): void => {
    const batch = new CommandBatch(64, 1_000, sessions);
    fill(batch);
    const record = batch.finish();
    stampSession(record, 1, session);
    const packed = record.subarray(BATCH_PREFIX_BYTES);
    kv.begin({ index, term: 3, clockMs: 1000, commands: packed, count: 1 }, true);
    while (!kv.step(1000));
    parts.push({ commands: packed, results: kv.results() });
  };
  run(8, false, (batch) => batch.openSession({ window: 16, lifeMs: 10_000 }));
  run(9, true, (batch) => batch.deleteKey(bytes("k")));
  run(10, true, (batch) => batch.deleteKey(bytes("k")));
  const reading = kv.snapshot();
  const slices: Uint8Array[] = [];
  for (let slice = reading.read(65_536); slice !== undefined; slice = reading.read(65_536)) slices.push(slice);
  run(11, false, (batch) => batch.closeSession(session));
  return {
    commands: concatenate(parts.map(({ commands: packed }) => packed)),
    results: concatenate(parts.map((part) => part.results)),
    stream: concatenate(slices),
  };
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

/** In two slices. */
function backup(): Uint8Array {
  const writer = new BackupWriter();
  const description = { clusterId: MEMBER_B, revision: 5, compactRevision: 3, index: 11, clockMs: 1003 };
  return concatenate([writer.begin(description), writer.slice(bytes("str")), writer.slice(bytes("eam")), writer.end()]);
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
  { kind: "Heartbeat", ...envelope, commitIndex: 8, round: 4, clockMs: 1_000 },
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
  const leases = leaseCommands();
  const space = spaceCommands();
  const sessions = sessionCommands();
  const transactions = txnCommands();
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
    ["lease commands", leases.commands],
    ["lease results", leases.results],
    ["transaction commands", transactions.commands],
    ["transaction results", transactions.results],
    ["session commands", sessions.commands],
    ["session results", sessions.results],
    ["session stream", sessions.stream],
    ["space commands", space.commands],
    ["space results", space.results],
    ["reads", reads],
    ["answers", answers],
    ["watch events", watchEvents()],
    ["configuration", encodeConfiguration(configuration)],
    ["segment head", headGroup()],
    ["group", dataGroup()],
    ["snapshot file", snapshot],
    ["snapshot stream", snapshotStream()],
    ["backup", backup()],
    ...userVectors,
    ["identity file", identity],
    ["frame", encodeFrame("urgent", [concatenate(encodeMessage({ kind: "TimeoutNow", ...envelope }))])],
    ["hello", encodeHello(hello, "consensus")],
    ["refusal", encodeRefusal("no")],
    ["ping", PING_BODY],
    ["pong", PONG_BODY],
    ...messages().map((message): [string, Uint8Array] => [message.kind, concatenate(encodeMessage(message))]),
    ["forward", concatenate(encodeForward({ term: 3, ordinal: 1, record: Uint8Array.of(0xaa, 0xbb) }))],
    ["forward ack", concatenate(encodeForwardAck({ term: 3, bootId: 0x01020304, next: 2 }))],
    ["announce", concatenate(encodeAnnounce(["http://a:1", "http://b:2"]))],
    ["move leader", concatenate(encodeMoveLeader({ term: 3, bootId: 0x01020304, request: 1, to: MEMBER_B }))],
    ["move leader answer", concatenate(encodeMoveLeaderAnswer({ term: 3, bootId: 0x01020304, request: 1, outcome: "lagging" }))],
    ["store segment", storeSegment()],
    ["snapshot begin", concatenate(encodeSnapshotBegin({ term: 3, transfer: 1, bytes: 6, meta }))],
    ["snapshot chunk", concatenate(encodeSnapshotChunk({ transfer: 1, offset: 4, bytes: bytes("am") }))],
    ["snapshot ack", concatenate(encodeSnapshotAck({ transfer: 1, received: 6, outcome: "installed" }))],
    ["founding", concatenate(encodeFounding({ step: "hello", incarnation: MEMBER_B, phase: "founding" }))],
  ]);
}
