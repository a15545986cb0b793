/** RaftNode over a node in its own thread and in this one: what callers are told, and what a machine that misbehaves does to its node. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { EngineError } from "../errors.ts";
import { TallyMachine, type TallyAnswer, type TallyOptions } from "../node/machine/test/tally-machine.ts";
import { openEngine } from "./open-engine.ts";
import { openRaftNode } from "./open-raft-node.ts";
import type { RaftNode } from "./raft-node.ts";
import type { LogRecord } from "./engine-options.ts";

const directory = mkdtempSync(join(tmpdir(), "d-engine-raft-node-"));
after(() => rmSync(directory, { recursive: true, force: true }));

const module = new URL("../node/machine/test/tally-machine.js", import.meta.url);
const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (given: Uint8Array): string => new TextDecoder().decode(given);
const answerOf = ({ answer }: { readonly answer: Uint8Array }): TallyAnswer => JSON.parse(text(answer)) as TallyAnswer;

let directories = 0;
const newDirectory = (): string => join(directory, String(directories++));

interface Shared {
  readonly dataDir: string;
  readonly log?: (record: LogRecord) => void;
}

const ways: Record<string, (shared: Shared, options?: TallyOptions) => Promise<RaftNode>> = {
  "in its own thread": (shared, options) => openRaftNode({ ...shared, stateMachine: { module, options } }),
  "in this thread, by module": (shared, options) => openRaftNode({ ...shared, thread: "inline", stateMachine: { module, options } }),
  "in this thread, by function": (shared, options) =>
    openRaftNode({ ...shared, thread: "inline", stateMachine: () => new TallyMachine(options) }),
};

for (const [way, open] of Object.entries(ways)) {
  describe(`a node with its user's machine ${way}`, () => {
    test("answers each command, reads at every consistency, and finds everything when it is opened again", async () => {
      const dataDir = newDirectory();
      const node = await open({ dataDir });
      const answers = await Promise.all(["a", "b", "c"].map((each) => node.propose(bytes(each))));
      assert.deepEqual(
        answers.map((answer) => answerOf(answer).count),
        [1, 2, 3],
      );
      for (const { index, answer } of answers) assert.equal(answerOf({ answer }).index, index);
      for (const consistency of ["linearizable", "lease", "eventual"] as const)
        assert.equal(text(await node.read(bytes("count"), { consistency })), "3");
      assert.equal(node.state.kind, "ready");
      assert.ok(node.isLeader());
      assert.equal((await node.waitReady()).id, node.memberId);
      assert.equal((await node.members()).members.length, 1);
      await node.close();
      const again = await open({ dataDir });
      assert.deepEqual(JSON.parse(text(await again.read(bytes("all")))), ["a", "b", "c"]);
      const later = answerOf(await again.propose(bytes("d")));
      assert.equal(later.count, 4);
      await again.close();
      await assert.rejects(again.propose(bytes("e")), { code: "CLOSED", mayHaveApplied: false });
    });

    test("many commands and queries at once each get their own answer, in the order of the calls", async () => {
      const node = await open({ dataDir: "memory:" });
      const proposed = Array.from({ length: 3_000 }, (_, i) => node.propose(bytes(`command ${i}`)));
      const counts = (await Promise.all(proposed)).map((answer) => answerOf(answer).count);
      assert.deepEqual(
        counts,
        counts.map((_, i) => i + 1),
      );
      const read = await Promise.all(Array.from({ length: 500 }, () => node.read(bytes("count"))));
      assert.deepEqual(new Set(read.map(text)), new Set(["3000"]));
      await node.close();
    });

    test("a query that throws, or is answered by no bytes, rejects that call alone", async () => {
      const node = await open({ dataDir: "memory:" });
      const [thrown, odd, fine] = await Promise.allSettled(["throw", "text", "count"].map((each) => node.read(bytes(each))));
      assert.ok(thrown?.status === "rejected" && EngineError.is(thrown.reason, "INVALID_ARGUMENT"));
      assert.match(thrown.reason.message, /the state machine threw: Error: no such query/);
      assert.ok(odd?.status === "rejected" && EngineError.is(odd.reason, "INVALID_ARGUMENT"));
      assert.ok(fine?.status === "fulfilled" && text(fine.value) === "0");
      assert.equal(node.state.kind, "ready");
      await node.close();
    });

    for (const [command, invariant] of [
      ["throw", /the state machine .* applies entry \d+ without throwing/],
      ["answer too little", /the state machine .* answers each command of entry \d+ with bytes/],
      ["answer text", /the state machine .* answers each command of entry \d+ with bytes/],
      ["answer later", /the state machine .* answers each command of entry \d+ with bytes/],
    ] as const) {
      test(`a machine stops its node, which says so, and not the process, when it is told to ${command}`, async () => {
        const logged: LogRecord[] = [];
        const node = await open({ dataDir: "memory:", log: (record) => logged.push(record) });
        await node.propose(bytes("before"));
        await assert.rejects(node.propose(bytes(command)), { code: "UNAVAILABLE", mayHaveApplied: true });
        const { state } = node;
        assert.ok(state.kind === "failed" && EngineError.is(state.error, "INTERNAL"));
        assert.match(state.error.details.invariant, invariant);
        assert.equal(node.health().live, false);
        await assert.rejects(node.read(bytes("count")), { code: "UNAVAILABLE", mayHaveApplied: false });
        if (command === "throw") assert.ok(logged.some(({ fields }) => String(fields["stack"]).includes("told to throw")));
        await node.close();
        assert.equal(node.state.kind, "closed");
      });
    }

    test("a machine that holds up its node is told of", async () => {
      const logged: LogRecord[] = [];
      const node = await open({ dataDir: "memory:", log: (record) => logged.push(record) });
      await node.propose(bytes("spin 120"));
      const warning = logged.find(({ message }) => message === "the state machine holds up its node");
      assert.equal(warning?.level, "warn");
      assert.equal(warning?.fields["call"], "apply");
      await node.close();
    });
  });
}

test("options, commands and queries are checked before anything is sent", async () => {
  const dataDir = "memory:";
  const invalid = (argument: string): object => ({ code: "INVALID_ARGUMENT", details: { argument } });
  const isInvalid = (argument: string) => (error: unknown) => {
    assert.ok(EngineError.is(error, "INVALID_ARGUMENT"), String(error));
    assert.equal(error.details.argument, argument);
    return true;
  };
  assert.ok(invalid("x"));
  await assert.rejects(openRaftNode({ dataDir } as never), isInvalid("stateMachine"));
  await assert.rejects(openRaftNode({ dataDir, stateMachine: () => new TallyMachine() } as never), isInvalid("stateMachine"));
  await assert.rejects(openRaftNode({ dataDir, stateMachine: { module: "./relative.js" } }), isInvalid("stateMachine.module"));
  await assert.rejects(openRaftNode({ dataDir, stateMachine: { module, options: () => {} } }), isInvalid("stateMachine.options"));
  await assert.rejects(openRaftNode({ dataDir, stateMachine: { module }, limits: { watchersMax: 1 } } as never), isInvalid("limits"));
  for (const thread of ["worker", "inline"] as const) {
    const missing = { module: new URL("./nothing-there.js", import.meta.url) };
    await assert.rejects(openRaftNode({ dataDir, thread, stateMachine: missing }), isInvalid("stateMachine"));
    const noMachine = { module: new URL("data:text/javascript,export default () => ({ apply() {} })") };
    await assert.rejects(openRaftNode({ dataDir, thread, stateMachine: noMachine }), isInvalid("stateMachine"));
    const throwing = { module: new URL("data:text/javascript,export default () => { throw new Error('not today') }") };
    await assert.rejects(openRaftNode({ dataDir, thread, stateMachine: throwing }), /not today/);
    const noFunction = { module: new URL("data:text/javascript,export default 1") };
    await assert.rejects(openRaftNode({ dataDir, thread, stateMachine: noFunction }), /no function as its default export/);
  }
  const node = await openRaftNode({
    dataDir,
    thread: "inline",
    stateMachine: () => new TallyMachine(),
    limits: { requestBytesMax: 1_024 },
  });
  await assert.rejects(node.propose("text" as never), isInvalid("command"));
  await assert.rejects(node.propose(new Uint8Array(1_025)), isInvalid("command"));
  await assert.rejects(node.read("text" as never), isInvalid("query"));
  await assert.rejects(node.read(bytes("count"), { consistency: "strong" as never }), isInvalid("consistency"));
  await assert.rejects(node.read(bytes("count"), { revision: 1 } as never), isInvalid("options"));
  assert.equal(answerOf(await node.propose(new Uint8Array(1_024))).count, 1);
  assert.equal(answerOf(await node.propose(new Uint8Array(0))).count, 2);
  await node.close();
});

test("a call's signal and time end it, and a write that left says that it may have been applied", async () => {
  const node = await openRaftNode({ dataDir: "memory:", thread: "inline", stateMachine: () => new TallyMachine() });
  await node.waitReady();
  const controller = new AbortController();
  const call = node.propose(bytes("a"), { signal: controller.signal });
  controller.abort();
  await assert.rejects(call, { code: "ABORTED", mayHaveApplied: true });
  await assert.rejects(node.read(bytes("count"), { signal: AbortSignal.abort() }), { code: "ABORTED", mayHaveApplied: false });
  await node.close();
});

test("a data directory is opened as what it is: key-value data or a user's machine", async () => {
  const machine = newDirectory();
  const data = newDirectory();
  const stateMachine = { module };
  const node = await openRaftNode({ dataDir: machine, stateMachine });
  await node.close();
  await assert.rejects(openEngine({ dataDir: machine }), { code: "INCOMPATIBLE" });
  const engine = await openEngine({ dataDir: data });
  await engine.close();
  await assert.rejects(openRaftNode({ dataDir: data, stateMachine }), { code: "INCOMPATIBLE" });
});

test("a machine's close is called once, when its node is closed", async () => {
  const machine = new TallyMachine();
  const node = await openRaftNode({ dataDir: "memory:", thread: "inline", stateMachine: () => machine });
  await Promise.all([node.close(), node.close()]);
  assert.equal(machine.closed, 1);
});

test("a machine whose close does not end does not keep its node from closing", async () => {
  const machine = new TallyMachine();
  const hanging = Object.assign(machine, { close: () => new Promise<void>(() => {}) });
  const node = await openRaftNode({ dataDir: newDirectory(), thread: "inline", stateMachine: () => hanging, closeTimeoutMs: 500 });
  await node.close();
  assert.equal(node.state.kind, "closed");
});
