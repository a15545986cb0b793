/**
 * Who belongs to this member's cluster, and under which incarnation: what it says of itself to others, whose links it takes, whom it keeps
 * links to, and what it does when the others know it with another disk.
 */
import type { MemberId } from "../core/raft/configuration.ts";
import type { Raft } from "../core/raft/raft.ts";
import { EngineError } from "../errors.ts";
import type { Hello, PeerAddress } from "../transport/transport.ts";
import { foundingList, foundingMembers } from "./founding.ts";
import type { Joining } from "./joining.ts";
import type { NodeContext } from "./node-context.ts";

const PROTOCOL_VERSION = 1;
const FEATURE_LEVEL = 1;

export class Membership {
  readonly #context: NodeContext;
  readonly #joining: Joining;
  /** By member, as its last hello said. */
  readonly #stickinessMs = new Map<MemberId, number>();
  /** By member: whom a link was last agreed on with. */
  readonly #incarnations = new Map<MemberId, string>();
  #addressProposed = false;

  constructor(context: NodeContext, joining: Joining) {
    this.#context = context;
    this.#joining = joining;
  }

  hello(): Hello {
    const { identity, bootId, options } = this.#context;
    const { clusterId, memberId, incarnation, name } = identity;
    return {
      clusterId,
      memberId,
      incarnation,
      name,
      bootId,
      protocolMin: PROTOCOL_VERSION,
      protocolMax: PROTOCOL_VERSION,
      featureLevel: FEATURE_LEVEL,
      electionTimeoutMs: options.electionTimeoutMs,
    };
  }

  /** Who may talk to this member: those in its configuration, under the incarnation recorded there. */
  judge(hello: Hello): string | undefined {
    const { identity, raft } = this.#context;
    if (hello.clusterId !== identity.clusterId) {
      const founded = identity.bootstrap === undefined ? "" : `, founded as ${foundingList(identity)}`;
      this.#joining.onOtherCluster(hello.name, `it is a member of ${hello.clusterId}`);
      return `cluster: this is a member of ${identity.clusterId}${founded}; you are of ${hello.clusterId}`;
    }
    if (hello.memberId === identity.memberId) return `member: this is ${hello.name} itself, or another under its name`;
    if (raft === undefined) {
      return foundingMembers(identity).some(({ id }) => id === hello.memberId)
        ? this.#noteHello(hello)
        : `member: ${hello.name} is not in the founding list`;
    }
    const recorded = raft.configuration.members.find(({ id }) => id === hello.memberId);
    // Not known here: this member's own configuration may be behind; only the log says who is a member, and nothing counts before it does.
    if (recorded === undefined) return `member: ${hello.name} is not a member`;
    if (recorded.incarnation !== hello.incarnation) {
      return `incarnation: the cluster knows ${hello.name} with another data directory: its disk was lost or replaced; a wiped member must be replaced by a new one`;
    }
    return this.#noteHello(hello);
  }

  #noteHello(hello: Hello): undefined {
    this.#incarnations.set(hello.memberId, hello.incarnation);
    this.#stickinessMs.set(hello.memberId, hello.electionTimeoutMs);
    this.boundLease();
  }

  /** A leader lease rests on how long each follower keeps to its leader, which is each one's own setting. */
  boundLease(): void {
    const { raft } = this.#context;
    let shortest = Number.POSITIVE_INFINITY;
    for (const { id } of raft?.configuration.members ?? [])
      shortest = Math.min(shortest, this.#stickinessMs.get(id) ?? Number.POSITIVE_INFINITY);
    raft?.boundLease(shortest);
  }

  /** The other side refused our hello. */
  onRefused(peer: MemberId, reason: string): void {
    const { phase, identity, fail } = this.#context;
    if (phase !== "open") return;
    if (reason.startsWith("cluster:")) {
      const name = foundingMembers(identity).find(({ id }) => id === peer)?.name ?? peer;
      this.#joining.onOtherCluster(name, reason.slice("cluster: ".length));
    }
    if (!reason.startsWith("incarnation:")) return;
    fail(
      new EngineError(
        "INCOMPATIBLE",
        `member ${peer} refuses this one: ${reason}. Votes of an empty disk could undo acknowledged writes. Put the old data directory back, or replace the member`,
        { what: "incarnation", found: identity.incarnation, supported: "the incarnation that the cluster has recorded" },
      ),
    );
  }

  setPeers(): void {
    this.#context.transport?.setPeers(this.#peers());
  }

  /** Who was let in while nothing was recorded, and is not of the founding with this disk, is let go of, so that it hears so when it dials again. */
  onFounded(): void {
    const { transport, raft } = this.#context;
    const recorded = new Map(raft?.configuration.members.map(({ id, incarnation }) => [id, incarnation]));
    const isOther = (id: MemberId): boolean => this.#incarnations.has(id) && this.#incarnations.get(id) !== recorded.get(id);
    transport?.setPeers(this.#peers().filter(({ id }) => !isOther(id)));
    this.setPeers();
  }

  #peers(): readonly PeerAddress[] {
    const { raft, identity } = this.#context;
    const members = raft?.configuration.members.map(({ id, peerAddress }) => ({ id, address: peerAddress })) ?? foundingMembers(identity);
    return members.filter(({ id, address }) => id !== identity.memberId && address !== "");
  }

  /** A cluster of one that was opened with another peer address than it recorded puts the new one into its configuration. */
  proposeAddress(raft: Raft): void {
    if (this.#addressProposed || raft.role !== "leader" || !raft.ready) return;
    const { options, identity } = this.#context;
    if (options.peer === undefined) return;
    this.#addressProposed = true;
    const { members, incoming, learners } = raft.configuration;
    const own = members.find(({ id }) => id === identity.memberId);
    const address = options.peer.advertise;
    if (own === undefined || members.length !== 1 || own.peerAddress === address) return;
    raft.proposeConfiguration({ voters: incoming, learners, members: [{ ...own, peerAddress: address }] });
  }
}
