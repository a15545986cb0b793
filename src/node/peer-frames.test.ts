import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  checkMeta,
  decodeForward,
  decodeForwardAck,
  decodeFounding,
  decodeSnapshotAck,
  decodeSnapshotBegin,
  decodeSnapshotChunk,
  encodeForward,
  encodeForwardAck,
  encodeFounding,
  encodeSnapshotAck,
  encodeSnapshotBegin,
  encodeSnapshotChunk,
} from "./peer-frames.ts";
import { foundingMeta } from "./founding.ts";

const join = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const meta = foundingMeta([
  {
    id: "00000000000000aa",
    name: "n1",
    peerAddress: "127.0.0.1:1",
    clientAddresses: [],
    incarnation: "0123456789abcdef",
    promotable: false,
  },
  {
    id: "00000000000000bb",
    name: "n2",
    peerAddress: "127.0.0.1:2",
    clientAddresses: ["x:1"],
    incarnation: "fedcba9876543210",
    promotable: false,
  },
]);

test("every frame comes back as it was sent", () => {
  fc.assert(
    fc.property(
      number,
      number,
      fc.uint8Array({ maxLength: 200 }),
      fc.constantFrom("receiving", "installed", "refused"),
      (a, b, bytes, outcome) => {
        assert.deepEqual(decodeForward(join(encodeForward({ term: a, ordinal: b, record: bytes }))), {
          term: a,
          ordinal: b,
          record: bytes,
        });
        assert.deepEqual(decodeForwardAck(join(encodeForwardAck({ term: a, next: b, bootId: 7 }))), { term: a, next: b, bootId: 7 });
        assert.deepEqual(decodeSnapshotChunk(join(encodeSnapshotChunk({ transfer: a, offset: b, bytes }))), {
          transfer: a,
          offset: b,
          bytes,
        });
        assert.deepEqual(decodeSnapshotAck(join(encodeSnapshotAck({ transfer: a, received: b, outcome }))), {
          transfer: a,
          received: b,
          outcome,
        });
        const begin = { term: a, transfer: b, bytes: 9, meta };
        assert.deepEqual(decodeSnapshotBegin(join(encodeSnapshotBegin(begin))), begin);
      },
    ),
  );
  for (const frame of [
    { step: "hello", incarnation: "0123456789abcdef", phase: "pending" },
    { step: "propose", founding: meta, round: 3 },
    { step: "accepted", founding: meta },
    { step: "activate", founding: meta },
  ] as const) {
    assert.deepEqual(decodeFounding(join(encodeFounding(frame))), frame);
  }
});

test("hostile bytes are answered with undefined, never thrown", () => {
  const decoders = [decodeForward, decodeForwardAck, decodeSnapshotBegin, decodeSnapshotChunk, decodeSnapshotAck, decodeFounding];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      for (const decode of decoders) decode(bytes);
    }),
  );
  const whole = join(encodeSnapshotBegin({ term: 1, transfer: 2, bytes: 3, meta }));
  for (let length = 0; length < whole.byteLength; length++) assert.equal(decodeSnapshotBegin(whole.subarray(0, length)), undefined);
  fc.assert(
    fc.property(fc.nat({ max: whole.byteLength - 1 }), fc.nat({ max: 255 }), (at, byte) => {
      const mutated = whole.slice();
      mutated[at] = byte;
      decodeSnapshotBegin(mutated);
    }),
  );
});

test("a snapshot's description of the wrong shape is refused", () => {
  assert.deepEqual(checkMeta(meta), meta);
  const { configuration } = meta;
  for (const wrong of [
    null,
    7,
    {},
    { ...meta, lastIncludedIndex: -1 },
    { ...meta, lastIncludedTerm: 1.5 },
    { ...meta, clockMs: Number.NaN },
    { ...meta, configuration: { ...configuration, incoming: ["x"] } },
    { ...meta, configuration: { ...configuration, members: [{ id: "00000000000000aa" }] } },
    { ...meta, configuration: { ...configuration, learners: undefined } },
    {
      ...meta,
      configuration: {
        ...configuration,
        members: [{ ...configuration.members[0], clientAddresses: Array.from({ length: 17 }, () => "x") }],
      },
    },
    { ...meta, configuration: { ...configuration, members: Array.from({ length: 65 }, () => configuration.members[0]) } },
  ]) {
    assert.equal(checkMeta(wrong), undefined);
  }
});
