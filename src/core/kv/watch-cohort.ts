/**
 * Watchers that read history together, at one place. Each event is matched once, by an index of intervals, so that its cost grows with the
 * watchers that want it and not with all; and it is packed once for all that want it alike. A watcher without credit when it is to be told
 * something leaves the cohort, and holds nobody back.
 *
 * All events of one revision are in one output, in the order of the operations, up to a bound. Beyond it the revision goes out in parts, each
 * as soon as it is full: what has been told of a revision is not held here, so that one of a million events takes no more memory than one of
 * ten thousand. A watcher that leaves between two parts takes with it how many events of the revision it is past, and goes on behind them.
 *
 * Who is where, and who catches up when, is the hub's business (watch-hub.ts).
 */
import { assert } from "../assert.ts";
import { ByteWriter } from "./bytes.ts";
import { IntervalIndex } from "./interval-index.ts";
import type { KvMachine } from "./machine.ts";
import type { RecordRef } from "./table.ts";
import { watchEventBytes, writeWatchEvent } from "./watch-event.ts";
import { REVISION_PART_BYTES_MIN, type Audience, type PartBounds, type ToldEvents } from "./watch-parts.ts";
import type { Watcher } from "./watcher.ts";

/** What an output costs its watcher beside its bytes. Credit that is given back counts it too. */
export const WATCH_OUTPUT_BYTES = 64;
/** So many watchers that are told the same cost about what one event costs. */
const WATCHERS_A_RECORD = 64;
/** Lists up to this length cross threads cheaper as arrays of numbers than as typed ones. */
const PLAIN_IDS_MAX = 16;

/** The part under way of a revision, packed for all that want it with, or without, what was there before. */
interface RevisionPack {
  readonly writer: ByteWriter;
  /** The event packed last, and where it begins. */
  position: number;
  from: number;
}

/** The hub, as its cohorts see it. */
export interface CohortOutlet {
  /** Whether this watcher may be told something now. */
  hasCredit(watcher: Watcher): boolean;
  /** It had none, and has left; between two parts of a revision, if it has a `skip`. */
  left(watcher: Watcher): void;
  /** It is being told something that costs so much. */
  charge(watcher: Watcher, bytes: number): void;
  /** The same for all of these watchers, who have been charged for it. `more`: the revision goes on with the next that they are told. */
  tell(ids: ArrayLike<number>, revision: number, events: ToldEvents): void;
}

/** See above. It may be empty; then it stands wherever it was left. */
export class WatchCohort {
  readonly members: Set<Watcher> = new Set();
  /** All members have been told everything below it, but what is under way. */
  private nextRevision: number;
  /** The event to be looked at next, and the revision it belongs to while that is under way, else 0. */
  private position: number;
  private underWay = 0;
  /** The position of its first event. */
  private underWayFrom = 0;
  /** What telling parts has cost since it was asked last. */
  private spent = 0;
  private copiesBytes = 0;
  private readonly machine: KvMachine;
  private readonly outlet: CohortOutlet;
  private readonly index: IntervalIndex<Audience[]> = new IntervalIndex();
  private plain: RevisionPack | undefined = undefined;
  private withPrevious: RevisionPack | undefined = undefined;
  private readonly touched: Audience[] = [];
  private readonly hits: Audience[][] = [];
  private readonly wanting: Audience[] = [];
  private readonly bounds: PartBounds;

  /** Begins behind the first `skip` events of the revision, in the middle of it unless that is 0. */
  constructor(options: {
    readonly machine: KvMachine;
    readonly outlet: CohortOutlet;
    readonly bounds: PartBounds;
    readonly revision: number;
    readonly skip: number;
  }) {
    const { machine, revision, skip } = options;
    this.machine = machine;
    this.outlet = options.outlet;
    this.bounds = options.bounds;
    this.nextRevision = revision;
    this.position = machine.table.seekEvent(revision);
    if (skip === 0) return;
    this.underWay = revision;
    this.underWayFrom = this.position;
    this.position += skip;
  }

  /** All events of all members below it have been told, and of none of them one at it or beyond. */
  get frontier(): number {
    return this.underWay > 0 ? this.underWay : this.nextRevision;
  }

  /** The first revision of which members have been told nothing yet. Who wants nothing below it may join. */
  get boundary(): number {
    return this.underWay > 0 ? this.underWay + 1 : this.nextRevision;
  }

  /** How many events, wanted or not, it would have to pass before this watcher has something to be told; undefined: it is past some already. */
  distanceTo(watcher: Watcher): number | undefined {
    const { next, skip } = watcher;
    if (next < this.frontier || (next < this.boundary && skip === 0)) return undefined;
    const distance = this.machine.table.seekEvent(next) + skip - this.position;
    return distance < 0 ? undefined : distance;
  }

  /** Members may have been told part of the revision under way. */
  get isAmid(): boolean {
    return this.underWay > 0 && this.members.size > 0;
  }

  /** The member has been told part of the revision under way. */
  isAmidRevision({ audience, next }: Watcher): boolean {
    return this.underWay > 0 && next <= this.underWay && Math.max(audience!.toldTo, audience!.skipTo) > this.underWayFrom;
  }

  /** All events of this member below the answer have been told. */
  nextOf(member: Watcher): number {
    return Math.max(member.next, this.frontier);
  }

  /** Goes to another place. Nothing may be under way that members still want. */
  moveTo(revision: number): void {
    this.drop();
    this.nextRevision = revision;
    this.position = this.machine.table.seekEvent(revision);
  }

  /** The watcher must want nothing that the cohort is past. */
  join(watcher: Watcher): void {
    const { next, skip } = watcher;
    const { interval, prevKv, only } = watcher.request;
    const skipTo = skip === 0 ? 0 : this.machine.table.seekEvent(next) + skip;
    const isInTime = next >= this.boundary || (next === this.underWay && skipTo >= this.position);
    assert(watcher.cohort === undefined && isInTime, "who joins others has been told all that they have been");
    let audiences = this.index.get(interval);
    if (audiences === undefined) {
      audiences = [];
      this.index.add(interval, audiences);
    }
    let audience = audiences.find((other) => other.prevKv === prevKv && other.only === only && other.skipTo === skipTo);
    if (audience === undefined) {
      const part = { toldTo: 0, count: 0, from: 0, to: 0, lastFrom: 0, lastAt: 0, own: undefined };
      audience = { interval, prevKv, only, skipTo, watchers: [], ids: undefined, ...part };
      audiences.push(audience);
    }
    audience.ids = undefined;
    watcher.cohort = this;
    watcher.audience = audience;
    watcher.at = audience.watchers.length;
    audience.watchers.push(watcher);
    this.members.add(watcher);
  }

  /** The member takes with it how far it has been told. */
  leave(member: Watcher): void {
    const audience = member.audience!;
    if (this.underWay > 0 && member.next <= this.underWay) {
      member.next = this.underWay;
      member.skip = Math.max(0, audience.toldTo - this.underWayFrom, audience.skipTo - this.underWayFrom);
    } else if (member.next < this.nextRevision) {
      member.next = this.nextRevision;
      member.skip = 0;
    }
    this.members.delete(member);
    member.cohort = undefined;
    member.audience = undefined;
    audience.ids = undefined;
    const last = audience.watchers.pop()!;
    if (last !== member) {
      audience.watchers[member.at] = last;
      last.at = member.at;
    }
    if (audience.watchers.length > 0) return;
    const audiences = this.index.get(audience.interval)!;
    audiences.splice(audiences.indexOf(audience), 1);
    if (audiences.length === 0) this.index.remove(audience.interval);
  }

  /** Tells of events below the revision `limit`, looking at about `budget` of them. Answers what is left; 0 if it is not there yet. */
  advance(limit: number, budget: number): number {
    const { table } = this.machine;
    let left = budget;
    for (;;) {
      if (this.members.size === 0) return 0; // All are without credit, or were from the beginning.
      const ref = this.position < table.endEvent ? table.event(this.position) : 0;
      const revision = ref === 0 ? Number.POSITIVE_INFINITY : table.revision(ref);
      if (this.underWay > 0 && revision !== this.underWay) left -= this.closeRevision();
      if (revision >= limit) {
        this.nextRevision = Math.max(this.nextRevision, limit);
        return Math.max(1, left);
      }
      if (left <= 0) return 0;
      if (this.underWay === 0) {
        this.underWay = revision;
        this.underWayFrom = this.position;
      }
      this.match(ref);
      this.position++;
      left -= 1 + this.spent;
      this.spent = 0;
    }
  }

  private match(ref: RecordRef): void {
    const { table } = this.machine;
    const { hits } = this;
    hits.length = 0;
    this.index.collect(table.key(ref), hits);
    if (hits.length === 0) return;
    const isDeletion = table.version(ref) === 0;
    // Listed first: who has no credit for a part leaves, and takes its audience with it.
    const { wanting } = this;
    wanting.length = 0;
    let isFull = false;
    for (const audiences of hits) {
      for (const audience of audiences) {
        const { only } = audience;
        if ((only !== undefined && (only === "deletes") !== isDeletion) || this.position < audience.skipTo) continue;
        wanting.push(audience);
        isFull ||= audience.count > 0 && this.isFull(audience);
      }
    }
    if (isFull) this.tellParts(wanting);
    for (const audience of wanting) if (audience.watchers.length > 0) this.include(audience, ref);
  }

  /** No more is added to what this audience is to be told of the revision: if it wants more, it is told that first. */
  private isFull({ count, own, from, to }: Audience): boolean {
    const { bytes, events, copiesBytes } = this.bounds;
    if (own === undefined) return count >= events || to - from >= bytes;
    return count >= events || own.length >= (this.copiesBytes > copiesBytes ? REVISION_PART_BYTES_MIN : bytes);
  }

  /** Those that are full want the event at the position too: they are told what there is, and that the revision goes on. */
  private tellParts(wanting: readonly Audience[]): void {
    for (const audience of wanting) {
      if (audience.count === 0 || !this.isFull(audience)) continue;
      const told = this.tell(audience, this.underWay, { bytes: this.packedOf(audience), count: audience.count, more: true });
      audience.toldTo = this.position;
      this.forgetPart(audience);
      this.spent += 1 + Math.floor(told / WATCHERS_A_RECORD);
    }
    // What was handed out leaves this thread, and is not written again.
    this.closePack(true);
    this.closePack(false);
  }

  /** Those that are still to be told of events in the pack keep copies; of the last one alone, if copies come to too much. */
  private closePack(withPrevious: boolean): void {
    const pack = withPrevious ? this.withPrevious : this.plain;
    if (pack === undefined) return;
    for (const audience of this.touched) {
      if (audience.prevKv !== withPrevious || audience.count === 0 || audience.own !== undefined) continue;
      const bytes = audience.to - audience.from;
      if (audience.count > 1 && this.copiesBytes + bytes > this.bounds.copiesBytes) this.tellAllButLast(audience);
      this.copy(audience, pack);
    }
    if (withPrevious) this.withPrevious = undefined;
    else this.plain = undefined;
  }

  /** Nobody knows whether it wants more of the revision; but there is its last event. */
  private tellAllButLast(audience: Audience): void {
    const { count, lastFrom, lastAt } = audience;
    const bytes = this.packedOf(audience).subarray(0, lastFrom);
    const told = this.tell(audience, this.underWay, { bytes, count: count - 1, more: true });
    audience.toldTo = lastAt;
    audience.count = 1;
    audience.from += lastFrom;
    audience.lastFrom = 0;
    this.spent += 1 + Math.floor(told / WATCHERS_A_RECORD);
  }

  private copy(audience: Audience, { writer }: RevisionPack): ByteWriter {
    const bytes = audience.to - audience.from;
    const own = new ByteWriter(2 * bytes);
    own.raw(writer.written(audience.from).subarray(0, bytes));
    audience.own = own;
    this.copiesBytes += bytes;
    return own;
  }

  private forgetPart(audience: Audience): void {
    audience.count = 0;
    if (audience.own === undefined) return;
    this.copiesBytes -= audience.own.length;
    audience.own = undefined;
  }

  private include(audience: Audience, ref: RecordRef): void {
    const pack = this.pack(audience.prevKv, ref);
    const { writer, from } = pack;
    if (audience.count === 0) {
      audience.from = from;
      audience.to = from;
      if (audience.toldTo === 0) this.touched.push(audience);
    }
    audience.count++;
    audience.lastAt = this.position;
    if (audience.own === undefined && audience.to === from) {
      audience.lastFrom = from - audience.from;
      audience.to = writer.length;
      return;
    }
    const own = audience.own ?? this.copy(audience, pack);
    audience.lastFrom = own.length;
    own.raw(writer.written(from));
    this.copiesBytes += writer.length - from;
  }

  /** The event at the position, packed with those of its revision before it. */
  private pack(withPrevious: boolean, ref: RecordRef): RevisionPack {
    const { table } = this.machine;
    let pack = withPrevious ? this.withPrevious : this.plain;
    if (pack !== undefined && pack.position !== this.position && pack.writer.length >= this.bounds.bytes) {
      this.closePack(withPrevious);
      pack = undefined;
    }
    if (pack === undefined) {
      // Most revisions are one event: then nothing is copied while it grows, nor sent that is not used.
      pack = { writer: new ByteWriter(watchEventBytes(table, ref, withPrevious)), position: -1, from: 0 };
      if (withPrevious) this.withPrevious = pack;
      else this.plain = pack;
    }
    if (pack.position !== this.position) {
      pack.position = this.position;
      pack.from = pack.writer.length;
      writeWatchEvent(pack.writer, table, ref, withPrevious);
    }
    return pack;
  }

  /** The revision under way is whole: hands it out. Answers what that cost. */
  private closeRevision(): number {
    const revision = this.underWay;
    let told = 0;
    for (const audience of this.touched) {
      const { count } = audience;
      if (count > 0) told += this.tell(audience, revision, { bytes: this.packedOf(audience), count, more: false });
    }
    const cost = this.touched.length + Math.floor(told / WATCHERS_A_RECORD);
    this.drop();
    this.nextRevision = revision + 1;
    return cost;
  }

  /** A view of what was packed for all, so that it crosses to another thread once; but for a small part, which would keep all of it in memory. */
  private packedOf({ own, prevKv, from, to }: Audience): Uint8Array<ArrayBuffer> {
    if (own !== undefined) return own.written();
    const { writer } = (prevKv ? this.withPrevious : this.plain)!;
    const bytes = writer.written(from).subarray(0, to - from);
    return 2 * bytes.length >= writer.length ? bytes : bytes.slice();
  }

  private tell(audience: Audience, revision: number, events: ToldEvents): number {
    const { watchers } = audience;
    const cost = events.bytes.length + WATCH_OUTPUT_BYTES;
    let able = 0;
    for (const watcher of watchers) {
      if (watcher.next > revision || !this.outlet.hasCredit(watcher)) break;
      able++;
    }
    let ids: ArrayLike<number>;
    if (able === watchers.length) {
      for (const watcher of watchers) this.outlet.charge(watcher, cost);
      ids = audience.ids ??= idsOf(watchers);
    } else {
      ids = this.tellThoseWhoCanPay(audience, revision, cost);
    }
    if (ids.length > 0) this.outlet.tell(ids, revision, events);
    return ids.length;
  }

  /** Not all can be told: those who can, pay; those who have no credit leave. */
  private tellThoseWhoCanPay(audience: Audience, revision: number, cost: number): number[] {
    const ids: number[] = [];
    // From the last one on, since who leaves gives its place to the last.
    for (let at = audience.watchers.length - 1; at >= 0; at--) {
      const watcher = audience.watchers[at]!;
      if (watcher.next > revision) continue;
      if (this.outlet.hasCredit(watcher)) {
        this.outlet.charge(watcher, cost);
        ids.push(watcher.request.id);
      } else {
        this.leave(watcher);
        this.outlet.left(watcher);
      }
    }
    return ids;
  }

  private drop(): void {
    for (const audience of this.touched) {
      this.forgetPart(audience);
      audience.toldTo = 0;
    }
    this.touched.length = 0;
    this.plain = undefined;
    this.withPrevious = undefined;
    this.underWay = 0;
  }
}

function idsOf(watchers: readonly Watcher[]): ArrayLike<number> {
  const ids: number[] = [];
  for (const { request } of watchers) ids.push(request.id);
  return ids.length > PLAIN_IDS_MAX ? Float64Array.from(ids) : ids;
}
