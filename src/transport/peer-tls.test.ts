import assert from "node:assert/strict";
import { connect as connectPlain } from "node:net";
import { test, type TestContext } from "node:test";
import { connect as connectTls } from "node:tls";
import { EngineError } from "../errors.ts";
import { encodeHello } from "./hello.ts";
import { encodeFrame } from "./frame.ts";
import type { TcpTransportOptions } from "./tcp-transport.ts";
import { ELSEWHERE_TLS, MEMBER_TLS, STRANGER_TLS } from "./test/certificates.ts";
import { eventually, helloOf, TestMember } from "./test/test-member.ts";

const SOON = { timeout: 20_000 };

async function open(t: TestContext, number: number, options: Partial<TcpTransportOptions>): Promise<TestMember> {
  const member = await new TestMember(number).open(options);
  t.after(() => member.transport.close());
  return member;
}

function portOf(member: TestMember): number {
  return Number(member.address.address.slice(member.address.address.lastIndexOf(":") + 1));
}

function failure(member: TestMember, peer: TestMember): string {
  return member.transport.linkCondition(peer.id)?.lastFailure ?? "";
}

test("members with certificates of one authority talk", SOON, async (t) => {
  const a = await open(t, 1, { tls: MEMBER_TLS });
  const b = await open(t, 2, { tls: MEMBER_TLS, listen: "localhost:0" });
  for (const member of [a, b]) member.transport.setPeers([a.address, b.address]);
  await Promise.all([a.untilReport(`up ${b.id}`), b.untilReport(`up ${a.id}`)]);
  const large = "x".repeat(3_000_000);
  let written = 0;
  assert.equal(
    a.transport.send(b.id, "bulk", [new TextEncoder().encode(large)], () => (written += 1)),
    true,
  );
  assert.equal(b.send(a, "urgent", "small"), true);
  assert.equal(b.send(a, "snapshot", "chunk"), true);
  await b.until(() => b.texts(a).includes(large));
  await a.until(() => a.received.length === 2);
  await eventually(() => written === 1);
  await eventually(() => a.transport.connections.strangers === 0 && b.transport.connections.strangers === 0);
  assert.equal(a.transport.connections.accepted, 2);
});

test("a certificate of another authority is refused, whoever dials", SOON, async (t) => {
  const a = await open(t, 1, { tls: MEMBER_TLS });
  const stranger = await open(t, 2, { tls: STRANGER_TLS });
  // One that believes the members, but has no certificate that they would believe.
  const pretender = await open(t, 3, { tls: { ...STRANGER_TLS, ca: MEMBER_TLS.ca } });
  a.transport.setPeers([stranger.address]);
  stranger.transport.setPeers([a.address]);
  pretender.transport.setPeers([a.address]);
  await eventually(() => failure(a, stranger) !== "" && failure(stranger, a) !== "" && failure(pretender, a) !== "");
  assert.match(failure(a, stranger), /SELF_SIGNED|UNABLE|self.signed/i);
  assert.match(failure(pretender, a), /alert|closed|broke|RESET/i);
  for (const member of [a, stranger, pretender]) assert.deepEqual(member.reports, []);
  assert.equal(a.transport.connections.accepted, 0);
  await eventually(() => a.transport.connections.strangers === 0);
});

test("a certificate for another host is refused by the one who dials, unless that name is asked for", SOON, async (t) => {
  const elsewhere = await open(t, 1, { tls: ELSEWHERE_TLS });
  const b = await open(t, 2, { tls: MEMBER_TLS });
  b.transport.setPeers([elsewhere.address]);
  await eventually(() => failure(b, elsewhere) !== "");
  assert.match(failure(b, elsewhere), /altnames|does not match/i);
  const c = await open(t, 3, { tls: { ...MEMBER_TLS, serverName: "elsewhere.test" } });
  c.transport.setPeers([elsewhere.address]);
  await c.untilReport(`up ${elsewhere.id}`);
  const d = await open(t, 4, { tls: { ...MEMBER_TLS, serverName: "members.test" } });
  d.transport.setPeers([b.address]);
  await d.untilReport(`up ${b.id}`);
});

test("whoever speaks no TLS to a TLS port gets nowhere, and the other way round", SOON, async (t) => {
  const a = await open(t, 1, { tls: MEMBER_TLS });
  const plain = await open(t, 2, {});
  plain.transport.setPeers([a.address]);
  a.transport.setPeers([plain.address]);
  await eventually(() => failure(plain, a) !== "" && failure(a, plain) !== "");
  const raw = connectPlain({ host: "127.0.0.1", port: portOf(a) });
  raw.on("error", () => {});
  raw.write(encodeFrame("control", [encodeHello(helloOf(7), "consensus")]));
  await new Promise<void>((resolve) => raw.once("close", () => resolve()));
  assert.deepEqual([...a.reports, ...plain.reports], []);
  await eventually(() => a.transport.connections.strangers === 0);
  assert.equal(a.transport.connections.accepted, 0);
});

test("a client without a certificate is refused", SOON, async (t) => {
  const a = await open(t, 1, { tls: MEMBER_TLS });
  const client = connectTls({ host: "127.0.0.1", port: portOf(a), ca: MEMBER_TLS.ca as string });
  client.on("error", () => {});
  client.write(encodeFrame("control", [encodeHello(helloOf(7), "consensus")]));
  await new Promise<void>((resolve) => client.once("close", () => resolve()));
  await eventually(() => a.transport.connections.strangers === 0);
  assert.equal(a.transport.connections.accepted, 0);
});

test("renewed certificates are taken up without a restart; links that are up stay so", SOON, async (t) => {
  const a = await open(t, 1, { tls: MEMBER_TLS });
  const b = await open(t, 2, { tls: MEMBER_TLS });
  const late = await open(t, 3, { tls: STRANGER_TLS });
  b.transport.setPeers([a.address]);
  await b.untilReport(`up ${a.id}`);
  late.transport.setPeers([a.address]);
  await eventually(() => failure(late, a) !== "");
  a.transport.setTls(STRANGER_TLS);
  await late.untilReport(`up ${a.id}`);
  assert.equal(b.send(a, "urgent", "still up"), true);
  await a.until(() => a.texts(b).includes("still up"));
  assert.throws(
    () => a.transport.setTls({ ...MEMBER_TLS, key: STRANGER_TLS.key }),
    (error) => EngineError.is(error, "INVALID_ARGUMENT"),
  );
});

test("texts that are no certificates, or do not belong together, are INVALID_ARGUMENT", SOON, async () => {
  const bad = [
    { ...MEMBER_TLS, cert: "nonsense" },
    { ...MEMBER_TLS, key: "" },
    { ...MEMBER_TLS, key: STRANGER_TLS.key },
    { ...MEMBER_TLS, ca: "" },
  ];
  for (const tls of bad) {
    await assert.rejects(new TestMember(1).open({ tls }), (error) => {
      assert.ok(EngineError.is(error, "INVALID_ARGUMENT"));
      assert.equal(error.details.argument, "peer.tls");
      return true;
    });
  }
});
