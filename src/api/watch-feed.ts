/**
 * One watch of the node for all watches of clients that want the same: what it tells is kept in a short log, and each watch has a place in it. In
 * passes, each watch is sent all that lies behind its place, up to a bound, so that revisions that come faster than they can be sent to all leave
 * together. One that is not ready holds nobody back: the log is bounded, and who falls off its end goes on from history by itself
 * (feed-watch.ts) and comes back when it has caught up.
 */
import type { Clock } from "../host/clock.ts";
import type { BackendWatch, PackedEvents, WatchSink } from "./backend.ts";
import { batchOf, BATCH_BYTES_MAX, joinBatches, RevisionParts, type EventBatch, type HeldBytes } from "./watch-batch.ts";

/** What the log of one feed holds at most. */
export const FEED_BYTES_MAX: number = 16 << 20;
/** After a pass that took a while comes a rest, so that calls have the thread too, and more leaves together: so much of the time that it took. */
const REST_SHARE = 3;
const REST_MS_MAX = 20;
/** What an entry takes beside its bytes. */
const ENTRY_BYTES = 200;

/** A watch of a client, as its feed sees it. */
export interface FeedMember {
  /** Of the entry that it is to be sent next. */
  at: number;
  /** Everything up to this revision has been sent, or is not wanted. */
  told: number;
  /** It stands in the feed's queue. */
  isQueued: boolean;
  /** False: it calls wake() when it is. */
  isReady(): boolean;
  onRegistered(revision: number): void;
  onBatch(batch: EventBatch): void;
  onProgress(revision: number): void;
  /** What it needs next is not in the log. */
  onLost(): void;
  onEnd(error: unknown): void;
}

/** What all feeds have in common. */
export interface FeedOwner extends HeldBytes {
  readonly clock: Clock;
  /** Somebody is to be sent something: serve() is to be called soon. */
  onWork(feed: WatchFeed): void;
  /** It takes no new members. */
  onClosed(feed: WatchFeed): void;
}

interface Entry {
  /** undefined: progress, nothing happened up to the revision. */
  readonly batch: EventBatch | undefined;
  revision: number;
  /** Members that are to be sent this one next. */
  members: number;
  bytes: number;
  /** What begins here and is sent together. */
  joined: Joined | undefined;
}

interface Joined {
  readonly batch: EventBatch;
  /** The place behind it. */
  readonly next: number;
  /** Nothing more can join it. */
  readonly isFull: boolean;
  /** Held beside the bytes of its entries. */
  readonly bytes: number;
}

/** See above. */
export class WatchFeed implements WatchSink {
  readonly key: string;
  readonly #owner: FeedOwner;
  readonly #members = new Set<FeedMember>();
  readonly #parts: RevisionParts;
  #watch: BackendWatch | undefined;
  #isRegistered = false;
  #isClosed = false;
  /** Those who wait for the next pass. Who left is dropped when the list is looked at. */
  #idle: FeedMember[] = [];
  /** Those who are to be sent something in this one, in turns; and which of them is next. */
  #queue: FeedMember[] = [];
  #next = 0;
  /** A pass is under way, or was, and others have their turn before the next one; what it sends ends at this place. */
  #pass: "serving" | "resting" | "done" = "done";
  #passHead = 0;
  #log: Entry[] = [];
  /** Entries at the beginning of #log that are gone, and the place of the first that is not. */
  #gone = 0;
  #first = 0;
  /** Members behind the last entry. */
  #atHead = 0;
  #bytes = 0;
  /** Everything that was told behind this revision is in the log. */
  #lostRevision = 0;
  #lastRevision = 0;
  /** Progress has been asked of the node, when the data were at this revision, and has not come; 0: it has. */
  #askedAt = 0;
  /** Those who will join when they have come as far. */
  #reserved = 0;
  /** It stands among those with work, and what has been spent on its pass: its owner's. */
  isBusy = false;
  spentMs = 0;

  constructor(key: string, owner: FeedOwner) {
    this.key = key;
    this.#owner = owner;
    this.#parts = new RevisionParts(owner);
  }

  /** Once, before anything else. */
  begin(watch: BackendWatch): void {
    if (this.#isClosed) watch.close();
    else this.#watch = watch;
  }

  get hasWork(): boolean {
    return this.#next < this.#queue.length;
  }

  /** A watch from now on: `revision` is what is there now. It is told that it is registered, at once or later. */
  join(member: FeedMember, revision: number): void {
    this.#members.add(member);
    this.#place(member, this.#head);
    if (!this.#isRegistered) return;
    member.told = Math.max(revision, this.#lastRevision);
    member.onRegistered(member.told);
  }

  /** A watch that has been told everything up to member.told by other means. False: not from there on. */
  joinBehind(member: FeedMember): boolean {
    const { told } = member;
    if (!this.#isRegistered || this.#isClosed || told < this.#lostRevision) return false;
    let at = this.#head;
    while (at > this.#first && this.#entry(at - 1).revision > told) at--;
    this.#members.add(member);
    this.#place(member, at);
    return true;
  }

  leave(member: FeedMember): void {
    if (!this.#members.delete(member)) return;
    if (member.at === this.#head) this.#atHead--;
    else if (member.at >= this.#first) {
      this.#entry(member.at).members--;
      this.#trim();
    }
    this.#closeIfEmpty();
  }

  /** For a member that asked when the data were at this revision. */
  requestProgress(revision: number): void {
    // Whoever asked before it, at the same revision, is answered for both.
    if (this.#askedAt >= revision) return;
    this.#askedAt = revision;
    this.#watch?.requestProgress();
  }

  /** Somebody will join. */
  reserve(): void {
    this.#reserved++;
  }

  release(): void {
    this.#reserved--;
    this.#closeIfEmpty();
  }

  /** A member that was not ready is: it is served at once, so that who has woken it knows whether the client takes more. */
  wake(member: FeedMember): void {
    if (!member.isQueued && this.#members.has(member) && member.at !== this.#head) this.#serve(member);
  }

  /** Sends the next in turn what it may be sent. Answers how many bytes that was. */
  serve(): number {
    const member = this.#queue[this.#next++]!;
    if (this.#next === this.#queue.length) {
      this.#queue = [];
      this.#next = 0;
    }
    member.isQueued = false;
    return this.#members.has(member) ? this.#serve(member) : 0;
  }

  #serve(member: FeedMember): number {
    if (!member.isReady()) return 0;
    if (member.at < this.#first) {
      this.#lose(member);
      return 0;
    }
    const bytes = this.#send(member);
    if (!this.#members.has(member)) return bytes;
    if (member.at >= this.#passHead) this.#idle.push(member);
    else this.#enqueue(member);
    return bytes;
  }

  /** Nobody is left in the queue, which took so long. */
  onServed(): void {
    if (this.#pass !== "serving") return;
    const restMs = Math.min(REST_MS_MAX, Math.floor(this.spentMs * REST_SHARE));
    this.spentMs = 0;
    if (restMs < 1) {
      this.#beginPass();
      return;
    }
    this.#pass = "resting";
    this.#owner.clock.setTimer(restMs, () => this.#beginPass()).unref?.();
  }

  /** Everybody who has been sent less than there is now has a turn, or several. What comes meanwhile is for the next pass. */
  #beginPass(): void {
    this.#pass = "done";
    if (this.#isClosed) return;
    this.#passHead = this.#head;
    const idle = this.#idle;
    this.#idle = [];
    for (const member of idle) {
      if (!this.#members.has(member)) continue;
      if (member.at === this.#head) this.#idle.push(member);
      else this.#enqueue(member);
    }
    if (this.hasWork) this.#pass = "serving";
  }

  #send(member: FeedMember): number {
    if (member.at === this.#head) return 0;
    const entry = this.#entry(member.at);
    if (entry.batch === undefined) {
      this.#move(member, member.at + 1);
      // What it knew when it joined may be later than what the others were told since.
      member.onProgress(Math.max(entry.revision, member.told));
      return 0;
    }
    if (entry.revision <= member.told) {
      this.#move(member, member.at + 1);
      return 0;
    }
    const { batch, next } = this.#joined(entry, member.at, member.at < this.#passHead ? this.#passHead : this.#head);
    this.#move(member, next);
    if (!batch.more) member.told = batch.revision;
    member.onBatch(batch);
    return batch.encoded.length;
  }

  /**
   * What begins at the entry, ends before `end`, and fits together. The same for all who come by in one pass, so that it is put together once; anew
   * for who comes later, and finds more.
   */
  #joined(entry: Entry, at: number, end: number): Joined {
    const { joined } = entry;
    if (joined !== undefined && (joined.isFull || joined.next >= end)) return joined;
    const first = entry.batch!;
    const batches: EventBatch[] = [first];
    let bytes = first.encoded.length;
    let next = at + 1;
    // Not with a part of a revision, nor behind one.
    let isFull = first.more || this.#isPart(at);
    while (!isFull && next < end) {
      const { batch } = this.#entry(next);
      isFull = batch === undefined || batch.more || bytes + batch.encoded.length > BATCH_BYTES_MAX;
      if (isFull) break;
      batches.push(batch!);
      bytes += batch!.encoded.length;
      next++;
    }
    const held = batches.length === 1 ? 0 : bytes;
    this.#count(entry, held - (joined === undefined ? 0 : joined.bytes));
    entry.joined = { batch: held === 0 ? first : joinBatches(batches, bytes, false), next, isFull, bytes: held };
    return entry.joined;
  }

  /** Whether the entry is the last part of a revision. */
  #isPart(at: number): boolean {
    return at > this.#first && this.#entry(at - 1).batch?.more === true;
  }

  get #head(): number {
    return this.#first + this.#log.length - this.#gone;
  }

  #entry(at: number): Entry {
    return this.#log[at - this.#first + this.#gone]!;
  }

  #place(member: FeedMember, at: number): void {
    member.at = at;
    if (at === this.#head) {
      this.#atHead++;
      this.#idle.push(member);
    } else {
      this.#entry(at).members++;
      this.#enqueue(member);
    }
  }

  #move(member: FeedMember, to: number): void {
    this.#entry(member.at).members--;
    member.at = to;
    if (to === this.#head) this.#atHead++;
    else this.#entry(to).members++;
    this.#trim();
  }

  #enqueue(member: FeedMember): void {
    if (member.isQueued) return;
    member.isQueued = true;
    this.#queue.push(member);
    if (this.#queue.length - this.#next === 1) this.#owner.onWork(this);
  }

  #append(batch: EventBatch | undefined, revision: number): void {
    const bytes = ENTRY_BYTES + (batch === undefined ? 0 : batch.encoded.length);
    const entry: Entry = { batch, revision, members: this.#atHead, bytes: 0, joined: undefined };
    this.#log.push(entry);
    this.#atHead = 0;
    this.#count(entry, bytes);
    if (this.#pass === "done") this.#beginPass();
    // Whoever still needs what is dropped is lost.
    while (this.#head > this.#first && (this.#bytes > FEED_BYTES_MAX || this.#owner.bytes > this.#owner.bytesMax)) this.#drop();
    this.#trim();
  }

  #count(entry: Entry, bytes: number): void {
    entry.bytes += bytes;
    this.#bytes += bytes;
    this.#owner.bytes += bytes;
  }

  /** Drops what all have been sent. */
  #trim(): void {
    while (this.#head > this.#first && this.#entry(this.#first).members === 0) this.#drop();
  }

  #drop(): void {
    const entry = this.#entry(this.#first);
    this.#count(entry, -entry.bytes);
    // Of a part, too: nobody comes back in the middle of a revision.
    this.#lostRevision = Math.max(this.#lostRevision, entry.revision);
    this.#first++;
    this.#gone++;
    if (this.#gone === this.#log.length) {
      this.#log = [];
      this.#gone = 0;
    } else if (this.#gone >= 1_024) {
      this.#log.splice(0, this.#gone);
      this.#gone = 0;
    }
  }

  #lose(member: FeedMember): void {
    this.#members.delete(member);
    member.onLost();
    this.#closeIfEmpty();
  }

  #closeIfEmpty(): void {
    if (this.#members.size === 0 && this.#reserved === 0) this.#close();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#owner.bytes -= this.#bytes;
    this.#bytes = 0;
    this.#parts.clear();
    this.#log = [];
    this.#watch?.close();
    this.#owner.onClosed(this);
  }

  // From the node.

  onRegistered(revision: number): void {
    this.#isRegistered = true;
    this.#lostRevision = revision;
    this.#lastRevision = revision;
    for (const member of [...this.#members]) {
      member.told = revision;
      if (this.#members.has(member)) member.onRegistered(revision);
    }
  }

  onEvents(events: PackedEvents): void {
    this.#lastRevision = events.revision;
    const batch = this.#parts.add(batchOf(events));
    if (batch !== undefined) this.#append(batch, events.revision);
    // The log is what bounds it from here on.
    this.#watch?.taken(events);
  }

  onProgress(revision: number): void {
    this.#askedAt = 0;
    const last = this.#log.at(-1);
    // The later one says all that the earlier does, where nobody has been told the earlier.
    if (last !== undefined && last.batch === undefined && this.#atHead === 0) last.revision = revision;
    else this.#append(undefined, revision);
  }

  /** Members are told by the node itself, each at its place, what has become of history. */
  onCompacted(): void {
    const members = [...this.#members];
    this.#members.clear();
    this.#close();
    for (const member of members) member.onLost();
  }

  onEnd(error: unknown): void {
    const members = [...this.#members];
    this.#members.clear();
    this.#close();
    for (const member of members) member.onEnd(error);
  }
}
