/**
 * Go's clientv3, with its locks, elections and transactional memory, against our server, and, where one is installed, against a real etcd, so that
 * what is expected is what etcd does. ETCD_GO_CLIENT names the program built from peers/go.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { isInstalled, startEtcd, startServed } from "./wire.ts";

const PROGRAM = process.env["ETCD_GO_CLIENT"];
const NO_PROGRAM = PROGRAM === undefined && "ETCD_GO_CLIENT names no program";

async function run(address: string): Promise<readonly [code: unknown, out: string]> {
  const child = spawn(PROGRAM!, [address], { stdio: ["ignore", "pipe", "ignore"] });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  return [code, out];
}

void test("Programs in Go find what they find with etcd", { skip: NO_PROGRAM, timeout: 90_000 }, async (context) => {
  const { address } = await startServed(context);
  assert.deepEqual(await run(address), [0, "ok\n"]);
});

void test(
  "What programs in Go expect is what etcd does",
  { skip: NO_PROGRAM || (!isInstalled("etcd") && "there is no etcd on this machine"), timeout: 90_000 },
  async (context) => {
    assert.deepEqual(await run(await startEtcd(context)), [0, "ok\n"]);
  },
);
