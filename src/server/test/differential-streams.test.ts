/** Streams, played before a real etcd and before ours: many requests at once, in every order, and what becomes of who waits when leases end. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { isOpenEnd } from "../../api/intervals.ts";
import { messageToJson } from "../../api/json-codec.ts";
import type { MessageInit } from "../../api/schema/messages.ts";
import { RpcError } from "../../rpc/index.ts";
import { id, eventsOf, keysUnder, playBefore } from "./differential-scene.ts";
import { until } from "./differential-side.ts";
import { Dice } from "./differential-steps.ts";
import { bytes, comparable, isInstalled, text, type WireClient } from "./wire.ts";

const SKIP = isInstalled("etcd") ? false : "there is no etcd on this machine";
const SEED = Number(process.env["DIFFERENTIAL_SEED"] ?? 1);
const SEEDS = Number(process.env["DIFFERENTIAL_SEEDS"] ?? 3);
const REQUESTS = 120;
const LAST = id(0x7777);
const NO_WATCH = "ffffffffffffffff";

type Create = MessageInit<"etcdserverpb.WatchCreateRequest">;

/** Keys of the past, some of which are compacted: revision 41 is the newest, and 12 the first that is there. */
async function fill(client: WireClient, isTold: () => boolean): Promise<void> {
  for (let i = 0; i < 40; i++) {
    const key = bytes(`k${i % 9}`);
    if (i % 7 === 6) await client.call("etcdserverpb.KV", "DeleteRange", { key: bytes(`k${(i - 1) % 9}`) });
    else await client.call("etcdserverpb.KV", "Put", { key, value: bytes(`v${i}`) });
  }
  await until(isTold);
  await client.call("etcdserverpb.KV", "Compact", { revision: 12 });
}

function createRequest(dice: Dice): Create {
  return {
    key: dice.chance(30) ? Uint8Array.of(0) : bytes(`k${dice.below(9)}`),
    range_end: dice.chance(50) ? new Uint8Array(0) : dice.chance(70) ? Uint8Array.of(0) : bytes(`k${dice.below(9)}`),
    start_revision: dice.of([0, 0, 5, 11, 12, 13, 20, 30, 40, 41, 42, 45]),
    prev_kv: dice.chance(50),
    fragment: dice.chance(30),
    progress_notify: dice.chance(20),
    filters: dice.chance(25) ? dice.list(2, () => dice.below(2)) : [],
    watch_id: dice.chance(60) ? id(0) : dice.chance(10) ? "fffffffffffffffe" : id(dice.below(12)),
  };
}

interface ToldEvent {
  readonly type?: "DELETE";
  readonly kv: { readonly key: string; readonly mod_revision: string };
}

/** What a watch that was made at this revision must be told of all events. */
function eventsFor({ key, range_end, start_revision, prev_kv, filters }: Create, madeAt: number, all: readonly unknown[]): unknown[] {
  const from = start_revision === 0 ? madeAt + 1 : (start_revision as number);
  const wanted = (all as readonly ToldEvent[]).filter(({ type, kv }) => {
    const name = Buffer.from(kv.key, "base64");
    const isWithin =
      range_end!.length === 0
        ? Buffer.compare(name, key!) === 0
        : Buffer.compare(name, key!) >= 0 && (isOpenEnd(range_end!) || Buffer.compare(name, range_end!) < 0);
    return isWithin && Number(kv.mod_revision) >= from && !filters!.includes(type === "DELETE" ? 1 : 0);
  });
  return prev_kv === true ? wanted : wanted.map((event) => ({ ...event, prev_kv: undefined }));
}

for (let seed = SEED; seed < SEED + SEEDS; seed++) {
  void test(
    `Requests of a stream that are sent at once are answered in the order of etcd, sequence ${seed}`,
    { skip: SKIP },
    async (context) => {
      await playBefore(context, async (client, whose) => {
        const dice = new Dice(seed ^ 0x57a3);
        const log = eventsOf(client);
        await fill(client, () => log.told.length === 40);
        const call = client.stream("etcdserverpb.Watch", "Watch");
        /** What was answered to requests, in its order. That history is gone is told when it is looked at. */
        const answers: { readonly watch_id: string; readonly created: boolean }[] = [];
        const cancelled = new Set<string>();
        const told = new Map<string, unknown[]>();
        call.listen({
          onMessage: ({ watch_id, created, canceled, cancel_reason, compact_revision, events }) => {
            if (compact_revision === 0 && (created || canceled)) answers.push({ watch_id, created, ...{ canceled, cancel_reason } });
            if (canceled) cancelled.add(watch_id);
            const before = told.get(watch_id) ?? [];
            told.set(watch_id, before);
            for (const event of events) before.push(comparable(messageToJson("mvccpb.Event", event)));
          },
          onEnd: () => {},
        });
        const creates: Create[] = [];
        for (let i = 0; i < REQUESTS; i++) {
          if (dice.chance(70)) {
            creates.push(createRequest(dice));
            void call.send({ create_request: creates.at(-1)! });
          } else void call.send({ cancel_request: { watch_id: dice.chance(5) ? "fffffffffffffffe" : id(dice.below(20)) } });
        }
        void call.send({ create_request: { key: bytes("last"), watch_id: LAST } });
        await until(() => answers.some(({ watch_id }) => watch_id === LAST));
        for (let i = 0; i < 9; i++) await client.call("etcdserverpb.KV", "Put", { key: bytes(`k${i}`), value: bytes("after") });
        await client.call("etcdserverpb.KV", "Put", { key: bytes("last"), value: bytes("x") });
        await until(() => (told.get(LAST)?.length ?? 0) > 0 && log.told.length === 50);
        // The events of ours are held against all that happened: etcd 3.4 loses some of watches that begin in such a hurry.
        const made = answers.filter(({ created }) => created);
        for (const [i, request] of whose === "ours" ? creates.entries() : []) {
          const watch = made[i]!.watch_id;
          if (watch === NO_WATCH || cancelled.has(watch)) continue;
          const expected = eventsFor(request, 41, log.told);
          await until(() => (told.get(watch)?.length ?? 0) >= expected.length);
          assert.deepEqual(JSON.parse(JSON.stringify(told.get(watch) ?? [])), JSON.parse(JSON.stringify(expected)), `watch ${watch}`);
        }
        call.cancel();
        log.close();
        return answers;
      });
    },
  );
}

/** Sends ids to one stream of renewals, and answers what came back: as many answers, or the error that ended it. */
async function renew(client: WireClient, ids: readonly string[]): Promise<unknown[]> {
  const call = client.stream("etcdserverpb.Lease", "LeaseKeepAlive");
  const answers: unknown[] = [];
  let isOver = false;
  call.listen({
    onMessage: (response) => answers.push(comparable(messageToJson("etcdserverpb.LeaseKeepAliveResponse", response))),
    onEnd: (error) => {
      answers.push(RpcError.is(error) ? `${error.code} ${error.message}` : "the end");
      isOver = true;
    },
  });
  for (const ID of ids) void call.send({ ID });
  call.end();
  await until(() => isOver);
  return answers;
}

void test(
  "One stream renews several leases, says of each whether it is there, and ends when its client does",
  { skip: SKIP },
  async (context) => {
    await playBefore(context, async (client) => {
      for (const [n, TTL] of [
        [1, 600],
        [2, 700],
        [3, 800],
        [4, 2],
      ] as const)
        await client.call("etcdserverpb.Lease", "LeaseGrant", { ID: id(n), TTL });
      await client.call("etcdserverpb.Lease", "LeaseRevoke", { ID: id(3) });
      const { told, close } = eventsOf(client);
      await client.call("etcdserverpb.KV", "Put", { key: bytes("short"), lease: id(4) });
      await until(() => told.length === 2, 15_000);
      close();
      return [
        await renew(client, [id(1), id(2), id(1), id(3), id(99), id(4), id(0), id(2), "ffffffffffffffff", id(1)]),
        await renew(client, []),
        await renew(client, [id(2)]),
      ];
    });
  },
);

void test("Who waits for a lock when its lease ends is told so, and the queue goes on without it", { skip: SKIP }, async (context) => {
  await playBefore(context, async (client, whose) => {
    const { told, close } = eventsOf(client);
    for (const n of [1, 2, 3]) await client.call("etcdserverpb.Lease", "LeaseGrant", { ID: id(n), TTL: 600 });
    const lock = (n: number, name = "L"): Promise<unknown> => client.outcome("v3lockpb.Lock", "Lock", { name: bytes(name), lease: id(n) });
    const first = await lock(1);
    // The same holder again, and a name that the first begins with.
    const again = await lock(1);
    const other = await lock(2, "L/x");
    const second = lock(2);
    await keysUnder(client, "L", 3);
    const third = lock(3);
    await keysUnder(client, "L", 4);
    await client.call("etcdserverpb.Lease", "LeaseRevoke", { ID: id(2) });
    // It is let in or refused when the one before it goes.
    await client.call("v3lockpb.Lock", "Unlock", { key: bytes("L/1") });
    const ended = await second;
    const last = await third;
    const unlocked = [
      await client.outcome("v3lockpb.Lock", "Unlock", { key: bytes("L/1") }),
      await client.outcome("v3lockpb.Lock", "Unlock", { key: bytes("L/3") }),
      await client.outcome("v3lockpb.Lock", "Unlock", { key: bytes("L/3") }),
    ];
    await until(() => told.length >= 8);
    close();
    // etcd 3.4 lets it in, with a lock that is not there; later ones refuse it.
    const refused = "2 mutex: session is expired";
    assert.ok(ended === refused || (whose === "theirs" && typeof ended === "object"), String(ended));
    return { first, again, other, last, unlocked, told };
  });
});

void test(
  "An election knows who leads: campaigning again proclaims, resigning twice does nothing, and observers see who comes and not who goes",
  { skip: SKIP },
  async (context) => {
    await playBefore(context, async (client) => {
      const name = bytes("E");
      for (const n of [1, 2]) await client.call("etcdserverpb.Lease", "LeaseGrant", { ID: id(n), TTL: 600 });
      const observed: string[] = [];
      const observation = new AbortController();
      // It begins while nobody leads.
      const observer = (async () => {
        for await (const { kv } of client.serverStream("v3electionpb.Election", "Observe", { name })) {
          observed.push(`${text(kv!.key)} ${text(kv!.value)}`);
          if (observation.signal.aborted || observed.length === 4) return;
        }
      })();
      const nobody = await client.outcome("v3electionpb.Election", "Leader", { name });
      const campaign = async (n: number, value: string): Promise<unknown> => {
        const outcome = await client.outcome("v3electionpb.Election", "Campaign", { name, lease: id(n), value: bytes(value) });
        return typeof outcome === "string" ? outcome : { ...(outcome as object), header: undefined };
      };
      const one = (await campaign(1, "one")) as { leader: { rev: string } };
      await until(() => observed.length === 1);
      const again = await campaign(1, "once more");
      await until(() => observed.length === 2);
      const leader = { name, key: bytes("E/1"), rev: Number(one.leader.rev), lease: id(1) };
      const proclaimed = [
        await client.outcome("v3electionpb.Election", "Proclaim", { leader, value: bytes("third") }),
        await client.outcome("v3electionpb.Election", "Proclaim", { leader: { ...leader, rev: leader.rev + 1 }, value: bytes("no") }),
        await client.outcome("v3electionpb.Election", "Proclaim", { leader: { ...leader, key: bytes("E/9") }, value: bytes("no") }),
      ];
      await until(() => observed.length === 3);
      const resigned = [
        await client.outcome("v3electionpb.Election", "Resign", { leader: { ...leader, rev: 1 } }),
        await client.outcome("v3electionpb.Election", "Resign", { leader }),
        await client.outcome("v3electionpb.Election", "Resign", { leader }),
      ];
      const vacant = await client.outcome("v3electionpb.Election", "Leader", { name });
      const two = await campaign(2, "two");
      await observer;
      return { nobody, one, again, proclaimed, resigned, vacant, two, observed };
    });
  },
);

void test("A candidate that waits when its lease ends is told so", { skip: SKIP }, async (context) => {
  await playBefore(context, async (client) => {
    const name = bytes("E");
    for (const n of [1, 2]) await client.call("etcdserverpb.Lease", "LeaseGrant", { ID: id(n), TTL: 600 });
    const campaign = (n: number): Promise<unknown> =>
      client.outcome("v3electionpb.Election", "Campaign", { name, lease: id(n), value: bytes(String(n)) });
    await campaign(1);
    const second = campaign(2);
    await keysUnder(client, "E", 2);
    await client.call("etcdserverpb.Lease", "LeaseRevoke", { ID: id(2) });
    await client.call("etcdserverpb.Lease", "LeaseRevoke", { ID: id(1) });
    const outcome = await second;
    return {
      outcome: typeof outcome === "string" ? outcome : "elected",
      left: await client.outcome("etcdserverpb.KV", "Range", { key: bytes("E/"), range_end: bytes("E0") }),
    };
  });
});

void test(
  "What a stream asks that nobody knows is ignored, and one that asks nothing more goes on to be told",
  { skip: SKIP },
  async (context) => {
    await playBefore(context, async (client) => {
      const call = client.stream("etcdserverpb.Watch", "Watch");
      const answers: unknown[] = [];
      call.listen({
        onMessage: ({ watch_id, created, canceled }) => answers.push({ watch_id, created, canceled }),
        onEnd: (error) => answers.push(RpcError.is(error) ? `${error.code} ${error.message}` : "the end"),
      });
      void call.send({});
      void call.send({ cancel_request: { watch_id: id(3) } });
      void call.send({ create_request: {} });
      void call.send({ create_request: { key: bytes("b"), range_end: bytes("a") } });
      void call.send({ create_request: { key: bytes("b"), filters: [0, 1, 7] } });
      await until(() => answers.length === 3);
      // Nobody asks any more: what there is to tell is told all the same.
      call.end();
      await client.call("etcdserverpb.KV", "Put", { key: Uint8Array.of(0), value: bytes("v") });
      await until(() => answers.length >= 4);
      call.cancel();
      return answers.slice(0, 4);
    });
  },
);
