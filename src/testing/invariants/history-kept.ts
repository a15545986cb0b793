/**
 * History is compacted no sooner than it may be: because somebody asked for it, because there is too much of it, because a disk has no room,
 * or because it is old by the lease clock. Which revisions may be read and watched is so accounted for, and "compacted" is an answer that must have a reason.
 */
import { CheckFailure } from "../history.ts";
import type { Invariant, MachineView, MemberView } from "./invariant.ts";

export interface HistoryRulesView {
  readonly ms: number;
  readonly revisionsMin: number;
  readonly revisionsMax: number;
  /** Bounds on bytes may take any of it. */
  readonly isBoundByBytes: boolean;
  /** Whether somebody has asked to compact to this revision. */
  isAsked(revision: number): boolean;
  /** Whether some member's disk has been full: it may have let go of any of it, if only by now. */
  wasDiskFull(): boolean;
}

export class HistoryKept implements Invariant {
  /** undefined: nothing is known of what may go. */
  rules: HistoryRulesView | undefined;
  readonly #compacted: { readonly at: number; readonly through: number }[] = [];
  readonly #now: () => number;
  #revision = 1;
  /** By revision: a reading of the lease clock that its entry's is not below. */
  readonly #clocks: number[] = [];
  readonly #lastClock = new WeakMap<MachineView, number>();

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The first revision that some member could still read and that others could not, at a time. */
  readableFrom(at: number): number {
    return (this.#compacted.findLast((one) => one.at <= at)?.through ?? 0) + 1;
  }

  onApplied(_: MemberView, machine: MachineView): void {
    const before = this.#lastClock.get(machine) ?? 0;
    for (; this.#revision < machine.revision; this.#revision++) this.#clocks[this.#revision + 1] = before;
    this.#lastClock.set(machine, machine.clockMs);
    const through = machine.compactRevision;
    if (through <= (this.#compacted.at(-1)?.through ?? 0)) return;
    this.#compacted.push({ at: this.#now(), through });
    this.#check(machine, through);
  }

  #check({ revision, clockMs }: MachineView, through: number): void {
    const { rules } = this;
    if (rules === undefined || rules.isBoundByBytes) return;
    // Revisions go with the next entry, which may have made some.
    if (through <= revision - rules.revisionsMax) return;
    if (rules.isAsked(through + 1) || rules.wasDiskFull()) return;
    const isOld = clockMs - (this.#clocks[through + 1] ?? 0) >= rules.ms && through + 1 <= revision - rules.revisionsMin;
    if (!isOld)
      throw new CheckFailure("history kept", `history through revision ${through} of ${revision} is gone, and nothing says that it may be`);
  }
}
