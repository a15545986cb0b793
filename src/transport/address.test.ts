import assert from "node:assert/strict";
import { test } from "node:test";
import { formatAddress, isLoopback, parseAddress } from "./address.ts";

test("names, IPv4 and bracketed IPv6 addresses with a port are read", () => {
  const cases: readonly (readonly [string, string, number])[] = [
    ["localhost:1", "localhost", 1],
    ["DB-1.Example.com:2380", "db-1.example.com", 2380],
    ["db_1:65535", "db_1", 65_535],
    ["10.0.0.1:0", "10.0.0.1", 0],
    ["[::1]:2380", "::1", 2380],
    ["[2001:DB8::7]:9", "2001:db8::7", 9],
    ["node.:7", "node.", 7],
  ];
  for (const [text, host, port] of cases) assert.deepEqual(parseAddress(text), { host, port }, text);
});

test("everything else is refused", () => {
  const bad = ["", ":", ":80", "host", "host:", "host:-1", "host:65536", "host:1e3", "host:0x10", "::1:80", "[::1]", "[::1]:", "[nope]:1"];
  bad.push("[]:1", "a b:1", "a/b:1", "-a:1", "a-:1", "a..b:1", "256.1.1.1:1", "1.2.3:1", "http://a:1", "a:1:2", "a:80 ", "\u0000:1");
  bad.push(`${"a".repeat(64)}:1`, `${"a.".repeat(200)}b:1`, "é:1", "user@host:1");
  for (const text of bad) assert.equal(parseAddress(text), undefined, JSON.stringify(text));
});

test("formatting gives the text that was read", () => {
  for (const text of ["a.b:1", "10.0.0.1:2380", "[::1]:2380"]) {
    const address = parseAddress(text);
    assert.ok(address !== undefined);
    assert.equal(formatAddress(address), text);
  }
});

test("loopback is told from every other host", () => {
  const inside = ["localhost", "LOCALHOST", "127.0.0.1", "127.9.8.7", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "0000::0001"];
  for (const host of inside) assert.equal(isLoopback(host), true, host);
  const outside = ["0.0.0.0", "::", "10.0.0.1", "128.0.0.1", "localhost.example.com", "127.example.com", "::1:1", "1::", "::ffff:10.0.0.1"];
  outside.push("::10", "fe80::1%lo", "", "::127.0.0.1", "1::1");
  for (const host of outside) assert.equal(isLoopback(host), false, host);
});
