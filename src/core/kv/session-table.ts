/**
 * Clients' sessions: which of their numbered commands were applied, and what was answered, so that one that comes again is answered as it was
 * the first time and not applied twice. Part of the state: members that applied the same entries hold the same sessions.
 *
 * A session's client numbers its commands from 1 and says with each up to which it needs no answers (`acked`). What lies above is the window:
 * in it each command is applied once, in whatever order they come; outside of it nothing is applied any more. A session ends when it was not
 * used for its life, on the lease clock, or when its client closes it; its id is never given again.
 *
 *   slot of a command in its session's ring:  u32 op | refusal << 8 | flags << 16, 0 for a command not seen yet;  f64 revision
 *
 * Answers that are more than that are kept as bytes beside it, in a list from the oldest to the newest of all sessions, whose oldest make room.
 */
import { assert } from "../assert.ts";
import { dueAfter } from "./lease-table.ts";
import { ANSWER_OVERHEAD_BYTES, ANSWERS_BYTES_MAX, SESSION_SLOTS_MAX, SESSIONS_MAX } from "./session-bounds.ts";

/** What is to be done with a command. */
export const SESSION_APPLY = 0;
export const SESSION_ANSWERED = 1;
export const SESSION_GONE = 2;
export const SESSION_WINDOW = 3;
export const SESSION_MALFORMED = 4;

/** Of a slot: its answer's bytes are kept; or are not, for there were too many. */
export const KEPT_BYTES = 64;
export const KEPT_NOT = 128;

const CAPACITY_MIN = 64;
/** So that the numbers of a batch that begins with it are whole. */
export const SEQUENCE_MAX: number = Number.MAX_SAFE_INTEGER - 65_536;
const NO_BYTES = new Uint8Array(0);

/** An answer's bytes, in the list of all. They are never written to again. */
export interface Answer {
  readonly session: Session;
  readonly sequence: number;
  readonly bytes: Uint8Array;
  older: Answer | undefined;
  newer: Answer | undefined;
}

/** One session. Changed by its table alone. */
export interface Session {
  readonly high: number;
  readonly low: number;
  readonly window: number;
  readonly lifeMs: number;
  dueMs: number;
  acked: number;
  /** The highest number that has an answer; nothing above it does. */
  highest: number;
  /** A ring over the numbers above `acked`, as long as those seen need, a power of two. */
  what: Uint32Array;
  revision: Float64Array;
  answers: (Answer | undefined)[];
  /** Another with the same low word. */
  next: Session | undefined;
}

/** What a table held at one moment. Answers in the order in which they were given. */
export interface SessionsCopy {
  readonly sessions: readonly Readonly<Session>[];
  readonly answers: readonly Answer[];
}

/** All sessions of one state. */
export class SessionTable {
  /** In the order in which they were opened. */
  private readonly all: Set<Session> = new Set();
  private readonly byLow: Map<number, Session> = new Map();
  /** The one used last. */
  private last: Session | undefined = undefined;
  /** The command that begin() judged last: where its answer is, or will be. */
  private sequence = 0;
  private at = 0;
  private slotsUsed = 0;
  private oldest: Answer | undefined = undefined;
  private newest: Answer | undefined = undefined;
  private answersUsed = 0;
  /** No session is due before. */
  private dueFrom: number = Number.POSITIVE_INFINITY;

  get count(): number {
    return this.all.size;
  }

  /** The windows of all sessions together. */
  get slots(): number {
    return this.slotsUsed;
  }

  /** What the kept answers count for. */
  get answerBytes(): number {
    return this.answersUsed;
  }

  /** The id, in two words, must be new. */
  open(
    { high, low, window, lifeMs }: { readonly high: number; readonly low: number; readonly window: number; readonly lifeMs: number },
    clockMs: number,
  ): "sessionsMax" | "sessionSlotsMax" | undefined {
    if (this.all.size >= SESSIONS_MAX) return "sessionsMax";
    if (this.slotsUsed + window > SESSION_SLOTS_MAX) return "sessionSlotsMax";
    this.add({ high, low, window, lifeMs, dueMs: dueAfter(clockMs, lifeMs), acked: 0 });
    return undefined;
  }

  /** False where there is no such session. */
  close(high: number, low: number): boolean {
    const session = this.find(high, low);
    if (session === undefined) return false;
    this.remove(session);
    return true;
  }

  /** Ends the sessions that are due. */
  expire(clockMs: number): void {
    if (clockMs < this.dueFrom) return;
    this.dueFrom = Number.POSITIVE_INFINITY;
    for (const session of this.all) {
      if (session.dueMs <= clockMs) this.remove(session);
      else this.dueFrom = Math.min(this.dueFrom, session.dueMs);
    }
  }

  /**
   * What is to be done with a command: SESSION_APPLY, and then remember(); SESSION_ANSWERED, its answer being in answered*; or why it is not to
   * be applied.
   */
  begin(
    command: { readonly sessionHigh: number; readonly sessionLow: number; readonly sequence: number; readonly acked: number },
    clockMs: number,
  ): number {
    const { sequence, acked } = command;
    const session = this.find(command.sessionHigh, command.sessionLow);
    if (session === undefined) return SESSION_GONE;
    if (!(acked >= 0 && acked < sequence && sequence <= SEQUENCE_MAX)) return SESSION_MALFORMED;
    if (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(acked)) return SESSION_MALFORMED;
    session.dueMs = dueAfter(clockMs, session.lifeMs);
    if (acked > session.acked) this.acknowledge(session, acked);
    return this.beginNext(sequence);
  }

  /**
   * The same for the command behind one that begin() was asked about, with the same `acked` and at the same time: its session must be
   * the one used last.
   */
  beginNext(sequence: number): number {
    const session = this.last!;
    const place = sequence - session.acked;
    if (place < 1 || place > session.window) return SESSION_WINDOW;
    if (place > session.what.length) grow(session, place);
    const { what } = session;
    const at = sequence & (what.length - 1);
    this.sequence = sequence;
    this.at = at;
    return what[at] === 0 ? SESSION_APPLY : SESSION_ANSWERED;
  }

  /** Whether it is the session used last, so that beginNext() may be asked. */
  isLast(high: number, low: number): boolean {
    const { last } = this;
    return last !== undefined && last.low === low && last.high === high;
  }

  /** What begin() was asked about last was done, with this answer. `bytes` are taken over; none where there is nothing more to say. */
  remember(op: number, refusal: number, flags: number, revision: number, bytes: Uint8Array = NO_BYTES): void {
    const session = this.last;
    assert(session !== undefined, "a command that is remembered was begun");
    const { at, sequence } = this;
    session.what[at] = op | (refusal << 8) | (flags << 16);
    session.revision[at] = revision;
    if (sequence > session.highest) session.highest = sequence;
    if (bytes.length > 0) this.keep(session, sequence, bytes);
  }

  /** The same where there is nothing but the revision. */
  rememberRevision(op: number, revision: number): void {
    const session = this.last!;
    const { at, sequence } = this;
    session.what[at] = op;
    session.revision[at] = revision;
    if (sequence > session.highest) session.highest = sequence;
  }

  get answeredOp(): number {
    return this.last!.what[this.at]! & 0xff;
  }

  /** 0: it was applied. */
  get answeredRefusal(): number {
    return (this.last!.what[this.at]! >>> 8) & 0xff;
  }

  /** As they were remembered; with KEPT_BYTES or KEPT_NOT. */
  get answeredFlags(): number {
    return this.last!.what[this.at]! >>> 16;
  }

  get answeredRevision(): number {
    return this.last!.revision[this.at]!;
  }

  get answeredBytes(): Uint8Array {
    return this.last!.answers[this.at]?.bytes ?? NO_BYTES;
  }

  /** As of now; what happens later does not change it. */
  copy(): SessionsCopy {
    const sessions: Session[] = [];
    for (const session of this.all) {
      const { what, revision } = session;
      sessions.push({ ...session, what: what.slice(), revision: revision.slice(), answers: [], next: undefined });
    }
    const answers: Answer[] = [];
    for (let answer = this.oldest; answer !== undefined; answer = answer.newer) answers.push(answer);
    return { sessions, answers };
  }

  // ----------------------------------------------------------------------------------------------------------- restoring

  /** One of a snapshot, without answers yet. Undefined where no state could hold it. */
  restore(session: {
    readonly high: number;
    readonly low: number;
    readonly window: number;
    readonly lifeMs: number;
    readonly dueMs: number;
    readonly acked: number;
  }): Session | undefined {
    const { high, low, window } = session;
    if ((high === 0 && low === 0) || this.find(high, low) !== undefined) return undefined;
    if (this.all.size >= SESSIONS_MAX || this.slotsUsed + window > SESSION_SLOTS_MAX) return undefined;
    return this.add(session);
  }

  /** The next higher number of a session that has an answer. False where no state could hold it. */
  restoreSlot(session: Session, sequence: number, what: number, revision: number): boolean {
    if (sequence <= Math.max(session.acked, session.highest) || sequence > session.acked + session.window || (what & 0xff) === 0)
      return false;
    if (sequence - session.acked > session.what.length) grow(session, sequence - session.acked);
    const at = sequence & (session.what.length - 1);
    session.what[at] = what;
    session.revision[at] = revision;
    session.highest = sequence;
    return true;
  }

  /** False where no state could hold it. */
  restoreAnswer(high: number, low: number, sequence: number, bytes: Uint8Array): boolean {
    const session = this.find(high, low);
    if (session === undefined || sequence <= session.acked || sequence > session.highest || bytes.length === 0) return false;
    const at = sequence & (session.what.length - 1);
    if (((session.what[at]! >>> 16) & KEPT_BYTES) === 0 || session.answers[at] !== undefined) return false;
    this.keep(session, sequence, bytes);
    return ((session.what[at]! >>> 16) & KEPT_BYTES) !== 0;
  }

  /** False where the bytes of an answer are missing that are said to be kept. */
  get isWhole(): boolean {
    for (const session of this.all) {
      for (let sequence = session.acked + 1; sequence <= session.highest; sequence++) {
        const at = sequence & (session.what.length - 1);
        if (((session.what[at]! >>> 16) & KEPT_BYTES) !== 0 && session.answers[at] === undefined) return false;
      }
    }
    return true;
  }

  // -------------------------------------------------------------------------------------------------------------- inside

  private add(session: {
    readonly high: number;
    readonly low: number;
    readonly window: number;
    readonly lifeMs: number;
    readonly dueMs: number;
    readonly acked: number;
  }): Session {
    const { high, low, window, lifeMs, dueMs, acked } = session;
    const added: Session = {
      high,
      low,
      window,
      lifeMs,
      dueMs,
      acked,
      highest: acked,
      what: new Uint32Array(CAPACITY_MIN),
      revision: new Float64Array(CAPACITY_MIN),
      answers: [],
      next: this.byLow.get(low),
    };
    this.byLow.set(low, added);
    this.all.add(added);
    this.slotsUsed += window;
    this.dueFrom = Math.min(this.dueFrom, dueMs);
    return added;
  }

  private find(high: number, low: number): Session | undefined {
    const { last } = this;
    if (last !== undefined && last.low === low && last.high === high) return last;
    let session = this.byLow.get(low);
    while (session !== undefined && session.high !== high) session = session.next;
    if (session !== undefined) this.last = session;
    return session;
  }

  private remove(session: Session): void {
    this.all.delete(session);
    this.slotsUsed -= session.window;
    if (this.last === session) this.last = undefined;
    const first = this.byLow.get(session.low);
    if (first !== session) {
      let before = first!;
      while (before.next !== session) before = before.next!;
      before.next = session.next;
    } else if (session.next === undefined) this.byLow.delete(session.low);
    else this.byLow.set(session.low, session.next);
    for (const answer of session.answers) if (answer !== undefined) this.drop(answer);
  }

  private acknowledge(session: Session, acked: number): void {
    const { what, answers } = session;
    const through = Math.min(acked, session.highest);
    for (let sequence = session.acked + 1; sequence <= through; sequence++) {
      const at = sequence & (what.length - 1);
      if (what[at]! >>> 16 >= KEPT_BYTES) {
        const answer = answers[at];
        if (answer !== undefined) this.drop(answer);
      }
      what[at] = 0;
    }
    session.acked = acked;
    if (session.highest < acked) session.highest = acked;
  }

  private keep(session: Session, sequence: number, bytes: Uint8Array): void {
    const answer: Answer = { session, sequence, bytes, older: this.newest, newer: undefined };
    if (this.newest === undefined) this.oldest = answer;
    else this.newest.newer = answer;
    this.newest = answer;
    const at = sequence & (session.what.length - 1);
    if (session.answers.length === 0) session.answers = noAnswers(session.what.length);
    session.answers[at] = answer;
    session.what[at] = session.what[at]! | (KEPT_BYTES << 16);
    this.answersUsed += bytes.length + ANSWER_OVERHEAD_BYTES;
    while (this.answersUsed > ANSWERS_BYTES_MAX) {
      const { session: of, sequence: number } = this.oldest!;
      const slot = number & (of.what.length - 1);
      this.drop(this.oldest!);
      of.what[slot] = (of.what[slot]! & ~(KEPT_BYTES << 16)) | (KEPT_NOT << 16);
    }
  }

  private drop(answer: Answer): void {
    const { session, sequence, bytes, older, newer } = answer;
    if (older === undefined) this.oldest = newer;
    else older.newer = newer;
    if (newer === undefined) this.newest = older;
    else newer.older = older;
    session.answers[sequence & (session.what.length - 1)] = undefined;
    this.answersUsed -= bytes.length + ANSWER_OVERHEAD_BYTES;
  }
}

function noAnswers(length: number): (Answer | undefined)[] {
  return new Array<Answer | undefined>(length).fill(undefined);
}

/** Makes a session's ring long enough for the command in this place of its window. */
function grow(session: Session, place: number): void {
  let length = session.what.length;
  while (length < place) length *= 2;
  const what = new Uint32Array(length);
  const revision = new Float64Array(length);
  const answers = session.answers.length === 0 ? session.answers : noAnswers(length);
  for (let sequence = session.acked + 1; sequence <= session.highest; sequence++) {
    const from = sequence & (session.what.length - 1);
    const to = sequence & (length - 1);
    what[to] = session.what[from]!;
    revision[to] = session.revision[from]!;
    const answer = session.answers[from];
    if (answer !== undefined) answers[to] = answer;
  }
  session.what = what;
  session.revision = revision;
  session.answers = answers;
}
