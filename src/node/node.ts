/**
 * One running member: the loop around the pure core. A turn gathers what has arrived, reads the clock, steps Raft once, hands its
 * writes to the disk and its messages to the links side by side, applies what is committed, and answers.
 *
 *   caller -> write -> propose -> { log + fdatasync } in parallel with { the same bytes to followers }
 *          -> majority durable -> commit -> apply -> answer
 *
 * The order within a turn is part of its safety: the clock is read after the input was gathered, never before, or a pause between the
 * two would serve a lease read that arrived when the lease had passed. What Raft asks for is done in raft-output.ts, what callers ask of
 * the data in the state (replicated-state.ts), what concerns other members in membership.ts.
 */
import type { MemberId } from "../core/raft/configuration.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import { Raft } from "../core/raft/raft.ts";
import type { RecoveredLog } from "../core/raft/ready.ts";
import { asEngineError, toWire, type EngineError } from "../errors.ts";
import type { Storage } from "../storage/storage.ts";
import { decodeMessage } from "../transport/message-codec.ts";
import type { Transport } from "../transport/transport.ts";
import { Applier } from "./applier.ts";
import type { CallId, FromNode, ToNode } from "./boundary.ts";
import { answeredCall, closeWithin, endError } from "./ending.ts";
import type { Environment } from "./environment.ts";
import { answerFounding, Founding } from "./founding.ts";
import { encodeIdentity, type Identity } from "./identity.ts";
import { Inbox, type Frame } from "./inbox.ts";
import { inspect } from "./inspection.ts";
import { Joining } from "./joining.ts";
import { LeaderDuties } from "./leader-duties.ts";
import { FRAME_ANNOUNCE, FRAME_MOVE_LEADER, FRAME_MOVE_LEADER_ANSWER } from "./cluster-frames.ts";
import { LeaderMoves } from "./leader-moves.ts";
import { MemberAddresses } from "./member-addresses.ts";
import { Membership } from "./membership.ts";
import type { NodeContext, Phase } from "./node-context.ts";
import type { NodeOptions } from "./node-options.ts";
import { openState, type OpenedState } from "./open-state.ts";
import { createOpeningReport } from "./opening-report.ts";
import { StatusReport } from "./node-status.ts";
import {
  FRAME_FORWARD,
  FRAME_FORWARD_ACK,
  FRAME_FOUNDING,
  FRAME_SNAPSHOT_ACK,
  FRAME_SNAPSHOT_BEGIN,
  FRAME_SNAPSHOT_CHUNK,
} from "./peer-frames.ts";
import { NodeSession } from "./node-session.ts";
import { OwnWrites, type OwnWrite } from "./own-writes.ts";
import { Proposals } from "./proposals.ts";
import { RaftOutput } from "./raft-output.ts";
import { Reads } from "./reads.ts";
import { foundLog, recoverMember } from "./recovery.ts";
import { FullDisk } from "./full-disk.ts";
import { LeaderRelief } from "./leader-relief.ts";
import { Space } from "./space.ts";
import type { ReadCall, ReplicatedState, StateHost } from "./replicated-state.ts";
import type { StateRestoring } from "./snapshot-transfer.ts";
import { Snapshots } from "./snapshots.ts";
import { TurnTimer } from "./turn-timer.ts";

/** A node without its thread: what the worker, the inline engine and the simulator run. */
export class Node {
  readonly #environment: Environment;
  readonly #options: NodeOptions;
  readonly #storage: Storage;
  readonly #deliver: (messages: readonly FromNode[]) => void;
  readonly #context: NodeContext;
  readonly #state: ReplicatedState;
  #identity: Identity;
  #transport: Transport | undefined;
  #founding: Founding | undefined;
  #raft: Raft | undefined;
  #applier: Applier | undefined;
  readonly #proposals: Proposals;
  readonly #ownWrites = new OwnWrites();
  readonly #reads: Reads;
  readonly #snapshots: Snapshots;
  readonly #output: RaftOutput;
  readonly #membership: Membership;
  readonly #addresses: MemberAddresses;
  readonly #moves: LeaderMoves;
  readonly #joining: Joining;
  readonly #duties: LeaderDuties;
  readonly #status: StatusReport;
  readonly #space: Space;
  readonly #fullDisk: FullDisk;
  readonly #relief: LeaderRelief;

  /** This opening has applied what was committed when it came to know a leader's term. */
  #caughtUp = false;

  readonly #inbox = new Inbox();
  #unreachable: MemberId[] = [];
  #reachable: MemberId[] = [];
  #outbox: FromNode[] = [];
  #scheduled = false;
  readonly #timer: TurnTimer;
  #expireAt = Number.POSITIVE_INFINITY;
  #phase: Phase = "open";
  #failure: EngineError | undefined;
  #closeBy = 0;
  #turnNow = 0;

  private constructor(parts: {
    readonly environment: Environment;
    readonly options: NodeOptions;
    readonly storage: Storage;
    readonly identity: Identity;
    readonly createState: (host: StateHost) => ReplicatedState;
    readonly deliver: (messages: readonly FromNode[]) => void;
  }) {
    const { environment, options, storage, identity } = parts;
    this.#environment = environment;
    this.#options = options;
    this.#storage = storage;
    this.#identity = identity;
    this.#deliver = parts.deliver;
    this.#timer = new TurnTimer(environment.clock, () => this.#wake());
    this.#context = this.#createContext(environment.random.uint32());
    const { bootId, post, send } = this.#context;
    const fail = (call: CallId, error: EngineError): void => {
      if (!this.#ownWrites.failed(call, error)) post({ kind: "failed", call, error: toWire(error) });
    };
    this.#state = parts.createState({
      post,
      read: (call, now, serve) => this.#addRead(call, now, serve),
      write: (write) => this.#writeOwn(write),
      leaseClock: () => this.#raft?.leaseClock() ?? this.#state.clockMs,
      log: (level, message, fields) => post({ kind: "log", level, message, fields }),
      wake: () => this.#wake(),
      fail: (error) => this.#fail(error),
    });
    this.#space = new Space(this.#context);
    this.#proposals = new Proposals({
      memberId: identity.memberId,
      bootId,
      resendMs: options.electionTimeoutMs / 2,
      pendingBytesMax: options.pendingBytesMax,
      space: this.#space,
      session:
        this.#state.kv === undefined ? undefined : new NodeSession({ now: () => this.#turnNow, write: (write) => this.#writeOwn(write) }),
      send,
      fail,
    });
    this.#reads = new Reads({
      applied: () => ({ index: this.#state.appliedIndex, revision: this.#state.revision }),
      fail,
      retryMs: Math.max(1, options.heartbeatMs / 2),
      wallNow: () => environment.clock.wallNow(),
    });
    this.#snapshots = new Snapshots({ context: this.#context, install: (restored, meta) => this.#install(restored, meta) });
    this.#output = new RaftOutput({ context: this.#context, reads: this.#reads, snapshots: this.#snapshots });
    this.#joining = new Joining(this.#context);
    this.#membership = new Membership(this.#context, this.#joining);
    this.#addresses = new MemberAddresses(this.#context);
    this.#moves = new LeaderMoves(this.#context);
    this.#duties = new LeaderDuties(this.#context, this.#membership);
    this.#status = new StatusReport(this.#context, this.#space);
    this.#fullDisk = new FullDisk({
      context: this.#context,
      snapshots: this.#snapshots,
      write: (write) => this.#writeOwn(write),
    });
    this.#relief = new LeaderRelief(this.#context, this.#output);
  }

  /** What the parts see: this node as it is when they look. */
  #createContext(bootId: number): NodeContext {
    // oxlint-disable-next-line no-this-alias, typescript/no-this-alias -- the getters below have a `this` of their own
    const node = this;
    return {
      environment: node.#environment,
      options: node.#options,
      storage: node.#storage,
      bootId,
      get state() {
        return node.#state;
      },
      get identity() {
        return node.#identity;
      },
      get phase() {
        return node.#phase;
      },
      get failure() {
        return node.#failure;
      },
      get raft() {
        return node.#raft;
      },
      get transport() {
        return node.#transport;
      },
      post: (message) => {
        node.#outbox.push(message);
      },
      send: (to, lane, frame) => node.#transport?.send(to, lane, frame) ?? false,
      wake: () => node.#wake(),
      later: (run) => node.#later(run),
      fail: (error) => node.#fail(error),
    };
  }

  /** Recovers the data directory and takes part. Rejects with what api.md says of Engine.open. */
  static async open(environment: Environment, options: NodeOptions, deliver: (messages: readonly FromNode[]) => void): Promise<Node> {
    const report = createOpeningReport(environment.clock, deliver);
    const storage = await environment.openStorage({
      unsafeNoFsync: options.unsafeNoFsync,
      onProgress: ({ bytes, bytesMax }) => report("replaying", bytesMax === 0 ? 1 : bytes / bytesMax),
    });
    let opened: OpenedState | undefined;
    try {
      const { identity, log } = await recoverMember(storage, options, environment.random);
      const open = await openState({
        environment,
        options,
        storage,
        log: log ?? storage.recovered.log,
        onProgress: (done) => report("loading", done),
      });
      const createState = (host: StateHost): ReplicatedState => (opened = open(host)).state;
      const node = new Node({ environment, options, storage, identity, createState, deliver });
      environment.observe?.(() => ({ raft: node.#raft, machine: opened?.kv?.kv, appliedIndex: node.#state.appliedIndex }));
      if (storage.recovered.identity === undefined && log !== undefined) node.#warnIfAlone();
      await node.#start(log);
      return node;
    } catch (error) {
      // The first error is the one to tell.
      await opened?.state.close().catch(() => {});
      await storage.close().catch(() => {});
      throw error;
    }
  }

  /** A member that listens for others, and was told of none, has just become a cluster by itself: seldom what was meant. */
  #warnIfAlone(): void {
    if (this.#options.peer === undefined || this.#options.bootstrap !== undefined) return;
    const { name, clusterId: cluster } = this.#identity;
    const message =
      "a new cluster of this node alone was founded, since `peer` was given without `bootstrap`: nobody else is a member of it";
    this.#context.post({ kind: "log", level: "warn", message, fields: { name, cluster } });
  }

  async #start(log: RecoveredLog | undefined): Promise<void> {
    const { clock } = this.#environment;
    this.#turnNow = clock.now();
    // Raft is there before the first frame can be.
    if (log !== undefined) this.#startRaft(log);
    if (this.#options.peer !== undefined) {
      this.#transport = await this.#environment.createTransport(() => this.#membership.hello(), {
        judge: (hello) => this.#membership.judge(hello),
        onFrame: (from, lane, bytes) => {
          this.#inbox.addFrame({ from, lane, bytes });
          this.#wake();
        },
        onUp: (peer, { incarnation }) => {
          this.#joining.onUp(peer);
          this.#founding?.onUp(peer, incarnation);
          this.#reachable.push(peer);
          this.#wake();
        },
        onDown: (peer) => {
          this.#joining.onDown(peer);
          this.#unreachable.push(peer);
          this.#wake();
        },
        onRefused: (peer, reason) => this.#membership.onRefused(peer, reason),
      });
      this.#membership.setPeers();
    }
    if (log === undefined) this.#startFounding();
    this.#storage.failed.then(
      (error) => this.#fail(error),
      () => {},
    );
    this.#publish();
    this.#status.refresh();
    this.#deliver([{ kind: "opened", status: this.#status.status, shared: this.#state.shared() }]);
    this.#wake();
  }

  // ---------------------------------------------------------------------------------------------------------- beginnings

  #startRaft(recovered: RecoveredLog): void {
    const { clock, random } = this.#environment;
    const { electionTimeoutMs, heartbeatMs, logMemoryBytesMax } = this.#options;
    const now = clock.now();
    const raft = new Raft({
      id: this.#identity.memberId,
      recovered,
      timing: { electionTimeoutMs, heartbeatMs },
      limits: { entriesInMemoryBytesMax: logMemoryBytesMax, uncommittedBytesMax: logMemoryBytesMax },
      random: () => random.uint32(),
      now,
    });
    this.#raft = raft;
    this.#membership.boundLease();
    this.#applier = new Applier({
      raft,
      storage: this.#storage,
      state: this.#state,
      now: () => clock.now(),
      turnRecordsMax: this.#options.turnRecordsMax,
      onTerm: (term) => this.#proposals.onTermApplied(term),
      wants: (header) => this.#proposals.callOf(header) !== undefined,
      onResults: (header, results) => {
        const call = this.#proposals.callOf(header);
        if (this.#proposals.onApplied(header, results)) return;
        if (call !== undefined && !this.#ownWrites.done(call, results)) this.#outbox.push({ kind: "written", call, results });
      },
      onConfiguration: () => this.#membership.setPeers(),
      wake: () => this.#wake(),
    });
    this.#snapshots.start(raft, recovered.base.lastIncludedIndex);
  }

  #startFounding(): void {
    const { clock } = this.#environment;
    this.#joining.begin();
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
        this.#joining.end();
        if (this.#phase !== "open" || founded === undefined) return;
        this.#turnNow = clock.now();
        this.#startRaft(founded);
        this.#membership.onFounded();
        this.#wake();
      },
      onRefused: (error) => this.#fail(error),
    });
  }

  // ------------------------------------------------------------------------------------------------------------ input

  receive(messages: readonly ToNode[]): void {
    this.#inbox.addCalls(messages);
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
    const frames = this.#inbox.gather();
    const now = this.#environment.clock.now();
    this.#turnNow = now;
    const raft = this.#raft;
    if (this.#phase === "failed") {
      this.#refuseTurn();
      this.#flush();
      if (this.#inbox.hasMore) this.#wake();
      return;
    }
    raft?.advance(now, this.#environment.clock.wallNow());
    if (raft !== undefined) this.#takeEvents(raft, now);
    else this.#reachable.length = this.#unreachable.length = 0;
    for (const frame of frames) this.#onFrame(frame, now);
    if (this.#snapshots.isSending && raft?.role !== "leader") this.#snapshots.stopSending();
    for (let call = this.#inbox.nextCall(); call !== undefined; call = this.#inbox.nextCall()) this.#onCall(call, now);
    this.#moves.poll(now);
    let more = this.#inbox.hasMore;
    if (raft !== undefined && this.#raft !== undefined) {
      const isHeld = this.#state.holdsCalls;
      if (!isHeld) this.#proposals.flush(raft, now);
      this.#reads.ask(raft, now, isHeld);
      this.#output.drain(raft, now);
      more = this.#apply() || more;
      if (!this.#caughtUp && this.#noteCaughtUp(raft, now)) more = true;
      this.#reads.onApplied();
      this.#duties.poll(raft);
      this.#addresses.poll(raft, now);
      this.#space.poll(raft);
      this.#fullDisk.poll(now);
      this.#relief.poll(raft, now);
      this.#output.drain(raft, now);
      this.#publish();
    }
    more = this.#state.pump(now) || more;
    if (this.#raft !== undefined && this.#applier!.isBetweenEntries) {
      if (!this.#state.maintain()) more = true;
      this.#snapshots.poll();
    }
    this.#expire(now);
    this.#stepClosing(now);
    this.#status.refresh();
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
    this.#output.settle(raft);
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
      if (this.#fullDisk.takes(message)) raft.step(message);
      return;
    }
    if (type === FRAME_FORWARD) this.#proposals.onForward(from, bytes, raft);
    else if (type === FRAME_FORWARD_ACK) this.#proposals.onForwardAck(bytes);
    else if (type === FRAME_SNAPSHOT_BEGIN) this.#snapshots.onBegin(from, bytes, raft);
    else if (type === FRAME_SNAPSHOT_CHUNK) this.#snapshots.onChunk(from, bytes);
    else if (type === FRAME_SNAPSHOT_ACK) this.#snapshots.onAck(from, bytes, now);
    else if (type === FRAME_ANNOUNCE) this.#addresses.onAnnounce(from, bytes, raft);
    else if (type === FRAME_MOVE_LEADER) this.#moves.onMoveLeader(from, bytes, raft);
    else if (type === FRAME_MOVE_LEADER_ANSWER) this.#moves.onAnswer(from, bytes, raft, now);
  }

  #onCall(call: ToNode, now: number): void {
    if (this.#phase !== "open" && call.kind !== "close" && call.kind !== "unwatch" && call.kind !== "unpin") return this.#refuse(call);
    switch (call.kind) {
      case "write":
        this.#addWrite(call, now);
        return;
      case "members":
        this.#addRead({ ...call, consistency: "linearizable", minRevision: 0 }, now, () =>
          this.#outbox.push({ kind: "members", call: call.call, members: this.#status.members }),
        );
        return;
      case "announce":
        this.#addresses.announce(call.clientAddresses);
        return;
      case "moveLeader":
        this.#moves.add(call, now);
        return;
      case "attach": {
        const { status } = this.#status;
        this.#outbox.push({ kind: "opened", status, shared: this.#state.shared(), firstCall: call.call });
        return;
      }
      case "inspect": {
        const parts = { space: this.#space, status: this.#status, proposals: this.#proposals };
        this.#outbox.push({ kind: "inspect", call: call.call, inspection: inspect(this.#context, parts) });
        return;
      }
      case "cancel":
        this.#proposals.cancel(call.call);
        this.#reads.cancel(call.call);
        this.#moves.cancel(call.call);
        this.#state.cancel(call.call);
        return;
      case "close":
        this.#close(now, call.timeoutMs);
        return;
      default:
        this.#state.onCall(call, now);
    }
  }

  #addWrite(
    write: Pick<ToNode & { readonly kind: "write" }, "call" | "record" | "commands" | "timeoutMs" | "inSessions">,
    now: number,
  ): void {
    this.#proposals.add(write, now);
    this.#expireAt = Math.min(this.#expireAt, now + write.timeoutMs);
  }

  #writeOwn(write: OwnWrite): void {
    this.#addWrite({ ...write, call: this.#ownWrites.add(write) }, this.#turnNow);
  }

  #addRead({ call, consistency, minRevision, stalenessMsMax, timeoutMs }: ReadCall, now: number, serve: () => void): void {
    // Before the cluster is founded nobody is asked, and no answer is given: that the state is empty would be no answer.
    this.#reads.add({ call, consistency, minRevision, stalenessMsMax, timeoutMs, deadline: now + timeoutMs, serve });
    this.#expireAt = Math.min(this.#expireAt, now + timeoutMs);
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

  // --------------------------------------------------------------------------------------------------- the state goes on

  /** What waited until this node had caught up once goes on: true if anything did. */
  #noteCaughtUp(raft: Raft, now: number): boolean {
    if (raft.leader === undefined || raft.termAt(raft.commitIndex) !== raft.term) return false;
    if (this.#state.appliedIndex < raft.commitIndex || !this.#applier!.isBetweenEntries) return false;
    this.#caughtUp = true;
    return this.#state.onCaughtUp(now);
  }

  #apply(): boolean {
    const more = this.#applier!.run();
    this.#state.onApplied();
    return more;
  }

  /** A snapshot's state takes the old one's place, whole. */
  #install(restored: StateRestoring, meta: SnapshotMeta): void {
    this.#state.replace(restored, meta);
    this.#applier!.onStateReplaced();
    this.#proposals.onStateReplaced();
    this.#publish();
  }

  // ------------------------------------------------------------------------------------------------------------- output

  #publish(): void {
    this.#state.publish(this.#phase === "open" ? this.#raft : undefined);
  }

  #expire(now: number): void {
    if (now < this.#expireAt) return;
    const next = Math.min(this.#proposals.expire(now, this.#raft?.leader !== undefined), this.#reads.expire(now), this.#state.expire(now));
    // Deadlines are kept to 20 ms, so that thousands of calls cost a few looks.
    this.#expireAt = Math.max(next, now + 20);
  }

  #arm(now: number): void {
    let at = Math.min(this.#raft?.nextDeadline() ?? Number.POSITIVE_INFINITY, this.#state.deadline);
    if (this.#proposals.pending > 0 || this.#reads.pending > 0) at = Math.min(at, this.#expireAt);
    if (this.#raft !== undefined) at = Math.min(at, this.#reads.askAt, this.#proposals.flushAt);
    const { expireAt } = this.#state;
    if (expireAt !== Number.POSITIVE_INFINITY) {
      this.#expireAt = Math.min(this.#expireAt, expireAt);
      at = Math.min(at, this.#expireAt);
    }
    at = Math.min(at, this.#snapshots.pump(now), this.#moves.deadline);
    if (this.#raft !== undefined)
      at = Math.min(at, this.#fullDisk.deadline, this.#relief.deadline(this.#raft), this.#duties.deadline(this.#raft, now));
    if (this.#raft !== undefined) at = Math.min(at, this.#addresses.deadline(this.#raft));
    if (this.#phase === "closing") at = Math.min(at, this.#closeBy);
    this.#timer.set(this.#phase === "closed" ? Number.POSITIVE_INFINITY : at, now);
  }

  #flush(): void {
    if (this.#outbox.length === 0) return;
    const messages = this.#outbox;
    this.#outbox = [];
    this.#deliver(messages);
  }

  // ------------------------------------------------------------------------------------------------------------- ending

  /** Stops at once, as a crash of the process would: nothing is handed over, nothing is answered. */
  kill(): void {
    if (this.#phase === "closed") return;
    this.#phase = "closed";
    this.#stopParts();
    this.#timer.cancel();
    this.#storage.close().catch(() => {}); // Nobody is left to be told.
  }

  /** What this turn has not taken up yet. */
  #refuseTurn(): void {
    for (let call = this.#inbox.nextCall(); call !== undefined; call = this.#inbox.nextCall()) this.#refuse(call);
  }

  #refuse(call: ToNode): void {
    if (call.kind === "close") return this.#close(this.#turnNow, call.timeoutMs);
    const id = answeredCall(call);
    if (id !== undefined) this.#outbox.push({ kind: "failed", call: id, error: toWire(endError(this.#failure, false)) });
  }

  #failPending(): void {
    this.#proposals.failAll((mayHaveApplied) => endError(this.#failure, mayHaveApplied));
    this.#reads.failAll(() => endError(this.#failure, false));
    this.#moves.failAll((mayHaveApplied) => endError(this.#failure, mayHaveApplied));
    this.#state.failAll(() => endError(this.#failure, false));
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
    this.#status.refresh();
    this.#flush();
    if (closing) this.#finish();
    else this.#arm(this.#turnNow);
  }

  #stopParts(): void {
    this.#founding?.close();
    this.#founding = undefined;
    this.#joining.end();
    this.#snapshots.stop();
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
    this.#timer.cancel();
    this.#publish();
    this.#status.refresh();
    this.#flush();
    const closed = (): void => this.#deliver([{ kind: "closed" }]);
    closeWithin(this.#state, this.#environment.clock)
      .then(() => this.#storage.close())
      .then(closed, closed);
  }
}
