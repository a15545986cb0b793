/** What a node says of itself, told to its caller whenever it changes. */
import type { Shortage } from "../core/kv/growth.ts";
import type { MemberId } from "../core/raft/configuration.ts";
import type { Role } from "../core/raft/ready.ts";
import { toWire } from "../errors.ts";
import type { MembersState, NodeState, NodeStatus } from "./boundary.ts";
import type { NodeContext, Phase } from "./node-context.ts";
import type { Space } from "./space.ts";

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
  readonly shortage: Shortage | undefined;
}

export class StatusReport {
  readonly #context: NodeContext;
  readonly #space: Space;
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
    shortage: undefined,
  };
  #status: NodeStatus | undefined;
  #configurationKey = -1;
  #members: MembersState = { members: [], leader: undefined, index: 0 };
  #removed = false;
  #lastLeader: MemberId | undefined;
  #leaderChanges = 0;

  constructor(context: NodeContext, space: Space) {
    this.#context = context;
    this.#space = space;
  }

  /** As of the last refresh(), of which there must have been one. */
  get status(): NodeStatus {
    return this.#status!;
  }

  /** How often a leader was found that was another than the one before. */
  get leaderChanges(): number {
    return this.#leaderChanges;
  }

  get members(): MembersState {
    return this.#members;
  }

  /** Once a turn. Posts the status if it is another than before. */
  refresh(): void {
    const { raft, phase } = this.#context;
    const configurationIndex = raft?.configurationIndex ?? 0;
    const inTerm = raft !== undefined && raft.leader !== undefined && raft.termAt(raft.commitIndex) === raft.term;
    const leader = raft?.leader;
    const role = raft?.role ?? "follower";
    const isCommitted = raft !== undefined && raft.commitIndex >= configurationIndex;
    const shortage = this.#space.refusal?.of;
    const told = this.#told;
    // Once a turn, and mostly for nothing: it makes nothing unless something changed.
    if (
      told.phase === phase &&
      told.removed === this.#removed &&
      told.started === (raft !== undefined) &&
      told.role === role &&
      told.term === raft?.term &&
      told.leader === leader &&
      told.inTerm === inTerm &&
      told.configurationIndex === configurationIndex &&
      told.isCommitted === isCommitted &&
      told.shortage === shortage
    ) {
      return;
    }
    this.#told = {
      phase,
      removed: this.#removed,
      started: raft !== undefined,
      role,
      term: raft?.term,
      leader,
      inTerm,
      configurationIndex,
      isCommitted,
      shortage,
    };
    if (leader !== undefined && leader !== this.#lastLeader) {
      this.#lastLeader = leader;
      this.#leaderChanges++;
    }
    const { identity, options, transport } = this.#context;
    if (raft !== undefined && raft.commitIndex >= configurationIndex && this.#configurationKey !== configurationIndex) {
      this.#configurationKey = configurationIndex;
      const { incoming, outgoing, members } = raft.configuration;
      const own = members.some(({ id }) => id === identity.memberId);
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
      name: identity.name,
      memberId: identity.memberId,
      clusterId: identity.clusterId,
      role: role === "preCandidate" ? "candidate" : role === "follower" && raft !== undefined && !raft.isVoter() ? "learner" : role,
      term: raft?.term ?? 0,
      leader,
      ready: inTerm && phase === "open",
      members: this.#members,
      durable: !options.unsafeNoFsync && options.directory !== undefined,
      listening: transport?.listening,
      peerAddress: options.peer?.advertise,
    };
    this.#context.post({ kind: "status", status: this.#status });
  }

  #state(inTerm: boolean): NodeState {
    const { phase, failure, raft } = this.#context;
    if (phase === "closed") return { kind: "closed" };
    if (failure !== undefined) return { kind: "failed", error: toWire(failure) };
    if (this.#removed) return { kind: "removed" };
    if (raft === undefined) return { kind: "starting", phase: "joining", progress: 0 };
    if (!inTerm) return { kind: "noQuorum" };
    return this.#space.refusal === undefined ? { kind: "ready" } : { kind: "full", error: toWire(this.#space.error()) };
  }
}
