import assert from "node:assert/strict";
import { test } from "node:test";
import { parseHosts, PeerResolver } from "./peer-resolver.ts";
import { ManualClock } from "./test/manual-clock.ts";

type Answer = (addresses: readonly string[], problem: string | undefined) => void;

function nameServer(): { readonly asked: string[]; readonly answers: Answer[]; readonly ask: (name: string, answer: Answer) => void } {
  const asked: string[] = [];
  const answers: Answer[] = [];
  return {
    asked,
    answers,
    ask: (name, answer) => {
      asked.push(name);
      answers.push(answer);
    },
  };
}

test("addresses, localhost and the hosts file need no name server", () => {
  const server = nameServer();
  const resolver = new PeerResolver({
    clock: new ManualClock(),
    ask: server.ask,
    hosts: "10.0.0.1 db-1 db # the first\n::2 DB-1\nnonsense x\n",
  });
  for (const host of ["10.1.1.1", "::1", "localhost", "db-1", "db"]) resolver.retain(host);
  assert.deepEqual(resolver.addresses("10.1.1.1"), ["10.1.1.1"]);
  assert.deepEqual(resolver.addresses("::1"), ["::1"]);
  assert.deepEqual(resolver.addresses("localhost"), ["127.0.0.1"]);
  assert.deepEqual(resolver.addresses("db-1"), ["10.0.0.1", "::2"]);
  assert.deepEqual(resolver.addresses("db"), ["10.0.0.1"]);
  assert.deepEqual(server.asked, []);
});

test("a name is looked up when it is retained, refreshed in the background, and forgotten when it is released", () => {
  const clock = new ManualClock();
  const server = nameServer();
  const resolver = new PeerResolver({ clock, ask: server.ask, refreshMs: 30_000 });
  const changes: string[] = [];
  resolver.onChange((host) => changes.push(host));
  resolver.retain("a.test");
  resolver.retain("a.test");
  assert.deepEqual(server.asked, ["a.test"]);
  assert.deepEqual(resolver.addresses("a.test"), []);
  server.answers[0]?.(["10.0.0.2", "10.0.0.1", "10.0.0.1", "not-an-address"], undefined);
  assert.deepEqual(resolver.addresses("a.test"), ["10.0.0.1", "10.0.0.2"]);
  assert.equal(resolver.problem("a.test"), undefined);
  clock.advance(29_999);
  assert.equal(server.asked.length, 1);
  clock.advance(1);
  assert.equal(server.asked.length, 2);
  server.answers[1]?.(["10.0.0.2", "10.0.0.1"], undefined);
  assert.deepEqual(changes, ["a.test"], "the same addresses are no change");
  resolver.release("a.test");
  assert.equal(clock.waiting, 1);
  resolver.release("a.test");
  assert.equal(clock.waiting, 0);
  assert.deepEqual(resolver.addresses("a.test"), []);
});

test("a lookup that fails keeps the addresses, says why, and is repeated ever more slowly", () => {
  const clock = new ManualClock();
  const server = nameServer();
  const resolver = new PeerResolver({ clock, ask: server.ask, refreshMs: 30_000, retryMs: 500 });
  resolver.retain("a.test");
  server.answers[0]?.(["10.0.0.1"], undefined);
  clock.advance(30_000);
  server.answers[1]?.([], "ETIMEOUT");
  assert.deepEqual(resolver.addresses("a.test"), ["10.0.0.1"]);
  assert.equal(resolver.problem("a.test"), "ETIMEOUT");
  for (const waitMs of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]) {
    const before = server.asked.length;
    clock.advance(waitMs - 1);
    assert.equal(server.asked.length, before);
    clock.advance(1);
    assert.equal(server.asked.length, before + 1);
    server.answers.at(-1)?.([], "ETIMEOUT");
  }
  clock.advance(30_000);
  server.answers.at(-1)?.(["10.0.0.9"], undefined);
  assert.deepEqual(resolver.addresses("a.test"), ["10.0.0.9"]);
  assert.equal(resolver.problem("a.test"), undefined);
});

test("search domains are tried after the name itself", () => {
  const server = nameServer();
  const resolver = new PeerResolver({ clock: new ManualClock(), ask: server.ask, searchDomains: ["one.test", "two.test"] });
  resolver.retain("db");
  server.answers[0]?.([], "ENOTFOUND");
  server.answers[1]?.([], "ENOTFOUND");
  server.answers[2]?.(["10.0.0.1"], undefined);
  assert.deepEqual(server.asked, ["db", "db.one.test", "db.two.test"]);
  assert.deepEqual(resolver.addresses("db"), ["10.0.0.1"]);
});

test("an answer that comes after close or release changes nothing", () => {
  const clock = new ManualClock();
  const server = nameServer();
  const resolver = new PeerResolver({ clock, ask: server.ask });
  resolver.retain("a.test");
  resolver.release("a.test");
  server.answers[0]?.(["10.0.0.1"], undefined);
  resolver.retain("b.test");
  resolver.close();
  server.answers[1]?.(["10.0.0.1"], undefined);
  resolver.retain("c.test");
  assert.deepEqual(resolver.addresses("a.test"), []);
  assert.deepEqual(resolver.addresses("b.test"), []);
  assert.equal(server.asked.length, 2);
  assert.equal(clock.waiting, 0);
});

test("a hosts file of any shape is read without complaint", () => {
  assert.deepEqual(
    [...parseHosts("\r\n#\n 127.0.0.1\tlocalhost  LOCALHOST \r\nfe80::1%lo x\n1.2.3 y\n")],
    [
      ["localhost", ["127.0.0.1"]],
      ["x", ["fe80::1%lo"]],
    ],
  );
});
