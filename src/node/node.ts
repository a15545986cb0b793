/**
 * One running member: the loop around the pure core. A turn gathers what has arrived, reads the clock, steps Raft once, hands its
 * writes to the disk and its messages to the links side by side, applies what is committed, and answers.
 *
 *   caller -> write -> propose -> { log + fdatasync } in parallel with { the same bytes to followers }
 *          -> majority durable -> commit -> apply -> answer
 *
 * The order within a turn is part of its safety: the clock is read after the input was gathered, never before, or a pause between the
 * two would serve a lease read that arrived when the lease had passed.
 */
import type { SharedTableGrowth } from "../core/kv/shared-reader.ts";
import type { MemberId } from "../core/raft/configuration.ts";
import type { Message } from "../core/raft/message.ts";
import { Raft } from "../core/raft/raft.ts";
import type { Ready, RecoveredLog, Role, Vote } from "../core/raft/ready.ts";
import { ENTRY_HEADER_BYTES } from "../core/raft/entry.ts";
import { asEngineError, EngineError, toWire } from "../errors.ts";
import type { Timer } from "../host/clock.ts";
import type { Storage } from "../storage/storage.ts";
import { decodeMessage, encodeMessage } from "../transport/message-codec.ts";
import type { Hello, Lane, Transport } from "../transport/transport.ts";
import { Applier } from "./applier.ts";
import {
  SHARED_APPLIED_INDEX,
  SHARED_COMMIT_INDEX,
  SHARED_LEASE_UNTIL,
  SHARED_OPEN,
  SHARED_WALL_OFFSET,
  type CallId,
  type FromNode,
  type MembersState,
  type NodeState,
  type NodeStatus,
  type ToNode,
} from "./boundary.ts";
import type { Environment } from "./environment.ts";
import { answerFounding, Founding, foundingMembers } from "./founding.ts";
import { encodeIdentity, type Identity } from "./identity.ts";
import type { NodeOptions } from "./node-options.ts";
import {
  decodeSnapshotBegin,
  FRAME_FORWARD,
  FRAME_FORWARD_ACK,
  FRAME_FOUNDING,
  FRAME_SNAPSHOT_ACK,
  FRAME_SNAPSHOT_BEGIN,
  FRAME_SNAPSHOT_CHUNK,
} from "./peer-frames.ts";
import { foundLog, recoverMember } from "./recovery.ts";
import { Proposals } from "./proposals.ts";
import { Ranges } from "./ranges.ts";
import { Reads } from "./reads.ts";
import { MachineRestoring, restoreMachine, type NodeMachine } from "./node-machine.ts";
import { SnapshotMaker } from "./snapshot-maker.ts";
import { SnapshotReceiver, SnapshotSender } from "./snapshot-transfer.ts";
import { Watching } from "./watching.ts";

export const PROTOCOL_VERSION = 1;
export const FEATURE_LEVEL = 1;

/** Inputs taken by one turn; the rest waits for the next. */
const TURN_INPUTS_MAX = 10_000;
const MAINTAIN_RECORDS = 1_000;
/** Clocks that part by more than this: the machine was suspended, or one of them was set. */
const SUSPENSION_MS = 50;
const URGENT: ReadonlySet<Message["kind"]> = new Set<Message["kind"]>([
  "RequestVote",
  "RequestVoteReply",
  "Heartbeat",
  "HeartbeatReply",
  "ReadIndex",
  "ReadIndexReply",
  "TimeoutNow",
  "AppendEntriesReply",
]);

interface Frame {
  readonly from: MemberId;
  readonly lane: Lane;
  readonly bytes: Uint8Array;
}

type Phase = "open" | "closing" | "failed" | "closed";

/** What the status that was told last was made of. */
interface Told {
  readonly phase: Phase | undefined;
  readonly removed: boolean;
  readonly started: boolean;
  readonly role: Role;
  readonly term: number | undefined;
  readonly leader: MemberId | undefined;
  readonly inTerm: boolean;
  readonly configurationIndex: number;
  readonly isCommitted: boolean;
}

/** A node without its thread: what the worker, the inline engine and the simulator run. */
export class Node {
  readonly #environment: Environment;
  readonly #options: NodeOptions;
  readonly #storage: Storage;
  readonly #deliver: (messages: readonly FromNode[]) => void;
  readonly #bootId: number;
  #identity: Identity;
  #machine: NodeMachine;
  #transport: Transport | undefined;
  #founding: Founding | undefined;
  #raft: Raft | undefined;
  #applier: Applier | undefined;
  readonly #proposals: Proposals;
  readonly #reads: Reads;
  readonly #watching: Watching;
  #maker: SnapshotMaker | undefined;
  readonly #senders = new Map<MemberId, SnapshotSender>();
  #receiver: SnapshotReceiver<MachineRestoring> | undefined;
  #nextTransfer = 1;
  readonly #ranges: Ranges;

  /** By member, as its last hello said. */
  readonly #stickinessMs = new Map<MemberId, number>();

  /** This opening has applied what was committed when it came to know a leader's term. */
  #caughtUp = false;
  #earlyWatches: (ToNode & { readonly kind: "watch" })[] = [];

  #frames: Frame[] = [];
  #calls: ToNode[] = [];
  /** The calls of this turn, and how many of them have been taken up: where a turn breaks off the rest is still told. */
  #turnCalls: readonly ToNode[] = [];
  #turnCallsTaken = 0;
  #persisted: {
    readonly vote: Vote | undefined;
    readonly last: { readonly index: number; readonly term: number } | undefined;
    readonly messages: readonly Message[];
  }[] = [];
  #persisting = 0;
  #heldMessages: Message[] = [];
  #unreachable: MemberId[] = [];
  #reachable: MemberId[] = [];
  #outbox: FromNode[] = [];
  #scheduled = false;
  #timer: Timer | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #expireAt = Number.POSITIVE_INFINITY;
  #dueProposed = 0;
  #addressProposed = false;
  #phase: Phase = "open";
  #failure: EngineError | undefined;
  #removed = false;
  #closeBy = 0;
  #told: Told = {
    phase: undefined,
    removed: false,
    started: false,
    role: "follower",
    term: undefined,
    leader: undefined,
    inTerm: false,
    configurationIndex: 0,
    isCommitted: false,
  };
  #status: NodeStatus | undefined;
  #configurationKey = -1;
  #members: MembersState = { members: [], leader: undefined, index: 0 };
  #turnNow = 0;
  #wallOffset = Number.NaN;

  private constructor(parts: {
    readonly environment: Environment;
    readonly options: NodeOptions;
    readonly storage: Storage;
    readonly identity: Identity;
    readonly machine: NodeMachine;
    readonly deliver: (messages: readonly FromNode[]) => void;
  }) {
    const { environment, options, storage, identity, machine } = parts;
    this.#environment = environment;
    this.#options = options;
    this.#storage = storage;
    this.#identity = identity;
    this.#machine = machine;
    this.#deliver = parts.deliver;
    this.#bootId = environment.random.uint32();
    const post = (message: FromNode): void => {
      this.#outbox.push(message);
    };
    const fail = (call: CallId, error: EngineError): void => post({ kind: "failed", call, error: toWire(error) });
    this.#proposals = new Proposals({
      memberId: identity.memberId,
      bootId: this.#bootId,
      resendMs: options.electionTimeoutMs / 2,
      send: (to, lane, frame) => this.#transport?.send(to, lane, frame) ?? false,
      fail,
    });
    this.#reads = new Reads({
      applied: () => ({ index: this.#machine.kv.appliedIndex, revision: this.#machine.kv.revision }),
      fail,
      retryMs: Math.max(1, options.heartbeatMs / 2),
    });
    this.#watching = new Watching(machine.kv, post);
    this.#ranges = new Ranges(machine.kv, post);
    environment.observe?.(() => ({ raft: this.#raft, machine: this.#machine.kv }));
  }

  /** Recovers the data directory and takes part. Rejects with what api.md says of Engine.open. */
  static async open(environment: Environment, options: NodeOptions, deliver: (messages: readonly FromNode[]) => void): Promise<Node> {
    const storage = await environment.openStorage({ unsafeNoFsync: options.unsafeNoFsync });
    try {
      const { identity, log } = await recoverMember(storage, options, environment.random);
      const machine = await restoreMachine(storage, options, environment.random, log);
      const node = new Node({ environment, options, storage, identity, machine, deliver });
      await node.#start(log);
      return node;
    } catch (error) {
      await storage.close().catch(() => {}); // The first error is the one to tell.
      throw error;
    }
  }

  async #start(log: RecoveredLog | undefined): Promise<void> {
    const { clock } = this.#environment;
    this.#turnNow = clock.now();
    // Raft is there before the first frame can be.
    if (log !== undefined) this.#startRaft(log);
    if (this.#options.peer !== undefined) {
      this.#transport = await this.#environment.createTransport(() => this.#hello(), {
        judge: (hello) => this.#judge(hello),
        onFrame: (from, lane, bytes) => {
          this.#frames.push({ from, lane, bytes });
          this.#wake();
        },
        onUp: (peer) => {
          this.#reachable.push(peer);
          this.#wake();
        },
        onDown: (peer) => {
          this.#unreachable.push(peer);
          this.#wake();
        },
        onRefused: (peer, reason) => this.#onRefused(peer, reason),
      });
      this.#setPeers();
    }
    if (log === undefined) this.#startFounding();
    this.#storage.failed.then(
      (error) => this.#fail(error),
      () => {},
    );
    this.#publish();
    this.#refreshStatus();
    this.#deliver([{ kind: "opened", status: this.#status!, shared: this.#machine.table.share() }]);
    this.#shareGrowth();
    this.#wake();
  }

  // ------------------------------------------------------------------------------------------------------------ input

  receive(messages: readonly ToNode[]): void {
    for (const message of messages) this.#calls.push(message);
    this.#wake();
  }

  #wake(): void {
    if (this.#scheduled || this.#phase === "closed") return;
    this.#scheduled = true;
    this.#environment.clock.defer(() => {
      this.#scheduled = false;
      try {
        this.#turn();
      } catch (error) {
        this.#fail(asEngineError(error));
      }
    });
  }

  #turn(): void {
    if (this.#phase === "closed") return;
    // Gathered first; the clock is read after it.
    const frames = this.#frames.length > TURN_INPUTS_MAX ? this.#frames.splice(0, TURN_INPUTS_MAX) : this.#frames;
    if (frames === this.#frames) this.#frames = [];
    const calls = this.#calls.length > TURN_INPUTS_MAX ? this.#calls.splice(0, TURN_INPUTS_MAX) : this.#calls;
    if (calls === this.#calls) this.#calls = [];
    this.#turnCalls = calls;
    this.#turnCallsTaken = 0;
    const now = this.#environment.clock.now();
    this.#turnNow = now;
    const raft = this.#raft;
    if (this.#phase === "failed") {
      this.#refuseTurn();
      this.#flush();
      if (this.#calls.length > 0) this.#wake();
      return;
    }
    raft?.advance(now, this.#environment.clock.wallNow());
    if (raft !== undefined) this.#takeEvents(raft, now);
    else this.#reachable.length = this.#unreachable.length = 0;
    for (const frame of frames) this.#onFrame(frame, now);
    if (this.#senders.size > 0 && raft?.role !== "leader") for (const sender of this.#senders.values()) sender.stop(false);
    for (const call of calls) {
      this.#turnCallsTaken++;
      this.#onCall(call, now);
    }
    let more = this.#frames.length > 0 || this.#calls.length > 0;
    if (raft !== undefined && this.#raft !== undefined) {
      if (this.#earlyWatches.length === 0) this.#proposals.flush(raft, now);
      this.#reads.ask(raft, now, this.#earlyWatches.length > 0);
      this.#drain(raft, now);
      more = this.#apply() || more;
      if (!this.#caughtUp && this.#noteCaughtUp(raft, now)) more = true;
      this.#reads.onApplied();
      this.#proposeDue(raft);
      this.#proposeAddress(raft);
      this.#drain(raft, now);
      this.#publish();
    }
    more = this.#watching.pump(now) || more;
    more = this.#ranges.step(() => this.#environment.clock.now()) || more;
    if (this.#raft !== undefined && this.#applier!.isBetweenEntries) {
      if (!this.#machine.kv.maintain(MAINTAIN_RECORDS)) more = true;
      this.#dropReceiver();
      this.#maker!.poll();
    }
    this.#expire(now);
    this.#stepClosing(now);
    this.#refreshStatus();
    this.#flush();
    if (more) this.#wake();
    this.#arm(now);
  }

  #takeEvents(raft: Raft, now: number): void {
    for (const peer of this.#unreachable.splice(0)) raft.onUnreachable(peer);
    for (const peer of this.#reachable.splice(0)) {
      raft.onUnreachable(peer); // What was on the old link may be lost: ask where the peer stands.
      this.#proposals.onLinkUp(peer, now);
    }
    for (const { vote, last, messages } of this.#persisted.splice(0)) {
      if (vote !== undefined) raft.onVotePersisted(vote);
      if (last !== undefined) raft.onPersisted(last);
      for (const message of messages) this.#send(message);
    }
  }

  #onFrame({ from, bytes }: Frame, now: number): void {
    const type = bytes[0];
    if (type === undefined) return;
    const raft = this.#raft;
    if (type === FRAME_FOUNDING) {
      if (this.#founding !== undefined) this.#founding.onFrame(from, bytes);
      else {
        const answer = answerFounding(this.#identity, bytes);
        if (answer !== undefined) this.#transport?.send(from, "urgent", answer);
      }
      return;
    }
    if (raft === undefined) return;
    if (type < FRAME_FORWARD) {
      const message = decodeMessage(bytes, { from, to: this.#identity.memberId });
      if (message === undefined) return;
      raft.step(message);
      return;
    }
    if (type === FRAME_FORWARD) this.#proposals.onForward(from, bytes, raft);
    else if (type === FRAME_FORWARD_ACK) this.#proposals.onForwardAck(bytes);
    else if (type === FRAME_SNAPSHOT_BEGIN) this.#onSnapshotBegin(from, bytes, raft);
    else if (type === FRAME_SNAPSHOT_CHUNK && this.#receiver?.from === from) this.#receiver.onChunk(bytes);
    else if (type === FRAME_SNAPSHOT_ACK) this.#senders.get(from)?.onAck(bytes, now);
  }

  #onCall(call: ToNode, now: number): void {
    if (this.#phase !== "open" && call.kind !== "close" && call.kind !== "unwatch" && call.kind !== "unpin") return this.#refuse(call);
    switch (call.kind) {
      case "write":
        this.#proposals.add(call, now);
        this.#expireAt = Math.min(this.#expireAt, now + call.timeoutMs);
        return;
      case "read":
        this.#addRead(call, now, () =>
          this.#outbox.push({ kind: "read", call: call.call, answers: this.#machine.kv.read(call.reads, call.count) }),
        );
        return;
      case "range":
        this.#addRead(call, now, () => this.#ranges.add(call, now));
        return;
      case "members":
        this.#addRead({ ...call, consistency: "linearizable", minRevision: 0 }, now, () =>
          this.#outbox.push({ kind: "members", call: call.call, members: this.#members }),
        );
        return;
      case "unpin":
        this.#ranges.unpin(call.call);
        return;
      case "watch":
        if (this.#watching.count + this.#earlyWatches.length >= this.#options.watchersMax) {
          this.#outbox.push({
            kind: "failed",
            call: call.watch,
            error: toWire(
              new EngineError("OVERLOADED", `this node already serves ${this.#options.watchersMax} watches`, {
                limit: "watchersMax",
                max: this.#options.watchersMax,
                retryAfterMs: 1_000,
              }),
            ),
          });
          return;
        }
        if (!this.#caughtUp && call.fromRevision === undefined) this.#earlyWatches.push(call);
        else this.#watching.add(call, now);
        return;
      case "unwatch":
        this.#earlyWatches = this.#earlyWatches.filter(({ watch }) => watch !== call.watch);
        this.#watching.remove(call.watch);
        return;
      case "watchCredit":
        this.#watching.credit(call.watch, call.bytes);
        return;
      case "watchProgress":
        this.#watching.requestProgress(call.watch);
        return;
      case "cancel":
        this.#proposals.cancel(call.call);
        this.#reads.cancel(call.call);
        this.#ranges.cancel(call.call);
        return;
      case "close":
        this.#close(now, call.timeoutMs);
        return;
    }
  }

  #addRead(
    call: {
      readonly call: CallId;
      readonly consistency: "linearizable" | "lease" | "eventual";
      readonly minRevision: number;
      readonly timeoutMs: number;
    },
    now: number,
    serve: () => void,
  ): void {
    const { call: id, consistency, minRevision, timeoutMs } = call;
    // Before the cluster is founded nobody is asked, and no answer is given: that the state is empty would be no answer.
    this.#reads.add({ call: id, consistency, minRevision, timeoutMs, deadline: now + timeoutMs, serve });
    this.#expireAt = Math.min(this.#expireAt, now + timeoutMs);
  }

  // ------------------------------------------------------------------------------------------------------ Raft's output

  #drain(raft: Raft, now: number): void {
    while (raft.hasReady()) {
      const ready = raft.takeReady();
      // Before anything leaves: an answer elsewhere may rest on it, and a lease read here must not fall behind that.
      this.#machine.table.setShared(SHARED_COMMIT_INDEX, raft.commitIndex);
      if (raft.leaseUntil() === 0) this.#machine.table.setShared(SHARED_LEASE_UNTIL, 0);
      for (const message of ready.messages) this.#send(message);
      this.#persist(ready);
      for (const state of ready.readStates) this.#reads.onReadState(state, now);
      for (const { to, from, through, bytesMax } of ready.logReads) {
        this.#storage.read({ from, through, bytesMax }).then(
          (entries) => this.#later(() => this.#raft?.onLogRead(to, from, entries)),
          () => this.#later(() => this.#raft?.onLogRead(to, from, [])),
        );
      }
      for (const { to } of ready.snapshotSends) this.#sendSnapshot(to, raft, now);
    }
  }

  #persist(ready: Ready): void {
    const { vote, entries, messagesAfterPersist } = ready;
    if (vote === undefined && entries.length === 0) {
      if (this.#persisting === 0) for (const message of messagesAfterPersist) this.#send(message);
      else this.#heldMessages.push(...messagesAfterPersist);
      return;
    }
    // What was held for the writes before this one may as well wait for this one: it is on disk no sooner than they are.
    const messages = [...this.#heldMessages, ...messagesAfterPersist];
    this.#heldMessages = [];
    const last = entries.at(-1);
    this.#persisting++;
    this.#storage.append({ vote, entries }).then(
      () => {
        this.#persisting--;
        this.#persisted.push({ vote, last: last === undefined ? undefined : { index: last.index, term: last.term }, messages });
        if (this.#persisting === 0 && this.#heldMessages.length > 0) {
          this.#persisted.push({ vote: undefined, last: undefined, messages: this.#heldMessages });
          this.#heldMessages = [];
        }
        this.#wake();
      },
      // What Raft believes to be on its way to the disk is not: this node can promise nothing any more.
      (error: unknown) => this.#fail(asEngineError(error)),
    );
  }

  #send(message: Message): void {
    this.#transport?.send(message.to, URGENT.has(message.kind) ? "urgent" : "bulk", encodeMessage(message));
  }

  /** Runs something that came from outside a turn as part of the next one. */
  #later(run: () => void): void {
    this.#environment.clock.defer(() => {
      if (this.#phase === "closed" || this.#phase === "failed") return;
      try {
        run();
      } catch (error) {
        this.#fail(asEngineError(error));
      }
      this.#wake();
    });
  }

  /**
   * A watch from now on must not begin with what a reopened node has yet to apply; so it waits until the node has caught up once, and what this
   * node's callers write, or read of it, waits behind it meanwhile. True if something waited.
   */
  #noteCaughtUp(raft: Raft, now: number): boolean {
    if (raft.leader === undefined || raft.termAt(raft.commitIndex) !== raft.term) return false;
    if (this.#machine.kv.appliedIndex < raft.commitIndex || !this.#applier!.isBetweenEntries) return false;
    this.#caughtUp = true;
    const early = this.#earlyWatches;
    this.#earlyWatches = [];
    for (const watch of early) this.#watching.add(watch, now);
    return early.length > 0;
  }

  #apply(): boolean {
    const more = this.#applier!.run();
    this.#machine.table.setShared(SHARED_APPLIED_INDEX, this.#machine.kv.appliedIndex);
    return more;
  }

  /** The lease clock: a leader proposes an empty entry when something falls due and no entry that would carry the reading is on its way. */
  #proposeDue(raft: Raft): void {
    if (raft.role !== "leader" || !raft.ready || this.#phase !== "open") return;
    const due = this.#machine.kv.nextDue();
    if (
      due === undefined ||
      due > raft.leaseClock() ||
      raft.lastIndex > this.#machine.kv.appliedIndex ||
      this.#dueProposed === raft.lastIndex + 1
    )
      return;
    if (raft.propose(new Uint8Array(ENTRY_HEADER_BYTES), "empty") !== undefined) this.#dueProposed = raft.lastIndex;
  }

  /** A cluster of one that was opened with another peer address than it recorded puts the new one into its configuration. */
  #proposeAddress(raft: Raft): void {
    if (this.#addressProposed || raft.role !== "leader" || !raft.ready || this.#options.peer === undefined) return;
    this.#addressProposed = true;
    const { members, incoming, learners } = raft.configuration;
    const own = members.find(({ id }) => id === this.#identity.memberId);
    const address = this.#options.peer.advertise;
    if (own === undefined || members.length !== 1 || own.peerAddress === address) return;
    raft.proposeConfiguration({ voters: incoming, learners, members: [{ ...own, peerAddress: address }] });
  }

  // ---------------------------------------------------------------------------------------------------------- snapshots

  #sendSnapshot(to: MemberId, raft: Raft, now: number): void {
    if (this.#senders.has(to)) return;
    const file = this.#storage.openSnapshot();
    if (file === undefined || file.meta.lastIncludedIndex < raft.firstIndex - 1) {
      // None yet that reaches into the log: make one; Raft asks again.
      file?.release();
      this.#maker!.want();
      raft.onSnapshotSent(to, undefined);
      return;
    }
    const { electionTimeoutMs } = this.#options;
    const sender = new SnapshotSender(
      {
        to,
        term: raft.term,
        transfer: this.#nextTransfer++,
        file,
        stallMs: electionTimeoutMs,
        giveUpMs: electionTimeoutMs * 10,
        send: (lane, frame) => this.#transport?.send(to, lane, frame) ?? false,
        onDone: (installed) => {
          this.#senders.delete(to);
          this.#later(() => this.#raft?.onSnapshotSent(to, installed ? { lastIncludedIndex: file.meta.lastIncludedIndex } : undefined));
        },
      },
      now,
    );
    this.#senders.set(to, sender);
  }

  #onSnapshotBegin(from: MemberId, bytes: Uint8Array, raft: Raft): void {
    const begin = decodeSnapshotBegin(bytes);
    if (begin === undefined) return;
    raft.step({ kind: "InstallSnapshot", from, to: this.#identity.memberId, term: begin.term, snapshot: begin.meta });
    const wanted =
      raft.pendingSnapshot?.lastIncludedIndex === begin.meta.lastIncludedIndex && raft.leader === from && raft.term === begin.term;
    const current = this.#receiver;
    if (current !== undefined && current.from === from && current.transfer === begin.transfer) return current.onBeginAgain();
    if (current?.installing === true || !wanted) return;
    current?.giveUp("another transfer began");
    const receiver: SnapshotReceiver<MachineRestoring> = new SnapshotReceiver({
      from,
      begin,
      storage: this.#storage,
      restoring: new MachineRestoring(this.#environment.random),
      ack: (frame) => this.#transport?.send(from, "urgent", frame),
      onComplete: () => {
        return this.#maker!.running ? undefined : this.#raft?.beginSnapshotInstall(begin.meta);
      },
      onInstalled: (meta, resetLog, restoring) => {
        // Between two turns, and both at once: were the commit index to rise first, a turn between would apply to the old state what the
        // new one does not hold yet, and the state would go back.
        this.#later(() => {
          if (this.#receiver === receiver) this.#receiver = undefined;
          this.#raft!.onSnapshotInstalled(meta, resetLog);
          this.#install(restoring.machine);
        });
      },
      onGivenUp: () => {
        this.#raft?.abandonSnapshotInstall();
        if (this.#receiver === receiver) this.#receiver = undefined;
      },
    });
    this.#receiver = receiver;
  }

  /** A transfer that the log has passed, or whose sender was forgotten, ends here: while one lasts, this node makes no snapshot of its own. */
  #dropReceiver(): void {
    const receiver = this.#receiver;
    if (receiver === undefined || receiver.installing) return;
    if (this.#raft?.pendingSnapshot?.lastIncludedIndex !== receiver.meta.lastIncludedIndex) receiver.giveUp("no longer wanted");
  }

  /** The new state takes the old one's place, whole. */
  #install(machine: NodeMachine): void {
    this.#machine.table.setShared(SHARED_OPEN, 0);
    this.#machine = machine;
    this.#ranges.replace(machine.kv);
    this.#applier!.replace(machine.kv);
    this.#proposals.onStateReplaced();
    this.#watching.replace(machine.kv);
    this.#outbox.push({ kind: "shared", shared: machine.table.share() });
    this.#shareGrowth();
    this.#publish();
  }

  // ---------------------------------------------------------------------------------------------- beginnings and members

  #startRaft(recovered: RecoveredLog): void {
    const { clock, random } = this.#environment;
    const { electionTimeoutMs, heartbeatMs } = this.#options;
    const now = clock.now();
    const raft = new Raft({
      id: this.#identity.memberId,
      recovered,
      timing: { electionTimeoutMs, heartbeatMs },
      random: () => random.uint32(),
      now,
    });
    this.#raft = raft;
    this.#boundLease();
    this.#applier = new Applier({
      raft,
      storage: this.#storage,
      machine: this.#machine.kv,
      now: () => clock.now(),
      onTerm: (term) => this.#proposals.onTermApplied(term),
      wants: (header) => this.#proposals.callOf(header) !== undefined,
      onResults: (header, results) => {
        const call = this.#proposals.callOf(header);
        this.#proposals.onApplied(header);
        if (call !== undefined) this.#outbox.push({ kind: "written", call, results });
      },
      onConfiguration: () => this.#setPeers(),
      wake: () => this.#wake(),
    });
    this.#maker = new SnapshotMaker({
      storage: this.#storage,
      logBytesMin: this.#options.snapshotLogBytesMin,
      begin: () => {
        const { kv } = this.#machine;
        if (kv.appliedIndex <= recovered.base.lastIncludedIndex || raft.persistedIndex < kv.appliedIndex || this.#receiver !== undefined)
          return undefined;
        const lastIncludedTerm = raft.termAt(kv.appliedIndex);
        if (lastIncludedTerm === undefined) return undefined;
        const configuration = raft.configurationAt(kv.appliedIndex);
        return {
          meta: { lastIncludedIndex: kv.appliedIndex, lastIncludedTerm, configuration, clockMs: kv.clockMs },
          source: kv.snapshot(),
        };
      },
      isPersisted: (index) => raft.persistedIndex >= index,
      discardable: (index) => {
        // Entries that a follower still lacks are kept, but for no more than another snapshot's worth of log.
        const lacking =
          raft.role === "leader"
            ? raft
                .progress()
                .filter(({ active, state }) => active && state !== "snapshot")
                .map(({ matchIndex }) => matchIndex)
            : [];
        return this.#storage.logBytes > 2 * this.#options.snapshotLogBytesMin ? index : Math.min(index, ...lacking);
      },
      // The disk may be ahead: the log of a snapshot that is being installed begins behind what is committed here.
      onDiscarded: () => this.#later(() => raft.onDiscarded(Math.min(this.#storage.firstIndex - 1, raft.commitIndex))),
      pause: () => new Promise((resolve) => this.#environment.clock.defer(resolve)),
      onDone: () => this.#wake(),
    });
  }

  #startFounding(): void {
    const { clock } = this.#environment;
    let founded: RecoveredLog | undefined;
    this.#founding = new Founding({
      identity: this.#identity,
      clock,
      intervalMs: this.#options.heartbeatMs,
      send: (to, frame) => this.#transport?.send(to, "urgent", frame),
      save: async (identity) => {
        // An active member has a log: without one it was lost.
        if (identity.phase === "active") founded = await foundLog(this.#storage, identity);
        await this.#storage.saveIdentity(encodeIdentity(identity));
        this.#identity = identity;
      },
      onActive: (identity) => {
        this.#identity = identity;
        this.#founding = undefined;
        if (this.#phase !== "open" || founded === undefined) return;
        this.#turnNow = clock.now();
        this.#startRaft(founded);
        this.#setPeers();
        this.#wake();
      },
      onRefused: (error) => this.#fail(error),
    });
  }

  #hello(): Hello {
    const { clusterId, memberId, incarnation, name } = this.#identity;
    return {
      clusterId,
      memberId,
      incarnation,
      name,
      bootId: this.#bootId,
      protocolMin: PROTOCOL_VERSION,
      protocolMax: PROTOCOL_VERSION,
      featureLevel: FEATURE_LEVEL,
      electionTimeoutMs: this.#options.electionTimeoutMs,
    };
  }

  /** Who may talk to this member: those in its configuration, under the incarnation recorded there. */
  #judge(hello: Hello): string | undefined {
    if (hello.clusterId !== this.#identity.clusterId)
      return `cluster: this is a member of ${this.#identity.clusterId}, you are of ${hello.clusterId}`;
    if (hello.memberId === this.#identity.memberId) return `member: this is ${hello.name} itself, or another under its name`;
    const configuration =
      this.#raft?.configuration ?? (this.#identity.phase === "pending" ? this.#identity.founding?.configuration : undefined);
    if (this.#raft === undefined) {
      return foundingMembers(this.#identity).some(({ id }) => id === hello.memberId)
        ? this.#noteHello(hello)
        : `member: ${hello.name} is not in the founding list`;
    }
    const recorded = configuration?.members.find(({ id }) => id === hello.memberId);
    // Not known here: this member's own configuration may be behind; only the log says who is a member, and nothing counts before it does.
    if (recorded === undefined) return `member: ${hello.name} is not a member`;
    if (recorded.incarnation !== hello.incarnation) {
      return `incarnation: the cluster knows ${hello.name} with another data directory: its disk was lost or replaced; a wiped member must be replaced by a new one`;
    }
    return this.#noteHello(hello);
  }

  #noteHello(hello: Hello): undefined {
    this.#stickinessMs.set(hello.memberId, hello.electionTimeoutMs);
    this.#boundLease();
  }

  /** A leader lease rests on how long each follower keeps to its leader, which is each one's own setting. */
  #boundLease(): void {
    let shortest = Number.POSITIVE_INFINITY;
    for (const { id } of this.#raft?.configuration.members ?? [])
      shortest = Math.min(shortest, this.#stickinessMs.get(id) ?? Number.POSITIVE_INFINITY);
    this.#raft?.boundLease(shortest);
  }

  #onRefused(peer: MemberId, reason: string): void {
    if (!reason.startsWith("incarnation:") || this.#phase !== "open") return;
    this.#fail(
      new EngineError(
        "INCOMPATIBLE",
        `member ${peer} refuses this one: ${reason}. Votes of an empty disk could undo acknowledged writes. Put the old data directory back, or replace the member`,
        { what: "incarnation", found: this.#identity.incarnation, supported: "the incarnation that the cluster has recorded" },
      ),
    );
  }

  #setPeers(): void {
    if (this.#transport === undefined) return;
    const members =
      this.#raft?.configuration.members.map(({ id, peerAddress }) => ({ id, address: peerAddress })) ?? foundingMembers(this.#identity);
    this.#transport.setPeers(members.filter(({ id, address }) => id !== this.#identity.memberId && address !== ""));
  }

  // ------------------------------------------------------------------------------------------------------------- output

  /** What callers' threads read without asking. */
  #publish(): void {
    const { table, kv } = this.#machine;
    const raft = this.#raft;
    if (this.#phase !== "open" || raft === undefined) {
      table.setShared(SHARED_LEASE_UNTIL, 0);
      table.setShared(SHARED_OPEN, 0);
      return;
    }
    table.setShared(SHARED_COMMIT_INDEX, raft.commitIndex);
    table.setShared(SHARED_APPLIED_INDEX, kv.appliedIndex);
    // The lease before the distance of the clocks, which readers look at first: whoever sees the distance of after a suspension sees
    // that the lease of before it is gone.
    table.setShared(SHARED_LEASE_UNTIL, raft.leaseUntil());
    const { clock } = this.#environment;
    const offset = clock.wallNow() - clock.now();
    // Kept while they agree, as Raft keeps its own: short suspensions add up.
    if (!(Math.abs(offset - this.#wallOffset) <= SUSPENSION_MS)) this.#wallOffset = offset;
    table.setShared(SHARED_WALL_OFFSET, this.#wallOffset);
    table.setShared(SHARED_OPEN, 1);
  }

  #shareGrowth(): void {
    const { table } = this.#machine;
    table.onSharedGrowth((growth: SharedTableGrowth) => {
      if (this.#machine.table === table) this.#outbox.push({ kind: "sharedGrowth", growth });
    });
  }

  #expire(now: number): void {
    if (now < this.#expireAt) return;
    const next = Math.min(this.#proposals.expire(now, this.#raft?.leader !== undefined), this.#reads.expire(now), this.#ranges.expire(now));
    // Deadlines are kept to 20 ms, so that thousands of calls cost a few looks.
    this.#expireAt = Math.max(next, now + 20);
  }

  #arm(now: number): void {
    let at = Math.min(this.#raft?.nextDeadline() ?? Number.POSITIVE_INFINITY, this.#watching.deadline);
    if (this.#proposals.pending > 0 || this.#reads.pending > 0) at = Math.min(at, this.#expireAt);
    if (this.#raft !== undefined) at = Math.min(at, this.#reads.askAt, this.#proposals.resendAt);
    if (this.#ranges.pinned > 0) {
      this.#expireAt = Math.min(this.#expireAt, this.#ranges.expireAt);
      at = Math.min(at, this.#expireAt);
    }
    for (const sender of this.#senders.values()) at = Math.min(at, sender.poll(now));
    if (this.#phase === "closing") at = Math.min(at, this.#closeBy);
    // While entries are on their way, applying them looks again.
    const due =
      this.#raft?.role === "leader" && this.#phase === "open" && this.#raft.lastIndex <= this.#machine.kv.appliedIndex
        ? this.#machine.kv.nextDue()
        : undefined;
    if (due !== undefined) at = Math.min(at, now + Math.max(1, due - this.#raft!.leaseClock()));
    if (at === this.#timerAt) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#timerAt = at;
    if (at === Number.POSITIVE_INFINITY || this.#phase === "closed") return;
    this.#timer = this.#environment.clock.setTimer(Math.max(0, at - now), () => {
      this.#timerAt = Number.POSITIVE_INFINITY;
      this.#wake();
    });
  }

  #flush(): void {
    if (this.#outbox.length === 0) return;
    const messages = this.#outbox;
    this.#outbox = [];
    this.#deliver(messages);
  }

  #refreshStatus(): void {
    const raft = this.#raft;
    const configurationIndex = raft?.configurationIndex ?? 0;
    const inTerm = raft !== undefined && raft.leader !== undefined && raft.termAt(raft.commitIndex) === raft.term;
    const leader = raft?.leader;
    const role = raft?.role ?? "follower";
    const isCommitted = raft !== undefined && raft.commitIndex >= configurationIndex;
    const told = this.#told;
    // Once a turn, and mostly for nothing: it makes nothing unless something changed.
    if (
      told.phase === this.#phase &&
      told.removed === this.#removed &&
      told.started === (raft !== undefined) &&
      told.role === role &&
      told.term === raft?.term &&
      told.leader === leader &&
      told.inTerm === inTerm &&
      told.configurationIndex === configurationIndex &&
      told.isCommitted === isCommitted
    ) {
      return;
    }
    this.#told = {
      phase: this.#phase,
      removed: this.#removed,
      started: raft !== undefined,
      role,
      term: raft?.term,
      leader,
      inTerm,
      configurationIndex,
      isCommitted,
    };
    if (raft !== undefined && raft.commitIndex >= configurationIndex && this.#configurationKey !== configurationIndex) {
      this.#configurationKey = configurationIndex;
      const { incoming, outgoing, members } = raft.configuration;
      const own = members.some(({ id }) => id === this.#identity.memberId);
      this.#removed = !own;
      this.#members = {
        members: members.map((member) => ({
          ...member,
          role: incoming.includes(member.id) || outgoing.includes(member.id) ? "voter" : "learner",
        })),
        leader,
        index: configurationIndex,
      };
    }
    this.#members = { ...this.#members, leader };
    this.#status = {
      state: this.#state(inTerm),
      name: this.#identity.name,
      memberId: this.#identity.memberId,
      clusterId: this.#identity.clusterId,
      role: role === "preCandidate" ? "candidate" : role === "follower" && raft !== undefined && !raft.isVoter() ? "learner" : role,
      term: raft?.term ?? 0,
      leader,
      ready: inTerm && this.#phase === "open",
      members: this.#members,
      durable: !this.#options.unsafeNoFsync && this.#options.directory !== undefined,
      listening: this.#transport?.listening,
    };
    this.#outbox.push({ kind: "status", status: this.#status });
  }

  #state(inTerm: boolean): NodeState {
    if (this.#phase === "closed") return { kind: "closed" };
    if (this.#failure !== undefined) return { kind: "failed", error: toWire(this.#failure) };
    if (this.#removed) return { kind: "removed" };
    if (this.#raft === undefined) return { kind: "starting", phase: "joining", progress: 0 };
    return inTerm ? { kind: "ready" } : { kind: "noQuorum" };
  }

  // ------------------------------------------------------------------------------------------------------------- ending

  /** Stops at once, as a crash of the process would: nothing is handed over, nothing is answered. */
  kill(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#stopParts();
    this.#timer?.cancel();
    this.#storage.close().catch(() => {}); // Nobody is left to be told.
  }

  /** What this turn has not taken up yet. */
  #refuseTurn(): void {
    while (this.#turnCallsTaken < this.#turnCalls.length) this.#refuse(this.#turnCalls[this.#turnCallsTaken++]!);
  }

  #refuse(call: ToNode): void {
    if (call.kind === "close") return this.#close(this.#turnNow, call.timeoutMs);
    const id = "call" in call ? call.call : "watch" in call ? call.watch : undefined;
    if (
      id === undefined ||
      call.kind === "cancel" ||
      call.kind === "unwatch" ||
      call.kind === "watchCredit" ||
      call.kind === "watchProgress" ||
      call.kind === "unpin"
    )
      return;
    this.#outbox.push({ kind: "failed", call: id, error: toWire(this.#endError(false)) });
  }

  #endError(mayHaveApplied: boolean): EngineError {
    if (this.#failure !== undefined) {
      const cause = this.#failure;
      return new EngineError("UNAVAILABLE", `this node has failed: ${cause.message}`, { reason: "failed" }, { mayHaveApplied, cause });
    }
    return new EngineError(
      "CLOSED",
      mayHaveApplied ? "closed while the write was under way: it may have been applied" : "the engine is closed",
      {},
      { mayHaveApplied },
    );
  }

  #failPending(): void {
    this.#proposals.failAll((mayHaveApplied) => this.#endError(mayHaveApplied));
    this.#reads.failAll(() => this.#endError(false));
    this.#ranges.failAll(() => this.#endError(false));
    this.#refuseTurn();
  }

  /** A disk that failed, a file that is corrupt, an invariant that broke: the node stops, says so, and leads no more. The process lives. */
  #fail(error: EngineError): void {
    if (this.#phase === "failed" || this.#phase === "closed") return;
    const closing = this.#phase === "closing";
    this.#phase = "failed";
    this.#failure = error;
    this.#stopParts();
    this.#failPending();
    this.#publish();
    this.#refreshStatus();
    this.#flush();
    if (closing) this.#finish();
    else this.#arm(this.#turnNow);
  }

  #stopParts(): void {
    this.#founding?.close();
    this.#founding = undefined;
    this.#maker?.stop();
    for (const sender of this.#senders.values()) sender.stop(false);
    this.#receiver?.giveUp("the node stops");
    this.#raft = undefined;
    const transport = this.#transport;
    this.#transport = undefined;
    transport?.close().catch(() => {}); // Sockets that do not close are the kernel's to clean up.
  }

  #close(now: number, timeoutMs: number): void {
    if (this.#phase === "failed") return this.#finish();
    if (this.#phase !== "open") return;
    this.#phase = "closing";
    // A transfer is given up by then, and waiting longer would gain nothing.
    this.#closeBy = now + Math.min(timeoutMs / 2, this.#options.electionTimeoutMs);
    const raft = this.#raft;
    if (raft?.role !== "leader" || raft.configuration.incoming.length === 1 || raft.transferLeadership(undefined) !== undefined)
      this.#closeBy = now;
  }

  /** Leadership is handed over first, so that the others need no election timeout. */
  #stepClosing(now: number): void {
    if (this.#phase !== "closing") return;
    if (now < this.#closeBy && this.#raft?.role === "leader") return;
    this.#finish();
  }

  #finish(): void {
    if (this.#phase === "closed") return;
    this.#failPending();
    this.#phase = "closed";
    this.#stopParts();
    this.#timer?.cancel();
    this.#publish();
    this.#refreshStatus();
    this.#flush();
    this.#storage.close().then(
      () => this.#deliver([{ kind: "closed" }]),
      () => this.#deliver([{ kind: "closed" }]),
    );
  }
}
