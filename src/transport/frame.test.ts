import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { encodeFrame, FRAME_HEADER_BYTES, FrameReader, writeFrameHeader, type FrameLane } from "./frame.ts";

interface Frame {
  readonly lane: FrameLane;
  readonly body: Uint8Array;
}

const frames = fc.array(
  fc.record({
    lane: fc.constantFrom<FrameLane>("control", "urgent", "bulk", "snapshot"),
    body: fc.uint8Array({ minLength: 1, maxLength: 200 }),
  }),
  { maxLength: 12 },
);

function join(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

function readAll(chunks: readonly Uint8Array[], bodyBytesMax = 1000): { readonly frames: Frame[]; readonly problem: string | undefined } {
  const read: Frame[] = [];
  const reader = new FrameReader(bodyBytesMax, (lane, body) => read.push({ lane, body: body.slice() }));
  for (const chunk of chunks) {
    const problem = reader.read(chunk);
    if (problem !== undefined) return { frames: read, problem };
  }
  return { frames: read, problem: undefined };
}

test("however the stream is cut, the same frames come out", () => {
  fc.assert(
    fc.property(frames, fc.array(fc.nat(60), { minLength: 1, maxLength: 200 }), (sent, cuts) => {
      const stream = join(sent.map(({ lane, body }) => encodeFrame(lane, [body])));
      const chunks: Uint8Array[] = [];
      let at = 0;
      for (let i = 0; at < stream.byteLength; i += 1) {
        const length = (cuts[i % cuts.length] as number) + (i % cuts.length === 0 ? 1 : 0);
        chunks.push(stream.slice(at, at + length));
        at += length;
      }
      const { frames: read, problem } = readAll(chunks);
      assert.equal(problem, undefined);
      assert.deepEqual(read, structuredClone(sent));
    }),
    { numRuns: 300 },
  );
});

test("a body of several parts is one body", () => {
  const parts = [Uint8Array.of(1, 2), Uint8Array.of(), Uint8Array.of(3)];
  assert.deepEqual(readAll([encodeFrame("urgent", parts)]).frames, [{ lane: "urgent", body: Uint8Array.of(1, 2, 3) }]);
});

test("a body within one chunk is a view of it, and one across chunks is a copy", () => {
  const stream = encodeFrame("bulk", [new Uint8Array(50).fill(7)]);
  const bodies: Uint8Array[] = [];
  const reader = new FrameReader(1000, (_, body) => bodies.push(body));
  reader.read(stream);
  reader.read(stream.subarray(0, 20));
  reader.read(stream.subarray(20));
  assert.equal(bodies[0]?.buffer, stream.buffer);
  assert.notEqual(bodies[1]?.buffer, stream.buffer);
  assert.deepEqual(bodies[0], bodies[1]);
});

test("no single changed bit passes, and none makes the reader wait or deliver anything", () => {
  const body = new Uint8Array(40).map((_, i) => i * 7);
  const after = encodeFrame("urgent", [Uint8Array.of(9)]);
  const stream = join([encodeFrame("bulk", [body]), after]);
  const bits = (FRAME_HEADER_BYTES + body.byteLength) * 8;
  for (let bit = 0; bit < bits; bit += 1) {
    const changed = stream.slice();
    changed[bit >> 3] = (changed[bit >> 3] as number) ^ (1 << (bit & 7));
    const { frames: read, problem } = readAll([changed]);
    assert.equal(read.length, 0, `bit ${bit}`);
    assert.notEqual(problem, undefined, `bit ${bit}`);
  }
});

test("a body of another lane's frame does not pass under this header", () => {
  const one = encodeFrame("urgent", [Uint8Array.of(1, 2, 3)]);
  const other = encodeFrame("bulk", [Uint8Array.of(1, 2, 3)]);
  other.set(one.subarray(4, 8), 4);
  assert.match(readAll([other]).problem ?? "", /checksum/);
});

test("what a stranger may send first is refused at once", () => {
  const http = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  assert.match(readAll([http]).problem ?? "", /no frames of this protocol/);
  assert.match(readAll([new Uint8Array(64)]).problem ?? "", /no frames|empty/);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 12, maxLength: 400 }), (bytes) => {
      assert.equal(readAll([bytes]).frames.length, 0);
    }),
  );
});

test("a frame over the bound is refused by its header alone", () => {
  const header = new Uint8Array(FRAME_HEADER_BYTES);
  writeFrameHeader(header, 0, "bulk", [new Uint8Array(1001)]);
  assert.match(readAll([header]).problem ?? "", /1001 bytes/);
  assert.equal(readAll([encodeFrame("bulk", [new Uint8Array(1000)])]).frames.length, 1);
});

test("an empty body and an unknown version are refused", () => {
  const empty = encodeFrame("urgent", []);
  assert.match(readAll([empty]).problem ?? "", /empty/);
});

test("a stopped reader delivers nothing more of the chunk it is in", () => {
  const stream = join([encodeFrame("urgent", [Uint8Array.of(1)]), encodeFrame("urgent", [Uint8Array.of(2)])]);
  const read: number[] = [];
  const reader: FrameReader = new FrameReader(100, (_, body) => {
    read.push(body[0] as number);
    reader.stop();
  });
  assert.equal(reader.read(stream), undefined);
  assert.equal(reader.read(stream), undefined);
  assert.deepEqual(read, [1]);
});
