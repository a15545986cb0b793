/**
 * The watches of one engine: makes them, hands them what the node sends, gives read bytes back to it, and ends them with the engine. What
 * goes to very many watches is handed out in slices, so that neither calls nor the application wait for all of them.
 *
 * A front end of this package has sinks of its own, which see the packed bytes and give credit back when they have passed them on.
 */
import type { KeyInterval } from "../core/kv/table.ts";
import { EngineError, invalidArgument, type WireError } from "../errors.ts";
import type { FromNode, ToNode } from "../node/boundary.ts";
import { checkChoice, checkFlag, checkNumber, checkOptions, checkSignal, toTargetInterval } from "./arguments.ts";
import type { CallContext } from "./call-context.ts";
import type { Target, Watch, WatchOptions } from "./client.ts";
import { LocalWatch } from "./local-watch.ts";
import { WatchDelivery, type WatchSink } from "./watch-delivery.ts";

const KNOWN_WATCH: ReadonlySet<string> = new Set(["fromRevision", "initial", "prevKv", "only", "onGap", "progressMs", "signal"]);
/** What the node may have sent to all watches together; but for the least for each. */
const WATCHES_CREDIT_BYTES: number = 8 << 20;
const WATCH_CREDIT_BYTES_MIN = 1_024;
/** Events, of so many watches, that are handed out before others have their turn: some fifty microseconds, and what their readers do. */
const SLICE_EVENTS = 256;
/** Those that are handed out at once. The others come behind what the application does about the answers that came with them. */
const FIRST_EVENTS = 32;

const PLAIN_LIST_MAX = 16;
/** What was read is given back so much later at the latest. */
const PAY_MS = 20;

/** What is asked of the node, beside the watch's id. */
export interface WatchRequest {
  readonly interval: KeyInterval;
  readonly fromRevision: number | undefined;
  readonly initial: boolean;
  readonly prevKv: boolean;
  readonly only: "puts" | "deletes" | undefined;
  readonly onGap: "throw" | "reset";
  readonly progressMs: number;
  readonly creditBytes: number;
}

/** One for each engine. */
export class LocalWatches {
  readonly #context: CallContext;
  readonly #sinks = new Map<number, WatchSink>();
  /** Deliveries that have not reached all their watches. Their bytes are paid for, which bounds it. */
  readonly #backlog: WatchDelivery[] = [];
  /** How many watches the first of them has reached. */
  #reached = 0;
  /** Who has read something since the timer ran, and who has read so much that it is given back with the tick. */
  #reading: LocalWatch[] = [];
  #paying: LocalWatch[] = [];
  /** Bytes to be given back with the tick. */
  #paid: { readonly watches: number[]; readonly bytes: number[] } | undefined;

  constructor(context: CallContext) {
    this.#context = context;
    context.calls.onFlush = () => this.#payment();
  }

  watch(target: Target, options: WatchOptions = {}): Watch {
    checkOptions(options, KNOWN_WATCH, "options");
    const { fromRevision, initial = false, prevKv = false, only, onGap = "throw", progressMs = 10_000, signal } = options;
    checkNumber(fromRevision, "fromRevision", { min: 1 });
    checkNumber(progressMs, "progressMs", { min: 0, integer: false });
    checkChoice(only, "only", ["puts", "deletes"]);
    checkChoice(onGap, "onGap", ["throw", "reset"]);
    checkFlag(initial, "initial");
    checkFlag(prevKv, "prevKv");
    checkSignal(signal);
    if (initial && fromRevision !== undefined)
      throw invalidArgument("initial", "a watch begins with what is there now, or at a past revision, not both");
    const interval = toTargetInterval(target);
    const id = this.newId();
    const share = Math.floor(WATCHES_CREDIT_BYTES / (this.#sinks.size + 1));
    const creditBytes = Math.min(this.#context.settings.watchCreditBytes, Math.max(WATCH_CREDIT_BYTES_MIN, share));
    const watch = new LocalWatch({
      id,
      creditBytes,
      signal,
      owner: {
        requestProgress: () => this.requestProgress(id),
        onRead: (reader) => this.#onRead(reader),
        onHalfRead: (reader) => this.#onHalfRead(reader),
        onClosed: () => this.close(id),
      },
    });
    if (signal?.aborted === true) return watch;
    this.open(id, { interval, fromRevision, initial, prevKv, only, onGap, progressMs, creditBytes }, watch);
    return watch;
  }

  /** For open(). */
  newId(): number {
    return this.#context.calls.newId();
  }

  /** The sink is told in later ticks, and must not throw; where the engine is closed, it is ended at once. */
  open(id: number, request: WatchRequest, sink: WatchSink): void {
    if (this.#context.ended) {
      sink.end(new EngineError("CLOSED", "the engine is closed", {}));
      return;
    }
    this.#sinks.set(id, sink);
    this.#context.calls.tell({ kind: "watch", watch: id, ...request });
  }

  requestProgress(id: number): void {
    this.#context.calls.tell({ kind: "watchProgress", watch: id });
  }

  close(id: number): void {
    if (this.#sinks.delete(id)) this.#context.calls.tell({ kind: "unwatch", watch: id });
  }

  /** Gives the node so many bytes of this watch's credit back, with the tick. */
  giveBack(id: number, bytes: number): void {
    this.#pay(id, bytes);
    this.#context.calls.flushSoon();
  }

  #pay(id: number, bytes: number): void {
    this.#paid ??= { watches: [], bytes: [] };
    this.#paid.watches.push(id);
    this.#paid.bytes.push(bytes);
  }

  // From the node.

  onRegistered(id: number, revision: number): void {
    this.#sinks.get(id)?.onRegistered(revision);
  }

  onRefused(id: number, error: WireError): void {
    const sink = this.#sinks.get(id);
    // The node does not know it: there is nothing to be closed there.
    this.#sinks.delete(id);
    sink?.onRefused(error);
  }

  onWatched(watched: FromNode & { readonly kind: "watched" }): void {
    this.#backlog.push(new WatchDelivery(watched));
    if (this.#backlog.length > 1) return;
    const { clock } = this.#context;
    // Twice, since the calls that the application makes now leave with the next tick, and are not to wait for thousands of readers.
    if (!this.#handOut(FIRST_EVENTS)) clock.defer(() => clock.defer(() => this.#handOutAll()));
  }

  /** The node will never tell them anything again. */
  end(error: EngineError): void {
    void this.#handOut(Number.POSITIVE_INFINITY);
    for (const sink of [...this.#sinks.values()]) sink.end(error);
  }

  #handOutAll(): void {
    // More where more waits: a writer in this thread must not get ahead of its watchers for ever.
    if (!this.#handOut(SLICE_EVENTS * this.#backlog.length)) this.#context.clock.defer(() => this.#handOutAll());
  }

  /** About so many events, and at least one delivery to one watch. True if nothing is left. */
  #handOut(eventsMax: number): boolean {
    let left = eventsMax;
    for (;;) {
      const delivery = this.#backlog[0];
      if (delivery === undefined) return true;
      const { watches: ids, count } = delivery.watched;
      while (this.#reached < ids.length && left > 0) {
        const id = ids[this.#reached++]!;
        left -= Math.max(1, count);
        this.#sinks.get(id)?.onDelivery(delivery);
      }
      if (this.#reached < ids.length) return false;
      this.#backlog.shift();
      this.#reached = 0;
    }
  }

  /** Nobody knows whether it reads on: so it is asked for what is left a little later, and not for each batch. */
  #onRead(watch: LocalWatch): void {
    if (this.#reading.push(watch) > 1) return;
    this.#context.clock.setTimer(PAY_MS, () => this.#payAll()).unref?.();
  }

  #payAll(): void {
    const reading = this.#reading;
    this.#reading = [];
    for (const watch of reading) {
      const bytes = watch.pay(true);
      if (bytes > 0 && this.#sinks.has(watch.id)) this.giveBack(watch.id, bytes);
    }
  }

  #onHalfRead(watch: LocalWatch): void {
    this.#paying.push(watch);
    this.#context.calls.flushSoon();
  }

  #payment(): ToNode | undefined {
    for (const watch of this.#paying) {
      const bytes = watch.pay(false);
      if (bytes > 0 && this.#sinks.has(watch.id)) this.#pay(watch.id, bytes);
    }
    this.#paying = [];
    const paid = this.#paid;
    this.#paid = undefined;
    if (paid === undefined) return undefined;
    const { watches, bytes } = paid;
    // Long lists cross as bytes, which costs next to nothing.
    if (watches.length <= PLAIN_LIST_MAX) return { kind: "watchCredit", watches, bytes };
    return { kind: "watchCredit", watches: Float64Array.from(watches), bytes: Float64Array.from(bytes) };
  }
}
