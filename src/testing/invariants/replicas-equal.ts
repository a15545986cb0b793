/**
 * Every member's data goes through the same changes, and members that have applied the same index hold the same state. Along the way it
 * gathers the changes, from the members' own event logs, into the model that clients' answers are checked against.
 */
import { CheckFailure, type DataChange, type DataEvent, type DataModel } from "../history.ts";
import type { Invariant, MachineView, MemberView } from "./invariant.ts";

/** Indexes at which states are compared: hashing the state costs, so not at each. */
const HASH_EVERY = 16;

export class ReplicasEqual implements Invariant {
  readonly #model: DataModel;
  readonly #hashes = new Map<number, { readonly hash: number; readonly member: string }>();
  /** The last revision compared, of each machine. */
  readonly #seen = new WeakMap<MachineView, number>();

  constructor(model: DataModel) {
    this.#model = model;
  }

  onRevision(member: MemberView, machine: MachineView): void {
    this.#compareChanges(member, machine);
  }

  onApplied(member: MemberView, machine: MachineView): void {
    if (machine.appliedIndex % HASH_EVERY === 0 && !machine.applying) this.compareHashes(member, machine);
  }

  /** Also to be called at the end, when all have applied the same. */
  compareHashes(member: MemberView, machine: MachineView): void {
    const hash = machine.stateHash();
    const other = this.#hashes.get(machine.appliedIndex);
    if (other === undefined) this.#hashes.set(machine.appliedIndex, { hash, member: member.name });
    else if (other.hash !== hash) {
      throw new CheckFailure("replicas equal", `${member.name} and ${other.member} have different states at index ${machine.appliedIndex}`);
    }
  }

  #compareChanges(member: MemberView, machine: MachineView): void {
    const { table } = machine;
    const from = Math.max(this.#seen.get(machine) ?? 0, machine.compactRevision) + 1;
    // Only whole revisions: the machine's own says how far they are.
    let at = table.seekEvent(from);
    let revision = from;
    const fail = (finding: string): never => {
      throw new CheckFailure("replicas equal", `${member.name}: ${finding}`);
    };
    for (; revision <= machine.revision; revision++) {
      const events: DataEvent[] = [];
      for (; at < table.endEvent && table.revision(table.event(at)) === revision; at++) events.push(eventOf(table, at));
      if (revision === 1) continue;
      const known = this.#model.change(revision);
      const change: DataChange = { revision, events };
      if (known === undefined) {
        if (revision !== this.#model.revision + 1) fail(`revision ${revision} appears before ${this.#model.revision + 1}`);
        if (events.length === 0) fail(`revision ${revision} changes nothing`);
        this.#model.apply(change);
      } else if (!sameEvents(known.events, events)) {
        fail(`revision ${revision} is ${JSON.stringify(events)}, elsewhere ${JSON.stringify(known.events)}`);
      }
    }
    this.#seen.set(machine, machine.revision);
  }
}

const decoder = new TextDecoder();

function eventOf(table: MachineView["table"], at: number): DataEvent {
  const ref = table.event(at);
  const key = text(table.key(ref));
  const cause = table.deletionCause(ref);
  return cause === undefined ? { kind: "put", key, value: text(table.value(ref)), cause } : { kind: "delete", key, value: "", cause };
}

/** TextDecoder takes no view of shared memory. */
function text(bytes: Uint8Array): string {
  return decoder.decode(bytes.slice());
}

function sameEvents(one: readonly DataEvent[], other: readonly DataEvent[]): boolean {
  return (
    one.length === other.length &&
    one.every((event, at) => {
      const match = other[at] as DataEvent;
      return event.kind === match.kind && event.key === match.key && event.value === match.value && event.cause === match.cause;
    })
  );
}
