/**
 * How a cluster of several members begins. Nothing is recorded yet that could tell a member from one whose disk was wiped in between,
 * so nobody votes before the founding configuration, which names every member's incarnation, is on the disks of all of them:
 *
 *   1. Each member tells the founder (the first of the sorted founding list) its incarnation.
 *   2. The founder, having heard from all, puts the configuration on its disk and proposes it.
 *   3. Each member puts it on its disk and accepts. A member whose incarnation changed meanwhile makes the founder begin again.
 *   4. The founder, having been accepted by all, records that the cluster is active, and says so; so does any active member when asked.
 *
 * All must be up once, here, and never again. A founder that was wiped later finds members with a cluster and is refused by them.
 *
 * Whoever is wiped before the end begins anew with the others, the founder included. That no two foundings come into force rests on this:
 *
 *   * A founding that is accepted later takes the place of an earlier one, on every disk and in the log that was begun for it (recovery.ts);
 *     the founder numbers them, so that one that arrives late is not taken for the later one.
 *   * A founder that was wiped, A2, proposes when it has heard from all. Nobody who has greeted A2 becomes active by what A1 had said, for none
 *     of it was taken before, or the greeting would not have been sent, and none is taken after: it names another disk than the one that was
 *     greeted. Nor does it later: A1 is gone, and no other is active who could tell. So what A1 may have decided is in force nowhere.
 *
 * A cluster that begins with a backup is founded likewise: each member has restored it, and the cluster's id tells which one it was.
 */
import type { MemberId, MemberRecord } from "../core/raft/configuration.ts";
import type { SnapshotMeta } from "../core/raft/message.ts";
import { asEngineError, EngineError } from "../errors.ts";
import type { Clock, Timer } from "../host/clock.ts";
import { bootstrapMemberId, type Identity, type RestoredBackup } from "./identity.ts";
import { decodeFounding, encodeFounding, type FoundingFrame } from "./peer-frames.ts";

export interface FoundingOptions {
  readonly identity: Identity;
  readonly clock: Clock;
  readonly intervalMs: number;
  send(to: MemberId, frame: readonly Uint8Array[]): void;
  /** Resolves when it is on disk. */
  save(identity: Identity): Promise<void>;
  onActive(identity: Identity): void;
  onRefused(error: EngineError): void;
}

/** Members that a cluster may be founded with. */
export const FOUNDING_LIST_MAX = 64;
/** Of the text of a founding list. */
const LIST_LENGTH_MAX = 400;

/** The founding list as a text for people, cut where it is long. */
export function foundingList(identity: Identity): string {
  const text = foundingMembers(identity)
    .map(({ name, address }) => `${name}=${address}`)
    .join(", ");
  return text.length > LIST_LENGTH_MAX ? `${text.slice(0, LIST_LENGTH_MAX)}...` : text;
}

/** The founding list as members, sorted by name; the first is the founder. */
export function foundingMembers(identity: Identity): readonly { readonly id: MemberId; readonly name: string; readonly address: string }[] {
  return Object.entries(identity.bootstrap ?? {})
    .map(([name, address]) => ({ id: bootstrapMemberId(identity.clusterId, name), name, address }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The beginning of a log: nothing in it but a backup, if it begins with one, and who takes part. */
export function foundingMeta(members: readonly MemberRecord[], restored?: RestoredBackup): SnapshotMeta {
  const sorted = [...members].sort((a, b) => (a.id < b.id ? -1 : 1));
  return {
    lastIncludedIndex: restored?.index ?? 1,
    lastIncludedTerm: 1,
    clockMs: restored?.clockMs ?? 0,
    configuration: { incoming: sorted.map(({ id }) => id), outgoing: [], learners: [], learnersNext: [], members: sorted },
  };
}

function fingerprint(meta: SnapshotMeta): string {
  const { lastIncludedIndex, clockMs, configuration } = meta;
  return `${lastIncludedIndex} ${clockMs} ${configuration.members.map(({ id, incarnation }) => `${id}:${incarnation}`).join(" ")}`;
}

function incarnationIn({ configuration }: SnapshotMeta, member: MemberId): string | undefined {
  return configuration.members.find(({ id }) => id === member)?.incarnation;
}

/** Whether two foundings are of the same disks, and begin with the same. */
export function isSameFounding(one: SnapshotMeta, other: SnapshotMeta): boolean {
  return fingerprint(one) === fingerprint(other);
}

export class Founding {
  readonly #options: FoundingOptions;
  readonly #members: ReturnType<typeof foundingMembers>;
  readonly #founder: MemberId;
  readonly #heard = new Map<MemberId, string>();
  readonly #accepted = new Set<MemberId>();
  #identity: Identity;
  #saving = false;
  #activating = false;
  /** By member: the incarnation of the process that this one has a link to. */
  readonly #linked = new Map<MemberId, string>();
  #timer: Timer | undefined;
  #done = false;

  constructor(options: FoundingOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#members = foundingMembers(options.identity);
    this.#founder = this.#members[0]!.id;
    this.#tick();
  }

  close(): void {
    this.#done = true;
    this.#timer?.cancel();
  }

  /** A link to a member is up: what this member says from now on is said to that incarnation of it. */
  onUp(peer: MemberId, incarnation: string): void {
    this.#linked.set(peer, incarnation);
  }

  onFrame(from: MemberId, frame: Uint8Array): void {
    const message = decodeFounding(frame);
    if (message === undefined || this.#done || !this.#members.some(({ id }) => id === from)) return;
    if (message.step === "hello") this.#onHello(from, message);
    else if (message.step === "propose") this.#onPropose(from, message);
    else if (message.step === "accepted") this.#onAccepted(from, message.founding);
    else this.#onActivate(from, message.founding);
  }

  get #isFounder(): boolean {
    return this.#identity.memberId === this.#founder;
  }

  #tick(): void {
    if (this.#done) return;
    const { memberId, incarnation, phase, founding, foundingRound: round } = this.#identity;
    for (const { id } of this.#members) {
      if (id === memberId) continue;
      // A greeting says that what the founder decides is still waited for.
      const greets = (!this.#isFounder || phase === "pending") && !this.#activating;
      if (greets) this.#options.send(id, encodeFounding({ step: "hello", incarnation, phase }));
      if (this.#isFounder && founding !== undefined && round !== undefined && !this.#saving && !this.#accepted.has(id)) {
        this.#options.send(id, encodeFounding({ step: "propose", founding, round }));
      }
    }
    this.#timer = this.#options.clock.setTimer(this.#options.intervalMs, () => this.#tick());
  }

  #onHello(from: MemberId, hello: FoundingFrame & { readonly step: "hello" }): void {
    if (!this.#isFounder) return;
    if (hello.phase === "active") {
      const refusal = new EngineError(
        "INCOMPATIBLE",
        "the other members already have a cluster, and this data directory is not of it: a member whose disk was lost must be replaced, not founded again",
        { what: "founding", found: "an existing cluster", supported: "a new one" },
      );
      this.close();
      this.#options.onRefused(refusal);
      return;
    }
    if (this.#heard.get(from) !== hello.incarnation) this.#accepted.delete(from);
    this.#heard.set(from, hello.incarnation);
    this.#propose();
  }

  /** Founder: once everyone is known, the configuration goes to the founder's own disk first. */
  #propose(): void {
    if (this.#saving || this.#heard.size < this.#members.length - 1) return;
    const { memberId, incarnation, founding, foundingRound = 0 } = this.#identity;
    const next = foundingMeta(
      this.#members.map(({ id, name, address }) => ({
        id,
        name,
        peerAddress: address,
        clientAddresses: [],
        incarnation: id === memberId ? incarnation : this.#heard.get(id)!,
        promotable: false,
      })),
      this.#identity.restored,
    );
    if (founding !== undefined && isSameFounding(founding, next)) return;
    this.#accepted.clear();
    const round = foundingRound + 1;
    this.#save({ ...this.#identity, phase: "pending", founding: next, foundingRound: round }, () => {
      for (const { id } of this.#members)
        if (id !== memberId) this.#options.send(id, encodeFounding({ step: "propose", founding: next, round }));
      this.#propose();
    });
  }

  #onPropose(from: MemberId, { founding, round }: FoundingFrame & { readonly step: "propose" }): void {
    const { memberId, incarnation } = this.#identity;
    if (from !== this.#founder || this.#isFounder || this.#saving || this.#isOfAnotherDisk(from, founding)) return;
    const own = founding.configuration.members.find(({ id }) => id === memberId);
    // Meant for the one that had this name before its disk was wiped: the founder hears of ours and begins again.
    if (own?.incarnation !== incarnation) return;
    // Cannot be while the cluster's id tells which backup all begin with; where it were so, the states would differ.
    const { restored } = this.#identity;
    if (founding.lastIncludedIndex !== (restored?.index ?? 1) || founding.clockMs !== (restored?.clockMs ?? 0)) return;
    const accept = (): void => this.#options.send(from, encodeFounding({ step: "accepted", founding }));
    const { founding: mine, foundingRound = 0 } = this.#identity;
    if (mine !== undefined && isSameFounding(mine, founding)) return accept();
    // Late, and another has taken its place: to go back to it would take the later one off this disk, which may count on it.
    if (mine !== undefined && incarnationIn(mine, from) === incarnationIn(founding, from) && round <= foundingRound) return;
    this.#save({ ...this.#identity, phase: "pending", founding, foundingRound: round }, accept);
  }

  /** It was said before the sender's disk was wiped, and the sender that there is now has been greeted. */
  #isOfAnotherDisk(from: MemberId, founding: SnapshotMeta): boolean {
    const linked = this.#linked.get(from);
    return linked !== undefined && incarnationIn(founding, from) !== linked;
  }

  #onAccepted(from: MemberId, founding: SnapshotMeta): void {
    const mine = this.#identity.founding;
    if (!this.#isFounder || this.#saving || mine === undefined || !isSameFounding(mine, founding)) return;
    this.#accepted.add(from);
    if (this.#accepted.size < this.#members.length - 1) return;
    this.#activate();
  }

  #onActivate(from: MemberId, founding: SnapshotMeta): void {
    const mine = this.#identity.founding;
    if (this.#saving || mine === undefined || !isSameFounding(mine, founding)) return;
    if (this.#isOfAnotherDisk(from, founding)) return;
    this.#activate();
  }

  #activate(): void {
    this.#activating = true;
    this.#save({ ...this.#identity, phase: "active" }, () => {
      const { memberId, founding } = this.#identity;
      if (this.#isFounder) {
        for (const { id } of this.#members)
          if (id !== memberId) this.#options.send(id, encodeFounding({ step: "activate", founding: founding! }));
      }
      this.close();
      this.#options.onActive(this.#identity);
    });
  }

  #save(identity: Identity, then: () => void): void {
    this.#saving = true;
    this.#options.save(identity).then(
      () => {
        this.#saving = false;
        if (this.#done) return;
        this.#identity = identity;
        then();
      },
      (error: unknown) => {
        this.close();
        this.#options.onRefused(asEngineError(error));
      },
    );
  }
}

/** What an active member answers to one that does not know yet that the cluster is. */
export function answerFounding(identity: Identity, frame: Uint8Array): readonly Uint8Array[] | undefined {
  const message = decodeFounding(frame);
  if (message?.step !== "hello" || identity.founding === undefined) return undefined;
  if (message.phase !== "active") return encodeFounding({ step: "activate", founding: identity.founding });
  return undefined;
}
