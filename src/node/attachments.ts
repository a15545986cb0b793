/**
 * Further threads of the process at the same node. Each has a boundary of its own: its calls, watches, kept leases, pins and credit. The thread that
 * opened the node is number 0 and owns it; the others come and go, and what one leaves behind is ended for it.
 *
 * Every id says by its size whose it is, so that the node itself knows of nobody: it answers ids, and here answers find their thread.
 * It moves messages and owns no sockets, no clock and no data.
 */
import { EngineError, toWire } from "../errors.ts";
import type { CallId, FromNode, ToNode } from "./boundary.ts";

/** Ids of one thread: from its number times this on. What a thread calls a million times a second lasts half a year, and calls cross in batches. */
export const ATTACHMENT_IDS: number = 2 ** 44;
/** Threads at one node at a time, beside the one that opened it. */
export const ATTACHMENTS_MAX = 64;

/** A thread's end of the way to it. */
export interface AttachmentPort {
  /** `taker`: of buffers that several threads are told of, the number of the thread that may have the buffer itself; the others get copies. */
  post(messages: readonly FromNode[], own: number, taker: ReadonlyMap<ArrayBufferLike, number>): void;
  /** Nothing is posted afterwards. */
  close(): void;
}

type Watched = FromNode & { readonly kind: "watched" };

const NO_TAKERS: ReadonlyMap<ArrayBufferLike, number> = new Map();

/** One for each node. */
export class Attachments {
  readonly #first: AttachmentPort;
  readonly #receive: (messages: readonly ToNode[]) => void;
  readonly #attached = new Map<number, Attachment>();
  /** The last id that a number's threads have used: the next thread of that number begins behind it. */
  readonly #lastIds = new Map<number, CallId>();
  /** Lists of many watches, by thread. They are the watches' own, and kept while those do not change. */
  readonly #splits = new WeakMap<object, ReadonlyMap<number, ArrayLike<number>>>();

  /** `first` leads to the thread that opened the node, `receive` to the node. */
  constructor(options: { readonly first: AttachmentPort; readonly receive: (messages: readonly ToNode[]) => void }) {
    this.#first = options.first;
    this.#receive = options.receive;
  }

  get count(): number {
    return this.#attached.size;
  }

  /** One thread more. It hears "opened", with the first of its ids, or "openFailed". */
  attach(port: AttachmentPort): Attachment | undefined {
    let own = 1;
    while (this.#attached.has(own)) own++;
    if (own > ATTACHMENTS_MAX) {
      const limit = { limit: "attachments", max: ATTACHMENTS_MAX, retryAfterMs: 1_000 };
      const error = toWire(new EngineError("OVERLOADED", `${ATTACHMENTS_MAX} threads have this engine already`, limit));
      port.post([{ kind: "openFailed", error }, { kind: "closed" }], own, NO_TAKERS);
      port.close();
      return undefined;
    }
    const firstCall = Math.max(own * ATTACHMENT_IDS, this.#lastIds.get(own) ?? 0) + 1;
    const attachment = new Attachment({
      own,
      firstCall,
      port,
      receive: this.#receive,
      onEnd: (lastId) => {
        this.#attached.delete(own);
        this.#lastIds.set(own, lastId);
      },
    });
    this.#attached.set(own, attachment);
    this.#receive([{ kind: "attach", call: firstCall }]);
    return attachment;
  }

  /** From the node: to whom it concerns. */
  deliver(messages: readonly FromNode[]): void {
    if (this.#attached.size === 0) return this.#first.post(messages, 0, NO_TAKERS);
    const lists = new Map<number, FromNode[]>();
    const takers = new Map<ArrayBufferLike, number>();
    for (const message of messages) this.#sort(message, lists, takers);
    // In the order of their numbers: whoever takes a buffer is the last that is told of it.
    for (const own of [...lists.keys()].sort((one, other) => one - other)) {
      const list = lists.get(own)!;
      if (own === 0) this.#first.post(list, 0, takers);
      else this.#attached.get(own)?.deliver(list, takers);
    }
    if (messages.some(({ kind }) => kind === "closed")) for (const attachment of this.#attached.values()) attachment.end();
  }

  #sort(message: FromNode, lists: Map<number, FromNode[]>, takers: Map<ArrayBufferLike, number>): void {
    switch (message.kind) {
      case "status":
      case "shared":
      case "sharedGrowth":
      case "closed":
        add(lists, 0, message);
        for (const [own, { isOpen }] of this.#attached) if (isOpen) add(lists, own, message);
        return;
      case "opened": {
        const own = message.firstCall === undefined ? 0 : ownerOf(message.firstCall);
        const attachment = this.#attached.get(own);
        if (attachment !== undefined) attachment.isOpen = true;
        add(lists, own, message);
        return;
      }
      case "openFailed":
      case "log":
        return add(lists, 0, message);
      case "watching":
        return add(lists, ownerOf(message.watch), message);
      case "watched":
        return this.#sortWatched(message, lists, takers);
      case "lost":
        this.#ended(message.keep);
        return add(lists, ownerOf(message.keep), message);
      case "failed":
        this.#ended(message.call);
        return add(lists, ownerOf(message.call), message);
      default:
        this.#attached.get(ownerOf(message.call))?.onAnswer(message.call);
        return add(lists, ownerOf(message.call), message);
    }
  }

  #sortWatched(message: Watched, lists: Map<number, FromNode[]>, takers: Map<ArrayBufferLike, number>): void {
    const { watches, what, bytes } = message;
    if (what === "ended") for (let i = 0; i < watches.length; i++) this.#ended(watches[i]!);
    const split = this.#split(watches);
    for (const [own, ids] of split) {
      add(lists, own, split.size === 1 ? message : { ...message, watches: ids });
      takers.set(bytes.buffer, Math.max(own, takers.get(bytes.buffer) ?? 0));
    }
  }

  #split(watches: ArrayLike<number>): ReadonlyMap<number, ArrayLike<number>> {
    const known = this.#splits.get(watches);
    if (known !== undefined) return known;
    const lists = new Map<number, number[]>();
    for (let i = 0; i < watches.length; i++) {
      const own = ownerOf(watches[i]!);
      const list = lists.get(own);
      if (list === undefined) lists.set(own, [watches[i]!]);
      else list.push(watches[i]!);
    }
    if (!(watches instanceof Float64Array)) return lists;
    const packed = new Map<number, ArrayLike<number>>();
    for (const [own, list] of lists) packed.set(own, lists.size === 1 ? watches : Float64Array.from(list));
    this.#splits.set(watches, packed);
    return packed;
  }

  #ended(id: CallId): void {
    this.#attached.get(ownerOf(id))?.onEnded(id);
  }
}

/** What is to be ended when its thread is gone; a call has an answer, the others go on. */
type Held = "call" | "watch" | "keep" | "pin" | "backup";

/** One thread at the node, from its attaching to its end. */
export class Attachment {
  /** The node's first word to it is on its way: from here on it is told what all are told. */
  isOpen = false;
  readonly #own: number;
  readonly #port: AttachmentPort;
  readonly #receive: (messages: readonly ToNode[]) => void;
  readonly #onEnd: (lastId: CallId) => void;
  readonly #firstCall: CallId;
  /** Bounded by what bounds its calls, watches and kept leases. */
  readonly #held = new Map<CallId, Held>();
  #lastId: CallId;
  #isEnded = false;

  constructor(options: {
    readonly own: number;
    readonly firstCall: CallId;
    readonly port: AttachmentPort;
    readonly receive: (messages: readonly ToNode[]) => void;
    readonly onEnd: (lastId: CallId) => void;
  }) {
    this.#own = options.own;
    this.#firstCall = options.firstCall;
    this.#lastId = options.firstCall;
    this.#port = options.port;
    this.#receive = options.receive;
    this.#onEnd = options.onEnd;
  }

  /** From its thread. "close" ends the attachment, never the node. */
  receive(messages: readonly ToNode[]): void {
    if (this.#isEnded) return;
    let count = 0;
    for (const message of messages) {
      if (message.kind === "close") break;
      this.#note(message);
      count++;
    }
    if (count > 0) this.#receive(count === messages.length ? messages : messages.slice(0, count));
    if (count < messages.length) this.detach();
  }

  #note(message: ToNode): void {
    switch (message.kind) {
      case "watch":
        return this.#hold(message.watch, "watch");
      case "keep":
        return this.#hold(message.keep, "keep");
      case "range":
        return this.#hold(message.call, message.pin ? "pin" : "call");
      case "backup":
        return this.#hold(message.call, message.backup === 0 ? "backup" : "call");
      case "unwatch":
        this.#held.delete(message.watch);
        return;
      case "unkeep":
        this.#held.delete(message.keep);
        return;
      case "endBackup":
        this.#held.delete(message.backup);
        return;
      case "unpin":
      case "cancel":
        this.#held.delete(message.call);
        return;
      case "watchCredit":
      case "watchProgress":
      case "announce":
      case "close":
        return;
      default:
        this.#hold(message.call, "call");
    }
  }

  #hold(id: CallId, held: Held): void {
    if (id > this.#lastId) this.#lastId = id;
    this.#held.set(id, held);
  }

  /** From the node. */
  onAnswer(id: CallId): void {
    if (this.#held.get(id) === "call") this.#held.delete(id);
  }

  /** Nothing more will come of it. */
  onEnded(id: CallId): void {
    this.#held.delete(id);
  }

  deliver(messages: readonly FromNode[], takers: ReadonlyMap<ArrayBufferLike, number>): void {
    const refused = this.isOpen ? undefined : messages.find((message) => message.kind === "failed" && message.call === this.#firstCall);
    if (refused?.kind === "failed") {
      this.#port.post([{ kind: "openFailed", error: refused.error }], this.#own, takers);
      this.end();
    } else this.#port.post(messages, this.#own, takers);
  }

  /** Its thread has closed it, or is gone: what it has under way is given up, and what it holds is let go. */
  detach(): void {
    if (this.#isEnded) return;
    const ends: ToNode[] = [];
    for (const [id, held] of this.#held) {
      if (held === "watch") ends.push({ kind: "unwatch", watch: id });
      else if (held === "keep") ends.push({ kind: "unkeep", keep: id });
      else if (held === "backup") ends.push({ kind: "endBackup", backup: id });
      // Of a range that takes a pin, the same in both cases: that nobody waits, and that nobody reads on.
      else ends.push({ kind: "cancel", call: id });
      if (held === "pin") ends.push({ kind: "unpin", call: id });
    }
    this.#held.clear();
    if (ends.length > 0) this.#receive(ends);
    this.#port.post([{ kind: "closed" }], this.#own, NO_TAKERS);
    this.end();
  }

  /** The node has ended, or has never begun for it. */
  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#port.close();
    this.#onEnd(this.#lastId);
  }
}

/** The number of the thread that an id belongs to. The node's own are below zero, and nobody's. */
function ownerOf(id: CallId): number {
  return id < ATTACHMENT_IDS ? 0 : Math.floor(id / ATTACHMENT_IDS);
}

function add(lists: Map<number, FromNode[]>, own: number, message: FromNode): void {
  const list = lists.get(own);
  if (list === undefined) lists.set(own, [message]);
  else list.push(message);
}
