/**
 * Watchers that read history together, at one place. Each event is matched once, by an index of intervals, so that its cost grows with the
 * watchers that want it and not with all; and it is packed once for all that want it alike. A watcher without credit when it is to be told
 * something leaves the cohort, and holds nobody back. All events of one revision are in one output, in the order of the operations.
 *
 * Who is where, and who catches up when, is the hub's business (watch-hub.ts).
 */
import { assert } from "../assert.ts";
import { ByteWriter } from "./bytes.ts";
import { IntervalIndex } from "./interval-index.ts";
import type { KvMachine } from "./machine.ts";
import type { KeyInterval, RecordRef } from "./table.ts";
import { watchEventBytes, writeWatchEvent } from "./watch-event.ts";
import type { Watcher } from "./watcher.ts";

/** What an output costs its watcher beside its bytes. Credit that is given back counts it too. */
export const WATCH_OUTPUT_BYTES = 64;
/** So many watchers that are told the same cost about what one event costs. */
const WATCHERS_A_RECORD = 64;
/** Lists up to this length cross threads cheaper as arrays of numbers than as typed ones. */
const PLAIN_IDS_MAX = 16;

/** Watchers that are told the same: one interval, one choice of what to see. */
export interface Audience {
  readonly interval: KeyInterval;
  readonly prevKv: boolean;
  readonly only: "puts" | "deletes" | undefined;
  readonly watchers: Watcher[];
  /** Their ids, in order of `watchers`; undefined while they must be listed anew. */
  ids: ArrayLike<number> | undefined;
  /** Events of the revision under way that it wants, and where they lie in what the cohort packed. */
  count: number;
  from: number;
  to: number;
  /** Its events, where others lie between them that it does not want. */
  own: ByteWriter | undefined;
}

/** The revision under way, packed for all that want it with, or without, what was there before. */
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
  /** It is being told something that costs so much. */
  charge(watcher: Watcher, bytes: number): void;
  /** The same for all of these watchers, who have been charged for it. */
  tell(ids: ArrayLike<number>, revision: number, bytes: Uint8Array<ArrayBuffer>, count: number): void;
}

/** See above. It may be empty; then it stands wherever it was left. */
export class WatchCohort {
  readonly members: Set<Watcher> = new Set();
  /** All members have been told everything below it, but what is under way. */
  private nextRevision: number;
  /** The event to be looked at next, and the revision it belongs to while that is under way, else 0. */
  private position: number;
  private underWay = 0;
  private readonly machine: KvMachine;
  private readonly outlet: CohortOutlet;
  private readonly index: IntervalIndex<Audience[]> = new IntervalIndex();
  private plain: RevisionPack | undefined = undefined;
  private withPrevious: RevisionPack | undefined = undefined;
  private readonly touched: Audience[] = [];
  private readonly hits: Audience[][] = [];

  constructor(machine: KvMachine, revision: number, outlet: CohortOutlet) {
    this.machine = machine;
    this.outlet = outlet;
    this.nextRevision = revision;
    this.position = machine.table.seekEvent(revision);
  }

  /** All events of all members below it have been told, and of none of them one at it or beyond. */
  get frontier(): number {
    return this.underWay > 0 ? this.underWay : this.nextRevision;
  }

  /** The first revision of which members have been told nothing yet. Who wants nothing below it may join. */
  get boundary(): number {
    return this.underWay > 0 ? this.underWay + 1 : this.nextRevision;
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

  /** The watcher must want nothing below the boundary. */
  join(watcher: Watcher): void {
    assert(watcher.cohort === undefined && watcher.next >= this.boundary, "who joins others has been told all that they have been");
    const { interval, prevKv, only } = watcher.request;
    let audiences = this.index.get(interval);
    if (audiences === undefined) {
      audiences = [];
      this.index.add(interval, audiences);
    }
    let audience = audiences.find((other) => other.prevKv === prevKv && other.only === only);
    if (audience === undefined) {
      audience = { interval, prevKv, only, watchers: [], ids: undefined, count: 0, from: 0, to: 0, own: undefined };
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
    member.next = this.nextOf(member);
    this.members.delete(member);
    const audience = member.audience!;
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
      const ref = this.position < table.endEvent ? table.event(this.position) : 0;
      const revision = ref === 0 ? Number.POSITIVE_INFINITY : table.revision(ref);
      if (this.underWay > 0 && revision !== this.underWay) left -= this.closeRevision();
      if (revision >= limit) {
        this.nextRevision = Math.max(this.nextRevision, limit);
        return Math.max(1, left);
      }
      if (left <= 0) return 0;
      this.underWay = revision;
      this.match(ref);
      this.position++;
      left--;
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
        if (audience.only === undefined || (audience.only === "deletes") === isDeletion) this.include(audience, ref);
      }
    }
  }

  private include(audience: Audience, ref: RecordRef): void {
    const pack = this.pack(audience.prevKv, ref);
    const { writer, from } = pack;
    if (audience.count === 0) {
      audience.from = from;
      audience.to = from;
      this.touched.push(audience);
    }
    audience.count++;
    if (audience.own === undefined && audience.to === from) {
      audience.to = writer.length;
      return;
    }
    if (audience.own === undefined) {
      audience.own = new ByteWriter(2 * (audience.to - audience.from));
      audience.own.raw(writer.written(audience.from).subarray(0, audience.to - audience.from));
    }
    audience.own.raw(writer.written(from));
  }

  /** The event at the position, packed with those of its revision before it. */
  private pack(withPrevious: boolean, ref: RecordRef): RevisionPack {
    const { table } = this.machine;
    let pack = withPrevious ? this.withPrevious : this.plain;
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
      told += this.tell(audience, revision, this.packedOf(audience));
      audience.count = 0;
      audience.own = undefined;
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

  private tell(audience: Audience, revision: number, bytes: Uint8Array<ArrayBuffer>): number {
    const { watchers } = audience;
    const cost = bytes.length + WATCH_OUTPUT_BYTES;
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
    if (ids.length > 0) this.outlet.tell(ids, revision, bytes, audience.count);
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
      }
    }
    return ids;
  }

  private drop(): void {
    for (const audience of this.touched) {
      audience.count = 0;
      audience.own = undefined;
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
