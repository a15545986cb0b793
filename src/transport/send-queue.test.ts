import assert from "node:assert/strict";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { FrameReader, type FrameLane } from "./frame.ts";
import { SendQueue, type LaneBounds } from "./send-queue.ts";
import { eventually } from "./test/test-member.ts";

const SOON = { timeout: 20_000 };
const BOUNDS: LaneBounds = { urgentBytesMax: 1 << 20, bulkBytesMax: 4 << 20, snapshotBytesMax: 1 << 20, socketBytesMax: 64 << 10 };

interface Pair {
  readonly near: Socket;
  readonly far: Socket;
  readonly read: { readonly lane: FrameLane; readonly body: Uint8Array }[];
}

/** A socket and, at its other end, the frames that came out. */
async function pair(t: TestContext): Promise<Pair> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port: 0 }, resolve));
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const near = connect({ host: "127.0.0.1", port: (server.address() as AddressInfo).port });
  await new Promise<void>((resolve) => near.once("connect", resolve));
  const far = await accepted;
  const read: Pair["read"] = [];
  const reader = new FrameReader(64 << 20, (lane, body) => read.push({ lane, body: body.slice() }));
  far.on("data", (chunk) => assert.equal(reader.read(chunk), undefined));
  for (const socket of [near, far]) socket.on("error", () => {});
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  return { near, far, read };
}

test("frames of any parts arrive whole, in their lane's order", SOON, async (t) => {
  const { near, read } = await pair(t);
  const queue = new SendQueue(near, BOUNDS);
  queue.open();
  const part = fc.oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.integer({ min: 2000, max: 200_000 }).map((length) => new Uint8Array(length).fill(length)),
  );
  const samples = fc.sample(fc.tuple(fc.constantFrom<FrameLane>("urgent", "bulk"), fc.array(part, { minLength: 1, maxLength: 5 })), 100);
  const expected: Record<string, Buffer[]> = { urgent: [], bulk: [] };
  const written: number[] = [];
  let offered = 0;
  for (const [lane, parts] of samples) {
    const number = offered;
    if (parts.every(({ byteLength }) => byteLength === 0)) continue;
    while (!queue.offer(lane, parts, () => written.push(number))) await new Promise<void>((resolve) => setImmediate(resolve));
    offered += 1;
    expected[lane]?.push(Buffer.concat(parts));
  }
  await eventually(() => read.length === offered && written.length === offered);
  for (const lane of ["urgent", "bulk"] as const) {
    const bodies = read.filter((frame) => frame.lane === lane).map(({ body }) => Buffer.from(body));
    assert.ok(bodies.length === expected[lane]?.length);
    bodies.forEach((body, i) => assert.ok(body.equals(expected[lane]?.[i] as Buffer)));
    assert.equal(queue.pendingBytes(lane), 0);
  }
  assert.deepEqual(
    [...written].sort((one, two) => one - two),
    Array.from({ length: offered }, (_, i) => i),
  );
  assert.equal(queue.isWriting, false);
});

test("a frame that ends in an empty part just where the socket's share ends is finished", SOON, async (t) => {
  const { near, read } = await pair(t);
  const queue = new SendQueue(near, BOUNDS);
  queue.open();
  let written = 0;
  const filling = new Uint8Array(BOUNDS.socketBytesMax - 12);
  assert.equal(
    queue.offer("bulk", [filling, new Uint8Array(0)], () => (written += 1)),
    true,
  );
  await eventually(() => written === 1);
  await eventually(() => read.length === 1);
  assert.equal(queue.pendingBytes("bulk"), 0);
});

test("what one turn offers is one write", SOON, async (t) => {
  const { near, read } = await pair(t);
  const queue = new SendQueue(near, BOUNDS);
  queue.open();
  for (let i = 0; i < 200; i += 1) queue.offer("urgent", [new Uint8Array(30).fill(i)], undefined);
  queue.offer("bulk", [new Uint8Array(10_000)], undefined);
  await eventually(() => read.length === 201 && !queue.isWriting);
  assert.equal(queue.writesTaken, 1);
});

test("what is offered before the queue is open waits, and a queue that is closed takes nothing", SOON, async (t) => {
  const { near, read } = await pair(t);
  const queue = new SendQueue(near, BOUNDS);
  const order: string[] = [];
  queue.offer("bulk", [Uint8Array.of(1)], () => order.push("bulk"));
  queue.offer("urgent", [Uint8Array.of(2)], () => order.push("urgent"));
  await new Promise<void>((resolve) => setImmediate(resolve));
  assert.equal(read.length, 0);
  queue.open();
  await eventually(() => order.length === 2 && read.length === 2);
  assert.deepEqual(order, ["urgent", "bulk"]);
  near.destroy();
  queue.close();
  assert.equal(
    queue.offer("urgent", [Uint8Array.of(3)], () => order.push("never")),
    false,
  );
  queue.close();
  assert.equal(order.length, 2);
});

test("a great many small frames are bounded by more than their bytes", SOON, async (t) => {
  const { near } = await pair(t);
  const queue = new SendQueue(near, BOUNDS);
  let taken = 0;
  while (queue.offer("urgent", [Uint8Array.of(1)], undefined)) taken += 1;
  assert.ok(taken > 1000 && taken <= BOUNDS.urgentBytesMax / 64, `${taken} frames`);
});

test("`written` may offer more", SOON, async (t) => {
  const { near, read } = await pair(t);
  const queue = new SendQueue(near, BOUNDS);
  queue.open();
  let left = 50;
  const more = (): void => {
    left -= 1;
    if (left > 0) assert.equal(queue.offer("bulk", [new Uint8Array(100_000)], more), true);
  };
  queue.offer("bulk", [new Uint8Array(100_000)], more);
  await eventually(() => read.length === 50);
});
