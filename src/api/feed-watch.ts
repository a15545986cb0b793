/**
 * One watch of a client. From now on it goes with all others that want the same (watch-feed.ts); from the past, and where its client does not
 * take what comes, it has a watch of the node for itself, whose credit bounds what waits here, until it has caught up with the others.
 */
import type { BackendWatch, PackedEvents, WatchOrder, WatchSink } from "./backend.ts";
import { batchOf, behindFirst, RevisionParts, type EventBatch } from "./watch-batch.ts";
import type { FeedMember, WatchFeed } from "./watch-feed.ts";
import type { WatchFeeds } from "./watch-feeds.ts";

/** What a watch tells its client. */
export interface FeedWatchSink {
  /** Whether the client takes something now. False: the watch's wake() is called when it does. */
  isReady(): boolean;
  /** Every event after `revision` will come. Once, before anything else. */
  onRegistered(revision: number): void;
  /** Only when the client is ready. */
  onBatch(batch: EventBatch): void;
  /** Nothing else happened up to this revision. Only when the client is ready. */
  onProgress(revision: number): void;
  /** The history that it needs is gone. It has ended. */
  onCompacted(compactRevision: number): void;
  /** It has ended. */
  onEnd(error: unknown): void;
}

/** What came from the node and waits for the client: events, how far nothing else happened, or from where on there is history. */
type Waiting = { readonly events: PackedEvents } | { progress: number } | { readonly compactRevision: number };

/** See above. */
export class FeedWatch implements FeedMember, WatchSink {
  at = 0;
  told = 0;
  isQueued = false;
  readonly #feeds: WatchFeeds;
  readonly #order: WatchOrder;
  readonly #sink: FeedWatchSink;
  #isOpen = true;
  #isRegistered = false;
  /** It goes with others, or by itself. */
  #feed: WatchFeed | undefined;
  #own: BackendWatch | undefined;
  /** The feed that it will go with. One that was closed, since the node would not have it, stays: it is not tried again. */
  #reserved: WatchFeed | undefined;
  /** Of its own watch, bounded by its credit. */
  #waiting: Waiting[] = [];
  readonly #parts: RevisionParts;
  /** Revisions above this came about while it had a watch of its own. */
  #liveFrom = Number.POSITIVE_INFINITY;
  /** Events of the revision behind `told` that have been sent, and how many of them its own watch will repeat. */
  #sentOfNext = 0;
  #repeated = 0;
  /** Progress was asked for, when the data were at this revision. */
  #askedAt: number | undefined;

  constructor(feeds: WatchFeeds, order: WatchOrder, sink: FeedWatchSink) {
    this.#feeds = feeds;
    this.#order = order;
    this.#sink = sink;
    this.#parts = new RevisionParts(feeds);
  }

  /** Once. The sink may be called before it returns. */
  open(): void {
    try {
      this.#feeds.admit();
    } catch (error) {
      this.#isOpen = false;
      this.#sink.onEnd(error);
      return;
    }
    const { fromRevision } = this.#order;
    if (fromRevision !== undefined) {
      this.told = fromRevision - 1;
      this.#openOwn();
      return;
    }
    const feed = this.#feeds.join(this.#order, this);
    // It may have been closed from within.
    if (this.#isOpen) this.#feed = feed;
    else feed.leave(this);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#feeds.release();
    this.#feed?.leave(this);
    this.#feed = undefined;
    this.#reserved?.release();
    this.#reserved = undefined;
    this.#closeOwn();
  }

  requestProgress(): void {
    this.#askedAt = this.#feeds.backend.revision();
    this.#own?.requestProgress();
    this.#feed?.requestProgress(this.#askedAt);
  }

  /** Its client takes something again. */
  wake(): void {
    if (this.#feed !== undefined) this.#feed.wake(this);
    else this.#drain();
  }

  isReady(): boolean {
    return this.#sink.isReady();
  }

  // From its feed, and from its own watch.

  onRegistered(revision: number): void {
    if (!this.#isOpen || this.#isRegistered) return;
    this.#isRegistered = true;
    this.#sink.onRegistered(revision);
  }

  onBatch(batch: EventBatch): void {
    this.#sentOfNext = batch.more ? this.#sentOfNext + batch.count : 0;
    this.#sink.onBatch(batch);
  }

  onLost(): void {
    if (!this.#isOpen) return;
    this.#feed = undefined;
    this.#openOwn();
  }

  onEvents(events: PackedEvents): void {
    this.#waiting.push({ events });
    this.#drain();
  }

  onProgress(revision: number): void {
    if (this.#feed !== undefined) {
      this.#tellProgress(revision);
      return;
    }
    const last = this.#waiting.at(-1);
    // The later one says all that the earlier does.
    if (last !== undefined && "progress" in last) last.progress = revision;
    else this.#waiting.push({ progress: revision });
    this.#drain();
  }

  onCompacted(compactRevision: number): void {
    this.#own = undefined;
    this.onRegistered(this.told);
    this.#waiting.push({ compactRevision });
    this.#drain();
  }

  onEnd(error: unknown): void {
    if (!this.#isOpen) return;
    this.close();
    this.#sink.onEnd(error);
  }

  #openOwn(): void {
    this.#repeated = this.#sentOfNext;
    this.#liveFrom = this.#feeds.backend.revision();
    const { progressMs } = this.#order;
    const own = this.#feeds.backend.watch({ ...this.#order, fromRevision: this.told + 1, progressMs }, this);
    // It may have ended from within.
    if (!this.#isOpen) {
      own.close();
      return;
    }
    this.#own = own;
    if (this.#askedAt !== undefined) own.requestProgress();
  }

  #closeOwn(): void {
    this.#own?.close();
    this.#own = undefined;
    this.#waiting = [];
    this.#parts.clear();
  }

  #drain(): void {
    const waiting = this.#waiting;
    let sent = 0;
    while (sent < waiting.length && this.#isOpen && this.#sink.isReady()) {
      const next = waiting[sent++]!;
      if ("events" in next) {
        this.#sendOwn(next.events);
        if (this.#waiting !== waiting) return;
      } else if ("progress" in next) {
        this.#tellProgress(next.progress);
      } else {
        this.close();
        this.#sink.onCompacted(next.compactRevision);
      }
    }
    if (this.#waiting === waiting) this.#waiting = waiting.slice(sent);
  }

  #sendOwn(events: PackedEvents): void {
    this.#own?.taken(events);
    const { count, more, revision } = events;
    const repeated = Math.min(this.#repeated, count);
    this.#repeated -= repeated;
    if (!more) this.told = revision;
    if (repeated < count) {
      const batch = batchOf(events);
      const whole = this.#parts.add(repeated === 0 ? batch : behindFirst(batch, repeated));
      if (whole !== undefined) this.onBatch(whole);
    } else if (!more) this.#sentOfNext = 0;
    if (!more && this.#isOpen && this.#waiting.length === 1) this.#catchUp();
  }

  /** Goes on with the others if it has come to where they are, and sees to it that there will be a feed if it has come to what happens now. */
  #catchUp(): void {
    if (this.#reserved === undefined && this.told > this.#liveFrom) this.#reserved = this.#feeds.reserve(this.#order);
    const feed = this.#reserved ?? this.#feeds.find(this.#order);
    if (feed?.joinBehind(this) !== true) return;
    this.#reserved?.release();
    this.#reserved = undefined;
    this.#closeOwn();
    this.#feed = feed;
    if (this.#askedAt !== undefined) feed.requestProgress(this.#askedAt);
  }

  #tellProgress(revision: number): void {
    // Others of its feed may have asked, earlier than it did.
    const isAnswer = this.#askedAt !== undefined && revision >= this.#askedAt;
    if (isAnswer) this.#askedAt = undefined;
    if (isAnswer || this.#order.progressMs > 0) this.#sink.onProgress(revision);
  }
}
