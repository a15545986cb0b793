import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import fc from "fast-check";
import { encodeFrame, FRAME_HEADER_BYTES, writeFrameHeader } from "./frame.ts";
import { encodeHello, PING_BODY } from "./hello.ts";
import { ManualClock } from "./test/manual-clock.ts";
import { bytesOf, eventually, helloOf, RawPeer, TestMember, turns } from "./test/test-member.ts";
import type { TcpTransportOptions } from "./tcp-transport.ts";

const SOON = { timeout: 20_000 };

async function open(t: TestContext, number: number, options: Partial<TcpTransportOptions> = {}): Promise<TestMember> {
  const member = await new TestMember(number).open(options);
  t.after(() => member.transport.close());
  return member;
}

async function dial(t: TestContext, member: TestMember): Promise<RawPeer> {
  const peer = await RawPeer.dial(member.address.address);
  t.after(() => peer.socket.destroy());
  return peer;
}

test("a stranger's garbage closes its connection and nothing else", SOON, async (t) => {
  const a = await open(t, 1);
  const friend = await dial(t, a);
  friend.sayHello(helloOf(2));
  await eventually(() => friend.controls.length === 1);
  const huge = new Uint8Array(FRAME_HEADER_BYTES);
  writeFrameHeader(huge, 0, "control", [new Uint8Array(65 << 10)]);
  const garbage: Uint8Array[] = [
    new TextEncoder().encode("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    new TextEncoder().encode("\u0016\u0003\u0001\u0002\u0000\u0001\u0000\u0001\u0000padding padding"),
    new Uint8Array(1000).fill(0xff),
    new Uint8Array(1000),
    huge,
    encodeFrame("urgent", bytesOf("no hello before")),
    encodeFrame("control", [PING_BODY]),
    encodeFrame("control", [encodeHello(helloOf(3), "consensus").subarray(0, 20)]),
    encodeFrame("control", [Uint8Array.of(99)]),
    ...fc.sample(fc.uint8Array({ minLength: 12, maxLength: 300 }), 30),
  ];
  for (const bytes of garbage) {
    const stranger = await dial(t, a);
    stranger.socket.write(bytes);
    await eventually(() => stranger.closed);
    assert.equal(stranger.frames.length, 0);
  }
  assert.equal(a.transport.connections.strangers, 0);
  friend.say("urgent", bytesOf("still here")[0] as Uint8Array);
  await a.until(() => a.received.length === 1);
  assert.equal(friend.closed, false);
});

test("a stranger who says nothing, or very slowly, is closed when the handshake's time is over", SOON, async (t) => {
  const clock = new ManualClock();
  const a = await open(t, 1, { clock });
  const silent = await dial(t, a);
  const slow = await dial(t, a);
  await eventually(() => a.transport.connections.strangers === 2);
  const hello = encodeFrame("control", [encodeHello(helloOf(2), "consensus")]);
  for (let i = 0; i < 40; i += 1) {
    slow.socket.write(hello.subarray(i, i + 1));
    clock.advance(100);
    await turns(2);
  }
  assert.equal(a.transport.connections.strangers, 2);
  clock.advance(1000);
  await eventually(() => silent.closed && slow.closed);
  assert.equal(a.transport.connections.strangers, 0);
});

test("strangers are bounded, and do not keep a member out", SOON, async (t) => {
  const a = await open(t, 1, { limits: { strangersMax: 8 } });
  const b = await open(t, 2);
  const crowd: RawPeer[] = [];
  for (let i = 0; i < 100; i += 1) {
    crowd.push(await dial(t, a));
    assert.ok(a.transport.connections.strangers <= 8);
  }
  await eventually(() => crowd.filter(({ closed }) => closed).length >= 92);
  b.transport.setPeers([a.address]);
  await b.untilReport(`up ${a.id}`);
  assert.ok(a.transport.connections.strangers <= 8);
});

test("connections of accepted members are bounded too", SOON, async (t) => {
  const a = await open(t, 1, { limits: { acceptedMax: 3 } });
  const peers: RawPeer[] = [];
  for (let number = 2; number < 6; number += 1) {
    const peer = await dial(t, a);
    peer.sayHello(helloOf(number));
    await eventually(() => peer.controls.length === 1);
    peers.push(peer);
  }
  assert.deepEqual(
    peers.map(({ controls }) => controls[0]?.kind),
    ["hello", "hello", "hello", "refusal"],
  );
  assert.equal(a.transport.connections.accepted, 3);
});

test("a refused stranger who does not hang up is hung up on", SOON, async (t) => {
  const clock = new ManualClock();
  const a = await open(t, 1, { clock });
  a.judge = () => "no";
  const peer = await RawPeer.dial(a.address.address);
  t.after(() => peer.socket.destroy());
  peer.socket.allowHalfOpen = true;
  peer.sayHello(helloOf(2));
  await eventually(() => peer.controls[0]?.kind === "refusal");
  peer.socket.write(new Uint8Array(100_000));
  await turns();
  assert.equal(a.transport.connections.strangers, 1);
  clock.advance(5000);
  assert.equal(a.transport.connections.strangers, 0);
});

test("a newer connection of the same member and purpose replaces the older; another purpose does not", SOON, async (t) => {
  const a = await open(t, 1);
  const older = await dial(t, a);
  older.sayHello(helloOf(2));
  await eventually(() => older.controls.length === 1);
  const snapshots = await dial(t, a);
  snapshots.sayHello(helloOf(2), "snapshot");
  await eventually(() => snapshots.controls.length === 1);
  const newer = await dial(t, a);
  newer.sayHello(helloOf(2, { bootId: 8 }));
  await eventually(() => older.closed && newer.controls.length === 1);
  assert.equal(snapshots.closed, false);
  assert.equal(a.transport.connections.accepted, 2);
  newer.say("bulk", Uint8Array.of(65));
  snapshots.say("snapshot", Uint8Array.of(66));
  await a.until(() => a.received.length === 2);
});

test("a frame on a lane that the connection is not for, or a second hello, closes it", SOON, async (t) => {
  const a = await open(t, 1);
  const wrong: readonly (readonly ["consensus" | "snapshot", (peer: RawPeer) => void])[] = [
    ["consensus", (peer) => peer.say("snapshot", Uint8Array.of(1))],
    ["snapshot", (peer) => peer.say("urgent", Uint8Array.of(1))],
    ["snapshot", (peer) => peer.say("bulk", Uint8Array.of(1))],
    ["consensus", (peer) => peer.sayHello(helloOf(2))],
    ["consensus", (peer) => peer.socket.write(encodeFrame("urgent", bytesOf("x")).fill(0, 12))],
  ];
  for (const [purpose, say] of wrong) {
    const peer = await dial(t, a);
    peer.sayHello(helloOf(2), purpose);
    await eventually(() => peer.controls.length === 1);
    say(peer);
    await eventually(() => peer.closed);
  }
  assert.equal(a.received.length, 0);
  assert.equal(a.transport.connections.accepted, 0);
});

test("what a later version says on the control lane is passed over", SOON, async (t) => {
  const a = await open(t, 1);
  const peer = await dial(t, a);
  peer.sayHello(helloOf(2));
  await eventually(() => peer.controls.length === 1);
  peer.say("control", Uint8Array.of(77, 1, 2));
  peer.say("control", PING_BODY);
  await eventually(() => peer.controls.length === 2);
  assert.equal(peer.controls[1]?.kind, "pong");
});

test("whoever asks without reading the answers does not fill our memory", SOON, async (t) => {
  const a = await open(t, 1);
  const peer = await dial(t, a);
  peer.sayHello(helloOf(2));
  await eventually(() => peer.controls.length === 1);
  peer.socket.pause();
  const pings = Buffer.concat(Array.from({ length: 2000 }, () => encodeFrame("control", [PING_BODY])));
  for (let i = 0; i < 100; i += 1) await new Promise<void>((resolve) => peer.socket.write(pings, () => resolve()));
  peer.say("urgent", Uint8Array.of(65));
  await a.until(() => a.received.length === 1);
  peer.socket.resume();
  await turns(100);
  // 200,000 questions; the answers of one turn are one, and one at most waits at a time.
  assert.ok(peer.controls.length < 20_000, `${peer.controls.length} answers`);
});

test("frames of full size are taken once the handshake is over, and larger ones are not", SOON, async (t) => {
  const a = await open(t, 1, { limits: { frameBytesMax: 1 << 20 } });
  const peer = await dial(t, a);
  peer.sayHello(helloOf(2));
  await eventually(() => peer.controls.length === 1);
  peer.say("bulk", new Uint8Array(1 << 20));
  await a.until(() => a.received.length === 1);
  peer.say("bulk", new Uint8Array((1 << 20) + 1));
  await eventually(() => peer.closed);
});

test("a judge who changes the peers while judging leaves nothing half-open", SOON, async (t) => {
  const a = await open(t, 1);
  const b = await open(t, 2);
  a.judge = () => {
    a.transport.setPeers([]);
    return undefined;
  };
  a.transport.setPeers([b.address]);
  await eventually(() => b.transport.connections.accepted === 0 && b.transport.connections.strangers === 0);
  await turns(50);
  assert.deepEqual(a.reports, []);
  assert.equal(b.transport.connections.accepted, 0);
});
