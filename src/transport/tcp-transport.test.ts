import assert from "node:assert/strict";
import { createServer, type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import { EngineError } from "../errors.ts";
import { encodeRefusal } from "./hello.ts";
import { ManualClock } from "./test/manual-clock.ts";
import { Relay } from "./test/relay.ts";
import { bytesOf, eventually, helloOf, RawListener, TestMember, turns } from "./test/test-member.ts";
import type { TcpTransportOptions } from "./tcp-transport.ts";
import type { Hello } from "./transport.ts";

const SOON = { timeout: 20_000 };

async function open(
  t: TestContext,
  number: number,
  options: Partial<TcpTransportOptions> = {},
  change: Partial<Hello> = {},
): Promise<TestMember> {
  const member = await new TestMember(number, change).open(options);
  t.after(() => member.transport.close());
  return member;
}

async function relay(t: TestContext, target: TestMember): Promise<{ readonly cable: Relay; readonly address: string }> {
  const cable = new Relay(target.address.address);
  t.after(() => cable.close());
  return { cable, address: await cable.listen() };
}

function introduce(...members: readonly TestMember[]): void {
  for (const member of members) member.transport.setPeers(members.map(({ address }) => address));
}

test("two members exchange frames on all lanes", SOON, async (t) => {
  const a = await open(t, 1);
  const b = await open(t, 2);
  introduce(a, b);
  await Promise.all([a.untilReport(`up ${b.id}`), b.untilReport(`up ${a.id}`)]);
  assert.deepEqual(a.hellos.get(b.id), b.hello);
  assert.deepEqual(b.hellos.get(a.id), a.hello);
  for (const lane of ["urgent", "bulk", "snapshot"] as const) {
    assert.equal(a.send(b, lane, `a to b, ${lane}`), true);
    assert.equal(b.send(a, lane, `b to a, ${lane}`), true);
  }
  await Promise.all([a.until(() => a.received.length === 3), b.until(() => b.received.length === 3)]);
  for (const [member, other, text] of [
    [a, b, "b to a"],
    [b, a, "a to b"],
  ] as const) {
    const sorted = [...member.received].sort((one, two) => one.lane.localeCompare(two.lane));
    assert.deepEqual(
      sorted,
      (["bulk", "snapshot", "urgent"] as const).map((lane) => ({ from: other.id, lane, text: `${text}, ${lane}` })),
    );
  }
});

test("three members, each with each, keep the order of a lane and call `written` once a frame", SOON, async (t) => {
  const members = [await open(t, 1), await open(t, 2), await open(t, 3)];
  introduce(...members);
  for (const member of members) await member.until(() => member.reports.filter((report) => report.startsWith("up")).length === 2);
  const frames = 500;
  let written = 0;
  for (let i = 0; i < frames; i += 1) {
    // From tiny frames, which are gathered, to some of several slices.
    const text = `${i} `.padEnd(i % 50 === 0 ? 400_000 : (i * 37) % 6000, "x");
    for (const from of members) {
      for (const to of members) {
        if (from === to) continue;
        while (!from.transport.send(to.id, "bulk", bytesOf(text), () => (written += 1))) {
          written -= 1;
          await turns(1);
        }
      }
    }
  }
  for (const to of members) await to.until(() => to.received.length === 2 * frames);
  for (const to of members) {
    for (const from of members) {
      if (from !== to)
        assert.deepEqual(
          to.texts(from).map((text) => Number.parseInt(text, 10)),
          Array.from({ length: frames }, (_, i) => i),
        );
    }
  }
  await eventually(() => written === 6 * frames);
  for (const from of members) for (const to of members) assert.equal(from.transport.pendingBytes(to.id, "bulk"), 0);
});

test("urgent frames overtake bulk that waits, and what waits is bounded", SOON, async (t) => {
  const listener = new RawListener();
  t.after(() => listener.close());
  listener.onPeer = (peer) => peer.sayHello(helloOf(2));
  const limits = { bulkBytesMax: 2 << 20, urgentBytesMax: 64 << 10, socketBytesMax: 128 << 10 };
  const a = await open(t, 1, { limits });
  const b = helloOf(2).memberId;
  a.transport.setPeers([{ id: b, address: await listener.listen() }]);
  await a.untilReport(`up ${b}`);
  const [reader] = listener.peers;
  assert.ok(reader !== undefined);
  reader.socket.pause();
  const frameBytes = 10_000;
  const bulk = [new Uint8Array(frameBytes)];
  let sent = 0;
  let written = 0;
  let dropped = 0;
  const onWritten = (): void => {
    written += 1;
  };
  // Until the operating system's buffers are full and ours too: nothing moves for many turns.
  for (let still = 0; still < 50; still += 1) {
    while (a.transport.send(b, "bulk", bulk, onWritten)) {
      sent += 1;
      still = 0;
    }
    dropped += 1;
    await turns(1);
    assert.ok(a.transport.pendingBytes(b, "bulk") <= limits.bulkBytesMax);
  }
  assert.ok(a.transport.pendingBytes(b, "bulk") > limits.bulkBytesMax - 2 * frameBytes);
  assert.equal(a.transport.send(b, "urgent", bytesOf("first"), onWritten), true);
  while (a.transport.send(b, "urgent", bulk, onWritten)) sent += 1;
  dropped += 1;
  reader.socket.resume();
  await eventually(() => reader.frames.length === sent + 1 + 1);
  const frames = reader.frames.filter(({ lane }) => lane !== "control");
  const firstUrgent = frames.findIndex(({ lane }) => lane === "urgent");
  const lastUrgent = frames.findLastIndex(({ lane }) => lane === "urgent");
  assert.equal(new TextDecoder().decode(frames[firstUrgent]?.body), "first");
  assert.ok(frames.slice(firstUrgent, lastUrgent + 1).every(({ lane }) => lane === "urgent"));
  const overtaken = (frames.length - 1 - lastUrgent) * frameBytes;
  assert.ok(overtaken >= limits.bulkBytesMax - limits.socketBytesMax - 4 * frameBytes, `${overtaken} bytes were overtaken`);
  await eventually(() => written === sent + 1 + dropped);
});

test("a link that breaks calls `written` of all that waited, once", SOON, async (t) => {
  const listener = new RawListener();
  t.after(() => listener.close());
  listener.onPeer = (peer) => peer.sayHello(helloOf(2));
  const a = await open(t, 1, { limits: { bulkBytesMax: 1 << 20 } });
  const b = helloOf(2).memberId;
  a.transport.setPeers([{ id: b, address: await listener.listen() }]);
  await a.untilReport(`up ${b}`);
  listener.peers[0]?.socket.pause();
  const calls: number[] = [];
  let sent = 0;
  for (let still = 0; still < 30; still += 1) {
    for (;;) {
      const number = sent;
      calls[number] = 0;
      sent += 1;
      if (!a.transport.send(b, "bulk", [new Uint8Array(50_000)], () => (calls[number] = (calls[number] as number) + 1))) break;
      still = 0;
    }
    await turns(1);
  }
  assert.ok(calls.some((count) => count === 0));
  listener.peers[0]?.socket.destroy();
  await a.untilReport(`down ${b}`);
  await turns();
  assert.ok(calls.every((count) => count === 1));
  assert.equal(a.transport.pendingBytes(b, "bulk"), 0);
});

test("frames over the bound, to nobody, or over a link that is down are dropped, and `written` is called", SOON, async (t) => {
  const a = await open(t, 1, { limits: { frameBytesMax: 1000 } });
  const b = await open(t, 2);
  let written = 0;
  const onWritten = (): void => {
    written += 1;
  };
  assert.equal(a.transport.send(b.id, "urgent", bytesOf("x"), onWritten), false);
  assert.equal(written, 0, "never within send()");
  a.transport.setPeers([b.address]);
  assert.equal(a.transport.send(b.id, "urgent", bytesOf("x"), onWritten), false);
  await a.untilReport(`up ${b.id}`);
  assert.equal(a.transport.send(b.id, "bulk", [new Uint8Array(1001)], onWritten), false);
  assert.equal(a.transport.send(b.id, "bulk", [new Uint8Array(1000)], onWritten), true);
  await eventually(() => written === 4);
});

test("links come back when the other side restarts on the same port", SOON, async (t) => {
  const a = await open(t, 1);
  const b = await open(t, 2);
  introduce(a, b);
  await a.untilReport(`up ${b.id}`);
  const { address } = b.address;
  for (let restart = 0; restart < 3; restart += 1) {
    a.reports.length = 0;
    await b.transport.close();
    await a.untilReport(`down ${b.id}`);
    assert.equal(a.send(b, "urgent", "lost"), false);
    assert.notEqual(a.transport.linkCondition(b.id)?.lastFailure, undefined);
    a.reports.length = 0;
    b.hello = helloOf(2, { bootId: 100 + restart });
    await b.open({ listen: address });
    b.transport.setPeers([a.address]);
    await a.untilReport(`up ${b.id}`);
    assert.equal(a.hellos.get(b.id)?.bootId, 100 + restart);
    assert.deepEqual(a.transport.linkCondition(b.id), { up: true, lastFailure: undefined });
    assert.equal(a.send(b, "bulk", `hello ${restart}`), true);
    await b.until(() => b.texts(a).includes(`hello ${restart}`));
  }
});

test("a link to a process that is gone without a word is given up when the one that follows it dials", SOON, async (t) => {
  const a = await open(t, 1);
  const b = await open(t, 2);
  const { cable, address } = await relay(t, b);
  a.transport.setPeers([{ id: b.id, address }]);
  b.transport.setPeers([a.address]);
  await Promise.all([a.untilReport(`up ${b.id}`), b.untilReport(`up ${a.id}`)]);
  cable.freeze();
  a.reports.length = 0;
  b.transport.setPeers([]);
  b.hello = helloOf(2, { bootId: 100 });
  b.transport.setPeers([a.address]);
  // Silence would be noticed after ten seconds.
  await a.untilReport(`up ${b.id}`);
  assert.deepEqual(a.reports, [`down ${b.id}`, `up ${b.id}`]);
  assert.equal(a.hellos.get(b.id)?.bootId, 100);
  a.send(b, "urgent", "again");
  await b.until(() => b.texts(a).includes("again"));
});

test("one direction that breaks leaves the other up", SOON, async (t) => {
  const a = await open(t, 1);
  const b = await open(t, 2);
  const { cable, address } = await relay(t, b);
  a.transport.setPeers([{ id: b.id, address }]);
  b.transport.setPeers([a.address]);
  await Promise.all([a.untilReport(`up ${b.id}`), b.untilReport(`up ${a.id}`)]);
  cable.cut();
  await a.untilReport(`down ${b.id}`);
  assert.equal(a.send(b, "urgent", "nothing"), false);
  assert.equal(b.send(a, "urgent", "still here"), true);
  await a.until(() => a.texts(b).includes("still here"));
  assert.deepEqual(b.reports, [`up ${a.id}`]);
  a.reports.length = 0;
  cable.mend();
  await a.untilReport(`up ${b.id}`);
  assert.equal(a.send(b, "urgent", "back"), true);
  await b.until(() => b.texts(a).includes("back"));
});

test("a refusal by the side that was dialled is told with its text", SOON, async (t) => {
  const a = await open(t, 1);
  const b = await open(t, 2);
  b.judge = (hello) => `no ${hello.name} here`;
  a.transport.setPeers([b.address]);
  await a.untilReport(`refused ${b.id}: no n1 here`);
  assert.match(a.transport.linkCondition(b.id)?.lastFailure ?? "", /no n1 here/);
  assert.deepEqual(a.reports, [`refused ${b.id}: no n1 here`]);
  assert.equal(a.send(b, "urgent", "x"), false);
  await eventually(() => b.transport.connections.strangers === 0);
});

test("a refusal by the side that dials is told with its text, and a dial back ends its wait", SOON, async (t) => {
  const a = await open(t, 1);
  const b = await open(t, 2);
  a.judge = () => "wiped: see the manual";
  a.transport.setPeers([b.address]);
  await b.untilReport(`refused ${a.id}: wiped: see the manual`);
  assert.match(a.transport.linkCondition(b.id)?.lastFailure ?? "", /refused by this side: wiped/);
  await eventually(() => b.transport.connections.accepted === 0);
  // Without this, a would wait for seconds before it dials again.
  a.judge = () => undefined;
  b.transport.setPeers([a.address]);
  await a.untilReport(`up ${b.id}`);
});

test("after a refusal the next dial waits longer", SOON, async (t) => {
  const clock = new ManualClock();
  const b = await open(t, 2);
  b.judge = () => "no";
  const { cable, address } = await relay(t, b);
  const a = await open(t, 1, { clock, random: { uint32: () => 0 } });
  a.transport.setPeers([{ id: b.id, address }]);
  await a.untilReport(`refused ${b.id}: no`);
  clock.advance(2499);
  await turns();
  assert.equal(cable.dials, 1);
  clock.advance(1);
  await eventually(() => cable.dials === 2);
});

test("failed dials wait 50 ms, then twice as long each time, up to 2 s", SOON, async (t) => {
  const clock = new ManualClock();
  const b = await open(t, 2);
  const { cable, address } = await relay(t, b);
  cable.cut();
  // No beats, so that the wait for the next dial is the soonest timer.
  const a = await open(t, 1, { clock, random: { uint32: () => 0xffff_ffff }, limits: { beatMs: 1e9 } });
  a.transport.setPeers([{ id: b.id, address }]);
  for (const [dials, waitMs] of [50, 100, 200, 400, 800, 1600, 2000, 2000].entries()) {
    await eventually(() => cable.dials === dials + 1 && clock.untilNextMs <= waitMs);
    clock.advance(waitMs - 1);
    await turns();
    assert.equal(cable.dials, dials + 1);
    clock.advance(1);
  }
  cable.mend();
  clock.advance(2000);
  await a.untilReport(`up ${b.id}`);
});

test("no common protocol version, the wrong member, or oneself: refused on sight", SOON, async (t) => {
  const a = await open(t, 1, {}, { protocolMin: 2, protocolMax: 3 });
  const b = await open(t, 2, {}, { protocolMin: 1, protocolMax: 1 });
  a.transport.setPeers([b.address]);
  await a.untilReport(/^refused .*: no common protocol version: n2 speaks 1 to 1, n1 2 to 3$/);
  const c = await open(t, 3);
  const d = await open(t, 4);
  c.transport.setPeers([{ id: "f".repeat(16), address: d.address.address }]);
  await d.untilReport(/^refused 0{15}3: member 0{15}4 \(n4\) answers at the address of member f{16}$/);
  const twin = await open(t, 4);
  twin.transport.setPeers([{ id: "e".repeat(16), address: d.address.address }]);
  await twin.untilReport(/^refused e{16}: n4 was dialled by a process of its own member id$/);
});

test("a newer protocol and an older one that overlap talk", SOON, async (t) => {
  const a = await open(t, 1, {}, { protocolMin: 1, protocolMax: 3 });
  const b = await open(t, 2, {}, { protocolMin: 2, protocolMax: 9 });
  introduce(a, b);
  await Promise.all([a.untilReport(`up ${b.id}`), b.untilReport(`up ${a.id}`)]);
});

test("removing a peer closes both directions, and changing its address redials", SOON, async (t) => {
  const a = await open(t, 1);
  const b = await open(t, 2);
  const c = await open(t, 2, {}, { name: "moved" });
  introduce(a, b);
  await Promise.all([a.untilReport(`up ${b.id}`), b.untilReport(`up ${a.id}`)]);
  a.transport.setPeers([c.address]);
  assert.deepEqual(a.reports, [`up ${b.id}`, `down ${b.id}`]);
  await a.until(() => a.reports.length === 3);
  assert.equal(a.hellos.get(b.id)?.name, "moved");
  b.judge = () => "you are no peer";
  a.judge = b.judge;
  a.transport.setPeers([]);
  assert.deepEqual(a.reports.slice(3), [`down ${b.id}`]);
  await b.untilReport(`down ${a.id}`);
  assert.equal(a.transport.connections.accepted, 0);
  assert.equal(a.transport.pendingBytes(b.id, "bulk"), 0);
  assert.equal(a.transport.linkCondition(b.id), undefined);
});

test("snapshot connections are dialled when needed and closed when not, unseen by onUp and onDown", SOON, async (t) => {
  const clock = new ManualClock();
  const a = await open(t, 1, { clock, limits: { beatsIdleMax: 3 } });
  const b = await open(t, 2);
  a.transport.setPeers([b.address]);
  await a.untilReport(`up ${b.id}`);
  assert.equal(b.transport.connections.accepted, 1);
  for (let round = 0; round < 3; round += 1) {
    assert.equal(a.send(b, "snapshot", `chunk ${round}`), true);
    await b.until(() => b.texts(a).includes(`chunk ${round}`));
    assert.equal(b.transport.connections.accepted, 2);
    await eventually(() => a.transport.pendingBytes(b.id, "snapshot") === 0);
    for (let beat = 0; beat < 5; beat += 1) {
      clock.advance(2000);
      await turns();
    }
    await eventually(() => b.transport.connections.accepted === 1);
  }
  assert.deepEqual(a.reports, [`up ${b.id}`]);
});

test("a peer that vanished without a word is found by its silence; one that answers stays", SOON, async (t) => {
  const clock = new ManualClock();
  const a = await open(t, 1, { clock });
  const b = await open(t, 2, { clock });
  const c = await open(t, 3, { clock });
  const { cable, address } = await relay(t, b);
  a.transport.setPeers([{ id: b.id, address }, c.address]);
  await Promise.all([a.untilReport(`up ${b.id}`), a.untilReport(`up ${c.id}`)]);
  for (let beat = 0; beat < 40; beat += 1) {
    clock.advance(2000);
    await turns();
  }
  assert.equal(a.reports.length, 2);
  cable.freeze();
  for (let beat = 0; beat < 5; beat += 1) {
    clock.advance(2000);
    await turns();
  }
  assert.equal(a.reports.length, 2);
  clock.advance(2000);
  assert.deepEqual(a.reports.slice(2), [`down ${b.id}`]);
  assert.match(a.transport.linkCondition(b.id)?.lastFailure ?? "", /nothing was heard/);
  // The side that accepted gives up later, by itself.
  assert.equal(b.transport.connections.accepted, 1);
  for (let beat = 0; beat < 12; beat += 1) {
    clock.advance(2000);
    await turns();
  }
  assert.equal(b.transport.connections.accepted <= 1, true);
  assert.ok(a.reports.every((report) => !report.includes(c.id) || report.startsWith("up")));
});

test("setPeers called from onDown wins over the call that it came from", SOON, async (t) => {
  const members = [await open(t, 2), await open(t, 3), await open(t, 4)] as const;
  const [b, c, d] = members;
  let downs = 0;
  const a = new TestMember(1);
  await a.open({
    events: {
      judge: () => undefined,
      onFrame: () => {},
      onUp: (peer) => a.reports.push(`up ${peer}`),
      onDown: () => {
        downs += 1;
        a.transport.setPeers([d.address]);
      },
      onRefused: () => {},
    },
  });
  t.after(() => a.transport.close());
  a.transport.setPeers([b.address, c.address]);
  await eventually(() => a.reports.length === 2);
  a.transport.setPeers([]);
  await eventually(() => a.reports.length === 3);
  assert.equal(downs, 2);
  assert.equal(a.reports[2], `up ${d.id}`);
  assert.equal(a.transport.linkCondition(b.id), undefined);
  assert.equal(a.transport.linkCondition(c.id), undefined);
});

test("a dial that nobody answers is given up after the handshake's time", SOON, async (t) => {
  const clock = new ManualClock();
  const silent = createServer(() => {});
  await new Promise<void>((resolve) => silent.listen({ host: "127.0.0.1", port: 0 }, resolve));
  t.after(() => silent.close());
  const sockets: { destroy(): void }[] = [];
  let accepted = 0;
  silent.on("connection", (socket) => {
    accepted += 1;
    sockets.push(socket);
    socket.on("error", () => {});
  });
  t.after(() => sockets.forEach((socket) => socket.destroy()));
  const a = await open(t, 1, { clock });
  const b = "b".repeat(16);
  a.transport.setPeers([{ id: b, address: `127.0.0.1:${(silent.address() as AddressInfo).port}` }]);
  await eventually(() => accepted === 1);
  clock.advance(4999);
  assert.equal(a.transport.linkCondition(b)?.lastFailure, undefined);
  clock.advance(1);
  assert.match(a.transport.linkCondition(b)?.lastFailure ?? "", /no handshake within 5000 ms/);
});

test("whoever answers a dial with anything but a hello is dropped", SOON, async (t) => {
  const answers: readonly (readonly Uint8Array[])[] = [[new TextEncoder().encode("SSH-2.0-OpenSSH_9.6\r\n")], [new Uint8Array(100_000)]];
  for (const answer of answers) {
    const listener = new RawListener();
    const a = await open(t, 1);
    listener.onPeer = (peer) => answer.forEach((bytes) => peer.socket.write(bytes));
    a.transport.setPeers([{ id: "b".repeat(16), address: await listener.listen() }]);
    await eventually(() => a.transport.linkCondition("b".repeat(16))?.lastFailure !== undefined);
    assert.deepEqual(a.reports, []);
    await a.transport.close();
    await listener.close();
  }
});

test("a refusal whose text is hostile is shown as one line", SOON, async (t) => {
  const listener = new RawListener();
  t.after(() => listener.close());
  listener.onPeer = (peer) => peer.say("control", encodeRefusal("a\nb\u0007"));
  const a = await open(t, 1);
  a.transport.setPeers([{ id: "b".repeat(16), address: await listener.listen() }]);
  await a.untilReport(`refused ${"b".repeat(16)}: a b `);
});

test("a taken port is IN_USE; an address that is none, or not of this machine, INVALID_ARGUMENT", SOON, async (t) => {
  const a = await open(t, 1);
  const at = a.address.address;
  await assert.rejects(new TestMember(2).open({ listen: at }), (error) => {
    assert.ok(EngineError.is(error, "IN_USE"));
    assert.deepEqual(error.details, { what: "port", at });
    return true;
  });
  for (const listen of ["nonsense", "127.0.0.1", "192.0.2.1:0"]) {
    await assert.rejects(new TestMember(2).open({ listen }), (error) => EngineError.is(error, "INVALID_ARGUMENT"), listen);
  }
});

test("a member may listen nowhere, by name, or by IPv6", SOON, async (t) => {
  const named = await open(t, 1, { listen: "localhost:0" });
  assert.match(named.address.address, /^localhost:\d+$/);
  const mute = await new TestMember(3).open({ listen: undefined as never });
  t.after(() => mute.transport.close());
  assert.equal(mute.transport.listening, undefined);
  mute.transport.setPeers([named.address]);
  await mute.untilReport(`up ${named.id}`);
  mute.send(named, "urgent", "by name");
  await named.until(() => named.received.length === 1);
  named.transport.setPeers([{ id: mute.id, address: "" }]);
  assert.match(named.transport.linkCondition(mute.id)?.lastFailure ?? "", /cannot be dialled/);
  let six: TestMember;
  try {
    six = await open(t, 6, { listen: "[::1]:0" });
  } catch (error) {
    assert.ok(EngineError.is(error, "INVALID_ARGUMENT"));
    t.diagnostic("no IPv6 on this machine");
    return;
  }
  assert.match(six.address.address, /^\[::1\]:\d+$/);
  mute.transport.setPeers([six.address]);
  await mute.untilReport(`up ${six.id}`);
});

test("close settles at once whatever is under way, twice is once, and nothing is reported afterwards", SOON, async (t) => {
  const a = await open(t, 1);
  const b = await open(t, 2);
  introduce(a, b);
  await Promise.all([a.untilReport(`up ${b.id}`), b.untilReport(`up ${a.id}`)]);
  let written = 0;
  for (let i = 0; i < 10; i += 1) a.transport.send(b.id, "bulk", [new Uint8Array(1 << 20)], () => (written += 1));
  const closing = a.transport.close();
  assert.equal(a.transport.close(), closing);
  assert.equal(a.transport.listening, undefined);
  assert.equal(written, 10);
  await closing;
  assert.deepEqual(a.reports, [`up ${b.id}`]);
  a.transport.setPeers([b.address]);
  assert.equal(a.send(b, "urgent", "x"), false);
  await b.untilReport(`down ${a.id}`);
});

test("a transport that was closed leaves no timer behind", SOON, async () => {
  const clock = new ManualClock();
  const a = await new TestMember(1).open({ clock });
  const b = await new TestMember(2).open({ clock });
  introduce(a, b);
  await a.untilReport(`up ${b.id}`);
  a.send(b, "snapshot", "x");
  await Promise.all([a.transport.close(), b.transport.close()]);
  await turns();
  assert.equal(clock.waiting, 0);
});
