/**
 * One stream of the Watch service. Watches are answered in the order in which they were asked for, each before its first event; each gets whole
 * revisions in order. What a client does not take is held by the credit of its watches, not here: the node then serves them from history.
 */
import { compareBytes } from "../../core/kv/bytes.ts";
import { EngineError } from "../../errors.ts";
import type { Timer } from "../../host/clock.ts";
import type { DuplexStream } from "../../rpc/index.ts";
import type { BackendWatch, PackedEvents, WatchSink } from "../backend.ts";
import { ETCD_ERRORS, etcdError, wireError } from "../etcd-errors.ts";
import type { Answer } from "../handlers.ts";
import { isOpenEnd, toInterval } from "../intervals.ts";
import { NO_ID, type Message, type MessageInit } from "../schema/messages.ts";
import type { ServiceContext } from "../service-context.ts";
import { encodeEvents, encodeFragments, watchIdField } from "../watch-responses.ts";

type WatchRequest = Message<"etcdserverpb.WatchRequest">;
type CreateRequest = Message<"etcdserverpb.WatchCreateRequest">;
type ResponseInit = MessageInit<"etcdserverpb.WatchResponse">;
/** The stream that a WatchStream serves. */
export type WatchCall = DuplexStream<WatchRequest, Answer<"etcdserverpb.WatchResponse">>;

/** Watches of one stream. More are cancelled as they are made. */
export const STREAM_WATCHES_MAX = 65_536;
/** How often a watch that asks for it is told that nothing happened. */
const PROGRESS_MS = 600_000;
/** -1: of no watch. */
const NO_WATCH = "ffffffffffffffff";
/** A stream that wants a leader ends when none was known for this long: three election timeouts. */
const LEADERLESS_MS = 3_000;
const LEADER_CHECK_MS = 500;

/** Answered creations that are kept in the queue before it is cut. */
const ANSWERED_KEPT = 1_024;

const ALL = Uint8Array.of(0);

/** One stream. */
export class WatchStream {
  readonly context: ServiceContext;
  readonly #call: WatchCall;
  readonly #watches = new Map<string, StreamWatch>();
  /** Cancelled for compaction, which clients answer with a cancellation of their own. Bounded together with the watches. */
  readonly #compacted = new Set<string>();
  /** Created, and not answered yet, in their order. */
  #unanswered: Unanswered[] = [];
  /** How many of them have been answered meanwhile. */
  #answered = 0;
  #nextId = 0;
  /** Progress that was asked for: who has not told it yet, and the lowest revision of those who have. */
  #progress: { readonly waiting: Set<StreamWatch>; revision: number } | undefined;
  /** Taken by the call while much waits: given back when little does. */
  #untaken: { readonly watch: BackendWatch; readonly events: PackedEvents }[] = [];
  #isWaiting = false;
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
    const watch = new StreamWatch(this, id, request);
    this.#watches.set(id, watch);
    this.#unanswered.push(watch.creation);
    watch.open({ key, rangeEnd });
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
  send(response: Answer<"etcdserverpb.WatchResponse">): boolean {
    return this.#isEnded || this.#call.send(response as ResponseInit);
  }

  /** Sends a watch's events; what they hold of its credit is given back when the client has taken enough. */
  sendEvents(watch: BackendWatch, events: PackedEvents, responses: readonly Uint8Array[]): void {
    let hasRoom = true;
    for (const response of responses) hasRoom = this.send(response) && hasRoom;
    if (hasRoom && !this.#isWaiting) {
      watch.taken(events);
      return;
    }
    this.#untaken.push({ watch, events });
    if (!this.#isWaiting) this.#wait();
  }

  #wait(): void {
    this.#isWaiting = true;
    this.#call.writable().then(
      () => {
        this.#isWaiting = false;
        const untaken = this.#untaken;
        this.#untaken = [];
        for (const { watch, events } of untaken) watch.taken(events);
      },
      () => this.#end(),
    );
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
    this.#untaken = [];
  }
}

interface Unanswered {
  readonly watch: StreamWatch | undefined;
  response: ResponseInit | undefined;
}

/** One watch of a stream. */
class StreamWatch implements WatchSink {
  readonly id: string;
  readonly creation: Unanswered = { watch: this, response: undefined };
  readonly startRevision: number;
  readonly wantsProgress: boolean;
  readonly #stream: WatchStream;
  readonly #idField: Uint8Array;
  readonly #prevKv: boolean;
  readonly #fragment: boolean;
  readonly #only: "puts" | "deletes" | "nothing" | undefined;
  #watch: BackendWatch | undefined;
  /** What came before its creation was answered: bounded by its credit. undefined once it is. */
  #held: (() => void)[] | undefined = [];

  constructor(stream: WatchStream, id: string, request: CreateRequest) {
    this.id = id;
    this.startRevision = request.start_revision;
    this.wantsProgress = request.progress_notify;
    this.#stream = stream;
    this.#idField = watchIdField(id);
    this.#prevKv = request.prev_kv;
    this.#fragment = request.fragment;
    const noPuts = request.filters.includes(0);
    const noDeletes = request.filters.includes(1);
    this.#only = noPuts && noDeletes ? "nothing" : noPuts ? "deletes" : noDeletes ? "puts" : undefined;
  }

  open(range: { readonly key: Uint8Array; readonly rangeEnd: Uint8Array }): void {
    const { key, rangeEnd } = range;
    this.#watch = this.#stream.context.backend.watch(
      {
        interval: toInterval(key, rangeEnd),
        fromRevision: this.startRevision === 0 ? undefined : this.startRevision,
        prevKv: this.#prevKv,
        only: this.#only === "nothing" ? undefined : this.#only,
        progressMs: this.wantsProgress ? PROGRESS_MS + (this.#stream.context.backend.random.uint32() % (PROGRESS_MS / 10)) : 0,
      },
      this,
    );
  }

  requestProgress(): void {
    this.#watch?.requestProgress();
  }

  close(): void {
    this.#watch?.close();
    this.#watch = undefined;
    this.#held = undefined;
  }

  onAnswered(): void {
    const held = this.#held;
    this.#held = undefined;
    for (const act of held ?? []) act();
  }

  onRegistered(revision: number): void {
    // A watch of the past, or of what is to come, is told where the data is, not where it begins.
    this.#stream.onCreated(this, this.startRevision === 0 ? revision : this.#stream.context.backend.revision());
  }

  onEvents(events: PackedEvents): void {
    if (this.#held !== undefined) {
      this.#held.push(() => this.onEvents(events));
      return;
    }
    const watch = this.#watch;
    if (watch === undefined) return;
    if (this.#only === "nothing") {
      watch.taken(events);
      return;
    }
    const { heads } = this.#stream.context;
    const responses = this.#fragment ? encodeFragments(heads, this.#idField, events) : [encodeEvents(heads, this.#idField, events)];
    this.#stream.sendEvents(watch, events, responses);
  }

  onProgress(revision: number): void {
    if (this.#held !== undefined) this.#held.push(() => this.onProgress(revision));
    else this.#stream.onProgress(this, revision);
  }

  onCompacted(compactRevision: number): void {
    // It was never registered, if it began there.
    this.#stream.onCreated(this, this.#stream.context.backend.revision());
    if (this.#held !== undefined) this.#held.push(() => this.onCompacted(compactRevision));
    else this.#stream.onCompacted(this, compactRevision);
  }

  onEnd(error: unknown): void {
    const isRefusal = this.creation.response === undefined && EngineError.is(error, "OVERLOADED");
    if (isRefusal) this.#stream.onRefused(this, ETCD_ERRORS.tooManyRequests[1]);
    else this.#stream.fail(error);
  }
}
