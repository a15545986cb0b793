/** The feeds of one server, one for each distinct thing that is watched, and the turns in which their watches are sent what is there. */
import { EngineError } from "../errors.ts";
import type { Clock } from "../host/clock.ts";
import type { Backend, WatchOrder } from "./backend.ts";
import { WatchFeed, type FeedMember, type FeedOwner } from "./watch-feed.ts";

/** What the logs of all feeds, and watches that put a large revision together, hold at most. */
const FEEDS_BYTES_MAX: number = 64 << 20;
/** What is sent in one go before calls have their turn: some hundred microseconds. */
const SLICE_BYTES: number = 256 << 10;
/** What sending to one watch costs beside the bytes, in bytes. */
const MESSAGE_BYTES = 1_024;
/** Watches of one feed that are sent something before the next feed has its turn. */
const TURN_WATCHES = 64;

const RETRY_MS = 1_000;

/** See above. */
export class WatchFeeds implements FeedOwner {
  bytes = 0;
  readonly bytesMax: number;
  readonly backend: Backend;
  readonly clock: Clock;
  readonly #feeds = new Map<string, WatchFeed>();
  /** Those with somebody to be sent something, in turns. */
  #busy: WatchFeed[] = [];
  #isRunning = false;
  #watches = 0;
  readonly #run: () => void = () => this.#serve();

  /** `bytesMax`: what the logs of all feeds hold at most. */
  constructor(backend: Backend, bytesMax: number = FEEDS_BYTES_MAX) {
    this.backend = backend;
    this.bytesMax = bytesMax;
    this.clock = backend.clock;
  }

  /** Throws OVERLOADED where there are too many watches. */
  admit(): void {
    const { watchesMax } = this.backend;
    if (this.#watches >= watchesMax)
      throw new EngineError("OVERLOADED", `this server already serves ${watchesMax} watches`, {
        limit: "watchersMax",
        max: watchesMax,
        retryAfterMs: RETRY_MS,
      });
    this.#watches++;
  }

  /** One that was admitted is gone. */
  release(): void {
    this.#watches--;
  }

  /** Takes a watch that wants this from now on. */
  join(order: WatchOrder, member: FeedMember): WatchFeed {
    const revision = this.backend.revision();
    const feed = this.#feedOf(order);
    feed.join(member, revision);
    return feed;
  }

  find(order: WatchOrder): WatchFeed | undefined {
    return this.#feeds.get(keyOf(order));
  }

  /** The feed that a watch from the past will go with. It is there until it is released as often as it was reserved, and nobody is left. */
  reserve(order: WatchOrder): WatchFeed {
    const feed = this.#feedOf(order);
    feed.reserve();
    return feed;
  }

  #feedOf(order: WatchOrder): WatchFeed {
    const key = keyOf(order);
    let feed = this.#feeds.get(key);
    if (feed === undefined) {
      feed = new WatchFeed(key, this);
      this.#feeds.set(key, feed);
      feed.begin(this.backend.watch({ ...order, fromRevision: undefined }, feed));
    }
    return feed;
  }

  onClosed(feed: WatchFeed): void {
    if (this.#feeds.get(feed.key) === feed) this.#feeds.delete(feed.key);
  }

  onWork(feed: WatchFeed): void {
    if (feed.isBusy) return;
    feed.isBusy = true;
    this.#busy.push(feed);
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.clock.defer(this.#run);
  }

  #serve(): void {
    const busy = this.#busy;
    let left = SLICE_BYTES;
    let next = 0;
    for (; next < busy.length && left > 0; next++) {
      const feed = busy[next]!;
      const startedAt = this.clock.now();
      for (let i = 0; i < TURN_WATCHES && left > 0 && feed.hasWork; i++) left -= MESSAGE_BYTES + feed.serve();
      feed.spentMs += this.clock.now() - startedAt;
      if (feed.hasWork) {
        busy.push(feed);
        continue;
      }
      feed.isBusy = false;
      feed.onServed();
    }
    this.#busy = busy.slice(next);
    if (this.#busy.length > 0) this.clock.defer(this.#run);
    else this.#isRunning = false;
  }
}

/** The same for orders that one feed serves. */
function keyOf({ interval, prevKv, only, progressMs }: WatchOrder): string {
  const { start, end } = interval;
  const flags = `${prevKv ? "p" : ""}${only ?? ""}${progressMs > 0 ? "n" : ""}`;
  return `${flags} ${start.length} ${textOf(start)}${end === undefined ? "" : ` ${textOf(end)}`}`;
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("latin1");
}
