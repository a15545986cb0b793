import assert from "node:assert/strict";
import { test } from "node:test";
import type { Hello, Transport } from "../transport/transport.ts";
import { HEALTHY_LINK, SimNetwork } from "./sim-network.ts";
import { SimMachine, SimProcess } from "./sim-process.ts";
import { SimRandom } from "./sim-random.ts";
import { SimScheduler } from "./sim-scheduler.ts";

interface End {
  readonly name: string;
  process: SimProcess;
  transport: Transport;
  readonly told: string[];
  refuses: string | undefined;
}

const hello = (memberId: string, bootId: number): Hello => ({
  clusterId: "c",
  memberId,
  incarnation: memberId,
  name: memberId,
  bootId,
  protocolMin: 1,
  protocolMax: 1,
  featureLevel: 1,
  electionTimeoutMs: 1000,
});

const world = (seed = 1): { readonly scheduler: SimScheduler; readonly network: SimNetwork; open(name: string): End } => {
  const scheduler = new SimScheduler();
  const network = new SimNetwork({ scheduler, random: new SimRandom(seed) });
  let boots = 0;
  const open = (name: string): End => {
    const process = new SimProcess(new SimMachine({ name, scheduler }));
    const end: { -readonly [P in keyof End]: End[P] } = { name, process, told: [], refuses: undefined, transport: undefined as never };
    const bootId = ++boots;
    end.transport = network.open({
      process,
      address: `${name}:1`,
      hello: () => hello(name, bootId),
      events: {
        judge: () => end.refuses,
        onFrame: (from, lane, frame) => end.told.push(`${from} ${lane} ${Buffer.from(frame).toString()}`),
        onUp: (peer) => end.told.push(`up ${peer}`),
        onDown: (peer) => end.told.push(`down ${peer}`),
        onRefused: (peer, reason) => end.told.push(`refused ${peer}: ${reason}`),
      },
    });
    return end;
  };
  return { scheduler, network, open };
};

const text = (words: string): readonly Uint8Array[] => [Buffer.from(words)];

test("frames arrive whole, in order within a lane, and are the receiver's own", async () => {
  const { scheduler, open } = world();
  const a = open("a");
  const b = open("b");
  a.transport.setPeers([{ id: "b", address: "b:1" }]);
  assert.equal(a.transport.send("b", "bulk", text("too early")), false);
  await scheduler.advance(100);
  assert.deepEqual(a.told, ["up b"]);
  const bytes = Buffer.from("0");
  for (let count = 0; count < 20; count++) a.transport.send("b", "bulk", [Buffer.from(`${count}`)]);
  let written = 0;
  a.transport.send("b", "urgent", [bytes, Buffer.from("1")], () => written++);
  await scheduler.advance(10);
  assert.equal(written, 1);
  assert.deepEqual(
    b.told.filter((line) => line.includes("bulk")),
    Array.from({ length: 20 }, (_, count) => `a bulk ${count}`),
  );
  assert.ok(b.told.includes("a urgent 01"));
  assert.equal(a.transport.pendingBytes("b", "bulk"), 0);
});

test("a buffer that changes before it was written is found", async () => {
  const { scheduler, open } = world();
  const a = open("a");
  open("b");
  a.transport.setPeers([{ id: "b", address: "b:1" }]);
  await scheduler.advance(100);
  const bytes = Buffer.from("abc");
  a.transport.send("b", "bulk", [bytes], () => {});
  bytes[1] = 0;
  await assert.rejects(scheduler.advance(10), /changed the bytes/);
});

test("a cut is one way, a partition is all ways, and healing undoes both", async () => {
  const { scheduler, network, open } = world();
  const a = open("a");
  const b = open("b");
  a.transport.setPeers([{ id: "b", address: "b:1" }]);
  b.transport.setPeers([{ id: "a", address: "a:1" }]);
  await scheduler.advance(100);
  network.setLinkFaults("a", "b", { ...HEALTHY_LINK, cut: true });
  a.transport.send("b", "bulk", text("lost"));
  b.transport.send("a", "bulk", text("arrives"));
  await scheduler.advance(10);
  assert.deepEqual(b.told, ["up a"]);
  assert.deepEqual(a.told, ["up b", "b bulk arrives"]);
  network.partition(["a", "b"], [["a"], ["b"]]);
  b.transport.send("a", "bulk", text("lost"));
  await scheduler.advance(10);
  network.heal();
  a.transport.send("b", "bulk", text("healed"));
  await scheduler.advance(10);
  assert.deepEqual(b.told, ["up a", "a bulk healed"]);
  assert.equal(a.told.length, 2);
});

test("loss, repetition and reordering happen at about the rates that were set", async () => {
  const { scheduler, network, open } = world(3);
  const a = open("a");
  const b = open("b");
  a.transport.setPeers([{ id: "b", address: "b:1" }]);
  await scheduler.advance(100);
  network.setFaults({ ...HEALTHY_LINK, lossRate: 0.2, duplicateRate: 0.1, reorderRate: 0.1, reorderMs: 5 });
  for (let count = 0; count < 2_000; count++) a.transport.send("b", "bulk", text(`${count}`));
  await scheduler.advance(100);
  const numbers = b.told.map((line) => Number(line.split(" ")[2]));
  assert.ok(numbers.length > 1_650 && numbers.length < 1_900, `${numbers.length} arrived`);
  assert.ok(numbers.some((number, at) => at > 0 && number < (numbers[at - 1] as number)));
});

test("a link to a process that died goes down, what was under way is lost, and its successor is reached", async () => {
  const { scheduler, open } = world();
  const a = open("a");
  const b = open("b");
  a.transport.setPeers([{ id: "b", address: "b:1" }]);
  await scheduler.advance(100);
  b.process.kill();
  a.transport.send("b", "bulk", text("nobody there"));
  await scheduler.advance(11_000);
  assert.deepEqual(a.told, ["up b", "down b"]);
  const again = open("b");
  await scheduler.advance(3_000);
  assert.deepEqual(a.told, ["up b", "down b", "up b"]);
  a.transport.send("b", "bulk", text("hello"));
  await scheduler.advance(10);
  assert.deepEqual(again.told, ["a bulk hello"]);
});

test("a member that comes back is dialled when it dials, whether it was known to be gone or not", async () => {
  for (let seed = 1; seed <= 20; seed++) {
    for (const awayMs of [0, 60_000]) {
      const { scheduler, open } = world(seed);
      const a = open("a");
      const b = open("b");
      a.transport.setPeers([{ id: "b", address: "b:1" }]);
      await scheduler.advance(100);
      b.process.kill();
      await scheduler.advance(awayMs);
      open("b").transport.setPeers([{ id: "a", address: "a:1" }]);
      await scheduler.advance(5);
      assert.deepEqual(a.told, ["up b", "down b", "up b"]);
      await scheduler.advance(20_000);
      assert.deepEqual(a.told, ["up b", "down b", "up b"]);
    }
  }
});

test("either side may refuse the other, with its reason told", async () => {
  const { scheduler, open } = world();
  const a = open("a");
  const b = open("b");
  b.refuses = "not you";
  a.transport.setPeers([{ id: "b", address: "b:1" }]);
  await scheduler.advance(100);
  assert.deepEqual(a.told, ["refused b: not you"]);
  b.refuses = undefined;
  a.refuses = "nor you";
  await scheduler.advance(5_100);
  assert.deepEqual(b.told, ["refused a: nor you"]);
});

test("a stopped receiver's frames wait for it, and a reset loses what is on the way", async () => {
  const { scheduler, network, open } = world();
  const a = open("a");
  const b = open("b");
  a.transport.setPeers([{ id: "b", address: "b:1" }]);
  await scheduler.advance(100);
  b.process.pause();
  a.transport.send("b", "bulk", text("waits"));
  await scheduler.advance(50);
  b.process.resume();
  await scheduler.advance(1);
  assert.deepEqual(b.told, ["a bulk waits"]);
  network.reset("a", "b");
  await scheduler.advance(200);
  assert.deepEqual(a.told, ["up b", "down b", "up b"]);
});
