/** docs/formats.md is what the code does: its examples are what is encoded, and are decoded again. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { crc32 } from "node:zlib";
import { BATCH_PREFIX_BYTES, readBatchHeader } from "../core/batch.ts";
import { CommandBatch, CommandReader, REFUSALS } from "../core/kv/command.ts";
import { leaseOfCommand } from "../core/kv/lease-id.ts";
import { KvMachine } from "../core/kv/machine.ts";
import { AnswerReader } from "../core/kv/read.ts";
import { ResultReader } from "../core/kv/result.ts";
import { SnapshotRestoring } from "../core/kv/snapshot-stream.ts";
import { createTable } from "../core/kv/table/packed-table.ts";
import { decodeWatchEvent } from "../core/kv/watch-event.ts";
import { decodeConfiguration } from "../core/raft/configuration-codec.ts";
import { decodeEntry } from "../core/raft/entry.ts";
import { createNodeFileSystem } from "../host/node-file-system.ts";
import { bootstrapClusterId, bootstrapMemberId, decodeIdentity, encodeIdentity, newIdentity } from "../node/identity.ts";
import { OpaqueAnswers, OpaqueReader } from "../node/machine/opaque-commands.ts";
import { UserSnapshotReader } from "../node/machine/user-snapshot.ts";
import {
  decodeForward,
  decodeForwardAck,
  decodeFounding,
  decodeSnapshotAck,
  decodeSnapshotBegin,
  decodeSnapshotChunk,
} from "../node/peer-frames.ts";
import { decodeAnnounce, decodeMoveLeader, decodeMoveLeaderAnswer } from "../node/cluster-frames.ts";
import { loadIdentity } from "../storage/identity-file.ts";
import { GROUP_HEADER_BYTES, RECORD_HEADER_BYTES, parseJson, readGroupHeader, verifyGroup } from "../storage/log-format.ts";
import { LogState, readSegmentHead } from "../storage/log-state.ts";
import { SnapshotStore } from "../storage/snapshot-store.ts";
import { FrameReader } from "../transport/frame.ts";
import { decodeControl } from "../transport/hello.ts";
import { decodeMessage } from "../transport/message-codec.ts";
import {
  MEMBER_A,
  MEMBER_B,
  configuration,
  formatVectors,
  messages,
  segmentHead,
  snapshotFileName,
  snapshotMeta,
} from "./test/format-vectors.ts";

const page = readFileSync(new URL("../../docs/formats.md", import.meta.url), "utf8");
const utf8 = new TextEncoder();

/** What a block of the page says: hex digits, 'text', and a byte repeated as in 00*8; comments begin with a semicolon. */
function parseExample(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const [token] of text.replace(/;.*$/gm, "").matchAll(/'[^']*'|\S+/g)) {
    const repeated = /^([0-9a-f]{2})\*(\d+)$/.exec(token);
    if (token.startsWith("'")) bytes.push(...utf8.encode(token.slice(1, -1)));
    else if (repeated !== null) bytes.push(...new Array<number>(Number(repeated[2])).fill(Number.parseInt(repeated[1]!, 16)));
    else {
      assert.match(token, /^[0-9a-f]{2}$/, `${token} is a byte`);
      bytes.push(Number.parseInt(token, 16));
    }
  }
  return Uint8Array.from(bytes);
}

function blocks(language: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [, name, text] of page.matchAll(new RegExp(`^\`\`\`${language} (.+)\\n([^]*?)^\`\`\``, "gm"))) found.set(name!, text!);
  return found;
}

const examples = new Map([...blocks("hex")].map(([name, text]) => [name, parseExample(text)]));

function example(name: string): Uint8Array {
  const bytes = examples.get(name);
  assert.ok(bytes !== undefined, `docs/formats.md has an example ${name}`);
  return bytes;
}

const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes)
    .toString("hex")
    .replace(/(.{32})/g, "$1\n");

for (const [name, encoded] of formatVectors()) {
  test(`${name}: what is encoded is what docs/formats.md says`, () => assert.equal(hex(encoded), hex(example(name))));
}

test("every example of the page is one that the code makes", () => {
  assert.deepEqual([...examples.keys()].sort(), [...formatVectors().keys()].sort());
});

test("an entry and a batch header are read back", () => {
  const entry = decodeEntry(example("entry"), 0);
  assert.ok(entry !== undefined);
  assert.deepEqual({ ...entry, record: undefined }, { index: 8, term: 3, clockMs: 1000.5, kind: "empty", record: undefined });
  assert.deepEqual(readBatchHeader(example("batch")), {
    origin: MEMBER_A,
    bootId: 0x01020304,
    sequence: 9,
    commands: 6,
    session: undefined,
  });
});

test("commands are read back, and applied with the results of the page", () => {
  const reader = new CommandReader();
  reader.open(example("commands"));
  const read: unknown[] = [];
  for (let fault = reader.next(); fault !== "end"; fault = reader.next()) read.push([fault, reader.op, reader.flags]);
  assert.deepEqual(read, [
    [undefined, 1, 4],
    [undefined, 1, 1],
    [undefined, 4, 2],
    [undefined, 2, 1],
    [undefined, 3, 16],
    [undefined, 1, 8],
  ]);
  const results = new ResultReader(example("results"));
  const told: unknown[] = [];
  while (results.next())
    told.push([results.op, results.revision, results.refusal?.code, results.succeeded, results.deleted, results.prevKvs().length]);
  assert.deepEqual(told, [
    [1, 2, undefined, false, 0, 0],
    [1, 3, undefined, false, 0, 1],
    [4, 4, undefined, true, 0, 0],
    [2, 5, undefined, false, 1, 1],
    [3, 5, undefined, false, 0, 0],
    [1, 5, "leaseNotFound", false, 0, 0],
  ]);
});

test("the codes of refusals are those of the page", () => {
  const listed = /^Refusals: (.+?)\./m.exec(page)?.[1]?.split(", ");
  assert.deepEqual(
    listed,
    REFUSALS.map((code, at) => `${at + 1} ${code}`),
  );
});

test("answers and watch events are read back", () => {
  const answers = new AnswerReader(example("answers"));
  assert.equal(answers.revision, 2);
  const first = answers.next();
  assert.ok(typeof first === "object" && Buffer.from(first.value).toString() === "v");
  assert.equal(answers.next(), undefined);
  const put = decodeWatchEvent(example("watch events"), 0);
  const expiry = decodeWatchEvent(example("watch events"), put.next);
  assert.deepEqual([put.kind, put.created, put.kv.lease, put.prevKv], ["put", true, "0000000000080000", undefined]);
  assert.deepEqual([expiry.kind, expiry.cause, expiry.kv.modRevision, expiry.prevKv?.modRevision], ["delete", "expiry", 3, 2]);
});

test("a configuration is read back", () => {
  assert.deepEqual(decodeConfiguration(example("configuration")), configuration);
});

test("groups of the log verify at their place and nowhere else, and are read back", () => {
  const head = example("segment head");
  const place = { segment: 2, nonce: 0x0badcafe, offset: 0 };
  assert.ok(verifyGroup(place, head));
  assert.ok(!verifyGroup({ ...place, segment: 3 }, head));
  assert.deepEqual(readGroupHeader(head), {
    version: 1,
    kind: "head",
    number: 5,
    nonce: 0x0badcafe,
    recordBytes: head.byteLength - GROUP_HEADER_BYTES,
  });
  const read = readSegmentHead(parseJson(head.subarray(GROUP_HEADER_BYTES + RECORD_HEADER_BYTES)));
  assert.deepEqual(read, segmentHead);
  const group = example("group");
  assert.ok(verifyGroup({ ...place, offset: 512 }, group));
  assert.ok(!verifyGroup({ ...place, offset: 1024 }, group));
  const state = new LogState(segmentHead);
  assert.equal(state.fold(group, GROUP_HEADER_BYTES), 8);
  assert.deepEqual([state.lastIndex, state.lastTerm, state.vote], [8, 3, { term: 3, votedFor: MEMBER_A }]);
});

test("a snapshot stream restores to the state that it was made of", () => {
  const restoring = new SnapshotRestoring({ table: createTable({ hashSeed: { low: 5, high: 6 } }) });
  assert.equal(restoring.write(example("snapshot stream")), undefined);
  const machine = restoring.finish({ index: 11, term: 3 });
  assert.ok(machine instanceof KvMachine);
  assert.deepEqual([machine.revision, machine.compactRevision, machine.clockMs, machine.leases, machine.nextDue()], [5, 3, 1003, 1, 6002]);
});

/** Where files of the page can be read back. */
function withDirectory(body: (directory: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "d-engine-formats-"));
  try {
    body(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("an identity file is read back, and one of a newer version is told from rot", () => {
  withDirectory((directory) => {
    const fileSystem = createNodeFileSystem({ sync: false });
    const path = join(directory, "identity");
    const bytes = example("identity file").slice();
    writeFileSync(path, bytes);
    assert.equal(Buffer.from(loadIdentity(fileSystem, directory)!).toString(), "{}");
    bytes[4] = 2;
    writeFileSync(path, bytes);
    assert.throws(() => loadIdentity(fileSystem, directory), { code: "CORRUPT" });
    new DataView(bytes.buffer).setUint32(12, crc32(bytes.subarray(16), crc32(bytes.subarray(0, 12))), true);
    writeFileSync(path, bytes);
    assert.throws(() => loadIdentity(fileSystem, directory), { code: "INCOMPATIBLE" });
  });
});

test("a snapshot file is read back, and one of a newer version is told from rot", () => {
  withDirectory((directory) => {
    const fileSystem = createNodeFileSystem({ sync: false });
    const name = snapshotFileName();
    const bytes = example("snapshot file").slice();
    const open = (): SnapshotStore => {
      writeFileSync(join(directory, name), bytes);
      return new SnapshotStore({ fileSystem, directory, random: { uint32: () => 1 } });
    };
    const store = open();
    assert.equal(store.inspect(name).meta.lastIncludedIndex, 7);
    assert.equal(Buffer.from(store.read(name, { offset: 0, bytesMax: 100 })).toString(), "stream");
    store.close();
    bytes[4] = 2;
    assert.throws(() => open().inspect(name), { code: "CORRUPT" });
    const metaBytes = bytes[8]!;
    new DataView(bytes.buffer).setUint32(12, crc32(bytes.subarray(16, 16 + metaBytes), crc32(bytes.subarray(0, 12))), true);
    assert.throws(() => open().inspect(name), { code: "INCOMPATIBLE" });
  });
});

test("the names of files are those of the page", () => {
  assert.match(snapshotFileName(), /^\d{16}-3-[0-9a-f]{16}\.snapshot$/);
});

test("identities, and the ids that follow from a founding list, are those of the page", () => {
  const bootstrap = { n2: "b:1", n1: "a:1" };
  const clusterId = bootstrapClusterId(bootstrap);
  const memberId = bootstrapMemberId(clusterId, "n1");
  const identity = {
    memberId,
    name: "n1",
    clusterId,
    incarnation: MEMBER_A,
    bootstrap: { n1: "a:1", n2: "b:1" },
    phase: "founding",
    founding: undefined,
  } as const;
  const text = blocks("text").get("identity")!.trimEnd();
  assert.equal(new TextDecoder().decode(encodeIdentity(identity)), text);
  assert.deepEqual({ ...decodeIdentity(utf8.encode(text)), founding: undefined }, identity);
  assert.equal(leaseOfCommand(8, 1), "0000000000080001");
});

test("frames and what links say are read back", () => {
  const bodies: [string, number][] = [];
  assert.equal(new FrameReader(1024, (lane, body) => bodies.push([lane, body.byteLength])).read(example("frame")), undefined);
  assert.deepEqual(bodies, [["urgent", 16]]);
  assert.deepEqual(decodeControl(example("hello")), {
    kind: "hello",
    purpose: "consensus",
    hello: {
      clusterId: "c1",
      memberId: MEMBER_A,
      incarnation: "i1",
      name: "n1",
      bootId: 0x01020304,
      protocolMin: 1,
      protocolMax: 1,
      featureLevel: 1,
      electionTimeoutMs: 1000,
    },
  });
  assert.deepEqual(decodeControl(example("refusal")), { kind: "refusal", reason: "no" });
  assert.deepEqual(decodeControl(example("ping")), { kind: "ping" });
  assert.deepEqual(decodeControl(example("pong")), { kind: "pong" });
});

test("messages of consensus are read back", () => {
  for (const message of messages()) assert.deepEqual(decodeMessage(example(message.kind), { from: MEMBER_A, to: MEMBER_B }), message);
});

test("node frames are read back", () => {
  assert.deepEqual(decodeForward(example("forward")), { term: 3, ordinal: 1, record: Uint8Array.of(0xaa, 0xbb) });
  assert.deepEqual(decodeForwardAck(example("forward ack")), { term: 3, bootId: 0x01020304, next: 2 });
  assert.deepEqual(decodeAnnounce(example("announce")), ["http://a:1", "http://b:2"]);
  assert.deepEqual(decodeMoveLeader(example("move leader")), { term: 3, bootId: 0x01020304, request: 1, to: MEMBER_B });
  const answer = { term: 3, bootId: 0x01020304, request: 1, outcome: "lagging" };
  assert.deepEqual(decodeMoveLeaderAnswer(example("move leader answer")), answer);
  const begin = decodeSnapshotBegin(example("snapshot begin"));
  assert.deepEqual([begin?.term, begin?.transfer, begin?.bytes, begin?.meta.lastIncludedIndex], [3, 1, 6, snapshotMeta.lastIncludedIndex]);
  assert.deepEqual(decodeSnapshotChunk(example("snapshot chunk")), { transfer: 1, offset: 4, bytes: utf8.encode("am") });
  assert.deepEqual(decodeSnapshotAck(example("snapshot ack")), { transfer: 1, received: 6, outcome: "installed" });
  assert.deepEqual(decodeFounding(example("founding")), { step: "hello", incarnation: MEMBER_B, phase: "founding" });
});

test("history and data count the logical bytes of the page", () => {
  const kv = new KvMachine({ table: createTable({ hashSeed: { low: 1, high: 2 } }), history: { revisionsMax: 1000, bytesMax: 1_000_000 } });
  let index = 0;
  const run = (add: (batch: CommandBatch) => void): void => {
    const batch = new CommandBatch();
    add(batch);
    const { count } = batch;
    kv.begin({ index: ++index, term: 1, clockMs: 0, commands: batch.finish().subarray(BATCH_PREFIX_BYTES), count }, false);
    while (!kv.step(100));
  };
  const key = utf8.encode("key");
  run((batch) => batch.put(key, utf8.encode("12345")));
  assert.deepEqual([kv.historyBytes, kv.table.dataBytes], [16, 64 + 5 + 3]);
  run((batch) => batch.put(key, utf8.encode("1234567")));
  assert.deepEqual([kv.historyBytes, kv.table.dataBytes], [16 + 16 + 64 + 3 + 5, 64 + 5 + 64 + 7 + 3]);
  const before = kv.historyBytes;
  run((batch) => batch.deleteKey(key));
  assert.deepEqual([kv.historyBytes - before, kv.table.dataBytes], [16 + 2 * (64 + 3) + 7, 64 + 5 + 64 + 7 + 64 + 3 + 3]);
});

test("commands, answers and snapshots of users' machines are read back", () => {
  const commands = new OpaqueReader(example("user commands"));
  const text = (bytes: Uint8Array | undefined): string | undefined => (bytes === undefined ? undefined : Buffer.from(bytes).toString());
  assert.deepEqual(
    [1, 2, 3, 4].map(() => text(commands.next())),
    ["one", "", "two", undefined],
  );
  const packed = example("user answers");
  assert.equal(OpaqueAnswers.indexOf(packed), 8);
  const answers = new OpaqueAnswers(packed, 8);
  const told = [1, 2, 3].map(() => answers.next());
  assert.deepEqual(
    told.map((answer) => [answer?.outcome, text(answer?.bytes)]),
    [
      ["answer", "ONE"],
      ["answer", ""],
      ["refused", "no"],
    ],
  );
  const reader = new UserSnapshotReader();
  assert.equal(text(reader.write(example("user snapshot stream")) as Uint8Array), "state");
  assert.equal(reader.finish(), undefined);
});

test("an identity says of which kind its log is, and clusters of the two kinds have other ids", () => {
  const bootstrap = { n1: "a:1", n2: "b:1" };
  const identity = newIdentity({ name: "n1", bootstrap, state: "user" }, { uint32: () => 1 });
  assert.equal(decodeIdentity(encodeIdentity(identity)).state, "user");
  assert.equal(identity.clusterId, bootstrapClusterId(bootstrap, { state: "user" }));
  assert.notEqual(identity.clusterId, bootstrapClusterId(bootstrap));
});
