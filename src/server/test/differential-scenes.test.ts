/** Scenes that need waiting, played before a real etcd and before ours: leases that end, locks and elections that pass on. And faults planted into what our side says, which the comparison must find. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageInit } from "../../api/schema/messages.ts";
import { compare, type Pair } from "./differential-run.ts";
import { eventsOf, id, keysUnder, playBefore } from "./differential-scene.ts";
import { openPair as open } from "./differential-pairs.ts";
import { until } from "./differential-side.ts";
import { Back, makeSteps, type Step } from "./differential-steps.ts";
import { bytes, isInstalled, text, WireClient } from "./wire.ts";

const SKIP = isInstalled("etcd") ? false : "there is no etcd on this machine";

void test(
  "A lease that ends takes its keys along in one revision, in the order of the keys, and not before its time",
  { skip: SKIP },
  async (context) => {
    await playBefore(context, async (client) => {
      const { told, revisions, close } = eventsOf(client);
      await client.call("etcdserverpb.Lease", "LeaseGrant", { ID: id(5), TTL: 2 });
      const grantedAt = performance.now();
      const keys = ["z", "a", "m", "a/1"];
      for (const key of keys) await client.call("etcdserverpb.KV", "Put", { key: bytes(key), value: bytes("v"), lease: id(5) });
      // One leaves it, and one is gone before.
      await client.call("etcdserverpb.KV", "Put", { key: bytes("m"), value: bytes("w") });
      await client.call("etcdserverpb.KV", "DeleteRange", { key: bytes("a") });
      await until(() => told.length === keys.length + 4, 15_000);
      const livedMs = performance.now() - grantedAt;
      close();
      return {
        told,
        isOneRevision: revisions.at(-1) === revisions.at(-2),
        isInTime: livedMs >= 1_900,
        put: await client.outcome("etcdserverpb.KV", "Put", { key: bytes("z"), lease: id(5) }),
        left: await client.outcome("etcdserverpb.Lease", "LeaseTimeToLive", { ID: id(5), keys: true }),
      };
    });
  },
);

void test("A lock passes to who asked next, over who gives up and whose lease is revoked", { skip: SKIP }, async (context) => {
  await playBefore(context, async (client) => {
    const { told, close } = eventsOf(client);
    for (const n of [1, 2, 3, 4]) await client.call("etcdserverpb.Lease", "LeaseGrant", { ID: id(n), TTL: 600 });
    const lock = (n: number): Promise<unknown> => client.outcome("v3lockpb.Lock", "Lock", { name: bytes("L"), lease: id(n) });
    const first = await lock(1);
    const second = lock(2);
    await keysUnder(client, "L", 2);
    const impatient = new AbortController();
    const third = client
      .call("v3lockpb.Lock", "Lock", { name: bytes("L"), lease: id(3) }, { signal: impatient.signal })
      .catch(() => "given up");
    await keysUnder(client, "L", 3);
    const fourth = lock(4);
    await keysUnder(client, "L", 4);
    impatient.abort();
    await third;
    await keysUnder(client, "L", 3);
    await client.call("etcdserverpb.Lease", "LeaseRevoke", { ID: id(1) });
    const passed = await second;
    await client.call("v3lockpb.Lock", "Unlock", { key: bytes("L/2") });
    const last = await fourth;
    await until(() => told.length === 7);
    close();
    return { first, passed, last, told };
  });
});

void test(
  "An election passes to the next candidate that still has its lease, and its observers see each",
  { skip: SKIP },
  async (context) => {
    await playBefore(context, async (client) => {
      const name = bytes("E");
      for (const n of [1, 2, 3]) await client.call("etcdserverpb.Lease", "LeaseGrant", { ID: id(n), TTL: 600 });
      const campaign = (n: number): Promise<unknown> =>
        client.outcome("v3electionpb.Election", "Campaign", { name, lease: id(n), value: bytes(`candidate ${n}`) });
      const observed: string[] = [];
      const observer = (async () => {
        for await (const { kv } of client.serverStream("v3electionpb.Election", "Observe", { name })) {
          observed.push(text(kv!.value));
          if (observed.length === 4) return;
        }
      })();
      const first = (await campaign(1)) as { leader: { rev: string } };
      await until(() => observed.length === 1);
      // What it is told once its key is gone is not the same in all versions.
      void campaign(2).catch(() => {});
      await keysUnder(client, "E", 2);
      const third = campaign(3).then((outcome) => (typeof outcome === "string" ? outcome : "elected"));
      await keysUnder(client, "E", 3);
      const held: MessageInit<"v3electionpb.LeaderKey"> = { name, key: bytes("E/1"), rev: Number(first.leader.rev), lease: id(1) };
      const proclaimed = await client.outcome("v3electionpb.Election", "Proclaim", { leader: held, value: bytes("again") });
      await until(() => observed.length === 2);
      await client.call("etcdserverpb.Lease", "LeaseRevoke", { ID: id(2) });
      await client.call("v3electionpb.Election", "Resign", { leader: held });
      await until(() => observed.length === 3);
      const lost = await client.outcome("v3electionpb.Election", "Proclaim", { leader: held, value: bytes("too late") });
      const after = await third;
      await client.outcome("v3electionpb.Election", "Proclaim", {
        leader: {
          name,
          key: bytes("E/3"),
          rev: (await client.call("v3electionpb.Election", "Leader", { name })).kv!.create_revision,
          lease: id(3),
        },
        value: bytes("the end"),
      });
      await observer;
      return { first, proclaimed, lost, after, observed };
    });
  },
);

/** Says what it is told with a fault. */
class FaultyClient extends WireClient {
  fault: (method: string, outcome: unknown) => unknown = (_, outcome) => outcome;

  override async outcome(service: Parameters<WireClient["outcome"]>[0], method: string, request: object): Promise<unknown> {
    return this.fault(method, await super.outcome(service, method, request));
  }
}

const FAULTS: Readonly<Record<string, (method: string, outcome: unknown) => unknown>> = {
  "a count that is too low": (method, outcome) => {
    const { count } = outcome as { count?: string };
    return method === "Range" && count !== undefined ? { ...(outcome as object), count: String(Number(count) - 1) } : outcome;
  },
  "an error with another text": (_, outcome) => (typeof outcome === "string" ? `${outcome}.` : outcome),
  "no more": (method, outcome) => (method === "Range" ? { ...(outcome as object), more: undefined } : outcome),
};

for (const [what, fault] of Object.entries(FAULTS)) {
  void test(`The comparison finds ${what}`, { skip: SKIP }, async () => {
    const difference = await compare(() => openPair(fault), makeSteps(1, 150), new Map());
    assert.ok(difference !== undefined);
  });
}

void test("The comparison finds an event that one side has alone", { skip: SKIP }, async () => {
  const put = (key: string): Step => ({
    kind: "call",
    service: "etcdserverpb.KV",
    method: "Put",
    request: { key: bytes(key), value: bytes("v") },
  });
  let pair: Pair | undefined;
  const steps: Step[] = [
    { kind: "watch", stream: 0, settled: true, creates: [{ key: bytes("a") }] },
    put("a"),
    // Of the two watches, ours asks for one key more.
    { kind: "watch", stream: 1, settled: true, creates: [{ key: bytes("a"), start_revision: new Back(0) }] },
    put("b"),
  ];
  const open = async (): Promise<Pair> => {
    pair = await openPair((_, outcome) => outcome);
    const { ours } = pair;
    const take = ours.take.bind(ours);
    ours.take = (step) =>
      take(
        step.kind === "watch" && step.stream === 1
          ? { ...step, creates: [{ key: bytes("a"), range_end: bytes("c"), start_revision: 1 }] }
          : step,
      );
    return pair;
  };
  const difference = await compare(open, steps, new Map());
  assert.match(JSON.stringify(difference?.theirs), /stream 1/);
});

/** Ours says what it says with a fault. */
function openPair(fault: (method: string, outcome: unknown) => unknown): Promise<Pair> {
  return open((endings, address) => {
    const client = new FaultyClient(endings, address);
    client.fault = fault;
    return client;
  });
}
