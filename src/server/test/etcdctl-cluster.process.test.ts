/** What an operator does with etcdctl to three members of ours as processes: asks all of them, moves leadership, takes a snapshot, and begins anew with it. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Servers } from "./differential-servers.ts";
import { etcdctl } from "./etcdctl.ts";
import { isInstalled } from "./wire.ts";

const SKIP = isInstalled("etcdctl") ? false : "there is no etcdctl on this machine";
const MAIN = fileURLToPath(new URL("../../cli/main.js", import.meta.url));

void test("An operator's commands work on three members of ours", { skip: SKIP, timeout: 90_000 }, async (context) => {
  const directory = await mkdtemp(path.join(tmpdir(), "etcdctl-"));
  context.after(() => rm(directory, { recursive: true, force: true }));
  const servers = await Servers.start(context, "ours", 3);
  const runAt = async (addresses: readonly string[], ...args: readonly string[]): Promise<string> => {
    const { code, out } = await etcdctl(addresses.join(","), args);
    assert.equal(code, 0, out);
    return out;
  };
  const run = (...args: readonly string[]): Promise<string> => runAt(servers.addresses, ...args);
  const asLines = (out: string): readonly string[] => out.trimEnd().split("\n");
  for (let i = 0; i < 20; i++) await run("put", `k${i % 7}`, `v${i}`);
  await run("del", "k3");

  const members = asLines(await run("member", "list")).map((line) => line.split(", "));
  assert.deepEqual(members.map(([, state, name]) => [state, name]).toSorted(), [
    ["started", "n1"],
    ["started", "n2"],
    ["started", "n3"],
  ]);
  assert.deepEqual(members.map(([, , , , url]) => url!.replace("http://", "")).toSorted(), servers.addresses.toSorted());
  // One is asked, who tells of all.
  const asked = servers.addresses.slice(1, 2);
  assert.equal(asLines(await runAt(asked, "endpoint", "health", "--cluster")).length, 3);
  const leaders = async (): Promise<readonly string[]> => {
    const all = asLines(await runAt(asked, "endpoint", "status", "--cluster")).map((line) => line.split(", "));
    assert.equal(all.length, 3);
    return all.filter(([, , , , isLeader]) => isLeader === "true").map(([, id]) => id!);
  };
  for (const [id] of members) {
    assert.match(await run("move-leader", id!), new RegExp(`to ${id}\\n|does not need`));
    assert.deepEqual(await leaders(), [id]);
  }
  // Whoever was asked for it has applied all by then, so a linearizable read of each comes first.
  for (const address of servers.addresses) await runAt([address], "get", "k1");
  const hashes = asLines(await runAt(asked, "endpoint", "hashkv", "--cluster")).map((line) => line.split(", ")[1]);
  assert.equal(hashes.length, 3);
  assert.equal(new Set(hashes).size, 1);
  await run("compaction", "10");
  await run("defrag", "--cluster");
  assert.equal(await run("alarm", "list"), "");

  const file = path.join(directory, "backup");
  await runAt(asked, "snapshot", "save", file);
  const program = (...args: readonly string[]): string => {
    const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...args], {
      encoding: "utf8",
      env: { PATH: process.env["PATH"] },
    });
    assert.equal(status, 0, stderr);
    return stdout;
  };
  assert.equal((JSON.parse(program("snapshot", "status", file, "--output", "json")) as { revision: number }).revision, 22);
  const before = await run("get", "", "--prefix", "-w", "fields", "--rev", "22");
  await servers.stop(0, "SIGKILL");
  const unhealthy = await etcdctl(servers.addresses.join(","), ["endpoint", "health", "--command-timeout", "3s"]);
  assert.equal(unhealthy.code, 1);
  assert.equal([...unhealthy.out.matchAll(/is healthy/g)].length, 2);
  assert.equal([...unhealthy.out.matchAll(/is unhealthy/g)].length, 1);

  // A server that begins with it has the data as of the same revisions.
  const restored = await Servers.start(context, "ours", 1, (dataDir, cluster) =>
    program("snapshot", "restore", file, "--name", "n1", "--initial-cluster", cluster, "--data-dir", dataDir),
  );
  const after = await etcdctl(restored.addresses[0]!, ["get", "", "--prefix", "-w", "fields", "--rev", "22"]);
  const data = (out: string): string => out.replaceAll(/"(ClusterID|MemberID|RaftTerm)" : \d+\n/g, "");
  assert.equal(data(after.out), data(before));
});
