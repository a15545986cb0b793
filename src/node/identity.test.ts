import assert from "node:assert/strict";
import { test } from "node:test";
import { createNodeRandom } from "../host/node-random.ts";
import { bootstrapClusterId, bootstrapMemberId, checkIdentity, decodeIdentity, encodeIdentity, newIdentity } from "./identity.ts";

const random = createNodeRandom();
const bootstrap = { n1: "10.0.0.1:2380", n2: "10.0.0.2:2380", n3: "10.0.0.3:2380" };

test("members compute the same ids from the same list, in whatever order it is given", () => {
  const shuffled = { n3: bootstrap.n3, n1: bootstrap.n1, n2: bootstrap.n2 };
  assert.equal(bootstrapClusterId(bootstrap), bootstrapClusterId(shuffled));
  assert.notEqual(bootstrapClusterId(bootstrap), bootstrapClusterId({ ...bootstrap, n3: "10.0.0.4:2380" }));
  const cluster = bootstrapClusterId(bootstrap);
  const ids = ["n1", "n2", "n3"].map((name) => bootstrapMemberId(cluster, name));
  assert.equal(new Set(ids).size, 3);
  for (const id of ids) assert.match(id, /^[0-9a-f]{16}$/);
});

test("every new directory has another incarnation, and an identity is read back as it was kept", () => {
  const one = newIdentity({ name: "n1", bootstrap }, random);
  const two = newIdentity({ name: "n1", bootstrap }, random);
  assert.equal(one.memberId, two.memberId);
  assert.notEqual(one.incarnation, two.incarnation);
  assert.deepEqual(decodeIdentity(encodeIdentity(one)), one);
  const alone = newIdentity({ name: "n1", bootstrap: undefined }, random);
  assert.notEqual(alone.clusterId, newIdentity({ name: "n1", bootstrap: undefined }, random).clusterId);
});

test("a directory of another member, another cluster or a newer format is refused", () => {
  const identity = newIdentity({ name: "n1", bootstrap }, random);
  checkIdentity(identity, { name: undefined, bootstrap: undefined });
  checkIdentity(identity, { name: "n1", bootstrap });
  const refused = { code: "INCOMPATIBLE" };
  assert.throws(() => checkIdentity(identity, { name: "n2", bootstrap }), refused);
  assert.throws(() => checkIdentity(identity, { name: "n1", bootstrap: { ...bootstrap, n4: "10.0.0.4:2380" } }), refused);
  assert.throws(() => checkIdentity(newIdentity({ name: "n1", bootstrap: undefined }, random), { name: "n1", bootstrap }), refused);
  const newer = new TextEncoder().encode(JSON.stringify({ ...identity, version: 2 }));
  assert.throws(() => decodeIdentity(newer), refused);
});
