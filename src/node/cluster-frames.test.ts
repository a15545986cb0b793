import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  decodeAnnounce,
  decodeMoveLeader,
  decodeMoveLeaderAnswer,
  encodeAnnounce,
  encodeMoveLeader,
  encodeMoveLeaderAnswer,
  isClientAddress,
  MOVE_OUTCOMES,
} from "./cluster-frames.ts";

const join = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));
const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const memberId = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((id) => id.toString(16).padStart(16, "0"));

test("every frame comes back as it was sent", () => {
  const addresses = fc.array(fc.webUrl().filter(isClientAddress), { maxLength: 16 });
  fc.assert(fc.property(addresses, (list) => assert.deepEqual(decodeAnnounce(join(encodeAnnounce(list))), list)));
  const plain = { noNullPrototype: true };
  const moves = fc.record({ bootId: fc.nat(2 ** 31), term: number, request: number, to: fc.option(memberId, { nil: undefined }) }, plain);
  fc.assert(fc.property(moves, (move) => assert.deepEqual(decodeMoveLeader(join(encodeMoveLeader(move))), move)));
  const answers = fc.record({ bootId: fc.nat(2 ** 31), term: number, request: number, outcome: fc.constantFrom(...MOVE_OUTCOMES) }, plain);
  fc.assert(fc.property(answers, (answer) => assert.deepEqual(decodeMoveLeaderAnswer(join(encodeMoveLeaderAnswer(answer))), answer)));
});

test("an address is 1 to 256 bytes without blanks or control characters", () => {
  for (const good of ["http://10.0.0.1:2379", "https://[::1]:1", "http://prüfung:1", `http://${"x".repeat(249)}`])
    assert.ok(isClientAddress(good), good);
  for (const bad of [
    "",
    " http://a",
    "http://a b",
    "http://a\n",
    "http://a\u0000",
    "\ud800",
    "x".repeat(257),
    "ü".repeat(129),
    7,
    undefined,
  ])
    assert.ok(!isClientAddress(bad), String(bad));
});

test("hostile bytes are answered with undefined, never thrown", () => {
  const decoders = [decodeAnnounce, decodeMoveLeader, decodeMoveLeaderAnswer];
  const property = fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    for (const decode of decoders) decode(bytes);
  });
  fc.assert(property);
  const whole = join(encodeAnnounce(["http://a:1", "http://b:2"]));
  for (let length = 0; length < whole.byteLength; length++) assert.equal(decodeAnnounce(whole.subarray(0, length)), undefined);
  assert.equal(decodeAnnounce(new Uint8Array([...whole, 0])), undefined);
  assert.equal(decodeAnnounce(Uint8Array.of(34, 17)), undefined, "more than 16");
  assert.equal(decodeAnnounce(Uint8Array.of(34, 1, 1, 0, 0xff)), undefined, "no UTF-8");
  assert.equal(decodeAnnounce(Uint8Array.of(34, 1, 0, 0)), undefined, "empty");
  const move = join(encodeMoveLeader({ bootId: 1, term: 2, request: 3, to: "00000000000000aa" }));
  for (let at = 0; at < 24; at++) {
    const mutated = move.slice();
    mutated[at] = 0xff;
    decodeMoveLeader(mutated);
  }
  assert.equal(decodeMoveLeader(move.subarray(0, 31)), undefined);
  const answer = join(encodeMoveLeaderAnswer({ bootId: 1, term: 2, request: 3, outcome: "begun" }));
  answer[1] = MOVE_OUTCOMES.length;
  assert.equal(decodeMoveLeaderAnswer(answer), undefined);
});
