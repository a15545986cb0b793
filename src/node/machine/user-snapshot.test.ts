import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { UserRestoring, UserSnapshotReader, UserSnapshotSource } from "./user-snapshot.ts";

const still = (): number => 0;

async function stream(source: UserSnapshotSource, sliceBytes: number): Promise<Uint8Array> {
  const slices: Uint8Array[] = [];
  for (let slice = await source.read(sliceBytes); slice !== undefined; slice = await source.read(sliceBytes)) {
    assert.ok(slice.byteLength <= sliceBytes);
    slices.push(slice);
  }
  return new Uint8Array(Buffer.concat(slices)); // A Buffer's slice() would be a view.
}

function follow(bytes: Uint8Array, cuts: readonly number[]): { readonly told: Uint8Array; readonly wrong: string | undefined } {
  const reader = new UserSnapshotReader();
  const told: Uint8Array[] = [];
  let at = 0;
  for (const cut of [...cuts, bytes.byteLength]) {
    const part = reader.write(bytes.subarray(at, Math.min(bytes.byteLength, at + cut)));
    if (typeof part === "string") return { told: Buffer.concat(told), wrong: part };
    told.push(part.slice());
    at = Math.min(bytes.byteLength, at + cut);
  }
  return { told: Buffer.concat(told), wrong: reader.finish() };
}

async function* later(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const piece of pieces) yield await Promise.resolve(piece);
}

const pieces = fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 10 });

test("a machine's bytes come out as they went in, whatever pieces it gave and whatever slices they travelled in", async () => {
  await fc.assert(
    fc.asyncProperty(
      pieces,
      fc.integer({ min: 12, max: 80 }),
      fc.array(fc.integer({ min: 0, max: 40 })),
      fc.boolean(),
      async (given, sliceBytes, cuts, isLater) => {
        const source = new UserSnapshotSource(isLater ? later(given) : given, still);
        const { told, wrong } = follow(await stream(source, sliceBytes), cuts);
        assert.equal(wrong, undefined);
        assert.deepEqual([...told], [...Buffer.concat(given)]);
      },
    ),
  );
});

test("a stream that is cut, changed or another kind's is refused", async () => {
  const bytes = await stream(new UserSnapshotSource([new Uint8Array([1, 2, 3, 4, 5])], still), 64);
  assert.equal(follow(bytes, []).wrong, undefined);
  for (let length = 0; length < bytes.byteLength; length++)
    assert.notEqual(follow(bytes.subarray(0, length), []).wrong, undefined, `cut to ${length}`);
  for (let at = 0; at < bytes.byteLength; at++) {
    const changed = bytes.slice();
    changed[at]! ^= 1;
    assert.notEqual(follow(changed, []).wrong, undefined, `changed at ${at}`);
    const restoring = new UserRestoring();
    assert.notEqual(restoring.write(changed) ?? restoring.finish(), undefined);
  }
  assert.match(follow(new Uint8Array(20), []).wrong ?? "", /no snapshot of a user's state machine/);
  const newer = bytes.slice();
  newer[4] = 2;
  assert.match(follow(newer, []).wrong ?? "", /version is 2/);
});

test("the first piece is asked for at once, so that what a generator does before it is done in time", async () => {
  const state = ["a"];
  function* image(): Generator<Uint8Array> {
    const copy = state.slice();
    for (const each of copy) yield new TextEncoder().encode(each);
  }
  const source = new UserSnapshotSource(image(), still);
  state.push("b");
  assert.equal(Buffer.from(follow(await stream(source, 64), []).told).toString(), "a");
});

test("a source that takes long answers with what it has", async () => {
  let now = 0;
  const source = new UserSnapshotSource([new Uint8Array(10), new Uint8Array(10)], () => (now += 5));
  assert.equal((await source.read(100))?.byteLength, 18);
  assert.equal((await source.read(100))?.byteLength, 10);
});

test("what a machine gives that is no image is told as an error, and a source that is cancelled ends its generator", async () => {
  assert.throws(() => new UserSnapshotSource(undefined as never, still), /nothing that can be iterated/);
  await assert.rejects(new UserSnapshotSource(["text"] as never, still).read(100), /not a Uint8Array/);
  let ended = 0;
  function* image(): Generator<Uint8Array> {
    try {
      for (;;) yield new Uint8Array(10);
    } finally {
      ended++;
    }
  }
  const source = new UserSnapshotSource(image(), still);
  await source.read(15);
  source.cancel();
  source.cancel();
  assert.equal(ended, 1);
  assert.equal(await source.read(15), undefined);
});
