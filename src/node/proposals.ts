/**
 * Writes of this node's callers on their way through consensus, and those that other members forward to it while it leads.
 *
 * A batch is proposed in one term at a time, and its entry carries that term. Entries of a term lie in the log before those of later
 * ones, so once this node has applied an entry of a later term without having met the batch, the batch can never be applied: it is
 * proposed again, in the new term, and no caller is told that it may have happened. Forwarding keeps that rule: a leader takes a batch
 * only in the term that the forwarder named, in the order of its ordinals, each once.
 *
 *   1. A forwards batch 7 to leader B in term 4; B crashes; C leads in term 5 and commits its empty entry.
 *   2. A applies the entry of term 5. Had B's entry with batch 7 survived, A would have applied it before.
 *   3. A proposes batch 7 again, to C, in term 5. Should B return and still append it in term 4, it cannot be committed.
 *
 * Where a snapshot takes the state's place nobody can tell whether a batch is in it. Its commands have numbers in this node's session
 * (node-session.ts), or in one of their caller's: proposed again they are applied if they were not, and answered as they were if they were.
 */
import { BATCH_PREFIX_BYTES, readBatchHeader, writeBatchHeader } from "../core/batch.ts";
import type { MemberId } from "../core/raft/configuration.ts";
import { ENTRY_HEADER_BYTES } from "../core/raft/entry.ts";
import type { Raft } from "../core/raft/raft.ts";
import { EngineError } from "../errors.ts";
import type { CallId } from "./boundary.ts";
import type { NodeSession, Stamp } from "./node-session.ts";
import type { Space } from "./space.ts";
import { decodeForward, decodeForwardAck, encodeForward, encodeForwardAck } from "./peer-frames.ts";

interface Batch {
  readonly call: CallId;
  readonly commands: number;
  readonly timeoutMs: number;
  /** Its commands have numbers in sessions of their callers'. */
  readonly inSessions?: boolean | undefined;
  /** In the node's clock. */
  readonly deadline: number;
  record: Uint8Array;
  /** The term it was proposed or forwarded in; 0 while it waits. */
  term: number;
  /** Its place among the batches forwarded in that term; 0 if proposed here. */
  ordinal: number;
  /** The numbers it has in this node's session. */
  stamp: Stamp | undefined;
  /** It may have been applied before: it is told as such, and never loses its numbers. */
  isAgain: boolean;
}

/** What this member, as the leader of `term`, has taken in from one opening of another. */
interface Inflow {
  readonly term: number;
  readonly bootId: number;
  next: number;
  acked: number;
  ackedAt: number;
}

export interface ProposalsOptions {
  readonly memberId: MemberId;
  readonly bootId: number;
  readonly resendMs: number;
  /** Bytes of batches that wait or are under way; beyond them a call is refused at once. Default 256 MiB. */
  readonly pendingBytesMax?: number;
  /** Judges what is to be proposed. Default: there is room for everything. */
  readonly space?: Pick<Space, "shortOf" | "error" | "withoutGrowth" | "onProposed">;
  /** Numbers what is proposed. Default: none. */
  readonly session?: NodeSession | undefined;
  send(to: MemberId, lane: "urgent" | "bulk", frame: readonly Uint8Array[]): boolean;
  fail(call: CallId, error: EngineError): void;
}

const PENDING_BYTES_MAX = 256 << 20;
/** Bytes forwarded and not yet taken in by the leader. */
const FORWARD_BYTES_MAX = 8 << 20;
/**
 * While a round is under way the leader gathers what comes for the next one: a group costs about what one write costs. No longer than this, so
 * that members far apart have several rounds under way.
 */
const HELD_MS_MAX = 1;
/** Openings of one member that a leader remembers within its term. */
const BOOTS_MAX = 64;
/** A batch is closed behind 1 MiB, and its last command may have 16. The same for all members, whatever each allows its own callers. */
const RECORD_BYTES_MAX = 18 << 20;

export class Proposals {
  readonly #options: ProposalsOptions;
  #waiting: number[] = [];
  readonly #batches = new Map<number, Batch>();
  readonly #calls = new Map<CallId, number>();
  /**
   * By member, oldest first. An earlier opening is remembered beside a later one: a batch of it that comes once more, on a connection
   * that is read late, must not be taken in again, for its caller may have been told long ago that it was applied.
   */
  readonly #inflows = new Map<MemberId, Inflow[]>();
  /** Batches forwarded in #forwardTerm, by sequence, in the order of their ordinals, not yet acknowledged as taken in. */
  #forwarded: { sequence: number; ordinal: number; bytes: number }[] = [];
  #forwardTerm = 0;
  #forwardTo: MemberId | undefined;
  #forwardNext = 1;
  #forwardBytes = 0;
  #resendAt = Number.POSITIVE_INFINITY;
  #proposedAt = Number.NEGATIVE_INFINITY;
  #heldUntil = Number.POSITIVE_INFINITY;
  #nextSequence = 1;
  #pendingBytes = 0;
  /** A caller of this node writes; what the node writes for itself does no harm when it comes twice. */
  #wantsSession = false;

  constructor(options: ProposalsOptions) {
    this.#options = options;
  }

  get pending(): number {
    return this.#batches.size;
  }

  /** Batches that were given up: their callers were told of an error, and not of what the members say. */
  failed = 0;

  /** When flush() has to be called next: for what the leader has not acknowledged, or for what was held back. */
  get flushAt(): number {
    return Math.min(this.#resendAt, this.#heldUntil);
  }

  add(
    call: {
      readonly call: CallId;
      readonly record: Uint8Array;
      readonly commands: number;
      readonly timeoutMs: number;
      readonly inSessions?: boolean | undefined;
    },
    now: number,
  ): void {
    const { pendingBytesMax = PENDING_BYTES_MAX } = this.#options;
    if (this.#pendingBytes + call.record.byteLength > pendingBytesMax) {
      this.#options.fail(
        call.call,
        new EngineError("OVERLOADED", `more than ${pendingBytesMax} bytes of writes are waiting`, {
          limit: "pendingBytes",
          max: pendingBytesMax,
          retryAfterMs: 100,
        }),
      );
      return;
    }
    if (call.call >= 0 && call.inSessions !== true) this.#wantsSession = true;
    const sequence = this.#nextSequence++;
    this.#pendingBytes += call.record.byteLength;
    this.#batches.set(sequence, { ...call, deadline: now + call.timeoutMs, term: 0, ordinal: 0, stamp: undefined, isAgain: false });
    this.#calls.set(call.call, sequence);
    this.#waiting.push(sequence);
  }

  cancel(call: CallId): void {
    const sequence = this.#calls.get(call);
    if (sequence !== undefined) this.#forget(sequence);
  }

  /** Whether the results of this batch, met while applying, are wanted: then its call. */
  callOf(header: { readonly origin: MemberId; readonly bootId: number; readonly sequence: number }): CallId | undefined {
    if (header.origin !== this.#options.memberId || header.bootId !== this.#options.bootId) return undefined;
    return this.#batches.get(header.sequence)?.call;
  }

  /** True: the batch was not applied, for its session had ended; it goes on without one, and its caller waits on. */
  onApplied(header: { readonly sequence: number }, results: Uint8Array): boolean {
    const batch = this.#batches.get(header.sequence);
    // What was forwarded twice in a term was applied in the first place maybe: that says nothing of what lies between the two.
    if (batch !== undefined && batch.ordinal > 0 && batch.term === this.#forwardTerm && !batch.isAgain) this.#release(batch.ordinal);
    const { session } = this.#options;
    const isGone = batch?.stamp !== undefined && session!.isGone(batch.stamp, results);
    if (isGone && !batch.isAgain) {
      batch.term = 0;
      batch.ordinal = 0;
      batch.record = batch.record.slice();
      session!.unstamp(batch.record, batch.stamp!);
      batch.stamp = undefined;
      this.#waiting.unshift(header.sequence);
      return true;
    }
    this.#forget(header.sequence);
    return false;
  }

  /** The leader has taken in all forwarded batches up to and including this ordinal. */
  #release(ordinal: number): void {
    let taken = 0;
    while (taken < this.#forwarded.length && this.#forwarded[taken]!.ordinal <= ordinal)
      this.#forwardBytes -= this.#forwarded[taken++]!.bytes;
    if (taken > 0) this.#forwarded.splice(0, taken);
    if (this.#forwarded.length === 0) this.#resendAt = Number.POSITIVE_INFINITY;
  }

  /** An entry of this term was applied: what was proposed before it and not met can never be applied, and is proposed anew. */
  onTermApplied(term: number): void {
    const again: number[] = [];
    for (const [sequence, batch] of this.#batches) {
      if (batch.term === 0 || batch.term >= term) continue;
      batch.term = 0;
      batch.ordinal = 0;
      // The old bytes may still lie in a socket or on their way to the disk.
      batch.record = batch.record.slice();
      again.push(sequence);
    }
    if (again.length > 0) this.#waiting = again.concat(this.#waiting);
    if (this.#forwardTerm < term) this.#resetForwarding(0, undefined);
  }

  /** The state was replaced by a snapshot: whether what was proposed before is in it, nobody can tell. What has numbers is proposed again. */
  onStateReplaced(): void {
    const again: number[] = [];
    for (const [sequence, batch] of this.#batches) {
      if (batch.term === 0) continue;
      if (batch.stamp !== undefined || batch.inSessions === true) {
        batch.term = 0;
        batch.ordinal = 0;
        batch.record = batch.record.slice();
        batch.isAgain = true;
        again.push(sequence);
        continue;
      }
      this.#fail(
        sequence,
        new EngineError(
          "UNAVAILABLE",
          "this node took over a snapshot while the write was under way",
          { reason: "noLeader" },
          { mayHaveApplied: true },
        ),
      );
    }
    if (again.length > 0) this.#waiting = again.concat(this.#waiting);
  }

  /** Hands on what waits: to Raft where this node leads, else to the leader. */
  flush(raft: Raft, now: number): void {
    if (this.#waiting.length > 0) this.#dispatch(raft, now);
    if (now >= this.#resendAt) this.#resend(raft, now);
    for (const [origin, inflows] of this.#inflows) {
      if (inflows[0]!.term !== raft.term || raft.role !== "leader") this.#inflows.delete(origin);
      else {
        for (const inflow of inflows) {
          if (inflow.acked === inflow.next) continue;
          // What was taken in shows to its origin when it is applied; this is for what takes long, and for one who asks again.
          if (inflow.acked !== -1 && now - inflow.ackedAt < this.#options.resendMs / 4) continue;
          inflow.acked = inflow.next;
          inflow.ackedAt = now;
          this.#options.send(origin, "urgent", encodeForwardAck(inflow));
        }
      }
    }
  }

  #dispatch(raft: Raft, now: number): void {
    let taken = 0;
    this.#heldUntil = Number.POSITIVE_INFINITY;
    if (this.#wantsSession && raft.leader !== undefined) {
      this.#wantsSession = false;
      this.#options.session?.prepare(now);
    }
    if (raft.role === "leader") {
      if (raft.lastIndex > raft.commitIndex && now < this.#proposedAt + HELD_MS_MAX) {
        this.#heldUntil = this.#proposedAt + HELD_MS_MAX;
        return;
      }
      this.#proposedAt = now;
      while (taken < this.#waiting.length && raft.proposalRefusal() === undefined) {
        const sequence = this.#waiting[taken]!;
        const batch = this.#batches.get(sequence);
        if (batch !== undefined && this.#hasRoom(batch, sequence)) {
          this.#writeHeader(batch, sequence, now);
          const entry = raft.propose(batch.record, "command");
          if (entry === undefined) break;
          this.#options.space?.onProposed(entry.index, batch.record, batch.commands);
          batch.term = entry.term;
          batch.ordinal = 0;
        }
        taken++;
      }
    } else if (raft.leader !== undefined) {
      if (this.#forwardTerm !== raft.term) this.#resetForwarding(raft.term, raft.leader);
      while (taken < this.#waiting.length && this.#forwardBytes < FORWARD_BYTES_MAX) {
        const sequence = this.#waiting[taken]!;
        const batch = this.#batches.get(sequence);
        if (batch !== undefined && this.#hasRoom(batch, sequence)) {
          this.#writeHeader(batch, sequence, now);
          batch.term = raft.term;
          batch.ordinal = this.#forwardNext++;
          this.#forwarded.push({ sequence, ordinal: batch.ordinal, bytes: batch.record.byteLength });
          this.#forwardBytes += batch.record.byteLength;
          this.#options.send(raft.leader, "bulk", encodeForward({ term: raft.term, ordinal: batch.ordinal, record: batch.record }));
          if (this.#resendAt === Number.POSITIVE_INFINITY) this.#resendAt = now + this.#options.resendMs;
        }
        taken++;
      }
    }
    if (taken > 0) this.#waiting.splice(0, taken);
  }

  /**
   * Refuses what there is no room for: the whole batch, which ends here, or within it, where other commands go on. Nothing of it was proposed
   * in a term that could still commit it, so that "nothing was changed" is true.
   */
  #hasRoom(batch: Batch, sequence: number): boolean {
    const { space } = this.#options;
    const short = space?.shortOf(batch.record, batch.commands) ?? "none";
    if (short === "none") return true;
    // What may have been applied before is refused in the log alone, where its first answer is known.
    const record = short === "some" || batch.isAgain ? space!.withoutGrowth(batch.record, batch.commands) : undefined;
    if (record === undefined) {
      this.#fail(sequence, space!.error());
      return false;
    }
    this.#pendingBytes += record.byteLength - batch.record.byteLength;
    batch.record = record;
    return true;
  }

  #writeHeader(batch: Batch, sequence: number, now: number): void {
    const { memberId: origin, bootId, session } = this.#options;
    if (session !== undefined) this.#number(batch, session, now);
    writeBatchHeader(batch.record, { origin, bootId, sequence, commands: batch.commands });
  }

  #number(batch: Batch, session: NodeSession, now: number): void {
    const { stamp } = batch;
    // Of a session that has ended since, and never applied: it is as if it had not been proposed.
    if (stamp !== undefined && !batch.isAgain && !session.holds(stamp)) {
      session.unstamp(batch.record, stamp);
      batch.stamp = undefined;
    }
    if (batch.inSessions !== true) batch.stamp ??= session.stamp(batch.record, batch.commands, now);
  }

  /** What the leader has not acknowledged as taken in is sent again, in order; it ignores what it has. */
  #resend(raft: Raft, now: number): void {
    this.#resendAt = this.#forwarded.length === 0 ? Number.POSITIVE_INFINITY : now + this.#options.resendMs;
    if (this.#forwardTerm !== raft.term || raft.leader !== this.#forwardTo || this.#forwardTo === undefined) return;
    for (const { sequence, ordinal } of this.#forwarded) {
      const batch = this.#batches.get(sequence);
      // A batch that nobody waits for any more still holds its place: without it the leader would take none of the later ones.
      const record = batch?.record ?? this.#emptyRecord(sequence);
      if (!this.#options.send(this.#forwardTo, "bulk", encodeForward({ term: this.#forwardTerm, ordinal, record }))) return;
    }
  }

  #emptyRecord(sequence: number): Uint8Array {
    const record = new Uint8Array(BATCH_PREFIX_BYTES);
    const { memberId: origin, bootId } = this.#options;
    writeBatchHeader(record, { origin, bootId, sequence, commands: 0 });
    return record;
  }

  /** The link to the leader came up: what was on the old one may be lost. */
  onLinkUp(peer: MemberId, now: number): void {
    if (peer === this.#forwardTo && this.#forwarded.length > 0) this.#resendAt = now;
  }

  onForwardAck(frame: Uint8Array): void {
    const ack = decodeForwardAck(frame);
    if (ack === undefined || ack.term !== this.#forwardTerm || ack.bootId !== this.#options.bootId) return;
    this.#release(ack.next - 1);
  }

  /** A batch from another member. It is taken in only by the leader of the term that it names, in order, once. */
  onForward(from: MemberId, frame: Uint8Array, raft: Raft): void {
    const forward = decodeForward(frame);
    if (forward === undefined || raft.role !== "leader" || forward.term !== raft.term) return;
    const { record } = forward;
    if (record.byteLength < BATCH_PREFIX_BYTES || record.byteLength > RECORD_BYTES_MAX) return;
    const header = readBatchHeader(record.subarray(ENTRY_HEADER_BYTES));
    if (header === undefined || header.origin !== from) return;
    const inflow = this.#inflow(from, forward.term, header.bootId);
    if (forward.ordinal !== inflow.next) {
      // Seen before, or sent again too early: say where we are.
      inflow.acked = -1;
      return;
    }
    // Refused for now (a transfer, too much uncommitted): the forwarder sends it again.
    if (header.commands > 0) {
      const { space } = this.#options;
      // Refused here, it is refused in the log: its member answers from that, and the batches behind it keep their order.
      const isShort = space !== undefined && space.shortOf(record, header.commands) !== "none";
      const admitted = (isShort ? space.withoutGrowth(record, header.commands) : undefined) ?? record;
      const entry = raft.propose(admitted, "command");
      if (entry === undefined) return;
      space?.onProposed(entry.index, admitted, header.commands);
      raft.awaitCommit(from, entry.index);
    }
    inflow.next++;
  }

  #inflow(from: MemberId, term: number, bootId: number): Inflow {
    let inflows = this.#inflows.get(from);
    if (inflows === undefined || inflows[0]!.term !== term) {
      inflows = [];
      this.#inflows.set(from, inflows);
    }
    let inflow = inflows.find((one) => one.bootId === bootId);
    if (inflow === undefined) {
      inflow = { term, bootId, next: 1, acked: 1, ackedAt: 0 };
      inflows.push(inflow);
      if (inflows.length > BOOTS_MAX) inflows.shift();
    }
    return inflow;
  }

  /** Fails what has waited too long. Answers when to look again. */
  expire(now: number, leaderKnown: boolean): number {
    let next = this.#resendAt;
    for (const [sequence, batch] of this.#batches) {
      if (batch.deadline <= now) {
        const proposed = batch.term !== 0 || batch.isAgain;
        const waitedFor = proposed ? "quorum" : leaderKnown ? "queue" : "leader";
        this.#fail(
          sequence,
          new EngineError(
            "TIMEOUT",
            proposed
              ? `no majority answered within ${batch.timeoutMs} ms: the write may have been applied; read before you write again`
              : `no leader took the write within ${batch.timeoutMs} ms: nothing was changed`,
            { timeoutMs: batch.timeoutMs, waitedFor },
            { mayHaveApplied: proposed },
          ),
        );
      } else if (batch.deadline < next) next = batch.deadline;
    }
    // Without a leader nothing is taken from here, and those that gave up would pile up.
    if (this.#waiting.length > 2 * this.#batches.size + 1_000)
      this.#waiting = this.#waiting.filter((sequence) => this.#batches.has(sequence));
    return next;
  }

  /** The node stops: every caller is told what is known. */
  failAll(make: (mayHaveApplied: boolean) => EngineError): void {
    for (const [sequence, batch] of this.#batches) this.#fail(sequence, make(batch.term !== 0 || batch.isAgain));
  }

  #fail(sequence: number, error: EngineError): void {
    const batch = this.#batches.get(sequence)!;
    this.#forget(sequence);
    this.failed++;
    this.#options.fail(batch.call, error);
  }

  #forget(sequence: number): void {
    const batch = this.#batches.get(sequence);
    if (batch === undefined) return;
    this.#batches.delete(sequence);
    this.#calls.delete(batch.call);
    this.#pendingBytes -= batch.record.byteLength;
    if (batch.stamp !== undefined) this.#options.session!.settle(batch.stamp);
  }

  #resetForwarding(term: number, to: MemberId | undefined): void {
    this.#forwardTerm = term;
    this.#forwardTo = to;
    this.#forwardNext = 1;
    this.#forwarded = [];
    this.#forwardBytes = 0;
    this.#resendAt = Number.POSITIVE_INFINITY;
  }
}
