/** Users' machines in real nodes that make snapshots often: what is restored, and what happens where a machine gives or takes none. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openLocalRaftNode, type LocalRaftNode } from "../../client/local-raft-node.ts";
import { resolveRaftOptions } from "../../client/open-raft-node.ts";
import type { LogRecord } from "../../client/engine-options.ts";
import type { RaftNodeOptions } from "../../client/raft-node.ts";
import { EngineError } from "../../errors.ts";
import { createNodeClock } from "../../host/node-clock.ts";
import { openInlineNode } from "../inline-port.ts";
import { createEnvironment } from "../real-environment.ts";
import { LocalCluster } from "../test/local-cluster.ts";
import { TallyMachine, type TallyOptions } from "./test/tally-machine.ts";

const directory = mkdtempSync(join(tmpdir(), "d-engine-user-machine-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

interface Opened {
  readonly node: LocalRaftNode;
  readonly machine: TallyMachine;
  readonly logged: readonly LogRecord[];
}

/** A node that makes a snapshot whenever its log behind the last exceeds this. */
async function open(
  dataDir: string,
  options: TallyOptions = {},
  snapshotLogBytesMin = 4 << 10,
  peers: Partial<RaftNodeOptions> = {},
): Promise<Opened> {
  const machine = new TallyMachine(options);
  const logged: LogRecord[] = [];
  const resolved = resolveRaftOptions({
    dataDir: join(directory, dataDir),
    ...peers,
    thread: "inline",
    stateMachine: () => machine,
    log: (record) => logged.push(record),
  });
  const nodeOptions = { ...resolved.node, snapshotLogBytesMin, logSegmentBytes: 8 << 10 };
  const environment = createEnvironment(nodeOptions, { thread: "inline", diskWorkerUrl: undefined }, resolved.openMachine);
  const node = await openLocalRaftNode(await openInlineNode(environment, nodeOptions), createNodeClock(), resolved.settings);
  return { node, machine, logged };
}

async function fill(node: LocalRaftNode, count: number): Promise<void> {
  // One after another: many entries.
  // oxlint-disable-next-line no-await-in-loop -- that is the point
  for (let i = 0; i < count; i++) await node.propose(bytes(`${i} ${"x".repeat(100)}`));
}

for (const isAsync of [false, true]) {
  test(`a node that is opened again restores its machine from a snapshot ${isAsync ? "of promised pieces" : "of pieces"} and applies the rest`, async () => {
    const dataDir = `restored ${isAsync}`;
    const first = await open(dataDir, { isAsync });
    await fill(first.node, 200);
    await first.node.close();
    const second = await open(dataDir);
    await second.node.waitReady();
    await second.node.read(bytes("count"));
    assert.equal(second.machine.restored, 1);
    assert.deepEqual(second.machine.texts, first.machine.texts);
    assert.equal(second.machine.texts.length, 200);
    await second.node.close();
  });
}

for (const restore of ["throws", "stops early"] as const) {
  test(`a machine is refused at opening with an error that says so where its restore ${restore}`, async () => {
    const dataDir = `restore ${restore}`;
    const first = await open(dataDir);
    await fill(first.node, 200);
    await first.node.close();
    await assert.rejects(open(dataDir, { restore }), (error) => {
      assert.ok(EngineError.is(error, "INTERNAL"), String(error));
      assert.match(error.details.invariant, /the state machine .* the snapshot at \d+/);
      if (restore === "throws") assert.match(error.message, /will not restore/);
      return true;
    });
    // The directory is as it was, and free.
    const again = await open(dataDir);
    assert.equal(again.machine.texts.length > 0, true);
    await again.node.close();
  });
}

for (const snapshot of ["throws", "throws later", "gives text"] as const) {
  test(`the node goes on with its log, and says so, where a machine's snapshot ${snapshot}`, async () => {
    const dataDir = `snapshot ${snapshot}`;
    const first = await open(dataDir, { snapshot });
    await fill(first.node, 200);
    assert.equal(first.node.state.kind, "ready");
    const told = first.logged.filter(({ message }) => message === "the state machine gave no snapshot");
    assert.equal(told.length, 1, "told once, and not asked again at once");
    assert.equal(told[0]?.level, "error");
    await first.node.close();
    const second = await open(dataDir);
    await second.node.read(bytes("count"));
    assert.equal(second.machine.restored, 0);
    assert.equal(second.machine.texts.length, 200);
    await second.node.close();
  });
}

test("many commands in one entry are applied in pieces, and are answered together", async () => {
  const { node, machine } = await open("pieces", {}, 1 << 30);
  const sizes: number[] = [];
  const apply = machine.apply.bind(machine);
  machine.apply = (commands) => {
    sizes.push(commands.length);
    return apply(commands);
  };
  await Promise.all(Array.from({ length: 1_000 }, (_, i) => node.propose(bytes(String(i)))));
  assert.ok(Math.max(...sizes) <= 256, `${Math.max(...sizes)} at once`);
  assert.equal(machine.texts.length, 1_000);
  await node.close();
});

test("over real links each member applies the same, whatever its machine does to the bytes, and one that lags takes over a snapshot", async () => {
  const cluster = await LocalCluster.create(["n1", "n2", "n3"]);
  const { bootstrap } = cluster;
  const join3 = (name: string): Promise<Opened> =>
    open(`cluster ${name}`, {}, 4 << 10, { name, bootstrap, peer: { listen: bootstrap[name]! }, electionTimeoutMs: 300, heartbeatMs: 30 });
  const opened = await Promise.all(Object.keys(bootstrap).map(join3));
  const [n1, n2, n3] = opened as [Opened, Opened, Opened];
  try {
    await Promise.all(opened.map(({ node }) => node.waitReady({ timeoutMs: 30_000 })));
    const answers = await Promise.all(opened.map(({ node }, at) => node.propose(bytes(`from ${at}`))));
    assert.equal(new Set(answers.map(({ answer }) => (JSON.parse(Buffer.from(answer).toString()) as { count: number }).count)).size, 3);
    await n3.node.close();
    await fill(n1.node, 300);
    const again = await join3("n3");
    opened[2] = again;
    assert.equal(Buffer.from(await again.node.read(bytes("count"), { timeoutMs: 30_000 })).toString(), "303");
    await n2.node.read(bytes("count"));
    assert.equal(again.machine.restored >= 1, true, "the log it lacked was gone");
    assert.deepEqual(again.machine.texts, n1.machine.texts);
    assert.deepEqual(n2.machine.texts, n1.machine.texts);
    // What lies in the logs is what was proposed, and not what a machine left of it.
    await Promise.all(opened.map(({ node }) => node.close()));
    const reopened = await Promise.all(Object.keys(bootstrap).map(join3));
    opened.splice(0, 3, ...reopened);
    await Promise.all(reopened.map(({ node }) => node.read(bytes("count"), { timeoutMs: 30_000 })));
    for (const { machine } of reopened) assert.deepEqual(machine.texts, n1.machine.texts);
  } finally {
    await Promise.all(opened.map(({ node }) => node.close()));
    await cluster.end();
  }
});
