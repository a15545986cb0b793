import assert from "node:assert/strict";
import { test } from "node:test";
import { BATCH_PREFIX_BYTES, writeBatchHeader } from "../core/batch.ts";
import { Raft } from "../core/raft/raft.ts";
import type { EngineError } from "../errors.ts";
import { foundingMeta } from "./founding.ts";
import { decodeForward, decodeForwardAck, encodeForward } from "./peer-frames.ts";
import { Proposals } from "./proposals.ts";

const LEADER = "00000000000000aa";
const FOLLOWER = "00000000000000bb";

const member = (id: string): Parameters<typeof foundingMeta>[0][number] => ({
  id,
  name: id,
  peerAddress: "",
  clientAddresses: [],
  incarnation: "1",
  promotable: false,
});

/** A leader by itself, for whom another member is somebody that forwards. */
function leading(): Raft {
  const raft = recovered([LEADER]);
  raft.advance(0, 0);
  persist(raft);
  assert.equal(raft.role, "leader");
  return raft;
}

/** One that follows the other. */
function following(): Raft {
  const raft = recovered([LEADER, FOLLOWER]);
  raft.step({ kind: "Heartbeat", from: FOLLOWER, to: LEADER, term: 2, commitIndex: 1, round: 1, clockMs: 1 });
  assert.equal(raft.leader, FOLLOWER);
  return raft;
}

function recovered(ids: readonly string[]): Raft {
  const base = foundingMeta(ids.map(member));
  return new Raft({
    id: LEADER,
    recovered: {
      vote: { term: 1, votedFor: undefined },
      base,
      firstIndex: 2,
      lastIndex: 1,
      terms: [{ index: 1, term: 1 }],
      configurationEntries: [],
      tail: [],
    },
    timing: { electionTimeoutMs: 1_000, heartbeatMs: 100 },
    random: () => 7,
    now: 0,
  });
}

function persist(raft: Raft): void {
  while (raft.hasReady()) {
    const { vote, entries } = raft.takeReady();
    if (vote !== undefined) raft.onVotePersisted(vote);
    const last = entries.at(-1);
    if (last !== undefined) raft.onPersisted({ index: last.index, term: last.term });
  }
}

interface Told {
  /** Ordinals of what was forwarded. */
  readonly forwards: number[];
  readonly acks: { readonly bootId: number; readonly next: number }[];
  readonly failures: EngineError[];
}

function create(): { readonly proposals: Proposals; readonly told: Told } {
  const told: Told = { forwards: [], acks: [], failures: [] };
  const proposals = new Proposals({
    memberId: LEADER,
    bootId: 1,
    resendMs: 500,
    send: (_to, _lane, [frame, record]) => {
      const forwarded = record === undefined ? undefined : decodeForward(Buffer.concat([frame!, record]));
      if (forwarded !== undefined) told.forwards.push(forwarded.ordinal);
      const ack = decodeForwardAck(frame!);
      if (ack !== undefined) told.acks.push({ bootId: ack.bootId, next: ack.next });
      return true;
    },
    fail: (_call, error) => told.failures.push(error),
  });
  return { proposals, told };
}

function forward(term: number, ordinal: number, bootId: number, bytes = 100): Uint8Array {
  const record = new Uint8Array(BATCH_PREFIX_BYTES + bytes);
  writeBatchHeader(record, { origin: FOLLOWER, bootId, sequence: ordinal, commands: 1 });
  return Buffer.concat(encodeForward({ term, ordinal, record }));
}

test("a batch of an earlier opening that comes once more, behind one of a later opening, is not taken in again", () => {
  const raft = leading();
  const { proposals, told } = create();
  const { term } = raft;
  // 1. The first opening forwards a batch; its caller is told that it was applied; the process ends.
  proposals.onForward(FOLLOWER, forward(term, 1, 100), raft);
  persist(raft);
  const applied = raft.commitIndex;
  // 2. The member is opened again and forwards. 3. On the old connection, read late, lies the first batch, sent again.
  proposals.onForward(FOLLOWER, forward(term, 1, 200), raft);
  proposals.onForward(FOLLOWER, forward(term, 1, 100), raft);
  proposals.onForward(FOLLOWER, forward(term, 1, 200), raft);
  assert.equal(raft.lastIndex, applied + 1, "each opening's batch is in the log once");
  proposals.onForward(FOLLOWER, forward(term, 2, 200), raft);
  assert.equal(raft.lastIndex, applied + 2);
  proposals.flush(raft, 0);
  assert.deepEqual(told.acks, [
    { bootId: 100, next: 2 },
    { bootId: 200, next: 3 },
  ]);
});

test("batches are taken in order, those of another term not at all", () => {
  const raft = leading();
  const { proposals } = create();
  const { term, lastIndex } = raft;
  proposals.onForward(FOLLOWER, forward(term, 2, 100), raft);
  proposals.onForward(FOLLOWER, forward(term - 1, 1, 100), raft);
  proposals.onForward(FOLLOWER, forward(term + 1, 1, 100), raft);
  assert.equal(raft.lastIndex, lastIndex);
  proposals.onForward(FOLLOWER, forward(term, 1, 100), raft);
  proposals.onForward(FOLLOWER, forward(term, 2, 100), raft);
  assert.equal(raft.lastIndex, lastIndex + 2);
});

test("a leader takes in the largest batch that any member may send, whatever it allows its own callers", () => {
  const raft = leading();
  const { proposals } = create();
  const { lastIndex } = raft;
  proposals.onForward(FOLLOWER, forward(raft.term, 1, 100, 17 << 20), raft);
  assert.equal(raft.lastIndex, lastIndex + 1, "were it left lying, all that this member forwards later would wait behind it");
});

test("what was proposed in vain is proposed again in the order in which it came, however much it is", () => {
  const raft = leading();
  const { proposals } = create();
  const count = 200_000;
  for (let call = 1; call <= count; call++)
    proposals.add({ call, record: new Uint8Array(BATCH_PREFIX_BYTES), commands: 1, timeoutMs: 1_000 }, 0);
  proposals.flush(raft, 0);
  persist(raft);
  proposals.onTermApplied(raft.term + 1);
  assert.equal(proposals.pending, count);
});

test("what is forwarded a second time behind a snapshot, and was applied the first time, says nothing of what its leader has taken in since", () => {
  const raft = following();
  const { proposals, told } = create();
  const add = (call: number): void =>
    proposals.add({ call, record: new Uint8Array(BATCH_PREFIX_BYTES), commands: 1, timeoutMs: 10_000, inSessions: true }, 0);
  add(1);
  add(2);
  proposals.flush(raft, 0);
  // The state is replaced; the leader has taken in 1, and 2 was lost, as all that follows is for now.
  proposals.onStateReplaced();
  proposals.flush(raft, 0);
  assert.deepEqual(told.forwards, [1, 2, 3, 4]);
  proposals.onApplied({ sequence: 1 }, new Uint8Array(0));
  told.forwards.length = 0;
  proposals.flush(raft, 1_000);
  // Without the second the leader takes none of the later ones, until the next term.
  assert.ok(told.forwards.includes(2), `sent again: ${told.forwards.join(", ")}`);
});

test("a write that nothing was done for says so; one that was proposed does not promise it", () => {
  const raft = leading();
  const { proposals, told } = create();
  proposals.add({ call: 1, record: new Uint8Array(BATCH_PREFIX_BYTES), commands: 1, timeoutMs: 10 }, 0);
  proposals.expire(10, false);
  proposals.add({ call: 2, record: new Uint8Array(BATCH_PREFIX_BYTES), commands: 1, timeoutMs: 10 }, 20);
  proposals.flush(raft, 20);
  proposals.expire(30, true);
  assert.deepEqual(
    told.failures.map(({ code, mayHaveApplied }) => `${code} ${mayHaveApplied}`),
    ["TIMEOUT false", "TIMEOUT true"],
  );
});
