/**
 * One command of a session while a machine applies it: whether it is applied at all, and what is remembered of it. A command that goes on in
 * slices is under way until the machine comes to the next one. The machine applies; the table remembers.
 */
import type { BatchSession } from "../batch.ts";
import { OP_SESSION_CLOSE, OP_SESSION_OPEN, type CommandReader, type RefusalCode } from "./command.ts";
import { RESULT_HEADER_BYTES, type ResultWriter } from "./result.ts";
import { ANSWER_BYTES_KEPT_MAX } from "./session-bounds.ts";
import {
  KEPT_BYTES,
  KEPT_NOT,
  SESSION_ANSWERED,
  SESSION_APPLY,
  SESSION_GONE,
  SESSION_MALFORMED,
  type SessionTable,
} from "./session-table.ts";

/** A result's flags that say how a command ended, not what is in its answer. */
const ENDED_FLAGS = 2;
const FLAG_CUT = 4;
/** The command is of no session. */
const SESSION_NONE = -1;
const NO_BODY = new Uint8Array(0);

/** One for each machine. */
export class SessionApplying {
  /** A command of a session is being applied, and is to be remembered. */
  isUnderWay = false;
  private isPlain = false;
  private isWanted = false;
  private clockMs = 0;
  private batch: BatchSession | undefined = undefined;
  private isBatchBegun = false;
  private readonly table: SessionTable;
  private readonly results: ResultWriter;

  constructor(table: SessionTable, results: ResultWriter) {
    this.table = table;
    this.results = results;
  }

  /** `batch`: the numbers of the commands that do not say their own. `isWanted`: somebody waits for the results. */
  beginEntry(batch: BatchSession | undefined, clockMs: number, isWanted: boolean): void {
    this.batch = batch;
    this.isBatchBegun = false;
    this.clockMs = clockMs;
    this.isWanted = isWanted;
    this.table.expire(clockMs);
  }

  /**
   * True: the command is to be applied, and is under way if it is of a session. False: it is not, and is answered if somebody waits. `place` is
   * its own in the batch; `isPlain`: all there is to remember of it, but for a refusal, is its revision.
   */
  begin(command: CommandReader, place: number, isPlain: boolean, revision: number): boolean {
    const { table, results } = this;
    const verdict = this.judge(command, place);
    if (verdict === SESSION_APPLY) {
      this.isUnderWay = true;
      this.isPlain = isPlain;
      results.beginAnswer(this.isWanted, isPlain);
      return true;
    }
    if (verdict === SESSION_NONE) return true;
    if (!this.isWanted) return false;
    if (verdict === SESSION_ANSWERED) this.repeat(table);
    else results.refuse(command.op, revision, refusalOf(verdict), undefined);
    return false;
  }

  /** The command was done, and what it wrote of its result is what is remembered. */
  end(op: number, revision: number): void {
    const { table, results } = this;
    this.isUnderWay = false;
    // A refusal is longer.
    if (this.isPlain && results.answerBytes <= RESULT_HEADER_BYTES) {
      table.rememberRevision(op, revision);
      return;
    }
    const answer = results.answer();
    const flags = answer[6]!;
    const bytes = answer.length - RESULT_HEADER_BYTES;
    const isKept = bytes <= ANSWER_BYTES_KEPT_MAX && (flags & FLAG_CUT) === 0;
    if (!isKept) table.remember(op, answer[4]!, (flags & ENDED_FLAGS) | KEPT_NOT, revision);
    else if (bytes === 0) table.remember(op, answer[4]!, flags, revision);
    else table.remember(op, answer[4]!, flags, revision, answer.slice(RESULT_HEADER_BYTES));
    results.endAnswer(this.isWanted);
  }

  private judge(command: CommandReader, place: number): number {
    const { table, batch } = this;
    if (command.sessionLow !== 0 || command.sessionHigh !== 0 || batch === undefined) return table.begin(command, this.clockMs);
    if (command.op === OP_SESSION_OPEN || command.op === OP_SESSION_CLOSE) return SESSION_NONE;
    // The others of a batch are judged by what its first has settled.
    if (this.isBatchBegun && table.isLast(batch.high, batch.low)) return table.beginNext(batch.sequence + place);
    command.inSession(batch, place);
    const verdict = table.begin(command, this.clockMs);
    this.isBatchBegun = verdict !== SESSION_GONE && verdict !== SESSION_MALFORMED;
    return verdict;
  }

  private repeat(table: SessionTable): void {
    const { answeredOp: op, answeredRefusal: refusal, answeredFlags: flags, answeredRevision: revision, answeredBytes } = table;
    if (refusal === 0 && (flags & KEPT_NOT) !== 0) this.results.refuse(op, revision, "answerNotKept", undefined, revision);
    else this.results.repeat(op, refusal, flags & ~(KEPT_BYTES | KEPT_NOT), revision, (flags & KEPT_BYTES) === 0 ? NO_BODY : answeredBytes);
  }
}

function refusalOf(verdict: number): RefusalCode {
  return verdict === SESSION_GONE ? "sessionGone" : verdict === SESSION_MALFORMED ? "malformed" : "sessionWindow";
}
