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
}

interface Group {
  readonly reads: readonly PendingRead[];
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
  #askAt = 0;
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
    return this.#arrived.length > 0 ? this.#askAt : Number.POSITIVE_INFINITY;
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
    const linearizable: PendingRead[] = [];
    const arrived = this.#arrived;
    this.#arrived = [];
    for (const read of arrived) {
      if (read.consistency === "eventual") this.#await(read, 0);
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
    this.#asked.set(id, { reads: linearizable });
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
    for (const read of group.reads) this.#await(read, state.index);
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
    const keep = (read: PendingRead, waitedFor: "leader" | "quorum"): boolean => {
      if (read.deadline > now && !this.#cancelled.has(read.call)) {
        next = Math.min(next, read.deadline);
        return true;
      }
      this.#pending--;
      if (!this.#cancelled.delete(read.call)) {
        const { timeoutMs } = read;
        this.#options.fail(
          read.call,
          new EngineError("TIMEOUT", `no ${waitedFor === "leader" ? "leader" : "majority"} answered within ${timeoutMs} ms`, {
            timeoutMs,
            waitedFor,
          }),
        );
      }
      return false;
    };
    this.#arrived = this.#arrived.filter((read) => keep(read, "leader"));
    for (const [id, group] of this.#asked) {
      const reads = group.reads.filter((read) => keep(read, "quorum"));
      if (reads.length === 0) this.#asked.delete(id);
      else if (reads.length < group.reads.length) this.#asked.set(id, { reads });
    }
    this.#applying = this.#applying.filter(({ read }) => keep(read, "quorum"));
    // Whoever waits has been met; what is left was answered before it was cancelled.
    this.#cancelled.clear();
    if (this.#arrived.length > 0) next = Math.min(next, Math.max(now + 1, this.#askAt));
    return next;
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
