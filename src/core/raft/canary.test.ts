/**
 * Schedules and stories are worth what they find: each canary here is the shipped code with one rule taken out, and must be rejected,
 * by its story or within a stated number of schedules. The compiled modules are copied, changed by one replacement, and loaded from the copy.
 */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { Raft } from "./raft.ts";
import { runSchedule } from "./test/schedule.ts";
import * as stories from "./test/stories.ts";

const SCHEDULES_MAX = Number(process.env["RAFT_CANARY_SCHEDULES"] ?? 200);

interface Canary {
  readonly bug: string;
  readonly file: string;
  readonly replace: string;
  readonly by: string;
  /** What finds it, where random schedules would take long. */
  readonly story?: stories.Story;
}

const CANARIES: readonly Canary[] = [
  {
    bug: "a completion counts although what it wrote was replaced",
    file: "log.js",
    replace: "const through = Math.min(index, write.validThrough);",
    by: "const through = index;",
    story: stories.lateCompletion,
  },
  {
    bug: "a vote is answered before it is on disk",
    file: "state.js",
    replace: "(waits ?",
    by: `(waits && message.kind !== "RequestVoteReply" ?`,
    story: stories.voteOutlivesCrash,
  },
  {
    bug: "an append is acknowledged before it is on disk",
    file: "state.js",
    replace: `(message.kind === "AppendEntriesReply" && message.success)`,
    by: "false",
  },
  {
    bug: "the own vote counts before it is on disk",
    file: "election.js",
    replace: "requestVotes(state, false);",
    by: "requestVotes(state, false); state.election.votes.set(state.id, true); countVotes(state);",
    story: stories.ownVoteOnDisk,
  },
  {
    bug: "an entry of an earlier term is committed by counting",
    file: "commit.js",
    replace: "state.log.termAt(agreed) === state.term",
    by: "true",
    story: stories.figure8,
  },
  {
    bug: "one half of a joint configuration is forgotten",
    file: "quorum.js",
    replace: "return Math.min(incoming, agreedInHalf(configuration.outgoing, valueOf));",
    by: "return incoming;",
  },
  {
    bug: "one half of a joint configuration has no say in elections",
    file: "quorum.js",
    replace: `configuration.outgoing.length === 0 ? "won"`,
    by: `true ? "won"`,
    story: stories.jointElection,
  },
  {
    bug: "a learner is counted as a voter",
    file: "commit.js",
    replace: "agreedValue(state.configuration,",
    by: "agreedValue({ ...state.configuration, incoming: state.configuration.members.map((member) => member.id) },",
  },
  {
    bug: "a restarted member forgets the promise that leases rest on",
    file: "state.js",
    replace: "new ElectionState(now + this.timing.electionTimeoutMs)",
    by: "new ElectionState(0)",
    story: stories.restartKeepsPromise,
  },
  {
    bug: "a lease is taken again after TimeoutNow",
    file: "leader-lease.js",
    replace: "state.lease.forfeitedTerm = state.term;",
    by: "",
  },
  {
    bug: "a suspension goes unnoticed",
    file: "leader-lease.js",
    replace: "if (known !== undefined)\n        dropLease(state);",
    by: "",
    story: stories.suspensionEndsLease,
  },
  {
    bug: "a lease counts from when its round was confirmed",
    file: "leader-lease.js",
    replace: "Math.max(state.lease.confirmedSentAt, sentAt)",
    by: "state.now",
    story: stories.leaseFromSendTime,
  },
  {
    bug: "a read is answered before the leader has committed in its term",
    file: "read-index.js",
    replace: "if (!state.ready)\n            return;",
    by: "",
  },
  {
    bug: "a read is answered by a round that was sent before it",
    file: "read-index.js",
    replace: "const round = ++state.round;",
    by: "const round = batches.length > 0 ? state.round : ++state.round;",
    story: stories.readNeedsItsOwnRound,
  },
  {
    bug: "a vote goes to a candidate whose log is behind",
    file: "election.js",
    replace: "const granted = upToDate && ",
    by: "const granted = ",
  },
  {
    bug: "a follower acknowledges across a gap",
    file: "follower.js",
    replace: "const lastNew = prevLogIndex + entries.length;",
    by: "const lastNew = log.lastIndex;",
    story: stories.acknowledgesWhatIsCovered,
  },
  {
    bug: "a heartbeat commits what the follower does not hold yet",
    file: "read-index.js",
    replace: "Math.min(progress.matchIndex, state.commitIndex)",
    by: "state.commitIndex",
  },
  {
    bug: "a configuration outlives its truncated entry",
    file: "state.js",
    replace: "this.configurations.truncate(from);",
    by: "",
    story: stories.configurationRollsBack,
  },
  {
    bug: "a new leader does not trust what it inherits, and never leaves a joint configuration",
    file: "commit.js",
    replace: "isJoint(state.configuration) && state.commitIndex",
    by: "isJoint(state.configuration) && state.log.termAt(state.configurations.latestIndex) === state.term && state.commitIndex",
  },
  {
    bug: "a member that C_new leaves out does not campaign while it is still needed",
    file: "election.js",
    replace: "return latestIndex > state.commitIndex && previous !== undefined && isVoter(previous, state.id);",
    by: "return false;",
    story: stories.leftOutStillCampaigns,
  },
  {
    bug: "the snapshot carries a configuration newer than its index",
    file: "membership.js",
    replace: "if (held.index <= index)",
    by: "if (true)",
    story: stories.snapshotConfiguration,
  },
];

const directory: string = mkdtempSync(join(tmpdir(), "raft-canary-"));
after(() => rmSync(directory, { recursive: true, force: true }));

/** The shipped modules with one replacement. */
async function plant({ bug, file, replace, by }: Canary, name: string): Promise<typeof Raft> {
  const core = join(directory, name);
  const source = fileURLToPath(new URL("..", import.meta.url));
  writeFileSync(join(directory, "package.json"), `{ "type": "module" }`);
  cpSync(join(source, "assert.js"), join(core, "assert.js"));
  cpSync(join(source, "raft"), join(core, "raft"), { recursive: true });
  const path = join(core, "raft", file);
  const text = readFileSync(path, "utf8");
  assert.equal(text.split(replace).length, 2, `the place for "${bug}" is found once in ${file}`);
  writeFileSync(path, text.replace(replace, by));
  const module = (await import(pathToFileURL(join(core, "raft", "raft.js")).href)) as { readonly Raft: typeof Raft };
  return module.Raft;
}

for (const [i, canary] of CANARIES.entries()) {
  test(`rejected: ${canary.bug}`, async (context) => {
    const planted = await plant(canary, `canary-${i}`);
    const { story } = canary;
    if (story !== undefined) {
      assert.throws(() => story(planted));
      return;
    }
    const voters = ["ABC", "AB", "A", "ABCDE", "ABCD"];
    for (let seed = 1; seed <= SCHEDULES_MAX; seed++) {
      try {
        runSchedule({ voters: voters[seed % voters.length] as string, seed, operations: 3_000 }, planted);
      } catch (error) {
        context.diagnostic(`schedule ${seed}: ${(error as Error).message.slice(0, 120)}`);
        return;
      }
    }
    assert.fail(`${SCHEDULES_MAX} schedules did not notice`);
  });
}
