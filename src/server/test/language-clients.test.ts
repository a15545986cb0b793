/**
 * Programs in Python and Java, with the client packages of their languages, against our server, and, where one is installed, against a real etcd, so
 * that what is expected is what etcd does. The environment says where their packages are: ETCD_PYTHON an interpreter that has `etcd3`,
 * ETCD_PYTHON_GATEWAY a folder with `etcd3-py`, ETCD_JAVA_CLASS_PATH jetcd and the compiled program.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { isInstalled, startEtcd, startServed } from "./wire.ts";

const { ETCD_PYTHON: python, ETCD_PYTHON_GATEWAY: gateway, ETCD_JAVA_CLASS_PATH: classPath } = process.env;
const PYTHON_CLIENT = fileURLToPath(new URL("../../../src/server/test/peers/python/client.py", import.meta.url));
const NO_ETCD = !isInstalled("etcd") && "there is no etcd on this machine";

interface Program {
  readonly name: string;
  /** Why it cannot be run here. */
  readonly skip: string | false;
  readonly command: readonly [program: string, ...args: string[]];
  readonly environment?: Readonly<Record<string, string>>;
}

const PROGRAMS: readonly Program[] = [
  {
    name: "etcd3 and grpcio in Python",
    skip: python === undefined && "ETCD_PYTHON names no interpreter",
    command: [python ?? "", PYTHON_CLIENT],
  },
  {
    name: "etcd3-py in Python, through the gateway",
    skip: (python === undefined || gateway === undefined) && "ETCD_PYTHON and ETCD_PYTHON_GATEWAY name no interpreter and folder",
    command: [python ?? "", PYTHON_CLIENT, "gateway"],
    environment: { PYTHONPATH: gateway ?? "" },
  },
  {
    name: "jetcd in Java",
    skip: classPath === undefined && "ETCD_JAVA_CLASS_PATH names no classes",
    command: ["java", "-cp", classPath ?? "", "JetcdClient"],
  },
];

async function run({ command: [program, ...args], environment }: Program, address: string): Promise<readonly [code: unknown, out: string]> {
  const child = spawn(program, [...args, address], { stdio: ["ignore", "pipe", "ignore"], env: { ...process.env, ...environment } });
  let out = "";
  child.stdout.on("data", (chunk: Buffer) => (out += chunk.toString()));
  const code = await new Promise((resolve, reject) => child.once("error", reject).once("close", resolve));
  return [code, out];
}

// At once: they mostly wait for leases to end.
void describe("Clients of other languages", { concurrency: true }, () => {
  for (const program of PROGRAMS) {
    const { name, skip } = program;
    void test(`Programs find what they find with etcd: ${name}`, { skip, timeout: 120_000 }, async (context) => {
      const { address } = await startServed(context);
      assert.deepEqual(await run(program, address), [0, "ok\n"]);
    });
    void test(`What programs expect is what etcd does: ${name}`, { skip: skip || NO_ETCD, timeout: 120_000 }, async (context) => {
      assert.deepEqual(await run(program, await startEtcd(context)), [0, "ok\n"]);
    });
  }
});
