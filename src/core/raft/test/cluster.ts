/**
 * Members in memory, for tests: messages lie in a list until the test delivers them, writes in a queue until the test lets the disk have
 * them, and each member's clock moves when the test says so. Nothing happens by itself, so a test is the schedule that it writes down.
 */
import { assert } from "../../assert.ts";
import type { Configuration, MemberId, MemberRecord } from "../configuration.ts";
import { ENTRY_HEADER_BYTES, type Entry, sealEntry } from "../entry.ts";
import type { Message, SnapshotMeta } from "../message.ts";
import { Raft, type RaftLimits, type RaftTiming } from "../raft.ts";
import type { LogRead, ReadState, RecoveredLog, Vote } from "../ready.ts";

export const TIMING: RaftTiming = { electionTimeoutMs: 1_000, heartbeatMs: 100 };

/** "A" to "Z" are the members 0a, 0b, ...; tests speak of letters. */
export function idOf(letter: string): MemberId {
  return (letter.charCodeAt(0) - 55).toString(16).padStart(16, "0");
}

export function letterOf(id: MemberId): string {
  return String.fromCharCode(Number.parseInt(id, 16) + 55);
}

export function recordOf(letter: string, incarnation = "1"): MemberRecord {
  return { id: idOf(letter), name: letter, peerAddress: `${letter}:1`, clientAddresses: [], incarnation, promotable: true };
}

export function configurationOfLetters(lists: {
  readonly voters: string;
  readonly outgoing?: string;
  readonly learners?: string;
  readonly learnersNext?: string;
}): Configuration {
  const ids = (letters = ""): MemberId[] => [...letters].map(idOf).sort();
  const all = [...new Set([...lists.voters, ...(lists.outgoing ?? ""), ...(lists.learners ?? "")])].sort();
  return {
    incoming: ids(lists.voters),
    outgoing: ids(lists.outgoing),
    learners: ids(lists.learners),
    learnersNext: ids(lists.learnersNext),
    members: all.map((letter) => recordOf(letter)),
  };
}

/** A sealed entry with a text as payload. */
export function commandEntry(fields: { readonly index: number; readonly term: number; readonly clockMs?: number }, text = ""): Entry {
  const record = commandRecord(text);
  return sealEntry(record, { index: fields.index, term: fields.term, clockMs: fields.clockMs ?? 0, kind: "command" });
}

export function commandRecord(text: string): Uint8Array {
  const payload = new TextEncoder().encode(text);
  const record = new Uint8Array(ENTRY_HEADER_BYTES + payload.byteLength);
  record.set(payload, ENTRY_HEADER_BYTES);
  return record;
}

export function textOf(entry: Entry): string {
  return entry.kind === "command" ? new TextDecoder().decode(entry.record.subarray(ENTRY_HEADER_BYTES)) : `<${entry.kind}>`;
}

/** One write on its way to a disk, and what waits for it. */
interface DiskWrite {
  readonly vote: Vote | undefined;
  readonly entries: readonly Entry[];
  readonly messages: readonly Message[];
}

/** What survives a crash, and what is still on its way there. */
export class TestDisk {
  vote: Vote = { term: 0, votedFor: undefined };
  base: SnapshotMeta;
  /** entries[i] has index firstIndex + i. */
  firstIndex: number;
  entries: Entry[] = [];
  /** The term before firstIndex. */
  #termBefore: number;
  readonly queue: DiskWrite[] = [];

  constructor(base: SnapshotMeta) {
    this.base = base;
    this.firstIndex = base.lastIncludedIndex + 1;
    this.#termBefore = base.lastIncludedTerm;
  }

  get lastIndex(): number {
    return this.firstIndex + this.entries.length - 1;
  }

  termAt(index: number): number | undefined {
    if (index === this.firstIndex - 1) return this.#termBefore;
    return this.entries[index - this.firstIndex]?.term;
  }

  write(write: Pick<DiskWrite, "vote" | "entries">): void {
    if (write.vote !== undefined) this.vote = write.vote;
    const first = write.entries[0];
    if (first === undefined) return;
    assert(first.index >= this.firstIndex && first.index <= this.lastIndex + 1, "a disk is written without a gap");
    this.entries.length = first.index - this.firstIndex;
    this.entries.push(...write.entries);
  }

  saveSnapshot(meta: SnapshotMeta): void {
    this.base = meta;
  }

  discard(through: number): void {
    if (through < this.firstIndex) return;
    this.#termBefore = this.termAt(through) as number;
    this.entries.splice(0, through + 1 - this.firstIndex);
    this.firstIndex = through + 1;
  }

  reset(meta: SnapshotMeta): void {
    this.base = meta;
    this.entries = [];
    this.firstIndex = meta.lastIncludedIndex + 1;
    this.#termBefore = meta.lastIncludedTerm;
  }

  recover(tailEntries: number): RecoveredLog {
    const terms = [{ index: this.firstIndex - 1, term: this.#termBefore }];
    for (const { index, term } of this.entries) {
      if (terms[terms.length - 1]?.term !== term) terms.push({ index, term });
    }
    return {
      vote: this.vote,
      base: this.base,
      firstIndex: this.firstIndex,
      lastIndex: this.lastIndex,
      terms,
      configurationEntries: this.entries.filter(({ kind, index }) => kind === "configuration" && index > this.base.lastIncludedIndex),
      tail: tailEntries === 0 ? [] : this.entries.slice(-tailEntries),
    };
  }
}

export interface SnapshotUnderWay {
  readonly from: MemberId;
  readonly to: MemberId;
  readonly term: number;
  readonly meta: SnapshotMeta;
}

export interface ClusterOptions {
  readonly letters: string;
  /** The configuration that everyone starts from; default: all letters vote. */
  readonly configuration?: Configuration;
  readonly limits?: Partial<RaftLimits>;
  readonly timing?: RaftTiming;
  /** Default: the first letter times out after T, the next ones later and later. */
  readonly random?: (letter: string) => () => number;
  /** Another implementation than the shipped one. */
  readonly raft?: typeof Raft | undefined;
  /** Where the clocks begin. */
  readonly now?: number;
}

export class TestMember {
  readonly letter: string;
  readonly id: MemberId;
  readonly disk: TestDisk;
  readonly cluster: TestCluster;
  raft: Raft;
  up = true;
  now: number;
  /** Wall clock minus monotonic clock. */
  wallOffset = 1_000_000;
  /** Answers to reads, oldest first. */
  readonly reads: ReadState[] = [];
  readonly logReads: LogRead[] = [];
  appliedIndex: number;

  constructor(cluster: TestCluster, letter: string, disk: TestDisk) {
    this.cluster = cluster;
    this.letter = letter;
    this.id = idOf(letter);
    this.disk = disk;
    this.now = cluster.options.now ?? 0;
    this.appliedIndex = disk.base.lastIncludedIndex;
    this.raft = this.#start();
  }

  /** Loses what is not on disk. */
  crash(): void {
    this.up = false;
    this.disk.queue.length = 0;
    this.logReads.length = 0;
    this.reads.length = 0;
    const { snapshots } = this.cluster;
    this.cluster.snapshots = snapshots.filter(({ from, to }) => from !== this.id && to !== this.id);
    // Whoever was sending is told that it failed, always.
    for (const { from, to } of snapshots) {
      const sender = this.cluster.member(letterOf(from));
      if (to !== this.id || !sender.up) continue;
      sender.begin();
      sender.raft.onSnapshotSent(to, undefined);
      sender.turn();
    }
  }

  restart(): void {
    assert(!this.up, "only what is down is started");
    this.up = true;
    this.appliedIndex = this.disk.base.lastIncludedIndex;
    this.raft = this.#start();
  }

  /** Ends a turn: messages to the network, writes to the disk's queue. */
  turn(): void {
    while (this.up && this.raft.hasReady()) {
      const ready = this.raft.takeReady();
      for (const message of ready.messages) this.cluster.post(message);
      if (ready.vote !== undefined || ready.entries.length > 0 || ready.messagesAfterPersist.length > 0) {
        this.disk.queue.push({ vote: ready.vote, entries: ready.entries, messages: ready.messagesAfterPersist });
      }
      this.reads.push(...ready.readStates);
      this.logReads.push(...ready.logReads);
      for (const { to } of ready.snapshotSends) {
        this.cluster.snapshots.push({ from: this.id, to, term: this.raft.term, meta: this.disk.base });
      }
    }
    this.cluster.onTurn?.(this);
  }

  /** Begins a turn: what follows is judged by the clock as it is now. */
  begin(): void {
    this.raft.advance(this.now, this.now + this.wallOffset);
  }

  advance(ms: number): void {
    this.now += ms;
    if (!this.up) return;
    this.begin();
    this.turn();
  }

  /** The disk completes its oldest write. */
  persist(): boolean {
    const write = this.disk.queue.shift();
    if (write === undefined) return false;
    this.begin();
    this.disk.write(write);
    for (const message of write.messages) this.cluster.post(message);
    if (write.vote !== undefined) this.raft.onVotePersisted(write.vote);
    const last = write.entries[write.entries.length - 1];
    if (last !== undefined) this.raft.onPersisted({ index: last.index, term: last.term });
    this.turn();
    return true;
  }

  step(message: Message): void {
    this.begin();
    this.raft.step(message);
    this.turn();
  }

  propose(text: string): Entry | undefined {
    this.begin();
    const entry = this.raft.propose(commandRecord(text), "command");
    this.turn();
    return entry;
  }

  /** Applies what is committed. */
  apply(): void {
    this.appliedIndex = this.raft.commitIndex;
    this.raft.onApplied(this.appliedIndex);
  }

  /** Makes a snapshot as of an index that is applied and on disk, and discards the log through `discardThrough`. */
  snapshot(index: number, discardThrough: number): void {
    const entry = this.disk.entries[index - this.disk.firstIndex];
    assert(entry !== undefined && index <= this.raft.commitIndex && index <= this.disk.lastIndex, "a snapshot is of what is committed");
    const configuration = this.raft.configurationAt(index);
    this.disk.saveSnapshot({ lastIncludedIndex: index, lastIncludedTerm: entry.term, clockMs: entry.clockMs, configuration });
    this.disk.discard(discardThrough);
    this.begin();
    this.raft.onDiscarded(discardThrough);
    this.turn();
  }

  /** Answers the oldest LogRead from the disk. */
  answerLogRead(): boolean {
    const read = this.logReads.shift();
    if (read === undefined) return false;
    const first = read.from - this.disk.firstIndex;
    const entries: Entry[] = [];
    let bytes = 0;
    for (let i = first; i >= 0 && i < this.disk.entries.length && i <= read.through - this.disk.firstIndex; i++) {
      const entry = this.disk.entries[i] as Entry;
      bytes += entry.record.byteLength;
      if (entries.length > 0 && bytes > read.bytesMax) break;
      entries.push(entry);
    }
    this.begin();
    this.raft.onLogRead(read.to, read.from, entries);
    this.turn();
    return true;
  }

  #start(): Raft {
    const { timing = TIMING, limits = {}, random = steady } = this.cluster.options;
    const tail = Math.max(1, Math.floor(this.disk.entries.length / 2));
    const recovered = this.disk.recover(tail);
    const { raft: Implementation = Raft } = this.cluster.options;
    return new Implementation({ id: this.id, recovered, timing, limits, random: random(this.letter), now: this.now });
  }
}

/** A is drawn the shortest election timeout, then B, and so on. */
function steady(letter: string): () => number {
  return () => (((letter.charCodeAt(0) - 65) % 8) / 8) * 2 ** 32;
}

export class TestCluster {
  readonly options: ClusterOptions;
  readonly members: Map<string, TestMember> = new Map();
  messages: Message[] = [];
  snapshots: SnapshotUnderWay[] = [];
  /** Called after each turn of a member. */
  onTurn: ((member: TestMember) => void) | undefined;
  /** Called with each message that leaves a member. */
  onPost: ((message: Message) => void) | undefined;

  constructor(options: ClusterOptions) {
    this.options = options;
    for (const letter of options.letters) this.add(letter, options.configuration ?? configurationOfLetters({ voters: options.letters }));
  }

  /** A member whose log begins empty behind the founding, or wherever `prepare` leaves its disk. */
  add(letter: string, configuration: Configuration, prepare?: (disk: TestDisk) => void): TestMember {
    const disk = new TestDisk({ lastIncludedIndex: 0, lastIncludedTerm: 0, clockMs: 0, configuration });
    prepare?.(disk);
    const member = new TestMember(this, letter, disk);
    this.members.set(letter, member);
    member.turn();
    return member;
  }

  member(letter: string): TestMember {
    const member = this.members.get(letter);
    assert(member !== undefined, `there is a member ${letter}`);
    return member;
  }

  post(message: Message): void {
    this.onPost?.(message);
    this.messages.push(message);
  }

  advance(ms: number): void {
    for (const member of this.members.values()) member.advance(ms);
  }

  /** Delivers the oldest message that fits, or answers false. */
  deliverOne(fits: (message: Message) => boolean = () => true): Message | undefined {
    const at = this.messages.findIndex(fits);
    if (at === -1) return undefined;
    const [message] = this.messages.splice(at, 1) as [Message];
    this.deliver(message);
    return message;
  }

  deliver(message: Message): void {
    const member = this.members.get(letterOf(message.to));
    if (member?.up === true) member.step(message);
  }

  drop(fits: (message: Message) => boolean = () => true): number {
    const before = this.messages.length;
    this.messages = this.messages.filter((message) => !fits(message));
    return before - this.messages.length;
  }

  /** The receiver gets the whole snapshot and names it. */
  deliverSnapshot(at = 0): boolean {
    const [transfer] = this.snapshots.splice(at, 1);
    if (transfer === undefined) return false;
    const { from, to, term, meta: snapshot } = transfer;
    const sender = this.member(letterOf(from));
    const receiver = this.member(letterOf(to));
    let installed = false;
    if (receiver.up) {
      receiver.step({ kind: "InstallSnapshot", from, to, term, snapshot });
      const begun = receiver.raft.pendingSnapshot === undefined ? undefined : receiver.raft.beginSnapshotInstall(snapshot);
      if (begun !== undefined) {
        while (receiver.disk.queue.length > 0) receiver.persist();
        if (begun.resetLog) receiver.disk.reset(snapshot);
        else receiver.disk.saveSnapshot(snapshot);
        receiver.raft.onSnapshotInstalled(snapshot, begun.resetLog);
        receiver.appliedIndex = Math.max(receiver.appliedIndex, snapshot.lastIncludedIndex);
        receiver.turn();
        installed = true;
      }
    }
    if (sender.up) {
      sender.begin();
      sender.raft.onSnapshotSent(to, installed ? snapshot : undefined);
      sender.turn();
    }
    return true;
  }

  /** Disks, reads of logs, snapshots and messages, until nothing is left to do. `cut` loses messages. */
  settle(cut: (message: Message) => boolean = () => false, stepsMax = 20_000): void {
    for (let steps = 0; steps < stepsMax; steps++) {
      let worked = false;
      for (const member of this.members.values()) {
        if (!member.up) continue;
        worked = member.persist() || worked;
        worked = member.answerLogRead() || worked;
      }
      this.drop(cut);
      worked = this.deliverOne() !== undefined || worked;
      if (!worked) worked = this.deliverSnapshot();
      if (!worked) return;
    }
    assert(false, "a cluster settles");
  }

  /** Makes a member the leader of everyone who listens: its timer runs out alone. */
  elect(letter: string): TestMember {
    const { electionTimeoutMs } = this.options.timing ?? TIMING;
    // Nobody is bound to an earlier leader any more, and nobody else's timer has run out.
    for (const member of this.members.values()) {
      member.now += electionTimeoutMs;
    }
    const candidate = this.member(letter);
    candidate.advance(electionTimeoutMs * 2);
    this.settle();
    assert(candidate.raft.role === "leader", `${letter} is elected`);
    return candidate;
  }

  leaders(): readonly TestMember[] {
    return [...this.members.values()].filter(({ up, raft }) => up && raft.role === "leader");
  }
}
