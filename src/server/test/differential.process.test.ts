/**
 * The same random sequences of requests to etcd and to ours as processes with their data on the disk, stopped and killed and started again in the middle
 * of it: one of each, and clusters of three, whose leaders change and whose members are asked in turn. What is acknowledged is there, as of the same
 * revisions, and watches go on where they were.
 *
 * DIFFERENTIAL_SEED is the first seed, DIFFERENTIAL_PROCESS_SEEDS how many sequences there are of each kind, DIFFERENTIAL_PROCESS_STEPS how long each is.
 */
import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { test, type TestContext } from "node:test";
import { messageToJson } from "../../api/json-codec.ts";
import { RpcError, Status } from "../../rpc/index.ts";
import { openProcesses } from "./differential-pairs.ts";
import { compare, describe, shrink } from "./differential-run.ts";
import { Servers } from "./differential-servers.ts";
import { until } from "./differential-side.ts";
import { makeDisturbedSteps, type Step } from "./differential-steps.ts";
import { bytes, isInstalled, WireClient } from "./wire.ts";

const SKIP = isInstalled("etcd") ? false : "there is no etcd on this machine";
const SEED = Number(process.env["DIFFERENTIAL_SEED"] ?? 1);
const SEEDS = Number(process.env["DIFFERENTIAL_PROCESS_SEEDS"] ?? 1);
const STEPS = Number(process.env["DIFFERENTIAL_PROCESS_STEPS"] ?? 120);
const SHRINK_MS_MAX = Number(process.env["DIFFERENTIAL_SHRINK_MS"] ?? 60_000);

const KINDS: readonly (readonly [what: string, members: number])[] = [
  ["one server that is stopped, killed and started again", 1],
  ["three members that lead in turn, are stopped, killed and started again", 3],
];

for (const [what, members] of KINDS) {
  for (let seed = SEED; seed < SEED + SEEDS; seed++) {
    void test(
      `Everything is answered and told as etcd does it by ${what}, sequence ${seed}`,
      { skip: SKIP },
      async (context: TestContext) => {
        const open = (): ReturnType<typeof openProcesses> => openProcesses(members);
        const steps = makeDisturbedSteps(seed, STEPS, members);
        const used = new Map<string, number>();
        const difference = await compare(open, steps, used);
        for (const [rule, count] of used) context.diagnostic(`${count} times: ${rule}`);
        if (difference === undefined) return assert.ok(used.has("stop"), "nobody was stopped");
        const shorter = await shrink(open, steps, difference, SHRINK_MS_MAX);
        assert.fail(describe(seed, shorter.steps, shorter.difference));
      },
    );
  }
}

void test("The comparison finds a server that comes back without what it had acknowledged", { skip: SKIP }, async () => {
  const open = (): ReturnType<typeof openProcesses> =>
    openProcesses(1, (servers) => ({
      stop: (member, signal) => servers.stop(member, signal),
      start: async (member) => {
        await rm(servers.directories[member]!, { recursive: true });
        await servers.start(member);
      },
    }));
  const put = (value: string): Step => ({
    kind: "call",
    service: "etcdserverpb.KV",
    method: "Put",
    request: { key: bytes("k"), value: bytes(value), prev_kv: true },
  });
  const difference = await compare(open, [put("1"), { kind: "stop", member: 0, signal: "SIGKILL" }, put("2")], new Map());
  assert.ok(difference !== undefined);
});

/** Until a member answers without an error, as it may not while there is no leader. */
async function insist<T>(call: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      // oxlint-disable-next-line no-await-in-loop -- one after another
      return await call();
    } catch (error) {
      if (tries === 20 || !RpcError.is(error) || error.code !== Status.UNAVAILABLE) throw error;
    }
  }
}

void test(
  "A lease ends with its keys in one revision though the leader that counted is killed",
  { skip: SKIP, timeout: 60_000 },
  async (context) => {
    const play = async (whose: "etcd" | "ours"): Promise<unknown> => {
      const servers = await Servers.start(context, whose, 3);
      const clients = servers.addresses.map((address) => new WireClient(context, address));
      const [first, second] = clients as [WireClient, WireClient];
      const lease = "0000000000000005";
      await first.call("etcdserverpb.Lease", "LeaseGrant", { ID: lease, TTL: 2 });
      for (const key of ["b", "a", "c"]) await second.call("etcdserverpb.KV", "Put", { key: bytes(key), value: bytes("v"), lease });
      const { leader } = await first.call("etcdserverpb.Maintenance", "Status", {});
      const { members } = await first.call("etcdserverpb.Cluster", "MemberList", {});
      const leading = Number(members.find(({ ID }) => ID === leader)!.name.slice(1)) - 1;
      await servers.stop(leading, "SIGKILL");
      const left = clients[(leading + 1) % 3]!;
      await insist(() => left.call("etcdserverpb.KV", "Range", { key: bytes("a") }));
      const told: unknown[] = [];
      const call = left.stream("etcdserverpb.Watch", "Watch");
      call.listen({
        onMessage: ({ events }) => told.push(...events.map((event) => messageToJson("mvccpb.Event", event))),
        onEnd: () => {},
      });
      void call.send({ create_request: { key: Uint8Array.of(0), range_end: Uint8Array.of(0), start_revision: 2, prev_kv: true } });
      await until(() => told.length === 6, 30_000);
      call.cancel();
      return { told, left: await left.outcome("etcdserverpb.Lease", "LeaseLeases", {}) };
    };
    const [theirs, ours] = await Promise.all([play("etcd"), play("ours")]);
    assert.deepEqual(ours, theirs);
  },
);
