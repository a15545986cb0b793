/**
 * One stream of the Watch service. Watches are answered in the order in which they were asked for, each before its first event; each gets whole
 * revisions in order. What a client does not take is not held here: its watches (stream-watch.ts) wait until it does.
 */
import { compareBytes } from "../../core/kv/bytes.ts";
import type { Timer } from "../../host/clock.ts";
import type { DuplexStream } from "../../rpc/index.ts";
import { ETCD_ERRORS, etcdError, wireError } from "../etcd-errors.ts";
import type { Answer } from "../handlers.ts";
import { isOpenEnd, toInterval } from "../intervals.ts";
import { NO_ID, type Message, type MessageInit } from "../schema/messages.ts";
import type { ServiceContext } from "../service-context.ts";
import { StreamWatch } from "./stream-watch.ts";

type WatchRequest = Message<"etcdserverpb.WatchRequest">;
/** What a watch is made of. */
export type CreateRequest = Message<"etcdserverpb.WatchCreateRequest">;
type ResponseInit = MessageInit<"etcdserverpb.WatchResponse">;
/** The stream that a WatchStream serves. */
export type WatchCall = DuplexStream<WatchRequest, Answer<"etcdserverpb.WatchResponse">>;

/** Watches of one stream. More are cancelled as they are made. */
export const STREAM_WATCHES_MAX = 65_536;
/** -1: of no watch. */
const NO_WATCH = "ffffffffffffffff";
/** A stream that wants a leader ends when none was known for this long: three election timeouts. */
const LEADERLESS_MS = 3_000;
const LEADER_CHECK_MS = 500;

/** Answered creations that are kept in the queue before it is cut. */
const ANSWERED_KEPT = 1_024;

const ALL = Uint8Array.of(0);

/** The answer to a request, once it is known, and whom it is about. */
export interface Creation {
  readonly watch: StreamWatch | undefined;
  response: ResponseInit | undefined;
}

/** One stream. */
export class WatchStream {
  readonly context: ServiceContext;
  readonly #call: WatchCall;
  readonly #watches = new Map<string, StreamWatch>();
  /** Cancelled for compaction, which clients answer with a cancellation of their own. Bounded together with the watches. */
  readonly #compacted = new Set<string>();
  /** Created, and not answered yet, in their order. */
  #unanswered: Creation[] = [];
  /** How many of them have been answered meanwhile. */
  #answered = 0;
  #nextId = 0;
  /** Progress that was asked for: who has not told it yet, and the lowest revision of those who have. */
  #progress: { readonly waiting: Set<StreamWatch>; revision: number } | undefined;
  /** While the client takes nothing: the watches that have something for it. */
  #waiting: StreamWatch[] | undefined;
  #isEnded = false;
  #leaderCheck: Timer | undefined;
  #forgetStop: (() => void) | undefined;

  constructor(context: ServiceContext, call: WatchCall) {
    this.context = context;
    this.#call = call;
  }

  /** Begins to listen. */
  start(): void {
    const call = this.#call;
    call.onCancel(() => this.#end());
    this.#forgetStop = this.context.onStop(() => this.fail(etcdError("stopped")));
    if (call.metadata.get("hasleader") === "true") this.#watchLeader();
    call.listen({
      onMessage: (request) => this.#onRequest(request),
      // A client that has nothing more to ask goes on to be told.
      onEnd: (error) => {
        if (error !== undefined) this.#end();
      },
    });
  }

  #watchLeader(): void {
    const { backend } = this.context;
    let leaderlessMs = 0;
    const check = (): void => {
      leaderlessMs = backend.leader() === undefined ? leaderlessMs + LEADER_CHECK_MS : 0;
      if (leaderlessMs >= LEADERLESS_MS) return this.fail(etcdError("noLeader"));
      this.#leaderCheck = backend.clock.setTimer(LEADER_CHECK_MS, check);
      this.#leaderCheck.unref?.();
    };
    check();
  }

  #onRequest(request: WatchRequest): void {
    if (this.#isEnded) return;
    const { create_request: create, cancel_request: cancel, progress_request: progress } = request;
    if (create !== undefined) this.#create(create);
    else if (cancel !== undefined) this.#cancel(cancel.watch_id);
    else if (progress !== undefined) this.#requestProgress();
    // Else a request of a kind that nobody knows, which is ignored.
  }

  #create(request: CreateRequest): void {
    const key = request.key.length === 0 ? ALL : Uint8Array.from(request.key);
    const rangeEnd = Uint8Array.from(request.range_end);
    if (request.start_revision < 0) return this.#refuse(ETCD_ERRORS.compacted[1]);
    if (rangeEnd.length > 0 && !isOpenEnd(rangeEnd) && compareBytes(key, rangeEnd) >= 0)
      return this.#refuse("mvcc: watcher range is empty");
    if (request.watch_id !== NO_ID && this.#isTaken(request.watch_id))
      return this.#refuse("mvcc: duplicate watch ID provided on the WatchStream");
    if (this.#watches.size + this.#compacted.size >= STREAM_WATCHES_MAX) return this.#refuse("etcdserver: too many watches on one stream");
    const id = request.watch_id === NO_ID ? this.#newId() : request.watch_id;
    const watch = new StreamWatch(this, id, { request, interval: toInterval(key, rangeEnd) });
    this.#watches.set(id, watch);
    this.#unanswered.push(watch.creation);
    watch.open();
    if (this.#progress === undefined) return;
    // Progress that is told on the stream is told of this watch as well, which may begin long ago.
    this.#progress.waiting.add(watch);
    watch.requestProgress();
  }

  #newId(): string {
    for (;;) {
      const id = (this.#nextId++).toString(16).padStart(16, "0");
      if (!this.#isTaken(id)) return id;
    }
  }

  /** That of a watch which was cancelled for compaction is, until its client has cancelled it too. */
  #isTaken(id: string): boolean {
    return this.#watches.has(id) || this.#compacted.has(id);
  }

  /** Answers a watch that was not made. */
  #refuse(reason: string): void {
    this.#unanswered.push({ watch: undefined, response: this.#refusal(reason) });
    this.#answer();
  }

  #refusal(reason: string): ResponseInit {
    return { header: this.context.header(), watch_id: NO_WATCH, created: true, canceled: true, cancel_reason: reason };
  }

  /** The watch is registered as of this revision, or has ended before it was. */
  onCreated(watch: StreamWatch, revision: number): void {
    if (watch.creation.response !== undefined) return;
    watch.creation.response = { header: this.context.header(revision), watch_id: watch.id, created: true };
    this.#answer();
  }

  /** The node will not have the watch, now. The others are none the worse for it. */
  onRefused(watch: StreamWatch, reason: string): void {
    watch.creation.response = this.#refusal(reason);
    this.#forget(watch.id);
    this.#answer();
  }

  /** Sends what can be said of the oldest ones, and what they had to hold back meanwhile. */
  #answer(): void {
    const unanswered = this.#unanswered;
    for (; this.#answered < unanswered.length; this.#answered++) {
      const { watch, response } = unanswered[this.#answered]!;
      if (response === undefined) break;
      this.send(response);
      watch?.onAnswered();
    }
    if (this.#answered < unanswered.length && this.#answered < ANSWERED_KEPT) return;
    this.#unanswered = unanswered.slice(this.#answered);
    this.#answered = 0;
  }

  #cancel(id: string): void {
    const watch = this.#watches.get(id);
    if (watch === undefined && !this.#compacted.delete(id)) return;
    // It may be cancelled before it was registered; its creation is answered all the same, and before that.
    if (watch !== undefined) this.onCreated(watch, this.context.backend.revision());
    this.#forget(id);
    this.#unanswered.push({ watch: undefined, response: { header: this.context.header(), watch_id: id, canceled: true } });
    this.#answer();
  }

  #forget(id: string): void {
    const watch = this.#watches.get(id);
    if (watch === undefined) return;
    this.#watches.delete(id);
    watch.close();
    this.#onProgressOf(watch, Number.POSITIVE_INFINITY);
  }

  /** The history that the watch needs is gone. */
  onCompacted(watch: StreamWatch, compactRevision: number): void {
    this.#forget(watch.id);
    this.#compacted.add(watch.id);
    this.send({ header: this.context.header(0), watch_id: watch.id, canceled: true, compact_revision: compactRevision });
  }

  #requestProgress(): void {
    const revision = this.context.backend.revision();
    // Somebody asks already, or there is nobody to ask, or who begins in the future has nothing to say.
    if (this.#progress !== undefined || this.#watches.size === 0) return;
    for (const watch of this.#watches.values()) if (watch.startRevision > revision) return;
    this.#progress = { waiting: new Set(this.#watches.values()), revision: Number.POSITIVE_INFINITY };
    for (const watch of this.#progress.waiting) watch.requestProgress();
  }

  /** A watch has told all events up to this revision. Answers whether that was asked for. */
  #onProgressOf(watch: StreamWatch, revision: number): boolean {
    const progress = this.#progress;
    if (progress === undefined || !progress.waiting.delete(watch)) return false;
    progress.revision = Math.min(progress.revision, revision);
    if (progress.waiting.size > 0) return true;
    this.#progress = undefined;
    if (Number.isFinite(progress.revision)) this.send({ header: this.context.header(progress.revision), watch_id: NO_WATCH });
    return true;
  }

  onProgress(watch: StreamWatch, revision: number): void {
    if (this.#onProgressOf(watch, revision) || !watch.wantsProgress) return;
    this.send({ header: this.context.header(revision), watch_id: watch.id });
  }

  /** Sends a response. */
  send(response: Answer<"etcdserverpb.WatchResponse">): void {
    if (!this.#isEnded && !this.#call.send(response as ResponseInit)) this.#wait();
  }

  /** Sends a response that lies in three parts, of which the last may be large, and stands in others too. */
  sendParts(first: Uint8Array, second: Uint8Array, third: Uint8Array): void {
    if (!this.#isEnded && !this.#call.sendParts(first, second, third)) this.#wait();
  }

  /** Whether the client takes something. False: the watch is woken when it does. */
  isReady(watch: StreamWatch): boolean {
    if (this.#isEnded) return false;
    if (this.#waiting === undefined) return true;
    if (!watch.isWaiting) this.#waiting.push(watch);
    watch.isWaiting = true;
    return false;
  }

  #wait(): void {
    if (this.#waiting !== undefined) return;
    this.#waiting = [];
    this.#call.drained().then(
      () => this.#wake(),
      () => this.#end(),
    );
  }

  /** The first ones first, until the client takes nothing again. */
  #wake(): void {
    const woken = this.#waiting ?? [];
    this.#waiting = undefined;
    let next = 0;
    while (next < woken.length && !this.#isBlocked) woken[next++]!.wake();
    if (next < woken.length) this.#waiting = woken.slice(next).concat(this.#waiting ?? []);
  }

  /** A call's doing changes it. */
  get #isBlocked(): boolean {
    return this.#waiting !== undefined;
  }

  /** Ends the stream with an error. */
  fail(error: unknown): void {
    if (this.#isEnded) return;
    this.#end();
    this.#call.fail(wireError(error));
  }

  #end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#leaderCheck?.cancel();
    this.#forgetStop?.();
    for (const watch of this.#watches.values()) watch.close();
    this.#watches.clear();
    this.#unanswered = [];
    this.#waiting = undefined;
  }
}
