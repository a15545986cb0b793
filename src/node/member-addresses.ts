/**
 * Where clients reach the members, as the configuration in the log tells everyone. A member whose record there says otherwise than it does
 * itself tells the leader, again and again until the record agrees; the leader proposes a configuration in which nothing but that differs,
 * one at a time. Nothing is answered and nothing kept on disk beside the log: what is lost on the way is said again, and what was said twice
 * changes nothing the second time.
 *
 *   B -> A (leader) announce; A appends the record; A is lost before it commits; C leads, whose log lacks it
 *   B finds its record in the log as it was, and announces to C
 *
 * Who may vote is not touched by any of this (changeAddresses).
 */
import type { Configuration, MemberId } from "../core/raft/configuration.ts";
import type { Raft } from "../core/raft/raft.ts";
import { areClientAddresses, decodeAnnounce, encodeAnnounce } from "./cluster-frames.ts";
import type { NodeContext } from "./node-context.ts";

/** One for each node. */
export class MemberAddresses {
  readonly #context: NodeContext;
  /** As this member's front ends said last; undefined: nothing yet, so that what is recorded stays. */
  #own: readonly string[] | undefined;
  /** On the leader: what others have announced and is not recorded yet. At most one for each member. */
  readonly #announced = new Map<MemberId, readonly string[]>();
  /** The configuration in which everything is as it is to be: nothing to look for while it is in force. */
  #agreed: Configuration | undefined;
  #toldTerm = -1;
  #tellAt = 0;

  constructor(context: NodeContext) {
    this.#context = context;
  }

  /** Of this member, from now on. Ignores what no member may say. */
  announce(addresses: readonly string[]): void {
    if (!areClientAddresses(addresses)) return;
    this.#own = [...addresses];
    this.#agreed = undefined;
    this.#tellAt = 0;
  }

  /** Another member's, who is the one that its link says. */
  onAnnounce(from: MemberId, frame: Uint8Array, raft: Raft): void {
    const addresses = decodeAnnounce(frame);
    if (addresses === undefined || raft.role !== "leader") return;
    if (!raft.configuration.members.some(({ id }) => id === from)) return;
    this.#announced.set(from, addresses);
    this.#agreed = undefined;
  }

  /** Once a turn. */
  poll(raft: Raft, now: number): void {
    if (raft.role !== "leader") this.#announced.clear();
    if (raft.configuration === this.#agreed || this.#context.phase !== "open") return;
    if (raft.role === "leader") this.#propose(raft);
    else this.#tell(raft, now);
  }

  #propose(raft: Raft): void {
    const { memberId } = this.#context.identity;
    if (this.#own !== undefined) this.#announced.set(memberId, this.#own);
    for (const [id, clientAddresses] of this.#announced) {
      const recorded = raft.configuration.members.find((member) => member.id === id);
      if (recorded !== undefined && !isSame(recorded.clientAddresses, clientAddresses)) {
        // The next turn in which something was committed or given up tries again.
        if (raft.proposeAddresses(id, { clientAddresses }) !== undefined) return;
      }
      this.#announced.delete(id);
    }
    this.#agreed = raft.configuration;
  }

  #tell(raft: Raft, now: number): void {
    const { identity, options, send } = this.#context;
    const recorded = this.#own === undefined ? undefined : raft.configuration.members.find(({ id }) => id === identity.memberId);
    if (recorded === undefined || isSame(recorded.clientAddresses, this.#own!)) {
      this.#agreed = raft.configuration;
      return;
    }
    if (raft.leader === undefined || (this.#toldTerm === raft.term && now < this.#tellAt)) return;
    this.#toldTerm = raft.term;
    this.#tellAt = now + options.electionTimeoutMs;
    send(raft.leader, "urgent", encodeAnnounce(this.#own!));
  }

  /** When poll() has something to do at the latest. A leader is woken by what it waits for. */
  deadline(raft: Raft): number {
    if (this.#own === undefined || raft.configuration === this.#agreed || this.#context.phase !== "open") return Number.POSITIVE_INFINITY;
    if (raft.role === "leader" || raft.leader === undefined) return Number.POSITIVE_INFINITY;
    return this.#toldTerm === raft.term ? this.#tellAt : 0;
  }
}

function isSame(recorded: readonly string[], wanted: readonly string[]): boolean {
  return recorded.length === wanted.length && recorded.every((address, i) => address === wanted[i]);
}
