import assert from "node:assert/strict";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { Connection } from "./connection.ts";
import { encodeFrame } from "./frame.ts";
import { PONG_BODY } from "./hello.ts";
import { TRANSPORT_LIMITS } from "./limits.ts";
import { eventually } from "./test/test-member.ts";

const SOON = { timeout: 20_000 };

interface Ends {
  readonly connection: Connection;
  readonly far: Socket;
  readonly heard: string[];
  readonly closed: string[];
}

/** A connection that is open, and the bare socket at its other end. */
async function ends(t: TestContext): Promise<Ends> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen({ host: "127.0.0.1", port: 0 }, resolve));
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const near = connect({ host: "127.0.0.1", port: (server.address() as AddressInfo).port });
  await new Promise<void>((resolve) => near.once("connect", resolve));
  const far = await accepted;
  far.on("error", () => {});
  t.after(() => {
    near.destroy();
    far.destroy();
    server.close();
  });
  const heard: string[] = [];
  const closed: string[] = [];
  const connection = new Connection(near, TRANSPORT_LIMITS, {
    onFrame: (lane) => heard.push(lane),
    onClosed: (reason) => closed.push(reason),
  });
  connection.open();
  return { connection, far, heard, closed };
}

test("a peer that answers but reads nothing is given up once nothing has moved for some beats", SOON, async (t) => {
  const { connection, far, heard, closed } = await ends(t);
  far.pause();
  let written = 0;
  let offered = 0;
  for (let still = 0; still < 30; still += 1) {
    while (connection.queue.offer("bulk", [new Uint8Array(500_000)], () => (written += 1))) {
      offered += 1;
      still = 0;
    }
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  for (let beat = 1; closed.length === 0; beat += 1) {
    assert.ok(beat <= TRANSPORT_LIMITS.beatsSilentMax + 2, "it is still open");
    far.write(encodeFrame("control", [PONG_BODY]));
    await eventually(() => heard.length === beat);
    connection.beat(true, TRANSPORT_LIMITS.beatsSilentMax);
  }
  assert.deepEqual(closed, ["the other side reads nothing"]);
  assert.equal(written, offered);
  connection.close("again");
  assert.equal(closed.length, 1);
});

test("a peer that reads slowly is not given up while anything moves", SOON, async (t) => {
  const { connection, far, heard, closed } = await ends(t);
  far.pause();
  for (let still = 0; still < 30; still += 1) {
    while (connection.queue.offer("bulk", [new Uint8Array(500_000)], undefined)) still = 0;
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  for (let beat = 1; beat <= 3 * TRANSPORT_LIMITS.beatsSilentMax; beat += 1) {
    const taken = connection.queue.writesTaken;
    far.resume();
    await eventually(() => connection.queue.writesTaken > taken || !connection.queue.isWriting);
    far.pause();
    far.write(encodeFrame("control", [PONG_BODY]));
    await eventually(() => heard.length === beat);
    connection.beat(true, TRANSPORT_LIMITS.beatsSilentMax);
  }
  assert.deepEqual(closed, []);
});

test("a peer that says nothing is given up after some beats, one that does is not", SOON, async (t) => {
  const { connection, far, heard, closed } = await ends(t);
  far.resume();
  for (let beat = 1; beat <= 20; beat += 1) {
    connection.beat(true, TRANSPORT_LIMITS.beatsSilentMax);
    far.write(encodeFrame("control", [PONG_BODY]));
    await eventually(() => heard.length === beat);
  }
  for (let beat = 0; beat < TRANSPORT_LIMITS.beatsSilentMax; beat += 1) connection.beat(true, TRANSPORT_LIMITS.beatsSilentMax);
  assert.deepEqual(closed, []);
  connection.beat(true, TRANSPORT_LIMITS.beatsSilentMax);
  assert.deepEqual(closed, ["nothing was heard from the other side for too long"]);
});
