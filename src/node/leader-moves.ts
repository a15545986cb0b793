/**
 * Wishes of this node's callers that another member lead. The leader judges a wish and begins the transfer (thesis 3.10); a member that does
 * not lead asks it. That it has worked shows to the one who asked in whom it follows, so that no answer can be lost; an answer tells only that a
 * transfer has begun, or why none will.
 *
 * A wish is for one term: a frame that is late finds another leader, or the same one in another term, and moves nobody. A wish that was begun
 * and came to nothing is not begun again in its term: a transfer holds writes back for as long as it goes on.
 */
import type { MemberId } from "../core/raft/configuration.ts";
import type { MemberProgress, Raft } from "../core/raft/raft.ts";
import { EngineError, toWire } from "../errors.ts";
import type { CallId } from "./boundary.ts";
import {
  decodeMoveLeader,
  decodeMoveLeaderAnswer,
  encodeMoveLeader,
  encodeMoveLeaderAnswer,
  type MoveLeaderFrame,
  type MoveOutcome,
} from "./cluster-frames.ts";
import type { NodeContext } from "./node-context.ts";

/** At once, of this node's callers. */
const MOVES_MAX = 64;
/** A target that lacks more entries is refused: the leader takes no writes until it has them. */
const LAG_ENTRIES_MAX = 1_000;
/** How long a transfer that has begun may take to show here, in election timeouts: Raft gives it up after one. */
const SHOWN_WITHIN = 2;

interface Move {
  readonly to: MemberId | undefined;
  readonly timeoutMs: number;
  readonly deadline: number;
  /** Who led when the wish was first looked at. */
  from: MemberId | undefined;
  /** The term in which it was asked for last, and when it is asked again there. */
  askedTerm: number;
  askAt: number;
  /** When a transfer that the leader has begun is given up; Infinity: none has begun in askedTerm. */
  giveUpAt: number;
  /** A leader may have begun it, in askedTerm or before; in an earlier term alone. */
  wasAsked: boolean;
  wasAskedEarlier: boolean;
}

/** What a leader has made of a wish. */
interface Judged {
  readonly wish: MoveLeaderFrame;
  readonly outcome: MoveOutcome;
}

/** One for each node. */
export class LeaderMoves {
  readonly #context: NodeContext;
  readonly #moves = new Map<CallId, Move>();
  /** On the leader: of each member the newest wish that was judged. It may come again, and its caller relies on what it was told. */
  readonly #judged = new Map<MemberId, Judged>();

  constructor(context: NodeContext) {
    this.#context = context;
  }

  add(wish: { readonly call: CallId; readonly to: MemberId | undefined; readonly timeoutMs: number }, now: number): void {
    const { call, to, timeoutMs } = wish;
    if (this.#moves.size >= MOVES_MAX) {
      const details = { limit: "transfers of leadership", max: MOVES_MAX, retryAfterMs: this.#context.options.electionTimeoutMs };
      this.#fail(call, new EngineError("OVERLOADED", `${MOVES_MAX} transfers of leadership are under way already`, details));
      return;
    }
    const deadline = now + timeoutMs;
    this.#moves.set(call, {
      to,
      timeoutMs,
      deadline,
      from: undefined,
      askedTerm: -1,
      askAt: 0,
      giveUpAt: Number.POSITIVE_INFINITY,
      wasAsked: false,
      wasAskedEarlier: false,
    });
  }

  cancel(call: CallId): void {
    this.#moves.delete(call);
  }

  /** Once a turn, also while there is no Raft yet. */
  poll(now: number): void {
    if (this.#moves.size === 0) return;
    const { raft } = this.#context;
    for (const [call, move] of this.#moves) {
      if (raft?.term !== move.askedTerm) move.giveUpAt = Number.POSITIVE_INFINITY;
      if (raft?.leader !== undefined) this.#pursue(call, move, raft, raft.leader, now);
      if (now >= Math.min(move.deadline, move.giveUpAt) && this.#moves.has(call)) this.#fail(call, tooLate(move));
    }
  }

  #pursue(call: CallId, move: Move, raft: Raft, leader: MemberId, now: number): void {
    move.from ??= leader;
    const isAsked = move.askedTerm === raft.term;
    if (isFulfilled(move, leader)) {
      // It can be relied on once it has committed something.
      if (raft.termAt(raft.commitIndex) !== raft.term) return;
      this.#moves.delete(call);
      this.#context.post({ kind: "moved", call });
      return;
    }
    if (isAsked && (now < move.askAt || move.giveUpAt !== Number.POSITIVE_INFINITY)) return;
    if (!isAsked) move.wasAskedEarlier = move.wasAsked;
    const { options, bootId, send } = this.#context;
    move.askedTerm = raft.term;
    move.askAt = now + options.heartbeatMs;
    if (leader === raft.id) {
      const outcome = begin(raft, move.to);
      if (outcome !== undefined) this.#onOutcome(call, move, outcome, now);
    } else {
      move.wasAsked = true;
      send(leader, "urgent", encodeMoveLeader({ bootId, term: raft.term, request: call, to: move.to }));
    }
  }

  #onOutcome(call: CallId, move: Move, outcome: MoveOutcome, now: number): void {
    if (outcome === "begun") {
      move.wasAsked = true;
      move.giveUpAt = now + SHOWN_WITHIN * this.#context.options.electionTimeoutMs;
      return;
    }
    const reason = reasonOf(outcome, move.to);
    this.#fail(
      call,
      new EngineError("REFUSED", `leadership was not moved: ${reason}`, { reason }, { mayHaveApplied: move.wasAskedEarlier }),
    );
  }

  /** Another member's wish, of one of its callers. */
  onMoveLeader(from: MemberId, frame: Uint8Array, raft: Raft): void {
    const wish = decodeMoveLeader(frame);
    if (wish === undefined || raft.role !== "leader" || wish.term !== raft.term) return;
    if (!raft.configuration.members.some(({ id }) => id === from)) return;
    const { bootId, term, request } = wish;
    const before = this.#judged.get(from);
    const isSameBoot = before?.wish.term === term && before.wish.bootId === bootId;
    // Behind a newer one it may be a repetition of what was refused.
    if (isSameBoot && request < before.wish.request) return;
    const outcome = isSameBoot && request === before.wish.request ? before.outcome : begin(raft, wish.to);
    if (outcome === undefined) return;
    this.#judged.set(from, { wish, outcome });
    this.#context.send(from, "urgent", encodeMoveLeaderAnswer({ bootId, term, request, outcome }));
  }

  onAnswer(from: MemberId, frame: Uint8Array, raft: Raft, now: number): void {
    const answer = decodeMoveLeaderAnswer(frame);
    if (answer === undefined || answer.bootId !== this.#context.bootId || from !== raft.leader || answer.term !== raft.term) return;
    const move = this.#moves.get(answer.request);
    // Answered once, the rest are repetitions.
    if (move === undefined || move.askedTerm !== answer.term || move.giveUpAt !== Number.POSITIVE_INFINITY) return;
    this.#onOutcome(answer.request, move, answer.outcome, now);
  }

  /** When poll() has something to do at the latest. */
  get deadline(): number {
    let at = Number.POSITIVE_INFINITY;
    const { raft } = this.#context;
    for (const move of this.#moves.values()) {
      at = Math.min(at, move.deadline, move.giveUpAt);
      if (raft?.leader === undefined || move.giveUpAt !== Number.POSITIVE_INFINITY) continue;
      // That it commits is what another turn is for.
      if (!isFulfilled(move, raft.leader)) at = Math.min(at, move.askedTerm === raft.term ? move.askAt : 0);
    }
    return at;
  }

  /** The node stops. */
  failAll(make: (mayHaveApplied: boolean) => EngineError): void {
    for (const [call, { wasAsked }] of this.#moves) this.#fail(call, make(wasAsked));
  }

  #fail(call: CallId, error: EngineError): void {
    this.#moves.delete(call);
    this.#context.post({ kind: "failed", call, error: toWire(error) });
  }
}

function isFulfilled({ to, from }: Move, leader: MemberId): boolean {
  return to === undefined ? from !== undefined && leader !== from : leader === to;
}

/** On the leader. undefined: it cannot be judged yet, or something else is under way. */
function begin(raft: Raft, to: MemberId | undefined): MoveOutcome | undefined {
  if (!raft.ready || to === raft.id) return undefined;
  const { members, incoming } = raft.configuration;
  if (to !== undefined && !incoming.includes(to)) return members.some(({ id }) => id === to) ? "learner" : "unknown";
  const voters = raft.progress().filter(({ id }) => incoming.includes(id) && (to === undefined || id === to));
  const target = voters.filter(({ active }) => active).toSorted((a, b) => b.matchIndex - a.matchIndex)[0];
  if (target === undefined) return voters.length === 0 ? "nobody" : "unreachable";
  if (isLagging(target, raft)) return "lagging";
  // After an election it is first asked where it stands.
  if (target.matchIndex === 0) return undefined;
  return raft.transferLeadership(target.id) === undefined ? "begun" : undefined;
}

function isLagging(target: MemberProgress, raft: Raft): boolean {
  return target.state === "snapshot" || (target.matchIndex > 0 && target.matchIndex + LAG_ENTRIES_MAX < raft.lastIndex);
}

function reasonOf(outcome: MoveOutcome, to: MemberId | undefined): string {
  const target = `member ${to ?? ""}`;
  switch (outcome) {
    case "unknown":
      return `${target} is not a member of this cluster`;
    case "learner":
      return `${target} is a learner`;
    case "unreachable":
      return to === undefined ? "no other voter answers" : `${target} does not answer`;
    case "lagging":
      return to === undefined ? "no other voter has caught up" : `${target} has not caught up`;
    default:
      return "there is no other voter";
  }
}

function tooLate({ to, timeoutMs, wasAsked, giveUpAt, deadline }: Move): EngineError {
  const who = to === undefined ? "no other member" : `member ${to}`;
  const message =
    giveUpAt < deadline ? `${who} did not take over when it was told to; it may do so yet` : `${who} did not lead within ${timeoutMs} ms`;
  return new EngineError("TIMEOUT", message, { timeoutMs, waitedFor: "leader" }, { mayHaveApplied: wasAsked });
}
