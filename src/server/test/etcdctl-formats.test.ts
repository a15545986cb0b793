/** What etcdctl prints in each of its formats, of our server and of a real etcd, and its commands that hold something: locks, elections, leases that are kept. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { describe, test, type TestContext } from "node:test";
import { decodeMessage } from "../../api/message-codec.ts";
import { messageToJson } from "../../api/json-codec.ts";
import type { MessageName } from "../../api/schema/messages.ts";
import { etcdctl, withoutNames } from "./etcdctl.ts";
import { comparable, isInstalled, startEtcd, startServed } from "./wire.ts";

const SKIP = isInstalled("etcdctl") && isInstalled("etcd") ? false : "there is no etcdctl, or no etcd, on this machine";

const STEPS: readonly { readonly args: readonly string[]; readonly input?: string }[] = [
  { args: ["put", "a", "1"] },
  { args: ["put", "a", "2", "--prev-kv"] },
  { args: ["get", "a"] },
  { args: ["get", "a", "--print-value-only"] },
  { args: ["get", "a", "--prefix", "--from-key"] },
  { args: ["get", "a", "--consistency", "x"] },
  { args: ["txn"], input: 'val("a") = "2"\n\nget a\nput b 3\ndel none\n\nget none\n\n' },
  { args: ["txn"], input: 'val("a") = "5"\n\nget a\n\nget b\nget a\n\n' },
  { args: ["del", "b", "--prev-kv"] },
  { args: ["compaction", "2"] },
  { args: ["compaction", "2"] },
  { args: ["lease", "grant", "100"] },
  { args: ["lease", "list"] },
  { args: ["member", "list"] },
  { args: ["endpoint", "health"] },
  { args: ["endpoint", "health", "--cluster"] },
  { args: ["alarm", "disarm"] },
  { args: ["auth", "enable"] },
  { args: ["auth", "disable"] },
  { args: ["user", "list"] },
  { args: ["role", "list"] },
  { args: ["--user", "root:secret", "get", "a"] },
  { args: ["user", "get", "nobody", "--detail"] },
  { args: ["move-leader", "zz"] },
  { args: ["member", "remove", "zz"] },
  { args: ["lock"] },
  { args: ["watch"] },
  { args: ["version"] },
];

/** A panic of etcdctl's own names places in its memory. */
const PANIC = /panic: (.*)\n[^]*/;

// At once: most of the time goes into starting etcdctl.
void describe("What etcdctl prints", { concurrency: true }, () => {
  for (const format of ["simple", "json", "fields", "table"]) {
    void test(`What etcdctl prints as ${format} is the same of both`, { skip: SKIP, timeout: 90_000 }, async (context: TestContext) => {
      const [theirs, { address: ours }] = await Promise.all([
        startEtcd(context),
        startServed(context, {}, { peer: { listen: "127.0.0.1:0" } }),
      ]);
      for (const { args, ...options } of STEPS) {
        // It would show the length of what is no message.
        if (args[0] === "endpoint" && format === "table" && args[2] === "--cluster") continue;
        const [expected, actual] = await Promise.all([theirs, ours].map((address) => etcdctl(address, ["-w", format, ...args], options)));
        const plain = (outcome: typeof expected): object => {
          const { code, out } = withoutNames(outcome!);
          return { code, out: out.replace(PANIC, "panic: $1").replaceAll(/http:\/\/\w+:?\d*/g, "URL") };
        };
        assert.deepEqual(plain(actual), plain(expected), args.join(" "));
      }
    });
  }
});

const MESSAGES: readonly (readonly [name: MessageName, ...args: string[]])[] = [
  ["etcdserverpb.PutResponse", "put", "a", "1"],
  ["etcdserverpb.PutResponse", "put", "a", "2", "--prev-kv"],
  ["etcdserverpb.RangeResponse", "get", "a"],
  ["etcdserverpb.RangeResponse", "get", "", "--prefix", "--limit", "1"],
  ["etcdserverpb.DeleteRangeResponse", "del", "a", "--prev-kv"],
];

void test("What etcdctl prints as protobuf is the same of both", { skip: SKIP, timeout: 90_000 }, async (context) => {
  const [theirs, { address: ours }] = await Promise.all([startEtcd(context), startServed(context)]);
  for (const [name, ...args] of MESSAGES) {
    const [expected, actual] = await Promise.all(
      [theirs, ours].map(async (address) => {
        const { code, out } = await etcdctl(address, ["-w", "protobuf", ...args]);
        return [code, comparable(messageToJson(name, decodeMessage(name, Buffer.from(out.replace(/\n$/, ""), "latin1"))))];
      }),
    );
    assert.deepEqual(actual, expected, args.join(" "));
  }
});

/** A command that goes on until it is told to stop. */
class Running {
  readonly ended: Promise<unknown>;
  out = "";
  readonly #child: ChildProcess;
  readonly #listeners = new Set<() => void>();

  constructor(context: Pick<TestContext, "after">, address: string, ...args: readonly string[]) {
    const child = spawn("etcdctl", ["--endpoints", address, ...args], {
      env: { ...process.env, ETCDCTL_API: "3" },
      stdio: ["pipe", "pipe", "ignore"],
    });
    this.#child = child;
    child.stdout!.on("data", (chunk: Buffer) => {
      this.out += chunk.toString("latin1");
      for (const listener of this.#listeners) listener();
    });
    this.ended = new Promise((resolve) => child.once("close", resolve));
    context.after(async () => {
      child.kill("SIGKILL");
      await this.ended;
    });
  }

  /** Resolves when its output matches. */
  async said(pattern: RegExp): Promise<void> {
    if (pattern.test(this.out)) return;
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if (!pattern.test(this.out)) return;
        this.#listeners.delete(look);
        resolve();
      };
      this.#listeners.add(look);
    });
  }

  async stop(signal: NodeJS.Signals): Promise<void> {
    this.#child.kill(signal);
    await this.ended;
  }
}

const SERVERS: readonly (readonly [name: string, start: (context: TestContext) => Promise<string>])[] = [
  ["us", async (context) => (await startServed(context)).address],
  ["etcd", startEtcd],
];

void describe("What etcdctl holds", { concurrency: true }, () => {
  for (const [name, start] of SERVERS) {
    void test(
      `etcdctl's locks and elections pass on when their holders stop: ${name}`,
      { skip: SKIP, timeout: 60_000 },
      async (context) => {
        const address = await start(context);
        const first = new Running(context, address, "lock", "L", "--ttl", "20");
        await first.said(/^L\/[0-9a-f]+\n/);
        const second = new Running(
          context,
          address,
          "lock",
          "L",
          "--ttl",
          "20",
          "--",
          "sh",
          "-c",
          "echo held $ETCD_LOCK_REV $ETCD_LOCK_KEY",
        );
        const watched = new Running(context, address, "watch", "--prefix", "L/", "--rev", "1");
        await watched.said(/PUT[^]*PUT/);
        assert.equal(second.out, "");
        // It lets go of what it holds.
        await first.stop("SIGTERM");
        await second.ended;
        assert.match(second.out, /^held \d+ L\/[0-9a-f]+\n/);
        await watched.said(/DELETE[^]*DELETE/);

        const leading = new Running(context, address, "elect", "E", "one");
        await leading.said(/^E\/[0-9a-f]+\none\n/);
        const observing = new Running(context, address, "elect", "-l", "E");
        await observing.said(/\none\n/);
        const waiting = new Running(context, address, "elect", "E", "two");
        const queued = new Running(context, address, "watch", "--prefix", "E/", "--rev", "1");
        await queued.said(/PUT[^]*PUT/);
        assert.equal(waiting.out, "");
        await leading.stop("SIGINT");
        await waiting.said(/^E\/[0-9a-f]+\ntwo\n/);
        await observing.said(/\ntwo\n/);
      },
    );

    void test(`etcdctl keeps a lease alive until it is revoked: ${name}`, { skip: SKIP, timeout: 60_000 }, async (context) => {
      const address = await start(context);
      const { out } = await etcdctl(address, ["lease", "grant", "3"]);
      const lease = /^lease ([0-9a-f]+) granted/.exec(out)![1]!;
      const keeping = new Running(context, address, "lease", "keep-alive", lease);
      await keeping.said(/(lease \w+ keepalived with TTL\(3\)\n){2}/);
      assert.match((await etcdctl(address, ["lease", "revoke", lease])).out, /revoked/);
      await keeping.ended;
      assert.match(keeping.out, new RegExp(`lease ${lease} expired or revoked.\n$`));
    });
  }
});
