/**
 * Scenarios as text: a line that begins with "> " is a command, the lines below it are what it led to, everything else is comment.
 * Running one gives the same text with the present outcome, so a file is compared, or written anew, as a whole.
 *
 *   > member A voters=ABC [learners=D] [log=1,1,2] [term=2]   a member; its log by terms; all at index 0 otherwise
 *   > one-entry-an-append        before the members: no append carries more
 *   > time 100 [AB]              so much time passes, for everyone or for these alone
 *   > elect A                    A's timer runs out while nobody is bound to a leader; everything settles
 *   > settle [cut=C] [no=TimeoutNow]   until nothing is left to do; links of these members, or these messages, are lost
 *   > deliver A->B               all messages of one link, in order
 *   > drop [A->B]                messages are lost
 *   > persist A                  A's disk completes its oldest write
 *   > propose A text | read A 1 2 | transfer A [B] | change A voters=AB [learners=C]
 *   > crash A | restart A | suspend A 5000 | snapshot A 5
 *   > status                     all members
 *   > logs                       terms on the disks
 */
import { assert } from "../../assert.ts";
import type { Configuration } from "../configuration.ts";
import type { Message } from "../message.ts";
import { configurationOfLetters, letterOf, idOf, TestCluster, type TestMember } from "./cluster.ts";
import { Invariants } from "./invariants.ts";
import { changeTo, diskOf } from "./stories.ts";

/** The scenario's text with what its commands lead to now. */
export function runScenario(text: string): string {
  const run = new ScenarioRun();
  const out: string[] = [];
  let skipping = false;
  for (const line of text.split("\n")) {
    if (line.startsWith("> ")) {
      out.push(line, ...run.command(line.slice(2).trim()).map((output) => `  ${output}`));
      skipping = true;
    } else if (!skipping || !line.startsWith("  ")) {
      skipping = false;
      out.push(line);
    }
  }
  return out.join("\n");
}

class ScenarioRun {
  #cluster: TestCluster = new TestCluster({ letters: "" });
  #invariants: Invariants;
  readonly #states: Map<string, string> = new Map();
  #out: string[] = [];
  #quiet = false;

  constructor() {
    this.#invariants = this.#watch();
  }

  #watch(): Invariants {
    const invariants = new Invariants(this.#cluster);
    const check = this.#cluster.onTurn;
    this.#cluster.onTurn = (member) => {
      check?.(member);
      this.#noteState(member);
    };
    return invariants;
  }

  command(line: string): readonly string[] {
    this.#out = [];
    const words = line.split(/\s+/);
    const [name = "", first = "", ...rest] = words;
    const option = (key: string): string => words.find((word) => word.startsWith(`${key}=`))?.slice(key.length + 1) ?? "";
    this.#run({ name, first, rest, option });
    this.#invariants.logMatching();
    return this.#out.length === 0 ? ["ok"] : this.#out;
  }

  #run(command: {
    readonly name: string;
    readonly first: string;
    readonly rest: readonly string[];
    readonly option: (key: string) => string;
  }): void {
    const { name, first, rest, option } = command;
    const cluster = this.#cluster;
    const [second = ""] = rest;
    switch (name) {
      case "member": {
        const configuration = configurationOfLetters({
          voters: option("voters"),
          outgoing: option("outgoing"),
          learners: option("learners"),
        });
        const terms = option("log") === "" ? [] : option("log").split(",").map(Number);
        const term = option("term") === "" ? (terms.at(-1) ?? 0) : Number(option("term"));
        cluster.add(first, configuration, diskOf(terms, { term }));
        return;
      }
      case "one-entry-an-append":
        this.#cluster = new TestCluster({ letters: "", limits: { appendBytesMax: 1 } });
        this.#invariants = this.#watch();
        return;
      case "time": {
        const members = second === "" ? [...cluster.members.values()] : [...second].map((letter) => cluster.member(letter));
        for (const member of members) member.advance(Number(first));
        return;
      }
      case "elect": {
        this.#quiet = true;
        for (const member of cluster.members.values()) member.now += 1_000;
        const member = cluster.member(first);
        member.advance(Math.max(0, member.raft.nextDeadline() - member.now));
        cluster.settle();
        this.#quiet = false;
        return;
      }
      case "settle": {
        const [cut, no] = [option("cut"), option("no")];
        const lost = (message: Message): boolean =>
          cut.includes(letterOf(message.from)) || cut.includes(letterOf(message.to)) || no.split(",").includes(message.kind);
        this.#settle((message) => lost(message));
        return;
      }
      case "deliver": {
        const fits = this.#link(first);
        const messages = cluster.messages.filter(fits);
        cluster.drop(fits);
        for (const message of messages) this.#deliver(message);
        return;
      }
      case "drop":
        this.#out.push(`${cluster.drop(first === "" ? undefined : this.#link(first))} lost`);
        return;
      case "persist":
        assert(cluster.member(first).persist(), "there is something to persist");
        return;
      case "propose": {
        const entry = cluster.member(first).propose(rest.join(" "));
        this.#out.push(entry === undefined ? `refused: ${cluster.member(first).raft.proposalRefusal()}` : `${entry.index}/${entry.term}`);
        return;
      }
      case "read": {
        const member = cluster.member(first);
        member.begin();
        for (const requestId of rest) member.raft.requestRead(Number(requestId));
        member.turn();
        return;
      }
      case "transfer": {
        const member = cluster.member(first);
        member.begin();
        const refusal = member.raft.transferLeadership(second === "" ? undefined : idOf(second));
        if (refusal !== undefined) this.#out.push(`refused: ${refusal}`);
        member.turn();
        return;
      }
      case "change": {
        const member = cluster.member(first);
        member.begin();
        const refusal = member.raft.proposeConfiguration(changeTo(option("voters"), option("learners")));
        if (refusal !== undefined) this.#out.push(`refused: ${refusal}`);
        member.turn();
        return;
      }
      case "crash":
        cluster.member(first).crash();
        return;
      case "restart":
        cluster.member(first).restart();
        cluster.member(first).turn();
        return;
      case "suspend":
        cluster.member(first).wallOffset += Number(second);
        return;
      case "snapshot":
        cluster.member(first).apply();
        cluster.member(first).snapshot(Number(second), Number(second));
        return;
      case "status":
        for (const member of cluster.members.values()) {
          member.begin();
          this.#out.push(`${member.letter}: ${describe(member)}`);
        }
        return;
      case "logs":
        for (const { letter, disk } of cluster.members.values()) {
          this.#out.push(
            `${letter}: ${disk.firstIndex > 1 ? `[1-${disk.firstIndex - 1}] ` : ""}${disk.entries.map(({ term }) => term).join(" ")}`,
          );
        }
        return;
      default:
        assert(false, `"${name}" is a command`);
    }
  }

  #link(arrow: string): (message: Message) => boolean {
    const [from, to] = arrow.split("->");
    return (message) => letterOf(message.from) === from && letterOf(message.to) === to;
  }

  /** Like TestCluster.settle(), with every message on record. */
  #settle(lost: (message: Message) => boolean): void {
    for (let steps = 0; steps < 2_000; steps++) {
      let worked = false;
      for (const member of this.#cluster.members.values()) {
        if (!member.up) continue;
        worked = member.persist() || worked;
        worked = member.answerLogRead() || worked;
      }
      this.#cluster.drop(lost);
      const message = this.#cluster.messages.shift();
      if (message !== undefined) this.#deliver(message);
      else if (!worked) {
        const [snapshot] = this.#cluster.snapshots;
        if (snapshot === undefined) return;
        this.#out.push(
          `${letterOf(snapshot.from)}->${letterOf(snapshot.to)} snapshot ${snapshot.meta.lastIncludedIndex}/${snapshot.meta.lastIncludedTerm}`,
        );
        this.#cluster.deliverSnapshot();
      }
    }
    assert(false, "a scenario settles");
  }

  #deliver(message: Message): void {
    const down = this.#cluster.member(letterOf(message.to)).up ? "" : " (down)";
    this.#out.push(show(message) + down);
    this.#cluster.deliver(message);
  }

  #noteState(member: TestMember): void {
    const { letter, raft } = member;
    for (const { requestId, index } of member.reads.splice(0)) this.#out.push(`${letter}: read ${requestId} at ${index ?? "none"}`);
    const state = `${raft.role} of term ${raft.term}`;
    const before = this.#states.get(letter);
    this.#states.set(letter, state);
    if (before !== undefined && before !== state && !this.#quiet) this.#out.push(`${letter}: ${before} -> ${state}`);
  }
}

function describe({ raft, up, now }: TestMember): string {
  if (!up) return "down";
  const leader = raft.leader === undefined ? "none" : letterOf(raft.leader);
  const lease = raft.leaseUntil() > now ? " lease" : "";
  const log = `log ${raft.firstIndex}-${raft.lastIndex} commit ${raft.commitIndex}`;
  return `${raft.role} term ${raft.term} leader ${leader} ${log} ${showConfiguration(raft.configuration)}${lease}`;
}

function showConfiguration({ incoming, outgoing, learners, learnersNext }: Configuration): string {
  const part = (name: string, ids: readonly string[]): string => (ids.length === 0 ? "" : ` ${name} ${ids.map(letterOf).join("")}`);
  return `voters ${incoming.map(letterOf).join("")}${part("outgoing", outgoing)}${part("learners", learners)}${part("learnersNext", learnersNext)}`;
}

function show(message: Message): string {
  const head = `${letterOf(message.from)}->${letterOf(message.to)}`;
  const end = `term ${message.term}`;
  switch (message.kind) {
    case "RequestVote":
      return `${head} ${message.preVote ? "PreVote" : "RequestVote"} ${end} last ${message.lastLogIndex}/${message.lastLogTerm}${message.transfer ? " transfer" : ""}`;
    case "RequestVoteReply":
      return `${head} ${message.preVote ? "PreVoteReply" : "RequestVoteReply"} ${end} ${message.granted ? "granted" : "refused"}`;
    case "AppendEntries": {
      const entries = message.entries.map(({ index, term, kind }) => `${index}/${term}${kind === "command" ? "" : `:${kind}`}`).join(" ");
      return `${head} AppendEntries ${end} after ${message.prevLogIndex}/${message.prevLogTerm} [${entries}] commit ${message.commitIndex}`;
    }
    case "AppendEntriesReply": {
      const { success, index, conflictIndex, conflictTerm } = message;
      return `${head} AppendEntriesReply ${end} ${success ? `agrees to ${index}` : `refuses ${index}, try ${conflictIndex}/${conflictTerm}`}`;
    }
    case "Heartbeat":
      return `${head} Heartbeat ${end} round ${message.round} commit ${message.commitIndex}`;
    case "HeartbeatReply":
      return `${head} HeartbeatReply ${end} round ${message.round}`;
    case "ReadIndex":
      return `${head} ReadIndex ${end}`;
    case "ReadIndexReply":
      return `${head} ReadIndexReply ${end} index ${message.index}`;
    case "TimeoutNow":
      return `${head} TimeoutNow ${end}`;
    case "InstallSnapshot":
      return `${head} InstallSnapshot ${end} ${message.snapshot.lastIncludedIndex}/${message.snapshot.lastIncludedTerm}`;
  }
}
