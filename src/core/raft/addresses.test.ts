import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { changeAddresses, isJoint } from "./membership.ts";
import { configurationOfLetters, idOf, letterOf, recordOf, TestCluster } from "./test/cluster.ts";
import { Invariants } from "./test/invariants.ts";
import { changeTo } from "./test/stories.ts";

const URLS = ["http://a:2379"];

function three(): TestCluster {
  const cluster = new TestCluster({ letters: "ABCD", configuration: configurationOfLetters({ voters: "ABC" }) });
  new Invariants(cluster);
  return cluster;
}

function urlsOf(cluster: TestCluster, at: string, of: string): readonly string[] | undefined {
  return cluster.member(at).raft.configuration.members.find(({ id }) => id === idOf(of))?.clientAddresses;
}

test("other addresses of a member leave everything else as it is", () => {
  const letters = fc.subarray([..."ABCDEF"], { minLength: 1 });
  const property = fc.property(letters, fc.nat(5), fc.array(fc.webUrl(), { maxLength: 16 }), (voters, at, clientAddresses) => {
    const learners = [..."ABCDEF"].filter((letter) => !voters.includes(letter)).join("");
    const before = configurationOfLetters({ voters: voters.join(""), learners });
    const letter = "ABCDEF"[at]!;
    const next = changeAddresses(before, idOf(letter), { clientAddresses });
    assert.ok(typeof next !== "string");
    const expected = before.members.map((record) => (record.id === idOf(letter) ? { ...record, clientAddresses } : record));
    assert.deepEqual(next, { ...before, members: expected });
  });
  fc.assert(property, { numRuns: 100 });
});

test("addresses that cannot be are refused with a reason", () => {
  const current = configurationOfLetters({ voters: "ABC" });
  assert.match(String(changeAddresses(current, idOf("D"), { clientAddresses: URLS })), /not a member/);
  assert.match(String(changeAddresses(current, idOf("A"), { clientAddresses: Array.from({ length: 17 }, () => "x") })), /malformed/);
  assert.match(String(changeAddresses(current, idOf("A"), { peerAddress: "x".repeat(2_000) })), /too long/);
  const joint = configurationOfLetters({ voters: "AB", outgoing: "ABC" });
  assert.equal(changeAddresses(joint, idOf("A"), { clientAddresses: URLS }), "a change of membership is under way");
});

test("addresses are committed as one entry, and everyone's log tells them", () => {
  const cluster = three();
  const a = cluster.elect("A");
  const before = a.raft.lastIndex;
  assert.equal(a.raft.proposeAddresses(idOf("B"), { clientAddresses: URLS }), undefined);
  assert.match(a.raft.proposeAddresses(idOf("C"), { clientAddresses: URLS }) ?? "", /under way/, "one at a time");
  a.turn();
  cluster.settle();
  assert.deepEqual([a.raft.lastIndex, a.raft.commitIndex], [before + 1, before + 1]);
  for (const letter of "ABC") assert.deepEqual(urlsOf(cluster, letter, "B"), URLS);
  assert.match(cluster.member("B").raft.proposeAddresses(idOf("B"), { clientAddresses: [] }) ?? "", /not the leader/);
});

test("addresses are refused while voters change, and do not bring old voters back afterwards", () => {
  const cluster = three();
  const a = cluster.elect("A");
  assert.equal(a.raft.proposeConfiguration(changeTo("ABD")), undefined);
  assert.ok(isJoint(a.raft.configuration));
  // Asked for by one who knows the old configuration alone.
  assert.match(a.raft.proposeAddresses(idOf("C"), { clientAddresses: URLS }) ?? "", /under way/);
  a.turn();
  cluster.settle();
  assert.match(a.raft.proposeAddresses(idOf("C"), { clientAddresses: URLS }) ?? "", /not a member/);
  assert.equal(a.raft.proposeAddresses(idOf("B"), { clientAddresses: URLS }), undefined);
  a.turn();
  cluster.settle();
  assert.deepEqual(cluster.member("D").raft.configuration.incoming.map(letterOf), ["A", "B", "D"]);
  assert.deepEqual(urlsOf(cluster, "D", "B"), URLS);
});

test("addresses that were not committed are taken back with their entry", () => {
  const cluster = three();
  const a = cluster.elect("A");
  assert.equal(a.raft.proposeAddresses(idOf("A"), { clientAddresses: URLS }), undefined);
  a.turn();
  a.persist();
  cluster.messages = [];
  assert.deepEqual(urlsOf(cluster, "A", "A"), URLS);
  a.crash();
  const b = cluster.elect("B");
  b.propose("x");
  cluster.settle();
  a.restart();
  a.turn();
  cluster.advance(100);
  cluster.settle();
  assert.deepEqual(urlsOf(cluster, "A", "A"), recordOf("A").clientAddresses);
  assert.deepEqual(a.raft.configuration.incoming, b.raft.configuration.incoming);
});
