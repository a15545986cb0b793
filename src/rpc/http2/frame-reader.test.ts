import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { frame } from "../test/raw-peer.ts";
import { FrameReader, type FrameSink } from "./frame-reader.ts";

interface Got {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: string;
}

class Collector implements FrameSink {
  readonly frames: Got[] = [];
  tooLarge = -1;
  stopAfter = Number.POSITIVE_INFINITY;

  onFrame(type: number, flags: number, streamId: number, source: Buffer, start: number, end: number): boolean {
    this.frames.push({ type, flags, streamId, payload: source.toString("hex", start, end) });
    return this.frames.length < this.stopAfter;
  }

  onFrameTooLarge(_type: number, _streamId: number, length: number): void {
    this.tooLarge = length;
  }
}

const anyFrame = fc.record({
  type: fc.nat(255),
  flags: fc.nat(255),
  streamId: fc.nat(0x7fff_ffff),
  payload: fc.uint8Array({ maxLength: 60 }),
});

test("Frames are the same however their bytes are cut", () => {
  fc.assert(
    fc.property(fc.array(anyFrame, { maxLength: 12 }), fc.array(fc.nat(80), { minLength: 1, maxLength: 60 }), (frames, cuts) => {
      const bytes = Buffer.concat(frames.map((one) => frame(one.type, one.flags, one.streamId, one.payload)));
      const collector = new Collector();
      const reader = new FrameReader(collector, 16_384);
      let at = 0;
      for (let i = 0; at < bytes.length; i++) {
        const end = Math.min(bytes.length, at + (cuts[i % cuts.length]! || 1));
        // Copied and destroyed afterwards: frames must not depend on a chunk that is gone, unless within the call.
        const chunk = Buffer.from(bytes.subarray(at, end));
        reader.push(chunk);
        chunk.fill(0xee);
        at = end;
      }
      assert.deepEqual(
        collector.frames,
        frames.map((one) => ({ ...one, payload: Buffer.from(one.payload).toString("hex") })),
      );
      assert.equal(reader.isInFrame, false);
    }),
  );
});

for (const cut of [0, 3, 9, 12]) {
  test(`A frame above the limit is refused by its header, cut at ${cut}, and nothing is read after it`, () => {
    const collector = new Collector();
    const reader = new FrameReader(collector, 16);
    const bytes = Buffer.concat([frame(0, 0, 1, Buffer.alloc(17)), frame(0, 0, 1)]);
    reader.push(bytes.subarray(0, cut));
    reader.push(bytes.subarray(cut));
    assert.equal(collector.tooLarge, 17);
    assert.deepEqual(collector.frames, []);
  });
}

test("A sink that says stop is given nothing more", () => {
  const collector = new Collector();
  collector.stopAfter = 1;
  const reader = new FrameReader(collector, 16);
  reader.push(Buffer.concat([frame(0, 0, 1), frame(0, 0, 1)]));
  assert.equal(collector.frames.length, 1);
});

test("The reserved bit of the stream id is ignored", () => {
  const collector = new Collector();
  const bytes = frame(0, 0, 1);
  bytes[5] = 0x80;
  new FrameReader(collector, 16).push(bytes);
  assert.equal(collector.frames[0]?.streamId, 1);
});
