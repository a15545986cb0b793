/**
 * Reads of this node's callers. All that ask for a linearizable answer in one turn share one read index (thesis 6.4); what needs no
 * round is answered in the turn in which it arrives. An answer is computed only when this node has applied what it must reflect.
 */
import type { CallId, Consistency } from "./boundary.ts";
import { EngineError } from "../errors.ts";
import type { Raft } from "../core/raft/raft.ts";

/** One call, or a batch of calls that are answered together. */
export interface PendingRead {
  readonly call: CallId;
  readonly consistency: Consistency;
  readonly minRevision: number;
  /** Of an eventual read: how old its answer may be. */
  readonly stalenessMsMax?: number | undefined;
  readonly timeoutMs: number;
  /** In the node's clock. */
  readonly deadline: number;
  /** Computes and posts the answer from the state as it is now. */
  serve(): void;
}

export interface ReadsOptions {
  /** Which place the state has reached. */
  applied(): { readonly index: number; readonly revision: number };
  fail(call: CallId, error: EngineError): void;
  /** Goes on while the machine is suspended. */
  wallNow(): number;
}

interface Group {
  readonly reads: readonly PendingRead[];
  readonly at: number;
  readonly wallAt: number;
}

interface Fresh {
  readonly at: number;
  readonly wallAt: number;
  readonly index: number;
}

export class Reads {
  readonly #options: ReadsOptions;
  /** Arrived, or to be asked for again. */
  #arrived: PendingRead[] = [];
  /** Waiting for their read index, by the id of the request. */
  readonly #asked = new Map<number, Group>();
  /** Waiting for this node to apply an index or a revision. */
  #applying: { readonly read: PendingRead; readonly index: number }[] = [];
  readonly #cancelled = new Set<CallId>();
  #nextRequest = 1;
  /** All that was committed by then is at or below `index`: when a read index that was given was asked for, by both clocks. */
  #fresh: Fresh = { at: Number.NEGATIVE_INFINITY, wallAt: Number.NEGATIVE_INFINITY, index: 0 };
  #askAt = 0;
  /** What waits, waits for another turn that comes by itself. */
  #isHeld = false;
  readonly #retryMs: number;
  #pending = 0;

  constructor(options: ReadsOptions & { readonly retryMs: number }) {
    this.#options = options;
    this.#retryMs = options.retryMs;
  }

  get pending(): number {
    return this.#pending;
  }

  /** When ask() has to be called next for those that wait to be asked for again. */
  get askAt(): number {
    return this.#arrived.length > 0 && !this.#isHeld ? this.#askAt : Number.POSITIVE_INFINITY;
  }

  add(read: PendingRead): void {
    this.#pending++;
    this.#arrived.push(read);
  }

  cancel(call: CallId): void {
    if (this.#pending > 0) this.#cancelled.add(call);
  }

  /** Asks for what arrived in this turn. `now` was read after the last of it arrived. `held`: all but eventual reads wait for another turn. */
  ask(raft: Raft, now: number, held = false): void {
    if (this.#arrived.length === 0) return;
    this.#isHeld = held;
    const linearizable: PendingRead[] = [];
    const arrived = this.#arrived;
    this.#arrived = [];
    for (const read of arrived) {
      if (read.consistency === "eventual" && this.#isFresh(read, raft, now)) this.#await(read, this.#freshIndex(read));
      else if (held) this.#arrived.push(read);
      // The lease speaks of now; the answer must hold what is committed now.
      else if (read.consistency === "lease" && raft.leaseUntil() > now) this.#await(read, raft.commitIndex);
      else linearizable.push(read);
    }
    if (linearizable.length === 0) return;
    if (now < this.#askAt) {
      this.#arrived = linearizable;
      return;
    }
    const id = this.#nextRequest++;
    this.#asked.set(id, { reads: linearizable, at: now, wallAt: this.#options.wallNow() });
    raft.requestRead(id);
  }

  onReadState(state: { readonly requestId: number; readonly index: number | undefined }, now: number): void {
    const group = this.#asked.get(state.requestId);
    if (group === undefined) return;
    this.#asked.delete(state.requestId);
    if (state.index === undefined) {
      // No leader that could tell: asked again, until the deadlines.
      this.#arrived = this.#arrived.concat(group.reads);
      this.#askAt = now + this.#retryMs;
      return;
    }
    if (group.at > this.#fresh.at) this.#fresh = { at: group.at, wallAt: group.wallAt, index: state.index };
    for (const read of group.reads) this.#await(read, state.index);
  }

  /**
   * Whether what this node has applied, or will have applied at once, is young enough. Heartbeats do not count: one may have lain in a socket
   * for any time. What counts is a read index, which is of a moment after it was asked for; so one that is asked for serves all reads until it is
   * too old, and a read that finds none asks as a linearizable one does.
   */
  #isFresh({ stalenessMsMax }: PendingRead, raft: Raft, now: number): boolean {
    if (stalenessMsMax === undefined) return true;
    if (raft.leaseUntil() > now) {
      this.#fresh = { at: now, wallAt: this.#options.wallNow(), index: raft.commitIndex };
      return true;
    }
    return now - this.#fresh.at <= stalenessMsMax && this.#options.wallNow() - this.#fresh.wallAt <= stalenessMsMax;
  }

  #freshIndex({ stalenessMsMax }: PendingRead): number {
    return stalenessMsMax === undefined ? 0 : this.#fresh.index;
  }

  #await(read: PendingRead, index: number): void {
    const applied = this.#options.applied();
    if (applied.index >= index && applied.revision >= read.minRevision) this.#serve(read);
    else this.#applying.push({ read, index });
  }

  /** The state moved on. */
  onApplied(): void {
    if (this.#applying.length === 0) return;
    const applied = this.#options.applied();
    const waiting = this.#applying;
    this.#applying = [];
    for (const each of waiting) {
      if (applied.index >= each.index && applied.revision >= each.read.minRevision) this.#serve(each.read);
      else this.#applying.push(each);
    }
  }

  #serve(read: PendingRead): void {
    this.#pending--;
    if (this.#cancelled.delete(read.call)) return;
    read.serve();
  }

  /** Fails what has waited too long. Answers when to look again. */
  expire(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    if (this.#pending === 0) {
      this.#cancelled.clear();
      return next;
    }
    const keep = (read: PendingRead, waitedFor: "leader" | "quorum" | "queue"): boolean => {
      if (read.deadline > now && !this.#cancelled.has(read.call)) {
        next = Math.min(next, read.deadline);
        return true;
      }
      this.#pending--;
      if (!this.#cancelled.delete(read.call)) this.#options.fail(read.call, this.#timedOut(read, waitedFor));
      return false;
    };
    this.#arrived = this.#arrived.filter((read) => keep(read, "leader"));
    for (const [id, group] of this.#asked) {
      const reads = group.reads.filter((read) => keep(read, "quorum"));
      if (reads.length === 0) this.#asked.delete(id);
      else if (reads.length < group.reads.length) this.#asked.set(id, { ...group, reads });
    }
    this.#applying = this.#applying.filter(({ read }) => keep(read, "queue"));
    // Whoever waits has been met; what is left was answered before it was cancelled.
    this.#cancelled.clear();
    if (this.#arrived.length > 0) next = Math.min(next, Math.max(now + 1, this.#askAt));
    return next;
  }

  /** "queue": this node has not applied what the answer must reflect. */
  #timedOut({ minRevision, timeoutMs }: PendingRead, waitedFor: "leader" | "quorum" | "queue"): EngineError {
    const { index, revision } = this.#options.applied();
    const message =
      waitedFor === "leader"
        ? `no leader answered within ${timeoutMs} ms`
        : waitedFor === "quorum"
          ? `no majority answered within ${timeoutMs} ms`
          : revision < minRevision
            ? `this node has not come to revision ${minRevision} (minRevision) within ${timeoutMs} ms: it is at revision ${revision}`
            : `this node has not applied what the answer must reflect within ${timeoutMs} ms: it is at index ${index} of the log`;
    return new EngineError("TIMEOUT", message, { timeoutMs, waitedFor });
  }

  failAll(make: () => EngineError): void {
    const reads = [
      ...this.#arrived,
      ...[...this.#asked.values()].flatMap((group) => group.reads),
      ...this.#applying.map(({ read }) => read),
    ];
    this.#arrived = [];
    this.#asked.clear();
    this.#applying = [];
    this.#pending = 0;
    for (const read of reads) if (!this.#cancelled.has(read.call)) this.#options.fail(read.call, make());
    this.#cancelled.clear();
  }
}
