/**
 * The watches of one node. Watchers are of two sorts. Those that have seen all there is are **synced**: each new event is matched once, by
 * an index of intervals, and packed once for all watchers that want it alike. Those that are **behind** (they asked for the past, or gave
 * no credit when an event came) read on from history by themselves, in slices, and hold nobody back. Nothing is queued for a watcher: one
 * without credit simply falls behind, and history is its queue.
 *
 * A watcher ends when it is removed, or when history that it still needs is gone: then it is told COMPACTED, or begins anew with all that is
 * there ("reset"). All events of one revision are in one output, in the order of the operations.
 */
import { assert } from "../assert.ts";
import { ByteWriter, contains, keyAfter } from "./bytes.ts";
import { IntervalIndex } from "./interval-index.ts";
import type { KvMachine } from "./machine.ts";
import { decodeKv } from "./packed-kv.ts";
import type { RecordRef } from "./table.ts";
import { writeWatchEvent } from "./watch-event.ts";
import { Watcher, type Audience, type ResetReason, type WatchOutput, type WatchRequest } from "./watcher.ts";

export type { ResetReason, WatchOutput, WatchRequest } from "./watcher.ts";

/** What an output costs its watcher beside its bytes. Credit that is given back counts it too. */
export const WATCH_OUTPUT_BYTES = 64;
/** A reset is one output up to this size, and parts of about this size beyond. */
export const RESET_BYTES_MAX = 16_777_216;
/** Records that a watcher which is behind reads before the next one has its turn. */
const TURN_RECORDS = 256;
/** History that lagging readers of this hub may hold back, as a multiple of its limits. */
const HELD_HISTORIES_MAX = 2;

const NOTHING = new Uint8Array(0);

/** See above. One for each node: it outlives the machine when a snapshot brings a new one. */
export class WatchHub {
  private machine: KvMachine;
  private readonly watchers: Map<number, Watcher> = new Map();
  private readonly index: IntervalIndex<Audience[]> = new IntervalIndex();
  private synced = 0;
  /** Those behind that can go on: they have credit, or only an end to be told. */
  private queue: Watcher[] = [];
  private readonly resetting: Set<Watcher> = new Set();
  private readonly progress: Set<Watcher> = new Set();
  /** The event that synced watchers are told next, and the revision it belongs to while that is under way, else 0. */
  private position: number;
  private underWay = 0;
  /** Of `underWay`: where it began. */
  private underWayFrom = 0;
  /** Synced watchers have been told everything below it. */
  private nextRevision: number;
  private touched: Audience[] = [];
  private hits: Audience[][] = [];
  private outputs: WatchOutput[] = [];
  private exhausted = false;

  constructor(machine: KvMachine) {
    this.machine = machine;
    this.nextRevision = machine.revision + 1;
    this.position = machine.table.seekEvent(this.nextRevision);
  }

  get count(): number {
    return this.watchers.size;
  }

  /** Another pump() would find work. */
  get behind(): boolean {
    return this.exhausted || this.queue.length > 0;
  }

  /** Registers at once: every event after the answer's revision will be told, or a gap. Gives no credit. */
  add(request: WatchRequest): { readonly revision: number } {
    assert(!this.watchers.has(request.id), "a watch is added once");
    const { machine } = this;
    const { revision, compactRevision } = machine;
    const next = request.initial ? revision + 1 : (request.fromRevision ?? revision + 1);
    const watcher = new Watcher(request, next);
    this.watchers.set(request.id, watcher);
    if (request.initial) {
      this.beginReset(watcher, "initial");
    } else if (next <= compactRevision) {
      watcher.gap = true;
      this.enqueue(watcher);
    } else if (next >= this.boundary()) {
      this.join(watcher);
    }
    return { revision: next - 1 };
  }

  remove(id: number): void {
    const watcher = this.watchers.get(id);
    if (watcher === undefined) return;
    this.watchers.delete(id);
    this.leave(watcher);
    this.endReset(watcher);
    this.progress.delete(watcher);
    if (watcher.queued) this.queue = this.queue.filter((other) => other !== watcher);
  }

  /**
   * Allows so many more bytes of output, of which each costs WATCH_OUTPUT_BYTES and what it holds. An output is whole: the last one may pass
   * the credit, and the next waits until that is paid.
   */
  credit(id: number, bytes: number): void {
    const watcher = this.watchers.get(id);
    if (watcher === undefined) return;
    watcher.creditBytes += bytes;
    if (watcher.audience === undefined) this.enqueue(watcher);
  }

  /** Asks for one "progress" as soon as all that there is now has been told. It comes without credit too. */
  requestProgress(id: number): void {
    const watcher = this.watchers.get(id);
    if (watcher === undefined) return;
    watcher.progressAt = this.machine.revision;
    this.progress.add(watcher);
  }

  /** The revision from which this hub still wants history, within a bound: freeing waits for it. */
  holds(): number {
    const { machine } = this;
    const { revisionsMax, bytesMax } = machine.history;
    if (this.synced === 0) return Number.POSITIVE_INFINITY;
    const wanted = (this.underWay > 0 ? this.underWay : this.nextRevision) - 1;
    const isHeldTooLong =
      machine.revision - wanted > HELD_HISTORIES_MAX * revisionsMax || machine.table.historyBytes > HELD_HISTORIES_MAX * bytesMax;
    return isHeldTooLong ? Number.POSITIVE_INFINITY : wanted;
  }

  /** Finds what can be told, looking at about `recordsMax` events. */
  pump(recordsMax: number): readonly WatchOutput[] {
    const budget = Math.max(1, recordsMax);
    this.outputs = [];
    this.dropLateResets();
    // A quarter is left for those behind, so that steady writes cannot starve them.
    const left =
      this.dispatch(this.queue.length === 0 ? budget : Math.ceil((budget * 3) / 4)) + (this.queue.length === 0 ? 0 : budget >>> 2);
    this.catchUp(left);
    this.tellProgress();
    const { outputs } = this;
    this.outputs = [];
    return outputs;
  }

  /** A snapshot took the state's place: goes on with the new machine, which takes this hub as its own. */
  rebase(machine: KvMachine): void {
    for (const watcher of this.watchers.values()) {
      // Of a revision that was under way nothing has been told: it comes again, whole, from the new state.
      watcher.next = this.effectiveNext(watcher);
      this.leave(watcher);
    }
    this.dropUnderWay();
    this.machine = machine;
    machine.watches = this;
    this.nextRevision = machine.revision + 1;
    this.position = machine.table.seekEvent(this.nextRevision);
    for (const watcher of this.watchers.values()) {
      watcher.packed = undefined;
      watcher.position = -1;
      if (watcher.reset !== undefined) {
        const reason = watcher.reset;
        this.endReset(watcher);
        this.beginReset(watcher, reason);
      } else if (watcher.next <= machine.compactRevision) {
        watcher.gap = true;
        this.enqueue(watcher);
      } else if (watcher.next >= this.nextRevision) {
        this.join(watcher);
      } else {
        this.enqueue(watcher);
      }
    }
  }

  // Synced watchers.

  /** The first revision of which synced watchers have been told nothing yet. Who is at it or beyond may join them. */
  private boundary(): number {
    return this.underWay > 0 ? this.underWay + 1 : this.nextRevision;
  }

  private join(watcher: Watcher): void {
    const { interval, prevKv, only } = watcher.request;
    let audiences = this.index.get(interval);
    if (audiences === undefined) {
      audiences = [];
      this.index.add(interval, audiences);
    }
    let audience = audiences.find((other) => other.prevKv === prevKv && other.only === only);
    if (audience === undefined) {
      audience = { interval, prevKv, only, watchers: [], packed: undefined, count: 0 };
      audiences.push(audience);
    }
    if (this.synced === 0) {
      // Nobody was told anything lately: there is no point in looking at what this watcher does not want.
      this.dropUnderWay();
      this.nextRevision = Math.max(this.nextRevision, Math.min(watcher.next, this.machine.revision + 1));
      this.position = this.machine.table.seekEvent(this.nextRevision);
    }
    watcher.audience = audience;
    watcher.at = audience.watchers.length;
    watcher.position = -1;
    audience.watchers.push(watcher);
    this.synced++;
  }

  private leave(watcher: Watcher): void {
    const { audience } = watcher;
    if (audience === undefined) return;
    this.synced--;
    watcher.audience = undefined;
    const last = audience.watchers.pop()!;
    if (last !== watcher) {
      audience.watchers[watcher.at] = last;
      last.at = watcher.at;
    }
    if (audience.watchers.length > 0) return;
    const audiences = this.index.get(audience.interval)!;
    audiences.splice(audiences.indexOf(audience), 1);
    if (audiences.length === 0) this.index.remove(audience.interval);
  }

  /** Tells synced watchers of new events. Answers what is left of the budget. */
  private dispatch(budgetBefore: number): number {
    const { machine } = this;
    const { table } = machine;
    let budget = budgetBefore;
    this.exhausted = false;
    if (this.synced > 0 && (this.underWay > 0 ? this.underWay : this.nextRevision) <= machine.freedRevision) this.loseTrack();
    if (this.synced === 0) {
      this.dropUnderWay();
      this.nextRevision = machine.revision + 1;
      this.position = table.seekEvent(this.nextRevision);
      return budget;
    }
    for (;;) {
      const ref = this.position < table.endEvent ? table.event(this.position) : 0;
      const revision = ref === 0 ? Number.POSITIVE_INFINITY : table.revision(ref);
      if (this.underWay > 0 && revision !== this.underWay) budget -= this.closeRevision();
      // Beyond the machine's revision lies what a command has done so far: not to be seen until it is whole.
      if (revision > machine.revision) {
        this.nextRevision = machine.revision + 1;
        return Math.max(0, budget);
      }
      if (budget <= 0) {
        this.exhausted = true;
        return 0;
      }
      if (this.underWay === 0) {
        this.underWay = revision;
        this.underWayFrom = this.position;
      }
      this.match(ref);
      this.position++;
      budget--;
    }
  }

  private match(ref: RecordRef): void {
    const { table } = this.machine;
    const { hits } = this;
    hits.length = 0;
    this.index.collect(table.key(ref), hits);
    if (hits.length === 0) return;
    const isDeletion = table.version(ref) === 0;
    for (const audiences of hits) {
      for (const audience of audiences) {
        if (audience.only !== undefined && (audience.only === "deletes") !== isDeletion) continue;
        if (audience.packed === undefined) {
          audience.packed = new ByteWriter(128);
          audience.count = 0;
          this.touched.push(audience);
        }
        writeWatchEvent(audience.packed, table, ref, audience.prevKv);
        audience.count++;
      }
    }
  }

  /** The revision under way is whole: hands it out. Answers how many outputs that made. */
  private closeRevision(): number {
    const revision = this.underWay;
    let told = 0;
    for (const audience of this.touched) {
      const bytes = audience.packed!.written();
      const { count } = audience;
      audience.packed = undefined;
      // From the last one on, since who falls behind leaves its place to the last.
      for (let at = audience.watchers.length - 1; at >= 0; at--) {
        const watcher = audience.watchers[at]!;
        if (watcher.next > revision) continue;
        if (watcher.creditBytes > 0) {
          this.tell(watcher, "events", revision, bytes, count);
          told++;
        } else {
          this.leave(watcher);
          watcher.next = revision;
          watcher.position = this.underWayFrom;
        }
      }
    }
    this.touched.length = 0;
    this.nextRevision = revision + 1;
    this.underWay = 0;
    return told;
  }

  /** History was freed before synced watchers were told of it: nobody asked this hub in time. They are all behind now. */
  private loseTrack(): void {
    const next = this.underWay > 0 ? this.underWay : this.nextRevision;
    this.dropUnderWay();
    for (const watcher of this.watchers.values()) {
      if (watcher.audience === undefined || watcher.next > this.machine.freedRevision) continue;
      watcher.next = Math.max(watcher.next, next);
      this.leave(watcher);
      this.enqueue(watcher);
    }
    this.nextRevision = this.machine.freedRevision + 1;
    this.position = this.machine.table.seekEvent(this.nextRevision);
  }

  private dropUnderWay(): void {
    for (const audience of this.touched) audience.packed = undefined;
    this.touched.length = 0;
    this.underWay = 0;
  }

  // Watchers that are behind.

  private enqueue(watcher: Watcher): void {
    const canGoOn = watcher.creditBytes > 0 || (watcher.gap && watcher.request.onGap === "throw");
    if (watcher.queued || !canGoOn) return;
    watcher.queued = true;
    this.queue.push(watcher);
  }

  private catchUp(budgetBefore: number): void {
    let budget = budgetBefore;
    while (budget > 0 && this.queue.length > 0) {
      // A round over those queued now: who is not done waits for the next.
      const round = this.queue;
      this.queue = [];
      for (let i = 0; i < round.length; i++) {
        const watcher = round[i]!;
        if (budget <= 0) {
          this.queue = this.queue.concat(round.slice(i));
          return;
        }
        watcher.queued = false;
        budget -= this.serve(watcher, Math.min(budget, TURN_RECORDS));
      }
    }
  }

  /** One turn of a watcher that is behind. Answers what it cost. */
  private serve(watcher: Watcher, budget: number): number {
    if (watcher.audience !== undefined) return 0;
    if (watcher.reset !== undefined) return this.readReset(watcher, budget);
    if (watcher.gap || watcher.next <= this.machine.freedRevision) {
      this.onGap(watcher);
      return 1;
    }
    const { table, revision } = this.machine;
    if (watcher.position < 0) watcher.position = table.seekEvent(watcher.next);
    for (let looked = 0; ; looked++) {
      const ref = watcher.position < table.endEvent ? table.event(watcher.position) : 0;
      const at = ref === 0 ? Number.POSITIVE_INFINITY : table.revision(ref);
      if (at !== watcher.next && watcher.packed !== undefined) {
        const bytes = watcher.packed.written();
        watcher.packed = undefined;
        this.tell(watcher, "events", watcher.next, bytes, watcher.count);
        watcher.next++;
      }
      watcher.next = Math.max(watcher.next, Math.min(at, revision + 1));
      if (watcher.packed === undefined && watcher.next >= this.boundary()) {
        this.join(watcher);
        return looked;
      }
      if (watcher.creditBytes <= 0) return looked;
      if (looked >= budget) {
        this.enqueue(watcher);
        return looked;
      }
      // Not the end of what is whole: that lies at the boundary or beyond it, where this watcher has joined.
      this.look(watcher, ref);
      watcher.position++;
    }
  }

  private look(watcher: Watcher, ref: RecordRef): void {
    const { table } = this.machine;
    const { interval, only, prevKv } = watcher.request;
    if (only !== undefined && (only === "deletes") !== (table.version(ref) === 0)) return;
    if (!contains(interval, table.key(ref))) return;
    if (watcher.packed === undefined) {
      watcher.packed = new ByteWriter(128);
      watcher.count = 0;
    }
    writeWatchEvent(watcher.packed, table, ref, prevKv);
    watcher.count++;
  }

  private onGap(watcher: Watcher): void {
    watcher.gap = false;
    watcher.packed = undefined;
    if (watcher.request.onGap === "reset") {
      this.beginReset(watcher, "compacted");
      return;
    }
    this.tell(watcher, "ended", watcher.next - 1, new Uint8Array(0), 0);
    this.remove(watcher.request.id);
  }

  // Resets.

  private beginReset(watcher: Watcher, reason: ResetReason): void {
    watcher.reset = reason;
    watcher.pin = this.machine.pin();
    watcher.next = this.machine.revision + 1;
    watcher.position = -1;
    this.resetting.add(watcher);
    this.enqueue(watcher);
  }

  private endReset(watcher: Watcher): void {
    if (watcher.reset === undefined) return;
    this.resetting.delete(watcher);
    watcher.reset = undefined;
    watcher.reading?.cancel();
    watcher.reading = undefined;
    watcher.resetFrom = undefined;
    watcher.pin?.release();
    watcher.pin = undefined;
  }

  private readReset(watcher: Watcher, budget: number): number {
    const { machine } = this;
    const { interval } = watcher.request;
    if (watcher.pin === undefined) {
      // It was late, or there was no pin to be had: from what is there now.
      const { reset } = watcher;
      this.endReset(watcher);
      this.beginReset(watcher, reset!);
      if (watcher.pin === undefined) return 1;
    }
    const { revision } = watcher.pin;
    watcher.reading ??= machine.range(
      {
        interval: { start: watcher.resetFrom ?? interval.start, end: interval.end },
        limit: 0,
        order: "ascending",
        sortBy: "key",
        keysOnly: false,
        countOnly: false,
        revision,
      },
      { bytesMax: RESET_BYTES_MAX },
    );
    if (!watcher.reading.step(budget)) {
      this.enqueue(watcher);
      return budget;
    }
    const part = watcher.reading.result();
    watcher.reading = undefined;
    assert(!("refused" in part), "a pinned revision can be read");
    this.tell(watcher, "reset", revision, part.kvs, part.returned, part.more);
    if (part.more) {
      watcher.resetFrom = keyAfter(lastKey(part.kvs, part.returned));
    } else {
      this.endReset(watcher);
      watcher.next = revision + 1;
    }
    // Without credit it waits here, too.
    this.enqueue(watcher);
    return budget;
  }

  /** A reset whose reader takes too long lets go of its revision, and begins anew when the reader goes on. */
  private dropLateResets(): void {
    const { revision, compactRevision, history, table } = this.machine;
    for (const watcher of this.resetting) {
      if (watcher.pin === undefined || watcher.pin.revision >= compactRevision) continue;
      const isLate =
        revision - watcher.pin.revision > HELD_HISTORIES_MAX * history.revisionsMax ||
        table.historyBytes > HELD_HISTORIES_MAX * history.bytesMax;
      if (!isLate) continue;
      const reason = watcher.reset;
      this.endReset(watcher);
      watcher.reset = reason;
      this.resetting.add(watcher);
    }
  }

  // Outputs.

  private tell(
    watcher: Watcher,
    kind: WatchOutput["kind"],
    revision: number,
    bytes: Uint8Array<ArrayBuffer>,
    count: number,
    more = false,
  ): void {
    watcher.creditBytes -= bytes.length + WATCH_OUTPUT_BYTES;
    this.outputs.push({
      id: watcher.request.id,
      kind,
      revision,
      bytes,
      count,
      reason: kind === "reset" ? watcher.reset : undefined,
      compactRevision: kind === "ended" ? this.machine.compactRevision : undefined,
      more,
    });
  }

  /** All events of this watcher below the answer have been told. */
  private effectiveNext(watcher: Watcher): number {
    if (watcher.audience === undefined) return watcher.next;
    return Math.max(watcher.next, this.underWay > 0 ? this.underWay : this.nextRevision);
  }

  private tellProgress(): void {
    for (const watcher of this.progress) {
      if (watcher.reset !== undefined || watcher.gap) continue;
      const next = this.effectiveNext(watcher);
      if (next <= watcher.progressAt) continue;
      this.progress.delete(watcher);
      this.tell(watcher, "progress", Math.min(next - 1, this.machine.revision), new Uint8Array(0), 0);
    }
  }
}

function lastKey(kvs: Uint8Array, count: number): Uint8Array {
  let at = 0;
  let key = NOTHING as Uint8Array;
  for (let i = 0; i < count; i++) {
    const kv = decodeKv(kvs, at);
    key = kv.key;
    at = kv.next;
  }
  return key;
}
