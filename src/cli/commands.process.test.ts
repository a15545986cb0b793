/** Every command that asks a server, against a real `d-engine serve`: what it prints, as text and as JSON, and how it ends. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import path from "node:path";
import { Readable } from "node:stream";
import { after, before, test, type TestContext } from "node:test";
import { RpcServer } from "../rpc/index.ts";
import { EXIT } from "./exit.ts";
import { startServer, temporaryDirectory, type Served } from "./test/processes.ts";
import { run, type Ran, type RunOptions } from "./test/world.ts";

let server: Served;
const ends: (() => unknown)[] = [];
const owner: Pick<TestContext, "after"> = { after: (end) => void ends.unshift(end as () => unknown) };

before(async () => {
  server = await startServer(owner);
});
after(async () => {
  // One after the other, the last first: a process ends before its directory goes.
  // oxlint-disable-next-line no-await-in-loop -- see above
  for (const end of ends) await end();
});

const ask = (args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  run(args, { ...options, environment: { D_ENGINE_ENDPOINTS: server.address, ...options.environment } });

/** As text: what is printed, and the code. */
async function says(args: readonly string[], stdout: string | RegExp, code: number = EXIT.done, options: RunOptions = {}): Promise<void> {
  const ran = await ask(args, options);
  if (typeof stdout === "string") assert.equal(ran.stdout, stdout, ran.stderr);
  else assert.match(ran.stdout, stdout, ran.stderr);
  assert.equal(ran.code, code, ran.stderr);
}

async function json(args: readonly string[], code: number = EXIT.done, options: RunOptions = {}): Promise<any> {
  const ran = await ask([...args, "--output", "json"], options);
  assert.equal(ran.code, code, ran.stderr);
  assert.match(ran.stdout, /^[^\n]+\n$/, "one line");
  return JSON.parse(ran.stdout) as unknown;
}

const revision = async (): Promise<number> => (await json(["get", "--all", "--count-only"])).revision as number;

test("put and get: text, JSON, and the exit code 1 for what is not there", async () => {
  await says(["put", "p/a", "größe"], /^revision \d+\n$/);
  const at = await revision();
  await says(["get", "p/a"], "p/a\ngröße\n");
  assert.deepEqual(await json(["get", "p/a"]), {
    kvs: [{ key: "p/a", value: "größe", createRevision: at, modRevision: at, version: 1 }],
    count: 1,
    more: false,
    revision: at,
  });
  await says(["get", "p/none"], "", EXIT.no);
  assert.deepEqual(await json(["get", "p/none"], EXIT.no), { kvs: [], count: 0, more: false, revision: at });
  const { prevKv } = await json(["put", "p/a", "2", "--prev-kv"]);
  assert.equal(prevKv.value, "größe");
  await says(["put", "p/a", "3", "--prev-kv"], /^revision \d+\np\/a\n2\n$/);
  await says(["put", "--ignore-value", "p/a"], /^revision/);
  await says(["get", "p/a", "--print-value-only"], "3\n");
  const refusedPut = await ask(["put", "--ignore-value", "p/absent"]);
  assert.deepEqual([refusedPut.code, refusedPut.stdout], [EXIT.refused, ""]);
  await says(["put", "--", "-p", "--x"], /^revision/);
  await says(["get", "--", "-p"], "-p\n--x\n");
  await says(["get", "p/a", "--count-only"], /^\{"count":1,/, EXIT.done, { environment: { D_ENGINE_OUTPUT: "json" } });
  assert.equal((await ask(["put", "p/xml", "x"], { environment: { D_ENGINE_OUTPUT: "xml" } })).code, EXIT.usage);
  await says(["get", "p/xml"], "", EXIT.no);
  await says(["--output", "json", "get", "p/a", "--count-only"], /^\{"count":1,/, EXIT.done);
});

test("values that are no text go in by standard input and come out as they were, or marked", async () => {
  const value = Uint8Array.from({ length: 256 }, (_, i) => i);
  await says(["put", "bin/a"], /^revision/, EXIT.done, { stdin: value });
  assert.deepEqual([...(await ask(["get", "bin/a", "--raw"])).bytes], [...value]);
  await says(["get", "bin/a"], `bin/a\n0x${Buffer.from(value).toString("hex")}\n`);
  const [kv] = (await json(["get", "bin/a"])).kvs;
  assert.deepEqual(kv.value, { base64: Buffer.from(value).toString("base64") });
  await says(["txn"], "SUCCESS\n\nOK\n", EXIT.done, { stdin: '\nput "bin/\\xff" "\\x00"\n' });
  await says(["get", "bin/", "--prefix", "--keys-only"], "bin/a\n0x62696e2fff\n");
  const keys = (await json(["get", "bin/", "--prefix"])).kvs.map(({ key }: { key: unknown }) => key) as unknown;
  assert.deepEqual(keys, ["bin/a", { base64: Buffer.from("bin/\xff", "latin1").toString("base64") }]);
  await says(["put", "bin/empty", ""], /^revision/);
  await says(["get", "bin/empty"], "bin/empty\n\n");
  await says(["get", "bin/", "--prefix", "--raw"], "", EXIT.usage);
});

test("get: intervals, order, limits, counts and past revisions", async () => {
  for (const [key, value] of [
    ["r/1", "c"],
    ["r/2", "a"],
    ["r/3", "b"],
  ] as const)
    await ask(["put", key, value]);
  const before_ = await revision();
  await ask(["put", "r/1", "z"]);
  await says(["get", "r/1", "r/3"], "r/1\nz\nr/2\na\n");
  await says(["get", "r/", "--prefix", "--keys-only"], "r/1\nr/2\nr/3\n");
  await says(["get", "r/", "--prefix", "--print-value-only", "--sort-by", "value", "--order", "descend"], "z\nb\na\n");
  await says(["get", "r/1", "--rev", String(before_)], "r/1\nc\n");
  await says(["get", "r/", "--prefix", "--rev", String(before_), "--print-value-only"], "c\na\nb\n");
  await says(["get", "r/", "--prefix", "--count-only"], "3\n");
  await says(["get", "none/", "--prefix", "--count-only"], "0\n");
  await says(["get", "r/1", "--consistency", "s"], "r/1\nz\n");
  const limited = await ask(["get", "r/", "--prefix", "--limit", "1"]);
  assert.deepEqual([limited.stdout, limited.stderr], ["r/1\nz\n", "1 of 3 are shown\n"]);
  const future = await ask(["get", "r/1", "--rev", "999999"]);
  assert.deepEqual([future.code, future.stdout], [EXIT.refused, ""]);
  assert.match(future.stderr, /future revision/);
});

test("get prints more than fits in one page, as of one revision", async () => {
  const lines = Array.from({ length: 2_500 }, (_, i) => `many/${String(i).padStart(5, "0")}`);
  for (let i = 0; i < lines.length; i += 100)
    // oxlint-disable-next-line no-await-in-loop -- few, and in order
    await says(["txn"], /^SUCCESS/, EXIT.done, {
      stdin: `\n${lines
        .slice(i, i + 100)
        .map((key) => `put ${key} ${key}`)
        .join("\n")}\n`,
    });
  await says(["get", "many/", "--prefix", "--keys-only"], lines.map((line) => `${line}\n`).join(""));
  await says(["tree", "many/", "--depth", "1"], "└─ many/ (2500 keys)\n");
  await says(["del", "many/", "--prefix"], "2500\n");
});

test("del says how many, and what", async () => {
  for (const key of ["d/1", "d/2", "d/3"]) await ask(["put", key, "v"]);
  await says(["del", "d/1"], "1\n");
  await says(["del", "d/1"], "0\n", EXIT.no);
  await says(["del", "d/2", "--prev-kv"], "1\nd/2\nv\n");
  const { deleted, prevKvs } = await json(["del", "d/", "--prefix", "--prev-kv"]);
  assert.deepEqual([deleted, prevKvs.length, prevKvs[0].key], [1, 1, "d/3"]);
});

test("txn: what holds, what does not, and results of each kind", async () => {
  await ask(["put", "t/a", "1"]);
  const stdin = 'value("t/a") = "1"\nmod("t/a") > 0\n\nput t/a 2\nget t/a\ndel t/none\n\nget t/a\n';
  await says(["txn"], "SUCCESS\n\nOK\n\nt/a\n2\n\n0\n", EXIT.done, { stdin });
  await says(["txn"], "FAILURE\n\nt/a\n2\n", EXIT.no, { stdin });
  const { succeeded, results } = await json(["txn"], EXIT.no, { stdin });
  assert.equal(succeeded, false);
  assert.equal(results[0].kvs[0].value, "2");
  const wrong = await ask(["txn"], { stdin: "nonsense\n" });
  assert.deepEqual([wrong.code, wrong.stdout], [EXIT.usage, ""]);
  assert.equal((await ask(["txn"], { stdin: Uint8Array.of(255) })).code, EXIT.usage);
});

test("leases: granted, listed, looked at, renewed, revoked; the exit code 1 for one that is gone", async () => {
  const { id, ttlSeconds } = await json(["lease", "grant", "60"]);
  assert.match(id, /^[0-9a-f]{16}$/);
  assert.equal(ttlSeconds, 60);
  await says(["lease", "grant", "60", "--id", "abc"], "0000000000000abc\n");
  assert.equal((await ask(["lease", "grant", "60", "--id", "abc"])).code, EXIT.refused);
  await says(["put", "l/a", "v", "--lease", id as string], /^revision/);
  assert.equal((await json(["get", "l/a"])).kvs[0].lease, id);
  assert.deepEqual((await json(["lease", "timetolive", id as string, "--keys"])).keys, ["l/a"]);
  await says(["lease", "timetolive", id as string, "--keys"], /^\d+ of 60 seconds left\nl\/a\n$/);
  assert.deepEqual((await json(["lease", "list"])).toSorted(), ["0000000000000abc", id].toSorted());
  await says(["lease", "keep-alive", "abc", "--once"], "renewed for 60 seconds\n");
  await says(["lease", "revoke", id as string], /^revision \d+\n$/);
  await says(["get", "l/a"], "", EXIT.no);
  for (const command of ["timetolive", "revoke"]) {
    const gone = await ask(["lease", command, id as string]);
    assert.deepEqual([gone.code, gone.stdout, gone.stderr], [EXIT.no, "", `there is no lease ${id}\n`]);
  }
  await says(["lease", "keep-alive", id as string, "--once"], "", EXIT.no);
  await says(["lease", "revoke", "abc"], /^revision/);
  await says(["lease", "list"], "");
  for (const args of [
    ["lease", "grant", "0"],
    ["lease", "grant", "1e3"],
    ["lease", "revoke", "xyz"],
  ])
    assert.equal((await ask(args)).code, EXIT.usage, args.join(" "));
});

test("watch: from the past and from now, as text and JSON, with a command for each change", async (context) => {
  const start = await revision();
  await ask(["put", "w/a", "1"]);
  await ask(["put", "w/a", "2"]);
  await ask(["del", "w/a"]);
  const from = ["watch", "w/", "--prefix", "--rev", String(start + 1), "--count", "3"];
  await says(from, "PUT\nw/a\n1\nPUT\nw/a\n2\nDELETE\nw/a\n\n");
  await says([...from, "--prev-kv"], "PUT\nw/a\n1\nPUT\nw/a\n1\nw/a\n2\nDELETE\nw/a\n2\nw/a\n\n");
  const lines = (await ask([...from, "-o", "json"])).stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    lines.map(({ kind, revision: at, key, value }) => [kind, at, key, value]),
    [
      ["put", start + 1, "w/a", "1"],
      ["put", start + 2, "w/a", "2"],
      ["delete", start + 3, "w/a", undefined],
    ],
  );
  const directory = temporaryDirectory(context);
  const file = path.join(directory, "seen");
  const script = `{ echo "$ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE $ETCD_WATCH_REVISION"; cat; } >> ${file}`;
  await ask([...from, "--", "sh", "-c", script], { environment: { PATH: process.env["PATH"] ?? "" } });
  const seen = readFileSync(file, "utf8").trimEnd().split("\n");
  assert.deepEqual([seen[0], seen[4]], [`PUT w/a 1 ${start + 1}`, `DELETE w/a  ${start + 3}`]);
  assert.deepEqual(JSON.parse(seen[1] ?? ""), lines[0]);
  const failing = await ask([...from, "--count", "1", "--", "sh", "-c", "exit 3"], { environment: { PATH: process.env["PATH"] ?? "" } });
  assert.deepEqual([failing.code, failing.stderr], [EXIT.done, "sh ended with code 3\n"]);
  const absent = await ask([...from, "--count", "1", "--", "no-such-command"], { environment: { PATH: process.env["PATH"] ?? "" } });
  assert.match(absent.stderr, /ENOENT/);
});

test("watch: zero bytes and large values reach the command, too", async () => {
  const start = await revision();
  const value = new Uint8Array(300_000).fill(120);
  await ask(["put", "w/zero"], { stdin: Uint8Array.of(0, 1) });
  await ask(["put", "w/large"], { stdin: value });
  const environment = { PATH: process.env["PATH"] ?? "" };
  const args = ["watch", "w/", "--prefix", "--rev", String(start + 1), "--count", "2", "-o", "json", "--"];
  const told = await ask(
    [
      ...args,
      "sh",
      "-c",
      'test "$ETCD_WATCH_VALUE" = 0x0001 && test "$(wc -c)" -gt 10 || { test -z "$ETCD_WATCH_VALUE" && test "$(wc -c)" -gt 300000; }',
    ],
    { environment },
  );
  assert.deepEqual([told.code, told.stderr], [EXIT.done, ""]);
});

test("watch: a history that is compacted is refused; a signal ends it well", async () => {
  await ask(["put", "w/c", "1"]);
  await ask(["put", "w/c", "2"]);
  const at = await revision();
  await says(["compact", String(at)], `compacted to revision ${at}\n`);
  assert.equal((await ask(["compact", String(at)])).code, EXIT.refused);
  assert.equal((await ask(["compact", "-1"])).code, EXIT.usage);
  const past = await ask(["watch", "w/c", "--rev", "1"]);
  assert.equal(past.code, EXIT.refused);
  assert.match(past.stderr, new RegExp(`history before revision ${at} is gone`));
  const old = await ask(["get", "w/c", "--rev", "1"]);
  assert.deepEqual([old.code, old.stdout], [EXIT.refused, ""]);
  const controller = new AbortController();
  const watching = ask(["watch", "w/live", "--rev", String(at + 1)], { signal: controller.signal, onPrint: () => controller.abort() });
  await ask(["put", "w/live", "now"]);
  const { code, stdout } = await watching;
  assert.deepEqual([code, stdout], [EXIT.done, "PUT\nw/live\nnow\n"]);
});

test("tree and locks draw what there is", async () => {
  for (const key of ["tree/a/b", "tree/a/c", "tree/d", "tree//e"]) await ask(["put", key, ""]);
  await says(["tree", "tree/"], "└─ tree/\n   ├─ /\n   │  └─ e\n   ├─ a/\n   │  ├─ b\n   │  └─ c\n   └─ d\n");
  assert.deepEqual(await json(["tree", "tree/"]), { "tree/": { "/": { e: {} }, "a/": { b: {}, c: {} }, d: {} } });
  await says(["tree", "none/"], "", EXIT.no);
  await says(["tree", "tree/", "--depth", "0"], "", EXIT.usage);
  const { id } = await json(["lease", "grant", "60"]);
  await ask(["put", `locks/x/${String(id).replace(/^0+/, "")}`, "me", "--lease", id as string]);
  const [lock] = await json(["locks", "locks/"]);
  assert.deepEqual([lock.name, lock.lease, lock.value, lock.waiting], ["locks/x", id, "me", 0]);
  await says(["locks", "locks/"], /^name +held by lease +token +waiting +value\nlocks\/x /);
  await says(["locks", "none/"], "", EXIT.no);
  await ask(["lease", "revoke", id as string]);
});

test("tree: a key of slashes alone costs no stack", async () => {
  const stdin = `\nput "slashes${"/".repeat(20_000)}" x\n`;
  await says(["txn"], /^SUCCESS/, EXIT.done, { stdin });
  await says(["tree", "slashes"], /^└─ slashes\//);
  assert.equal((await ask(["tree", "slashes", "-o", "json"])).code, EXIT.done);
  await ask(["del", "slashes", "--prefix"]);
});

test("members, endpoints, status: one member that leads", async () => {
  const [member] = await json(["member", "list"]);
  assert.equal(member.name, "default");
  assert.deepEqual(member.clientUrls, [`http://${server.address}`]);
  await says(["member", "list"], /^id +name +role +members reach it at +clients reach it at\n[0-9a-f]{16} +default +voter /);
  const [status] = await json(["endpoint", "status"]);
  assert.deepEqual([status.endpoint, status.role, status.memberId, status.leader], [server.address, "leader", member.id, member.id]);
  await says(["endpoint", "status", "--cluster"], /^endpoint +id +version +data +role[\s\S]*leader/);
  const [health] = await json(["endpoint", "health"]);
  assert.equal(health.healthy, true);
  await says(["endpoint", "health", "--cluster"], /is healthy: answered in [\d.]+ ms\n$/);
  const whole = await json(["status"]);
  assert.deepEqual([whole.members, whole.role], [[{ id: member.id, name: "default" }], "leader"]);
  await says(
    ["status"],
    /^cluster +[0-9a-f]{16}\nleader +default \([0-9a-f]{16}\), term \d+\nmembers +default\nrevision +\d+\nkeys +\d+\n/,
  );
  for (const args of [
    ["member", "promote", "zzz"],
    ["move-leader", "zzz"],
    ["member", "add"],
  ])
    assert.equal((await ask(args)).code, EXIT.usage, args.join(" "));
  await says(["move-leader", member.id as string], `${member.id} leads\n`);
});

test("snapshot save writes a whole file or none", async (context) => {
  const directory = temporaryDirectory(context);
  const file = path.join(directory, "backup");
  await says(["snapshot", "save", file], /^\S+ (Ki|Mi)?B saved at /);
  assert.deepEqual(readdirSync(directory), ["backup"]);
  const found = await json(["snapshot", "status", file]);
  const kept = [await revision(), (await json(["get", "--all", "--count-only"])).count, statSync(file).size];
  assert.deepEqual([found.revision, found.keys, found.bytes], kept);
  const nowhere = await ask(["snapshot", "save", path.join(directory, "no/such/directory")]);
  assert.equal(nowhere.code, EXIT.usage);
  const aborted = new AbortController();
  aborted.abort();
  const interrupted = await ask(["snapshot", "save", path.join(directory, "half")], { signal: aborted.signal });
  assert.deepEqual([interrupted.code, readdirSync(directory)], [EXIT.unavailable, ["backup"]]);
});

test("what snapshot restore makes, serve starts a new cluster with", { timeout: 60_000 }, async (context) => {
  const directory = temporaryDirectory(context);
  const file = path.join(directory, "backup");
  await ask(["put", "kept", "yes"]);
  await ask(["snapshot", "save", file]);
  await ask(["put", "kept", "no"]);
  const old = await revision();
  const dataDir = path.join(directory, "data");
  // As etcd's own command is given them.
  const etcds = ["--mark-compacted", "--initial-cluster-token", "t", "--initial-advertise-peer-urls", "http://127.0.0.1:2380"];
  const restored = await json(["snapshot", "restore", file, "--data-dir", dataDir, "--bump-revision", "1000", ...etcds]);
  assert.equal(restored.revision, old - 1 + 1000);
  const { address } = await startServer(context, ["--initial-cluster-state", "existing"], directory);
  const at = ["--endpoints", address];
  await says(["get", "kept", ...at], "kept\nyes\n");
  const past = await ask(["watch", "kept", "--rev", String(old), ...at]);
  assert.equal(past.code, EXIT.refused, "who had seen more than the backup holds is told");
  const clusters = await Promise.all([[], at].map(async (where) => (await json(["status", ...where])).clusterId as string));
  assert.notEqual(clusters[0], clusters[1]);
});

test("changes of members, and whatever else this server does not serve yet, end with the exit code 4, as they would at any server that refuses", async () => {
  for (const args of [
    ["member", "add", "http://127.0.0.1:1"],
    ["member", "promote", "abc"],
    ["member", "remove", "abc"],
    ["endpoint", "hashkv"],
  ]) {
    const { code, stderr } = await ask(args);
    // The server may learn it.
    assert.ok(code === EXIT.refused || (args[0] === "endpoint" && code === EXIT.done), `${args.join(" ")}: ${code} ${stderr}`);
  }
});

test("check perf that is interrupted takes away what it wrote all the same", async () => {
  const controller = new AbortController();
  const interrupted = ask(["check", "perf", "--seconds", "600", "--clients", "2"], { signal: controller.signal });
  while ((await ask(["get", "d-engine/check-perf/", "--prefix", "--count-only"])).stdout === "0\n");
  controller.abort();
  await interrupted;
  await says(["get", "d-engine/check-perf/", "--prefix", "--count-only"], "0\n");
});

test("standard input that does not come is given up at a signal, and what is too large is refused", async () => {
  const controller = new AbortController();
  const waiting = ask(["put", "in/a"], { signal: controller.signal, stdin: new Readable({ read() {} }) });
  controller.abort();
  assert.deepEqual(await waiting.then(({ code, stderr }) => [code, stderr]), [EXIT.unavailable, "d-engine: interrupted\n"]);
  const piece = new Uint8Array(1 << 20);
  let left = 70;
  const endless = new Readable({
    read() {
      this.push(left-- > 0 ? piece : null);
    },
  });
  assert.equal((await ask(["put", "in/a"], { stdin: endless })).code, EXIT.usage);
  assert.equal((await ask(["put", "in/a"], { stdin: new Uint8Array(3 << 20) })).code, EXIT.refused);
  await says(["get", "in/a"], "", EXIT.no);
});

test("check perf says how fast it was, and takes away what it wrote", async () => {
  const ran = await ask(["check", "perf", "--seconds", "1", "--clients", "4", "-o", "json"]);
  const found = JSON.parse(ran.stdout) as Readonly<Record<string, unknown>>;
  assert.ok((found["writesPerSecond"] as number) > 0 && found["failures"] === 0, ran.stdout);
  // How fast this machine is now is not for this test to say; that the verdict and the code are one, is.
  assert.equal(ran.code, found["pass"] === true ? EXIT.done : EXIT.no);
  await says(["get", "d-engine/check-perf/", "--prefix", "--count-only"], "0\n");
  await ask(["put", "d-engine/check-perf/mine", "x"]);
  const other = await ask(["check", "perf", "--seconds", "1"]);
  assert.equal(other.code, EXIT.usage, "somebody's keys are not deleted");
  await says(["del", "d-engine/check-perf/mine"], "1\n");
});

test("nobody there: the exit code 3", async (context) => {
  for (const args of [
    ["get", "a"],
    ["put", "a", "b"],
    ["watch", "a"],
    ["lock", "n"],
    ["status"],
    ["member", "list"],
    ["endpoint", "status"],
  ]) {
    const { code, stdout, stderr } = await ask([...args, "--endpoints", "127.0.0.1:1"]);
    assert.deepEqual([code, stdout], [EXIT.unavailable, ""], args.join(" "));
    assert.match(stderr, /127\.0\.0\.1:1/);
  }
  await says(["endpoint", "health", "--endpoints", "127.0.0.1:1"], /is not healthy/, EXIT.no);
  const hung = net.createServer(() => {});
  context.after(() => hung.close());
  await new Promise<void>((resolve) => void hung.listen(0, "127.0.0.1", () => resolve()));
  const mute = `127.0.0.1:${(hung.address() as net.AddressInfo).port}`;
  const slow = await ask(["put", "x", "y", "--endpoints", mute, "--timeout", "200ms"]);
  assert.equal(slow.code, EXIT.unavailable, "what is no server was never told");
});

test("a server that takes calls and does not answer: a write ends with the exit code 5, a read with 3, and so at a signal", async (context) => {
  const codec = (bytes: Uint8Array): Uint8Array => bytes;
  const codecs = { encodeRequest: codec, decodeRequest: codec, encodeResponse: codec, decodeResponse: codec };
  const controller = new AbortController();
  let aborts = false;
  const silent = new RpcServer();
  context.after(() => silent.close());
  for (const name of ["Put", "Range"])
    silent.add({ path: `/etcdserverpb.KV/${name}`, kind: "unary", ...codecs }, () => {
      if (aborts) controller.abort();
      return new Promise<Uint8Array>(() => {});
    });
  const { port } = (await silent.listen({ port: 0, host: "127.0.0.1" })) as net.AddressInfo;
  const args = ["--endpoints", `127.0.0.1:${port}`, "--timeout", "300ms"];
  const write = await ask(["put", "a", "b", ...args]);
  assert.deepEqual([write.code, write.stdout], [EXIT.mayHaveApplied, ""]);
  assert.match(write.stderr, /it may have been done/);
  assert.equal((await ask(["get", "a", ...args])).code, EXIT.unavailable);
  aborts = true;
  const long = ["--endpoints", `127.0.0.1:${port}`, "--timeout", "1h"];
  const interrupted = await ask(["put", "a", "b", ...long], { signal: controller.signal });
  assert.equal(interrupted.code, EXIT.mayHaveApplied);
  assert.deepEqual(await ask(["get", "a", ...long], { signal: controller.signal }).then(({ code, stderr }) => [code, stderr]), [
    EXIT.unavailable,
    "d-engine: interrupted\n",
  ]);
});

test("endpoints, certificates and times that make no sense are usage errors", async () => {
  const file = path.join(server.directory, "empty.pem");
  writeFileSync(file, "");
  for (const args of [
    ["--endpoints", ""],
    ["--endpoints", "a b:1"],
    ["--timeout", "5"],
    ["--timeout", "0s"],
    ["--timeout", "48h"],
    ["--cacert", "/no/such/file"],
    ["--cert", file],
  ]) {
    const { code, stdout } = await ask(["get", "a", ...args]);
    assert.deepEqual([code, stdout], [EXIT.usage, ""], args.join(" "));
  }
});
