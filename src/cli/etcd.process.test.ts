/** The commands against a real etcd: they ask for nothing that it does not have. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { test } from "node:test";
import { EXIT } from "./exit.ts";
import { freePorts, Program, temporaryDirectory } from "./test/processes.ts";
import { run, type Ran, type RunOptions } from "./test/world.ts";

const NO_ETCD = spawnSync("etcd", ["--version"]).status === 0 ? false : "there is no etcd on this machine";

test(
  "keys, watches, transactions, leases, locks, elections and health of a real etcd",
  { timeout: 60_000, skip: NO_ETCD },
  async (context) => {
    const directory = temporaryDirectory(context);
    const [client = 0, peer = 0] = await freePorts(2);
    const address = `127.0.0.1:${client}`;
    const { PATH = "", HOME = "" } = process.env;
    const etcd = spawn(
      "etcd",
      [
        ...["--name", "n1", "--data-dir", path.join(directory, "etcd")],
        ...["--listen-client-urls", `http://${address}`, "--advertise-client-urls", `http://${address}`],
        ...["--listen-peer-urls", `http://127.0.0.1:${peer}`, "--initial-advertise-peer-urls", `http://127.0.0.1:${peer}`],
        ...["--initial-cluster", `n1=http://127.0.0.1:${peer}`],
      ],
      { stdio: ["ignore", "ignore", "pipe"], env: { PATH, HOME } },
    );
    const ended = once(etcd, "close");
    context.after(async () => {
      etcd.kill("SIGKILL");
      await ended;
    });
    await new Promise<void>((resolve, reject) => {
      let said = "";
      etcd.stderr.on("data", (bytes: Buffer) => {
        said += String(bytes);
        if (said.includes("ready to serve client requests") || said.includes("serving insecure client requests")) resolve();
      });
      etcd.once("close", () => reject(new Error(said)));
    });
    const ask = (args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
      run(args, { ...options, environment: { ETCDCTL_ENDPOINTS: address } });
    const says = async (args: readonly string[], stdout: string | RegExp, options: RunOptions = {}): Promise<void> => {
      const ran = await ask(args, options);
      assert.equal(ran.code, EXIT.done, `${args.join(" ")}: ${ran.stderr}`);
      if (typeof stdout === "string") assert.equal(ran.stdout, stdout);
      else assert.match(ran.stdout, stdout);
    };
    await says(["put", "a", "1"], "revision 2\n");
    await says(["get", "a"], "a\n1\n");
    await says(["get", "--all"], "a\n1\n");
    await says(["txn"], "SUCCESS\n\nOK\n", { stdin: 'value("a") = "1"\n\nput a 2\n' });
    await says(["watch", "a", "--rev", "2", "--count", "2"], "PUT\na\n1\nPUT\na\n2\n");
    await says(["lease", "grant", "60", "--id", "abc"], "0000000000000abc\n");
    await says(["lease", "keep-alive", "abc", "--once"], "renewed for 60 seconds\n");
    await says(["lease", "timetolive", "abc"], /^\d+ of 60 seconds left\n$/);
    await says(["lease", "revoke", "abc"], /^revision/);
    assert.equal((await ask(["lease", "revoke", "abc"])).code, EXIT.no);
    await says(["del", "a"], "1\n");
    await says(["member", "list"], /n1 +voter/);
    await says(["endpoint", "status", "--cluster"], /leader/);
    await says(["endpoint", "health"], /is healthy/);
    await says(["endpoint", "hashkv"], /hash/);
    await says(["status"], /leader +n1/);
    const backup = path.join(directory, "backup");
    await says(["snapshot", "save", backup], /saved at/);
    assert.equal((await ask(["snapshot", "status", backup])).code, EXIT.refused, "etcd's own format is not this program's");
    const held = new Program(context, ["lock", "l", "--endpoints", address, "echo", "held"]);
    assert.equal(await held.ended, EXIT.done);
    assert.equal(held.stdout, "held\n");
    const leads = new Program(context, ["elect", "e", "v", "--endpoints", address]);
    await leads.said(/^e\/[0-9a-f]+\nv\n/);
    await says(["locks"], /^name[\s\S]*\ne +[0-9a-f]{16}/);
    leads.child.kill("SIGTERM");
    assert.equal(await leads.ended, EXIT.done);
  },
);
