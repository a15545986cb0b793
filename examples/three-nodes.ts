/**
 * Three nodes, here in one process to be short; in life each runs in a process of its own, on a machine of its own, with the same
 * `bootstrap`. Any node serves any call.
 */
import { Engine } from "d-engine";

const bootstrap = { n1: "127.0.0.1:23801", n2: "127.0.0.1:23802", n3: "127.0.0.1:23803" };

const engines = await Promise.all(
  Object.entries(bootstrap).map(([name, listen]) => Engine.open({ dataDir: `./${name}`, name, peer: { listen }, bootstrap })),
);
const [n1, n2, n3] = engines as [Engine, Engine, Engine];

const { term } = await n1.waitReady();
console.log("a leader was elected", term > 0);

// Written through one, read through another: linearizable unless told otherwise.
const { revision } = await n1.put("greeting", "hello");
console.log((await n2.get("greeting"))?.text());
// Without a round to a majority, from what the third has applied, but not before it has applied that write.
console.log((await n3.get("greeting", { consistency: "eventual", minRevision: revision }))?.text());

const { members } = await n1.members();
console.log(members.map(({ name, role }) => `${name} ${role}`).toSorted());

// Two of three are a majority: the others go on without one.
await n1.close();
await n2.put("greeting", "still here");
console.log((await n3.get("greeting"))?.text());

await Promise.all([n2.close(), n3.close()]);
