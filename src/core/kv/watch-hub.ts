/**
 * The watches of one node. Watchers that have seen all there is are **synced**: they form one cohort (watch-cohort.ts), at the front of
 * history. Those that asked for the past, or had no credit when something came, catch up: they read history in a few further cohorts, in
 * slices, and join the front when they reach it. Nothing is queued for a watcher: one without credit simply falls behind, and history is
 * its queue. So no watcher holds another back, and what each costs is bounded whatever its reader does.
 *
 * A watcher ends when it is removed, or when history that it still needs is gone: then it is told COMPACTED, or begins anew with all that is
 * there ("reset", watch-reset.ts).
 */
import { assert } from "../assert.ts";
import type { KvMachine } from "./machine.ts";
import { WATCH_OUTPUT_BYTES, WatchCohort, type CohortOutlet } from "./watch-cohort.ts";
import { PART_BOUNDS, type PartBounds } from "./watch-parts.ts";
import { HELD_BYTES_MAX, oldestByNumber, oldestHeld, RESET_BYTES_MAX, RESET_BYTES_MIN, WatchResets } from "./watch-reset.ts";
import { Watcher, WatcherQueue, type WatchOutput, type WatchRequest } from "./watcher.ts";

export { WATCH_OUTPUT_BYTES } from "./watch-cohort.ts";
export { REVISION_PART_EVENTS } from "./watch-parts.ts";
export { RESET_BYTES_MAX } from "./watch-reset.ts";
export type { WatchOutput, WatchRequest } from "./watcher.ts";

/** Records of a reset that are read before the next watcher has its turn. */
const TURN_RECORDS = 256;
/** Cohorts that catch up at a time: each looks at all of history from where it begins. */
export const COHORTS_MAX = 4;
/** A watcher joins a cohort that is this far behind what it wants, rather than have one begun for it. */
const NEAR_EVENTS = 1_024;
/** What all watchers may have been told and not given back, whatever credit each has; but for the least for each. */
export const WATCHES_OWED_BYTES_MAX: number = 16 << 20;
export const WATCH_OWED_BYTES_MIN = 1_024;
/** A revision that is being told in parts is held however large it is, for a reader who takes each part within this time. */
export const AMID_MS_MAX = 30_000;

const NOTHING = new Uint8Array(0);

/** See above. One for each node: it outlives the machine when a snapshot brings a new one. */
export class WatchHub {
  /** Up to where a revision is told whole. Changed by tests and simulations, before anything is watched. */
  readonly partBounds: { -readonly [Name in keyof PartBounds]: PartBounds[Name] } = { ...PART_BOUNDS };
  private machine: KvMachine;
  private readonly watchers: Map<number, Watcher> = new Map();
  /** The synced ones. */
  private front: WatchCohort;
  /** Those that catch up. None is empty. */
  private cohorts: WatchCohort[] = [];
  /** Those in no cohort that can go on: they have credit, or only an end to be told. */
  private readonly waiting: WatcherQueue = new WatcherQueue();
  /** Of those, who need a cohort of their own, and find COHORTS_MAX under way. */
  private readonly early: WatcherQueue = new WatcherQueue();
  private readonly resets: WatchResets;
  /** Those that had no credit between two parts of a revision, and are in no cohort since. */
  private readonly amid: Set<Watcher> = new Set();
  /** The lowest revision of which somebody has been told part and waits for the rest; and how large history was when it became that. */
  private amidRevision = Number.POSITIVE_INFINITY;
  private amidBytes = 0;
  /** Who asked for progress, and is at the front. */
  private readonly progress: Set<Watcher> = new Set();
  private outputs: WatchOutput[] = [];
  private readonly outlet: CohortOutlet;
  /** What all watchers together have been told and have not given back. */
  private owedBytes = 0;
  private exhausted = false;
  private now = 0;

  constructor(machine: KvMachine) {
    this.machine = machine;
    this.resets = new WatchResets(machine);
    this.outlet = {
      hasCredit: (watcher) => this.canBeTold(watcher),
      charge: (watcher, bytes) => this.charge(watcher, bytes),
      left: (watcher) => {
        if (watcher.skip > 0) this.amid.add(watcher);
      },
      tell: (ids, revision, { bytes, count, more }) => {
        this.outputs.push({ ids, kind: "events", revision, bytes, count, reason: undefined, compactRevision: undefined, more });
      },
    };
    this.front = this.cohortAt(machine.revision + 1, 0);
  }

  get count(): number {
    return this.watchers.size;
  }

  /** Another pump() would find work. */
  get behind(): boolean {
    return this.exhausted || this.waiting.size > 0 || this.early.size > 0 || this.cohorts.length > 0;
  }

  /** Registers at once: every event after the answer's revision will be told, or a gap. Gives no credit. */
  add(request: WatchRequest): { readonly revision: number } {
    assert(!this.watchers.has(request.id), "a watch is added once");
    const { revision, compactRevision } = this.machine;
    const next = request.initial ? revision + 1 : (request.fromRevision ?? revision + 1);
    const watcher = new Watcher(request, next);
    this.watchers.set(request.id, watcher);
    if (request.initial) this.resets.begin(watcher, "initial");
    else if (next <= compactRevision) watcher.gap = true;
    this.place(watcher);
    return { revision: next - 1 };
  }

  remove(id: number): void {
    const watcher = this.watchers.get(id);
    if (watcher === undefined) return;
    this.watchers.delete(id);
    this.owedBytes -= watcher.owedBytes;
    this.detach(watcher);
    this.amid.delete(watcher);
    this.resets.end(watcher);
    this.progress.delete(watcher);
  }

  /**
   * Allows so many more bytes of output, of which each costs WATCH_OUTPUT_BYTES and what it holds. An output is whole: the last one may pass
   * the credit, and the next waits until that is paid. While all of them together owe more than WATCHES_OWED_BYTES_MAX, each has credit for
   * WATCH_OWED_BYTES_MIN.
   */
  credit(id: number, bytes: number): void {
    const watcher = this.watchers.get(id);
    if (watcher === undefined) return;
    watcher.creditBytes += bytes;
    const paid = Math.min(bytes, watcher.owedBytes);
    watcher.owedBytes -= paid;
    this.owedBytes -= paid;
    if (watcher.cohort === undefined && watcher.queue === undefined) this.place(watcher);
  }

  hasCredit(id: number): boolean {
    const watcher = this.watchers.get(id);
    return watcher !== undefined && this.canBeTold(watcher);
  }

  /** When the watcher was told something last, by the `now` of pump(). */
  toldAt(id: number): number {
    return this.watchers.get(id)?.toldAt ?? Number.NEGATIVE_INFINITY;
  }

  /** Asks for one "progress" as soon as all that there is now has been told. It comes without credit too, but is charged. */
  requestProgress(id: number): void {
    const watcher = this.watchers.get(id);
    if (watcher === undefined) return;
    watcher.progressAt = this.machine.revision;
    if (watcher.cohort === this.front) this.progress.add(watcher);
  }

  /** The revision from which this hub still wants history, within a bound: freeing waits for it. */
  holds(): number {
    const oldest = oldestHeld(this.machine);
    let wanted = this.front.members.size === 0 ? Number.POSITIVE_INFINITY : this.front.frontier - 1;
    if (wanted < oldest) wanted = Number.POSITIVE_INFINITY;
    for (const cohort of this.cohorts) {
      if (cohort.frontier - 1 >= oldest) wanted = Math.min(wanted, cohort.frontier - 1);
    }
    return Math.min(wanted, this.amidHeld());
  }

  /**
   * One revision may be more than history has room for, and who reads it part by part is to get all of it. What it takes was there when its
   * telling began; what comes on top is bounded as ever, and a reader who takes too long has a gap.
   */
  private amidHeld(): number {
    const { table, history } = this.machine;
    const revision = this.amidRevision - 1;
    const isBounded = table.historyBytes <= this.amidBytes + Math.min(history.bytesMax, HELD_BYTES_MAX);
    return isBounded && revision >= oldestByNumber(this.machine) ? revision : Number.POSITIVE_INFINITY;
  }

  private noteAmid(): void {
    let lowest = Number.POSITIVE_INFINITY;
    for (const cohort of this.cohorts) if (cohort.isAmid) lowest = Math.min(lowest, cohort.frontier);
    if (this.front.isAmid) lowest = Math.min(lowest, this.front.frontier);
    for (const watcher of this.amid) if (this.now - watcher.toldAt <= AMID_MS_MAX) lowest = Math.min(lowest, watcher.next);
    if (lowest === this.amidRevision) return;
    this.amidRevision = lowest;
    this.amidBytes = this.machine.table.historyBytes;
  }

  /** Finds what can be told, looking at about `recordsMax` events. `now` is noted as the time at which it was told. */
  pump(recordsMax: number, now = 0): readonly WatchOutput[] {
    const budget = Math.max(1, recordsMax);
    this.now = now;
    this.outputs = [];
    this.resets.dropLate();
    for (const cohort of [this.front, ...this.cohorts]) this.loseTrack(cohort);
    // A quarter is left for those behind, so that steady writes cannot starve them.
    const isAlone = this.waiting.size === 0 && this.early.size === 0 && this.cohorts.length === 0;
    const share = isAlone ? budget : Math.ceil((budget * 3) / 4);
    const left = this.follow(share);
    if (!isAlone) this.catchUp(left + budget - share);
    this.tellProgress();
    this.noteAmid();
    const { outputs } = this;
    this.outputs = [];
    return outputs;
  }

  /** A snapshot took the state's place: goes on with the new machine, which takes this hub as its own. */
  rebase(machine: KvMachine): void {
    // Of a revision that was under way the rest comes from the new state: each watcher knows how many of its events it is past.
    for (const watcher of this.watchers.values()) this.detach(watcher);
    this.machine = machine;
    machine.watches = this;
    this.resets.rebase(machine);
    this.cohorts = [];
    this.front = this.cohortAt(machine.revision + 1, 0);
    this.amidRevision = Number.POSITIVE_INFINITY;
    this.progress.clear();
    for (const watcher of this.watchers.values()) {
      if (watcher.reset !== undefined) this.resets.begin(watcher, watcher.reset);
      else if (watcher.next <= machine.compactRevision) watcher.gap = true;
      this.place(watcher);
    }
  }

  // Where watchers stand.

  /** Out of cohort and queue. */
  private detach(watcher: Watcher): void {
    watcher.queue?.remove(watcher);
    const { cohort } = watcher;
    if (cohort === undefined) return;
    cohort.leave(watcher);
    if (cohort.members.size === 0) this.cohorts = this.cohorts.filter((other) => other !== cohort);
  }

  /** Puts one that stands nowhere where it belongs: at the front, among those that wait for their turn, or nowhere while it cannot go on. */
  private place(watcher: Watcher): void {
    if (watcher.reset === undefined && !watcher.gap && watcher.next >= this.front.boundary) {
      this.joinFront(watcher);
      return;
    }
    if (this.canBeTold(watcher) || (watcher.gap && watcher.request.onGap === "throw")) this.waiting.push(watcher);
  }

  /** One that may not has been told something that is not given back yet, so that its reader will be heard of. */
  private canBeTold({ creditBytes, owedBytes }: Watcher): boolean {
    return creditBytes > 0 && (this.owedBytes < WATCHES_OWED_BYTES_MAX || owedBytes < WATCH_OWED_BYTES_MIN);
  }

  private charge(watcher: Watcher, bytes: number): void {
    watcher.creditBytes -= bytes;
    watcher.owedBytes += bytes;
    watcher.toldAt = this.now;
    this.owedBytes += bytes;
  }

  private joinFront(watcher: Watcher): void {
    const { front, machine } = this;
    // Nobody was told anything lately: there is no point in looking at what this watcher does not want.
    if (front.members.size === 0) front.moveTo(Math.max(front.boundary, Math.min(watcher.next, machine.revision + 1)));
    this.join(front, watcher);
    if (watcher.progressAt >= 0) this.progress.add(watcher);
  }

  /** History was freed before a cohort had told it. Who wanted it has a gap; the others go on. */
  private loseTrack(cohort: WatchCohort): void {
    const { freedRevision } = this.machine;
    if (cohort.members.size === 0 || cohort.frontier > freedRevision) return;
    for (const watcher of cohort.members) {
      if (watcher.next > freedRevision) continue;
      cohort.leave(watcher);
      watcher.gap = true;
      this.place(watcher);
    }
    cohort.moveTo(freedRevision + 1);
  }

  // Telling.

  /** Tells the synced ones of new events. Answers what is left of the budget. */
  private follow(budget: number): number {
    const { front, machine } = this;
    this.exhausted = false;
    // Beyond the machine's revision lies what a command has done so far: not to be seen until it is whole.
    const limit = machine.revision + 1;
    if (front.members.size === 0) {
      front.moveTo(limit);
      return budget;
    }
    const left = front.advance(limit, budget);
    this.exhausted = left === 0;
    return left;
  }

  private catchUp(budget: number): void {
    const half = this.cohorts.length === 0 ? 0 : Math.ceil(budget / 2);
    this.advanceCohorts(half);
    this.serve(Math.max(1, budget - half));
  }

  /** The one that is nearest to the front has half, so that one after another is done; the rest share the rest. */
  private advanceCohorts(budget: number): void {
    if (this.cohorts.length === 0) return;
    let nearest = this.cohorts[0]!;
    for (const cohort of this.cohorts) if (cohort.frontier > nearest.frontier) nearest = cohort;
    this.advanceCohort(nearest, Math.ceil(budget / 2));
    for (const cohort of this.cohorts) this.advanceCohort(cohort, Math.ceil(budget / 2 / this.cohorts.length));
    this.cohorts = this.cohorts.filter(({ members }) => members.size > 0);
  }

  private advanceCohort(cohort: WatchCohort, budget: number): void {
    if (cohort.members.size === 0) return;
    let left = cohort.advance(this.front.boundary, budget);
    for (const watcher of cohort.members) {
      if (left-- <= 0) return;
      // One that left for want of credit has been taken out already.
      cohort.leave(watcher);
      this.place(watcher);
    }
  }

  /** Gives those that wait their turn, each once. */
  private serve(budgetBefore: number): void {
    let budget = budgetBefore;
    for (let count = this.waiting.size; count > 0 && budget > 0; count--) {
      const watcher = this.waiting.shift()!;
      budget -= this.serveOne(watcher, Math.min(budget, TURN_RECORDS));
    }
    if (this.early.size === 0 || this.cohorts.length >= COHORTS_MAX) return;
    // A place is free: one cohort for all of them.
    const { next, skip } = this.early.furthestBack()!;
    const { freedRevision } = this.machine;
    const cohort = next > freedRevision ? this.begin(next, skip) : this.begin(freedRevision + 1);
    for (let watcher = this.early.shift(); watcher !== undefined; watcher = this.early.shift()) {
      if (watcher.next > freedRevision) this.join(cohort, watcher);
      else this.onGap(watcher);
    }
    this.cohorts = this.cohorts.filter(({ members }) => members.size > 0);
  }

  /** Answers what it cost. */
  private serveOne(watcher: Watcher, budget: number): number {
    if (watcher.reset !== undefined) return this.serveReset(watcher, budget);
    if (watcher.gap || watcher.next <= this.machine.freedRevision) {
      this.onGap(watcher);
      return 1;
    }
    if (watcher.next >= this.front.boundary) {
      this.joinFront(watcher);
      return 1;
    }
    let nearest: WatchCohort | undefined;
    let distance = Number.POSITIVE_INFINITY;
    for (const cohort of this.cohorts) {
      const events = cohort.distanceTo(watcher) ?? Number.POSITIVE_INFINITY;
      if (events >= distance) continue;
      nearest = cohort;
      distance = events;
    }
    if (distance > NEAR_EVENTS && this.cohorts.length < COHORTS_MAX) nearest = this.begin(watcher.next, watcher.skip);
    if (nearest === undefined) this.early.push(watcher);
    else this.join(nearest, watcher);
    return 1;
  }

  private join(cohort: WatchCohort, watcher: Watcher): void {
    this.amid.delete(watcher);
    cohort.join(watcher);
  }

  private begin(revision: number, skip = 0): WatchCohort {
    const cohort = this.cohortAt(revision, skip);
    this.cohorts.push(cohort);
    return cohort;
  }

  private cohortAt(revision: number, skip: number): WatchCohort {
    return new WatchCohort({ machine: this.machine, outlet: this.outlet, bounds: this.partBounds, revision, skip });
  }

  private serveReset(watcher: Watcher, budget: number): number {
    const { reset } = watcher;
    if (!this.resets.canRead(watcher)) {
      this.waiting.push(watcher);
      return 1;
    }
    const hasRoom = this.owedBytes < WATCHES_OWED_BYTES_MAX;
    const part = this.resets.step(watcher, { records: budget, bytesMax: hasRoom ? RESET_BYTES_MAX : RESET_BYTES_MIN });
    if (part === undefined) {
      this.waiting.push(watcher);
      return budget;
    }
    const { revision, kvs, count, more } = part;
    this.charge(watcher, kvs.length + WATCH_OUTPUT_BYTES);
    this.outputs.push({
      ids: [watcher.request.id],
      kind: "reset",
      revision,
      bytes: kvs,
      count,
      reason: reset,
      compactRevision: undefined,
      more,
    });
    // Without credit it waits here, too.
    this.place(watcher);
    return budget;
  }

  private onGap(watcher: Watcher): void {
    watcher.gap = false;
    this.amid.delete(watcher);
    if (watcher.request.onGap === "reset") {
      this.resets.begin(watcher, "compacted");
      this.place(watcher);
      return;
    }
    this.outputs.push({
      ids: [watcher.request.id],
      kind: "ended",
      revision: watcher.next - 1,
      bytes: NOTHING,
      count: 0,
      reason: undefined,
      compactRevision: this.machine.compactRevision,
      more: false,
    });
    this.remove(watcher.request.id);
  }

  /** Those at the front have been told everything below its frontier. */
  private tellProgress(): void {
    if (this.progress.size === 0) return;
    const { front, machine } = this;
    const byRevision = new Map<number, number[]>();
    for (const watcher of this.progress) {
      if (watcher.cohort !== front) {
        this.progress.delete(watcher); // It asks again when it is back.
        continue;
      }
      const next = front.nextOf(watcher);
      // Nor between two parts of a revision.
      if (next <= watcher.progressAt || front.isAmidRevision(watcher)) continue;
      this.progress.delete(watcher);
      watcher.progressAt = -1;
      this.charge(watcher, WATCH_OUTPUT_BYTES);
      const revision = Math.min(next - 1, machine.revision);
      const ids = byRevision.get(revision);
      if (ids === undefined) byRevision.set(revision, [watcher.request.id]);
      else ids.push(watcher.request.id);
    }
    for (const [revision, ids] of byRevision) {
      this.outputs.push({
        ids,
        kind: "progress",
        revision,
        bytes: NOTHING,
        count: 0,
        reason: undefined,
        compactRevision: undefined,
        more: false,
      });
    }
  }
}
