import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Configuration, MemberRecord } from "../core/raft/configuration.ts";
import { encodeConfiguration } from "../core/raft/configuration-codec.ts";
import { ENTRY_HEADER_BYTES, sealEntry, type Entry, type EntryKind } from "../core/raft/entry.ts";
import type { AppendEntries, Message } from "../core/raft/message.ts";
import { decodeMessage, encodeMessage, MESSAGE_TYPE_MAX } from "./message-codec.ts";

const ends = { from: "00000000000000aa", to: "00000000000000bb" };
const count = fc.oneof(fc.nat(1000), fc.maxSafeNat());
const envelope = { from: fc.constant(ends.from), to: fc.constant(ends.to), term: count };
const id = fc.stringMatching(/^[0-9a-f]{16}$/);

const configurations: fc.Arbitrary<Configuration> = fc
  .record({
    ids: fc.uniqueArray(id, { maxLength: 9 }),
    places: fc.array(fc.constantFrom("incoming", "outgoing", "both", "learner", "next"), { minLength: 9, maxLength: 9 }),
    name: fc.string({ maxLength: 20, unit: "grapheme" }),
    addresses: fc.array(fc.string({ maxLength: 20 }), { maxLength: 3 }),
    promotable: fc.boolean(),
  })
  .map(({ ids, places, name, addresses, promotable }) => {
    const sorted = [...ids].sort();
    const at = (...wanted: readonly string[]): string[] => sorted.filter((_, i) => wanted.includes(places[i] as string));
    const member = (memberId: string): MemberRecord => ({
      id: memberId,
      name,
      peerAddress: "a:1",
      clientAddresses: addresses,
      incarnation: "1".repeat(16),
      promotable,
    });
    const incoming = at("incoming", "both");
    // Without new voters there is no joint state: then the old ones are the voters.
    const old = at("outgoing", "both", "next");
    const outgoing = incoming.length > 0 ? old : [];
    return {
      incoming: incoming.length > 0 ? incoming : old,
      outgoing,
      learners: at("learner"),
      learnersNext: incoming.length > 0 ? at("next") : [],
      members: sorted.map(member),
    };
  });

function entry(fields: { index: number; term: number; clockMs: number; kind: EntryKind }, payload: Uint8Array): Entry {
  const record = new Uint8Array(ENTRY_HEADER_BYTES + payload.byteLength);
  record.set(payload, ENTRY_HEADER_BYTES);
  return sealEntry(record, fields);
}

const appends: fc.Arbitrary<AppendEntries> = fc
  .record({
    prevLogIndex: fc.nat(1e9),
    prevLogTerm: fc.nat(50),
    commitIndex: count,
    extraTerm: fc.nat(5),
    steps: fc.array(
      fc.record({
        term: fc.nat(3),
        clock: fc.oneof(fc.nat(1000), fc.double({ min: 0, max: 1000, noNaN: true })),
        kind: fc.constantFrom<EntryKind>("command", "configuration", "empty"),
        payload: fc.uint8Array({ maxLength: 60 }),
      }),
      { maxLength: 10 },
    ),
  })
  .map(({ prevLogIndex, prevLogTerm, commitIndex, extraTerm, steps }) => {
    let term = Math.max(prevLogTerm, 1);
    let clockMs = 0;
    const entries = steps.map((step, i) => {
      term += step.term;
      clockMs += step.clock;
      return entry({ index: prevLogIndex + 1 + i, term, clockMs, kind: step.kind }, step.payload);
    });
    return { kind: "AppendEntries", ...ends, term: term + extraTerm, prevLogIndex, prevLogTerm, commitIndex, entries };
  });

const messages: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    kind: fc.constant("RequestVote" as const),
    ...envelope,
    preVote: fc.boolean(),
    lastLogIndex: count,
    lastLogTerm: count,
    transfer: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("RequestVoteReply" as const), ...envelope, preVote: fc.boolean(), granted: fc.boolean() }),
  appends,
  fc.record({
    kind: fc.constant("AppendEntriesReply" as const),
    ...envelope,
    success: fc.boolean(),
    index: count,
    conflictIndex: count,
    conflictTerm: count,
  }),
  fc.record({ kind: fc.constant("Heartbeat" as const), ...envelope, commitIndex: count, round: count, clockMs: count }),
  fc.record({ kind: fc.constant("HeartbeatReply" as const), ...envelope, round: count }),
  fc.record({ kind: fc.constant("ReadIndex" as const), ...envelope, requestId: count }),
  fc.record({ kind: fc.constant("ReadIndexReply" as const), ...envelope, requestId: count, index: count }),
  fc.record({ kind: fc.constant("TimeoutNow" as const), ...envelope }),
  fc.record({
    kind: fc.constant("InstallSnapshot" as const),
    ...envelope,
    snapshot: fc.record({
      lastIncludedIndex: count,
      lastIncludedTerm: count,
      configuration: configurations,
      clockMs: fc.double({ min: 0, max: Number.MAX_SAFE_INTEGER, noNaN: true }).map((value) => value + 0),
    }),
  }),
);

function body(message: Message): Uint8Array {
  return new Uint8Array(Buffer.concat(encodeMessage(message)));
}

/** Objects of fast-check have no prototype; decoded ones do. */
function plain(message: unknown): unknown {
  return structuredClone(message);
}

test("every message comes back as it was", () => {
  fc.assert(
    fc.property(messages, (message) => {
      const bytes = body(message);
      assert.ok((bytes[0] as number) >= 1 && (bytes[0] as number) <= MESSAGE_TYPE_MAX);
      assert.deepEqual(plain(decodeMessage(bytes, ends)), plain(message));
    }),
    { numRuns: 1000 },
  );
});

test("the sender is who the link says, not what the bytes say", () => {
  const bytes = body({ kind: "TimeoutNow", from: "1".repeat(16), to: "2".repeat(16), term: 3 });
  assert.deepEqual(decodeMessage(bytes, ends), { kind: "TimeoutNow", ...ends, term: 3 });
});

test("records are sent as they are and received as views", () => {
  fc.assert(
    fc.property(appends, (message) => {
      const parts = encodeMessage(message);
      message.entries.forEach(({ record }, i) => assert.equal(parts[i + 1], record));
      const bytes = body(message);
      const decoded = decodeMessage(bytes, ends);
      assert.ok(decoded?.kind === "AppendEntries");
      for (const { record } of decoded.entries) assert.equal(record.buffer, bytes.buffer);
    }),
    { numRuns: 50 },
  );
});

test("a body that is cut or has bytes too many is no message", () => {
  fc.assert(
    fc.property(messages, fc.nat(), (message, seed) => {
      const bytes = body(message);
      assert.equal(decodeMessage(bytes.subarray(0, seed % bytes.byteLength), ends), undefined);
      assert.equal(decodeMessage(new Uint8Array([...bytes, 0]), ends), undefined);
    }),
    { numRuns: 500 },
  );
});

test("any bytes give a well-formed message or none, and never throw", () => {
  const hostile = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .tuple(fc.integer({ min: 1, max: 11 }), fc.uint8Array({ maxLength: 120 }))
      .map(([type, rest]) => Uint8Array.of(type, 1, 0, 0, 0, 0, 0, 0, ...rest)),
    fc.tuple(messages, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 })).map(([message, changes]) => {
      const bytes = body(message);
      for (const [place, value] of changes) bytes[place % bytes.byteLength] = value;
      return bytes;
    }),
  );
  fc.assert(
    fc.property(hostile, (bytes) => {
      const message = decodeMessage(bytes, ends);
      if (message === undefined) return;
      for (const value of Object.values(message)) {
        if (typeof value === "number") assert.ok(Number.isSafeInteger(value) && value >= 0);
      }
      if (message.kind === "AppendEntries") {
        let before = { index: message.prevLogIndex, term: message.prevLogTerm, clockMs: 0 };
        for (const next of message.entries) {
          assert.equal(next.index, before.index + 1);
          assert.ok(next.term >= before.term && next.term <= message.term && next.clockMs >= before.clockMs);
          before = next;
        }
      }
      // What was understood is understood the same way again.
      assert.deepEqual(decodeMessage(body(message), ends), message);
    }),
    { numRuns: 3000 },
  );
});

test("entries with a gap, a term or clock that goes back, or a term ahead of the sender's are refused", () => {
  const fields = { index: 8, term: 3, clockMs: 10, kind: "command" as const };
  const first = entry(fields, Uint8Array.of(1));
  const append = (...entries: readonly Entry[]): Message => ({
    kind: "AppendEntries",
    ...ends,
    term: 4,
    prevLogIndex: 7,
    prevLogTerm: 2,
    commitIndex: 7,
    entries,
  });
  const second = (change: Partial<typeof fields>): Entry => entry({ ...fields, index: 9, ...change }, Uint8Array.of(2));
  assert.notEqual(decodeMessage(body(append(first, second({}))), ends), undefined);
  for (const change of [{ index: 10 }, { index: 8 }, { term: 2 }, { clockMs: 9 }, { term: 5 }]) {
    assert.equal(decodeMessage(body(append(first, second(change))), ends), undefined, JSON.stringify(change));
  }
  assert.equal(decodeMessage(body(append(entry({ ...fields, term: 1 }, Uint8Array.of()))), ends), undefined);
});

test("numbers that are not whole, safe and non-negative are refused", () => {
  for (const bad of [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
    for (const field of ["term", "commitIndex", "round", "clockMs"]) {
      const message = { kind: "Heartbeat", ...ends, term: 1, commitIndex: 1, round: 1, clockMs: 1, [field]: bad } as Message;
      assert.equal(decodeMessage(body(message), ends), undefined, `${field} ${bad}`);
    }
  }
});

test("an unknown type, version, flag or filler byte is refused", () => {
  const bytes = body({ kind: "Heartbeat", ...ends, term: 1, commitIndex: 1, round: 1, clockMs: 1 });
  const changed = (place: number, value: number): Uint8Array => bytes.map((byte, i) => (i === place ? value : byte));
  assert.notEqual(decodeMessage(bytes, ends), undefined);
  for (const [place, value] of [
    [0, 0],
    [0, 11],
    [0, 32],
    [0, 255],
    [1, 0],
    [1, 2],
    [2, 1],
    [2, 8],
    [3, 1],
    [7, 1],
  ] as const) {
    assert.equal(decodeMessage(changed(place, value), ends), undefined, `${place} = ${value}`);
  }
});

test("an offer whose configuration is malformed, or could not be in force, is refused", () => {
  const member = (memberId: string): MemberRecord => ({
    id: memberId,
    name: "n",
    peerAddress: "",
    clientAddresses: [],
    incarnation: "",
    promotable: false,
  });
  const ids = ["a".repeat(16), "b".repeat(16)] as const;
  const configuration = { incoming: ids, outgoing: [], learners: [], learnersNext: [], members: ids.map(member) };
  const snapshot = { lastIncludedIndex: 1, lastIncludedTerm: 1, clockMs: 0.5, configuration };
  const bytes = body({ kind: "InstallSnapshot", ...ends, term: 1, snapshot });
  const fields = bytes.byteLength - encodeConfiguration(configuration).byteLength;
  assert.notEqual(decodeMessage(bytes, ends), undefined);
  assert.equal(decodeMessage(bytes.subarray(0, fields), ends), undefined);
  // Its version; then the first voter's id, which makes the list one of an unknown or a repeated member.
  for (const place of [fields, fields + 4, fields + 11]) {
    assert.equal(
      decodeMessage(
        bytes.map((byte, i) => (i === place ? byte ^ 0x81 : byte)),
        ends,
      ),
      undefined,
      `${place}`,
    );
  }
  const clock = bytes.slice();
  new DataView(clock.buffer).setFloat64(32, Number.NaN, true);
  assert.equal(decodeMessage(clock, ends), undefined);
});
