/** One watch of a stream of the Watch service: what its client asked for, and its responses. */
import type { KeyInterval } from "../../core/kv/table.ts";
import { EngineError } from "../../errors.ts";
import { ETCD_ERRORS } from "../etcd-errors.ts";
import { FeedWatch, type FeedWatchSink } from "../feed-watch.ts";
import { headOf, type EventBatch } from "../watch-batch.ts";
import { FRAGMENT_BYTES_MAX, fragmentsOf, MORE_FOLLOWS, watchIdField } from "../watch-responses.ts";
import type { CreateRequest, Creation, WatchStream } from "./watch-stream.ts";

/** See above. */
export class StreamWatch implements FeedWatchSink {
  readonly id: string;
  readonly creation: Creation = { watch: this, response: undefined };
  readonly startRevision: number;
  readonly wantsProgress: boolean;
  readonly #stream: WatchStream;
  readonly #idField: Uint8Array;
  /** The same, with the field that says that more follows. */
  readonly #idAndMore: Uint8Array | undefined;
  readonly #isDeaf: boolean;
  readonly #watch: FeedWatch;
  /** It stands among those whom the stream will wake. */
  isWaiting = false;
  #isAnswered = false;
  #isOpen = true;

  constructor(stream: WatchStream, id: string, order: { readonly request: CreateRequest; readonly interval: KeyInterval }) {
    const { request, interval } = order;
    const { start_revision: startRevision, progress_notify: wantsProgress } = request;
    this.id = id;
    this.startRevision = startRevision;
    this.wantsProgress = wantsProgress;
    this.#stream = stream;
    this.#idField = watchIdField(id);
    this.#idAndMore = request.fragment ? Buffer.concat([this.#idField, MORE_FOLLOWS]) : undefined;
    const noPuts = request.filters.includes(0);
    const noDeletes = request.filters.includes(1);
    this.#isDeaf = noPuts && noDeletes;
    const wanted = {
      interval,
      fromRevision: startRevision === 0 ? undefined : startRevision,
      prevKv: request.prev_kv,
      only: this.#isDeaf ? undefined : noPuts ? ("deletes" as const) : noDeletes ? ("puts" as const) : undefined,
      progressMs: wantsProgress ? this.#progressMs() : 0,
    };
    this.#watch = new FeedWatch(stream.context.feeds, wanted, this);
  }

  /** Up to a tenth more than is set, so that watches that began together are not all told at once. */
  #progressMs(): number {
    const { backend, watchProgressMs } = this.#stream.context;
    return watchProgressMs + (backend.random.uint32() % Math.max(1, Math.floor(watchProgressMs / 10)));
  }

  /** Once. */
  open(): void {
    this.#watch.open();
  }

  requestProgress(): void {
    this.#watch.requestProgress();
  }

  close(): void {
    this.#isOpen = false;
    this.#watch.close();
  }

  /** Its creation has been answered: what comes of it may be sent. */
  onAnswered(): void {
    this.#isAnswered = true;
    this.wake();
  }

  /** The client takes something again. */
  wake(): void {
    this.isWaiting = false;
    if (this.#isOpen) this.#watch.wake();
  }

  isReady(): boolean {
    return this.#isAnswered && this.#stream.isReady(this);
  }

  onRegistered(revision: number): void {
    // A watch of the past, or of what is to come, is told where the data is, not where it begins.
    this.#stream.onCreated(this, this.startRevision === 0 ? revision : this.#stream.context.backend.revision());
  }

  onBatch(batch: EventBatch): void {
    if (this.#isDeaf) return;
    const head = headOf(batch, this.#stream.context.heads);
    const idAndMore = this.#idAndMore;
    if (idAndMore === undefined || (batch.encoded.length <= FRAGMENT_BYTES_MAX && !batch.more)) {
      this.#stream.sendParts(head, this.#idField, batch.encoded);
      return;
    }
    const fragments = fragmentsOf(batch.encoded);
    const last = fragments.length - 1;
    for (let i = 0; i <= last; i++) this.#stream.sendParts(head, i < last || batch.more ? idAndMore : this.#idField, fragments[i]!);
  }

  onProgress(revision: number): void {
    this.#stream.onProgress(this, revision);
  }

  onCompacted(compactRevision: number): void {
    this.#stream.onCompacted(this, compactRevision);
  }

  onEnd(error: unknown): void {
    const isRefusal = this.creation.response === undefined && EngineError.is(error, "OVERLOADED");
    if (isRefusal) this.#stream.onRefused(this, ETCD_ERRORS.tooManyRequests[1]);
    else this.#stream.fail(error);
  }
}
