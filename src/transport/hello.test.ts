import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { commonProtocol, decodeControl, encodeHello, encodeRefusal, PING_BODY, PONG_BODY } from "./hello.ts";
import type { Hello } from "./transport.ts";

const hello: Hello = {
  clusterId: "c".repeat(16),
  memberId: "a".repeat(16),
  incarnation: "1".repeat(16),
  name: "nöde",
  bootId: 0xffff_ffff,
  protocolMin: 1,
  protocolMax: 3,
  featureLevel: 2,
  electionTimeoutMs: 1000,
};

test("a hello comes back as it was, with its purpose", () => {
  for (const purpose of ["consensus", "snapshot"] as const) {
    assert.deepEqual(decodeControl(encodeHello(hello, purpose)), { kind: "hello", purpose, hello });
  }
});

test("bytes that a later version adds to a hello are passed over", () => {
  const longer = new Uint8Array([...encodeHello(hello, "consensus"), 1, 2, 3]);
  assert.deepEqual(decodeControl(longer), { kind: "hello", purpose: "consensus", hello });
});

test("a hello that is cut, of another program, or whose versions cannot be is refused", () => {
  const bytes = encodeHello(hello, "consensus");
  for (let length = 1; length < bytes.byteLength; length += 1) assert.equal(decodeControl(bytes.subarray(0, length)), undefined);
  for (let place = 1; place < 7; place += 1) {
    assert.equal(decodeControl(bytes.map((byte, i) => (i === place ? byte ^ 1 : byte))), undefined);
  }
  assert.equal(decodeControl(encodeHello({ ...hello, protocolMin: 4 }, "consensus")), undefined);
  assert.equal(decodeControl(encodeHello({ ...hello, memberId: "nobody" }, "consensus")), undefined);
  assert.equal(decodeControl(encodeHello({ ...hello, bootId: 0.5 }, "consensus")), undefined);
});

test("a refusal's reason is one line of bounded length", () => {
  assert.deepEqual(decodeControl(encodeRefusal("no: ü")), { kind: "refusal", reason: "no: ü" });
  assert.deepEqual(decodeControl(encodeRefusal("a\nb\u001b[31m")), { kind: "refusal", reason: "a b [31m" });
  const long = decodeControl(encodeRefusal("x".repeat(5000)));
  assert.ok(long?.kind === "refusal" && long.reason.length === 1000);
  assert.equal(decodeControl(Uint8Array.of(2, 0xff)), undefined);
});

test("any bytes are decoded without throwing, and beats are told from what is not known", () => {
  assert.deepEqual(decodeControl(PING_BODY), { kind: "ping" });
  assert.deepEqual(decodeControl(PONG_BODY), { kind: "pong" });
  assert.deepEqual(decodeControl(Uint8Array.of(77)), { kind: "unknown" });
  assert.equal(decodeControl(new Uint8Array(0)), undefined);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => void decodeControl(bytes)));
});

test("the common version is the highest that both speak", () => {
  const range = (protocolMin: number, protocolMax: number): Hello => ({ ...hello, protocolMin, protocolMax });
  assert.equal(commonProtocol(range(1, 3), range(2, 5)), 3);
  assert.equal(commonProtocol(range(2, 5), range(1, 3)), 3);
  assert.equal(commonProtocol(range(1, 1), range(1, 1)), 1);
  assert.equal(commonProtocol(range(1, 2), range(3, 4)), undefined);
});
