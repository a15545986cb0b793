/**
 * A cluster begins once: whoever becomes active, and so may vote, does it by a founding that has lain on the disks of all that it names, and no two that are
 * active with a disk of their own do it by different ones. Nobody who is not active says anything of Raft.
 */
import type { Message } from "../../core/raft/message.ts";
import type { Identity } from "../../node/identity.ts";
import { CheckFailure } from "../history.ts";
import type { Invariant, MemberView, RaftView } from "./invariant.ts";

export class OneFounding implements Invariant {
  /** By founding: on whose disks it has been. */
  readonly #holders = new Map<string, Set<string>>();
  /** By member: the founding that the member is active by. */
  readonly #active = new Map<string, string>();
  /** The founding under which leaders were elected. */
  #led: string | undefined;

  onIdentity(member: MemberView, { founding, phase }: Identity): void {
    if (founding === undefined) return;
    const { members } = founding.configuration;
    const name = members.map(({ id, incarnation }) => `${id}:${incarnation}`).join(" ");
    const holders = this.#holders.get(name) ?? new Set<string>();
    this.#holders.set(name, holders);
    holders.add(member.id);
    if (phase !== "active" || this.#active.get(member.id) === name) return;
    const missing = members.filter(({ id }) => !holders.has(id));
    if (missing.length > 0)
      throw new CheckFailure("one founding", `${member.name} is active, and the founding was never on the disk of ${missing[0]?.name}`);
    for (const [other, theirs] of this.#active) {
      if (other !== member.id && theirs !== name)
        throw new CheckFailure("one founding", `${member.name} is active by ${name}, and ${other} by ${theirs}`);
    }
    this.#active.set(member.id, name);
  }

  onWiped(member: MemberView): void {
    this.#active.delete(member.id);
  }

  onSend(member: MemberView, message: Message): void {
    if (!this.#active.has(member.id)) throw new CheckFailure("one founding", `${member.name} says ${message.kind} and is not active`);
  }

  onRole(member: MemberView, raft: RaftView): void {
    const founding = this.#active.get(member.id);
    if (founding === undefined) throw new CheckFailure("one founding", `${member.name} takes part and is not active`);
    if (raft.role !== "leader") return;
    this.#led ??= founding;
    if (this.#led !== founding)
      throw new CheckFailure("one founding", `term ${raft.term} is led under ${founding}, others under ${this.#led}`);
  }
}
