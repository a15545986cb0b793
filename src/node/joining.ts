/**
 * What a member that waits for its cluster says of it, in its application's log: whom it waits for, every few seconds, since nothing else would tell;
 * and, once for each, who was told another founding list. It decides nothing.
 */
import type { MemberId } from "../core/raft/configuration.ts";
import type { Timer } from "../host/clock.ts";
import { FOUNDING_LIST_MAX, foundingList, foundingMembers } from "./founding.ts";
import type { NodeContext } from "./node-context.ts";

const TELL_MS = 5_000;
/** Others that were told of, by what they said; beyond it nothing is added. */
const TOLD_MAX = 2 * FOUNDING_LIST_MAX;

export class Joining {
  readonly #context: NodeContext;
  readonly #log: (level: "info" | "warn", message: string, fields: Readonly<Record<string, string>>) => void;
  readonly #linked = new Set<MemberId>();
  readonly #told = new Set<string>();
  #timer: Timer | undefined;

  constructor(context: NodeContext) {
    this.#context = context;
    this.#log = (level, message, fields) => context.post({ kind: "log", level, message, fields });
  }

  /** The cluster is yet to be founded. */
  begin(): void {
    const next = (): void => {
      this.#timer = this.#context.environment.clock.setTimer(TELL_MS, () => {
        this.#tell();
        next();
      });
    };
    next();
  }

  /** It is, or the node ends. */
  end(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  onUp(peer: MemberId): void {
    this.#linked.add(peer);
  }

  onDown(peer: MemberId): void {
    this.#linked.delete(peer);
  }

  #tell(): void {
    const { identity, wake } = this.#context;
    const members = foundingMembers(identity);
    const missing = members.filter(({ id }) => id !== identity.memberId && !this.#linked.has(id));
    const [founder] = members;
    const waitsFor =
      missing.length > 0
        ? missing.map(({ name, address }) => `${name} at ${address}`).join(", ")
        : founder?.id === identity.memberId
          ? "the disks of all members"
          : `${founder?.name}, the founder, which waits for all`;
    this.#log("info", "waits for its cluster, which is founded once all its members are up", { waitsFor, members: foundingList(identity) });
    wake();
  }

  /** Somebody who called this member, or was called by it, is of another cluster. */
  onOtherCluster(name: string, reason: string): void {
    const { identity, raft, wake } = this.#context;
    const key = `${name} ${reason}`;
    if (identity.bootstrap === undefined || this.#told.has(key) || this.#told.size >= TOLD_MAX) return;
    this.#told.add(key);
    const message = raft === undefined ? "another member was given another founding list" : "a member of another cluster was met";
    this.#log("warn", message, { name: identity.name, members: foundingList(identity), other: name, otherSays: reason });
    wake();
  }
}
