/** What three members with front ends tell clients of each other, and who of them is to lead. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Engine } from "../../index.ts";
import { serve, type Server } from "../serve.ts";
import { freePort, isInstalled, WireClient, type Ending } from "./wire.ts";

const NAMES = ["n1", "n2", "n3"];
const GO_PROGRAM = process.env["ETCD_GO_CLIENT"];

/** Three members, each with a front end; all end with the test. */
class Served {
  readonly engines = new Map<string, Engine>();
  readonly servers = new Map<string, Server>();
  readonly #directory: string;
  readonly #bootstrap: Readonly<Record<string, string>>;

  private constructor(directory: string, bootstrap: Readonly<Record<string, string>>) {
    this.#directory = directory;
    this.#bootstrap = bootstrap;
  }

  static async start(context: Ending): Promise<Served> {
    const directory = await mkdtemp(path.join(tmpdir(), "d-engine-members-"));
    const ports = await Promise.all(NAMES.map(freePort));
    const served = new Served(directory, Object.fromEntries(NAMES.map((name, i) => [name, `127.0.0.1:${ports[i]!}`])));
    context.after(async () => {
      await Promise.all(NAMES.map((name) => served.stop(name)));
      await rm(directory, { recursive: true, force: true });
    });
    await Promise.all(NAMES.map((name) => served.open(name)));
    await Promise.all([...served.engines.values()].map((engine) => engine.waitReady({ timeoutMs: 20_000 })));
    return served;
  }

  async open(name: string): Promise<void> {
    const bootstrap = this.#bootstrap;
    const dataDir = path.join(this.#directory, name);
    const peer = { listen: bootstrap[name]! };
    const engine = await Engine.open({ dataDir, name, bootstrap, peer, electionTimeoutMs: 400, heartbeatMs: 40, timeoutMs: 20_000 });
    this.engines.set(name, engine);
    this.servers.set(name, await serve(engine, { listen: "127.0.0.1:0" }));
  }

  async stop(name: string): Promise<void> {
    await this.servers.get(name)?.close({ timeoutMs: 0 });
    await this.engines.get(name)?.close();
    this.servers.delete(name);
    this.engines.delete(name);
  }

  urls(): Readonly<Record<string, readonly string[]>> {
    return Object.fromEntries(
      [...this.servers].map(([name, { addresses }]) => [name, addresses.map((address) => `http://${address}`)]).toSorted(),
    );
  }

  /** Until this engine knows of all the others. */
  async known(engine: Engine, urls = this.urls()): Promise<void> {
    for await (const { members } of engine.watchMembers()) {
      const told = Object.fromEntries(members.map(({ name, clientAddresses }) => [name, clientAddresses]).toSorted());
      if (JSON.stringify(told) === JSON.stringify(urls)) return;
    }
  }

  client(context: Ending, name: string): WireClient {
    return new WireClient(context, this.servers.get(name)!.addresses[0]!);
  }

  leader(): Engine {
    return [...this.engines.values()].find((engine) => engine.isLeader())!;
  }
}

function run(program: string, args: readonly string[]): Promise<{ readonly code: number | null; readonly out: string }> {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (out += chunk.toString()));
  return new Promise((resolve, reject) => child.once("error", reject).once("close", (code) => resolve({ code, out })));
}

void test(
  "Every member tells the URLs of all, also of one that is down, and of one that came back elsewhere",
  { timeout: 60_000 },
  async (context) => {
    const served = await Served.start(context);
    await Promise.all([...served.engines.values()].map((engine) => served.known(engine)));
    const listed = async (name: string, linearizable: boolean): Promise<Readonly<Record<string, readonly string[]>>> => {
      const { members } = await served.client(context, name).call("etcdserverpb.Cluster", "MemberList", { linearizable });
      return Object.fromEntries(members.map(({ name: of, clientURLs }) => [of, clientURLs]).toSorted());
    };
    for (const name of NAMES) {
      for (const linearizable of [true, false]) assert.deepEqual(await listed(name, linearizable), served.urls());
      const leader = served.engines.get(name)!.leader();
      assert.deepEqual(leader?.clientAddresses, served.urls()[served.leader().name]);
    }
    const metadata = await served.client(context, "n1").call("d_engine.server.cluster.ClusterManagementService", "GetClusterMetadata", {});
    const hosts = Object.values(served.urls()).map(([url]) => url!.replace("http://", ""));
    assert.deepEqual(metadata.nodes.map(({ address }) => address).toSorted(), hosts.toSorted());

    const before = served.urls();
    const away = NAMES.find((name) => name !== served.leader().name)!;
    await served.stop(away);
    const asked = NAMES.find((name) => name !== away)!;
    assert.deepEqual(await listed(asked, true), before);
    await served.open(away);
    await served.known(served.engines.get(asked)!);
    assert.deepEqual(await listed(asked, true), served.urls());
    assert.notDeepEqual(served.urls(), before);

    // A second front end adds to the first, and takes its own back.
    const engine = served.engines.get(asked)!;
    const second = await serve(engine, { listen: "127.0.0.1:0", advertise: ["https://outside:443"] });
    const both = { ...served.urls(), [asked]: [...served.urls()[asked]!, "https://outside:443"] };
    await served.known(served.engines.get(away)!, both);
    assert.deepEqual(await listed(asked, true), both);
    await second.close({ timeoutMs: 0 });
    await served.known(served.engines.get(away)!);
  },
);

void test("MoveLeader moves leadership if the leader is asked, and is refused as etcd refuses it", { timeout: 60_000 }, async (context) => {
  const served = await Served.start(context);
  const [old] = [served.leader()];
  const [target, third] = [...served.engines.values()].filter((engine) => engine !== old) as [Engine, Engine];
  const move = (name: string, targetID: string): Promise<object> =>
    served.client(context, name).call("etcdserverpb.Maintenance", "MoveLeader", { targetID });
  await assert.rejects(move(third.name, target.memberId), { code: 9, message: "etcdserver: not leader" });
  await assert.rejects(move(old.name, "00000000000000ff"), { code: 9, message: "etcdserver: bad leader transferee" });
  await move(old.name, old.memberId);
  assert.ok(old.isLeader());
  await move(old.name, target.memberId);
  assert.equal(old.leader()?.id, target.memberId);
  await old.put("k", "v");

  // The engine of any member does it.
  await third.cluster.moveLeader(third.memberId);
  assert.ok(third.isLeader());
  await old.cluster.moveLeader();
  assert.notEqual(old.leader()?.id, third.memberId);
  await assert.rejects(old.cluster.moveLeader("00000000000000ff"), { code: "REFUSED" });

  if (!isInstalled("etcdctl")) return;
  for (const engine of served.engines.values()) await engine.waitReady();
  const all = [...served.servers.values()].map(({ addresses }) => addresses[0]).join(",");
  const goal = [...served.engines.values()].find((engine) => !engine.isLeader())!;
  const { code, out } = await run("etcdctl", ["--endpoints", all, "move-leader", goal.memberId]);
  assert.equal(code, 0, out);
  assert.match(out, new RegExp(`Leadership transferred from [0-9a-f]+ to ${goal.memberId.replace(/^0+/, "")}`));
});

void test(
  "Go's client learns all endpoints from any one",
  { skip: GO_PROGRAM === undefined && "ETCD_GO_CLIENT names no program", timeout: 60_000 },
  async (context) => {
    const served = await Served.start(context);
    await Promise.all([...served.engines.values()].map((engine) => served.known(engine)));
    for (const { addresses } of served.servers.values())
      assert.deepEqual(await run(GO_PROGRAM!, ["sync", addresses[0]!]), { code: 0, out: "ok\n" });
  },
);
