/** etcdctl against our server, and, where etcd is installed too, against that: what it prints must be the same. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test, type TestContext } from "node:test";
import { comparable, etcdctl, type Outcome } from "./etcdctl.ts";
import { isInstalled, startEtcd, startServed } from "./wire.ts";

const SKIP = isInstalled("etcdctl") ? false : "there is no etcdctl on this machine";
const HAS_ETCD = isInstalled("etcd");

const KEPT_LEASE = "694d7f2c1a3b5e09";

const STEPS: readonly { readonly args: readonly string[]; readonly input?: string; readonly stopWhen?: string }[] = [
  { args: ["put", "foo", "bar"] },
  { args: ["put", "foo", "baz", "--prev-kv"] },
  { args: ["put", "foo1", "1"] },
  { args: ["put", "foo2", "2", "-w", "json"] },
  { args: ["put", "foo3", "--ignore-value"] },
  { args: ["get", "foo"] },
  { args: ["get", "foo", "-w", "json"] },
  { args: ["get", "foo", "-w", "fields"] },
  { args: ["get", "--prefix", "foo"] },
  { args: ["get", "--prefix", "foo", "--limit", "2", "-w", "json"] },
  { args: ["get", "--prefix", "foo", "--sort-by", "MODIFY", "--order", "DESCEND"] },
  { args: ["get", "--prefix", "foo", "--sort-by", "VALUE", "--order", "ASCEND"] },
  { args: ["get", "--prefix", "foo", "--keys-only"] },
  { args: ["get", "foo", "foo2", "--print-value-only"] },
  { args: ["get", "--from-key", "foo1"] },
  { args: ["get", "foo", "--rev", "2"] },
  { args: ["get", "foo", "--rev", "200"] },
  { args: ["get", "foo", "--consistency", "s"] },
  { args: ["get", "nothing"] },
  { args: ["get", ""] },
  { args: ["txn"], input: 'mod("foo") > "0"\n\nput foo fromtxn\nget foo\ndel foo2\n\nput foo no\n\n' },
  { args: ["txn", "-w", "json"], input: 'val("foo") = "nothing"\n\nput foo no\n\nget foo\nget --prefix foo\n\n' },
  { args: ["txn"], input: 'ver("foo") > "0"\n\nput foo a\nput foo b\n\n\n' },
  { args: ["put", "from stdin"], input: "a value\nof two lines" },
  { args: ["put", "--", "-dash", "-x"] },
  { args: ["put", "é", "\u{1f600}", "-w", "json"] },
  { args: ["put", "foo", "z", "--ignore-lease"] },
  { args: ["put", "foo", "z", "--ignore-value"] },
  { args: ["get", "foo", "--hex"] },
  { args: ["get", "", "--prefix", "--keys-only", "--sort-by", "CREATE", "--order", "DESCEND"] },
  { args: ["get", "", "--from-key", "--limit", "3", "-w", "fields"] },
  { args: ["get", "foo", "--sort-by", "NONSENSE"] },
  { args: ["get", "a", "b", "c"] },
  { args: ["txn", "-w", "fields"], input: 'create("new") = "0"\n\nput new "a b"\nget new --rev=0\n\nget foo\n\n' },
  { args: ["txn", "--interactive"], input: 'c("foo") < "2"\n\nget foo\n\nget --prefix foo\n\n' },
  { args: ["txn"], input: "\nget foo --rev=9999\n\n\n" },
  { args: ["txn"], input: "\nput foo x --lease=123\n\n\n" },
  { args: ["watch", "--interactive"], input: "watch foo --rev=2\n", stopWhen: "PUT\nfoo\nz\n" },
  {
    // One event: as several etcd would tell them together, and ours one after another.
    args: ["watch", "from stdin", "--rev", "2", "--", "sh", "-c", "echo $ETCD_WATCH_EVENT_TYPE $ETCD_WATCH_KEY $ETCD_WATCH_VALUE"],
    stopWhen: 'of two lines"\n',
  },
  { args: ["del", "foo", "foo2", "--prev-kv", "-w", "json"] },
  { args: ["del", "--", "-dash"] },
  { args: ["put", "foo", "bar"] },
  { args: ["put", "foo2", "bar"] },
  { args: ["put", "foo", "fromtxn"] },
  { args: ["del", "foo1", "--prev-kv"] },
  { args: ["del", "--prefix", "foo"] },
  { args: ["del", "nothing"] },
  { args: ["watch", "foo", "--rev", "2", "--prev-kv"], stopWhen: "DELETE\nfoo\nfromtxn\nfoo\n\n" },
  // As JSON it would show that ours sends each revision by itself, and etcd many together.
  { args: ["compaction", "4"] },
  { args: ["compaction", "4"] },
  { args: ["get", "foo", "--rev", "2"] },
  { args: ["watch", "foo", "--rev", "2"] },
  { args: ["lease", "timetolive", KEPT_LEASE] },
  { args: ["lease", "revoke", KEPT_LEASE] },
  { args: ["lease", "keep-alive", KEPT_LEASE] },
  { args: ["lease", "list"] },
  { args: ["put", "x", "y", "--lease", KEPT_LEASE] },
  { args: ["lock", "L", "echo", "held"] },
  { args: ["elect", "E", "value"], stopWhen: "value" },
  { args: ["elect", "-l", "E", "-w", "json"], stopWhen: "value" },
  { args: ["endpoint", "health"] },
  { args: ["alarm", "list"] },
  { args: ["alarm", "disarm"] },
  { args: ["defrag"] },
  { args: ["auth", "enable"] },
  { args: ["auth", "disable"] },
  { args: ["user", "list"] },
  { args: ["role", "list"] },
  { args: ["user", "get", "somebody"] },
  { args: ["role", "get", "something"] },
  { args: ["move-leader", "1"] },
  { args: ["put", "", "x"] },
  { args: ["get", "foo", "--command-timeout", "0s"] },
  { args: ["lease", "grant", "-1"] },
  { args: ["lease", "grant", "9000000001"] },
  { args: ["lease", "timetolive", KEPT_LEASE, "-w", "json", "--keys"] },
  { args: ["lease", "keep-alive", "--once", KEPT_LEASE] },
  { args: ["compaction", "9999"] },
  { args: ["compaction", "12", "--physical"] },
  { args: ["get", "", "--prefix", "--keys-only", "--rev", "12"] },
  { args: ["del", "", "--prefix"] },
  { args: ["get", "", "--prefix", "-w", "json"] },
  { args: ["version"] },
  { args: ["user", "delete", "somebody"] },
  { args: ["user", "grant-role", "somebody", "something"] },
  { args: ["user", "revoke-role", "somebody", "something"] },
  { args: ["role", "delete", "something"] },
  { args: ["role", "grant-permission", "something", "readwrite", "a", "b"] },
  { args: ["role", "revoke-permission", "something", "a", "b"] },
];

/** Lock and election keys end in a lease that etcdctl was given at random. */
function withoutLeases(outcome: Outcome): Outcome {
  return {
    ...outcome,
    out: outcome.out
      .replaceAll(/\/[0-9a-f]{14,16}/g, "/LEASE")
      .replaceAll(/"lease":\d{10,}/g, '"lease":0')
      .replaceAll(/[A-Za-z0-9+/]{20,}={0,2}/g, "BASE64"),
  };
}

void test(
  "What etcdctl prints of our server is what it prints of etcd",
  { skip: SKIP || !HAS_ETCD, timeout: 90_000 },
  async (context: TestContext) => {
    const theirs = await startEtcd(context);
    const { address: ours } = await startServed(context);
    for (const { args, ...options } of STEPS) {
      const expected = await etcdctl(theirs, args, options);
      const actual = await etcdctl(ours, args, options);
      assert.deepEqual(withoutLeases(comparable(actual)), withoutLeases(comparable(expected)), args.join(" "));
    }
  },
);

void test("etcdctl's commands of members, leases and status work", { skip: SKIP }, async (context: TestContext) => {
  const { address, engine } = await startServed(context);
  const run = (...args: string[]): Promise<Outcome> => etcdctl(address, args);
  const id = engine.memberId.replace(/^0+/, "");
  assert.equal((await run("member", "list")).out, `${id}, started, n1, , http://${address}, false\n`);
  const status = await run("endpoint", "status");
  assert.match(status.out, new RegExp(`^${address}, ${id}, 3\\.6\\.0, .*, true, false, \\d+, \\d+, \\d+, \\n$`));
  const granted = await run("lease", "grant", "100");
  const lease = /^lease ([0-9a-f]+) granted with TTL\(100s\)\n$/.exec(granted.out)?.[1];
  assert.ok(lease !== undefined, granted.out);
  assert.equal((await run("put", "leased", "x", `--lease=${lease}`)).out, "OK\n");
  assert.match(
    (await run("lease", "timetolive", lease, "--keys")).out,
    /granted with TTL\(100s\), remaining\(9\ds\), attached keys\(\[leased\]\)/,
  );
  assert.equal((await run("lease", "list")).out, `found 1 leases\n${lease}\n`);
  assert.equal((await run("lease", "keep-alive", "--once", lease)).out, `lease ${lease} keepalived with TTL(100)\n`);
  assert.equal((await run("lease", "revoke", lease)).out, `lease ${lease} revoked\n`);
  assert.equal((await run("get", "leased")).out, "");
  // What is not served is refused as such, not answered wrongly.
  assert.match((await run("member", "add", "n2", "--peer-urls=http://127.0.0.1:1")).out, /Unimplemented|not supported/);
});

void test(
  "etcdctl mirrors our data into an etcd, what is there and what comes",
  { skip: SKIP || !HAS_ETCD, timeout: 90_000 },
  async (context: TestContext) => {
    const theirs = await startEtcd(context);
    const { address: ours } = await startServed(context);
    for (const key of ["m/1", "m/2", "other"]) await etcdctl(ours, ["put", key, "before"]);
    const mirror = spawn("etcdctl", ["--endpoints", ours, "make-mirror", "--prefix", "m/", "--dest-prefix", "copy/", theirs], {
      env: { ...process.env, ETCDCTL_API: "3" },
      stdio: "ignore",
    });
    const ended = new Promise((resolve) => mirror.once("close", resolve));
    context.after(async () => {
      mirror.kill("SIGKILL");
      await ended;
    });
    const copied = async (lines: string): Promise<void> => {
      const endMs = performance.now() + 20_000;
      for (;;) {
        const { out } = await etcdctl(theirs, ["get", "--prefix", "copy/"]);
        if (out === lines) return;
        if (performance.now() > endMs) assert.equal(out, lines);
      }
    };
    await copied("copy/1\nbefore\ncopy/2\nbefore\n");
    await etcdctl(ours, ["put", "m/3", "after"]);
    await etcdctl(ours, ["del", "m/1"]);
    await copied("copy/2\nbefore\ncopy/3\nafter\n");
  },
);
